//! Bytes: every file of the journal, the checkpoints, history and the catalog, by the inspections of their own rooms.
//!
//! Left out: what the bytes mean (`replay`, `live`, `finished`).

use std::path::Path;

use journal::{Damage, DamageKind, Place};
use store::{Inspection, Severity};

use super::{Doctor, RESTORE};

pub(super) const JOURNAL: &str = "journal.files";
pub(super) const CHAINS: &str = "journal.chains";
pub(super) const STATE: &str = "state.files";
pub(super) const HISTORY: &str = "history.files";
pub(super) const CATALOG: &str = "catalog.files";

/// Groups, hashes and chains of the journal.
pub(super) fn journal(doctor: &mut Doctor<'_>, dir: &Path) {
    let seen = match journal::inspect::inspect(dir) {
        Ok(seen) => seen,
        Err(error) => {
            doctor.book.wrong(JOURNAL, dir.display().to_string(), error.to_string(), RESTORE);
            return doctor.book.not_done(CHAINS, "the journal's files cannot be read");
        }
    };
    let book = &mut doctor.book;
    for file in &seen.files {
        book.looked_at(JOURNAL, "files", 1);
        book.looked_at(JOURNAL, "bytes", file.used_bytes);
        book.looked_at(JOURNAL, "groups", file.groups);
        book.looked_at(JOURNAL, "seals", file.seals);
        book.looked_at(CHAINS, "batches", file.batches);
    }
    book.looked_at(CHAINS, "partitions", seen.partitions.len() as u64);
    for damage in &seen.damage {
        let (check, advice) = match &damage.kind {
            DamageKind::Filling => (JOURNAL, "nothing is lost; the disk changed bytes by itself, so look at the disk"),
            DamageKind::BatchHash { .. } | DamageKind::Chain { .. } => {
                (CHAINS, "this partition starts frozen, the others run: restore from a backup")
            }
            _ => (JOURNAL, RESTORE),
        };
        let file = match damage.place {
            Place::Segment { segment, .. } => seen.files.iter().find(|f| f.segment == segment && f.side_of.is_none()),
            Place::Side { partition, .. } => seen.files.iter().find(|f| f.side_of == Some(partition)),
        };
        let name = file.map_or_else(String::new, |file| format!("{}: ", dir.join(&file.name).display()));
        book.wrong(check, format!("{name}{}", damage.place), said(damage), advice);
    }
    if let Some(torn) = seen.torn {
        book.note(
            JOURNAL,
            format!("{}, {}", dir.display(), torn.place),
            format!("the last write, group {}, was cut short by a crash ({} bytes)", torn.group, torn.bytes),
            "nothing: it was never acknowledged, and the next start cuts it",
        );
    }
    if let Some(failed) = seen.failed {
        let what = format!("the last process noted that a write or sync failed: {}", failed.trim());
        book.note(JOURNAL, dir.display().to_string(), what, "look at the disk; the next start secures the end again");
    }
}

/// A damage without its place.
pub(super) fn said(damage: &Damage) -> String {
    let batch = damage.batch.map_or_else(String::new, |n| format!(", batch {n}"));
    format!("group {}{batch}: {}", damage.group, damage.kind)
}

/// Both checkpoints of every partition.
pub(super) fn state(doctor: &mut Doctor<'_>, dir: &Path, partitions: u16) {
    for id in 0..partitions {
        let dir = dir.join(format!("p{id:04}"));
        if dir.exists() {
            room(doctor, STATE, "rows", store::statelog::inspect(&dir), &dir);
        }
    }
}

pub(super) fn history(doctor: &mut Doctor<'_>, dir: &Path) {
    let found = store::history::inspect(dir);
    doctor.records_inspected = found.as_ref().ok().map(|found| found.items);
    room(doctor, HISTORY, "records", found, dir);
}

pub(super) fn catalog(doctor: &mut Doctor<'_>, dir: &Path) {
    room(doctor, CATALOG, "objects", store::catalog::inspect(dir), dir);
}

fn room(
    doctor: &mut Doctor<'_>,
    check: &'static str,
    items: &'static str,
    found: Result<Inspection, store::Error>,
    dir: &Path,
) {
    let book = &mut doctor.book;
    let found = match found {
        Ok(found) => found,
        Err(error) => return book.wrong(check, dir.display().to_string(), error.to_string(), RESTORE),
    };
    book.looked_at(check, "files", found.files);
    book.looked_at(check, "bytes", found.bytes);
    book.looked_at(check, items, found.items);
    for finding in found.findings {
        let place = format!("{}, byte {}", finding.path.display(), finding.offset);
        match finding.severity {
            Severity::Leftover => book.note(check, place, finding.what, "nothing: the next start clears it away"),
            Severity::Repairable => {
                book.wrong(check, place, finding.what, "the next start repairs it from what is whole; look at the disk")
            }
            Severity::Loss => book.wrong(check, place, finding.what, RESTORE),
        }
    }
}
