//! Follows every partition's chain of batches over side files and segments, and finds where one breaks.
//!
//! Side files are read first. A batch that was moved aside may still lie in its segment; it is recognised and passed
//! over. Left out: bytes and frames (`walk`), the caller's snapshots (`recovered`).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Damage, DamageKind, Place};
use crate::format::BatchHeader;
use crate::recovered::Tail;
use crate::walk::{BatchAt, GroupAt, Unreadable};

/// What a batch is to its chain.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It continues the chain.
    Follows,
    /// It lies in a side file as well.
    Known,
    /// It belongs to a partition that is damaged already.
    Behind,
    /// The first one of its partition that cannot be used.
    Damaged(Damage),
}

#[derive(Debug, Default)]
pub(crate) struct Chains {
    ends: BTreeMap<u16, Tail>,
    damaged: BTreeSet<u16>,
    /// Partitions whose chain ends in a side file so far.
    aside: BTreeSet<u16>,
}

impl Chains {
    /// Ends of the chains that are whole.
    pub(crate) fn ends(&self) -> BTreeMap<u16, Tail> {
        let whole = self.ends.iter().filter(|(partition, _)| !self.damaged.contains(partition));
        whole.map(|(&partition, &tail)| (partition, tail)).collect()
    }

    pub(crate) fn damaged(&self) -> &BTreeSet<u16> {
        &self.damaged
    }

    pub(crate) fn see(&mut self, segment: u64, group: &GroupAt, batch: &BatchAt) -> Fate {
        let place = Place::new(segment, group.offset + batch.offset);
        let header = &batch.header;
        let partition = header.partition;
        if self.damaged.contains(&partition) {
            return Fate::Behind;
        }
        let kind = match (batch.whole, self.ends.get(&partition)) {
            (false, _) => {
                let (first_seq, last_seq) = (header.first_seq, header.last_seq());
                Some(DamageKind::BatchHash { partition, first_seq, last_seq })
            }
            (true, Some(tail)) if !follows(header, tail) => {
                let in_segment = matches!(place, Place::Segment { .. });
                if in_segment && self.aside.contains(&partition) && header.last_seq() <= tail.seq {
                    return Fate::Known;
                }
                let (first_seq, prev_hash) = (header.first_seq, header.prev_hash);
                let (tail_seq, tail_hash) = (tail.seq, tail.hash);
                Some(DamageKind::Chain { partition, first_seq, prev_hash, tail_seq, tail_hash })
            }
            (true, _) => None,
        };
        if let Some(kind) = kind {
            self.damaged.insert(partition);
            let (group, batch, partition) = (group.header.group, Some(batch.index), Some(partition));
            return Fate::Damaged(Damage { place, group, batch, partition, kind });
        }
        self.ends.insert(partition, Tail { seq: header.last_seq(), hash: header.hash });
        match place {
            Place::Side { .. } => self.aside.insert(partition),
            Place::Segment { .. } => self.aside.remove(&partition),
        };
        Fate::Follows
    }
}

/// Whether the batch of `header` is the one behind `tail`.
pub(crate) fn follows(header: &BatchHeader, tail: &Tail) -> bool {
    header.prev_hash == tail.hash && header.first_seq == tail.seq + 1
}

/// The damage of a group in which a batch cannot be found.
pub(crate) fn unreadable(segment: u64, group: &GroupAt, at: Unreadable) -> Damage {
    Damage {
        place: Place::new(segment, group.offset + at.offset),
        group: group.header.group,
        batch: Some(at.index),
        partition: None,
        kind: DamageKind::BatchHeader,
    }
}

/// The damage of a group whose CRC does not hold though all of its batches are whole.
pub(crate) fn filling(segment: u64, group: &GroupAt) -> Damage {
    Damage {
        place: Place::new(segment, group.offset),
        group: group.header.group,
        batch: None,
        partition: None,
        kind: DamageKind::Filling,
    }
}
