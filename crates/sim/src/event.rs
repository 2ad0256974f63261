//! Everything that happens in a world and that a checker may want to know: one closed enum, and the checkers' door.
//!
//! Events are told in the order in which they happen, each at the world's true time. They borrow what they speak of;
//! a checker keeps what it needs. [`View`] is the world right after the event. Names of transactions are full ids
//! ([`TxId`]) wherever a participant or a client is concerned: a seq means one thing in one partition only.
//!
//! Left out: how a world is run (`world`), what a violation looks like to a reader (`story`).

use std::fmt;
use std::time::Duration;

use model::{CallKey, Direction, Epoch, Seq, Timestamp, TxId};
use partition::branch::{Branch, Status, StepState};
use partition::transaction::{AttentionCause, LockState, Phase, TxOutcome};
use partition::{CallRef, Command, Effect, Entry, Evidence, Operator, OutgoingCall, Partition, Rejected, Transaction};
use plan::{Participant, Saga};
use smallvec::SmallVec;

use crate::ledger::Ledger;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    // --- the frame of a life ---
    /// The first event. Named features and faults that this seed has switched on.
    WorldBegins { seed: u64, features: &'a [&'static str] },
    /// A fault begins (`on`) or ends. Faults that are one moment only are told once, with `on: true`.
    FaultWindow { fault: Fault, on: bool },
    /// No fault happens from here on, nobody submits, every participant answers truthfully and in time.
    Calm,
    /// Nothing is under way any more, and nothing is due within [`View::patience`]: what is live now, says why.
    Quiescent,

    // --- clients ---
    /// A client sends a submission (`again`: one that it has sent before, the same bytes).
    Submitted { client: u32, partition: u16, definition: &'a str, idempotency_key: &'a str, digest: u64, again: bool },
    /// The client is told that it is accepted. Durable by now. `replayed`: it was known already.
    Acknowledged { client: u32, definition: &'a str, idempotency_key: &'a str, digest: u64, tx: TxId, replayed: bool },
    /// The client is told that it is not. `accepted_unknown`: it may be accepted all the same (503, connection lost).
    TurnedAway { client: u32, definition: &'a str, idempotency_key: &'a str, accepted_unknown: bool },
    /// Somebody who waited is told the outcome. Durable by now.
    OutcomeTold { tx: TxId, outcome: TxOutcome },
    /// A person's verb, or a signal (`verb` is none): what became of it at the leader, before it is durable.
    Operated { tx: TxId, verb: Option<&'a Operator>, taken: Result<(), &'a Rejected> },

    // --- the partition's pipeline ---
    /// A command became an entry, on the leader's speculative state; `effects` are held until it is durable.
    /// `before` and `after` are the transaction it is about (`after` also when it ended); none for epochs and plans.
    Proposed {
        partition: u16,
        command: &'a Told<'a>,
        entry: &'a Entry,
        effects: &'a [Effect],
        before: Option<&'a Before>,
        after: Option<&'a Transaction>,
    },
    /// A command became no entry.
    Rejected { partition: u16, command: &'a Told<'a>, why: &'a Rejected },
    /// These entries are on disk now, as the journal says.
    Durable { partition: u16, epoch: Epoch, first_seq: Seq, last_seq: Seq },
    /// The follower has read one durable entry back from the batch's bytes and applied it.
    /// `ended` is what ended by it.
    Applied { partition: u16, entry: &'a Entry, ended: Option<&'a Transaction> },
    /// The journal would not take an append of this owner: another one has the partition.
    Fenced { partition: u16, epoch: Epoch },
    /// An effect leaves: its entry is durable.
    Released { partition: u16, entry: Seq, effect: &'a Effect },

    // --- calls ---
    /// The load manager was asked about a released call. `may_join`: it may take another's answer.
    Asked { tx: TxId, call: CallRef, participant: u32, class: load::Class, deadline: Timestamp, may_join: bool },
    /// The load manager lets it start, and it is sent. `limit` is what the participant declares now.
    Started {
        tx: TxId,
        call: CallRef,
        key: CallKey,
        participant: u32,
        endpoint: u16,
        epoch: Epoch,
        outgoing: &'a OutgoingCall,
        in_flight: u32,
        limit: u32,
    },
    /// The load manager gave it back: parked, withdrawn, expired, or answered by another's call. It never left.
    GivenBack { tx: TxId, call: CallRef, participant: u32 },
    /// It arrives at the participant, perhaps long after everybody stopped waiting. `running` counts the calls that
    /// the participant works on, this one included.
    Arrived { key: CallKey, participant: u32, endpoint: u16, running: u32 },
    /// What the participant did with it, whatever it answers.
    Worked { key: CallKey, participant: u32, endpoint: u16, deed: Work, amount: i64 },
    /// The participant has finished with it; `running` counts what is left.
    Left { key: CallKey, participant: u32, running: u32 },
    /// The engine hears how an attempt ended.
    Heard { tx: TxId, call: CallRef, key: CallKey, participant: u32, evidence: &'a Evidence, took: Duration },

    /// Somebody pauses a participant, or lets it go on: known to the load manager from here on.
    Paused { participant: u32, on: bool },

    // --- the process ---
    /// The process of this node ends at once. `power`: what was not synced may be lost, sector by sector.
    Crashed { power: bool },
    /// A partition is back: checkpoint and journal. `restored` is what recovery built, before its new epoch.
    Recovered { partition: u16, restored: &'a Partition, checkpoint: Seq, replayed: u64, tail: Seq },
    /// Recovery found damage where there must be none, or cut less or more than it may.
    Damaged { partition: Option<u16>, what: &'a str },
    /// The partition has an owner with this epoch. `former_lives`: the owner before does not know yet.
    Opened { partition: u16, epoch: Epoch, former_lives: bool },
    /// A checkpoint is on disk; rows up to here.
    Checkpointed { partition: u16, seq: Seq, rows: u64 },
    /// Rows left memory (`resident` are left).
    Evicted { partition: u16, rows: u64, resident: u64 },
    /// A transaction has ended and is in history.
    Ended { partition: u16, tx: &'a Transaction, plan: &'a Saga },
    /// Definitions or participants changed under way.
    Changed { what: &'a str },
    /// Told now and then while the node runs, when nothing of any partition waits for the disk: a good moment to
    /// compare what is derived (timers, outstanding calls, parked calls) with the state.
    Pulse,
}

/// What a transaction was before a decision about it, as far as decisions are judged by it: a copy of all of it for
/// every entry would be a good part of a life.
#[derive(Clone, Debug)]
pub struct Before {
    pub phase: Phase,
    pub lock: LockState,
    pub is_decided: bool,
    /// Put aside: a decision about it had broken off.
    pub is_aside: bool,
    pub steps: SmallVec<[StepBefore; 6]>,
}

/// One step of it.
#[derive(Clone, Copy, Debug)]
pub struct StepBefore {
    pub status: Status,
    pub branch: Branch,
    pub attempts: u32,
    pub round: u16,
    pub may_have_executed: bool,
    pub settles_at: Timestamp,
}

impl Before {
    pub(crate) fn of(tx: &Transaction) -> Self {
        let step = |s: &StepState| StepBefore {
            status: s.status,
            branch: s.branch,
            attempts: s.attempts,
            round: s.round,
            may_have_executed: s.may_have_executed,
            settles_at: s.settles_at,
        };
        Self {
            phase: tx.phase,
            lock: tx.lock,
            is_decided: tx.outcome.is_some(),
            is_aside: is_aside(tx),
            steps: tx.steps.iter().map(step).collect(),
        }
    }
}

/// Put aside: a decision about it broke off, and a person takes it up.
pub(crate) fn is_aside(tx: &Transaction) -> bool {
    tx.attention.as_ref().is_some_and(|a| a.cause == AttentionCause::Quarantined)
}

/// What a command was, without what it owned.
#[derive(Debug)]
pub enum Told<'a> {
    Begin { idempotency_key: &'a str, input: &'a model::Value },
    Other(&'a Command),
    Epoch,
    Plan,
}

/// What a participant did with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The effect happened (money went there).
    Done,
    /// An undo happened (money came back).
    Undone,
    /// Recognised by its call key: nothing happened again.
    Repeat,
    /// The request differed from the first one under this call key.
    Reused,
    /// It did nothing: refused, failed before, or an undo had blocked it.
    Nothing,
    /// An undo of what is not there.
    NothingThere,
    /// A read.
    Read,
}

/// What can go wrong in a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fault {
    Crash,
    PowerCut,
    FailedSync,
    TornWrite,
    SlowDisk,
    FullDisk,
    BitRot,
    FailedCheckpoint,
    ClockJump,
    Downtime,
    TwoOwners,
    Slow,
    Hang,
    Refuse,
    Fail,
    Down,
    GatewayError,
    AnswerLost,
    Cut,
    LateArrival,
    Duplicate,
    Forgetful,
    Unauthorized,
    BadBody,
    LoadLies,
    Panic,
    Operator,
    Burst,
    Definitions,
    Pause,
}

/// What a checker may look at: the world right after the event.
#[derive(Debug)]
pub struct View<'w> {
    pub seed: u64,
    /// True time. The node's own clock may differ ([`View::node_now`]).
    pub now: Timestamp,
    pub node_now: Timestamp,
    /// The fault time is over.
    pub is_calm: bool,
    /// Longer than any timer of a world in its calm time: see [`Event::Quiescent`].
    pub patience: Duration,
    /// Declared now, by place; the same place means the same participant for ever.
    pub participants: &'w [Participant],
    /// What really happened at the participants.
    pub ledger: &'w Ledger,
    pub(crate) probe: &'w dyn Probe,
}

/// What is looked up only when a checker asks.
pub(crate) trait Probe {
    fn partition_count(&self) -> usize;
    fn partition(&self, place: usize) -> PartitionView<'_>;
    fn is_known(&self, partition: u16, call: CallRef) -> bool;
    fn last_touch(&self, partition: u16, tx: Seq) -> Seq;
    fn sizes(&self) -> Sizes;
    fn in_history(&self, tx: TxId) -> Option<&Transaction>;
}

impl fmt::Debug for dyn Probe + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl<'w> View<'w> {
    /// One partition; most events concern one of them or none.
    pub fn partition(&self, id: u16) -> PartitionView<'w> {
        self.probe.partition(usize::from(id))
    }

    /// All of them, in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionView<'w>> {
        let probe = self.probe;
        (0..probe.partition_count()).map(move |place| probe.partition(place))
    }

    /// Somebody in this process makes this call or will: it is held for durability, asked, queued, or under way.
    pub fn is_known(&self, partition: u16, call: CallRef) -> bool {
        self.probe.is_known(partition, call)
    }

    /// The last entry proposed about a live transaction; 0 if none was in this epoch.
    pub fn last_touch(&self, partition: u16, tx: Seq) -> Seq {
        self.probe.last_touch(partition, tx)
    }

    /// What waits where, for checks of bounds. Walks over a few things: not for every event.
    pub fn sizes(&self) -> Sizes {
        self.probe.sizes()
    }

    /// An ended transaction, as the node's history has it.
    pub fn in_history(&self, tx: TxId) -> Option<&Transaction> {
        self.probe.in_history(tx)
    }
}

/// One partition.
#[derive(Debug)]
pub struct PartitionView<'w> {
    pub id: u16,
    /// The leader's speculative state; none while the node is down.
    pub leader: Option<&'w Partition>,
    /// The follower: exactly the durable entries, applied from their bytes.
    pub follower: &'w Partition,
    /// The last seq that the journal acknowledged.
    pub durable: Seq,
    /// Everything proposed is durable, and every effect of it was released.
    pub is_clean: bool,
    /// Seqs that recovery still has to propose as recovered.
    pub to_recover: usize,
    /// Parked calls that the node knows of, by participant, in the order in which they go on.
    pub parked: &'w std::collections::BTreeMap<u32, std::collections::VecDeque<CallRef>>,
}

/// Lengths of everything that could grow.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Calls that the node holds, from release to answer.
    pub calls: usize,
    /// Effects and answers that wait for the disk.
    pub held: usize,
    pub parked: usize,
    /// Parts at the journal; at most two.
    pub parts_under_way: usize,
    pub live: usize,
    pub resident: usize,
    /// The largest backlog of a participant in the load manager.
    pub backlog_max: u64,
    /// The same of those that are held.
    pub held_backlog_max: u64,
    pub timers_due: usize,
}

/// Direction of a call, as ledgers name it.
pub fn is_undo(key: CallKey) -> bool {
    key.direction == Direction::Compensate
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// `TX-1` … `LD-4`, or a checker's own name.
    pub rule: &'static str,
    pub tx: Option<TxId>,
    pub what: String,
}

impl Violation {
    pub fn new(rule: &'static str, tx: impl Into<Option<TxId>>, what: impl Into<String>) -> Self {
        Self { rule, tx: tx.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        if let Some(tx) = self.tx {
            write!(f, "{tx}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// Holds one promise against everything that happens. One per world, made afresh for each.
pub trait Checker {
    fn name(&self) -> &'static str;

    /// # Errors
    /// The first broken promise ends the world.
    fn on(&mut self, at: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation>;

    /// After [`Event::Quiescent`], once, when every question to a person has been answered as well.
    ///
    /// # Errors
    /// As [`Self::on`].
    fn at_end(&mut self, at: Timestamp, world: &View<'_>) -> Result<(), Violation>;
}
