//! Reading every byte of a partition's rows without changing one.

use std::collections::BTreeSet;
use std::path::Path;

use super::manifest::{self, Manifest};
use super::segment::{self, Kind};
use crate::durable::{len_of, names_in};
use crate::file::File;
use crate::{Error, Inspection, Severity};

/// Verifies both kept checkpoints of the state log in `dir`. Fails only when the directory itself cannot be listed.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    let names = names_in(dir)?;
    let mut report = Inspection::default();
    let mut generations: Vec<u64> = names.iter().filter_map(|name| manifest::generation_of(name)).collect();
    generations.sort_unstable();
    let newest = generations.last().copied();
    let mut named = BTreeSet::new();
    let mut whole = 0;
    let mut damages = Vec::new();
    for generation in generations {
        let path = dir.join(manifest::file_name(generation));
        report.files += 1;
        match Manifest::read(&path).and_then(|manifest| {
            named.extend(manifest.segments.iter().map(|part| part.id));
            report.bytes += manifest.encode().len() as u64;
            verify(dir, &manifest)
        }) {
            Ok(rows) => {
                whole += 1;
                if Some(generation) == newest {
                    report.items = rows;
                }
            }
            Err(error) => damages.push((path, error)),
        }
    }
    // One whole checkpoint is enough to start from, as long as the journal reaches back to it.
    let severity = if whole > 0 { Severity::Repairable } else { Severity::Loss };
    for (manifest, error) in damages {
        match error {
            Error::Damaged { path, offset, what } => report.note(severity, &path, offset, what),
            other => report.note(severity, &manifest, 0, other.to_string()),
        }
    }
    for name in &names {
        let path = dir.join(name);
        match segment::id_of(name) {
            Some(id) => {
                report.files += 1;
                report.bytes += path.metadata().map_or(0, |meta| meta.len());
                if !named.contains(&id) {
                    report.note(Severity::Leftover, &path, 0, "no checkpoint names this segment");
                }
            }
            None if manifest::generation_of(name).is_none() => {
                report.note(Severity::Leftover, &path, 0, "left over from an interrupted or damaged checkpoint");
            }
            None => {}
        }
    }
    Ok(report)
}

fn verify(dir: &Path, manifest: &Manifest) -> Result<u64, Error> {
    let mut live = hashbrown::HashSet::new();
    for part in &manifest.segments {
        let path = dir.join(segment::file_name(part.id));
        let file = File::open(&path).map_err(|error| Error::damaged(&path, 0, format!("cannot be opened: {error}")))?;
        let len = len_of(&file, &path)?;
        if len < part.len {
            return Err(Error::damaged(&path, len, format!("ends here and should have {} bytes", part.len)));
        }
        let scanned = segment::scan(&file, &path, part.id, part.len, |_, record| {
            match record.kind {
                Kind::Put(_) => live.insert(record.key),
                Kind::Delete => live.remove(&record.key),
            };
        })?;
        if scanned.chain != part.chain {
            return Err(Error::damaged(&path, 0, "its sections are whole but not those of this checkpoint"));
        }
    }
    Ok(live.len() as u64)
}
