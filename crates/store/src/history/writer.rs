//! The way in: one short lock per block, then a thread that writes and a thread that syncs.
//!
//! A failed write or sync stops the history for good: what the disk holds is then no longer known. A full disk does
//! not get that far, because segments are reserved before they are used (`keeper`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::block::{Block, Entry, FRAME_HEADER_LEN};
use super::memory::MemoryTable;
use super::{NotTaken, Position, Refusal, Segment, Shared, Tables, segment};
use crate::Error;
use crate::durable::failed;
use crate::file::{File, FileExt};

/// Buffers kept for the next blocks.
const SPARE_BLOCKS_MAX: usize = 64;
/// Blocks that the writer thread takes up per look at the queue.
const BATCH_BLOCKS_MAX: usize = 64;
/// Fewer bytes than this wait a little for more: nobody waits for them, and a write for every group commit would cost
/// more than the writing.
const LAZY_BYTES: u64 = 256 << 10;
const LAZY: std::time::Duration = std::time::Duration::from_millis(20);
/// Bytes that are put together for one write at most.
const JOINED_BYTES_MAX: usize = 1 << 20;
/// A buffer larger than this is not kept.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Everything behind the lock that appending takes.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) active_id: u32,
    pub(super) active: MemoryTable,
    pub(super) active_slot: u16,
    active_file: Arc<File>,
    active_path: PathBuf,
    /// Position of the active segment's byte `active_base`.
    active_start: u64,
    active_base: u64,
    queue: VecDeque<Queued>,
    pub(super) queued_bytes: u64,
    appended: u64,
    /// The segment that comes next, reserved by the keeper.
    pub(super) next: Option<Prepared>,
    /// Why the keeper cannot prepare one.
    pub(super) stalled: Option<String>,
    pub(super) stopped: Option<String>,
    pub(super) spare: Vec<Block>,
    pub(super) ending: bool,
}

#[derive(Clone, Debug)]
struct Queued {
    segment: u32,
    offset: u64,
    /// Behind its last byte.
    position: u64,
    file: Arc<File>,
    path: PathBuf,
    block: Arc<Block>,
}

/// A segment file that is reserved, named and synced, and holds only its header.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: u32,
    pub(super) slot: u16,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) table: MemoryTable,
}

#[derive(Debug, Default)]
pub(super) struct SyncState {
    requested: u64,
    written: u64,
    /// Files written since they were last synced; the last one may be written again.
    dirty: Vec<(Arc<File>, PathBuf)>,
    failed: Option<String>,
    pub(super) ending: bool,
}

impl Tail {
    pub(super) fn new(active: Prepared, base: u64) -> Self {
        Self {
            active_id: active.id,
            active: active.table,
            active_slot: active.slot,
            active_file: active.file,
            active_path: active.path,
            active_start: 0,
            active_base: base,
            queue: VecDeque::new(),
            queued_bytes: 0,
            appended: 0,
            next: None,
            stalled: None,
            stopped: None,
            spare: Vec::new(),
            ending: false,
        }
    }

    /// The bytes of a record that the writer thread has not written yet.
    pub(super) fn queued_bytes_at(&self, segment: u32, offset: u32, len: u32) -> Option<&[u8]> {
        let offset = u64::from(offset);
        let after = self.queue.partition_point(|queued| (queued.segment, queued.offset) <= (segment, offset));
        let queued = self.queue.get(after.checked_sub(1)?).filter(|queued| queued.segment == segment)?;
        let inside = (offset - queued.offset) as usize;
        queued.block.bytes.get(inside..inside + len as usize)
    }
}

pub(super) fn append(shared: &Shared, mut block: Block) -> Result<Position, NotTaken> {
    let len = block.bytes.len() as u64;
    let mut tail = shared.tail.lock();
    if block.is_empty() {
        return Ok(Position(tail.appended));
    }
    if let Some(reason) = &tail.stopped {
        let why = Refusal::Stopped { reason: reason.clone() };
        return Err(NotTaken { block, why });
    }
    let records = block.len();
    if len + segment::HEADER_LEN as u64 > shared.settings.segment_bytes
        || records > shared.settings.segment_records_max as usize
    {
        return Err(NotTaken { block, why: Refusal::TooLarge });
    }
    if tail.queued_bytes > 0 && tail.queued_bytes + len > shared.settings.queue_bytes_max {
        let why = Refusal::Busy { why: format!("{} bytes wait for the disk", tail.queued_bytes) };
        return Err(NotTaken { block, why });
    }
    let fits = tail.active.data_len + len <= shared.settings.segment_bytes
        && tail.active.len() + records <= shared.settings.segment_records_max as usize;
    if !fits {
        let Some(next) = tail.next.take() else {
            let why = tail.stalled.clone().unwrap_or_else(|| "the next segment is being prepared".into());
            return Err(NotTaken { block, why: Refusal::Busy { why } });
        };
        roll(shared, &mut tail, next);
    }

    let offset = tail.active.data_len;
    let durable = shared.durable.load(Ordering::Acquire);
    let durable_through = (durable.max(tail.active_start) - tail.active_start + tail.active_base) as u32;
    segment::finish_frame(&mut block.bytes, tail.active_id, records as u32, durable_through);
    for entry in &block.entries {
        tail.active.push(Entry { offset: entry.offset + offset as u32, ..*entry });
    }
    let mut hashes = block.entries.iter().map(|entry| entry.idempotency);
    let mut refused = shared.signpost.read().insert(&mut hashes, tail.active_slot).err();
    while let Some(hash) = refused {
        shared.signpost.write().grow();
        let mut rest = std::iter::once(hash).chain(&mut hashes);
        refused = shared.signpost.read().insert(&mut rest, tail.active_slot).err();
    }
    tail.active.data_len += len;
    tail.queued_bytes += len;
    tail.appended += len;
    let position = tail.appended;
    shared.appended.store(position, Ordering::Release);
    let queued = Queued {
        segment: tail.active_id,
        offset,
        position,
        file: tail.active_file.clone(),
        path: tail.active_path.clone(),
        block: Arc::new(block),
    };
    let was_empty = tail.queue.is_empty();
    tail.queue.push_back(queued);
    let is_much = tail.queued_bytes >= LAZY_BYTES && tail.queued_bytes - len < LAZY_BYTES;
    drop(tail);
    if was_empty || is_much {
        shared.queued.notify_one();
    }
    Ok(Position(position))
}

/// Makes the prepared segment the active one and hands the full one to the keeper.
fn roll(shared: &Shared, tail: &mut Tail, next: Prepared) {
    let full_id = tail.active_id;
    let full = std::mem::replace(&mut tail.active, next.table);
    tail.active_id = next.id;
    tail.active_slot = next.slot;
    tail.active_file = next.file.clone();
    tail.active_path.clone_from(&next.path);
    tail.active_start = tail.appended;
    tail.active_base = segment::HEADER_LEN as u64;
    let mut segments = shared.segments.write();
    if let Some(segment) = segments.get(&full_id) {
        *segment.tables.write() = Tables::Memory(Arc::new(full));
    }
    segments.insert(
        next.id,
        Arc::new(Segment {
            id: next.id,
            slot: next.slot,
            path: next.path,
            file: next.file,
            tables: RwLock::new(Tables::Active),
        }),
    );
    drop(segments);
    shared.keeper.lock().to_seal.push_back((full_id, tail.appended));
    shared.keeper_wanted.notify_one();
}

/// The writer thread: writes queued blocks in order, neighbours together.
pub(super) fn write(shared: &Shared) {
    let mut batch: Vec<Queued> = Vec::new();
    let mut joined: Vec<u8> = Vec::new();
    loop {
        {
            let mut tail = shared.tail.lock();
            while tail.queue.is_empty() {
                if tail.ending {
                    return;
                }
                shared.queued.wait(&mut tail);
            }
            if !tail.ending && tail.queued_bytes < LAZY_BYTES {
                shared.queued.wait_for(&mut tail, LAZY);
            }
            if tail.stopped.is_some() {
                return;
            }
            batch.extend(tail.queue.iter().take(BATCH_BLOCKS_MAX).cloned());
        }
        let mut rest = batch.as_slice();
        while let Some(first) = rest.first() {
            joined.clear();
            let mut count = 0;
            for next in rest {
                let follows = Arc::ptr_eq(&next.file, &first.file) && next.offset == first.offset + joined.len() as u64;
                if !follows || (count > 0 && joined.len() + next.block.bytes.len() > JOINED_BYTES_MAX) {
                    break;
                }
                joined.extend_from_slice(&next.block.bytes);
                count += 1;
            }
            let written = first.file.write_all_at(&joined, first.offset).map_err(failed("write", &first.path));
            if let Err(error) = written {
                tracing::error!(%error, "the history stops");
                stop(shared, &error.to_string());
                return;
            }
            let (here, behind) = rest.split_at(count);
            if let Some(last) = here.last() {
                tell_written(shared, last);
            }
            rest = behind;
        }
        let mut tail = shared.tail.lock();
        for Queued { block, .. } in batch.drain(..) {
            let Some(done) = tail.queue.pop_front() else { continue };
            tail.queued_bytes -= done.block.bytes.len() as u64;
            drop(block);
            if tail.spare.len() < SPARE_BLOCKS_MAX
                && let Ok(mut block) = Arc::try_unwrap(done.block)
                && (FRAME_HEADER_LEN..=SPARE_BYTES_MAX).contains(&block.bytes.capacity())
            {
                block.clear();
                tail.spare.push(block);
            }
        }
    }
}

/// Everything up to the end of `last` has been written, and may be synced.
fn tell_written(shared: &Shared, last: &Queued) {
    let mut sync = shared.sync.lock();
    sync.written = last.position;
    if sync.dirty.last().is_none_or(|(file, _)| !Arc::ptr_eq(file, &last.file)) {
        sync.dirty.push((last.file.clone(), last.path.clone()));
    }
    if sync.requested > shared.durable.load(Ordering::Acquire) {
        shared.sync_changed.notify_all();
    }
}

/// The sync thread: makes what was written durable when somebody asked for it.
pub(super) fn sync(shared: &Shared) {
    loop {
        let (written, files) = {
            let mut sync = shared.sync.lock();
            loop {
                let durable = shared.durable.load(Ordering::Acquire);
                let wanted = sync.requested.min(sync.written) > durable;
                if sync.failed.is_some() {
                    return;
                }
                if wanted || (sync.ending && sync.written > durable) {
                    break;
                }
                if sync.ending {
                    return;
                }
                shared.sync_changed.wait(&mut sync);
            }
            (sync.written, std::mem::take(&mut sync.dirty))
        };
        for (file, path) in &files {
            if let Err(error) = file.sync_data().map_err(failed("sync", path)) {
                tracing::error!(%error, "the history stops");
                stop(shared, &error.to_string());
                return;
            }
        }
        let _wake = shared.sync.lock();
        shared.durable.store(written, Ordering::Release);
        shared.sync_changed.notify_all();
    }
}

pub(super) fn request_sync(shared: &Shared, position: Position) {
    let mut sync = shared.sync.lock();
    if position.0 > sync.requested {
        sync.requested = position.0;
        shared.sync_changed.notify_all();
    }
}

pub(super) fn wait_durable(shared: &Shared, position: Position) -> Result<(), Error> {
    request_sync(shared, position);
    let mut sync = shared.sync.lock();
    loop {
        if shared.durable.load(Ordering::Acquire) >= position.0 {
            return Ok(());
        }
        if let Some(reason) = &sync.failed {
            return Err(Error::Stopped { room: "the history", reason: reason.clone() });
        }
        if sync.ending {
            return Err(Error::Stopped { room: "the history", reason: "it is being closed".into() });
        }
        shared.sync_changed.wait(&mut sync);
    }
}

/// Nothing more is taken or promised.
fn stop(shared: &Shared, reason: &str) {
    shared.tail.lock().stopped = Some(reason.to_owned());
    shared.sync.lock().failed = Some(reason.to_owned());
    shared.sync_changed.notify_all();
}
