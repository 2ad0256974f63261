//! The calls that wait in memory for one participant.
//!
//! Order: what must happen (compensations, after the pivot), then the nearly finished, then repeats, then the
//! rest; within these by priority, then by turns of the flows, then by deadline and arrival. A second thread runs through all of them by arrival, so
//! that every eighth start can go to whoever waits longest and nobody waits for ever.
//!
//! Flows (definitions and labels) share sixteen lanes; each lane that has calls of the most urgent kind gets its turn,
//! so a flow that submits a hundred times as much does not get a hundred times as much while others wait. Turns are
//! counted in work, not in calls: a flow of long calls gets as much of the participant as one of short calls, and not
//! twenty times as much (start-time fair queueing; Goyal, Vin and Cheng 1996).
//!
//! Repeats may be held back by their budget; then everything goes as if they were not there.
//!
//! A slab, a heap for each rank and lane with the place of each call in it, and a linked list: adding, taking and removing
//! from the middle cost at most the logarithm of the length, and nothing is allocated once it has grown.

use std::cmp::Reverse;

use model::Timestamp;
use model::mutant::{Mutant, is_planted};

use crate::call::{Class, Released};
use crate::{BACKLOG_CALLS_MAX, HELD_CALLS_MAX};

const RANKS: usize = 4;
/// The rank of repeats.
const REPEATS: usize = 2;
const LANES: usize = 16;
const NONE: u32 = u32::MAX;
/// Every so manieth start goes to the call that waits longest.
const OLDEST_EVERY: u32 = 8;

/// Flows far apart get different lanes, most often.
fn lane(flow: u32) -> usize {
    (flow.wrapping_mul(0x9e37_79b1) >> 28) as usize
}

/// What must happen goes first; a repeat goes behind first attempts of nearly finished work (SEMANTICS 20).
fn rank(call: &Released) -> usize {
    match call.class {
        Class::Compensate | Class::AfterPivot => 0,
        Class::First if call.progress >= 128 => 1,
        Class::Retry => REPEATS,
        Class::First => 3,
    }
}

#[derive(Debug)]
struct Slot {
    call: Released,
    arrival: u64,
    /// Rank and lane.
    heap: u8,
    place: u32,
    older: u32,
    newer: u32,
    /// How much work it is, in usual calls.
    work: f32,
}

impl Slot {
    fn key(&self) -> (Reverse<u8>, Timestamp, u64) {
        (Reverse(self.call.priority), self.call.deadline, self.arrival)
    }
}

#[derive(Debug)]
pub(crate) struct Backlog {
    slots: Vec<Slot>,
    free: Vec<u32>,
    heaps: [Vec<u32>; RANKS * LANES],
    /// One bit for each lane of a rank that has calls.
    filled: [u16; RANKS],
    /// The work that each lane was given, by rank; a lane that was empty begins where the others are.
    given: [[f64; LANES]; RANKS],
    level: [f64; RANKS],
    repeats: usize,
    oldest: u32,
    newest: u32,
    len: usize,
    arrivals: u64,
    turn: u32,
    /// No waiting call has an earlier deadline.
    deadline_min: Timestamp,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            heaps: std::array::from_fn(|_| Vec::new()),
            filled: [0; RANKS],
            given: [[0.0; LANES]; RANKS],
            level: [0.0; RANKS],
            repeats: 0,
            oldest: NONE,
            newest: NONE,
            len: 0,
            arrivals: 0,
            turn: 0,
            deadline_min: Timestamp::NEVER,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A lower bound of the deadlines of all that wait.
    pub(crate) fn deadline_min(&self) -> Timestamp {
        self.deadline_min
    }

    /// Whether there is room for this call.
    pub(crate) fn has_room(&self, call: &Released) -> bool {
        self.len < if rank(call) <= 1 { BACKLOG_CALLS_MAX } else { BACKLOG_CALLS_MAX - BACKLOG_CALLS_MAX / 8 }
    }

    pub(crate) fn has_ordinary_room(&self) -> bool {
        self.len < BACKLOG_CALLS_MAX - BACKLOG_CALLS_MAX / 8
    }

    pub(crate) fn has_room_while_held(&self) -> bool {
        self.len < HELD_CALLS_MAX || is_planted(Mutant::HeldBacklogGrows)
    }

    /// Adds a call that is so much work, in usual calls; the number names it until it leaves.
    pub(crate) fn push(&mut self, call: Released, work: f64) -> u32 {
        let (rank, lane) = (rank(&call), lane(call.flow));
        let heap = rank * LANES + lane;
        let place = self.heaps[heap].len() as u32;
        if self.filled[rank] == 0 {
            // Nobody waited any more: what was given before is forgotten.
            self.level[rank] = self.given[rank].iter().fold(self.level[rank], |most, given| most.max(*given));
        }
        if place == 0 {
            self.given[rank][lane] = self.given[rank][lane].max(self.level[rank]);
        }
        self.filled[rank] |= 1 << lane;
        self.repeats += usize::from(rank == REPEATS);
        let arrival = self.arrivals;
        self.arrivals += 1;
        let work = work as f32;
        let slot = Slot { call, arrival, heap: heap as u8, place, older: self.newest, newer: NONE, work };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        match self.newest {
            NONE => self.oldest = number,
            newest => self.slots[newest as usize].newer = number,
        }
        self.newest = number;
        self.heaps[heap].push(number);
        self.up(heap, place as usize);
        self.len += 1;
        self.deadline_min = self.deadline_min.min(call.deadline);
        number
    }

    /// A repeat waits: whether it may go matters.
    pub(crate) fn has_repeats(&self) -> bool {
        self.repeats > 0
    }

    /// Whether there is a call whose turn may come, if repeats may or may not go.
    pub(crate) fn has_next(&self, repeats: bool) -> bool {
        self.len > if repeats { 0 } else { self.repeats }
    }

    /// Whoever waits longest; repeats that are held back do not keep the turn from those behind them.
    fn oldest_that_may_go(&self, repeats: bool) -> Option<u32> {
        let mut at = self.oldest;
        while at != NONE {
            let slot = &self.slots[at as usize];
            if repeats || usize::from(slot.heap) / LANES != REPEATS {
                return Some(at);
            }
            at = slot.newer;
        }
        None
    }

    /// Takes the call whose turn it is; no repeat unless `repeats`.
    pub(crate) fn pop(&mut self, repeats: bool) -> Option<Released> {
        if !self.has_next(repeats) {
            return None;
        }
        self.turn += 1;
        if self.turn >= OLDEST_EVERY && !is_planted(Mutant::OldestStarves) {
            self.turn = 0;
            if let Some(oldest) = self.oldest_that_may_go(repeats) {
                return Some(self.take(oldest));
            }
        }
        let rank = (0..RANKS).find(|rank| self.filled[*rank] != 0 && (repeats || *rank != REPEATS))?;
        let lane = self.next_lane(rank);
        self.level[rank] = self.level[rank].max(self.given[rank][lane]);
        let first = *self.heaps[rank * LANES + lane].first()?;
        Some(self.take(first))
    }

    /// Takes a call that is to start: its lane was given that much.
    fn take(&mut self, number: u32) -> Released {
        let slot = &self.slots[number as usize];
        let heap = usize::from(slot.heap);
        self.given[heap / LANES][heap % LANES] += f64::from(slot.work);
        self.remove(number)
    }

    /// The lane with the most urgent call; of equals the one that was given least.
    fn next_lane(&self, rank: usize) -> usize {
        let filled = self.filled[rank];
        if filled.is_power_of_two() {
            return filled.trailing_zeros() as usize;
        }
        let (mut best, mut priority_best) = (LANES, 0);
        for lane in (0..LANES).filter(|lane| filled >> lane & 1 == 1) {
            let first = self.heaps[rank * LANES + lane].first();
            let priority = first.map_or(0, |number| self.slots[*number as usize].call.priority);
            let is_behind = |best: usize| self.given[rank][lane] < self.given[rank][best];
            if best == LANES || priority > priority_best || priority == priority_best && is_behind(best) {
                (best, priority_best) = (lane, priority);
            }
        }
        best
    }

    /// Takes the call that came last.
    pub(crate) fn pop_newest(&mut self) -> Option<Released> {
        (self.newest != NONE).then(|| self.remove(self.newest))
    }

    /// Takes a call by its number.
    pub(crate) fn remove(&mut self, number: u32) -> Released {
        let slot = &self.slots[number as usize];
        let (call, heap, place) = (slot.call, usize::from(slot.heap), slot.place as usize);
        let (older, newer) = (slot.older, slot.newer);
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        let numbers = &mut self.heaps[heap];
        numbers.swap_remove(place);
        if numbers.is_empty() {
            self.filled[heap / LANES] &= !(1 << (heap % LANES));
        }
        if place < numbers.len() {
            self.slots[numbers[place] as usize].place = place as u32;
            self.up(heap, place);
            self.down(heap, place);
        }
        self.repeats -= usize::from(heap / LANES == REPEATS);
        self.free.push(number);
        self.len -= 1;
        if self.len == 0 {
            self.deadline_min = Timestamp::NEVER;
        }
        call
    }

    /// Takes all calls whose deadline has come, and learns the earliest of the rest.
    pub(crate) fn take_expired(&mut self, now: Timestamp, mut take: impl FnMut(Released)) {
        let mut at = self.oldest;
        let mut earliest = Timestamp::NEVER;
        while at != NONE {
            let slot = &self.slots[at as usize];
            let newer = slot.newer;
            if slot.call.deadline <= now {
                take(self.remove(at));
            } else {
                earliest = earliest.min(slot.call.deadline);
            }
            at = newer;
        }
        self.deadline_min = earliest;
    }

    fn before(&self, a: u32, b: u32) -> bool {
        self.slots[a as usize].key() < self.slots[b as usize].key()
    }

    fn swap(&mut self, heap: usize, a: usize, b: usize) {
        self.heaps[heap].swap(a, b);
        self.slots[self.heaps[heap][a] as usize].place = a as u32;
        self.slots[self.heaps[heap][b] as usize].place = b as u32;
    }

    fn up(&mut self, heap: usize, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.before(self.heaps[heap][place], self.heaps[heap][parent]) {
                return;
            }
            self.swap(heap, place, parent);
            place = parent;
        }
    }

    fn down(&mut self, heap: usize, mut place: usize) {
        loop {
            let numbers = &self.heaps[heap];
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < numbers.len() && self.before(numbers[child], numbers[least]) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(heap, place, least);
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::CallRef;

    fn call(token: u64, class: Class, priority: u8, deadline: u64, progress: u8) -> Released {
        Released {
            call: CallRef { worker: 0, token },
            participant: 0,
            pinned_endpoint: None,
            priority,
            deadline: Timestamp(deadline),
            class,
            progress,
            ..Released::default()
        }
    }

    #[test]
    fn what_must_happen_goes_first() {
        let mut backlog = Backlog::new();
        for released in [
            call(1, Class::First, 0, 50, 0),
            call(2, Class::First, 0, 40, 0),
            call(3, Class::Retry, 0, 90, 0),
            call(4, Class::First, 9, 99, 0),
            call(5, Class::First, 0, 99, 200),
            call(6, Class::Compensate, 0, u64::MAX, 0),
            call(7, Class::AfterPivot, 0, u64::MAX, 0),
        ] {
            backlog.push(released, 1.0);
        }
        let order: Vec<u64> = std::iter::from_fn(|| backlog.pop(true)).map(|c| c.call.token).collect();
        assert_eq!(order, [6, 7, 5, 3, 4, 2, 1]);
    }

    #[test]
    fn whoever_waits_longest_is_every_eighth() {
        let mut backlog = Backlog::new();
        for token in 0..3 {
            backlog.push(call(token, Class::First, 0, u64::MAX, 0), 1.0);
        }
        // Compensations come faster than they leave.
        let mut starts = Vec::new();
        for token in 100..130 {
            backlog.push(call(token, Class::Compensate, 0, u64::MAX, 0), 1.0);
            backlog.push(call(token + 1_000, Class::Compensate, 0, u64::MAX, 0), 1.0);
            starts.extend(backlog.pop(true).map(|c| c.call.token));
        }
        let waited: Vec<usize> = (0..3).filter_map(|t| starts.iter().position(|s| *s == t)).collect();
        assert_eq!(waited, [7, 15, 23]);
    }

    #[test]
    fn flows_take_turns() {
        let mut backlog = Backlog::new();
        for token in 0..90 {
            // Two of three are of flow 1.
            backlog.push(Released { flow: u32::from(token % 3 > 0), ..call(token, Class::First, 0, u64::MAX, 0) }, 1.0);
        }
        let flows: Vec<u32> = (0..40).filter_map(|_| backlog.pop(true)).map(|c| c.flow).collect();
        let first = flows.iter().filter(|f| **f == 0).count();
        assert!((17..=21).contains(&first), "{flows:?}");
        // What is more urgent goes before turns.
        backlog.push(Released { flow: 1, ..call(500, Class::First, 3, u64::MAX, 0) }, 1.0);
        backlog.push(Released { flow: 1, ..call(501, Class::First, 3, u64::MAX, 0) }, 1.0);
        let next: Vec<u64> = (0..3).filter_map(|_| backlog.pop(true)).map(|c| c.call.token).collect();
        assert!(next.contains(&500) && next.contains(&501), "{next:?}");
    }

    #[test]
    fn turns_are_counted_in_work() {
        let mut backlog = Backlog::new();
        for token in 0..900 {
            // As many long calls as short ones, each twenty times the work.
            let flow = u32::from(token % 2 > 0);
            backlog.push(
                Released { flow, ..call(token, Class::First, 0, u64::MAX, 0) },
                if flow == 1 { 20.0 } else { 1.0 },
            );
        }
        let flows: Vec<u32> = (0..400).filter_map(|_| backlog.pop(true)).map(|c| c.flow).collect();
        let long = flows.iter().filter(|f| **f == 1).count();
        // By turns of calls it would be half of them. Beside the turns of those that wait longest, an eighth, there
        // are next to none: with them the long ones have more than their share already.
        assert!((45..=60).contains(&long), "{long}");
        // What comes after a rest has saved up no turns.
        while backlog.pop(true).is_some() {}
        for token in 1_000..1_100 {
            backlog.push(Released { flow: u32::from(token % 2 > 0), ..call(token, Class::First, 0, u64::MAX, 0) }, 1.0);
        }
        let flows: Vec<u32> = (0..40).filter_map(|_| backlog.pop(true)).map(|c| c.flow).collect();
        let first = flows.iter().filter(|f| **f == 0).count();
        assert!((15..=25).contains(&first), "{flows:?}");
    }

    #[test]
    fn repeats_can_be_held_back() {
        let mut backlog = Backlog::new();
        for token in 0..20 {
            backlog.push(call(token, if token < 10 { Class::Retry } else { Class::First }, 0, u64::MAX, 0), 1.0);
        }
        let rest: Vec<u64> = std::iter::from_fn(|| backlog.pop(false)).map(|c| c.call.token).collect();
        assert_eq!(rest, (10..20).collect::<Vec<_>>());
        assert!(!backlog.has_next(false) && backlog.has_next(true));
        assert_eq!(std::iter::from_fn(|| backlog.pop(true)).count(), 10);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(Class, u8, u64, u8),
        Pop,
        PopNewest,
        Remove(usize),
        Expire(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let class =
            prop_oneof![Just(Class::First), Just(Class::Retry), Just(Class::Compensate), Just(Class::AfterPivot)];
        prop_oneof![
            6 => (class, 0u8..3, 0u64..100, any::<u8>()).prop_map(|(c, p, d, g)| Op::Push(c, p, d, g)),
            3 => Just(Op::Pop),
            1 => Just(Op::PopNewest),
            2 => any::<usize>().prop_map(Op::Remove),
            1 => (0u64..60).prop_map(Op::Expire),
        ]
    }

    proptest! {
        /// Against a plain list that is searched.
        #[test]
        fn it_is_a_list_in_order(ops in proptest::collection::vec(op(), 0..200)) {
            let mut backlog = Backlog::new();
            let mut model: Vec<(u32, u64, Released)> = Vec::new();
            let mut turn = 0;
            for (token, op) in ops.into_iter().enumerate() {
                let token = token as u64;
                match op {
                    Op::Push(class, priority, deadline, progress) => {
                        let released = call(token, class, priority, deadline, progress);
                        model.push((backlog.push(released, 1.0), token, released));
                    }
                    Op::Pop => {
                        let oldest = (!model.is_empty()).then_some(0);
                        let best = (0..model.len()).min_by_key(|at| {
                            let (_, arrival, c) = &model[*at];
                            (rank(c), Reverse(c.priority), c.deadline, *arrival)
                        });
                        turn += u32::from(best.is_some());
                        let want = if turn == OLDEST_EVERY { turn = 0; oldest } else { best };
                        prop_assert_eq!(backlog.pop(true), want.map(|at| model.remove(at).2));
                    }
                    Op::PopNewest => prop_assert_eq!(backlog.pop_newest(), model.pop().map(|m| m.2)),
                    Op::Remove(at) if !model.is_empty() => {
                        let (number, _, released) = model.remove(at % model.len());
                        prop_assert_eq!(backlog.remove(number), released);
                    }
                    Op::Remove(_) => {}
                    Op::Expire(now) => {
                        let mut taken = Vec::new();
                        backlog.take_expired(Timestamp(now), |c| taken.push(c));
                        let late: Vec<Released> = model.iter().map(|m| m.2).filter(|c| c.deadline.0 <= now).collect();
                        model.retain(|m| m.2.deadline.0 > now);
                        prop_assert_eq!(taken, late);
                    }
                }
                prop_assert_eq!(backlog.len(), model.len());
                prop_assert!(model.iter().all(|m| m.2.deadline >= backlog.deadline_min()));
            }
        }
    }
}
