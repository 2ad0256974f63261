//! Checkpoints of a worker's partitions: rows changed since the last one, made at a hand-over, written elsewhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{PartitionId, Seq};
use partition::state::Presence;
use partition::{Partition, Rejected, Transaction};
use store::statelog::Verified;

use super::Worker;
use super::host::{CheckpointState, Host};
use crate::inbox::Note;
use crate::numbers::{add, bump, get};
use crate::shared::Shared;

/// An estimate of what a live transaction takes in memory, for the ceiling.
pub(crate) const RESIDENT_BYTES: u64 = 1_600;

/// Makes the job of a checkpoint at the partition's present seq, which is the end of the batch just encoded.
pub(crate) fn prepare(host: &mut Host, shared: &Arc<Shared>, row: &mut Vec<u8>) {
    let partition: &mut Partition = &mut host.leader.partition;
    let mut meta = Vec::new();
    wire::checkpoint::write(partition, &mut meta);
    let log = &shared.statelogs[usize::from(host.id.0)];
    let mut job = log.begin(partition.seq, host.tail.0, meta);
    let changes = partition.take_changes();
    for seq in &changes.dirty {
        let Some(tx) = partition.get(*seq) else { continue };
        let Some(plan) = partition.plans.get(tx.plan) else { continue };
        row.clear();
        wire::row::write(tx, &plan.hash, row);
        if let Err(e) = job.put(*seq, row) {
            shared.fail(format!("a row of partition {} cannot be kept: {e}", host.id.0));
            return;
        }
    }
    for seq in &changes.removed {
        job.delete(*seq);
    }
    host.removed_under_way = changes.removed;
    host.bytes_since_checkpoint = 0;
    host.node_bytes_then = get(&shared.numbers.journal_bytes);
    host.checkpoint = CheckpointState::Prepared { job: Box::new(job), history: None };
}

/// Whether a checkpoint of this partition should be made at the next chance.
pub(crate) fn is_wanted(host: &Host, shared: &Shared) -> bool {
    if !matches!(host.checkpoint, CheckpointState::None) || host.frozen.is_some() {
        return false;
    }
    // The disk is nearly full: two checkpoints at the same place let the journal forget everything before it.
    if shared.disk_is_low.load(Ordering::Relaxed) && host.trimmed < host.leader.partition.seq {
        return true;
    }
    if host.bytes_since_checkpoint == 0 {
        return false;
    }
    let every = shared.settings.checkpoint_every_bytes;
    // A partition with little to do must not hold back what the busy ones could trim (SEMANTICS 17).
    let of_node = get(&shared.numbers.journal_bytes).saturating_sub(host.node_bytes_then);
    let resident = host.leader.partition.resident_count();
    // Only when enough could leave to be worth it: rows that run stay in memory whatever is written.
    let is_short = resident as u64 > resident_share(shared) && host.cold.len() * 8 >= resident;
    host.bytes_since_checkpoint >= every || of_node >= every.saturating_mul(u64::from(shared.partitions)) || is_short
}

/// Rows of one partition that may be in memory before parked ones leave it.
fn resident_share(shared: &Shared) -> u64 {
    shared.settings.memory_bytes_max / 2 / u64::from(shared.partitions) / RESIDENT_BYTES
}

impl Worker {
    /// Makes the checkpoints that are wanted of partitions that have nothing under way just now.
    pub(crate) fn want_checkpoints(&mut self) {
        for host in &mut self.hosts {
            if host.is_clean() && is_wanted(host, &self.shared) {
                prepare(host, &self.shared, &mut self.row);
            }
        }
        self.run_checkpoints();
    }

    /// Starts the checkpoints whose state has become durable, and what ended before it as well: a crash right after
    /// the checkpoint replays nothing of that any more (SEMANTICS 5).
    pub(crate) fn run_checkpoints(&mut self) {
        for host in &mut self.hosts {
            let CheckpointState::Prepared { job, history: place } = &mut host.checkpoint else { continue };
            let seq = job.seq();
            if seq > host.durable {
                continue;
            }
            let history = &self.shared.history;
            if place.is_none() && self.history_waiting.is_empty() && self.history_block.is_empty() {
                let position = history.position();
                history.request_flush(position);
                *place = Some(position);
            }
            if place.is_none_or(|position| history.durable_position() < position) {
                continue;
            }
            let place = *place;
            let CheckpointState::Prepared { job, .. } =
                std::mem::replace(&mut host.checkpoint, CheckpointState::Running)
            else {
                continue;
            };
            let (partition, inbox) = (host.id, Arc::clone(&self.inbox));
            let done = move |result: Result<Verified, store::Error>| {
                inbox.send(Note::CheckpointDone { partition, seq, result });
            };
            if let Err(job) = self.shared.checkpointer.submit(*job, done) {
                // The thread is busy with others: this one runs at the next hand-over.
                host.checkpoint = CheckpointState::Prepared { job: Box::new(job), history: place };
            }
        }
    }

    pub(crate) fn checkpoint_done(&mut self, partition: PartitionId, seq: Seq, result: Result<Verified, store::Error>) {
        let Some(place) = self.host_of(partition) else { return };
        self.hosts[place].checkpoint = CheckpointState::None;
        match result {
            Ok(verified) => {
                bump(&self.shared.numbers.checkpoints);
                add(&self.shared.numbers.checkpoint_rows, verified.dirty_rows);
                self.hosts[place].trimmed = verified.trim_through;
                self.journal.trimmable(partition.0, verified.trim_through);
                self.evict(place);
            }
            Err(error) if error.is_disk_full() => {
                // Its rows are dirty no more in memory but not on disk: the next checkpoint must write them all.
                tracing::warn!(%error, partition = partition.0, seq, "no room for a checkpoint; it is tried again");
                let host = &mut self.hosts[place];
                let removed = std::mem::take(&mut host.removed_under_way);
                host.leader.partition.forget_rows(removed);
                host.bytes_since_checkpoint = self.shared.settings.checkpoint_every_bytes;
            }
            Err(error) => self.shared.fail(format!("the checkpoint of partition {} failed: {error}", partition.0)),
        }
    }

    /// Lets parked rows leave memory while it is short.
    fn evict(&mut self, place: usize) {
        let share = resident_share(&self.shared);
        let host = &mut self.hosts[place];
        let mut over = (host.leader.partition.resident_count() as u64).saturating_sub(share);
        let mut left = host.cold.len();
        while over > 0 && left > 0 {
            left -= 1;
            let Some(tx) = host.cold.pop_front() else { break };
            match host.leader.partition.presence(tx) {
                Presence::Resident if host.leader.partition.is_parked(tx) => {
                    if host.leader.partition.evict(tx) {
                        over -= 1;
                    } else {
                        host.cold.push_back(tx);
                    }
                }
                _ => {}
            }
        }
    }

    /// Brings an evicted row back before anything is decided on it.
    pub(crate) fn bring_back(&mut self, place: usize, tx: Seq) -> Result<(), Rejected> {
        if self.hosts[place].leader.partition.presence(tx) != Presence::Evicted {
            return Ok(());
        }
        match self.row_of(place, tx) {
            Ok(live) => {
                self.hosts[place].leader.partition.admit(live);
                // It may leave again, unless it goes on now.
                self.hosts[place].may_leave(tx);
                Ok(())
            }
            // What was durable is not whole any more: this partition decides nothing until somebody has looked.
            Err(e) => {
                let why = format!("the row of transaction {tx} cannot be read: {e}");
                tracing::error!(partition = self.hosts[place].id.0, why, "a partition is frozen");
                self.hosts[place].frozen.get_or_insert_with(|| why.clone());
                Err(Rejected::Illegal(why))
            }
        }
    }

    /// An evicted row, only to look at.
    pub(crate) fn row_of(&self, place: usize, tx: Seq) -> Result<Transaction, String> {
        let partition = &self.hosts[place].leader.partition;
        let log = &self.shared.statelogs[usize::from(partition.id.0)];
        let row = log.read(tx).map_err(|e| e.to_string())?.ok_or("it is missing")?;
        wire::row::read(&row, |hash| partition.plans.find(hash)).map_err(|e| e.to_string())
    }
}
