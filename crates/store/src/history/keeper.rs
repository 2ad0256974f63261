//! The keeper thread: prepares the next segment, writes side files of full ones, keeps the signpost small, and drops
//! what retention no longer wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::memory::MemoryTable;
use super::recovery::expected_records;
use super::side::{self, Side};
use super::signpost::Layer;
use super::writer::{Prepared, wait_durable};
use super::{Dropped, Position, Shared, Tables, segment};
use crate::Error;
use crate::durable::{failed, remove, reserve, sync_dir};
use crate::file::{File, FileExt};

/// Full segments that may wait for their side file; past it no new segment is prepared, which bounds the memory.
const TO_SEAL_MAX: usize = 2;
/// Between two tries while the disk is full.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Work {
    /// Full segments and the position behind each.
    pub(super) to_seal: VecDeque<(u32, u64)>,
    pub(super) ending: bool,
}

/// The thread's loop.
pub(super) fn keep(shared: &Shared) {
    loop {
        let (front, waiting) = {
            let work = shared.keeper.lock();
            if work.ending {
                return;
            }
            (work.to_seal.front().copied(), work.to_seal.len())
        };
        let prepare_next = waiting <= TO_SEAL_MAX && shared.tail.lock().next.is_none();
        let mut failure = None;
        if prepare_next {
            match prepare(shared) {
                Ok(next) => {
                    let mut tail = shared.tail.lock();
                    tail.next = Some(next);
                    tail.stalled = None;
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some((id, position)) = front {
            match seal(shared, id, position) {
                Ok(()) => {
                    shared.keeper.lock().to_seal.pop_front();
                }
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none()
            && let Err(error) = keep_signpost_small(shared)
        {
            // The layers that are there stay right, only larger than they need be.
            tracing::warn!(%error, "the signpost could not be rebuilt");
            shared.signpost.write().give_up_rebuild();
        }
        if let Some(error) = &failure {
            // The tail's lock is taken before the keeper's everywhere, so not inside it here.
            let already_told = shared.tail.lock().stalled.replace(error.to_string()).is_some();
            if !already_told {
                tracing::warn!(%error, "the history cannot go on to another segment; it tries again");
            }
        }
        let mut work = shared.keeper.lock();
        if work.ending {
            return;
        }
        if failure.is_some() {
            shared.keeper_wanted.wait_for(&mut work, RETRY);
        } else if work.to_seal.is_empty() {
            shared.keeper_wanted.wait(&mut work);
        }
    }
}

/// Creates the segment after the newest with its space reserved, so that a full disk shows here.
pub(super) fn prepare(shared: &Shared) -> Result<Prepared, Error> {
    let (id, slot) = {
        let segments = shared.segments.read();
        let id = segments.keys().next_back().map_or(1, |id| id + 1);
        let slot = (0..u16::MAX).find(|slot| segments.values().all(|segment| segment.slot != *slot));
        (id, slot.ok_or_else(|| Error::Refused("the history has 65,535 segments; make them larger".into()))?)
    };
    let expected = shared.tail.lock().active.len().max(expected_records(&shared.settings));
    prepare_file(shared.dir.as_path(), id, slot, shared.settings.segment_bytes, expected)
}

pub(super) fn prepare_file(
    dir: &std::path::Path,
    id: u32,
    slot: u16,
    segment_bytes: u64,
    expected: usize,
) -> Result<Prepared, Error> {
    let path = dir.join(segment::file_name(id));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(failed("create", &path))?;
    reserve(&file, &path, 0, segment_bytes)?;
    file.write_all_at(&segment::header(id), 0).map_err(failed("write", &path))?;
    file.sync_all().map_err(failed("sync", &path))?;
    sync_dir(dir)?;
    let table = MemoryTable::with_capacity(expected, segment::HEADER_LEN as u64);
    Ok(Prepared { id, slot, path, file: Arc::new(file), table })
}

/// Writes the side file of a full segment once all of its bytes are durable.
fn seal(shared: &Shared, id: u32, position: u64) -> Result<(), Error> {
    wait_durable(shared, Position(position))?;
    let Some(segment) = shared.segments.read().get(&id).cloned() else { return Ok(()) };
    let table = match &*segment.tables.read() {
        Tables::Memory(table) => table.clone(),
        Tables::Active | Tables::Sealed(_) => return Ok(()),
    };
    let side = Side::build(&shared.dir, id, table.data_len, &table.entries())?;
    // Gives the rest of the reservation back.
    segment.file.set_len(table.data_len).map_err(failed("cut", &segment.path))?;
    *segment.tables.write() = Tables::Sealed(Arc::new(side));
    Ok(())
}

/// Merges the signpost's layers into one when there are several.
fn keep_signpost_small(shared: &Shared) -> Result<(), Error> {
    let _maintenance = shared.maintenance.lock();
    let layer = {
        let mut signpost = shared.signpost.write();
        if signpost.layers() < 2 {
            return Ok(());
        }
        let records = signpost.records();
        // Half again as large as needed now, so that the next rebuild is as far away as this one was large.
        let layer = Arc::new(Layer::for_records(records + records / 2));
        signpost.begin_rebuild(layer.clone());
        layer
    };
    let segments: Vec<_> = shared.segments.read().values().cloned().collect();
    for segment in segments {
        let mut full = false;
        let mut insert = |hash| full |= !layer.insert(hash, segment.slot);
        let from_memory = match shared.tables_of(&segment) {
            Tables::Sealed(side) => {
                side.for_each_idempotency(&mut insert)?;
                None
            }
            Tables::Memory(table) => Some(table.entries()),
            Tables::Active => {
                let tail = shared.tail.lock();
                if tail.active_id == segment.id {
                    Some(tail.active.entries())
                } else {
                    drop(tail);
                    match shared.tables_of(&segment) {
                        Tables::Sealed(side) => {
                            side.for_each_idempotency(&mut insert)?;
                            None
                        }
                        Tables::Memory(table) => Some(table.entries()),
                        Tables::Active => None,
                    }
                }
            }
        };
        for entry in from_memory.iter().flatten().flat_map(|chunk| chunk.iter()) {
            insert(entry.idempotency);
        }
        if full {
            shared.signpost.write().give_up_rebuild();
            return Ok(());
        }
    }
    shared.signpost.write().finish_rebuild(&layer);
    Ok(())
}

/// Retention: see [`History::drop_ended_before`](super::History::drop_ended_before).
pub(super) fn drop_ended_before(shared: &Shared, cutoff_us: u64) -> Result<Dropped, Error> {
    let _maintenance = shared.maintenance.lock();
    let mut dropped = Dropped::default();
    loop {
        let oldest = shared.segments.read().values().next().cloned();
        let Some(segment) = oldest else { break };
        let side = match shared.tables_of(&segment) {
            Tables::Sealed(side) if side.max_ended_us() < cutoff_us => side,
            _ => break,
        };
        // The side file first: a segment without one is indexed again at the next open, a side file without its
        // segment would be an error.
        remove(&side.path)?;
        remove(&segment.path)?;
        sync_dir(&shared.dir)?;
        // Forgotten before its name in the signpost becomes free.
        shared.signpost.read().forget(segment.slot);
        shared.segments.write().remove(&segment.id);
        dropped.segments += 1;
        dropped.records += side.records();
        dropped.bytes += side.data_len();
    }
    Ok(dropped)
}

/// Side files of segments that no longer exist.
pub(super) fn side_names(names: &[String]) -> impl Iterator<Item = (&String, u32)> {
    names.iter().filter_map(|name| {
        let digits = name.strip_prefix("history-")?.strip_suffix(".idx")?;
        let id = u32::from_str_radix(digits, 16).ok()?;
        (side::file_name(id) == *name).then_some((name, id))
    })
}
