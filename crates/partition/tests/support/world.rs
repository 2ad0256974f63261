//! A partition in a world of its own: participants that misbehave, a clock that is moved by hand, a journal that
//! every entry goes through as bytes, a second partition that replays it, and checks after each step.
//!
//! The world plays all that surrounds a partition in a node: the load manager (held participants, parked calls),
//! the connector (answers), the runtime (timers, grants, checkpoints, eviction, restarts). What it must never see is
//! written as an assertion where it would be seen; [`super::ledger`] keeps what really happened at the participants.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{Direction, PartitionId, Seq, Timestamp, Value};
use partition::branch::{Branch, Status};
use partition::state::Presence;
use partition::transaction::{AttentionCause, LockState, Phase, TxOutcome};
use partition::{
    Begin, CallRef, Command, Effect, Entry, EntryKind, Leader, Move, Partition, Rejected, Surroundings, Transaction,
};
use plan::{Participant, Saga};

use super::ledger::{Fate, Ledger, Tells};

/// What the leader may look up, and what breaks in it on demand.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) participants: Vec<Participant>,
    pub(crate) held: Vec<bool>,
    pub(crate) gone: Vec<bool>,
    /// The next look-up panics: a planted poison.
    pub(crate) panics: Cell<bool>,
}

impl Surroundings for Around {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        assert!(!self.panics.get(), "planted");
        let place = self.participants.iter().position(|p| p.name == name)?;
        (!self.gone[place]).then(|| (place as u32, &self.participants[place]))
    }

    fn is_held(&self, participant: u32) -> bool {
        self.held[participant as usize]
    }
}

/// A call that was released and has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Flying {
    pub(crate) call: CallRef,
    pub(crate) participant: u32,
    pub(crate) endpoint: u16,
}

/// What a restart finds: a checkpoint and the journal after it.
#[derive(Debug, Default, Clone)]
struct Disk {
    frame: Option<Vec<u8>>,
    rows: BTreeMap<Seq, Vec<u8>>,
    /// Batches of one entry: the first seq and the payload.
    batches: Vec<(Seq, Vec<u8>)>,
}

pub(crate) struct World {
    pub(crate) leader: Leader,
    pub(crate) around: Around,
    pub(crate) now: Timestamp,
    pub(crate) flying: Vec<Flying>,
    taken_back: Vec<Flying>,
    pub(crate) parked: Vec<(u32, CallRef)>,
    pub(crate) ledger: Ledger,
    pub(crate) plans: Vec<Saga>,
    pub(crate) ended: BTreeMap<Seq, Transaction>,
    /// The load manager takes withdrawn calls back; else they are already in flight.
    pub(crate) takes_back: bool,
    /// Whether what follows at once (grants, calls taken back) is proposed at once.
    pub(crate) prompt: bool,
    pub(crate) names: BTreeMap<Seq, String>,
    replica: Partition,
    follows: VecDeque<Command>,
    decided: BTreeMap<Seq, TxOutcome>,
    disk: Disk,
    /// Rows of the last checkpoint, which evicted transactions are read from.
    saved: BTreeMap<Seq, Vec<u8>>,
    /// Grows with every restore from a backup.
    incarnation: u16,
    /// Being recovered: what is outstanding of an earlier epoch has no call that flies.
    recovering: bool,
    said: Vec<String>,
    /// Everything proposed and what followed, for whoever has to understand a failure.
    log: Vec<String>,
    pub(crate) loud: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        if self.loud {
            eprintln!("{}", self.log.join("\n"));
        }
    }
}

const ID: PartitionId = PartitionId(3);

impl World {
    pub(crate) fn new(plans: Vec<Saga>, participants: Vec<Participant>) -> Self {
        let count = participants.len();
        let mut world = Self {
            leader: Leader::new(Partition::new(ID)),
            around: Around {
                participants,
                held: vec![false; count],
                gone: vec![false; count],
                panics: Cell::new(false),
            },
            now: Timestamp::from_millis(1_795_000_000_000),
            flying: Vec::new(),
            taken_back: Vec::new(),
            parked: Vec::new(),
            ledger: Ledger::default(),
            plans: Vec::new(),
            ended: BTreeMap::new(),
            takes_back: false,
            prompt: true,
            names: BTreeMap::new(),
            replica: Partition::new(ID),
            follows: VecDeque::new(),
            decided: BTreeMap::new(),
            disk: Disk::default(),
            saved: BTreeMap::new(),
            incarnation: 1,
            recovering: false,
            said: Vec::new(),
            log: Vec::new(),
            loud: false,
        };
        let entry = world.leader.open_epoch(1, 1, world.now).expect("the first epoch");
        world.journal(&entry);
        for saga in plans {
            let bytes: Arc<[u8]> = Arc::from(saga.to_bytes());
            let (place, entry) = world.leader.use_plan(Saga::hash_of(&bytes), &bytes, world.now).expect("a plan");
            assert_eq!(place as usize, world.plans.len());
            world.journal(&entry.expect("its first use"));
            world.plans.push(saga);
        }
        world
    }

    /// Submits one transaction. Gives its seq.
    pub(crate) fn begin(&mut self, name: &str, plan: u32, key: Option<&str>, input: &str) -> Result<Seq, Rejected> {
        let timeout = self.plans[plan as usize].timeout;
        let begin = Begin {
            plan,
            idempotency_key: name.into(),
            submission_digest: 7,
            key: key.map(Into::into),
            input: Arc::new(model::json::parse(input.as_bytes()).expect("input")),
            deadline: timeout.map_or(Timestamp::NEVER, |t| self.now.after(t)),
            priority: 5,
            traceparent: "".into(),
        };
        self.names.insert(self.leader.partition.seq + 1, name.to_owned());
        self.propose(Command::Begin(Box::new(begin)))
    }

    /// Proposes, journals, replays, checks, and does what follows at once. Gives the entry's seq.
    pub(crate) fn propose(&mut self, command: Command) -> Result<Seq, Rejected> {
        let result = self.propose_one(command);
        while self.prompt
            && let Some(next) = self.follows.pop_front()
        {
            let _ = self.propose_one(next);
        }
        result
    }

    /// What the last proposals led to, in words, in order.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    pub(crate) fn follow_up(&mut self) {
        while let Some(next) = self.follows.pop_front() {
            let _ = self.propose_one(next);
        }
    }

    fn propose_one(&mut self, command: Command) -> Result<Seq, Rejected> {
        if let Some(tx) = command.subject() {
            self.bring_back(tx);
        }
        if let Command::Park(call) = &command {
            self.taken_back.retain(|f| f.call != *call);
        }
        let granted = matches!(command, Command::Grant(_));
        self.ledger.arrive(self.now);
        let mut effects = Vec::new();
        self.log.push(format!("{} {command:?}", self.now));
        let entry = self.leader.propose(command, self.now, &self.around, &mut effects);
        self.log.push(match &entry {
            Ok(entry) => format!("    {:?} {effects:?}", entry.kind),
            Err(rejected) => format!("    {rejected}"),
        });
        let entry = match entry {
            Ok(entry) => entry,
            Err(rejected) => {
                assert!(effects.is_empty(), "rejected with effects: {effects:?}");
                return Err(rejected);
            }
        };
        self.check_locks(&entry, granted);
        if let EntryKind::Moves { tx, moves } = &entry.kind {
            for told in moves {
                if let Move::Recount { step } = told {
                    self.ledger.undo_allowed_again(*tx, *step);
                }
            }
        }
        let gone = self.journal(&entry);
        for effect in effects {
            self.take(effect, gone.as_ref());
        }
        self.check();
        Ok(entry.seq)
    }

    /// The entry as bytes, on disk and to the replica. Gives what ended in the replica.
    fn journal(&mut self, entry: &Entry) -> Option<Transaction> {
        let mut writer = wire::EntryWriter::default();
        writer.push(entry);
        let payload = writer.payload().to_vec();
        let mut read = wire::EntryReader::new(&payload, entry.seq).expect("a batch");
        let again = read.next().expect("an entry").expect("a readable entry");
        assert_eq!(&again, entry, "an entry is not what it was written from");
        assert!(read.next().is_none());
        let ended = self.replica.apply(&again).expect("a replay takes every entry");
        self.disk.batches.push((entry.seq, payload));
        ended.map(|tx| *tx)
    }

    fn take(&mut self, effect: Effect, replayed: Option<&Transaction>) {
        match effect {
            Effect::Call(out) => {
                let word = self.word(out.call);
                let tx = self.live(out.call.tx).expect("a call of a live transaction");
                let expected = tx.call_key(out.call.step, out.call.direction);
                assert_eq!(out.key, expected);
                assert!(!self.around.gone[out.participant as usize]);
                let participant = &self.around.participants[out.participant as usize];
                let saga = &self.plans[tx.plan as usize];
                self.ledger.released(&tx, saga, &out, participant, &self.flying, self.now);
                self.flying.push(Flying {
                    call: out.call,
                    participant: out.participant,
                    endpoint: out.endpoint.unwrap_or((out.call.attempt % 2) as u16),
                });
                let pinned = out.endpoint.map_or_else(String::new, |e| format!("@{e}"));
                let shares = match out.share {
                    None => "",
                    Some(share) if share.may_join => " may share",
                    Some(_) => " may be shared",
                };
                self.said.push(format!("{word}#{}{pinned}{shares}", out.call.attempt));
            }
            Effect::Withdraw(call) => {
                self.said.push(format!("withdraw {}", self.word(call)));
                if self.takes_back {
                    let (back, fly) = std::mem::take(&mut self.flying).into_iter().partition(|f| f.call == call);
                    self.flying = fly;
                    self.taken_back.extend::<Vec<Flying>>(back);
                    self.follows.push_back(Command::Park(call));
                }
            }
            Effect::Parked { call, participant } => {
                self.said.push(format!("parked {}", self.word(call)));
                self.parked.push((participant, call));
            }
            Effect::Decided(seq) => {
                let tx = self.live(seq).or_else(|| replayed.cloned()).expect("decided");
                let outcome = tx.outcome.expect("an outcome");
                self.said.push(format!("{}{}", self.prefix(seq), outcome_words(outcome)));
            }
            Effect::Ended(tx) => {
                assert_eq!(Some(&*tx), replayed, "replay ends it otherwise");
                assert!(tx.attention.is_none(), "ended with an open question");
                self.said.push(format!("{}ended", self.prefix(tx.seq())));
                self.decided.entry(tx.seq()).or_insert_with(|| tx.outcome.expect("ended without outcome"));
                self.parked.retain(|(_, call)| call.tx != tx.seq());
                self.saved.remove(&tx.seq());
                self.ended.insert(tx.seq(), *tx);
            }
            Effect::Grant(seq) => self.follows.push_back(Command::Grant(seq)),
        }
    }

    fn prefix(&self, seq: Seq) -> String {
        if self.names.len() > 1 { format!("{} ", self.names[&seq]) } else { String::new() }
    }

    fn word(&self, call: CallRef) -> String {
        let tx = self.live(call.tx).or_else(|| self.ended.get(&call.tx).cloned());
        let plan = tx.map_or(0, |tx| tx.plan);
        let verb = if call.direction == Direction::Call { "call" } else { "undo" };
        format!("{}{verb} {}", self.prefix(call.tx), self.plans[plan as usize].steps[usize::from(call.step)].name)
    }

    /// A live transaction, also while it is evicted.
    pub(crate) fn live(&self, seq: Seq) -> Option<Transaction> {
        if let Some(tx) = self.leader.partition.get(seq) {
            return Some(tx.clone());
        }
        let row = self.saved.get(&seq)?;
        self.leader.partition.live_seqs().contains(&seq).then(|| self.read_row(row))
    }

    fn read_row(&self, row: &[u8]) -> Transaction {
        let plans = &self.leader.partition.plans;
        wire::row::read(row, |hash| plans.find(hash)).expect("a row")
    }

    pub(crate) fn bring_back(&mut self, seq: Seq) {
        if self.leader.partition.presence(seq) == Presence::Evicted {
            let tx = self.live(seq).expect("an evicted row is saved");
            self.leader.partition.admit(tx);
        }
    }

    /// Whatever is due by `until` happens, at its time.
    pub(crate) fn pass(&mut self, by: Duration) {
        let until = self.now.after(by);
        for _ in 0..10_000 {
            let next = [self.leader.partition.next_wake(), self.ledger.next_arrival()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.ledger.arrive(self.now);
            for seq in self.leader.partition.due(self.now, 100) {
                let woken = self.propose(Command::Wake(seq));
                assert!(woken.is_ok(), "due, but nothing to do: {woken:?} {:?}", self.live(seq));
            }
        }
        panic!("time does not pass: something wakes at every turn");
    }

    /// Writes what changed, as a checkpoint would; `evict` drops clean rows from memory.
    pub(crate) fn checkpoint(&mut self, evict: bool) {
        let changes = self.leader.partition.take_changes();
        for seq in &changes.removed {
            self.saved.remove(seq);
        }
        for seq in changes.dirty {
            let tx = self.leader.partition.get(seq).expect("a dirty row is resident");
            let slot = self.leader.partition.plans.get(tx.plan).expect("its plan");
            let mut row = Vec::new();
            wire::row::write(tx, &slot.hash, &mut row);
            assert_eq!(&self.read_row(&row), tx, "a row is not what it was written from");
            self.saved.insert(seq, row);
        }
        let mut frame = Vec::new();
        wire::checkpoint::write(&self.leader.partition, &mut frame);
        self.disk = Disk { frame: Some(frame), rows: self.saved.clone(), batches: Vec::new() };
        if evict {
            for seq in self.leader.partition.live_seqs() {
                let was = self.leader.partition.presence(seq);
                assert_eq!(self.leader.partition.evict(seq), was == Presence::Resident);
            }
        }
        self.check();
    }

    /// The process ends and another one starts, from the last checkpoint and the journal after it.
    pub(crate) fn restart(&mut self, keep_rows: bool) {
        self.log.push("restart".into());
        self.follows.clear();
        let mut rebuilt = match &self.disk.frame {
            Some(frame) => wire::checkpoint::read(ID, frame).expect("a frame"),
            None => Partition::new(ID),
        };
        self.saved = self.disk.rows.clone();
        for row in self.saved.values() {
            let tx = wire::row::read(row, |hash| rebuilt.plans.find(hash)).expect("a row");
            rebuilt.restore_row(tx, keep_rows);
        }
        for (first, payload) in &self.disk.batches {
            for entry in wire::EntryReader::new(payload, *first).expect("a batch") {
                let entry = entry.expect("an entry");
                if let EntryKind::Moves { tx, .. } = &entry.kind
                    && rebuilt.presence(*tx) == Presence::Evicted
                {
                    let row = wire::row::read(&self.saved[tx], |hash| rebuilt.plans.find(hash)).expect("a row");
                    rebuilt.admit(row);
                }
                let _ = rebuilt.apply(&entry).expect("recovery takes every entry");
            }
        }
        self.leader = Leader::new(rebuilt);
        self.recovering = true;
        self.check();
        let epoch = self.leader.partition.epoch;
        let entry = self.leader.open_epoch(epoch + 1, self.incarnation, self.now).expect("an epoch");
        self.journal(&entry);
        // They end together, and are found in order of their steps.
        self.flying.sort_by_key(|f| (f.call.tx, f.call.step));
        for lost in std::mem::take(&mut self.flying) {
            self.ledger.interrupted(&lost, &self.around.participants[lost.participant as usize], self.now);
        }
        for lost in std::mem::take(&mut self.taken_back) {
            let participant = &self.around.participants[lost.participant as usize];
            self.ledger.answered(&lost, participant, Tells::Unknown, Fate::Never, self.now);
        }
        self.parked.clear();
        let mut to_recover = Vec::new();
        for seq in self.leader.partition.live_seqs() {
            let tx = self.live(seq).expect("live");
            if tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. })) {
                to_recover.push(seq);
            }
            for effect in partition::leader::effects_of(&tx, &self.leader.partition, &self.around) {
                if let Effect::Parked { call, participant } = effect {
                    self.parked.push((participant, call));
                }
            }
        }
        for seq in to_recover {
            self.propose_one(Command::Recover(seq)).expect("an outstanding call is recovered");
        }
        for seq in self.leader.partition.locks.overdue() {
            self.follows.push_back(Command::Grant(seq));
        }
        self.recovering = false;
        self.check();
        if self.prompt {
            self.follow_up();
        }
    }

    /// All is as it was in a backup of this moment: what was done after it nobody remembers.
    pub(crate) fn restore(&mut self) {
        self.incarnation += 1;
        self.ledger.lost_life = true;
        self.restart(true);
    }

    /// Everything parked for a participant that is held no longer goes on, oldest first.
    pub(crate) fn free(&mut self, participant: usize) {
        self.around.held[participant] = false;
        while let Some(place) = self.parked.iter().position(|(p, _)| *p as usize == participant) {
            let (_, call) = self.parked.remove(place);
            let _ = self.propose(Command::Unpark(call));
        }
    }

    /// At most one holder, and nobody is passed over.
    fn check_locks(&self, entry: &Entry, granted: bool) {
        let (seq, moves) = match &entry.kind {
            EntryKind::Begin(begun) => (entry.seq, &begun.moves),
            EntryKind::Moves { tx, moves } => (*tx, moves),
            _ => return,
        };
        if !moves.iter().any(|m| matches!(m, Move::TakeLock)) {
            return;
        }
        let key = |seq: Seq| self.live(seq).and_then(|tx| tx.key);
        let own = match &entry.kind {
            EntryKind::Begin(begun) => begun.key.clone(),
            _ => self.live(seq).or_else(|| self.ended.get(&seq).cloned()).and_then(|tx| tx.key),
        };
        for other in self.leader.partition.live_seqs().into_iter().filter(|s| *s != seq && key(*s) == own) {
            let lock = self.live(other).map(|tx| tx.lock);
            assert_ne!(lock, Some(LockState::Held), "two hold one lock");
            assert!(other > seq || lock != Some(LockState::Waiting), "passed over in the queue (granted: {granted})");
        }
    }

    /// What must hold after every entry.
    fn check(&mut self) {
        let (live, replica) = (&self.leader.partition, &self.replica);
        if !self.recovering {
            assert_eq!(live.live_seqs(), replica.live_seqs());
            assert_eq!(live.next_wake(), replica.next_wake(), "timers differ after a replay");
            let due = |p: &Partition| p.due(Timestamp(u64::MAX - 1), usize::MAX);
            assert_eq!(due(live), due(replica), "timers differ after a replay");
            let locks = |p: &Partition| format!("{:?}", p.locks.iter().collect::<Vec<_>>());
            assert_eq!(locks(live), locks(replica), "locks differ after a replay");
            assert_eq!(live.by_key("story", "k"), replica.by_key("story", "k"));
        }
        let mut outstanding = 0;
        for seq in live.live_seqs() {
            let tx = self.live(seq).expect("live");
            assert_eq!(Some(&tx), replica.get(seq), "JR-1");
            outstanding += self.check_branches(&tx);
            if let Some(outcome) = tx.outcome {
                let first = *self.decided.entry(seq).or_insert(outcome);
                assert_eq!(first, outcome, "the outcome changed");
            } else {
                assert!(!self.decided.contains_key(&seq), "the outcome is undecided again");
            }
        }
        if !self.recovering {
            assert_eq!(outstanding, self.flying.len(), "TX-4: outstanding and in flight differ: {:?}", self.flying);
        }
    }

    /// Exactly one thing wakes each branch, and something wakes the transaction.
    fn check_branches(&self, tx: &Transaction) -> usize {
        let mut outstanding = 0;
        let mut wakes = tx.attention.is_some() || !self.follows.is_empty();
        for (place, step) in tx.steps.iter().enumerate() {
            let on_its_way = matches!(step.status, Status::Active | Status::Undoing);
            let direction = if step.status == Status::Undoing { Direction::Compensate } else { Direction::Call };
            let call =
                CallRef { tx: tx.seq(), step: place as u16, direction, attempt: step.attempts, round: step.round };
            wakes |= step.branch != Branch::Idle;
            let legal = match step.branch {
                Branch::Idle => {
                    assert!(
                        !on_its_way || tx.attention.is_some() || self.recovering,
                        "TX-4: step {place} waits for nothing: {tx:#?}"
                    );
                    true
                }
                Branch::Outstanding { epoch } => {
                    outstanding += 1;
                    let flies = self.flying.iter().filter(|f| f.call == call).count();
                    let own = epoch == self.leader.partition.epoch;
                    on_its_way && (self.recovering || own && (flies == 1 || self.is_being_taken_back(call)))
                }
                Branch::Parked => {
                    let same = |c: &CallRef| c.tx == tx.seq() && c.step == call.step && c.direction == direction;
                    let known = self.parked.iter().filter(|(_, c)| same(c)).count();
                    // A panic loses its place, which a person's retry gives back; a stop will take it back.
                    let lost = tx.attention.as_ref().is_some_and(|a| a.cause == AttentionCause::Quarantined);
                    let stops = matches!(tx.phase, Phase::Stopping(_));
                    on_its_way && (self.recovering || known >= 1 || lost || stops)
                }
                Branch::Backoff { .. } => on_its_way,
                Branch::Signal { .. } | Branch::Sleeping { .. } => step.status == Status::Active,
                Branch::Quiet { .. } => step.status.has_ended() && step.has_effect(),
                Branch::Attention => tx.attention.is_some() && step.asked.is_some(),
            };
            assert!(legal, "step {place} of {tx:#?}\nflying {:?}\nparked {:?}", self.flying, self.parked);
            assert_eq!(step.asked.is_some(), step.branch == Branch::Attention);
        }
        if let Some(attention) = &tx.attention {
            let step = attention.step.map(|s| &tx.steps[usize::from(s)]);
            assert!(
                step.is_none_or(|s| s.branch == Branch::Attention || s.still_trying || on_trial(s.branch)),
                "{tx:#?}"
            );
            assert!(attention.step.is_some() || no_step(attention.cause), "{tx:#?}");
        }
        match tx.phase {
            Phase::Queued => assert_eq!(tx.lock, LockState::Waiting),
            Phase::Ended => panic!("ended and live"),
            Phase::Forward | Phase::Stopping(_) | Phase::Undoing => {
                assert!(wakes || self.recovering, "TX-4: nothing will wake {tx:#?}");
            }
        }
        // Calls that are being taken back are outstanding and fly no more.
        let back = self.follows.iter().filter(|c| matches!(c, Command::Park(call) if call.tx == tx.seq())).count();
        outstanding - back.min(outstanding)
    }

    fn is_being_taken_back(&self, call: CallRef) -> bool {
        self.follows.iter().any(|c| matches!(c, Command::Park(park) if *park == call))
    }
}

/// An undo that is reported and still tried stands where its trying is.
fn on_trial(branch: Branch) -> bool {
    matches!(branch, Branch::Outstanding { .. } | Branch::Parked | Branch::Backoff { .. })
}

fn no_step(cause: AttentionCause) -> bool {
    matches!(cause, AttentionCause::Quarantined | AttentionCause::TimedOutAfterPivot)
}

/// `completed`, or `aborted: refused`.
pub(crate) fn outcome_words(outcome: TxOutcome) -> String {
    match outcome {
        TxOutcome::Completed => "completed".into(),
        TxOutcome::Aborted(reason) => format!("aborted: {}", reason.as_str()),
    }
}

/// Any JSON.
pub(crate) fn json(text: &str) -> Value {
    model::json::parse(text.as_bytes()).expect("JSON")
}
