//! The end of a process, and the beginning of the next one: checkpoint, journal, a new epoch; and a second owner
//! while the first one still believes that it is one.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::Start;
use model::mutant::{Mutant, is_planted};
use model::{PartitionId, Timestamp};
use partition::branch::Branch;
use partition::state::Presence;
use partition::{CallRef, Effect, EntryKind, Partition, Transaction};

use super::{Journal, World};
use crate::disk::{End, Found};
use crate::event::{Event, Told, Violation};
use crate::facts::tell;
use crate::fixed::Rng;
use crate::node::checkpoint::Checkpoint;
use crate::node::loading::Loader;
use crate::node::{Around, Host, KnownKey, Node};
use crate::queue::Happening;

impl World {
    /// The process ends now; another one starts later.
    pub(super) fn crash(&mut self, end: End, down: Duration) {
        let now = self.out.facts.now;
        self.down_until = self.down_until.max(now.after(down));
        self.out.queue.plan(self.down_until, Happening::Restart);
        let Some(node) = self.node.take() else {
            // Down already; but the machine may go as well now.
            self.end = if end == End::Power { end } else { self.end };
            return;
        };
        self.end = end;
        self.say(&Event::Crashed { power: end == End::Power });
        self.drop_process(&node);
    }

    /// What a process leaves behind: calls that nobody listens to, parts that never reach the disk.
    fn drop_process(&mut self, node: &Node) {
        self.orphan(node.id);
        self.out.journal.queue.retain(|(owner, _)| *owner != node.id);
        if self.out.journal.writing.as_ref().is_some_and(|(_, owner, _)| *owner == node.id) {
            let Journal { writing, .. } = &mut self.out.journal;
            *writing = None;
        }
    }

    fn orphan(&mut self, node: u32) {
        let super::Outer { outside, facts, queue, .. } = &mut self.out;
        let moved = outside.orphan(node, &facts.participants, &mut facts.ledger, facts.now);
        for (id, at) in moved {
            queue.plan(at, Happening::Effect(id));
        }
    }

    /// Another process takes over while this one sleeps; it will wake up and go on as if nothing had happened.
    pub(super) fn usurp(&mut self) {
        // What is under way belongs to the sleeper; it is on disk before anybody else reads, or never.
        if self.former.is_some() || self.out.journal.writing.is_some() {
            return;
        }
        let Some(mut node) = self.node.take() else { return };
        node.is_former = true;
        node.turn_at = Timestamp::NEVER;
        node.dies_in = None;
        self.orphan(node.id);
        self.former = Some(node);
        let sleeps = self.rng.between(1_000, 20_000_000);
        self.out.queue.plan(self.out.facts.now.after(Duration::from_micros(sleeps)), Happening::FormerOwner);
        self.end = End::Process;
        self.restart();
    }

    /// The sleeper wakes up, and learns from the journal that it is nobody any more.
    pub(super) fn former_wakes(&mut self) {
        let Some(mut former) = self.former.take() else { return };
        former.turn(&mut self.out);
        let is_done = former.is_dead || (former.under_way.is_empty() && former.gathering.is_empty());
        if is_done {
            self.drop_process(&former);
        } else {
            self.former = Some(former);
        }
        self.write();
    }

    /// A process starts: everything that it knows it reads from the disk.
    pub(super) fn restart(&mut self) {
        let chosen: Vec<Option<Checkpoint>> = (0..self.out.stores.len()).map(|place| self.choose(place)).collect();
        let mut starts = BTreeMap::new();
        for (place, checkpoint) in chosen.iter().enumerate() {
            if let Some(checkpoint) = checkpoint {
                starts.insert(place as u16, Start { seq: checkpoint.seq, hash: Some(checkpoint.hash) });
            }
        }
        if self.end == End::Power {
            let rng = &mut self.rng;
            self.out.facts.history.cut(|n| rng.below(n));
        }
        let found = match self.out.disk.reopen(self.end, &starts) {
            Ok(found) => found,
            Err(what) => {
                self.say(&Event::Damaged { partition: None, what: &what });
                return self.out.watch.found(Violation::new("JR-2", None, what));
            }
        };
        // The followers read what survived although nobody was told.
        for batch in &found.batches {
            let (partition, epoch, first_seq, last_seq) =
                (batch.partition, batch.epoch, batch.first_seq, batch.last_seq);
            if last_seq > self.out.facts.followers[usize::from(partition)].seq {
                self.say(&Event::Durable { partition, epoch, first_seq, last_seq });
                self.follow(partition, batch.entries(), first_seq);
            }
        }
        if self.out.watch.broken.is_some() {
            return;
        }
        self.start(&chosen, &found);
    }

    /// The newest checkpoint; now and then the one before it, as if the newest did not verify.
    fn choose(&mut self, place: usize) -> Option<Checkpoint> {
        let store = &mut self.out.stores[place];
        if store.published.len() == 2 && self.rng.chance(1, 6) {
            store.published.pop_back();
        }
        let mut chosen = store.published.back().cloned();
        if is_planted(Mutant::RowAheadOfReplay)
            && let (Some(chosen), Some(newer)) = (&mut chosen, store.published.back())
            && let Some(older) = store.published.front().filter(|older| older.seq < newer.seq)
        {
            *chosen = Checkpoint { rows: newer.rows.clone(), ..older.clone() };
        }
        chosen
    }

    fn start(&mut self, chosen: &[Option<Checkpoint>], found: &Found) {
        self.nodes += 1;
        self.epoch += 1;
        let now = self.out.facts.now;
        let wall = now.0.saturating_add_signed(self.wall_us);
        let not_before = self.out.facts.followers.iter().map(|f| f.at.0).max().unwrap_or(0);
        let offset_us = wall.max(not_before) as i64 - now.0 as i64;
        let features = &self.out.features;
        let wobbles = features.wobbles.then(|| Rng::named(features.seed ^ u64::from(self.nodes), "clock"));
        let lies = features.lies.then(|| Rng::named(features.seed ^ u64::from(self.nodes), "lies"));
        let mut loader = Loader::new(&self.out.facts.participants, features.learns, lies);
        if self.epoch > 1 {
            loader.new_epoch();
        }
        let echoes = features.echoes.then(|| Rng::named(features.seed ^ u64::from(self.nodes), "echoing"));
        let mut node = Box::new(Node::new(self.nodes, self.epoch, offset_us, wobbles, loader));
        node.echoes = echoes;
        for (place, checkpoint) in chosen.iter().enumerate() {
            match self.rebuild(place, checkpoint.as_ref(), found, &mut node) {
                Ok(host) => node.hosts.push(host),
                Err(what) => {
                    let what = format!("partition {place}: {what}");
                    return self.out.watch.found(Violation::new("JR-1", None, what));
                }
            }
        }
        let at = node.clock(now);
        for place in 0..node.hosts.len() {
            self.open(place, &mut node, at);
        }
        let former_lives = self.former.is_some();
        let epoch = self.epoch;
        self.node = Some(node);
        for partition in 0..self.out.stores.len() as u16 {
            self.say(&Event::Opened { partition, epoch, former_lives });
        }
        if self.rng.chance(1, 8) && !self.out.facts.is_calm && !self.out.features.faults.is_empty() {
            // It dies again while it takes up what it found.
            let steps = self.rng.below(30) as u32;
            if self.out.features.has(crate::event::Fault::Crash)
                && let Some(node) = &mut self.node
            {
                node.dies_in = Some(steps);
            }
        }
        self.wake();
    }

    /// Checkpoint and journal, together.
    fn rebuild(
        &mut self,
        place: usize,
        checkpoint: Option<&Checkpoint>,
        found: &Found,
        node: &mut Node,
    ) -> Result<Host, String> {
        let id = PartitionId(place as u16);
        let resident_max = self.out.features.resident_max;
        let mut partition = match checkpoint {
            Some(checkpoint) => wire::checkpoint::read(id, &checkpoint.frame).map_err(|e| e.to_string())?,
            None => Partition::new(id),
        };
        self.out.tables.teach(&mut partition);
        let mut kept = 0;
        if let Some(checkpoint) = checkpoint {
            for (seq, row) in &checkpoint.rows {
                let plans = &partition.plans;
                let tx = wire::row::read(row, |hash| plans.find(hash)).map_err(|e| format!("row {seq}: {e}"))?;
                let is_parked = tx.steps.iter().all(|s| matches!(s.branch, Branch::Idle | Branch::Parked));
                let keep = kept < resident_max || !is_parked;
                kept += usize::from(keep);
                if !is_planted(Mutant::KeysForgottenAtCheckpoint) {
                    self.know(node, &tx, &partition);
                }
                partition.restore_row(tx, keep);
            }
        }
        let from = partition.seq;
        let mut replayed = 0;
        let mut tail = checkpoint.map_or(journal::BatchHash::NONE, |c| c.hash);
        for batch in found.batches.iter().filter(|batch| batch.partition == id.0) {
            tail = batch.hash;
            let reader = wire::EntryReader::new(batch.entries(), batch.first_seq).map_err(|e| e.to_string())?;
            for entry in reader {
                let entry = entry.map_err(|e| e.to_string())?;
                if let EntryKind::Moves { tx, .. } = &entry.kind
                    && partition.presence(*tx) == Presence::Evicted
                {
                    let row = checkpoint.and_then(|c| c.rows.get(tx)).ok_or("an evicted row is gone")?;
                    let plans = &partition.plans;
                    let live = wire::row::read(row, |hash| plans.find(hash)).map_err(|e| e.to_string())?;
                    partition.admit(live);
                }
                let ended = partition.apply(&entry).map_err(|e| e.to_string())?;
                if is_planted(Mutant::BatchAppliedTwice) && entry.seq == batch.first_seq {
                    partition.apply(&entry).map_err(|e| e.to_string())?;
                }
                if let EntryKind::Begin(begun) = &entry.kind
                    && let Some(slot) = partition.plans.get(begun.plan)
                {
                    let family = self.out.tables.family_of(&slot.saga.name);
                    let known = KnownKey { tx: begun.id, digest: begun.submission_digest };
                    node.keys.insert((family, begun.idempotency_key.clone()), known);
                }
                if let Some(ended) = ended
                    && let Some(slot) = partition.plans.get(ended.plan)
                {
                    let family = self.out.tables.family_of(&slot.saga.name);
                    node.keys.remove(&(family, ended.idempotency_key.clone()));
                    if !is_planted(Mutant::HistoryRowLost) {
                        let is_new = self.out.facts.history.get(ended.id).is_none();
                        let id = ended.id;
                        self.out.facts.history.add(family, ended);
                        if is_new && let Some(kept) = self.out.facts.history.get(id) {
                            let event = Event::Ended { partition: place as u16, tx: kept, plan: &slot.saga };
                            tell(&mut self.out.watch, &self.out.facts, None, &event);
                        }
                    }
                }
                replayed += 1;
            }
        }
        let event = Event::Recovered {
            partition: place as u16,
            restored: &partition,
            checkpoint: from,
            replayed,
            tail: partition.seq,
        };
        tell(&mut self.out.watch, &self.out.facts, None, &event);
        Ok(Host::new(partition, tail))
    }

    fn know(&self, node: &mut Node, tx: &Transaction, partition: &Partition) {
        if let Some(slot) = partition.plans.get(tx.plan) {
            let family = self.out.tables.family_of(&slot.saga.name);
            node.keys
                .insert((family, tx.idempotency_key.clone()), KnownKey { tx: tx.id, digest: tx.submission_digest });
        }
    }

    /// A new epoch, with everything in its queues that a restart must take up again.
    fn open(&mut self, place: usize, node: &mut Node, at: Timestamp) {
        let epoch = self.epoch;
        let Ok(entry) = node.hosts[place].leader.open_epoch(epoch, 1, at) else {
            let what = format!("partition {place} takes no epoch");
            return self.out.watch.found(Violation::new("JR-1", None, what));
        };
        node.record(place, &entry);
        let mut parked: Vec<(u32, CallRef)> = Vec::new();
        let mut to_recover = Vec::new();
        let panics = std::cell::Cell::new(false);
        let around = Around { participants: &self.out.facts.participants, held: &[], panics: &panics };
        let partition = &node.hosts[place].leader.partition;
        let plans = &partition.plans;
        for seq in partition.live_seqs() {
            let read;
            let tx = match partition.get(seq) {
                Some(tx) => tx,
                None => {
                    let row = self.out.stores[place].row(seq);
                    match row.and_then(|row| wire::row::read(&row, |hash| plans.find(hash)).ok()) {
                        Some(tx) => {
                            read = tx;
                            &read
                        }
                        None => continue,
                    }
                }
            };
            if tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. })) {
                to_recover.push(seq);
            }
            for effect in partition::leader::effects_of(tx, partition, &around) {
                if let Effect::Parked { call, participant } = effect {
                    parked.push((participant, call));
                }
            }
        }
        parked.sort_unstable_by_key(|(_, call)| call.tx);
        let grants = partition.locks.overdue();
        let host = &mut node.hosts[place];
        for (participant, call) in parked {
            host.cold.push_back(call.tx);
            host.parked.entry(participant).or_default().push_back(call);
        }
        if !is_planted(Mutant::RecoverForgotten) {
            host.to_recover.extend(to_recover);
        }
        if !is_planted(Mutant::GrantForgotten) {
            host.to_grant = grants;
        }
        let event = Event::Proposed {
            partition: place as u16,
            command: &Told::Epoch,
            entry: &entry,
            effects: &[],
            before: None,
            after: None,
        };
        tell(&mut self.out.watch, &self.out.facts, Some(node), &event);
    }
}
