//! What every journal promises, whatever it is made of.
//!
//! ```text
//! submit(worker, Part) ──► queue ──► group ──► durable ──► Completion(worker, Committed { token, result, batches })
//! ```
//! - Parts are made durable in the order of `submit`; a part is wholly in one group or in none.
//! - `Committed { result: Ok }` arrives after the part is durable, never before, once per part, in order.
//! - A part that is refused or fails for a reason other than `Fault::Failed` has left nothing behind.
//! - After `Fault::Failed` nobody knows whether the part is on disk; only opening again tells.
//! - A batch that does not continue its partition's chain is not written.
//!
//! `tests/conformance.rs` holds every implementation to it. Left out: how a journal is opened; that differs.

use std::sync::Arc;

use crate::batch::{Batch, BatchHash};

/// What one worker thread hands over at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// In order; several batches of one partition chain onto each other.
    pub batches: Vec<Batch>,
    /// Given back with the completion; means nothing to the journal.
    pub token: u64,
}

impl Part {
    /// Bytes that this part adds to a group.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes().len()).sum()
    }
}

/// The end of a part, told to the worker that submitted it.
#[derive(Debug)]
pub struct Committed {
    pub token: u64,
    pub result: Result<Durable, Fault>,
    /// The part's batches, so that their buffers can be reused.
    pub batches: Vec<Batch>,
}

/// Where a part became durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durable {
    /// Number of the group, growing by one.
    pub group: u64,
}

/// Why a part that was accepted is not durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A write or fsync failed. What is on disk is unknown until the journal is opened again: stop the node.
    #[error("the journal has failed and must be opened again: {why}")]
    Failed { why: Arc<str> },
    /// The batch does not follow the partition's last one. Nothing of the part was written.
    #[error(
        "partition {partition}: the batch at seq {first_seq} names {prev_hash} as its predecessor, \
         but the journal ends at seq {tail_seq} with {tail_hash}; the part was not written"
    )]
    Chain { partition: u16, first_seq: u64, prev_hash: BatchHash, tail_seq: u64, tail_hash: BatchHash },
    /// The partition's record is damaged; it takes nothing until it has been repaired. Nothing was written.
    #[error("partition {partition} is frozen because its record is damaged; the part was not written")]
    Frozen { partition: u16 },
    /// The journal was stopped while the part was held back by a full disk. Nothing was written.
    #[error("the journal was stopped before the part was written")]
    Stopped,
}

/// A part that was not accepted, given back whole.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    pub why: Why,
    pub part: Part,
}

/// Why `submit` refused. None of these leaves anything behind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// Too much is queued; try again after a completion.
    #[error("{queued_bytes} bytes are queued, {queue_bytes_max} are allowed: try again after a completion")]
    QueueFull { queued_bytes: usize, queue_bytes_max: usize },
    /// There is no next segment; parts accepted before are held. Try again when `status` changes.
    #[error("the disk is full: trim, or give the journal more space; it resumes by itself")]
    DiskFull,
    /// No group can hold this part.
    #[error("the part has {part_bytes} bytes, a group holds {part_bytes_max}: hand over less at once")]
    TooLarge { part_bytes: usize, part_bytes_max: usize },
    /// A part without a batch has nothing to make durable.
    #[error("the part has no batch")]
    Empty,
    /// As [`Fault::Failed`].
    #[error("the journal has failed and must be opened again: {why}")]
    Failed { why: Arc<str> },
    #[error("the journal has been stopped")]
    Stopped,
}

/// How the journal is. `DiskLow` comes before `DiskFull`: refuse new work, finish what there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    Well,
    /// Fewer bytes can still be written than the watermark. Ends by itself.
    DiskLow {
        free_bytes: u64,
    },
    /// No segment could be had; accepted parts are held. Ends by itself.
    DiskFull,
    /// A write or fsync failed: for ever, until opened again.
    Failed {
        why: Arc<str>,
    },
}

/// Numbers for metrics; all but the last four only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    pub groups: u64,
    pub seals: u64,
    pub parts: u64,
    pub batches: u64,
    /// Bytes written, framing and alignment included.
    pub written_bytes: u64,
    /// Time spent in write and fsync of groups.
    pub write_time_us: u64,
    pub sync_time_us: u64,
    pub segments_prepared: u64,
    pub segments_recycled: u64,
    pub batches_moved_aside: u64,
    pub queued_bytes: u64,
    pub live_segments: u64,
    pub side_bytes: u64,
    /// Bytes that can still be written before the disk counts as full.
    pub free_bytes: u64,
}

/// The files that hold the record up to a moment. While this lives they stay as they are: nothing is recycled, moved
/// aside or removed, so whoever copies must not take for ever. What is written meanwhile lies behind `end` or in
/// files that are not named here.
pub struct KeptFiles {
    pub files: Vec<KeptFile>,
    pub(crate) release: Option<Box<dyn FnOnce() + Send>>,
}

/// One file of the record. A copy has the first `end` bytes and is zero behind them, up to `bytes`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptFile {
    /// In the journal's folder.
    pub name: String,
    pub end: u64,
    pub bytes: u64,
}

impl Drop for KeptFiles {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl std::fmt::Debug for KeptFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptFiles").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Told about every accepted part: the worker that submitted it, and how it ended.
///
/// It is called on the journal's own thread: it must hand over and return, never wait and never call `stop`.
pub type Completion = Box<dyn Fn(usize, Committed) + Send>;

/// The durable, ordered record of one node. See the head of this file for the promises.
pub trait Journal: Send + Sync {
    /// Queues a part. Never waits for the disk. `worker` is given back to the completion.
    fn submit(&self, worker: usize, part: Part) -> Result<(), Refused>;

    /// Everything of `partition` up to and including `seq` is no longer needed. Never moves backwards.
    fn trimmable(&self, partition: u16, seq: u64);

    fn status(&self) -> Status;

    fn figures(&self) -> Figures;
    /// Keeps the files that hold everything durable by now, so that they can be copied while work goes on.
    fn keep_files(&self) -> std::io::Result<KeptFiles>;

    /// Makes the queue durable, seals, and ends: when this returns, every accepted part has had its completion, and
    /// the journal can be opened again.
    fn stop(&self);
}
