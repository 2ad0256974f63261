//! Checkpoints: rows changed since the last one, made at a hand-over, valid when what they contain is durable.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use journal::BatchHash;
use model::Seq;
use model::mutant::{Mutant, is_planted};
use partition::state::Presence;

use super::{Host, Node};
use crate::event::Event;
use crate::queue::Happening;
use crate::world::{Outer, tell};

const COLD_PER_TURN: usize = 16;

/// A checkpoint collected in memory.
pub(crate) struct Prepared {
    seq: Seq,
    hash: BatchHash,
    frame: Vec<u8>,
    rows: Vec<(Seq, Vec<u8>)>,
    removed: Vec<Seq>,
    /// It is being written.
    is_running: bool,
}

/// A checkpoint on disk.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    pub(crate) seq: Seq,
    pub(crate) hash: BatchHash,
    pub(crate) frame: Vec<u8>,
    pub(crate) rows: BTreeMap<Seq, Rc<[u8]>>,
}

/// The checkpoints of one partition: the last two.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) published: VecDeque<Checkpoint>,
}

impl Store {
    /// A row of the newest checkpoint.
    pub(crate) fn row(&self, tx: Seq) -> Option<Rc<[u8]>> {
        self.published.back()?.rows.get(&tx).cloned()
    }
}

/// Makes the checkpoint of the partition's present seq.
pub(crate) fn prepare(host: &mut Host, row: &mut Vec<u8>) {
    let partition = &mut host.leader.partition;
    let mut frame = Vec::new();
    wire::checkpoint::write(partition, &mut frame);
    let changes = partition.take_changes();
    let mut rows = Vec::with_capacity(changes.dirty.len());
    for seq in &changes.dirty {
        let Some(tx) = partition.get(*seq) else { continue };
        let Some(plan) = partition.plans.get(tx.plan) else { continue };
        row.clear();
        wire::row::write(tx, &plan.hash, row);
        rows.push((*seq, row.clone()));
    }
    host.entries_since_checkpoint = 0;
    host.checkpoint = Some(Prepared {
        seq: partition.seq,
        hash: host.tail,
        frame,
        rows,
        removed: changes.removed,
        is_running: false,
    });
}

impl Node {
    /// Starts the checkpoints whose state has become durable, and what ended before it as well.
    pub(crate) fn run_checkpoints(&mut self, out: &mut Outer) {
        for (place, host) in self.hosts.iter_mut().enumerate() {
            let Some(prepared) = &mut host.checkpoint else { continue };
            let too_early = prepared.seq > host.durable && !is_planted(Mutant::CheckpointBeforeCommit);
            if prepared.is_running || too_early {
                continue;
            }
            prepared.is_running = true;
            host.is_checkpointing = true;
            out.facts.history.flush(place as u16);
            let at = out.after_disk();
            out.queue.plan(at, Happening::CheckpointDone { partition: place as u16, node: self.id });
        }
    }

    /// The checkpoint that was being written is on disk, or there was no room for it.
    pub(crate) fn checkpoint_done(&mut self, out: &mut Outer, place: usize, fails: bool) {
        let host = &mut self.hosts[place];
        host.is_checkpointing = false;
        let Some(prepared) = host.checkpoint.take() else { return };
        if fails {
            // Its rows are dirty no more in memory but not on disk: the next one must write them all.
            host.leader.partition.forget_rows(prepared.removed);
            host.entries_since_checkpoint = out.features.checkpoint_every;
            return;
        }
        let store = &mut out.stores[place];
        let mut rows = store.published.back().map(|last| last.rows.clone()).unwrap_or_default();
        let count = prepared.rows.len() as u64;
        for seq in &prepared.removed {
            rows.remove(seq);
        }
        for (seq, row) in prepared.rows {
            rows.insert(seq, Rc::from(row));
        }
        let (seq, hash, frame) = (prepared.seq, prepared.hash, prepared.frame);
        store.published.push_back(Checkpoint { seq, hash, frame, rows });
        if store.published.len() > 2 {
            store.published.pop_front();
        }
        let older = if store.published.len() == 2 { store.published[0].seq } else { 0 };
        let through = if is_planted(Mutant::TrimmedTooFar) { host.durable } else { older };
        out.disk.trimmable(place as u16, through);
        self.evict(out, place);
        let event = Event::Checkpointed { partition: place as u16, seq, rows: count };
        tell(&mut out.watch, &out.facts, Some(self), &event);
    }

    /// Lets rows go wherever no checkpoint is under way: what is resident changes nothing.
    pub(crate) fn evict_all(&mut self, out: &mut Outer) {
        for place in 0..self.hosts.len() {
            if self.hosts[place].checkpoint.is_none() && !self.hosts[place].is_checkpointing {
                self.evict(out, place);
            }
        }
    }

    /// Lets parked rows leave memory while there are more than may be resident.
    fn evict(&mut self, out: &mut Outer, place: usize) {
        let host = &mut self.hosts[place];
        let mut over = host.leader.partition.resident_count().saturating_sub(out.features.resident_max);
        // Each turn looks at a few: what is not ready yet is looked at again when its turn comes round.
        let mut left = host.cold.len().min(COLD_PER_TURN);
        let mut rows = 0;
        while over > 0 && left > 0 {
            left -= 1;
            let Some(tx) = host.cold.pop_front() else { break };
            if host.leader.partition.presence(tx) == Presence::Resident && host.leader.partition.is_parked(tx) {
                if host.leader.partition.evict(tx) {
                    over -= 1;
                    rows += 1;
                } else {
                    host.cold.push_back(tx);
                }
            }
        }
        if rows > 0 {
            let resident = host.leader.partition.resident_count() as u64;
            let event = Event::Evicted { partition: place as u16, rows, resident };
            tell(&mut out.watch, &out.facts, Some(self), &event);
        }
    }
}
