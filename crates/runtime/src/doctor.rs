//! `tidegate doctor`: verifies a data directory that nobody uses, and says what is wrong, where, and what to do.
//!
//! ```text
//!  files     every byte of journal, checkpoints, history, catalog       (the inspections of their rooms)
//!  declared  identity, definitions, participants, the plans in use
//!  replay    JR-1  older checkpoint + journal = newer checkpoint + journal, byte for byte
//!  live      TX-4  every branch names what will wake it; timers, locks, keys say what the transactions say
//!  finished  TX-1, TX-2, TX-3  each ended transaction once in history, nothing done and not undone
//! ```
//! Nothing is changed: the journal is opened over a `shadow`, the store's files are read by `reading`. While it looks,
//! it holds a shared lock, so that no node starts on the directory. Memory: an index of 24 bytes and a slot for each
//! live transaction of a lot of partitions ([`Settings::rows_at_once`]), their rows up to the same number, a bit for
//! each entry that history spans. Left out: repairing, and what participants really did.

mod declared;
mod files;
mod finished;
mod live;
mod reading;
mod replay;
mod report;
mod seqs;
mod shadow;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use journal::disk::{DirDisk, Disk, LOCK_FILE};
use journal::{Opened, Torn};
use rustix::fs::FlockOperation;

use report::Notebook;
pub use report::{Check, Finding, Report, Severity};
use shadow::ShadowDisk;

/// The advice where bytes are gone for good.
const RESTORE: &str = "keep a copy of the directory as it is, then restore from a backup";
/// Progress is told once for so many rows.
const TELL_EVERY: u64 = 8_192;

/// The numbers of an examination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Rows of live transactions that may be in memory at once, about a kilobyte each; default 1,000,000. Partitions
    /// are taken in lots of so many. Smaller: less memory, and the journal is read once for each lot.
    pub rows_at_once: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rows_at_once: 1_000_000 }
    }
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub doing: &'static str,
    /// Of `unit`, so far.
    pub done: u64,
    pub unit: &'static str,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum CannotLook {
    #[error(
        "{} is in use by process {}: stop it first, or examine a copy",
        .data.display(), .pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    InUse { data: PathBuf, pid: Option<u32> },
    #[error("{} is no data directory: it has no folder \"{missing}\"", .data.display())]
    NoDirectory { data: PathBuf, missing: &'static str },
    #[error("cannot look at {}: {source}", .data.display())]
    Io { data: PathBuf, source: std::io::Error },
}

/// What the checks share.
struct Doctor<'a> {
    data: PathBuf,
    settings: Settings,
    book: Notebook,
    progress: Teller<'a>,
    /// What the store's own inspection counts in history.
    records_inspected: Option<u64>,
    /// What ended before it need not be in history any more.
    history_begins_us: u64,
}

struct Teller<'a> {
    tell: &'a mut dyn FnMut(&Progress),
    at: Progress,
    told: u64,
}

impl Teller<'_> {
    fn tell(&mut self, doing: &'static str, more: u64, unit: &'static str) {
        if self.at.doing != doing {
            self.at = Progress { doing, done: 0, unit };
            self.told = 0;
            (self.tell)(&self.at);
        }
        self.at.done += more;
        if self.at.done - self.told >= TELL_EVERY {
            self.told = self.at.done;
            (self.tell)(&self.at);
        }
    }
}

impl Doctor<'_> {
    fn tell(&mut self, doing: &'static str, more: u64, unit: &'static str) {
        self.progress.tell(doing, more, unit);
    }
}

/// Examines the data directory `data`. Changes nothing in it.
///
/// # Errors
/// When a process uses it, or it is no data directory. Whatever is wrong inside is in the report.
pub fn examine(data: &Path, settings: Settings, tell: &mut dyn FnMut(&Progress)) -> Result<Report, CannotLook> {
    let started = Instant::now();
    let _lock = hold(data)?;
    let at = Progress { doing: "", done: 0, unit: "" };
    let progress = Teller { tell, at, told: 0 };
    let mut doctor = Doctor {
        data: data.to_path_buf(),
        settings,
        book: declare(),
        progress,
        records_inspected: None,
        history_begins_us: finished::begins(&data.join("history")),
    };
    let doctor_data = doctor.data.clone();
    let journal_dir = doctor_data.join("journal");

    doctor.tell("reading the catalog", 0, "changes");
    files::catalog(&mut doctor, &doctor_data.join("catalog"));
    let (identity, tables) = declared::read(&mut doctor, &doctor_data.join("catalog"));
    let partitions = identity.map_or_else(|| partitions_found(&doctor_data.join("state")), |found| found.partitions);

    doctor.tell("verifying the journal", 0, "groups");
    files::journal(&mut doctor, &journal_dir);
    doctor.tell("verifying checkpoints", 0, "rows");
    files::state(&mut doctor, &doctor_data.join("state"), partitions);
    doctor.tell("verifying history", 0, "records");
    files::history(&mut doctor, &doctor_data.join("history"));

    let opened = open(&mut doctor, &journal_dir);
    let outcomes = replay::replay(&mut doctor, opened.as_ref(), partitions, |book, tx, partition| {
        if let Some(slot) = partition.plans.get(tx.plan) {
            finished::judge(book, tx, &slot.saga, "as the journal has it");
        }
    });

    doctor.tell("checking what is live", 0, "transactions");
    let mut scopes = live::Scopes::new();
    for (id, outcome) in outcomes.iter().enumerate() {
        match &outcome.state {
            Some(state) => live::check(&mut doctor.book, state, &tables, &mut scopes),
            None => {
                for check in [live::BRANCHES, live::INDEXES, live::KEYS] {
                    doctor.book.not_done(check, format!("partition {id} could not be rebuilt"));
                }
            }
        }
    }
    let plans = declared::plans(&mut doctor, &tables, &outcomes);
    finished::check(&mut doctor, &doctor_data.join("history"), &plans, &outcomes);

    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(doctor.book.finish(doctor_data, took_ms))
}

/// All checks, in the order of the report.
fn declare() -> Notebook {
    let mut book = Notebook::default();
    book.declare(files::JOURNAL, "JR-2: every group is whole, none is missing");
    book.declare(files::CHAINS, "JR-2: every batch matches its hash and follows its predecessor");
    book.declare(files::STATE, "both checkpoints of every partition are as written");
    book.declare(files::HISTORY, "every record of history and its index are as written");
    book.declare(files::CATALOG, "every change of the catalog is as written");
    book.declare(declared::OBJECTS, "definitions and participants decode, and are what they are stored as");
    book.declare(declared::PLANS, "every plan in use is in the catalog");
    book.declare(replay::CHECKPOINTS, "checkpoints and their rows decode");
    book.declare(replay::REPLAY, "JR-1: replay from the older checkpoint gives the newer one, byte for byte");
    book.declare(live::BRANCHES, "TX-4: every branch of a live transaction names what will wake it");
    book.declare(live::INDEXES, "timers, locks and keys say what the transactions say");
    book.declare(live::KEYS, "TX-1: no idempotency key is live twice");
    book.declare(finished::RECORDS, "records of history decode, and are found by their keys");
    book.declare(finished::ONCE, "TX-1, TX-2: what has ended is in history once, and no longer live");
    book.declare(
        finished::UNDONE,
        "TX-3: what an aborted transaction may have done is compensated, or excepted by name",
    );
    book
}

/// Keeps nodes out while we look, without writing.
fn hold(data: &Path) -> Result<Option<File>, CannotLook> {
    let no = |source| CannotLook::Io { data: data.to_path_buf(), source };
    for missing in ["journal", "catalog"] {
        if !data.join(missing).is_dir() {
            return Err(CannotLook::NoDirectory { data: data.to_path_buf(), missing });
        }
    }
    let journal = data.join("journal");
    let in_use = |pid: u32| CannotLook::InUse { data: data.to_path_buf(), pid: (pid != 0).then_some(pid) };
    if let Some(pid) = DirDisk::new(&journal).locked_by().map_err(no)? {
        return Err(in_use(pid));
    }
    let file = match File::open(journal.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(no(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(0)),
        Err(error) => Err(no(error.into())),
    }
}

/// Opens the journal as a start would, over a shadow.
fn open(doctor: &mut Doctor<'_>, dir: &Path) -> Option<Opened> {
    let mut settings = journal::Settings::new(dir);
    settings.disk_bytes_max = u64::MAX / 4;
    match journal::open_on(settings, Arc::new(ShadowDisk::new(dir.to_path_buf()))) {
        Ok(opened) => {
            if let Some(Torn { bytes, .. }) = opened.recovery().torn {
                doctor.book.looked_at(replay::REPLAY, "torn bytes cut", bytes);
            }
            Some(opened)
        }
        Err(error) => {
            doctor.book.not_done(replay::REPLAY, format!("a start would not open the journal: {error}"));
            None
        }
    }
}

/// How many partitions there are by their folders, when the catalog does not say.
fn partitions_found(state: &Path) -> u16 {
    (0..model::id::PARTITIONS_MAX).take_while(|id| state.join(format!("p{id:04}")).is_dir()).count() as u16
}
