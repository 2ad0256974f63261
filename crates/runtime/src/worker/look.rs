//! Looking at live transactions: one by id, some by filter, counts, and those that await a signal.

use bytes::Bytes;
use compact_str::CompactString;
use model::{PartitionId, StepIndex, Timestamp, TxId};
use partition::Transaction;
use plan::{Action, Saga, Undo, Wait};

use super::Worker;
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
        if live {
            Refusal::NoObject { kind: "step", name: name.into() }
        } else {
            Refusal::NoTransaction(tx)
        }
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
            let takes = slot.saga.steps.iter().any(|s| matches!(&s.action, Action::Wait(Wait::Signal { name, .. }) if name == signal));
            if takes && live.outcome.is_none() && !live.signals.iter().any(|s| s.name == signal) {
                found.push(live.id);
            }
        }
        found
    }

    /// Up to `limit` live transactions below `before`, newest first.
    pub(crate) fn list(&mut self, filter: &Filter, before: Option<TxId>, limit: usize, now: Timestamp) -> Vec<(TxId, Bytes)> {
        let mut found: Vec<(TxId, Bytes)> = Vec::new();
        for host in 0..self.hosts.len() {
            let mut taken = 0;
            let mut seqs = self.hosts[host].leader.partition.live_seqs();
            // Ids of one partition grow with their seq, so the newest stand last.
            while let Some(seq) = seqs.pop() {
                if taken == limit {
                    break;
                }
                if self.bring_back(host, seq).is_err() {
                    continue;
                }
                let partition = &self.hosts[host].leader.partition;
                let Some(live) = partition.get(seq) else { continue };
                if before.is_some_and(|before| live.id >= before) {
                    continue;
                }
                let Some(slot) = partition.plans.get(live.plan) else { continue };
                if matches(filter, live, &slot.saga, now)
                    && let Some(summary) = self.render_summary(host, live)
                {
                    found.push((live.id, summary));
                    taken += 1;
                }
            }
        }
        found.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        found.truncate(limit);
        found
    }

    pub(crate) fn count(&mut self, filter: &Filter, group_by: &[GroupBy]) -> Vec<Counted> {
        let now = self.shared.clock.now();
        let mut counts = std::collections::BTreeMap::<Vec<CompactString>, u64>::new();
        for host in 0..self.hosts.len() {
            for seq in self.hosts[host].leader.partition.live_seqs() {
                if self.bring_back(host, seq).is_err() {
                    continue;
                }
                let partition = &self.hosts[host].leader.partition;
                let Some(live) = partition.get(seq) else { continue };
                let Some(slot) = partition.plans.get(live.plan) else { continue };
                if matches(filter, live, &slot.saga, now) {
                    for group in groups(live, &slot.saga, group_by) {
                        *counts.entry(group).or_default() += 1;
                    }
                }
            }
        }
        counts.into_iter().map(|(group, count)| Counted { group, count }).collect()
    }
}

/// Whether a transaction fits a filter.
pub(crate) fn matches(filter: &Filter, tx: &Transaction, plan: &Saga, now: Timestamp) -> bool {
    let is = |wish: &Option<CompactString>, word: &str| wish.as_ref().is_none_or(|wish| wish == word);
    is(&filter.definition, &plan.name)
        && is(&filter.state, state_word(tx, now))
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
            GroupBy::State => vec![state_word(tx, Timestamp::ZERO).into()],
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
