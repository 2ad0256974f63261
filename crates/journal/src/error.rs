//! What can be wrong with a journal on disk, with its place.
//!
//! Left out: faults of a running journal, which are in `contract`.

use std::fmt;
use std::io;

use crate::batch::BatchHash;

/// Where something lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// Byte `offset` of segment `segment`.
    Segment { segment: u64, offset: u64 },
    /// Byte `offset` of the side file of `partition`.
    Side { partition: u16, offset: u64 },
}

impl Place {
    pub(crate) fn new(segment: u64, offset: usize) -> Self {
        let offset = offset as u64;
        match crate::side::partition_of_id(segment) {
            Some(partition) => Self::Side { partition, offset },
            None => Self::Segment { segment, offset },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { segment, offset } => write!(f, "segment {segment}, byte {offset}"),
            Self::Side { partition, offset } => write!(f, "side file of partition {partition}, byte {offset}"),
        }
    }
}

/// The last write, which a crash cut short: it was never acknowledged, and is cut whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torn {
    pub place: Place,
    /// The group's number.
    pub group: u64,
    /// Bytes that were cut. Where even the group's header is gone: one block, the least it can have been.
    pub bytes: u64,
}

/// Something that was durable and is not whole any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}, group {group}{}: {kind}", .batch.map(|n| format!(", batch {n}")).unwrap_or_default())]
pub struct Damage {
    pub place: Place,
    /// The number that the group has, or should have.
    pub group: u64,
    /// Which batch of the group, from 0, where that is known.
    pub batch: Option<u32>,
    /// Whose record is hit; `None` where the damage hides that.
    pub partition: Option<u16>,
    pub kind: DamageKind,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DamageKind {
    #[error("the segment's header is not readable: {why}")]
    SegmentHeader { why: String },
    #[error("a group's header is not readable, though groups behind it prove that it was durable")]
    GroupHeader,
    #[error("group {expected} is missing, group {found} follows")]
    GroupMissing { expected: u64, found: u64 },
    #[error("a batch's header is not readable, so nobody can tell whose batch it was")]
    BatchHeader,
    #[error("partition {partition}: the entries of seq {first_seq}..={last_seq} do not match their hash")]
    BatchHash { partition: u16, first_seq: u64, last_seq: u64 },
    #[error(
        "partition {partition}: the batch at seq {first_seq} names {prev_hash} as its predecessor, but the batch \
         before it ends at seq {tail_seq} with {tail_hash}"
    )]
    Chain { partition: u16, first_seq: u64, prev_hash: BatchHash, tail_seq: u64, tail_hash: BatchHash },
    #[error("partition {partition}: the record starts at seq {first_seq}, the snapshot ends at seq {start_seq}")]
    Gap { partition: u16, first_seq: u64, start_seq: u64 },
    #[error("partition {partition}: the snapshot at seq {start_seq} names hash {expected}, the record has {found}")]
    Start { partition: u16, start_seq: u64, expected: BatchHash, found: BatchHash },
    #[error("partition {partition}: the record ends at seq {last_seq}, before the snapshot's seq {start_seq}")]
    Short { partition: u16, last_seq: u64, start_seq: u64 },
    /// Every batch is whole; only bytes that mean nothing differ.
    #[error("bytes between batches or behind the last one differ from what was written; all batches are whole")]
    Filling,
}

impl Damage {
    /// Whether the damage is confined to one partition (or to nobody's bytes), so that the others may start.
    pub fn is_confined(&self) -> bool {
        self.partition.is_some() || self.kind == DamageKind::Filling
    }
}

/// Why a journal cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the journal's settings are wrong: {what}")]
    Settings { what: String },
    #[error(
        "the journal in {dir} is in use by process {}: stop it, or give this one another folder",
        .pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Locked { dir: String, pid: Option<u32> },
    #[error("the journal is damaged at {0}; nothing was skipped: see `tidegate doctor`, restore or repair")]
    Damage(Box<Damage>),
    #[error(
        "no room for {needed_bytes} bytes to secure the end of the journal: free disk space and start again: {source}"
    )]
    DiskFull { needed_bytes: u64, source: io::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    pub(crate) fn damage(damage: &Damage) -> Self {
        Self::Damage(Box::new(damage.clone()))
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
