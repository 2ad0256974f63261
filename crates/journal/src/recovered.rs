//! What opening a journal gives back: a report, and the batches in order.
//!
//! The caller says per partition where its snapshot ends ([`Starts`]); what is older is passed over, and the first
//! batch that follows must fit the snapshot. Left out: how files are read (`walk`, `recovery`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::BatchHash;
use crate::error::{Damage, DamageKind, Place, Torn};
use crate::format::BatchHeader;

/// Where the caller's own state of a partition ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Batches up to and including this seq are not given back.
    pub seq: u64,
    /// Hash of the last batch that the snapshot knows, when it stored it; checked against the record. With it, empty
    /// batches behind the snapshot are given back too. Without it they are not: `Recovery::tails` has the chain's end.
    pub hash: Option<BatchHash>,
}

/// Per partition; one that is not named is given back from its first batch.
pub type Starts = BTreeMap<u16, Start>;

/// One item of the second reading.
#[derive(Clone, Debug)]
pub enum Recovered {
    Batch(RecoveredBatch),
    /// Told once per damaged partition, in place of its first batch that cannot be used; none of its batches follow.
    Damaged(Damage),
}

/// A batch as it was committed. Cheap to clone and to send to another thread: it shares its group's bytes.
#[derive(Clone)]
pub struct RecoveredBatch {
    pub partition: u16,
    pub epoch: u32,
    pub first_seq: u64,
    /// `first_seq - 1` for an empty batch.
    pub last_seq: u64,
    pub committed_through: u64,
    pub prev_hash: BatchHash,
    pub hash: BatchHash,
    /// Number of the group that made it durable.
    pub group: u64,
    pub place: Place,
    bytes: Arc<[u8]>,
    entries: Range<usize>,
}

impl RecoveredBatch {
    pub(crate) fn new(header: &BatchHeader, group: u64, place: Place, bytes: Arc<[u8]>, entries: Range<usize>) -> Self {
        Self {
            partition: header.partition,
            epoch: header.epoch,
            first_seq: header.first_seq,
            last_seq: header.last_seq(),
            committed_through: header.committed_through,
            prev_hash: header.prev_hash,
            hash: header.hash,
            group,
            place,
            bytes,
            entries,
        }
    }

    /// The bytes that were given to `Batch::encode`.
    pub fn entries(&self) -> &[u8] {
        &self.bytes[self.entries.clone()]
    }
}

impl fmt::Debug for RecoveredBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveredBatch")
            .field("partition", &self.partition)
            .field("seqs", &(self.first_seq..=self.last_seq))
            .field("group", &self.group)
            .field("place", &self.place)
            .field("entries_bytes", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Where a partition's chain ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tail {
    pub seq: u64,
    pub hash: BatchHash,
}

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    pub groups: u64,
    pub batches: u64,
    /// Number of the last whole group; 0 in a new journal.
    pub last_group: u64,
    /// The write that a crash cut short, if there was one.
    pub torn: Option<Torn>,
    /// Damage confined to single partitions, first one of each; those partitions are frozen.
    pub damage: Vec<Damage>,
    /// Where every undamaged partition that has batches in the journal ends: its next batch must name this hash.
    pub tails: BTreeMap<u16, Tail>,
    /// Bytes of the unsealed end that were copied into a fresh segment and fsynced.
    pub secured_bytes: u64,
    /// What the last process wrote down when a write or fsync failed.
    pub after_failure: Option<String>,
}

/// Lets batches of one partition through only where they fit the caller's snapshot.
#[derive(Debug)]
pub(crate) struct Gate {
    starts: Starts,
    seen: BTreeMap<u16, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Some batch named the snapshot's hash at the snapshot's seq.
    matched: bool,
    /// Some batch named another hash there.
    other: Option<BatchHash>,
    delivered: bool,
    stopped: bool,
    last_seq: u64,
}

/// What becomes of a batch.
#[derive(Debug)]
pub(crate) enum Verdict {
    Skip,
    Deliver,
    Damaged(DamageKind),
}

impl Gate {
    pub(crate) fn new(starts: &Starts) -> Self {
        Self { starts: starts.clone(), seen: BTreeMap::new() }
    }

    /// No batch of `partition` gets through any more. True the first time.
    pub(crate) fn stop(&mut self, partition: u16) -> bool {
        let seen = self.seen.entry(partition).or_default();
        !std::mem::replace(&mut seen.stopped, true)
    }

    pub(crate) fn admit(&mut self, batch: &BatchHeader) -> Verdict {
        let partition = batch.partition;
        let first = !self.seen.contains_key(&partition);
        let seen = self.seen.entry(partition).or_default();
        if seen.stopped {
            return Verdict::Skip;
        }
        seen.last_seq = batch.last_seq();
        let Some(start) = self.starts.get(&partition) else {
            return Verdict::Deliver;
        };
        if let Some(expected) = start.hash {
            let before = (batch.first_seq == start.seq + 1).then_some(batch.prev_hash);
            let at = (batch.last_seq() == start.seq).then_some(batch.hash);
            for found in [before, at].into_iter().flatten() {
                if found == expected {
                    seen.matched = true;
                } else {
                    seen.other = Some(found);
                }
            }
        }
        if batch.last_seq() <= start.seq {
            // An empty batch right behind the snapshot changes no state, but the chain goes on from it.
            let follows = batch.first_seq == start.seq + 1;
            if !follows || !(seen.delivered || start.hash == Some(batch.prev_hash)) {
                return Verdict::Skip;
            }
        }
        if !seen.delivered {
            if first && batch.first_seq > start.seq + 1 {
                seen.stopped = true;
                let (first_seq, start_seq) = (batch.first_seq, start.seq);
                return Verdict::Damaged(DamageKind::Gap { partition, first_seq, start_seq });
            }
            if let Some(kind) = mismatch(partition, start, seen) {
                seen.stopped = true;
                return Verdict::Damaged(kind);
            }
            seen.delivered = true;
        }
        Verdict::Deliver
    }

    /// What only shows at the end: records that end before their snapshot, or at it with another hash.
    pub(crate) fn finish(&mut self) -> Vec<(u16, DamageKind)> {
        let mut found = Vec::new();
        for (&partition, seen) in &mut self.seen {
            let Some(start) = self.starts.get(&partition) else { continue };
            if seen.stopped || seen.delivered {
                continue;
            }
            if seen.last_seq < start.seq {
                let (last_seq, start_seq) = (seen.last_seq, start.seq);
                found.push((partition, DamageKind::Short { partition, last_seq, start_seq }));
            } else if let Some(kind) = mismatch(partition, start, seen) {
                found.push((partition, kind));
            }
            seen.stopped = true;
        }
        found
    }
}

fn mismatch(partition: u16, start: &Start, seen: &Seen) -> Option<DamageKind> {
    let expected = start.hash?;
    let found = seen.other.filter(|_| !seen.matched)?;
    Some(DamageKind::Start { partition, start_seq: start.seq, expected, found })
}
