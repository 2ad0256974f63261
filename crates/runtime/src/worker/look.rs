//! Looking at live transactions: one by id, some by filter, counts, and those that await a signal.

use std::collections::BTreeMap;

use bytes::Bytes;
use compact_str::CompactString;
use model::{PartitionId, StepIndex, TxId};
use partition::Transaction;
use partition::state::Presence;
use plan::{Action, Saga, Undo, Wait};
use tokio::sync::oneshot;

use super::Worker;
use super::release::Held;
use crate::inbox::Waiter;
use crate::query::{Counted, Filter, GroupBy};
use crate::refusal::Refusal;
use crate::state_word::{outcome_word, reason_word, state_word};

impl Worker {
    pub(crate) fn look(&mut self, tx: TxId, waiter: Waiter) {
        match self.host_of(tx.partition()) {
            Some(host) => self.answer_when_durable(host, tx, waiter, false),
            None => waiter.to.send(Err(Refusal::NoTransaction(tx))),
        }
    }

    pub(crate) fn step_of(&mut self, tx: TxId, name: &str) -> Option<StepIndex> {
        let host = self.host_of(tx.partition())?;
        self.bring_back(host, tx.seq()).ok()?;
        let partition = &self.hosts[host].leader.partition;
        let live = partition.get(tx.seq())?;
        partition.plans.get(live.plan)?.saga.step(name).map(|(place, _)| place)
    }

    pub(crate) fn no_such_step(&mut self, tx: TxId, name: &str) -> Refusal {
        let live = self
            .host_of(tx.partition())
            .and_then(|host| self.hosts[host].leader.partition.get(tx.seq()))
            .is_some_and(|live| live.id == tx);
        if live { Refusal::NoObject { kind: "step", name: name.into() } } else { Refusal::NoTransaction(tx) }
    }

    /// Live transactions of a definition and key that wait for, or will wait for, a signal they have not had.
    pub(crate) fn awaiting(&mut self, partition: PartitionId, definition: &str, key: &str, signal: &str) -> Vec<TxId> {
        let Some(host) = self.host_of(partition) else { return Vec::new() };
        let seqs: Vec<u64> = self.hosts[host].leader.partition.by_key(definition, key).to_vec();
        let mut found = Vec::new();
        for seq in seqs {
            if self.bring_back(host, seq).is_err() {
                continue;
            }
            let partition = &self.hosts[host].leader.partition;
            let Some(live) = partition.get(seq) else { continue };
            let Some(slot) = partition.plans.get(live.plan) else { continue };
            let takes = slot
                .saga
                .steps
                .iter()
                .any(|s| matches!(&s.action, Action::Wait(Wait::Signal { name, .. }) if name == signal));
            if takes && live.outcome.is_none() && !live.signals.iter().any(|s| s.name == signal) {
                found.push(live.id);
            }
        }
        found
    }

    /// Begins to look through everything that is live.
    pub(crate) fn search(&mut self, search: Search) {
        self.searches.push_back(search);
    }

    /// Goes on with the oldest search, a bounded number of rows a turn. Gives whether there is more to do.
    pub(crate) fn search_on(&mut self) -> bool {
        let Some(mut search) = self.searches.pop_front() else { return false };
        if search.is_gone() {
            return !self.searches.is_empty();
        }
        let mut looked = 0;
        while looked < LOOKED_AT_PER_TURN {
            let Some(seq) = search.seqs.pop() else {
                if search.next_host == self.hosts.len() {
                    self.found(search);
                    return !self.searches.is_empty();
                }
                // Ids of one partition grow with their seq, so the newest stand last.
                let partition = &self.hosts[search.next_host].leader.partition;
                search.seqs = partition.live_seqs();
                if let Some(before) = search.before
                    && before.partition() == partition.id
                {
                    search.seqs.retain(|seq| *seq < before.seq());
                }
                search.taken = 0;
                search.next_host += 1;
                continue;
            };
            looked += self.look_at(&mut search, seq);
        }
        self.searches.push_front(search);
        true
    }

    /// Looks at one row; gives what that cost. An evicted row is read and forgotten again: looking at everything must
    /// not fill the memory.
    fn look_at(&self, search: &mut Search, seq: u64) -> usize {
        let host = search.next_host - 1;
        let partition = &self.hosts[host].leader.partition;
        let read;
        let (live, cost) = match partition.get(seq) {
            Some(live) => (live, 1),
            None if partition.presence(seq) == Presence::Evicted => match self.row_of(host, seq) {
                Ok(row) => {
                    read = row;
                    (&read, EVICTED_COSTS)
                }
                Err(error) => {
                    tracing::error!(partition = partition.id.0, seq, error, "a row cannot be read");
                    return EVICTED_COSTS;
                }
            },
            // It has ended meanwhile and is found in history.
            None => return 1,
        };
        let Some(slot) = partition.plans.get(live.plan) else { return cost };
        if search.before.is_some_and(|before| live.id >= before) || !matches(&search.filter, live, &slot.saga) {
            return cost;
        }
        match &mut search.finds {
            Finds::Rows { limit, found, .. } => {
                if let Some(summary) = self.render_summary(host, live) {
                    found.push((live.id, summary));
                    search.taken += 1;
                }
                if search.taken >= *limit {
                    search.seqs.clear();
                }
            }
            Finds::Counts { group_by, counts, .. } => {
                for group in groups(live, &slot.saga, group_by) {
                    *counts.entry(group).or_default() += 1;
                }
            }
        }
        cost
    }

    /// Tells what was found, when it is durable; what ended meanwhile is then in history, where its asker looks next.
    fn found(&mut self, search: Search) {
        let tell: Box<dyn FnOnce()> = match search.finds {
            Finds::Rows { limit, mut found, to } => Box::new(move || {
                found.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
                found.truncate(limit);
                let _ = to.send(found);
            }),
            Finds::Counts { counts, to, .. } => Box::new(move || {
                let _ = to.send(counts.into_iter().map(|(group, count)| Counted { group, count }).collect());
            }),
        };
        self.gathering.push(Held::Found(tell));
    }
}

/// Rows that a search looks at in one turn; an evicted one, which is read from the disk, counts more.
const LOOKED_AT_PER_TURN: usize = 4_096;
const EVICTED_COSTS: usize = 32;

/// A list or a count on its way through everything that is live here.
pub(crate) struct Search {
    filter: Filter,
    before: Option<TxId>,
    finds: Finds,
    /// Those of the host before `next_host` that are still to be looked at, newest last.
    seqs: Vec<u64>,
    next_host: usize,
    /// Found in that host.
    taken: usize,
}

type Rows = Vec<(TxId, Bytes)>;

enum Finds {
    Rows { limit: usize, found: Rows, to: oneshot::Sender<Rows> },
    Counts { group_by: Vec<GroupBy>, counts: BTreeMap<Vec<CompactString>, u64>, to: oneshot::Sender<Vec<Counted>> },
}

impl Search {
    /// Up to `limit` live transactions below `before`, newest first.
    pub(crate) fn list(filter: Filter, before: Option<TxId>, limit: usize, to: oneshot::Sender<Rows>) -> Self {
        let finds = Finds::Rows { limit, found: Vec::new(), to };
        Self { filter, before, finds, seqs: Vec::new(), next_host: 0, taken: 0 }
    }

    pub(crate) fn count(filter: Filter, group_by: Vec<GroupBy>, to: oneshot::Sender<Vec<Counted>>) -> Self {
        let finds = Finds::Counts { group_by, counts: BTreeMap::new(), to };
        Self { filter, before: None, finds, seqs: Vec::new(), next_host: 0, taken: 0 }
    }

    fn is_gone(&self) -> bool {
        match &self.finds {
            Finds::Rows { to, .. } => to.is_closed(),
            Finds::Counts { to, .. } => to.is_closed(),
        }
    }
}

/// Whether a transaction fits a filter.
pub(crate) fn matches(filter: &Filter, tx: &Transaction, plan: &Saga) -> bool {
    let is = |wish: &Option<CompactString>, word: &str| wish.as_ref().is_none_or(|wish| wish == word);
    is(&filter.definition, &plan.name)
        && is(&filter.state, state_word(tx))
        && is(&filter.outcome, outcome_word(tx))
        && is(&filter.reason, reason_word(tx))
        && is(&filter.key, tx.key.as_deref().unwrap_or_default())
        && is(&filter.idempotency_key, &tx.idempotency_key)
        && filter.participant.as_ref().is_none_or(|name| participants(plan).any(|p| p == name))
        && filter.step.as_ref().is_none_or(|name| plan.steps.iter().any(|s| s.name == *name))
        && filter.began_after.is_none_or(|at| tx.began_at >= at)
        && filter.began_before.is_none_or(|at| tx.began_at < at)
}

fn participants(plan: &Saga) -> impl Iterator<Item = &CompactString> {
    plan.steps.iter().flat_map(|step| {
        let undo = match &step.compensate {
            Undo::Call { call, .. } => Some(&call.participant),
            Undo::Nothing => None,
        };
        step.call().map(|call| &call.participant).into_iter().chain(undo)
    })
}

/// The groups that a transaction counts in: one, unless it is counted by participant or step.
pub(crate) fn groups(tx: &Transaction, plan: &Saga, group_by: &[GroupBy]) -> Vec<Vec<CompactString>> {
    let mut groups = vec![Vec::with_capacity(group_by.len())];
    for by in group_by {
        let values: Vec<CompactString> = match by {
            GroupBy::State => vec![state_word(tx).into()],
            GroupBy::Definition => vec![plan.name.clone()],
            GroupBy::Reason => vec![reason_word(tx).into()],
            GroupBy::Participant => {
                let mut names: Vec<CompactString> = participants(plan).cloned().collect();
                names.sort_unstable();
                names.dedup();
                names
            }
            GroupBy::Step => plan.steps.iter().map(|s| s.name.clone()).collect(),
        };
        groups = groups
            .into_iter()
            .flat_map(|group| {
                values.iter().map(move |value| {
                    let mut longer = group.clone();
                    longer.push(value.clone());
                    longer
                })
            })
            .collect();
    }
    groups
}
