//! One partition as its worker hosts it: the leader, the batch being gathered, who waits, what is parked.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use journal::BatchHash;
use model::{Direction, PartitionId, Seq, StepIndex};
use partition::{CallRef, Leader, Partition};
use smallvec::SmallVec;
use wire::EntryWriter;

use crate::inbox::Waiter;

/// One partition and what its worker keeps beside it.
pub(crate) struct Host {
    pub(crate) id: PartitionId,
    pub(crate) leader: Leader,
    pub(crate) writer: EntryWriter,
    /// Batches that are full already and wait for the next part.
    pub(crate) sealed: Vec<journal::Batch>,
    pub(crate) tail: BatchHash,
    /// The last seq that is durable.
    pub(crate) durable: Seq,
    pub(crate) waiters: HashMap<Seq, SmallVec<[Waiter; 1]>>,
    /// Parked calls by participant, in the order in which they go on.
    pub(crate) parked: BTreeMap<u32, VecDeque<ParkedCall>>,
    /// Live transactions found at start with something of an earlier epoch outstanding.
    pub(crate) to_recover: VecDeque<Seq>,
    /// Those of them whose call ended with this node and not by its participant: the repeat is nobody's fault, and no
    /// budget of repeats holds it back.
    pub(crate) interrupted: hashbrown::HashSet<Seq>,
    /// Transactions whose turn it was when the node stopped.
    pub(crate) to_grant: Vec<Seq>,
    /// Rows that the checkpoint under way deletes, should it fail.
    pub(crate) removed_under_way: Vec<Seq>,
    pub(crate) bytes_since_checkpoint: u64,
    /// Journal bytes of the whole node when the last checkpoint was made.
    pub(crate) node_bytes_then: u64,
    /// The journal may forget this partition up to here.
    pub(crate) trimmed: Seq,
    pub(crate) checkpoint: CheckpointState,
    /// Parked rows that may leave memory once a checkpoint holds them.
    pub(crate) cold: VecDeque<Seq>,
    pub(crate) frozen: Option<String>,
}

/// A call that is parked, in 8 bytes, because there may be millions: 48 bits of seq (as in a `TxId`), 15 of step,
/// 1 of direction. Which attempt it will be, its transaction knows when it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ParkedCall(u64);

impl ParkedCall {
    pub(crate) fn of(call: CallRef) -> Self {
        let undoes = u64::from(call.direction == Direction::Compensate);
        Self(call.tx << 16 | u64::from(call.step & 0x7fff) << 1 | undoes)
    }

    pub(crate) fn tx(self) -> Seq {
        self.0 >> 16
    }

    pub(crate) fn step(self) -> StepIndex {
        (self.0 >> 1) as StepIndex & 0x7fff
    }

    /// As an Unpark names it; attempt and round are not looked at.
    pub(crate) fn call(self) -> CallRef {
        let direction = if self.0 & 1 == 1 { Direction::Compensate } else { Direction::Call };
        CallRef { tx: self.tx(), step: self.step(), direction, attempt: 0, round: 0 }
    }
}

/// How far a checkpoint of this partition is.
pub(crate) enum CheckpointState {
    None,
    /// Made of the state behind this seq; runs when that is durable.
    /// With the place in history that must be on disk before its rows are gone for good.
    Prepared {
        job: Box<store::statelog::CheckpointJob>,
        history: Option<store::history::Position>,
    },
    Running,
}

impl Host {
    pub(crate) fn new(partition: Partition, tail: BatchHash, frozen: Option<String>) -> Self {
        Self {
            id: partition.id,
            durable: partition.seq,
            leader: Leader::new(partition),
            writer: EntryWriter::default(),
            sealed: Vec::new(),
            tail,
            waiters: HashMap::new(),
            parked: BTreeMap::new(),
            to_recover: VecDeque::new(),
            interrupted: hashbrown::HashSet::new(),
            bytes_since_checkpoint: 0,
            node_bytes_then: 0,
            trimmed: 0,
            checkpoint: CheckpointState::None,
            cold: VecDeque::new(),
            frozen,
            to_grant: Vec::new(),
            removed_under_way: Vec::new(),
        }
    }

    /// Closes the batch that is being gathered; the next entry begins another.
    pub(crate) fn seal(&mut self, buffer: Vec<u8>) {
        if self.writer.is_empty() {
            return;
        }
        let batch = journal::Batch::encode(
            self.id.0,
            self.leader.partition.epoch,
            self.writer.first_seq(),
            self.writer.count(),
            self.tail,
            self.durable,
            self.writer.payload(),
            buffer,
        );
        self.tail = batch.hash();
        self.bytes_since_checkpoint += batch.bytes().len() as u64;
        self.writer.clear();
        self.sealed.push(batch);
    }

    /// Bytes that wait for the next part.
    pub(crate) fn gathered_bytes(&self) -> usize {
        self.writer.len() + self.sealed.iter().map(|batch| batch.bytes().len()).sum::<usize>()
    }

    /// Notes a parked transaction that may leave memory. Those that have gone on are dropped now and then, so that
    /// the list never grows far beyond what is live.
    pub(crate) fn may_leave(&mut self, tx: Seq) {
        self.cold.push_back(tx);
        if self.cold.len() > 2 * self.leader.partition.live_count() + 1_024 {
            let partition = &self.leader.partition;
            let mut cold: Vec<Seq> = self.cold.drain(..).filter(|seq| partition.is_parked(*seq)).collect();
            cold.sort_unstable();
            cold.dedup();
            self.cold = cold.into();
        }
    }

    /// Drops parked calls of transactions that have ended, when there are many. Gives how many.
    pub(crate) fn tidy_parked(&mut self, participant: u32) -> u64 {
        let Some(queue) = self.parked.get_mut(&participant) else { return 0 };
        let before = queue.len();
        if before <= 2 * self.leader.partition.live_count() + 1_024 {
            return 0;
        }
        let partition = &self.leader.partition;
        let mut seen = hashbrown::HashSet::new();
        queue.retain(|call| {
            let waits = match partition.get(call.tx()) {
                Some(tx) => tx
                    .steps
                    .get(usize::from(call.step()))
                    .is_some_and(|s| s.branch == partition::branch::Branch::Parked),
                None => partition.presence(call.tx()) == partition::state::Presence::Evicted,
            };
            waits && seen.insert(*call)
        });
        (before - queue.len()) as u64
    }

    /// Nothing of it waits to become durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.writer.is_empty() && self.durable == self.leader.partition.seq
    }

    pub(crate) fn parked_count(&self) -> usize {
        self.parked.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_call_keeps_what_names_it() {
        for (tx, step, direction) in
            [(1, 0, Direction::Call), ((1 << 48) - 1, 0x7fff, Direction::Compensate), (77, 3, Direction::Compensate)]
        {
            let call = CallRef { tx, step, direction, attempt: 4, round: 2 };
            assert_eq!(ParkedCall::of(call).call(), CallRef { attempt: 0, round: 0, ..call });
        }
    }
}
