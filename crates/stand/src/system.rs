//! One system at work: its book, its mood, its size and its counters.
//!
//! The path of one call: what it meets (faults) → a server of its own (capacity) → the wait → the book → the ledger →
//! what is left of the answer. Nothing here knows sockets; a cut is a verdict that `server` carries out.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use tokio::sync::watch;

use crate::book::memory::digest_of_answer;
use crate::book::{Answer, Book, Call, Came};
use crate::capacity::{Capacity, Counter};
use crate::chance::Chance;
use crate::fault::{CutWhen, Fault, Meets, Mood, Temper};
use crate::ledger::{Ledger, Row};
use crate::settings::{Idempotency, SystemSpec};

/// How long a hung call is kept at most; it is let go earlier when the system's faults change.
const HANG_MAX: Duration = Duration::from_secs(600);

/// Calls that one system keeps, those included whose caller has gone; the next one is answered 503.
const IN_FLIGHT_MAX: usize = 100_000;

pub(crate) struct System {
    pub(crate) name: String,
    key_header: Option<HeaderName>,
    book: Mutex<Book>,
    mood: RwLock<Mood>,
    capacity: RwLock<Arc<Counter>>,
    ledger: Option<Arc<Ledger>>,
    chance: Chance,
    /// No fault, no capacity, no ledger: a call may be answered on the spot.
    plain: AtomicBool,
    down: watch::Sender<bool>,
    /// Told whenever a fault is set or passes.
    changes: watch::Sender<()>,
    /// Own listeners that are open now, over all threads.
    pub(crate) open_doors: AtomicUsize,
    pub(crate) counts: Counts,
}

/// Since the start, or since the last reset.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) in_flight: AtomicUsize,
    pub(crate) in_flight_max: AtomicUsize,
    pub(crate) working: AtomicUsize,
    pub(crate) working_max: AtomicUsize,
    pub(crate) requests: AtomicU64,
    pub(crate) effects: AtomicU64,
    pub(crate) repeats: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// A request, read whole.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Without the system's name and the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Fate {
    Answered {
        answer: Answer,
        repeat: bool,
        retry_after_s: Option<u32>,
    },
    /// Half of the answer, then the connection ends.
    Torn {
        answer: Answer,
    },
    /// The connection ends.
    Cut,
}

impl Fate {
    fn answer(answer: Answer) -> Self {
        Self::Answered { answer, repeat: false, retry_after_s: None }
    }
}

/// In flight from its making to its drop, with the highest number seen kept.
pub(crate) struct Flight {
    system: Arc<System>,
    pick: fn(&Counts) -> &AtomicUsize,
}

impl Flight {
    fn new(system: &Arc<System>, pick: fn(&Counts) -> &AtomicUsize, max: fn(&Counts) -> &AtomicUsize) -> Self {
        let now = pick(&system.counts).fetch_add(1, Ordering::Relaxed) + 1;
        max(&system.counts).fetch_max(now, Ordering::Relaxed);
        Self { system: Arc::clone(system), pick }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        (self.pick)(&self.system.counts).fetch_sub(1, Ordering::Relaxed);
    }
}

impl System {
    pub(crate) fn new(spec: &SystemSpec, ledger: Option<Arc<Ledger>>, seed: u64) -> Self {
        let key_header = match &spec.idempotency {
            Idempotency::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok(),
            Idempotency::Body(_) | Idempotency::None => None,
        };
        let system = Self {
            name: spec.name.clone(),
            key_header,
            book: Mutex::new(Book::new(spec)),
            mood: RwLock::new(Mood::new(spec.temper.clone())),
            capacity: RwLock::new(Arc::new(Counter::new(spec.capacity.clone()))),
            ledger,
            chance: Chance::new(seed, &spec.name),
            plain: AtomicBool::new(false),
            down: watch::Sender::new(false),
            changes: watch::Sender::new(()),
            open_doors: AtomicUsize::new(0),
            counts: Counts::default(),
        };
        system.look_around();
        system
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mood(&self) -> Mood {
        self.mood.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn capacity(&self) -> Arc<Counter> {
        Arc::clone(&self.capacity.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_temper(&self, temper: Temper) {
        *self.mood.write().unwrap_or_else(PoisonError::into_inner) = Mood::new(temper);
        self.look_around();
        self.changes.send_replace(());
    }

    /// Calls in flight keep the size they began with.
    pub(crate) fn set_capacity(&self, capacity: Capacity) {
        *self.capacity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Counter::new(capacity));
        self.look_around();
    }

    pub(crate) fn down(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }

    /// Notices what time has changed: rules that have passed, doors that must open again.
    pub(crate) fn look_around(&self) {
        let (well, down, passed) = {
            let mut mood = self.mood.write().unwrap_or_else(PoisonError::into_inner);
            let since = mood.since.elapsed();
            let before = mood.temper.rules.len();
            mood.temper.rules.retain(|rule| rule.lasts.is_none_or(|lasts| since < lasts));
            (mood.temper.is_well(since), mood.temper.is_down(since), mood.temper.rules.len() < before)
        };
        let plain = well && self.ledger.is_none() && self.capacity().size.is_boundless();
        self.plain.store(plain, Ordering::Release);
        self.down.send_if_modified(|now| std::mem::replace(now, down) != down);
        if passed {
            self.changes.send_replace(());
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.plain.load(Ordering::Acquire)
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Flight {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        Flight::new(self, |counts| &counts.in_flight, |counts| &counts.in_flight_max)
    }

    /// Answers on the spot. Only while `is_plain`.
    pub(crate) fn answer_plainly(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Fate {
        let result = self.book().perform(&Call {
            at_us: now_us(),
            method,
            path,
            body,
            header_key: self.key_of(headers),
            compensates: compensates(headers),
            forget_us: None,
            detail: false,
        });
        self.count(result.came);
        Fate::Answered { repeat: result.came == Came::Repeat, answer: result.answer, retry_after_s: None }
    }

    /// The whole path of a call, as slow and as wrong as the system is now.
    /// The effect does not depend on the caller still being there: run it apart from the connection.
    pub(crate) async fn answer(self: Arc<Self>, request: Request) -> Fate {
        let arrived = Instant::now();
        if self.counts.in_flight.load(Ordering::Relaxed) > IN_FLIGHT_MAX {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            return busy(503, Some(1));
        }
        let kind = self.book().kind(&request.method, &request.path, compensates(&request.headers));
        let meets = {
            let mood = self.mood.read().unwrap_or_else(PoisonError::into_inner);
            mood.temper.draw(kind, mood.since.elapsed(), &self.chance)
        };
        if meets != Meets::default() {
            self.counts.faults.fetch_add(1, Ordering::Relaxed);
        }
        match meets.ending {
            Some(Fault::Down) => return Fate::Cut,
            Some(Fault::Unauthorized) => {
                return Fate::answer(Answer::fixed(401, r#"{"error":"the token is not accepted"}"#));
            }
            Some(Fault::Busy { status, retry_after_s }) => return busy(status, Some(retry_after_s)),
            _ => {}
        }

        let capacity = self.capacity();
        let Ok((server, takes)) = capacity.enter(&self.chance).await else {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            return busy(capacity.size.overload.status, capacity.size.overload.retry_after_s);
        };
        let working = Flight::new(&self, |counts| &counts.working, |counts| &counts.working_max);
        let takes = takes + meets.slow;
        if takes > Duration::ZERO {
            tokio::time::sleep(takes).await;
        }
        let fate = match meets.ending {
            Some(Fault::Errors { status }) => Fate::answer(Answer::fixed(status, r#"{"error":"internal"}"#)),
            Some(Fault::Refuse) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                Fate::answer(self.book().refusal())
            }
            Some(Fault::Hang) => {
                let mut changes = self.changes.subscribe();
                let _ = tokio::time::timeout(HANG_MAX, changes.changed()).await;
                Fate::Cut
            }
            Some(Fault::Cut { when: CutWhen::Before }) => Fate::Cut,
            Some(Fault::Late { by }) => {
                tokio::time::sleep(by.saturating_sub(arrived.elapsed())).await;
                self.effect(&request, meets).await
            }
            _ if *self.down.borrow() => Fate::Cut,
            _ => self.effect(&request, meets).await,
        };
        drop((server, working));
        fate
    }

    /// The book, then the ledger, then what the fault leaves of the answer.
    async fn effect(&self, request: &Request, meets: Meets) -> Fate {
        let answered = !matches!(meets.ending, Some(Fault::Lost | Fault::Cut { when: CutWhen::After | CutWhen::Mid }));
        let (result, seq) = {
            let mut book = self.book();
            // Asked under the same lock that orders the rows, so that no effect is without one.
            if self.ledger.as_ref().is_some_and(|ledger| !ledger.has_room()) {
                return busy(503, Some(1));
            }
            let at_us = now_us();
            let key = self.key_of(&request.headers);
            let forget_us = meets.forget.map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
            let result = book.perform(&Call {
                at_us,
                method: &request.method,
                path: &request.path,
                body: &request.body,
                header_key: key,
                compensates: compensates(&request.headers),
                forget_us,
                detail: self.ledger.is_some(),
            });
            let seq = self.ledger.as_ref().map(|ledger| {
                let text = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
                ledger.put(Row {
                    seq: 0,
                    at_us,
                    system: self.name.clone(),
                    tx: text("tidegate-transaction"),
                    step: text("tidegate-step"),
                    direction: text("tidegate-direction"),
                    attempt: text("tidegate-attempt").and_then(|n| n.parse().ok()),
                    call_key: result.key.clone().or_else(|| key.map(str::to_owned)),
                    kind: result.kind.as_str().to_owned(),
                    came: result.came.as_str().to_owned(),
                    amount_minor: result.amount_minor,
                    account: result.account.clone(),
                    undoes_key: result.undoes_key.clone(),
                    status_answered: if meets.ending == Some(Fault::Gateway) { 503 } else { result.answer.status },
                    answered,
                    method: request.method.as_str().to_owned(),
                    path: request.path.clone(),
                    body: request.body.to_vec(),
                    forget_us,
                    answer_digest: digest_of_answer(&result.answer),
                })
            });
            (result, seq)
        };
        if let (Some(ledger), Some(seq)) = (&self.ledger, seq)
            && ledger.settled(seq).await.is_err()
        {
            return Fate::Cut;
        }
        self.count(result.came);
        match meets.ending {
            Some(Fault::Gateway) => Fate::answer(Answer::fixed(503, r#"{"error":"upstream reset"}"#)),
            Some(Fault::Lost | Fault::Cut { when: CutWhen::After }) => Fate::Cut,
            Some(Fault::Cut { when: CutWhen::Mid }) => Fate::Torn { answer: result.answer },
            _ => Fate::Answered { repeat: result.came == Came::Repeat, answer: result.answer, retry_after_s: None },
        }
    }

    /// Plays a row of an earlier life into the book. `false`: the book answers otherwise than it did then.
    pub(crate) fn replay(&self, row: &Row) -> bool {
        let Ok(method) = Method::from_bytes(row.method.as_bytes()) else { return false };
        let result = self.book().perform(&Call {
            at_us: row.at_us,
            method: &method,
            path: &row.path,
            body: &row.body,
            header_key: if self.key_header.is_some() { row.call_key.as_deref() } else { None },
            compensates: row.direction.as_deref() == Some("compensate"),
            forget_us: row.forget_us,
            detail: true,
        });
        digest_of_answer(&result.answer) == row.answer_digest
    }

    fn count(&self, came: Came) {
        let counter = match came {
            Came::Effect => &self.counts.effects,
            Came::Repeat => &self.counts.repeats,
            Came::Refused => &self.counts.refused,
            Came::Nothing | Came::Read => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn key_of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let value = headers.get(self.key_header.as_ref()?)?.to_str().ok()?;
        // With or without the quotes of the IETF draft.
        Some(value.trim_matches('"'))
    }
}

/// Whether the caller names the call an undo.
fn compensates(headers: &HeaderMap) -> bool {
    headers.get("tidegate-direction").is_some_and(|value| value == "compensate")
}

fn busy(status: u16, retry_after_s: Option<u32>) -> Fate {
    Fate::Answered { answer: Answer::fixed(status, r#"{"error":"busy"}"#), repeat: false, retry_after_s }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System").field("name", &self.name).finish_non_exhaustive()
    }
}
