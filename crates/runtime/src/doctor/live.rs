//! TX-4 and TX-1 on what is live: nothing is stranded, every index says what the transactions say, nobody is twice.
//!
//! Left out: comparing with participants, which takes a running node.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use hashbrown::HashMap;
use model::{Seq, Timestamp};
use partition::branch::{Branch, Status};
use partition::transaction::{LockState, Phase};
use partition::{Partition, Transaction};

use super::replay::Rebuilt;
use super::report::Notebook;
use crate::recovery::live_scope;
use crate::tables::Tables;
use crate::worker::Around;

pub(super) const BRANCHES: &str = "live.branches";
pub(super) const INDEXES: &str = "live.indexes";
pub(super) const KEYS: &str = "live.keys";

const REPORT: &str =
    "keep a copy of the directory and report it; `tidegate retry` or `resolve` may free the transaction";

/// Idempotency keys of live transactions, over all partitions.
pub(super) type Scopes = HashMap<u128, model::TxId>;

/// What is derived from the transactions, derived once more.
#[derive(Default)]
struct Derived {
    timers: BTreeSet<(Timestamp, Seq)>,
    locks: BTreeMap<(CompactString, CompactString), (Vec<Seq>, BTreeSet<Seq>)>,
}

/// Checks one partition at the journal's end.
pub(super) fn check(book: &mut Notebook, state: &Rebuilt, tables: &Tables, scopes: &mut Scopes) {
    let partition = &state.partition;
    let mut derived = Derived::default();
    for seq in partition.live_seqs() {
        let tx = match state.read(seq) {
            Ok(tx) => tx,
            Err(what) => {
                book.wrong(BRANCHES, format!("partition {}, entry {seq}", partition.id.0), what, super::RESTORE);
                continue;
            }
        };
        book.looked_at(BRANCHES, "live transactions", 1);
        book.looked_at(BRANCHES, "steps", tx.steps.len() as u64);
        for what in stranded(&tx, partition, tables) {
            book.wrong(BRANCHES, tx.id.to_string(), format!("TX-4: {what}"), REPORT);
        }
        derived.add(&tx, partition);
        identity(book, &tx, partition, scopes);
        if let (Some(slot), Some(key)) = (partition.plans.get(tx.plan), &tx.key)
            && slot.takes_signals
        {
            book.looked_at(INDEXES, "keys for signals", 1);
            if !partition.by_key(&slot.saga.name, key).contains(&seq) {
                book.wrong(INDEXES, tx.id.to_string(), "a signal to its key would not find it", REPORT);
            }
        }
    }
    derived.compare(book, partition);
}

/// TX-1: its id is of this place, and its idempotency key is nobody else's.
fn identity(book: &mut Notebook, tx: &Transaction, partition: &Partition, scopes: &mut Scopes) {
    book.looked_at(KEYS, "live transactions", 1);
    if tx.id.partition() != partition.id || tx.seq() > partition.seq {
        let what = format!("TX-1: its id is not of partition {} up to entry {}", partition.id.0, partition.seq);
        book.wrong(KEYS, tx.id.to_string(), what, REPORT);
    }
    match live_scope(tx, partition) {
        Some((scope, definition)) => {
            if let Some(other) = scopes.insert(scope, tx.id) {
                let key = &tx.idempotency_key;
                let what = format!("TX-1: {definition} with idempotency key \"{key}\" is live twice, as {other} too");
                book.wrong(KEYS, tx.id.to_string(), what, REPORT);
            }
        }
        None => book.wrong(KEYS, tx.id.to_string(), "its plan is not in the journal", super::RESTORE),
    }
}

/// Why nothing, or nothing that exists, will wake some part of it.
pub(super) fn stranded(tx: &Transaction, partition: &Partition, tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    let Some(slot) = partition.plans.get(tx.plan) else { return found };
    if slot.saga.steps.len() != tx.steps.len() {
        found.push(format!("it has {} steps, its plan {}", tx.steps.len(), slot.saga.steps.len()));
        return found;
    }
    let asks = tx.attention.is_some();
    let mut wakes = asks || tx.deadline_binds() && tx.deadline != Timestamp::NEVER;
    for (state, step) in tx.steps.iter().zip(&slot.saga.steps) {
        wakes |= state.branch != Branch::Idle;
        if let Some(what) = wrong_branch(tx, partition, state.status, state.branch, asks) {
            found.push(format!("step \"{}\" is {:?} and {what}", step.name, state.status));
        }
    }
    let parked = tx.steps.iter().filter(|s| s.branch == Branch::Parked).count();
    let effects = partition::leader::effects_of(tx, partition, &Around { tables, held: &[] }).len();
    if effects < parked {
        found.push(format!(
            "{} of its {parked} parked calls have no participant that is declared: apply the participant again",
            parked - effects
        ));
    }
    let waits_for_lock = tx.lock == LockState::Waiting;
    if (tx.phase == Phase::Queued) != waits_for_lock {
        found.push(format!("its phase is {:?} and its lock {:?}", tx.phase, tx.lock));
    }
    match tx.phase {
        Phase::Ended => found.push("it has ended and is still live".to_owned()),
        Phase::Undoing if tx.outcome.is_none() => found.push("it is being undone and has no outcome".to_owned()),
        Phase::Queued | Phase::Forward | Phase::Stopping(_) | Phase::Undoing => {}
    }
    if !wakes && !waits_for_lock {
        found.push("nothing will wake it: no step is on its way, no timer, no lock, no person".to_owned());
    }
    found
}

/// SEMANTICS 18: exactly one thing wakes a step that is on its way, and nothing one that is not.
fn wrong_branch(tx: &Transaction, partition: &Partition, status: Status, branch: Branch, asks: bool) -> Option<String> {
    let on_its_way = matches!(status, Status::Active | Status::Undoing);
    match branch {
        Branch::Idle => {
            // A stop waits for whatever else is on its way; a question waits for a person.
            let waits = asks
                || matches!(tx.phase, Phase::Stopping(_)) && tx.steps.iter().any(|other| other.branch != Branch::Idle);
            (on_its_way && !waits).then(|| "nothing will wake it".to_owned())
        }
        Branch::Outstanding { epoch } if epoch > partition.epoch => {
            Some(format!("outstanding since epoch {epoch}, though the partition is in epoch {}", partition.epoch))
        }
        Branch::Backoff { until } | Branch::Signal { until } | Branch::Sleeping { until } | Branch::Quiet { until }
            if until == Timestamp::NEVER =>
        {
            Some(format!("waits in {branch:?} for a time that never comes"))
        }
        Branch::Attention => (!asks).then(|| "waits for a person whom nobody asks".to_owned()),
        Branch::Quiet { .. } => None,
        Branch::Outstanding { .. }
        | Branch::Parked
        | Branch::Backoff { .. }
        | Branch::Signal { .. }
        | Branch::Sleeping { .. } => (!on_its_way).then(|| format!("still waits in {branch:?}")),
    }
}

impl Derived {
    fn add(&mut self, tx: &Transaction, partition: &Partition) {
        let wakes_at = tx.wakes_at();
        if wakes_at != Timestamp::NEVER {
            self.timers.insert((wakes_at, tx.seq()));
        }
        let Some(slot) = partition.plans.get(tx.plan) else { return };
        let (Some(lock), Some(key)) = (&slot.saga.lock, &tx.key) else { return };
        match tx.lock {
            LockState::Held => {
                self.locks.entry((lock.clone(), key.clone())).or_default().0.push(tx.seq());
            }
            LockState::Waiting => {
                self.locks.entry((lock.clone(), key.clone())).or_default().1.insert(tx.seq());
            }
            LockState::None | LockState::Released => {}
        }
    }

    fn compare(self, book: &mut Notebook, partition: &Partition) {
        let place = format!("partition {}", partition.id.0);
        book.looked_at(INDEXES, "timers", self.timers.len() as u64);
        let due = partition.due(Timestamp::NEVER, usize::MAX);
        if due.iter().ne(self.timers.iter().map(|(_, seq)| seq)) {
            let what =
                format!("the timers name {} transactions, the transactions {} timers", due.len(), self.timers.len());
            book.wrong(INDEXES, &place, what, REPORT);
        }
        book.looked_at(INDEXES, "locks", self.locks.len() as u64);
        for ((lock, key), (holders, waiting)) in &self.locks {
            let place = format!("{place}, lock {lock} of key {key}");
            if holders.len() > 1 {
                book.wrong(
                    INDEXES,
                    &place,
                    format!("it is held by {} transactions: {holders:?}", holders.len()),
                    REPORT,
                );
            }
            let queue = partition.locks.queue(lock, key);
            let same = queue.is_some_and(|q| q.holder == holders.first().copied() && q.waiting == *waiting);
            if !same && holders.len() <= 1 {
                let what = format!("the queue is {queue:?}, the transactions say {holders:?} and {waiting:?}");
                book.wrong(INDEXES, &place, what, REPORT);
            }
        }
        for (lock, key, queue) in partition.locks.iter() {
            if !self.locks.contains_key(&(lock.clone(), key.clone())) {
                let what = format!("the queue is {queue:?}, and no transaction holds or awaits it");
                book.wrong(INDEXES, format!("{place}, lock {lock} of key {key}"), what, REPORT);
            }
        }
    }
}
