//! One partition as its worker hosts it: the leader, the batch being gathered, who waits, what is parked.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use journal::BatchHash;
use model::{PartitionId, Seq};
use partition::{CallRef, Leader, Partition};
use smallvec::SmallVec;
use wire::EntryWriter;

use crate::inbox::Waiter;

/// One partition and what its worker keeps beside it.
pub(crate) struct Host {
    pub(crate) id: PartitionId,
    pub(crate) leader: Leader,
    pub(crate) writer: EntryWriter,
    pub(crate) tail: BatchHash,
    /// The last seq that is durable.
    pub(crate) durable: Seq,
    pub(crate) waiters: HashMap<Seq, SmallVec<[Waiter; 1]>>,
    /// Parked calls by participant, in the order in which they go on.
    pub(crate) parked: BTreeMap<u32, VecDeque<CallRef>>,
    /// Live transactions found at start with something of an earlier epoch outstanding.
    pub(crate) to_recover: VecDeque<Seq>,
    /// Transactions whose turn it was when the node stopped.
    pub(crate) to_grant: Vec<Seq>,
    /// Rows that the checkpoint under way deletes, should it fail.
    pub(crate) removed_under_way: Vec<Seq>,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) checkpoint: CheckpointState,
    /// Parked rows that may leave memory once a checkpoint holds them.
    pub(crate) cold: VecDeque<Seq>,
    pub(crate) frozen: Option<String>,
}

/// How far a checkpoint of this partition is.
pub(crate) enum CheckpointState {
    None,
    /// Made of the state behind this seq; runs when that is durable.
    Prepared { job: Box<store::statelog::CheckpointJob> },
    Running,
}

impl Host {
    pub(crate) fn new(partition: Partition, tail: BatchHash, frozen: Option<String>) -> Self {
        Self {
            id: partition.id,
            durable: partition.seq,
            leader: Leader::new(partition),
            writer: EntryWriter::default(),
            tail,
            waiters: HashMap::new(),
            parked: BTreeMap::new(),
            to_recover: VecDeque::new(),
            bytes_since_checkpoint: 0,
            checkpoint: CheckpointState::None,
            cold: VecDeque::new(),
            frozen,
            to_grant: Vec::new(),
            removed_under_way: Vec::new(),
        }
    }

    /// Nothing of it waits to become durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.writer.is_empty() && self.durable == self.leader.partition.seq
    }

    pub(crate) fn parked_count(&self) -> usize {
        self.parked.values().map(VecDeque::len).sum()
    }
}
