//! Opening: choose the newest checkpoint that verifies, replay its segments, cut everything it does not cover.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::index::Place;
use super::manifest::{self, Manifest, Part};
use super::segment::{self, Kind, Segment};
use super::{Restored, Rows, Settings, Shared, StateLog, Writer};
use crate::Error;
use crate::durable::{create_dir, failed, len_of, names_in, remove, sync_dir};
use crate::file::{self, File};

pub(super) fn open(dir: &Path, settings: Settings) -> Result<(StateLog, Option<Restored>), Error> {
    if !(64 << 10..=2 << 30).contains(&settings.segment_bytes) {
        return Err(Error::Refused(format!(
            "segment_bytes is {}, it must be between 64 KiB and 2 GiB",
            settings.segment_bytes
        )));
    }
    create_dir(dir)?;
    let names = names_in(dir)?;
    let generations: BTreeSet<u64> = names.iter().filter_map(|name| manifest::generation_of(name)).collect();
    let mut warnings = Vec::new();
    let mut first_damage = None;
    let mut chosen = None;
    let mut older = None;
    let mut set_aside = Vec::new();
    for generation in generations.iter().rev() {
        let path = dir.join(manifest::file_name(*generation));
        if chosen.is_some() {
            // Kept for the next fall-back; it was verified when it was written and is read in full only if needed.
            match Manifest::read(&path) {
                Ok(manifest) => older = Some(manifest),
                Err(error @ Error::Refused(_)) => return Err(error),
                Err(error) => {
                    warnings.push(format!("the older checkpoint cannot be read: {error}"));
                    set_aside.push(path);
                    continue;
                }
            }
            break;
        }
        match Manifest::read(&path).and_then(|manifest| Ok((replay(dir, &manifest)?, manifest))) {
            Ok(found) => chosen = Some(found),
            Err(error @ Error::Refused(_)) => return Err(error),
            Err(error) => {
                warnings.push(format!("checkpoint {generation} does not verify: {error}"));
                first_damage.get_or_insert(error);
                set_aside.push(path);
            }
        }
    }
    if chosen.is_none()
        && let Some(damage) = first_damage
    {
        return Err(damage);
    }

    // Set aside before anything is cut: after the cut the damaged checkpoint could not verify anyway, and a crash in
    // between must not bring it back as the newest.
    for path in &set_aside {
        let aside = path.with_extension("damaged");
        file::rename(path, &aside).map_err(failed("set aside", path))?;
    }
    if !set_aside.is_empty() {
        sync_dir(dir)?;
    }

    let (rows, newest) = match chosen {
        Some((rows, manifest)) => (rows, Some(manifest)),
        None => (Rows::default(), None),
    };
    if let Some(newest) = &newest
        && let Some(set_aside_any) = set_aside.first()
        && warnings.iter().any(|warning| warning.contains("does not verify"))
    {
        warnings.push(format!(
            "using the checkpoint at seq {} instead of {}; the journal behind it is replayed",
            newest.seq,
            set_aside_any.display()
        ));
    }
    let kept: VecDeque<Manifest> = older.into_iter().chain(newest.clone()).collect();
    cut(dir, &rows, &kept, &names)?;

    let highest = names.iter().filter_map(|name| manifest::generation_of(name.trim_end_matches(".damaged"))).max();
    let next_segment = names
        .iter()
        .filter_map(|name| segment::id_of(name))
        .chain(kept.iter().flat_map(|kept| kept.segments.iter().map(|part| part.id)))
        .max()
        .map_or(1, |id| id + 1);
    let restored = newest.map(|newest| Restored {
        seq: newest.seq,
        batch_hash: newest.batch_hash,
        meta: newest.meta,
        rows: rows.index.len() as u64,
        warnings,
    });
    let log = StateLog(Arc::new(Shared {
        dir: dir.to_path_buf(),
        settings,
        rows: RwLock::new(rows),
        writer: Mutex::new(Writer { kept, next_generation: highest.unwrap_or(0) + 1, next_segment, stopped: None }),
        spare: Mutex::default(),
    }));
    Ok((log, restored))
}

/// Builds index and segment table by replaying every record of the manifest's segments in order.
fn replay(dir: &Path, manifest: &Manifest) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    for part in &manifest.segments {
        let segment = open_part(dir, part)?;
        let (file, path) = (segment.file.clone(), segment.path.clone());
        rows.segments.insert(part.id, segment);
        let mut deletes = 0;
        let scanned = segment::scan(&file, &path, part.id, part.len, |offset, record| match record.kind {
            Kind::Put(row) => {
                let place = Place { segment: part.id, offset, len: row.len() as u32, reach: record.reach };
                rows.change(record.key, Some(place));
            }
            Kind::Delete => {
                deletes += 1;
                rows.change(record.key, None);
            }
        })?;
        if scanned.chain != part.chain {
            return Err(Error::damaged(&path, 0, "its sections are whole but not those of this checkpoint"));
        }
        if let Some(segment) = rows.segments.get_mut(&part.id) {
            segment.deletes = deletes;
            segment.chain = part.chain;
        }
    }
    Ok(rows)
}

fn open_part(dir: &Path, part: &Part) -> Result<Segment, Error> {
    let path = dir.join(segment::file_name(part.id));
    let file = File::options().read(true).write(true).open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::damaged(&path, 0, "the segment is missing"),
        _ => failed("open", &path)(error),
    })?;
    let len = len_of(&file, &path)?;
    if len < part.len {
        return Err(Error::damaged(&path, len, format!("the segment ends here and should have {} bytes", part.len)));
    }
    Ok(Segment { id: part.id, path, file: Arc::new(file), len: part.len, live_bytes: 0, deletes: 0, chain: 0 })
}

/// Removes what no kept checkpoint names and cuts the segments to their valid ends.
fn cut(dir: &Path, rows: &Rows, kept: &VecDeque<Manifest>, names: &[String]) -> Result<(), Error> {
    let needed: BTreeMap<u32, u64> = kept.iter().flat_map(|m| m.segments.iter().map(|p| (p.id, p.len))).collect();
    for name in names {
        let leftover_segment = segment::id_of(name).is_some_and(|id| !needed.contains_key(&id));
        let old_manifest = manifest::generation_of(name)
            .is_some_and(|generation| kept.iter().all(|kept| kept.generation != generation));
        if leftover_segment || old_manifest || name.ends_with(".tmp") {
            remove(&dir.join(name))?;
        }
    }
    for segment in rows.segments.values() {
        if len_of(&segment.file, &segment.path)? > segment.len {
            segment.file.set_len(segment.len).map_err(failed("cut", &segment.path))?;
        }
    }
    sync_dir(dir)
}
