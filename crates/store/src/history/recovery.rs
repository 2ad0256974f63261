//! Opening the history: sealed segments by their side files, unsealed ones by reading them, the tail cut where it is
//! torn.
//!
//! A bad place in an unsealed segment is torn, and everything from it on is cut, unless something proves that it had
//! been durable: a later frame that says so, or a later segment that was sealed or says so of itself. What is cut had
//! not been promised to any checkpoint, so the journal's replay appends it again. What was durable and is bad is
//! damage: reported with its place, and left where it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Condvar, Mutex, RwLock};

use super::block::{Entry, entry_of};
use super::keeper::{self, prepare_file};
use super::memory::MemoryTable;
use super::segment::{self, Gap, Scanned};
use super::side::{self, Side};
use super::signpost::{Layer, Signpost};
use super::writer::{Prepared, Tail};
use super::{Opened, Segment, Settings, Shared, Tables};
use crate::Error;
use crate::durable::{create_dir, failed, len_of, names_in, remove, sync_dir};
use crate::file::File;

/// A record every so many bytes is expected when a table is sized for the first time.
const RECORD_BYTES_EXPECTED: u64 = 512;

enum Found {
    Sealed(Side),
    Unsealed { scanned: Scanned, entries: Vec<Entry> },
}

pub(super) fn open(dir: &Path, settings: Settings) -> Result<(Shared, Opened), Error> {
    if !(1 << 20..=2 << 30).contains(&settings.segment_bytes) || settings.segment_records_max == 0 {
        return Err(Error::Refused(format!(
            "segment_bytes is {} and segment_records_max {}; between 1 MiB and 2 GiB, and at least 1",
            settings.segment_bytes, settings.segment_records_max
        )));
    }
    create_dir(dir)?;
    let names = names_in(dir)?;
    let mut opened = Opened::default();
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        remove(&dir.join(name))?;
    }
    let ids: Vec<u32> = names.iter().filter_map(|name| segment::id_of(name)).collect();
    for (name, id) in keeper::side_names(&names) {
        if !ids.contains(&id) {
            opened.warnings.push(format!("{} has no segment and is removed", dir.join(name).display()));
            remove(&dir.join(name))?;
        }
    }

    let mut found = Vec::new();
    for id in &ids {
        let path = dir.join(segment::file_name(*id));
        let file = File::options().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        found.push((*id, find(dir, *id, &file, &path, &mut opened)?, file));
    }
    // From the newest to the oldest: what a later segment proves about the earlier ones.
    let mut proven = false;
    for (id, found, file) in found.iter_mut().rev() {
        match found {
            Found::Sealed(_) => proven = true,
            Found::Unsealed { scanned, entries } => {
                cut_torn(dir, *id, file, scanned, entries, proven, &mut opened)?;
                proven |= scanned.durable_through > 0;
            }
        }
    }

    let mut segments = BTreeMap::new();
    let mut active = None;
    // Appending goes on in the newest segment with records, if it is not sealed: segments stay in order of time.
    let newest = found.iter().rposition(|(_, found, _)| match found {
        Found::Sealed(_) => true,
        Found::Unsealed { scanned, entries } => !entries.is_empty() || !scanned.gaps.is_empty(),
    });
    let mut slot = 0;
    for (place, (id, found, file)) in found.into_iter().enumerate() {
        let path = dir.join(segment::file_name(id));
        let file = Arc::new(file);
        let tables = match found {
            Found::Sealed(side) => Tables::Sealed(Arc::new(side)),
            Found::Unsealed { scanned, entries } if entries.is_empty() && scanned.gaps.is_empty() => {
                remove(&path)?;
                continue;
            }
            Found::Unsealed { scanned, entries } => {
                // What was read may so far be only in the page cache.
                file.sync_all().map_err(failed("sync", &path))?;
                let full =
                    scanned.end >= settings.segment_bytes || entries.len() >= settings.segment_records_max as usize;
                if Some(place) == newest && !full {
                    let mut table =
                        MemoryTable::with_capacity(expected_records(&settings).max(entries.len()), scanned.end);
                    entries.into_iter().for_each(|entry| table.push(entry));
                    active = Some((Prepared { id, slot, path: path.clone(), file: file.clone(), table }, scanned.end));
                    Tables::Active
                } else {
                    let side = Side::build(dir, id, scanned.end, &[Arc::new(entries)])?;
                    Tables::Sealed(Arc::new(side))
                }
            }
        };
        segments.insert(id, Arc::new(Segment { id, slot, path, file, tables: RwLock::new(tables) }));
        slot += 1;
    }
    sync_dir(dir)?;

    let (active, base) = match active {
        Some(active) => active,
        None => {
            let id = ids.last().map_or(1, |id| id + 1);
            let prepared = prepare_file(dir, id, slot, settings.segment_bytes, expected_records(&settings))?;
            let segment = Segment {
                id,
                slot,
                path: prepared.path.clone(),
                file: prepared.file.clone(),
                tables: RwLock::new(Tables::Active),
            };
            segments.insert(id, Arc::new(segment));
            (prepared, segment::HEADER_LEN as u64)
        }
    };

    let signpost = fill_signpost(dir, &settings, &segments, &active, &mut opened)?;
    opened.segments = segments.len() as u64;
    let shared = Shared {
        dir: dir.to_path_buf(),
        settings,
        tail: Mutex::new(Tail::new(active, base)),
        queued: Condvar::new(),
        sync: Mutex::default(),
        sync_changed: Condvar::new(),
        keeper: Mutex::default(),
        keeper_wanted: Condvar::new(),
        segments: RwLock::new(segments),
        signpost: RwLock::new(signpost),
        maintenance: Mutex::new(()),
        appended: AtomicU64::new(0),
        durable: AtomicU64::new(0),
    };
    Ok((shared, opened))
}

/// How many records a segment is likely to take.
pub(super) fn expected_records(settings: &Settings) -> usize {
    (settings.segment_bytes / RECORD_BYTES_EXPECTED).min(u64::from(settings.segment_records_max)) as usize
}

/// A segment with its side file, or read from end to end without one.
fn find(dir: &Path, id: u32, file: &File, path: &Path, opened: &mut Opened) -> Result<Found, Error> {
    if dir.join(side::file_name(id)).exists() {
        let side = Side::open(dir, id).and_then(|side| {
            // The hashes are what the signpost is filled from: a bad page there would hide a submission.
            side.for_each_idempotency(|_| {})?;
            Ok(side)
        });
        match side {
            Ok(side) => {
                let len = len_of(file, path)?;
                if len < side.data_len() {
                    opened.warnings.push(format!(
                        "{} is damaged: it ends at byte {len} and should have {}",
                        path.display(),
                        side.data_len()
                    ));
                }
                return Ok(Found::Sealed(side));
            }
            Err(error) if error.is_damage() => {
                opened.warnings.push(format!("a side file is built again: {error}"));
                let (mut scanned, entries) = read_all(file, path, id)?;
                count_tail_as_gap(&mut scanned);
                report_gaps(path, &scanned, opened);
                return Ok(Found::Sealed(Side::build(dir, id, scanned.file_len, &[Arc::new(entries)])?));
            }
            Err(other) => return Err(other),
        }
    }
    let (scanned, entries) = read_all(file, path, id)?;
    Ok(Found::Unsealed { scanned, entries })
}

fn read_all(file: &File, path: &Path, id: u32) -> Result<(Scanned, Vec<Entry>), Error> {
    let mut entries = Vec::new();
    let scanned = segment::scan(file, path, id, |record, offset, len| entries.push(entry_of(record, offset, len)))?;
    Ok((scanned, entries))
}

fn report_gaps(path: &Path, scanned: &Scanned, opened: &mut Opened) {
    for gap in &scanned.gaps {
        opened.warnings.push(format!(
            "{} is damaged at byte {}: {} bytes of records cannot be read",
            path.display(),
            gap.at,
            gap.len
        ));
    }
}

/// Cuts an unsealed segment where it is torn and reports where it is damaged.
fn cut_torn(
    dir: &Path,
    id: u32,
    file: &File,
    scanned: &mut Scanned,
    entries: &mut Vec<Entry>,
    proven: bool,
    opened: &mut Opened,
) -> Result<(), Error> {
    let path = dir.join(segment::file_name(id));
    let durable = if proven { u64::MAX } else { scanned.durable_through };
    if let Some(torn) = scanned.gaps.iter().position(|gap| gap.at >= durable) {
        let gap = scanned.gaps[torn];
        scanned.gaps.truncate(torn);
        scanned.records = gap.records_before;
        entries.truncate(gap.records_before as usize);
        scanned.end = gap.at;
    }
    if scanned.end < scanned.file_len && scanned.end >= durable {
        opened.cut_bytes += scanned.file_len - scanned.end;
        file.set_len(scanned.end).map_err(failed("cut", &path))?;
        scanned.file_len = scanned.end;
    }
    count_tail_as_gap(scanned);
    report_gaps(&path, scanned, opened);
    Ok(())
}

/// Bytes at the end that are damaged and not torn stay where they are; what is appended goes behind them.
fn count_tail_as_gap(scanned: &mut Scanned) {
    if scanned.end < scanned.file_len {
        let (at, records_before) = (scanned.end, scanned.records);
        scanned.gaps.push(Gap { at, len: scanned.file_len - at, records_before });
        scanned.end = scanned.file_len;
    }
}

/// One layer for what is stored, with room for as much again.
fn fill_signpost(
    dir: &Path,
    settings: &Settings,
    segments: &BTreeMap<u32, Arc<Segment>>,
    active: &Prepared,
    opened: &mut Opened,
) -> Result<Signpost, Error> {
    let sealed: Vec<(u16, Arc<Side>)> = segments
        .values()
        .filter_map(|segment| match &*segment.tables.read() {
            Tables::Sealed(side) => Some((segment.slot, side.clone())),
            Tables::Active | Tables::Memory(_) => None,
        })
        .collect();
    opened.records = sealed.iter().map(|(_, side)| side.records()).sum::<u64>() + active.table.len() as u64;
    let room = (opened.records + opened.records / 2).max(expected_records(settings) as u64);
    let mut signpost = Signpost::new(Layer::for_records(room));
    let mut put = |hash, slot| {
        while signpost.insert(&mut std::iter::once(hash), slot).is_err() {
            signpost.grow();
        }
    };
    for (slot, side) in sealed {
        side.for_each_idempotency(|hash| put(hash, slot))?;
    }
    for entry in active.table.entries().iter().flat_map(|chunk| chunk.iter()) {
        put(entry.idempotency, active.slot);
    }
    tracing::debug!(dir = %dir.display(), records = opened.records, "the signpost is filled");
    Ok(signpost)
}
