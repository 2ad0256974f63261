//! The calls that wait in memory for one participant.
//!
//! Order: what must happen (compensations, after the pivot), then the nearly finished, then repeats, then the
//! rest; within these by priority, deadline, arrival. A second thread runs through all of them by arrival, so
//! that every eighth start can go to whoever waits longest and nobody waits for ever.
//!
//! A slab, a heap for each rank with the place of each call in it, and a linked list: adding, taking and removing
//! from the middle cost at most the logarithm of the length, and nothing is allocated once it has grown.

use std::cmp::Reverse;

use model::Timestamp;

use crate::call::{Class, Released};
use crate::{BACKLOG_CALLS_MAX, HELD_CALLS_MAX};

const RANKS: usize = 4;
const NONE: u32 = u32::MAX;
/// Every so manieth start goes to the call that waits longest.
const OLDEST_EVERY: u32 = 8;

/// What must happen goes first; a repeat goes behind first attempts of nearly finished work (SEMANTICS 20).
fn rank(call: &Released) -> usize {
    match call.class {
        Class::Compensate | Class::AfterPivot => 0,
        Class::First if call.progress >= 128 => 1,
        Class::Retry => 2,
        Class::First => 3,
    }
}

#[derive(Debug)]
struct Slot {
    call: Released,
    arrival: u64,
    rank: u8,
    place: u32,
    older: u32,
    newer: u32,
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
    heaps: [Vec<u32>; RANKS],
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
            heaps: Default::default(),
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
        self.len < HELD_CALLS_MAX
    }

    /// Adds a call; the number names it until it leaves.
    pub(crate) fn push(&mut self, call: Released) -> u32 {
        let rank = rank(&call);
        let place = self.heaps[rank].len() as u32;
        let arrival = self.arrivals;
        self.arrivals += 1;
        let slot = Slot { call, arrival, rank: rank as u8, place, older: self.newest, newer: NONE };
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
        self.heaps[rank].push(number);
        self.up(rank, place as usize);
        self.len += 1;
        self.deadline_min = self.deadline_min.min(call.deadline);
        number
    }

    /// Takes the call whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Released> {
        let first = self.heaps.iter().find_map(|heap| heap.first().copied())?;
        self.turn += 1;
        if self.turn >= OLDEST_EVERY {
            self.turn = 0;
            return Some(self.remove(self.oldest));
        }
        Some(self.remove(first))
    }

    /// Takes the call that came last.
    pub(crate) fn pop_newest(&mut self) -> Option<Released> {
        (self.newest != NONE).then(|| self.remove(self.newest))
    }

    /// Takes a call by its number.
    pub(crate) fn remove(&mut self, number: u32) -> Released {
        let slot = &self.slots[number as usize];
        let (call, rank, place) = (slot.call, usize::from(slot.rank), slot.place as usize);
        let (older, newer) = (slot.older, slot.newer);
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        let heap = &mut self.heaps[rank];
        heap.swap_remove(place);
        if place < heap.len() {
            self.slots[heap[place] as usize].place = place as u32;
            self.up(rank, place);
            self.down(rank, place);
        }
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

    fn swap(&mut self, rank: usize, a: usize, b: usize) {
        self.heaps[rank].swap(a, b);
        self.slots[self.heaps[rank][a] as usize].place = a as u32;
        self.slots[self.heaps[rank][b] as usize].place = b as u32;
    }

    fn up(&mut self, rank: usize, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.before(self.heaps[rank][place], self.heaps[rank][parent]) {
                return;
            }
            self.swap(rank, place, parent);
            place = parent;
        }
    }

    fn down(&mut self, rank: usize, mut place: usize) {
        loop {
            let heap = &self.heaps[rank];
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < heap.len() && self.before(heap[child], heap[least]) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(rank, place, least);
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
            backlog.push(released);
        }
        let order: Vec<u64> = std::iter::from_fn(|| backlog.pop()).map(|c| c.call.token).collect();
        assert_eq!(order, [6, 7, 5, 3, 4, 2, 1]);
    }

    #[test]
    fn whoever_waits_longest_is_every_eighth() {
        let mut backlog = Backlog::new();
        for token in 0..3 {
            backlog.push(call(token, Class::First, 0, u64::MAX, 0));
        }
        // Compensations come faster than they leave.
        let mut starts = Vec::new();
        for token in 100..130 {
            backlog.push(call(token, Class::Compensate, 0, u64::MAX, 0));
            backlog.push(call(token + 1_000, Class::Compensate, 0, u64::MAX, 0));
            starts.extend(backlog.pop().map(|c| c.call.token));
        }
        let waited: Vec<usize> = (0..3).filter_map(|t| starts.iter().position(|s| *s == t)).collect();
        assert_eq!(waited, [7, 15, 23]);
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
                        model.push((backlog.push(released), token, released));
                    }
                    Op::Pop => {
                        let oldest = (!model.is_empty()).then_some(0);
                        let best = (0..model.len()).min_by_key(|at| {
                            let (_, arrival, c) = &model[*at];
                            (rank(c), Reverse(c.priority), c.deadline, *arrival)
                        });
                        turn += u32::from(best.is_some());
                        let want = if turn == OLDEST_EVERY { turn = 0; oldest } else { best };
                        prop_assert_eq!(backlog.pop(), want.map(|at| model.remove(at).2));
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
