//! The state of one partition, and `apply`: entries in, the same state out, everywhere and for ever.
//!
//! Rows (transactions) are the state; timers, lock queues and the signal index are derived from them. A row that
//! is clean may be evicted from memory: the checkpoint has it. What is resident never influences `apply`; whoever
//! drives this brings a row back before its next entry.

use std::collections::BTreeSet;

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use model::mutant::{Mutant, is_planted};
use model::{Epoch, Incarnation, PartitionId, Seq, Timestamp, TxId};
use smallvec::SmallVec;

use crate::branch::{Branch, StepState};
use crate::entry::{Begun, Entry, EntryKind};
use crate::locks::Locks;
use crate::plans::Plans;
use crate::transaction::{Cause, IllegalMove, LockState, Phase, Transaction};

/// Seqs are dense and never hostile: multiply-and-fold spreads them well.
#[derive(Debug, Default, Clone)]
pub(crate) struct BySeq;

/// See [`BySeq`].
#[derive(Debug, Default)]
pub(crate) struct SeqHasher(u64);

impl std::hash::Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(n ^ self.0 ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (wide as u64) ^ (wide >> 64) as u64;
    }
}

impl std::hash::BuildHasher for BySeq {
    type Hasher = SeqHasher;

    fn build_hasher(&self) -> SeqHasher {
        SeqHasher(0)
    }
}

/// One live transaction in memory.
#[derive(Debug)]
struct Slot {
    /// Absent while it is being changed.
    tx: Option<Box<Transaction>>,
    /// Changed since the last checkpoint.
    dirty: bool,
    /// The last checkpoint has a row of it.
    has_row: bool,
    /// What the timer index holds for it.
    wakes_at: Timestamp,
}

/// The state machine of one partition.
#[derive(Debug)]
pub struct Partition {
    pub id: PartitionId,
    pub epoch: Epoch,
    pub incarnation: Incarnation,
    /// The seq of the last entry applied.
    pub seq: Seq,
    /// The time of the last entry applied.
    pub at: Timestamp,
    pub plans: Plans,
    pub locks: Locks,
    live: HashMap<Seq, Slot, BySeq>,
    /// Live transactions whose row only the checkpoint has: nothing but their names, because there may be millions.
    evicted: HashSet<Seq, BySeq>,
    timers: BTreeSet<(Timestamp, Seq)>,
    /// Live transactions of plans that take signals, by (definition, key).
    by_key: std::collections::BTreeMap<(CompactString, CompactString), SmallVec<[Seq; 1]>>,
    dirty: Vec<Seq>,
    removed: Vec<Seq>,
}

/// What changed since the last checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub dirty: Vec<Seq>,
    pub removed: Vec<Seq>,
}

/// An entry that this state cannot take: a damaged journal, or a defect.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("entry {got} follows entry {last}")]
    Gap { last: Seq, got: Seq },
    #[error("entry {seq} names transaction {tx}, which is not live")]
    NotLive { seq: Seq, tx: Seq },
    #[error("entry {seq} names transaction {tx}, whose row was not brought back first")]
    NotResident { seq: Seq, tx: Seq },
    #[error("entry {seq} names plan {plan}, which the journal does not have")]
    NoPlan { seq: Seq, plan: u32 },
    #[error("entry {seq}: {source}")]
    Illegal { seq: Seq, source: IllegalMove },
    #[error("entry {seq}: {source}")]
    Plan { seq: Seq, source: plan::saga::BadPlan },
}

impl Partition {
    pub fn new(id: PartitionId) -> Self {
        Self {
            id,
            epoch: 0,
            incarnation: 0,
            seq: 0,
            at: Timestamp::ZERO,
            plans: Plans::default(),
            locks: Locks::default(),
            live: HashMap::with_hasher(BySeq),
            evicted: HashSet::with_hasher(BySeq),
            timers: BTreeSet::new(),
            by_key: std::collections::BTreeMap::new(),
            dirty: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Applies one entry. Gives the transaction that ended, if one did.
    ///
    /// # Errors
    /// When the entry does not follow, or what it says is not allowed; the state is then not to be used further.
    pub fn apply(&mut self, entry: &Entry) -> Result<Option<Box<Transaction>>, ApplyError> {
        let seq = entry.seq;
        if seq != self.seq + 1 && !is_planted(Mutant::BatchAppliedTwice) {
            return Err(ApplyError::Gap { last: self.seq, got: seq });
        }
        let mut at = entry.at;
        if is_planted(Mutant::ApplyReadsAnotherClock) {
            at.0 += 1;
        }
        let ended = match &entry.kind {
            EntryKind::Epoch { epoch, incarnation, .. } => {
                self.epoch = *epoch;
                self.incarnation = *incarnation;
                None
            }
            EntryKind::Plan { hash, bytes } => {
                self.plans.add(*hash, bytes.clone()).map_err(|source| ApplyError::Plan { seq, source })?;
                None
            }
            EntryKind::Begin(begun) => {
                let steps = self.plans.get(begun.plan).ok_or(ApplyError::NoPlan { seq, plan: begun.plan })?;
                let mut tx = begin(begun, at, steps.saga.steps.len());
                for step in &begun.moves {
                    tx.make(step, at, self.epoch).map_err(|source| ApplyError::Illegal { seq, source })?;
                }
                self.insert(tx)
            }
            EntryKind::Moves { tx, moves } => {
                let mut live = self.check_out(*tx).map_err(|missing| match missing {
                    Missing::NotLive => ApplyError::NotLive { seq, tx: *tx },
                    Missing::NotResident => ApplyError::NotResident { seq, tx: *tx },
                })?;
                for step in moves {
                    live.make(step, at, self.epoch).map_err(|source| ApplyError::Illegal { seq, source })?;
                }
                self.check_in(live)
            }
        };
        self.seq = seq;
        self.at = entry.at;
        Ok(ended)
    }

    /// Takes a live transaction out to change it; [`Self::check_in`] must follow.
    pub(crate) fn check_out(&mut self, seq: Seq) -> Result<Box<Transaction>, Missing> {
        let missing = || if self.evicted.contains(&seq) { Missing::NotResident } else { Missing::NotLive };
        self.live.get_mut(&seq).and_then(|slot| slot.tx.take()).ok_or_else(missing)
    }

    /// Puts a changed transaction back and renews what is derived from it. Gives it out if it has ended.
    pub(crate) fn check_in(&mut self, tx: Box<Transaction>) -> Option<Box<Transaction>> {
        let seq = tx.seq();
        self.index_lock(&tx);
        if tx.phase == Phase::Ended {
            if let Some(slot) = self.live.remove(&seq) {
                if slot.wakes_at != Timestamp::NEVER {
                    self.timers.remove(&(slot.wakes_at, seq));
                }
                if slot.has_row && !is_planted(Mutant::EndedRowStays) {
                    self.removed.push(seq);
                }
            }
            self.unindex_key(&tx);
            return Some(tx);
        }
        let wakes_at = tx.wakes_at();
        if let Some(slot) = self.live.get_mut(&seq) {
            if slot.wakes_at != wakes_at {
                if slot.wakes_at != Timestamp::NEVER {
                    self.timers.remove(&(slot.wakes_at, seq));
                }
                let is_lost = is_planted(Mutant::MovedTimerIsLost) && slot.wakes_at != Timestamp::NEVER;
                if wakes_at != Timestamp::NEVER && !is_lost {
                    self.timers.insert((wakes_at, seq));
                }
                slot.wakes_at = wakes_at;
            }
            if !slot.dirty {
                slot.dirty = true;
                self.dirty.push(seq);
            }
            slot.tx = Some(tx);
        }
        None
    }

    /// Puts a transaction back unchanged.
    pub(crate) fn return_unchanged(&mut self, tx: Box<Transaction>) {
        if let Some(slot) = self.live.get_mut(&tx.seq()) {
            slot.tx = Some(tx);
        }
    }

    /// A transaction that has just begun. Gives it out if it has ended at once.
    pub(crate) fn insert(&mut self, tx: Box<Transaction>) -> Option<Box<Transaction>> {
        let seq = tx.seq();
        self.live.insert(seq, Slot { tx: None, dirty: true, has_row: false, wakes_at: Timestamp::NEVER });
        self.dirty.push(seq);
        self.index_key(&tx);
        self.check_in(tx)
    }

    fn index_lock(&mut self, tx: &Transaction) {
        if tx.lock == LockState::None {
            return;
        }
        let Some(slot) = self.plans.get(tx.plan) else { return };
        let (Some(lock), Some(key)) = (&slot.saga.lock, &tx.key) else { return };
        match tx.lock {
            LockState::Held => {
                if self.locks.queue(lock, key).is_none_or(|q| q.holder != Some(tx.seq())) {
                    self.locks.take(lock, key, tx.seq());
                }
            }
            LockState::Waiting => self.locks.wait(lock, key, tx.seq()),
            LockState::Released => {
                self.locks.free(lock, key, tx.seq());
            }
            LockState::None => {}
        }
    }

    /// Its lock is free and it has waited longest. A transaction that is not resident answers for itself later.
    pub(crate) fn is_next_for_lock(&self, seq: Seq) -> bool {
        let Some(tx) = self.get(seq) else { return true };
        let Some(slot) = self.plans.get(tx.plan) else { return true };
        let (Some(lock), Some(key)) = (&slot.saga.lock, &tx.key) else { return true };
        self.locks.queue(lock, key).is_some_and(|q| q.next() == Some(seq))
    }

    fn index_key(&mut self, tx: &Transaction) {
        if let (Some(slot), Some(key)) = (self.plans.get(tx.plan), &tx.key)
            && slot.takes_signals
        {
            let name = (slot.saga.name.clone(), key.clone());
            self.by_key.entry(name).or_default().push(tx.seq());
        }
    }

    fn unindex_key(&mut self, tx: &Transaction) {
        if let (Some(slot), Some(key)) = (self.plans.get(tx.plan), &tx.key)
            && slot.takes_signals
        {
            let name = (slot.saga.name.clone(), key.clone());
            if let Some(list) = self.by_key.get_mut(&name) {
                list.retain(|seq| *seq != tx.seq());
                if list.is_empty() {
                    self.by_key.remove(&name);
                }
            }
        }
    }

    /// Live transactions of a definition that takes signals, by its key.
    pub fn by_key(&self, definition: &str, key: &str) -> &[Seq] {
        self.by_key.get(&(definition.into(), key.into())).map_or(&[], |list| list.as_slice())
    }

    /// A resident live transaction.
    pub fn get(&self, seq: Seq) -> Option<&Transaction> {
        self.live.get(&seq).and_then(|slot| slot.tx.as_deref())
    }

    /// Whether it is live, and whether its row is in memory.
    pub fn presence(&self, seq: Seq) -> Presence {
        if self.live.contains_key(&seq) {
            Presence::Resident
        } else if self.evicted.contains(&seq) {
            Presence::Evicted
        } else {
            Presence::Absent
        }
    }

    /// How many rows are in memory.
    pub fn resident_count(&self) -> usize {
        self.live.len()
    }

    /// Everything that this transaction waits for is its participants.
    pub fn is_parked(&self, seq: Seq) -> bool {
        self.get(seq).is_some_and(|tx| {
            let mut parked = false;
            for step in &tx.steps {
                match step.branch {
                    Branch::Idle => {}
                    Branch::Parked => parked = true,
                    _ => return false,
                }
            }
            parked
        })
    }

    /// The last checkpoint was lost: every row in memory must be written again by the next one.
    ///
    /// `removed` is what that checkpoint would have deleted. Evicted rows are those of an earlier one, which still
    /// has them.
    pub fn forget_rows(&mut self, removed: Vec<Seq>) {
        self.removed.extend(removed);
        let mut seqs: Vec<Seq> = Vec::new();
        for (seq, slot) in &mut self.live {
            if slot.tx.is_some() && !slot.dirty {
                slot.dirty = true;
                seqs.push(*seq);
            }
        }
        seqs.sort_unstable();
        self.dirty.extend(seqs);
    }

    pub fn live_count(&self) -> usize {
        self.live.len() + self.evicted.len()
    }

    /// Seqs of all live transactions, in order of acceptance.
    pub fn live_seqs(&self) -> Vec<Seq> {
        let mut seqs: Vec<Seq> = self.live.keys().chain(&self.evicted).copied().collect();
        seqs.sort_unstable();
        seqs
    }

    /// Live transactions whose row is in memory, in no order that means anything.
    pub fn residents(&self) -> impl Iterator<Item = &Transaction> {
        self.live.values().filter_map(|slot| slot.tx.as_deref())
    }

    /// The earliest time at which something is due.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Up to `most` transactions with something due by `now`, earliest first.
    pub fn due(&self, now: Timestamp, most: usize) -> Vec<Seq> {
        self.timers.range(..=(now, Seq::MAX)).take(most).map(|(_, seq)| *seq).collect()
    }

    /// Hands out what a checkpoint must write, and starts to count afresh.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes =
            Changes { dirty: std::mem::take(&mut self.dirty), removed: std::mem::take(&mut self.removed) };
        if is_planted(Mutant::CheckpointMissesTheLast) {
            changes.dirty.pop();
        }
        changes.dirty.retain(|seq| match self.live.get_mut(seq) {
            Some(slot) => {
                slot.dirty = false;
                slot.has_row = true;
                true
            }
            None => false,
        });
        changes
    }

    /// Drops a clean row from memory. Gives `false` if it is dirty, absent or evicted already.
    pub fn evict(&mut self, seq: Seq) -> bool {
        let may_go = self
            .live
            .get(&seq)
            .is_some_and(|slot| (!slot.dirty || is_planted(Mutant::EvictsWhatIsDirty)) && slot.has_row);
        if may_go {
            self.live.remove(&seq);
            self.evicted.insert(seq);
        }
        may_go
    }

    /// Brings an evicted row back.
    pub fn admit(&mut self, tx: Transaction) {
        if self.evicted.remove(&tx.seq()) {
            let (seq, wakes_at) = (tx.seq(), tx.wakes_at());
            self.live.insert(seq, Slot { tx: Some(Box::new(tx)), dirty: false, has_row: true, wakes_at });
        }
    }

    /// A row of the checkpoint, at start. With `keep` it stays in memory.
    pub fn restore_row(&mut self, tx: Transaction, keep: bool) {
        let seq = tx.seq();
        let wakes_at = tx.wakes_at();
        if wakes_at != Timestamp::NEVER && !is_planted(Mutant::TimerNotRestored) {
            self.timers.insert((wakes_at, seq));
        }
        if !is_planted(Mutant::LockNotRestored) {
            self.index_lock(&tx);
        }
        self.index_key(&tx);
        if keep {
            self.live.insert(seq, Slot { tx: Some(Box::new(tx)), dirty: false, has_row: true, wakes_at });
        } else {
            self.evicted.insert(seq);
        }
    }
}

/// Whether a transaction is live, and where its row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    Absent,
    Resident,
    Evicted,
}

/// Why a transaction could not be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    NotLive,
    NotResident,
}

/// A transaction as its Begin makes it, before any move.
pub(crate) fn begin(begun: &Begun, at: Timestamp, steps: usize) -> Box<Transaction> {
    Box::new(Transaction {
        id: begun.id,
        plan: begun.plan,
        phase: Phase::Forward,
        lock: LockState::None,
        idempotency_key: begun.idempotency_key.clone(),
        submission_digest: begun.submission_digest,
        key: begun.key.clone(),
        input: begun.input.clone(),
        began_at: at,
        deadline: begun.deadline,
        priority: begun.priority,
        traceparent: begun.traceparent.clone(),
        outcome: None,
        decided_at: Timestamp::ZERO,
        ended_at: Timestamp::ZERO,
        cause: Cause::default(),
        output: None,
        attention: None,
        cancel_wish: false,
        deadline_spent: false,
        order_last: 0,
        steps: (0..steps).map(|_| StepState::default()).collect(),
        attempts: SmallVec::new(),
        attempts_dropped: 0,
        signals: Vec::new(),
        acts: Vec::new(),
    })
}

impl Transaction {
    /// The id of the partition's n-th entry as a transaction.
    pub fn id_at(partition: &Partition, at: Timestamp, seq: Seq) -> TxId {
        TxId::new(at, partition.incarnation, partition.id, partition.epoch, seq)
    }
}
