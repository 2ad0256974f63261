//! Reading every byte of the history without changing one.

use std::path::Path;

use super::segment::{self, Gap};
use super::side::{self, Side};
use crate::durable::{failed, names_in};
use crate::file::File;
use crate::{Error, Inspection, Severity};

/// Verifies the history in `dir`: every record of every segment, every page of every side file, and that the two
/// agree. Fails only when the directory cannot be listed or a file cannot be read at all.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    let names = names_in(dir)?;
    let mut report = Inspection::default();
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment::id_of(name)).collect();
    ids.sort_unstable();
    for id in &ids {
        segment_and_side(dir, *id, &mut report)?;
    }
    for name in &names {
        let path = dir.join(name);
        let is_side = name.ends_with(".idx");
        let orphan = is_side && !ids.iter().any(|id| side::file_name(*id) == *name);
        if orphan {
            report.note(Severity::Leftover, &path, 0, "a side file without its segment");
        } else if !is_side && segment::id_of(name).is_none() {
            report.note(Severity::Leftover, &path, 0, "not a file of the history");
        }
    }
    Ok(report)
}

fn segment_and_side(dir: &Path, id: u32, report: &mut Inspection) -> Result<(), Error> {
    let path = dir.join(segment::file_name(id));
    let file = File::open(&path).map_err(failed("open", &path))?;
    report.files += 1;
    let mut ids_sum = 0u128;
    let scanned = match segment::scan(&file, &path, id, |record, _, _| ids_sum = ids_sum.wrapping_add(record.id)) {
        Ok(scanned) => scanned,
        Err(Error::Damaged { path, offset, what }) => {
            report.note(Severity::Loss, &path, offset, what);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    report.bytes += scanned.file_len;
    report.items += scanned.records;
    let has_side = dir.join(side::file_name(id)).exists();
    for Gap { at, len, .. } in &scanned.gaps {
        let durable = has_side || *at < scanned.durable_through;
        let severity = if durable { Severity::Loss } else { Severity::Leftover };
        report.note(severity, &path, *at, format!("{len} bytes of records do not verify"));
    }
    if scanned.end < scanned.file_len {
        let severity = if has_side { Severity::Loss } else { Severity::Leftover };
        let bytes = scanned.file_len - scanned.end;
        report.note(severity, &path, scanned.end, format!("{bytes} bytes at the end do not verify"));
    }
    if !has_side {
        return Ok(());
    }
    report.files += 1;
    let mut summed = 0u128;
    let checked = Side::open(dir, id).and_then(|side| {
        side.verify()?;
        side.for_each_summary(|summary| summed = summed.wrapping_add(summary.id))?;
        Ok(side)
    });
    match checked {
        Ok(side) => {
            report.bytes += side.path.metadata().map_or(0, |meta| meta.len());
            if scanned.gaps.is_empty() && (side.records() != scanned.records || summed != ids_sum) {
                let what = format!("it lists {} records, its segment has {}", side.records(), scanned.records);
                report.note(Severity::Repairable, &side.path, 0, what);
            }
        }
        Err(Error::Damaged { path, offset, what }) => report.note(Severity::Repairable, &path, offset, what),
        Err(other) => return Err(other),
    }
    Ok(())
}
