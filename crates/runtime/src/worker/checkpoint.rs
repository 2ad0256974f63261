//! Checkpoints of a worker's partitions: rows changed since the last one, made at a hand-over, written elsewhere.

use std::sync::Arc;

use model::{PartitionId, Seq};
use partition::state::Presence;
use partition::{Partition, Rejected};
use store::statelog::Verified;

use super::Worker;
use super::host::{CheckpointState, Host};
use crate::inbox::Note;
use crate::numbers::{add, bump};
use crate::shared::Shared;

/// An estimate of what a live transaction takes in memory, for the ceiling.
pub(crate) const RESIDENT_BYTES: u64 = 1_100;

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
    host.checkpoint = CheckpointState::Prepared { job: Box::new(job) };
}

impl Worker {
    /// Starts the checkpoints whose state has become durable.
    pub(crate) fn run_checkpoints(&mut self) {
        for host in &mut self.hosts {
            let CheckpointState::Prepared { job } = &host.checkpoint else { continue };
            let seq = job.seq();
            if seq > host.durable {
                continue;
            }
            let CheckpointState::Prepared { job } = std::mem::replace(&mut host.checkpoint, CheckpointState::Running)
            else {
                continue;
            };
            // What ended before this state must be in history before its rows are gone for good.
            let history = self.shared.history.clone();
            let position = history.position();
            history.request_flush(position);
            let (partition, inbox) = (host.id, Arc::clone(&self.inbox));
            let done = move |result: Result<Verified, store::Error>| {
                let result = result.and_then(|verified| history.flush_to_disk(position).map(|()| verified));
                inbox.send(Note::CheckpointDone { partition, seq, result });
            };
            if let Err(job) = self.shared.checkpointer.submit(*job, done) {
                // The thread is busy with others: this one runs at the next hand-over.
                host.checkpoint = CheckpointState::Prepared { job: Box::new(job) };
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
                self.journal.trimmable(partition.0, verified.trim_through);
                self.evict(place);
            }
            Err(error) if error.is_disk_full() => {
                // Its rows are dirty no more in memory but not on disk: the next checkpoint must write them all.
                tracing::warn!(%error, partition = partition.0, seq, "no room for a checkpoint; it is tried again");
                let removed = std::mem::take(&mut self.hosts[place].removed_under_way);
                self.hosts[place].leader.partition.forget_rows(removed);
            }
            Err(error) => self.shared.fail(format!("the checkpoint of partition {} failed: {error}", partition.0)),
        }
    }

    /// Lets parked rows leave memory while it is short.
    fn evict(&mut self, place: usize) {
        let share = self.shared.settings.memory_bytes_max / 2 / u64::from(self.shared.partitions) / RESIDENT_BYTES;
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
        let partition = &mut self.hosts[place].leader.partition;
        if partition.presence(tx) != Presence::Evicted {
            return Ok(());
        }
        let log = &self.shared.statelogs[usize::from(partition.id.0)];
        let broken = |e: String| Rejected::Illegal(format!("the row of transaction {tx} cannot be read: {e}"));
        let row = log.read(tx).map_err(|e| broken(e.to_string()))?.ok_or_else(|| broken("it is missing".into()))?;
        let plans = &partition.plans;
        let live = wire::row::read(&row, |hash| plans.find(hash)).map_err(|e| broken(e.to_string()))?;
        partition.admit(live);
        Ok(())
    }
}
