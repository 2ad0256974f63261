//! Segment files: their names, how one is prepared so that writing it later touches no metadata, what it holds.
//!
//! Left out: when (`keeper`, `recovery`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::disk::{self, Disk, DiskFile};
use crate::format::{BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::mutant::{Mutant, is_planted};

const SEGMENT: &str = "segment-";
const FREE: &str = "free-";
const SIDE: &str = "side-";
/// A file that is being made; of no meaning after a crash.
pub(crate) const UNFINISHED: &str = ".new";
/// Takes up room until it is given up.
pub(crate) const RESERVE: &str = "reserve";
/// Written when a write or fsync failed.
pub(crate) const FAILED: &str = "failed";

/// Zeros are written in pieces of this size, each synced, so that a group commit never waits behind a large one.
const PIECE_BYTES: usize = 1 << 20;

pub(crate) fn segment_name(id: u64) -> String {
    format!("{SEGMENT}{id:016x}")
}

pub(crate) fn free_name(id: u64) -> String {
    format!("{FREE}{id:016x}")
}

pub(crate) fn side_name(partition: u16) -> String {
    format!("{SIDE}{partition:05}")
}

/// The files of a journal by their names; others are left alone.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) segments: Vec<u64>,
    pub(crate) free: Vec<u64>,
    pub(crate) sides: Vec<u16>,
    pub(crate) unfinished: Vec<String>,
    pub(crate) reserve: bool,
    pub(crate) failed: bool,
}

impl Names {
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Self> {
        let mut names = Self::default();
        for name in disk.list()? {
            let hex = |text: &str| u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
            if name.ends_with(UNFINISHED) {
                names.unfinished.push(name);
            } else if let Some(id) = name.strip_prefix(SEGMENT).and_then(hex) {
                names.segments.push(id);
            } else if let Some(id) = name.strip_prefix(FREE).and_then(hex) {
                names.free.push(id);
            } else if let Some(partition) = name.strip_prefix(SIDE).and_then(|text| text.parse().ok()) {
                names.sides.push(partition);
            } else if name == RESERVE {
                names.reserve = true;
            } else if name == FAILED {
                names.failed = true;
            }
        }
        names.segments.sort_unstable();
        Ok(names)
    }
}

/// A segment that can be written to without touching metadata.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
}

/// Makes the file of `header`, out of the trimmed segment `recycled` if there is one, with `tail` behind the header.
///
/// Durable under its name when this returns. A failure leaves nothing but what can be recycled or made again.
pub(crate) fn prepare(
    disk: &dyn Disk,
    recycled: Option<u64>,
    header: &SegmentHeader,
    tail: &[u8],
) -> io::Result<Prepared> {
    let made = recycled.map_or_else(|| format!("{}{UNFINISHED}", segment_name(header.segment)), free_name);
    let file = match recycled {
        Some(_) => disk.open(&made)?,
        None => zeros(disk, &made, header.bytes)?,
    };
    let filled = disk::write_all(&*file, &header.encode(), 0)
        .and_then(|()| disk::write_all(&*file, tail, SEGMENT_HEADER_BYTES as u64))
        .and_then(|()| if is_planted(Mutant::TailServedUnsecured) { Ok(()) } else { file.sync_all() })
        .and_then(|()| disk.rename(&made, &segment_name(header.segment)))
        .and_then(|()| disk.sync_names());
    match filled {
        Ok(()) => Ok(Prepared { file, header: *header }),
        Err(error) => {
            // Best effort, only room is at stake: the next start sorts out what is left.
            let named = segment_name(header.segment);
            if recycled.is_some() {
                drop(disk.rename(&named, &made));
            } else {
                drop(disk.remove(&made));
                drop(disk.remove(&named));
            }
            Err(error)
        }
    }
}

/// A file of zeros whose blocks are all allocated. Removed again if that fails half way.
pub(crate) fn zeros(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(name)?;
    let piece = vec![0; PIECE_BYTES.min(bytes as usize)];
    let mut offset = 0;
    let mut fill = || {
        while offset < bytes {
            let take = piece.len().min((bytes - offset) as usize);
            disk::write_all(&*file, &piece[..take], offset)?;
            file.sync_data()?;
            offset += take as u64;
        }
        file.sync_all()
    };
    if let Err(error) = fill() {
        drop(disk.remove(name));
        return Err(error);
    }
    Ok(file)
}

/// What a segment holds of each partition: all that trimming needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents(BTreeMap<u16, Extent>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) last_seq: u64,
    pub(crate) bytes: u64,
}

impl Extents {
    pub(crate) fn add(&mut self, partition: u16, last_seq: u64, bytes: usize) {
        let extent = self.0.entry(partition).or_default();
        extent.last_seq = extent.last_seq.max(last_seq);
        extent.bytes += bytes as u64;
    }

    pub(crate) fn add_header(&mut self, header: &BatchHeader) {
        self.add(header.partition, header.last_seq(), header.span());
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(|extent| extent.bytes).sum()
    }

    /// Partitions whose batches here are not all trimmable yet, with the bytes of their batches.
    pub(crate) fn needed(&self, trimmable: &BTreeMap<u16, u64>) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().filter_map(|(partition, extent)| {
            let trimmed = trimmable.get(partition).is_some_and(|&seq| extent.last_seq <= seq);
            (!trimmed).then_some((*partition, extent.bytes))
        })
    }
}

/// A segment that takes no more groups.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) header: SegmentHeader,
    /// Groups from this number on are void; a later segment has them.
    pub(crate) limit: u64,
    pub(crate) extents: Extents,
}
