//! The clients: each submits, repeats until it is acknowledged, remembers the acknowledgement, and acts on it.
//!
//! What they remember is the truth that the engine is judged by: an acknowledgement is a promise. They never look
//! inside; a broken promise that they see themselves (another id for a repeat, a 404 for what was acknowledged) is
//! noted as wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use tokio::sync::Semaphore;

use super::ask::{Ask, Asker, Reply};
use super::traffic::{Arrival, Decision, Kind, Order};

/// Submissions under way at once; the next arrival waits for one of them.
const UNDER_WAY_MAX: usize = 256;
/// A client gives up on an acknowledgement after this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries while the engine is dead.
const PAUSE: Duration = Duration::from_millis(50);
/// What is wrong is kept with its words up to here, and counted beyond.
const WRONG_SHOWN_MAX: usize = 50;

/// What the engine promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) id: String,
    pub(crate) kind: Kind,
}

/// What the clients met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Tries of submissions that got no answer; each was repeated under its key.
    pub(crate) unanswered: Cell<u64>,
    /// Tries that were answered 429 or 503.
    pub(crate) shed: Cell<u64>,
    /// First acknowledgements that said that the transaction was known already: the first try had arrived.
    pub(crate) known_already: Cell<u64>,
    pub(crate) repeats: Cell<u64>,
    pub(crate) other_bodies_refused: Cell<u64>,
    pub(crate) cancels_taken: Cell<u64>,
    pub(crate) cancels_too_late: Cell<u64>,
    pub(crate) signals_taken: Cell<u64>,
    /// The transaction had ended before the clearing house decided.
    pub(crate) signals_too_late: Cell<u64>,
    pub(crate) signals_repeated: Cell<u64>,
    pub(crate) wrong: Cell<u64>,
}

pub(crate) fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) asker: Asker,
    pub(crate) met: Met,
    /// By idempotency key.
    acknowledged: RefCell<BTreeMap<String, Acknowledged>>,
    wrong: RefCell<Vec<String>>,
    /// Arrivals whose last act is done.
    finished: Cell<u64>,
    under_way: Semaphore,
}

impl Crowd {
    pub(crate) fn new(asker: Asker) -> Self {
        Self {
            asker,
            met: Met::default(),
            acknowledged: RefCell::default(),
            wrong: RefCell::default(),
            finished: Cell::new(0),
            under_way: Semaphore::new(UNDER_WAY_MAX),
        }
    }

    pub(crate) fn acknowledged_count(&self) -> u64 {
        self.acknowledged.borrow().len() as u64
    }

    /// The transaction that a key was promised.
    pub(crate) fn id_of(&self, idempotency_key: &str) -> Option<String> {
        self.acknowledged.borrow().get(idempotency_key).map(|promise| promise.id.clone())
    }

    pub(crate) fn acknowledged(&self) -> BTreeMap<String, Acknowledged> {
        self.acknowledged.borrow().clone()
    }

    /// The first broken promises, in words.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.borrow().clone()
    }

    pub(crate) fn note_wrong(&self, what: String) {
        bump(&self.met.wrong);
        let mut wrong = self.wrong.borrow_mut();
        if wrong.len() < WRONG_SHOWN_MAX {
            wrong.push(what);
        }
    }

    /// Lets everybody arrive at their time; ends when the last one has done everything.
    pub(crate) async fn arrive(self: &Rc<Self>, arrivals: Vec<Arrival>) {
        let begun = Instant::now();
        let count = arrivals.len() as u64;
        for arrival in arrivals {
            tokio::time::sleep_until((begun + arrival.at).into()).await;
            // The semaphore is never closed.
            let Ok(permit) = self.under_way.acquire().await else { return };
            permit.forget();
            let crowd = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let id = crowd.begin(&arrival.order).await;
                crowd.under_way.add_permits(1);
                if let Some(id) = id {
                    crowd.afterwards(&arrival, &id).await;
                }
                bump(&crowd.finished);
            });
        }
        while self.finished.get() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Submits until it is acknowledged, and remembers it.
    pub(crate) async fn begin(&self, order: &Order) -> Option<String> {
        match self.submit(order).await {
            Ok((id, replayed)) => {
                if replayed {
                    bump(&self.met.known_already);
                }
                let acknowledged = Acknowledged { id: id.clone(), kind: order.kind };
                self.acknowledged.borrow_mut().insert(order.idempotency_key.clone(), acknowledged);
                Some(id)
            }
            Err(why) => {
                self.note_wrong(format!("{} was not acknowledged: {why}", order.idempotency_key));
                None
            }
        }
    }

    /// The id, and whether it was known already.
    async fn submit(&self, order: &Order) -> Result<(String, bool), String> {
        let ask = Ask::post("/v1/transactions?wait=0", &order.body).with_key(&order.idempotency_key);
        let reply = self.until_answered(ask, &self.met.unanswered).await?;
        if !matches!(reply.status, 200 | 202) {
            return Err(reply.problem());
        }
        let id = reply.header("tidegate-transaction").ok_or("the answer names no transaction")?;
        Ok((id.to_owned(), reply.header("idempotent-replayed") == Some("true")))
    }

    /// Repeats what may be repeated until there is an answer that is no overload.
    pub(crate) async fn until_answered(&self, ask: Ask<'_>, unanswered: &Cell<u64>) -> Result<Reply, String> {
        let begun = Instant::now();
        loop {
            let (why, pause) = match self.asker.ask(ask).await {
                Ok(reply) if reply.is_overload() => {
                    bump(&self.met.shed);
                    let wished =
                        reply.header("retry-after").and_then(|s| s.parse().ok()).map_or(PAUSE, Duration::from_secs);
                    (reply.problem(), wished.min(Duration::from_secs(2)))
                }
                Ok(reply) => return Ok(reply),
                Err(why) => {
                    bump(unanswered);
                    (why, PAUSE)
                }
            };
            if begun.elapsed() > PATIENCE {
                return Err(why);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What follows an acknowledgement: repeats, misuse, cancels, the clearing house's word.
    pub(crate) async fn afterwards(&self, arrival: &Arrival, id: &str) {
        let order = &arrival.order;
        tokio::join!(
            async {
                if let Some(after) = arrival.repeat_after {
                    tokio::time::sleep(after).await;
                    self.repeat(order, id).await;
                }
            },
            async {
                if let Some(body) = &arrival.other_body {
                    self.misuse_key(order, body).await;
                }
            },
            async {
                if let Some(after) = arrival.cancel_after {
                    tokio::time::sleep(after).await;
                    self.cancel(id).await;
                }
            },
            async {
                if let Some(decision) = &arrival.decision {
                    tokio::time::sleep(decision.after).await;
                    self.decide(order, decision, id).await;
                }
            },
        );
    }

    /// The same submission again: the same transaction, and said to be so.
    pub(crate) async fn repeat(&self, order: &Order, id: &str) {
        match self.submit(order).await {
            Ok((again, true)) if again == id => bump(&self.met.repeats),
            Ok((again, replayed)) => {
                let key = &order.idempotency_key;
                self.note_wrong(format!("TX-1: {key} is {id}, and its repeat began {again} (replayed: {replayed})"));
            }
            Err(why) => self.note_wrong(format!("the repeat of {id} was refused: {why}")),
        }
    }

    async fn misuse_key(&self, order: &Order, body: &str) {
        let ask = Ask::post("/v1/transactions?wait=0", body).with_key(&order.idempotency_key);
        match self.until_answered(ask, &self.met.unanswered).await {
            Ok(reply) if reply.status == 422 => bump(&self.met.other_bodies_refused),
            Ok(reply) => {
                let key = &order.idempotency_key;
                self.note_wrong(format!("another body under the key {key} was answered {}", reply.problem()));
            }
            Err(why) => self.note_wrong(format!("another body under a used key: {why}")),
        }
    }

    async fn cancel(&self, id: &str) {
        let path = format!("/v1/transactions/{id}/cancel");
        let ask = Ask::post(&path, r#"{"reason":"the customer changed their mind"}"#);
        match self.until_answered(ask, &Cell::new(0)).await {
            Ok(reply) if reply.status == 202 => bump(&self.met.cancels_taken),
            Ok(reply) if reply.status == 409 => bump(&self.met.cancels_too_late),
            Ok(reply) => self.note_wrong(format!("cancel of {id} was answered {}", reply.problem())),
            Err(why) => self.note_wrong(format!("cancel of {id}: {why}")),
        }
    }

    /// The clearing house knows the number, not the transaction.
    async fn decide(&self, order: &Order, decision: &Decision, id: &str) {
        let body = match decision.port_in {
            None => r#"{"decision":"WITHDRAWN"}"#.to_owned(),
            Some(port_in) => format!(r#"{{"decision":"SET","port_at":"{}"}}"#, now().after(port_in)),
        };
        let body = format!(
            r#"{{"definition":"{}","key":"{}","signal":"window_set","body":{body}}}"#,
            order.kind.definition(),
            order.key
        );
        let key = format!("window-{}", order.idempotency_key);
        for again in [false, true] {
            if again && !decision.twice {
                return;
            }
            let ask = Ask::post("/v1/signals", &body).with_key(&key);
            match self.until_answered(ask, &Cell::new(0)).await {
                Ok(reply) if reply.status == 202 && reply.header("tidegate-transaction") == Some(id) => {
                    bump(if again { &self.met.signals_repeated } else { &self.met.signals_taken });
                }
                Ok(reply) if reply.status == 202 => {
                    let other = reply.header("tidegate-transaction").unwrap_or("none");
                    self.note_wrong(format!("a signal for {} went to {other}, not to {id}", order.key));
                }
                // It has ended (refused, cancelled), or is past caring.
                Ok(reply) if matches!(reply.status, 404 | 409) => bump(&self.met.signals_too_late),
                Ok(reply) => self.note_wrong(format!("a signal for {} was answered {}", order.key, reply.problem())),
                Err(why) => self.note_wrong(format!("a signal for {}: {why}", order.key)),
            }
        }
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
