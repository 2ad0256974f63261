//! One partition's share of a group, encoded and hashed by the partition's own thread.
//!
//! Hashing here and not in the writer lets every core hash; the writer only copies bytes. Left out: groups.

use std::fmt;

use crate::format::{self, BatchHeader};

/// xxh3-128 of a batch's header and entries; the next batch of the partition names it as `prev_hash`.
///
/// It finds damage and forks. It is no defence against somebody who wants to forge a journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchHash(pub [u8; 16]);

impl BatchHash {
    /// What the first batch of a partition names as its predecessor.
    pub const NONE: Self = Self([0; 16]);
}

impl fmt::Display for BatchHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BatchHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition's share of a group; opaque to the writer but for what it needs for order and trimming.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    partition: u16,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
    prev_hash: BatchHash,
    hash: BatchHash,
    bytes: Vec<u8>,
}

impl Batch {
    /// Encodes and hashes `count` entries beginning with `first_seq` into the reused buffer `into`.
    ///
    /// `entries` are bytes that the caller can take apart again (length-delimited); the journal never does.
    /// `count` may be 0: a batch that carries nothing but proves that its owner may still append; then `first_seq`
    /// is the seq that the next entry will have. `first_seq` starts at 1.
    ///
    /// # Panics
    /// If `entries` has more than 2^32 - 1 bytes. `submit` refuses far smaller ones already.
    #[expect(clippy::too_many_arguments, reason = "one argument per field of the header, named as in the format")]
    pub fn encode(
        partition: u16,
        epoch: u32,
        first_seq: u64,
        count: u32,
        prev_hash: BatchHash,
        committed_through: u64,
        entries: &[u8],
        mut into: Vec<u8>,
    ) -> Self {
        let length = u32::try_from(entries.len()).expect("a batch has less than 4 GiB of entries");
        let header = BatchHeader {
            hash: BatchHash::NONE,
            partition,
            epoch,
            count,
            first_seq,
            committed_through,
            prev_hash,
            length,
        };
        let hash = format::encode_batch(&header, entries, &mut into);
        Self { partition, epoch, first_seq, last_seq: header.last_seq(), prev_hash, hash, bytes: into }
    }

    pub fn partition(&self) -> u16 {
        self.partition
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Seq of the last entry; `first_seq - 1` for an empty batch.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn prev_hash(&self) -> BatchHash {
        self.prev_hash
    }

    /// What the partition's next batch names as `prev_hash`.
    pub fn hash(&self) -> BatchHash {
        self.hash
    }

    /// Header, entries and padding, as they go to disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, to be reused for the next batch.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("partition", &self.partition)
            .field("epoch", &self.epoch)
            .field("seqs", &(self.first_seq..=self.last_seq))
            .field("hash", &self.hash)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
