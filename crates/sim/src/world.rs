//! One world: a node, its disk, participants, clients, people and faults, on one thread, from one seed.
//!
//! ```text
//!  queue ──► what happens next ──► node.turn ──► entries ──► disk ──► followers, checkers
//!                 ▲                                │ released
//!                 └── calls, answers, faults ◄─────┘
//! ```
//! A life has a stormy part, in which the schedule's faults happen, and a calm one, in which everything that lives
//! must come to its end. Time is a number in the queue; nothing else decides what comes next.
//!
//! Left out: what may not happen (`check`), many worlds (`campaign`).

mod calls;
mod clients;
mod crash;
mod plan;
mod writing;

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use model::{PartitionId, Timestamp, TxId};
use partition::Partition;

use crate::check;
use crate::disk::{Disk, End};
use crate::event::{Checker, Event, Fault, Violation};
pub(crate) use crate::facts::tell;
use crate::facts::{Facts, History, PATIENCE, tell_end};
use crate::features::Features;
use crate::fixed::Rng;
use crate::ledger::Ledger;
use crate::node::checkpoint::Store;
use crate::node::{Node, Note};
use crate::outside::{Flight, Outside};
use crate::people::People;
use crate::queue::{Happening, Queue};
use crate::tables::Tables;
use crate::watch::{Story, Watch};
pub(crate) use calls::send;
pub(crate) use clients::{acknowledge, turn_away};
pub(crate) use plan::{Planned, schedule};

/// When every world begins.
const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);
/// How much may happen while nothing moves outside (see [`Still`]): at once, for each submission, and for each second
/// of the storm and of the calm.
const STILL_AT_ONCE: u64 = 20_000;
const STILL_PER_SUBMISSION: u64 = 40;
const STILL_PER_STORM_SECOND: u64 = 1_000;
const STILL_PER_CALM_SECOND: u64 = 100;
const ROUNDS_OF_PEOPLE_MAX: u32 = 20;

/// Everything outside the process.
pub(crate) struct Outer {
    pub(crate) facts: Facts,
    pub(crate) watch: Watch,
    pub(crate) queue: Queue,
    pub(crate) disk: Disk,
    journal: Journal,
    pub(crate) stores: Vec<Store>,
    pub(crate) outside: Outside,
    pub(crate) people: People,
    pub(crate) tables: Tables,
    pub(crate) features: Features,
    pub(crate) panics: Cell<bool>,
    copies: Vec<Flight>,
    disk_rng: Rng,
    moods: Moods,
}

/// Parts on their way to the disk.
#[derive(Default)]
struct Journal {
    queue: VecDeque<(u32, journal::Part)>,
    /// The write under way: its number, whose it is, its parts.
    writing: Option<(u64, u32, Vec<journal::Part>)>,
    writes: u64,
}

/// What is wrong with the machine just now.
#[derive(Default)]
struct Moods {
    slow_disk: u32,
    full_disk: u32,
    fails_checkpoints: u32,
    next_sync_fails: bool,
}

/// See the head of this file.
pub(crate) struct World {
    out: Outer,
    node: Option<Box<Node>>,
    former: Option<Box<Node>>,
    nodes: u32,
    epoch: u32,
    /// How the process ended, while there is none.
    end: End,
    down_until: Timestamp,
    /// The wall clock minus true time, in µs.
    wall_us: i64,
    planned: Vec<Planned>,
    rng: Rng,
    steps: u64,
    turns: u64,
    still: Still,
}

/// How much has happened since anything moved outside: since a participant was reached by a call, a client was told
/// something, or a transaction ended. What a life needs between two such moments grows with the time that passes (an
/// outage is probed for as long as it lasts) and with what there is to take up after a restart, and with nothing else;
/// whatever needs more goes round and round.
#[derive(Default)]
struct Still {
    moved: u64,
    since: Timestamp,
    steps: u64,
    /// The most that was ever used of what may be, in percent.
    used_percent_max: u64,
}

impl Still {
    /// Looks at the clock after so many happenings, with so many moves outside. `Err` says what is wrong.
    fn look(&mut self, now: Timestamp, steps: u64, moved: u64, orders: u64, is_calm: bool) -> Result<(), String> {
        if self.moved != moved || self.since == Timestamp::ZERO {
            *self = Self { moved, since: now, steps, used_percent_max: self.used_percent_max };
        }
        let (spent, passed) = (steps - self.steps, now.since(self.since));
        let per_second = if is_calm { STILL_PER_CALM_SECOND } else { STILL_PER_STORM_SECOND };
        let most = STILL_AT_ONCE + STILL_PER_SUBMISSION * orders + per_second * passed.as_secs();
        self.used_percent_max = self.used_percent_max.max(spent * 100 / most);
        if spent > most {
            return Err(format!(
                "{spent} happenings in {passed:?}, and nothing moves outside: it goes round and round"
            ));
        }
        if is_calm && passed > PATIENCE {
            return Err(format!("all is calm, and for {passed:?} nothing has moved outside"));
        }
        Ok(())
    }
}

/// How a life went.
#[derive(Debug)]
pub struct Life {
    pub seed: u64,
    pub entries: u64,
    pub digest: u64,
    /// Who found it, and what.
    pub broken: Option<(&'static str, Violation)>,
    pub features: Vec<&'static str>,
    pub(crate) story: Option<Story>,
    pub submissions: u32,
    /// How near it came to the bound of happenings without a move outside, in percent.
    pub still_percent_max: u64,
}

/// How to run a life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    /// Write everything down, or only what concerns one transaction.
    pub(crate) story: Option<Option<TxId>>,
    /// Places of the schedule that do not happen.
    pub(crate) dropped: Vec<u32>,
    pub(crate) without_checkers: bool,
    /// Only the checkers of promises, not those of the rules that keep them.
    pub(crate) promises_only: bool,
}

impl Orders {
    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        match (self.without_checkers, self.promises_only) {
            (true, _) => Vec::new(),
            (false, true) => check::promises(),
            (false, false) => check::all(),
        }
    }
}

/// Lives one life.
pub(crate) fn live(features: &Features, orders: &Orders) -> Life {
    let mut world = World::new(features.clone(), orders);
    world.run();
    let World { mut out, still, .. } = world;
    Life {
        seed: features.seed,
        entries: out.watch.entries,
        digest: out.watch.digest(),
        story: out.watch.take_story(),
        broken: out.watch.broken.take(),
        features: features.names().to_vec(),
        submissions: features.submissions,
        still_percent_max: still.used_percent_max,
    }
}

impl Outer {
    /// Hands a part to the disk.
    pub(crate) fn submit(&mut self, node: u32, part: journal::Part) {
        self.journal.queue.push_back((node, part));
    }

    /// When a write that starts now is on disk.
    pub(crate) fn after_disk(&mut self) -> Timestamp {
        let (low, high) = self.features.disk_us;
        let factor = if self.moods.slow_disk > 0 { 40 } else { 1 };
        let us = self.disk_rng.between(low, high) * factor;
        Timestamp(self.facts.now.0 + us)
    }

    /// A person undoes a step at its participant, by other means.
    pub(crate) fn undone_by_hand(&mut self, tx: TxId, step: u16) {
        self.facts.ledger.undo_by_hand(tx, step);
    }
}

impl World {
    fn new(features: Features, orders: &Orders) -> Self {
        let participants = features.participants();
        let tables = Tables::new(&features.dishes);
        let seed = features.seed;
        let people = People::new(&features, &tables, START, features.has(Fault::Burst));
        let mut planned = schedule(&features, START, participants.len());
        for (n, item) in planned.iter_mut().enumerate() {
            item.is_dropped = orders.dropped.contains(&(n as u32));
        }
        let mut followers: Vec<Partition> = (0..features.partitions).map(|p| Partition::new(PartitionId(p))).collect();
        for follower in &mut followers {
            tables.teach(follower);
        }
        let mut out = Outer {
            facts: Facts {
                seed,
                now: START,
                is_calm: false,
                followers,
                ledger: Ledger::default(),
                participants,
                history: History::default(),
            },
            watch: Watch::new(orders.checkers(), orders.story),
            queue: Queue::default(),
            disk: Disk::new(Rng::named(seed, "disk")),
            journal: Journal::default(),
            stores: (0..features.partitions).map(|_| Store::default()).collect(),
            outside: Outside::new(features.tempers.clone(), features.tick_us, Rng::named(seed, "outside")),
            people,
            tables,
            panics: Cell::new(false),
            copies: Vec::new(),
            disk_rng: Rng::named(seed, "latency"),
            moods: Moods::default(),
            features,
        };
        for (n, order) in out.people.orders.iter().enumerate() {
            out.queue.plan(order.at, Happening::Client { submission: n as u32 });
        }
        let mut calm_at = START.after(Duration::from_micros(out.features.storm_us));
        for (n, item) in planned.iter().enumerate().filter(|(_, item)| !item.is_dropped) {
            out.queue.plan(item.at, Happening::FaultBegins { n: n as u32 });
            calm_at = calm_at.max(item.at.after(item.holds_up));
        }
        out.queue.plan(calm_at, Happening::CalmBegins);
        Self {
            out,
            node: None,
            former: None,
            nodes: 0,
            epoch: 0,
            end: End::Process,
            down_until: START,
            wall_us: 0,
            planned,
            rng: Rng::named(seed, "world"),
            steps: 0,
            turns: 0,
            still: Still::default(),
        }
    }

    fn say(&mut self, event: &Event<'_>) {
        tell(&mut self.out.watch, &self.out.facts, self.node.as_deref(), event);
    }

    fn run(&mut self) {
        let names = self.out.features.names().to_vec();
        let seed = self.out.features.seed;
        self.say(&Event::WorldBegins { seed, features: &names });
        self.restart();
        let mut rounds = 0;
        let mut ended_before = 0;
        while self.out.watch.broken.is_none() {
            self.steps += 1;
            let (moved, orders) = (self.out.watch.moved, u64::from(self.out.features.submissions));
            let is_calm = self.out.facts.is_calm;
            if let Err(what) = self.still.look(self.out.facts.now, self.steps, moved, orders, is_calm) {
                self.out.watch.found(Violation::new("liveness", None, what));
                break;
            }
            let idle = self.out.facts.is_calm && self.steps.is_multiple_of(64) && self.is_idle();
            match if idle { None } else { self.out.queue.next() } {
                Some((at, what)) => {
                    self.out.facts.now = self.out.facts.now.max(at);
                    self.happen(what);
                }
                None if !self.out.facts.is_calm => self.begin_calm(),
                None => {
                    self.say(&Event::Quiescent);
                    if self.is_over() {
                        break;
                    }
                    // Those behind a lock come one after the other: whoever ends makes room.
                    let ended = self.out.facts.history.len();
                    rounds = if ended > ended_before { 0 } else { rounds + 1 };
                    ended_before = ended;
                    if rounds > ROUNDS_OF_PEOPLE_MAX {
                        self.strand();
                        break;
                    }
                    self.ask_people(rounds);
                }
            }
        }
        tell_end(&mut self.out.watch, &self.out.facts, self.node.as_deref());
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Turn { node } => self.turn(node),
            Happening::DiskDone { write } => self.disk_done(write),
            Happening::Effect(id) => self.effect(id),
            Happening::Reply(id) => self.reply(id),
            Happening::Again { copy } => self.again(copy),
            Happening::Client { submission } => self.client(submission),
            Happening::Signal { submission, no } => self.signal(submission, no),
            Happening::FaultBegins { n } => self.fault_begins(n),
            Happening::FaultEnds { n } => self.fault_ends(n),
            Happening::CheckpointDone { partition, node } => self.checkpoint_done(partition, node),
            Happening::Restart => {
                if self.node.is_none() && self.out.facts.now >= self.down_until {
                    self.restart();
                }
            }
            Happening::FormerOwner => self.former_wakes(),
            Happening::CalmBegins => self.begin_calm(),
        }
    }

    fn next_tick(&self) -> Timestamp {
        let tick = self.out.features.tick_us;
        Timestamp((self.out.facts.now.0 / tick + 1) * tick)
    }

    /// The node gets a turn at the next tick, or later if nothing is to be done before.
    fn wake(&mut self) {
        let at = self.next_tick();
        if let Some(node) = &mut self.node
            && node.turn_at > at
        {
            node.turn_at = at;
            self.out.queue.plan(at, Happening::Turn { node: node.id });
        }
    }

    fn tell_node(&mut self, note: Note) {
        if let Some(node) = &mut self.node {
            node.notes.push_back(note);
            self.wake();
        }
    }

    fn turn(&mut self, id: u32) {
        let now = self.out.facts.now;
        let Some(mut node) = self.node.take_if(|node| node.id == id) else { return };
        if node.turn_at != now {
            self.node = Some(node);
            return;
        }
        node.turn_at = Timestamp::NEVER;
        node.turn(&mut self.out);
        if node.is_dead {
            self.node = Some(node);
            let end = self.end;
            self.crash(end, Duration::from_millis(200));
            return;
        }
        let next = if node.is_busy() { self.next_tick() } else { node.next_due(now).max(self.next_tick()) };
        if next != Timestamp::NEVER && next < node.turn_at {
            node.turn_at = next;
            self.out.queue.plan(next, Happening::Turn { node: node.id });
        }
        self.node = Some(node);
        self.write();
        self.turns += 1;
        if self.turns.is_multiple_of(32) {
            self.pulse();
        }
    }

    fn pulse(&mut self) {
        let is_clean = self.node.as_ref().is_some_and(|node| (0..node.hosts.len()).all(|h| node.is_clean(h)));
        if is_clean {
            self.say(&Event::Pulse);
        }
    }

    fn checkpoint_done(&mut self, partition: u16, id: u32) {
        let fails = self.out.moods.fails_checkpoints > 0;
        let Some(mut node) = self.node.take_if(|node| node.id == id) else { return };
        node.checkpoint_done(&mut self.out, usize::from(partition), fails);
        self.node = Some(node);
    }

    fn begin_calm(&mut self) {
        if self.out.facts.is_calm {
            return;
        }
        for n in 0..self.planned.len() {
            self.fault_ends(n as u32);
        }
        self.out.facts.is_calm = true;
        self.out.outside.is_calm = true;
        for mood in &mut self.out.outside.moods {
            *mood = crate::outside::Mood { running: mood.running, ..Default::default() };
        }
        self.out.moods = Moods::default();
        self.out.disk.is_full = false;
        if let Some(node) = &mut self.node {
            node.dies_in = None;
        }
        if self.node.is_none() {
            self.restart();
        }
        if self.former.is_some() {
            self.former_wakes();
        }
        for participant in 0..self.out.facts.participants.len() as u32 {
            self.tell_node(Note::Pause { participant, on: false });
        }
        self.say(&Event::Calm);
        self.send_all_signals();
        self.wake();
    }

    fn is_live(&self, tx: TxId) -> bool {
        let place = usize::from(tx.partition().0);
        let host = self.node.as_ref().and_then(|node| node.hosts.get(place));
        host.is_some_and(|h| h.leader.partition.presence(tx.seq()) != partition::state::Presence::Absent)
    }

    fn live(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.hosts.iter().map(|h| h.leader.partition.live_count()).sum())
    }

    /// Every client has its answer, and every transaction its end.
    fn is_over(&self) -> bool {
        self.node.is_some() && self.live() == 0 && self.out.people.orders.iter().all(crate::people::Order::is_answered)
    }

    /// Nothing is left but what waits for a person, though the load manager may still look at its clock.
    fn is_idle(&self) -> bool {
        let Some(node) = &self.node else { return false };
        if self.former.is_some() || !self.out.journal.queue.is_empty() || self.out.journal.writing.is_some() {
            return false;
        }
        let quiet = node.hosts.iter().all(|h| {
            h.to_recover.is_empty()
                && h.to_grant.is_empty()
                && h.parked.values().all(VecDeque::is_empty)
                && h.leader.partition.next_wake().is_none()
        });
        quiet
            && !node.is_busy()
            && node.calls.len() == 0
            && (0..node.hosts.len()).all(|h| node.is_clean(h))
            && !self.out.outside.has_anything_on_its_way()
            && self.out.people.orders.iter().all(crate::people::Order::is_answered)
    }

    fn strand(&mut self) {
        let first = self.node.as_ref().and_then(|node| {
            node.hosts.iter().find_map(|h| {
                let seq = *h.leader.partition.live_seqs().first()?;
                let tx = h.leader.partition.get(seq);
                Some((tx.map(|tx| tx.id), format!("{tx:?}")))
            })
        });
        let (tx, what) = first.unwrap_or_else(|| (None, "a client was never answered".to_owned()));
        let what = format!("no person can end it: {what}");
        self.out.watch.found(Violation::new("liveness", tx, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks once a second for so long, with so many happenings in between. Gives when it was too much.
    fn lives(seconds: u64, each_second: u64, moves_every: u64, is_calm: bool) -> Option<u64> {
        let (mut still, mut now, mut moved) = (Still::default(), START, 0);
        (1..=seconds).find(|n| {
            now = now.after(SECOND);
            moved += u64::from(n.is_multiple_of(moves_every));
            still.look(now, n * each_second, moved, 10, is_calm).is_err()
        })
    }

    #[test]
    fn an_outage_may_be_probed_for_as_long_as_it_lasts() {
        assert_eq!(lives(30 * 3_600, STILL_PER_STORM_SECOND / 2, u64::MAX, false), None);
    }

    #[test]
    fn what_moves_outside_may_take_as_long_as_it_likes() {
        assert_eq!(lives(30 * 3_600, STILL_AT_ONCE / 60, 60, true), None);
    }

    #[test]
    fn what_goes_round_is_told_soon() {
        let told = lives(30 * 3_600, 10 * STILL_PER_STORM_SECOND, u64::MAX, false);
        assert!(told.is_some_and(|seconds| seconds < 10), "{told:?}");
        let told = lives(30 * 3_600, 2 * STILL_PER_CALM_SECOND, u64::MAX, true);
        assert!(told.is_some_and(|seconds| seconds < 300), "{told:?}");
    }

    #[test]
    fn slowly_for_ever_is_for_ever() {
        let told = lives(50 * 86_400, 1, u64::MAX, true);
        assert_eq!(told, Some(PATIENCE.as_secs() + 2));
    }
}
