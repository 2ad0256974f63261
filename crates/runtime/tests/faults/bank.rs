//! The participants: two banks with one ledger, which remember call keys and answer badly, as the seed says.
//!
//! What happens to a call is drawn from the seed, its call key and how often that key has come, so that the same calls
//! meet the same fates in whatever order they come.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connectors::{Body, Call, NotSent, Reply};
use runtime::settings::LocalParticipants;

use crate::dice::Dice;

/// Longer than the latest effect after its answer was given up.
pub(crate) const SETTLES_MS: u64 = 60;
const LATE: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(crate) struct Bank {
    seed: u64,
    /// Answers as it should, to whatever comes.
    is_well: AtomicBool,
    /// Takes no connections.
    is_down: AtomicBool,
    pub(crate) calls: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// By call key.
    deeds: HashMap<String, Deed>,
    seen: HashMap<String, u64>,
    late: Vec<(Instant, String, Deed)>,
    /// Undone before they came.
    tombstones: HashMap<String, String>,
    wrong: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// Idempotency key of the transaction, from the path.
    pub(crate) transaction: String,
    pub(crate) step: String,
    pub(crate) is_undone: bool,
}

enum Fate {
    Well,
    /// Proof that nothing happened.
    NotSent,
    TurnedAway,
    /// No answer, and nothing happened.
    CutBefore,
    /// No answer, and it happened.
    CutAfter,
    /// No answer, and it happens later.
    Late,
    Gateway,
    Error,
}

impl Bank {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            is_well: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            books: Mutex::default(),
        })
    }

    pub(crate) fn recover(&self) {
        self.is_well.store(true, Ordering::SeqCst);
        self.is_down.store(false, Ordering::SeqCst);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn local(self: &Arc<Self>) -> LocalParticipants {
        let bank = Arc::clone(self);
        LocalParticipants(Arc::new(move |call: &Call| bank.answer(call)))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (due, waiting) = std::mem::take(&mut books.late).into_iter().partition(|(at, ..)| *at <= now);
        books.late = waiting;
        for (_, key, deed) in due {
            books.deed(key, deed);
        }
        books
    }

    /// What stands, by transaction and step; and what must never have happened.
    pub(crate) fn standing(&self) -> (BTreeMap<String, BTreeMap<String, u64>>, Vec<String>) {
        let mut books = self.books();
        for (_, key, deed) in std::mem::take(&mut books.late) {
            books.deed(key, deed);
        }
        let mut standing: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for deed in books.deeds.values() {
            let steps = standing.entry(deed.transaction.clone()).or_default();
            *steps.entry(deed.step.clone()).or_default() += u64::from(!deed.is_undone);
        }
        (standing, books.wrong.clone())
    }

    fn answer(&self, call: &Call) -> Reply {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Reply::NotSent { why: NotSent::ConnectRefused, detail: "down".into() };
        }
        let path = call.request.path_and_query.as_str();
        let body = call.request.body.as_deref().unwrap_or_default();
        let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let (key, undoes) = (parsed["external_id"].as_str().unwrap_or_default(), parsed["undoes"].as_str());
        let ["", step, transaction] = path.split('/').collect::<Vec<_>>()[..] else {
            return answered(400, r#"{"error":"no such path"}"#);
        };
        let mut books = self.books();
        if key.is_empty() {
            books.wrong.push(format!("call {n} to {path} has no call key"));
        }
        let came = books.seen.entry(key.to_owned()).or_default();
        *came += 1;
        let fate = if self.is_well.load(Ordering::SeqCst) { Fate::Well } else { fate(self.seed, key, *came) };
        let mut act = |at: Option<Instant>| match undoes {
            Some(undoes) => books.undo(undoes),
            None if transaction.ends_with("refused") && step == "credit" => false,
            None => {
                let deed = Deed { transaction: transaction.to_owned(), step: step.to_owned(), is_undone: false };
                match at {
                    Some(at) => books.late.push((at, key.to_owned(), deed)),
                    None => books.deed(key.to_owned(), deed),
                }
                true
            }
        };
        match fate {
            Fate::Well if act(None) => answered(200, r#"{"id":"d1"}"#),
            Fate::Well => answered(409, r#"{"error":"refused"}"#),
            Fate::NotSent => Reply::NotSent { why: NotSent::ConnectRefused, detail: "down".into() },
            Fate::TurnedAway => Reply::Answered {
                status: 503,
                retry_after: Some(Duration::from_millis(1)),
                headers: Vec::new(),
                body: Body::Empty,
            },
            Fate::CutBefore => Reply::Cut { detail: "cut before".into() },
            Fate::CutAfter => {
                act(None);
                Reply::Cut { detail: "cut after".into() }
            }
            Fate::Late => {
                act(Some(Instant::now() + LATE));
                Reply::Cut { detail: "late".into() }
            }
            Fate::Gateway => {
                act(None);
                answered(503, "{}")
            }
            Fate::Error => answered(500, "{}"),
        }
    }
}

fn fate(seed: u64, key: &str, came: u64) -> Fate {
    match Dice::new(seed.wrapping_add(came << 32), key).below(100) {
        0..4 => Fate::NotSent,
        4..7 => Fate::TurnedAway,
        7..11 => Fate::CutBefore,
        11..15 => Fate::CutAfter,
        15..18 => Fate::Late,
        18..20 => Fate::Gateway,
        20..23 => Fate::Error,
        _ => Fate::Well,
    }
}

fn answered(status: u16, body: &str) -> Reply {
    let body = model::json::parse(body.as_bytes()).map_or(Body::Empty, Body::Json);
    Reply::Answered { status, retry_after: None, headers: Vec::new(), body }
}

impl Books {
    /// Once for each call key.
    fn deed(&mut self, key: String, deed: Deed) {
        if let Some(undone_by) = self.tombstones.get(&key) {
            self.wrong.push(format!("{} of {} came after its undo {undone_by}", deed.step, deed.transaction));
        }
        self.deeds.entry(key).or_insert(deed);
    }

    fn undo(&mut self, key: &str) -> bool {
        match self.deeds.get_mut(key) {
            Some(deed) => deed.is_undone = true,
            None => drop(self.tombstones.insert(key.to_owned(), "that found nothing".to_owned())),
        }
        true
    }
}
