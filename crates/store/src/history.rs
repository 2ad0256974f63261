//! Finished transactions of a node, in append-only segments, found again by id, idempotency key and key.
//!
//! ```text
//!  worker: block.push(record)…            copies and checksums, no lock
//!     │ append(block)                     one lock per block: place, memory tables, signpost
//!     ▼
//!  queue (bounded) ──► writer thread ──► history-0000002a.seg ──► sync thread: durable_position()
//!                                              │ full
//!                                              ▼
//!                                        keeper thread ──► history-0000002a.idx   sorted tables, signpost kept small
//! ```
//! A record can be found from the moment that `append` returns. Records of the newest segment are indexed in memory;
//! a full segment gets a side file with its records' summaries in order of id and two sorted hash tables. The
//! **signpost** answers "which segment may hold this idempotency key" for all segments at once, and almost always
//! answers "none" with one or two cache lines. Side files are redundant: a damaged one is built again.
//!
//! Leaves out: what is in a row, when a record may be forgotten (cut-offs come in), transactions that still live.

mod block;
mod inspection;
mod keeper;
mod listing;
mod memory;
mod pages;
mod recovery;
mod segment;
mod side;
mod signpost;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};

pub use block::{Block, ROW_BYTES_MAX, Record, StoredRecord, TAGS_MAX};
pub use inspection::inspect;
pub use listing::{Count, Cursor, Filter, GroupBy, LIMIT_MAX, Page};

use crate::file::File;
use crate::{Error, durable};
use memory::MemoryTable;
use side::Side;
use signpost::Signpost;
use writer::Tail;

/// Numbers an operator may tune.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A segment is sealed past this size; 1 MiB to 2 GiB, default 256 MiB. Larger: fewer files to look into, more
    /// memory for the newest one (about 80 bytes a record), coarser retention.
    pub segment_bytes: u64,
    /// A segment is sealed past this many records; default 1,000,000. Bounds that memory when records are small.
    pub segment_records_max: u32,
    /// Bytes that may wait for the writer thread; default 64 MiB. Larger rides out longer stalls of the disk.
    pub queue_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 256 << 20, segment_records_max: 1_000_000, queue_bytes_max: 64 << 20 }
    }
}

/// How far the history has been appended, in bytes since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

/// What open found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    pub records: u64,
    pub segments: u64,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// What was damaged, rebuilt or left over; a sentence each with its place.
    pub warnings: Vec<String>,
}

/// Why a block was not taken. The caller keeps it and tries again, or stops.
#[derive(Debug)]
pub struct NotTaken {
    pub block: Block,
    pub why: Refusal,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The queue is full, or the next segment is not ready because the disk is slow or full. It passes by itself.
    Busy { why: String },
    /// A block that no segment can hold.
    TooLarge,
    /// A write or sync failed; the node has to restart.
    Stopped { reason: String },
}

/// Sizes, for metrics and for the decision to take less.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub records: u64,
    pub segments: u64,
    pub segment_bytes: u64,
    pub queued_bytes: u64,
    pub queue_bytes_max: u64,
    /// Memory of signpost, fences and the tables of segments not yet sealed.
    pub memory_bytes: u64,
    pub signpost_bytes: u64,
    /// Why nothing can be prepared just now, usually a full disk.
    pub stalled: Option<String>,
}

/// What retention removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    pub segments: u64,
    pub records: u64,
    pub bytes: u64,
}

/// The open history. Clones share it; the threads end when the last clone is gone and the queue is written.
#[derive(Clone, Debug)]
pub struct History(Arc<Owner>);

/// Ends the threads when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    settings: Settings,
    tail: Mutex<Tail>,
    /// Wakes the writer thread: something is queued, or it is time to end.
    queued: Condvar,
    /// Wakes the sync thread and those who wait for it.
    sync: Mutex<writer::SyncState>,
    sync_changed: Condvar,
    /// Wakes the keeper thread: a segment is full, or the next one is needed.
    keeper: Mutex<keeper::Work>,
    keeper_wanted: Condvar,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    signpost: RwLock<Signpost>,
    /// Held while segments are dropped or the signpost is rebuilt, which must not overlap.
    maintenance: Mutex<()>,
    appended: AtomicU64,
    durable: AtomicU64,
}

/// One segment file and how its records are found.
#[derive(Debug)]
struct Segment {
    id: u32,
    /// Its name in the signpost.
    slot: u16,
    path: PathBuf,
    file: Arc<File>,
    tables: RwLock<Tables>,
}

#[derive(Clone, Debug)]
enum Tables {
    /// The newest segment: its table is behind the tail's lock.
    Active,
    /// Full, side file not written yet.
    Memory(Arc<MemoryTable>),
    Sealed(Arc<Side>),
}

impl History {
    /// Opens or creates the history in `dir`: cuts a torn tail, rebuilds missing side files, fills the signpost.
    /// Damage is reported in [`Opened::warnings`] with its place; the records around it stay readable.
    pub fn open(dir: &Path, settings: Settings) -> Result<(Self, Opened), Error> {
        let (shared, opened) = recovery::open(dir, settings)?;
        let shared = Arc::new(shared);
        let owner = Owner { shared: shared.clone(), threads: Mutex::default() };
        let start = |name: &str, work: fn(&Shared)| {
            let shared = shared.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || work(&shared)).map_err(|source| Error::Io {
                action: "start a thread for",
                path: dir.to_path_buf(),
                source,
            })
        };
        for (name, work) in [
            ("history-writer", writer::write as fn(&Shared)),
            ("history-sync", writer::sync),
            ("history-keeper", keeper::keep),
        ] {
            let thread = start(name, work)?;
            owner.threads.lock().push(thread);
        }
        Ok((Self(Arc::new(owner)), opened))
    }

    /// An empty block with a used buffer, to be filled by [`Block::push`].
    pub fn take_block(&self) -> Block {
        self.0.shared.tail.lock().spare.pop().unwrap_or_default()
    }

    /// Hands a block of records over; they can be found when this returns, and are durable once
    /// [`durable_position`](Self::durable_position) reaches the position returned. One lock, no I/O.
    pub fn append(&self, block: Block) -> Result<Position, NotTaken> {
        writer::append(&self.0.shared, block)
    }

    /// The position behind everything appended so far.
    pub fn position(&self) -> Position {
        Position(self.0.shared.appended.load(Ordering::Acquire))
    }

    /// Everything before it is on disk.
    pub fn durable_position(&self) -> Position {
        Position(self.0.shared.durable.load(Ordering::Acquire))
    }

    /// Asks the sync thread to make everything before `position` durable and returns at once.
    pub fn request_flush(&self, position: Position) {
        writer::request_sync(&self.0.shared, position);
    }

    /// Waits until everything before `position` is on disk. A partition's checkpoint calls this before it publishes
    /// the absence of the rows that moved here.
    pub fn flush_to_disk(&self, position: Position) -> Result<(), Error> {
        writer::wait_durable(&self.0.shared, position)
    }

    /// True when a record with this id is stored.
    pub fn contains(&self, id: u128) -> Result<bool, Error> {
        Ok(self.0.shared.find_id(id)?.is_some())
    }

    /// The record with this id.
    pub fn get(&self, id: u128) -> Result<Option<StoredRecord>, Error> {
        match self.0.shared.find_id(id)? {
            Some((segment, offset, len)) => self.0.shared.read_record(&segment, offset, len),
            None => Ok(None),
        }
    }

    /// All records with this idempotency hash, newest first; almost always none, and then without any I/O. The caller
    /// compares the key itself, which is in the row.
    pub fn find_idempotency(&self, idempotency: u128) -> Result<Vec<StoredRecord>, Error> {
        self.0.shared.find_idempotency(idempotency)
    }

    /// A page of records, newest id first. `below` is the last id of the page before.
    pub fn list(&self, filter: &Filter, below: Option<u128>, limit: usize) -> Result<Page, Error> {
        listing::list(&self.0.shared, filter, below, limit)
    }

    /// Counts the records that pass the filter, by the groups asked for.
    pub fn count(&self, filter: &Filter, group_by: &[GroupBy]) -> Result<Vec<Count>, Error> {
        listing::count(&self.0.shared, filter, group_by)
    }

    /// Drops whole sealed segments whose records all ended before `cutoff_us` (microseconds since 1970), oldest first.
    pub fn drop_ended_before(&self, cutoff_us: u64) -> Result<Dropped, Error> {
        keeper::drop_ended_before(&self.0.shared, cutoff_us)
    }

    pub fn stats(&self) -> Stats {
        self.0.shared.stats()
    }

    /// The directory that holds it.
    pub fn dir(&self) -> &Path {
        &self.0.shared.dir
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.tail.lock().ending = true;
        self.shared.queued.notify_all();
        let mut threads = std::mem::take(&mut *self.threads.lock()).into_iter();
        // The writer first: what it writes is what the sync thread still has to sync.
        if let Some(writer) = threads.next() {
            let _ = writer.join();
        }
        self.shared.sync.lock().ending = true;
        self.shared.sync_changed.notify_all();
        self.shared.keeper.lock().ending = true;
        self.shared.keeper_wanted.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
        // The segment that was only prepared gives its space back; a leftover one is removed by the next open.
        if let Some(next) = self.shared.tail.lock().next.take()
            && let Err(error) = durable::remove(&next.path)
        {
            tracing::debug!(%error, "a prepared segment stays until the next start");
        }
    }
}

impl Shared {
    /// The newest record with this id: segment, offset, length.
    fn find_id(&self, id: u128) -> Result<Option<(Arc<Segment>, u32, u32)>, Error> {
        let segments: Vec<Arc<Segment>> = self.segments.read().values().rev().cloned().collect();
        for segment in segments {
            let found = match self.tables_of(&segment) {
                Tables::Active => {
                    let tail = self.tail.lock();
                    if tail.active_id != segment.id {
                        // Rolled in between: ask again what it has become.
                        drop(tail);
                        match self.tables_of(&segment) {
                            Tables::Memory(table) => table.find_id(id),
                            Tables::Sealed(side) => side.find_id(id)?,
                            Tables::Active => None,
                        }
                    } else {
                        tail.active.find_id(id)
                    }
                }
                Tables::Memory(table) => table.find_id(id),
                Tables::Sealed(side) => side.find_id(id)?,
            };
            if let Some((offset, len)) = found {
                return Ok(Some((segment, offset, len)));
            }
        }
        Ok(None)
    }

    fn find_idempotency(&self, idempotency: u128) -> Result<Vec<StoredRecord>, Error> {
        let hash = block::mix(idempotency);
        let mut slots = signpost::Slots::default();
        self.signpost.read().find(hash, &mut slots);
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let mut places = Vec::new();
        let mut found = Vec::new();
        let segments: Vec<Arc<Segment>> =
            self.segments.read().values().rev().filter(|s| slots.contains(s.slot)).cloned().collect();
        for segment in segments {
            places.clear();
            match self.tables_of(&segment) {
                Tables::Active => {
                    let tail = self.tail.lock();
                    if tail.active_id == segment.id {
                        tail.active.find_idempotency(hash, &mut places);
                    } else {
                        drop(tail);
                        match self.tables_of(&segment) {
                            Tables::Memory(table) => table.find_idempotency(hash, &mut places),
                            Tables::Sealed(side) => side.find_idempotency(hash, &mut places)?,
                            Tables::Active => {}
                        }
                    }
                }
                Tables::Memory(table) => table.find_idempotency(hash, &mut places),
                Tables::Sealed(side) => side.find_idempotency(hash, &mut places)?,
            }
            for (offset, len) in &places {
                if let Some(record) = self.read_record(&segment, *offset, *len)?
                    && record.idempotency == idempotency
                {
                    found.push(record);
                }
            }
        }
        found.sort_by_key(|record| std::cmp::Reverse(record.id));
        Ok(found)
    }

    fn tables_of(&self, segment: &Segment) -> Tables {
        segment.tables.read().clone()
    }

    /// Reads one record, from the queue while the writer has not got to it.
    fn read_record(&self, segment: &Segment, offset: u32, len: u32) -> Result<Option<StoredRecord>, Error> {
        if !matches!(*segment.tables.read(), Tables::Sealed(_)) {
            let tail = self.tail.lock();
            if let Some(bytes) = tail.queued_bytes_at(segment.id, offset, len) {
                return match block::decode(bytes) {
                    Some(record) => Ok(Some(record)),
                    None => Err(Error::damaged(&segment.path, u64::from(offset), "a queued record does not decode")),
                };
            }
        }
        segment::read_record(&segment.file, &segment.path, offset, len).map(Some)
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats { queue_bytes_max: self.settings.queue_bytes_max, ..Stats::default() };
        let segments: Vec<Arc<Segment>> = self.segments.read().values().cloned().collect();
        for segment in segments {
            stats.segments += 1;
            match self.tables_of(&segment) {
                Tables::Active => {}
                Tables::Memory(table) => {
                    stats.records += table.len() as u64;
                    stats.memory_bytes += table.memory_bytes();
                    stats.segment_bytes += table.data_len;
                }
                Tables::Sealed(side) => {
                    stats.records += side.records();
                    stats.memory_bytes += side.memory_bytes();
                    stats.segment_bytes += side.data_len();
                }
            }
        }
        {
            let tail = self.tail.lock();
            stats.records += tail.active.len() as u64;
            stats.memory_bytes += tail.active.memory_bytes();
            stats.segment_bytes += tail.active.data_len;
            stats.queued_bytes = tail.queued_bytes;
            stats.stalled.clone_from(&tail.stalled);
        }
        stats.signpost_bytes = self.signpost.read().memory_bytes();
        stats.memory_bytes += stats.signpost_bytes;
        stats
    }
}
