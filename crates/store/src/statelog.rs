//! The rows of one partition's live transactions, kept as a log-structured snapshot.
//!
//! ```text
//!   engine thread                      background thread
//!   ─────────────                      ─────────────────
//!   begin(seq, hash, meta) ─► job
//!   job.put / job.delete    (memcpy)
//!   submit(job) ─────────────────────► write rows behind the segments' valid ends, sync
//!                                      read them back from the disk and compare hashes
//!   read(key) works meanwhile          publish the manifest (tmp, sync, rename, sync dir)
//!                 Verified ◄────────── take the new places into the index, drop what no manifest needs
//! ```
//! A **checkpoint** is a manifest: a seq, the hash of the batch at it, opaque `meta`, and the valid length of
//! each segment. Replaying those segments up to those lengths gives exactly the rows at that seq; bytes behind
//! them are cut at open, so no row is ever ahead of the journal's replay. The last two manifests are kept with
//! every segment that either needs; when the newest does not verify, the older one is used and said so.
//!
//! A checkpoint costs what changed, never what exists. Dead space is reclaimed inside the next checkpoint, a
//! bounded number of bytes at a time (`compaction`).
//!
//! Keys are the caller's: a transaction's seq, with high bits free to tell kinds of rows apart. What is large and
//! changes little belongs in rows, because `meta` is written whole each time. Leaves out: what is in a row, when
//! to take a checkpoint, trimming the journal.

mod checkpointer;
mod compaction;
mod execution;
mod index;
mod inspection;
mod job;
mod manifest;
mod recovery;
mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use checkpointer::Checkpointer;
pub use inspection::inspect;
pub use job::{CheckpointJob, ROW_BYTES_MAX};

use crate::Error;
use index::Index;
use manifest::Manifest;
use segment::Segment;

/// Numbers an operator may tune.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A segment is sealed past this size; 64 KiB to 2 GiB, default 16 MiB. Larger: fewer open files, coarser reclaim.
    pub segment_bytes: u64,
    /// Live bytes that one checkpoint may copy to reclaim space, on top of what it writes itself. Default 32 MiB.
    /// Larger: less dead space, longer checkpoints.
    pub compact_bytes_max: u64,
}

impl Settings {
    /// Below this many dead bytes reclaiming is not worth a copy.
    fn dead_bytes_min(&self) -> u64 {
        self.segment_bytes / 16
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, compact_bytes_max: 32 << 20 }
    }
}

/// What open found: the newest checkpoint that verifies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    pub seq: u64,
    /// Hash of the batch that holds `seq`; the next batch's `prev_hash` must equal it.
    pub batch_hash: [u8; 16],
    pub meta: Vec<u8>,
    pub rows: u64,
    /// What was damaged or left over; a sentence each. Not empty when the older checkpoint had to be used.
    pub warnings: Vec<String>,
}

/// A checkpoint that is on disk, read back and published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    pub seq: u64,
    /// The journal may be trimmed through this seq: the older of the two checkpoints kept, 0 while there is one.
    pub trim_through: u64,
    /// Rows written because the caller changed them, and deletes.
    pub dirty_rows: u64,
    /// Rows copied to reclaim space.
    pub copied_rows: u64,
    pub written_bytes: u64,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub rows: u64,
    pub live_bytes: u64,
    /// All segment bytes of the newest checkpoint.
    pub segment_bytes: u64,
    pub segments: u64,
    /// Memory of the index.
    pub index_bytes: u64,
}

/// The row store of one partition. Clones share it.
#[derive(Clone, Debug)]
pub struct StateLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    settings: Settings,
    /// Read by any thread; written only by the checkpoint in progress, in short steps.
    rows: RwLock<Rows>,
    /// Held by the checkpoint in progress.
    writer: Mutex<Writer>,
    /// Buffers of finished jobs, used again.
    spare: Mutex<Vec<Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Rows {
    index: Index,
    segments: BTreeMap<u32, Segment>,
}

#[derive(Debug)]
struct Writer {
    /// Manifests on disk, oldest first; at most two.
    kept: VecDeque<Manifest>,
    next_generation: u64,
    next_segment: u32,
    /// Set for good when a sync failed.
    stopped: Option<String>,
}

impl StateLog {
    /// Opens or creates the rows of a partition and cuts whatever the chosen checkpoint does not cover.
    /// `None` when there never was a checkpoint. Fails with [`Error::Damaged`] when neither kept checkpoint verifies.
    pub fn open(dir: &Path, settings: Settings) -> Result<(Self, Option<Restored>), Error> {
        recovery::open(dir, settings)
    }

    /// Starts a checkpoint at `seq`. Nothing is written until the job runs.
    pub fn begin(&self, seq: u64, batch_hash: [u8; 16], meta: Vec<u8>) -> CheckpointJob {
        CheckpointJob::new(self.clone(), seq, batch_hash, meta)
    }

    /// The row as of the last finished checkpoint. A row may be dropped from memory once a finished checkpoint holds
    /// its current bytes; until then the caller keeps it.
    pub fn read(&self, key: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut row = Vec::new();
        Ok(self.read_into(key, &mut row)?.then_some(row))
    }

    /// Like [`read`](Self::read) into a buffer that the caller uses again; false when there is no such row.
    pub fn read_into(&self, key: u64, row: &mut Vec<u8>) -> Result<bool, Error> {
        let (place, file, path) = {
            let rows = self.0.rows.read();
            let Some(place) = rows.index.get(key) else { return Ok(false) };
            let Some(segment) = rows.segments.get(&place.segment) else {
                return Err(Error::damaged(
                    &self.0.dir,
                    0,
                    format!("row {key} is in unknown segment {}", place.segment),
                ));
            };
            (place, segment.file.clone(), segment.path.clone())
        };
        segment::read_row(&file, &path, key, place, row)?;
        Ok(true)
    }

    pub fn contains(&self, key: u64) -> bool {
        self.0.rows.read().index.get(key).is_some()
    }

    /// Streams every row as of the last finished checkpoint, in the order of the segments, verifying hashes.
    /// Rows of a checkpoint that finishes meanwhile may or may not be seen: call it before the first one runs.
    pub fn for_each_row(&self, mut visit: impl FnMut(u64, &[u8])) -> Result<(), Error> {
        let segments: Vec<Segment> = self.0.rows.read().segments.values().cloned().collect();
        for segment in &segments {
            segment::scan(&segment.file, &segment.path, segment.id, segment.len, |offset, record| {
                if let segment::Kind::Put(row) = record.kind {
                    let live = self.0.rows.read().index.get(record.key);
                    if live.is_some_and(|place| place.segment == segment.id && place.offset == offset) {
                        visit(record.key, row);
                    }
                }
            })?;
        }
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        let rows = self.0.rows.read();
        let mut stats =
            Stats { rows: rows.index.len() as u64, index_bytes: rows.index.memory_bytes(), ..Stats::default() };
        for segment in rows.segments.values() {
            stats.live_bytes += segment.live_bytes;
            stats.segment_bytes += segment.len;
            stats.segments += 1;
        }
        stats
    }

    /// Shows the files that make up the newest checkpoint with the bytes of each that count, manifest last: what a
    /// follower or a backup copies. None before the first checkpoint. No checkpoint runs until `copy` returns.
    pub fn with_files<T>(&self, copy: impl FnOnce(&[(PathBuf, u64)]) -> T) -> T {
        let writer = self.0.writer.lock();
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        if let Some(newest) = writer.kept.back() {
            let of = |part: &manifest::Part| (self.0.dir.join(segment::file_name(part.id)), part.len);
            files.extend(newest.segments.iter().map(of));
            files.push((self.0.dir.join(manifest::file_name(newest.generation)), newest.encode().len() as u64));
        }
        copy(&files)
    }

    /// The directory that holds it.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }
}
