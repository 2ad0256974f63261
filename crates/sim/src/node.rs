//! One process of the engine: what `runtime`'s workers do around the pure rooms, on one thread and on demand.
//!
//! ```text
//!  inbox, answers, timers ──► propose ──► entries ──► part ──► journal
//!                                │                               │ durable
//!                                └── effects, answers: held ◄────┘──► load ──► participants, clients, history
//! ```
//! The order within a turn, the two parts under way, what is held for what, what a restart takes up again: as in
//! `runtime/src/worker`. At every step the process may be told to die; then it does nothing any more, and all that it
//! had in memory is dropped.
//!
//! Left out: threads, sockets, admission, metrics, waiting on disk for a row.

pub(crate) mod calls;
pub(crate) mod checkpoint;
pub(crate) mod handing;
pub(crate) mod loading;
pub(crate) mod release;
pub(crate) mod turn;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use compact_str::CompactString;
use journal::BatchHash;
use model::{Epoch, Seq, Timestamp, TxId};
use partition::{CallRef, Command, Effect, Evidence, Leader, Partition, Surroundings};
use plan::Participant;
use smallvec::SmallVec;
use wire::EntryWriter;

use crate::fixed::{Map, Rng};
use calls::Calls;
use handing::{Given, Handed};
use loading::Loader;

/// The partition's room in a process.
pub(crate) struct Host {
    pub(crate) leader: Leader,
    pub(crate) writer: EntryWriter,
    pub(crate) tail: BatchHash,
    /// The last seq that this process knows to be durable.
    pub(crate) durable: Seq,
    pub(crate) parked: BTreeMap<u32, VecDeque<CallRef>>,
    pub(crate) to_recover: VecDeque<Seq>,
    pub(crate) to_grant: Vec<Seq>,
    /// The last entry about each live transaction.
    pub(crate) touched: Map<Seq, Seq>,
    pub(crate) entries_since_checkpoint: u64,
    pub(crate) checkpoint: Option<checkpoint::Prepared>,
    /// A checkpoint is being written.
    pub(crate) is_checkpointing: bool,
    pub(crate) cold: VecDeque<Seq>,
}

impl Host {
    pub(crate) fn new(partition: Partition, tail: BatchHash) -> Self {
        Self {
            durable: partition.seq,
            leader: Leader::new(partition),
            writer: EntryWriter::default(),
            tail,
            parked: BTreeMap::new(),
            to_recover: VecDeque::new(),
            to_grant: Vec::new(),
            touched: Map::default(),
            entries_since_checkpoint: 0,
            checkpoint: None,
            is_checkpointing: false,
            cold: VecDeque::new(),
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.writer.is_empty() && self.durable == self.leader.partition.seq
    }
}

/// Waits for the part that contains what caused it.
pub(crate) enum Held {
    Effect {
        host: usize,
        entry: Seq,
        effect: Effect,
    },
    /// A client's submission is accepted.
    Ack {
        submission: u32,
        tx: TxId,
        replayed: bool,
    },
}

/// Entries at the journal, and what waits for them.
pub(crate) struct UnderWay {
    pub(crate) token: u64,
    pub(crate) held: Vec<Held>,
    /// Per partition, the last seq in it.
    pub(crate) last: SmallVec<[(u16, Seq); 3]>,
}

/// An answer from a participant.
pub(crate) struct Answer {
    pub(crate) token: u64,
    pub(crate) endpoint: u16,
    pub(crate) evidence: Evidence,
    pub(crate) for_load: load::Evidence,
    pub(crate) took: std::time::Duration,
}

/// What others want of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    Begin(u32),
    Committed {
        token: u64,
        failed: bool,
    },
    Fenced,
    Signal {
        tx: TxId,
        no: bool,
    },
    /// A person looks at a transaction and does something about it.
    Person {
        tx: TxId,
        wish: Wish,
    },
    Pause {
        participant: u32,
        on: bool,
    },
    Tables,
}

/// What a person has in mind; what exactly is decided on what there is to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Cancel,
    Retry,
    /// Answers the open question, truthfully.
    Decide,
}

/// A submission that this process knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKey {
    pub(crate) tx: TxId,
    pub(crate) digest: u64,
}

/// By family of definitions and idempotency key.
pub(crate) type Scope = (u32, CompactString);

/// See the head of this file.
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) epoch: Epoch,
    /// Its clock minus true time, in µs.
    offset_us: i64,
    wobbles: Option<Rng>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) load: Loader,
    pub(crate) calls: Calls,
    pub(crate) answers: Vec<Answer>,
    /// Answers that are told a second time, later: whoever decides must know that they are over.
    pub(crate) echoes: Option<Rng>,
    pub(crate) echoing: VecDeque<(usize, Command)>,
    pub(crate) notes: VecDeque<Note>,
    pub(crate) gathering: Vec<Held>,
    pub(crate) under_way: VecDeque<UnderWay>,
    /// Parts that the journal would not take.
    pub(crate) stuck: VecDeque<journal::Part>,
    next_token: u64,
    effects: Vec<Effect>,
    pub(crate) held_participants: Vec<bool>,
    finished: Vec<(u64, load::Sample, Option<Rc<Given>>)>,
    asked: Vec<(u64, load::Released, Option<load::Share>)>,
    /// Answers that the load manager keeps, by the call that they were given to.
    kept: Map<u64, Rc<Given>>,
    handed: Vec<Handed>,
    verdicts: Vec<load::Verdict>,
    parked_changed: bool,
    unparks: usize,
    pub(crate) keys: Map<Scope, KnownKey>,
    /// Clients that wait for an outcome.
    pub(crate) waiters: Map<TxId, u32>,
    /// It dies after so many more steps.
    pub(crate) dies_in: Option<u32>,
    pub(crate) is_dead: bool,
    /// Somebody else has its partitions: its permit to start calls is over.
    pub(crate) is_former: bool,
    /// When its next turn is planned.
    pub(crate) turn_at: Timestamp,
    row: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

/// What a leader may look up.
pub(crate) struct Around<'a> {
    pub(crate) participants: &'a [Participant],
    pub(crate) held: &'a [bool],
    pub(crate) panics: &'a Cell<bool>,
}

impl Surroundings for Around<'_> {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        if self.panics.take() {
            // Past the panic hook: nobody wants to read of it.
            std::panic::resume_unwind(Box::new("a planted panic"));
        }
        let place = self.participants.iter().position(|p| p.name == name)?;
        Some((place as u32, &self.participants[place]))
    }

    fn is_held(&self, participant: u32) -> bool {
        self.held.get(participant as usize).copied().unwrap_or(false)
    }
}

impl Node {
    pub(crate) fn new(id: u32, epoch: Epoch, offset_us: i64, wobbles: Option<Rng>, load: Loader) -> Self {
        Self {
            id,
            epoch,
            offset_us,
            wobbles,
            hosts: Vec::new(),
            load,
            calls: Calls::default(),
            answers: Vec::new(),
            echoes: None,
            echoing: VecDeque::new(),
            notes: VecDeque::new(),
            gathering: Vec::new(),
            under_way: VecDeque::new(),
            stuck: VecDeque::new(),
            next_token: 1,
            effects: Vec::new(),
            held_participants: Vec::new(),
            finished: Vec::new(),
            asked: Vec::new(),
            kept: Map::default(),
            handed: Vec::new(),
            verdicts: Vec::new(),
            parked_changed: true,
            unparks: 0,
            keys: Map::default(),
            waiters: Map::default(),
            dies_in: None,
            is_dead: false,
            is_former: false,
            turn_at: Timestamp::NEVER,
            row: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// What its clock says at this true time.
    pub(crate) fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.offset_us))
    }

    /// The same with what a bad clock adds.
    fn read_clock(&mut self, now: Timestamp) -> Timestamp {
        let at = self.clock(now);
        match &mut self.wobbles {
            Some(rng) => Timestamp(at.0 - rng.below(4_000)),
            None => at,
        }
    }

    /// The true time at which its clock will say this.
    pub(crate) fn true_time(&self, at: Timestamp) -> Timestamp {
        // A clock that wobbles is late by as much as it wobbles.
        let late = if self.wobbles.is_some() { 4_000 } else { 0 };
        if at == Timestamp::NEVER { at } else { Timestamp(at.0.saturating_add_signed(-self.offset_us) + late) }
    }

    /// One step of its life; true when it was the last.
    fn dies(&mut self) -> bool {
        match &mut self.dies_in {
            Some(0) => self.is_dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.is_dead
    }

    /// Everything proposed is durable, and everything that it led to has left.
    pub(crate) fn is_clean(&self, host: usize) -> bool {
        self.hosts[host].is_clean()
            && self.gathering.is_empty()
            && self.under_way.is_empty()
            && self.stuck.is_empty()
            && self.asked.is_empty()
    }

    /// Whether this call is held for durability, asked about, queued, or under way.
    pub(crate) fn knows(&self, host: usize, call: CallRef) -> bool {
        let held = self.gathering.iter().chain(self.under_way.iter().flat_map(|u| u.held.iter()));
        self.calls.has(host, call)
            || held.into_iter().any(|held| match held {
                Held::Effect { host: h, effect: Effect::Call(out), .. } => *h == host && out.call == call,
                _ => false,
            })
    }
}
