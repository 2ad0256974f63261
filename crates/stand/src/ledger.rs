//! What really happened at the systems: one row for every call that reached a book, in SQLite.
//!
//! A writer thread commits whatever has gathered since its last commit, so thousands of effects share one
//! transaction. A row's seq is given when it is put; `committed` follows it in order. The table holds the calls
//! themselves too, so a new process can play them into its books and go on.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::watch;

use crate::settings::{Durability, LedgerSettings};

/// Rows that may wait for the writer; a call that finds the ledger full is answered 503 before any effect.
const WAITING_MAX: usize = 100_000;
/// Rows of one SQLite transaction.
const COMMIT_MAX: usize = 8_192;

/// One call that reached a system's book.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Row {
    /// From 1, without gaps.
    pub seq: u64,
    /// Microseconds since 1970.
    pub at_us: u64,
    pub system: String,
    /// `Tidegate-Transaction`.
    pub tx: Option<String>,
    /// `Tidegate-Step`.
    pub step: Option<String>,
    /// `Tidegate-Direction`: `call` or `compensate`.
    pub direction: Option<String>,
    /// `Tidegate-Attempt`.
    pub attempt: Option<u32>,
    pub call_key: Option<String>,
    /// `do`, `undo` or `read`.
    pub kind: String,
    /// `effect`, `repeat`, `refused`, `nothing` or `read`.
    pub came: String,
    /// Signed, so that a system's rows add up to what it moved: a charge and a credit are above 0, a debit below,
    /// an undo the negative of what it takes back.
    pub amount_minor: Option<i64>,
    pub account: Option<String>,
    /// The call key that this one takes back.
    pub undoes_key: Option<String>,
    pub status_answered: u16,
    /// Whether an answer was meant to leave (a fault may have swallowed it).
    pub answered: bool,
    pub method: String,
    pub path: String,
    #[serde(skip)]
    pub body: Vec<u8>,
    /// The book was told to forget keys older than this for the call.
    pub forget_us: Option<u64>,
    /// The digest of the answer, to notice when a replay would answer otherwise.
    #[serde(skip)]
    pub answer_digest: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the ledger {path}: {source}")]
    Sqlite { path: String, source: rusqlite::Error },
    #[error("the ledger's writer stopped: {0}")]
    Stopped(String),
}

/// The writing side. Dropping it commits what was put and ends the writer.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    committed: watch::Receiver<u64>,
    waits: bool,
    writer: Mutex<Option<JoinHandle<()>>>,
    pub(crate) path: std::path::PathBuf,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug)]
struct State {
    next_seq: u64,
    waiting: Vec<Row>,
    closing: bool,
    failed: Option<String>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Opens or makes the file and starts the writer. Rows of an earlier life: `rows`.
    pub(crate) fn open(settings: &LedgerSettings) -> Result<Self, Error> {
        let path = settings.path.clone();
        let failed = |source| Error::Sqlite { path: path.display().to_string(), source };
        let db = Connection::open(&path).map_err(failed)?;
        prepare(&db, settings.durability).map_err(failed)?;
        let last: u64 = db
            .query_row("SELECT coalesce(max(seq), 0) FROM effects", [], |row| row.get::<_, i64>(0))
            .map_err(failed)?
            .cast_unsigned();
        let (committing, committed) = watch::channel(last);
        let state = State { next_seq: last + 1, waiting: Vec::new(), closing: false, failed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), more: Condvar::new() });
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("stand-ledger".to_owned())
                .spawn(move || write(db, &shared, &committing))
                .map_err(|why| Error::Stopped(why.to_string()))?
        };
        let waits = settings.durability != Durability::Later;
        Ok(Self { shared, committed, waits, writer: Mutex::new(Some(writer)), path })
    }

    /// Whether another row may be put. Asked before the effect.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.shared.lock();
        state.waiting.len() < WAITING_MAX && state.failed.is_none() && !state.closing
    }

    /// Takes a row into the next commit and gives it its seq.
    pub(crate) fn put(&self, mut row: Row) -> u64 {
        let mut state = self.shared.lock();
        let seq = state.next_seq;
        state.next_seq += 1;
        row.seq = seq;
        state.waiting.push(row);
        if state.waiting.len() == 1 {
            self.shared.more.notify_one();
        }
        seq
    }

    /// Waits until `seq` is committed; at once if answers do not wait for the ledger.
    pub(crate) async fn settled(&self, seq: u64) -> Result<(), Error> {
        if !self.waits {
            return Ok(());
        }
        self.committed(seq).await
    }

    /// Waits until `seq` is committed.
    pub(crate) async fn committed(&self, seq: u64) -> Result<(), Error> {
        let mut committed = self.committed.clone();
        match committed.wait_for(|done| *done >= seq).await {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Error::Stopped(self.shared.lock().failed.clone().unwrap_or_else(|| "it was closed".to_owned())))
            }
        }
    }

    /// The seq of the last row put.
    pub(crate) fn last_seq(&self) -> u64 {
        self.shared.lock().next_seq - 1
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.more.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }
}

fn write(mut db: Connection, shared: &Shared, committing: &watch::Sender<u64>) {
    loop {
        let (rows, closing) = {
            let mut state = shared.lock();
            while state.waiting.is_empty() && !state.closing {
                state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let many = state.waiting.len().min(COMMIT_MAX);
            let rest = state.waiting.split_off(many);
            (std::mem::replace(&mut state.waiting, rest), state.closing)
        };
        let Some(last) = rows.last().map(|row| row.seq) else {
            if closing {
                return;
            }
            continue;
        };
        if let Err(why) = insert(&mut db, &rows) {
            tracing::error!(%why, "the ledger cannot be written; no further call is answered");
            shared.lock().failed = Some(why.to_string());
            // Dropping the sender wakes everybody who waits for a commit.
            return;
        }
        committing.send_replace(last);
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS effects (
        seq INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, system TEXT NOT NULL, tx TEXT, step TEXT, direction TEXT,
        attempt INTEGER, call_key TEXT, kind TEXT NOT NULL, came TEXT NOT NULL, amount_minor INTEGER, account TEXT,
        undoes_key TEXT, status_answered INTEGER NOT NULL, answered INTEGER NOT NULL, method TEXT NOT NULL,
        path TEXT NOT NULL, body BLOB NOT NULL, forget_us INTEGER, answer_digest INTEGER NOT NULL
    ) STRICT;
";
const COLUMNS: &str = "seq, at_us, system, tx, step, direction, attempt, call_key, kind, came, amount_minor, account, \
                       undoes_key, status_answered, answered, method, path, body, forget_us, answer_digest";

fn prepare(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = if durability == Durability::Power { "FULL" } else { "NORMAL" };
    db.pragma_update(None, "synchronous", synchronous)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.execute_batch(SCHEMA)
}

fn insert(db: &mut Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    {
        let sql = format!(
            "INSERT INTO effects ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)"
        );
        let mut statement = tx.prepare_cached(&sql)?;
        for row in rows {
            statement.execute(params![
                row.seq.cast_signed(),
                row.at_us.cast_signed(),
                row.system,
                row.tx,
                row.step,
                row.direction,
                row.attempt,
                row.call_key,
                row.kind,
                row.came,
                row.amount_minor,
                row.account,
                row.undoes_key,
                row.status_answered,
                row.answered,
                row.method,
                row.path,
                row.body,
                row.forget_us.map(u64::cast_signed),
                row.answer_digest.cast_signed(),
            ])?;
        }
    }
    tx.commit()
}

/// In which order rows are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    BySeq,
    /// By transaction, rows without one first; by seq within one.
    ByTransaction,
}

/// Calls `each` for the rows after seq `after`, until it says stop or `limit` rows were read.
/// Reads what is committed, also while a stand is writing.
pub(crate) fn rows(
    path: &Path,
    order: Order,
    after: u64,
    limit: u64,
    mut each: impl FnMut(Row) -> std::ops::ControlFlow<()>,
) -> Result<(), Error> {
    let failed = |source| Error::Sqlite { path: path.display().to_string(), source };
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let order = match order {
        Order::BySeq => "seq",
        Order::ByTransaction => "tx, seq",
    };
    let sql = format!("SELECT {COLUMNS} FROM effects WHERE seq > ?1 ORDER BY {order} LIMIT ?2");
    let mut statement = db.prepare(&sql).map_err(failed)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = statement.query(params![after.cast_signed(), limit]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        if each(read(row).map_err(failed)?).is_break() {
            break;
        }
    }
    Ok(())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        at_us: row.get::<_, i64>(1)?.cast_unsigned(),
        system: row.get(2)?,
        tx: row.get(3)?,
        step: row.get(4)?,
        direction: row.get(5)?,
        attempt: row.get(6)?,
        call_key: row.get(7)?,
        kind: row.get(8)?,
        came: row.get(9)?,
        amount_minor: row.get(10)?,
        account: row.get(11)?,
        undoes_key: row.get(12)?,
        status_answered: row.get(13)?,
        answered: row.get(14)?,
        method: row.get(15)?,
        path: row.get(16)?,
        body: row.get(17)?,
        forget_us: row.get::<_, Option<i64>>(18)?.map(i64::cast_unsigned),
        answer_digest: row.get::<_, i64>(19)?.cast_unsigned(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn all(path: &Path) -> Vec<Row> {
        let mut all = Vec::new();
        rows(path, Order::BySeq, 0, u64::MAX, |row| {
            all.push(row);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        all
    }

    fn row(system: &str) -> Row {
        Row { system: system.to_owned(), kind: "do".to_owned(), came: "effect".to_owned(), ..Row::default() }
    }

    #[tokio::test]
    async fn what_is_settled_can_be_read_while_the_writer_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&LedgerSettings::at(&path)).unwrap();
        let mut last = 0;
        for _ in 0..20_000 {
            last = ledger.put(row("billing"));
        }
        ledger.settled(last).await.unwrap();
        assert_eq!(all(&path).len(), 20_000);
        assert_eq!(all(&path).iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=20_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_second_life_goes_on_with_the_next_seq_and_a_clean_end_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let settings = LedgerSettings { path: dir.path().join("ledger.db"), durability: Durability::Later };
        let mut full = row("mnp");
        full.seq = 1;
        full.tx = Some("tx_1".to_owned());
        full.amount_minor = Some(-5);
        full.answer_digest = u64::MAX;
        full.forget_us = Some(0);
        full.body = vec![0, 255];
        let ledger = Ledger::open(&settings).unwrap();
        ledger.put(full.clone());
        drop(ledger);
        let ledger = Ledger::open(&settings).unwrap();
        assert_eq!(ledger.put(row("sms")), 2);
        drop(ledger);
        let rows = all(&settings.path);
        assert_eq!((rows.len(), &rows[0]), (2, &full));
    }

    #[tokio::test]
    async fn a_ledger_that_fails_answers_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&LedgerSettings::at(&path)).unwrap();
        Connection::open(&path).unwrap().execute_batch("DROP TABLE effects").unwrap();
        let seq = ledger.put(row("billing"));
        let why = ledger.settled(seq).await.unwrap_err().to_string();
        assert!(why.contains("no such table"), "{why}");
        assert!(!ledger.has_room());
    }
}
