//! The clients of a drill: each submits one order after the other and repeats it under its key until it is acknowledged.
//!
//! They do everything that clients of the demo do (repeats, misused keys, cancels, the clearing house's word), and a
//! person on call looks after what needs one. They go on until they are told, whatever happens to the engine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use crate::demo;
use crate::demo::crowd::Crowd;
use crate::demo::dice::Dice;
use crate::demo::operator::Operator;
use crate::demo::stage::Stage;
use crate::demo::traffic::{self, Kind, Order};

pub(super) const CLIENTS: usize = 12;
/// Between two orders of one client: about 240 orders a second in all, as long as the engine lives.
const PAUSE_MS: u64 = 50;
/// What one client still owes to earlier orders (a repeat, a cancel) before it waits for some of it.
const OWED_MAX: usize = 64;
const OPERATOR_EVERY: Duration = Duration::from_secs(1);
/// All must have ended this long after the last fault.
pub(super) const LINGER: Duration = Duration::from_secs(120);
/// Acknowledged submissions that are sent once more at the end.
const REPEATED_MAX: usize = 3_000;

/// Everybody, and what they were promised.
pub(super) struct Load {
    pub(super) crowd: Rc<Crowd>,
    pub(super) operator: Operator,
    seed: u64,
    next: Cell<usize>,
    /// What was acknowledged, to be repeated.
    orders: RefCell<Vec<Order>>,
    ending: Cell<bool>,
}

/// Clients at work.
pub(super) struct AtWork(Vec<JoinHandle<()>>);

impl Load {
    pub(super) fn new(stage: &Stage, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            crowd: Rc::new(Crowd::new(stage.asker())),
            operator: Operator::new(seed),
            seed,
            next: Cell::new(0),
            orders: RefCell::default(),
            ending: Cell::new(false),
        })
    }

    pub(super) fn begin(self: &Rc<Self>) -> AtWork {
        let start = |number| {
            let load = Rc::clone(self);
            tokio::task::spawn_local(async move { load.client(number).await })
        };
        let mut all: Vec<_> = (0..CLIENTS).map(start).collect();
        let load = Rc::clone(self);
        all.push(tokio::task::spawn_local(async move {
            while !load.ending.get() {
                tokio::time::sleep(OPERATOR_EVERY).await;
                load.operator.look(&load.crowd).await;
            }
        }));
        AtWork(all)
    }

    pub(super) fn progress(&self) -> String {
        format!("{} acknowledged, {} wrong", self.crowd.acknowledged_count(), self.crowd.met.wrong.get())
    }

    /// Lets them finish what they are about.
    pub(super) async fn end(&self, at_work: AtWork) -> Result<(), String> {
        self.ending.set(true);
        for client in at_work.0 {
            client.await.map_err(|why| format!("a client of the drill broke: {why}"))?;
        }
        Ok(())
    }

    async fn client(&self, number: usize) {
        let mut dice = Dice::new(self.seed, &format!("client {number}"));
        let mut owed = JoinSet::new();
        while !self.ending.get() {
            let n = self.next.replace(self.next.get() + 1);
            let kind = match dice.below(20) {
                0 => Kind::PortOut,
                1..=5 => Kind::TariffChange,
                _ => Kind::TopUp,
            };
            let arrival = traffic::arrival(kind, n, Duration::ZERO, self.seed, &mut dice);
            if let Some(id) = self.crowd.begin(&arrival.order).await {
                self.orders.borrow_mut().push(arrival.order.clone());
                let crowd = Rc::clone(&self.crowd);
                owed.spawn_local(async move { crowd.afterwards(&arrival, &id).await });
            }
            while owed.len() > OWED_MAX && owed.join_next().await.is_some() {}
            if dice.below(10) == 0 && !self.orders.borrow().is_empty() {
                let old = dice.pick(&self.orders.borrow()).clone();
                if let Some(id) = self.crowd.id_of(&old.idempotency_key) {
                    self.crowd.repeat(&old, &id).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS / 2 + dice.below(PAUSE_MS))).await;
        }
        while owed.join_next().await.is_some() {}
    }

    /// Until nothing is live; the person on call goes on meanwhile.
    pub(super) async fn until_all_ended(&self, stage: &mut Stage) -> Result<(), String> {
        let begun = Instant::now();
        let mut looked = begun;
        loop {
            if let Some(lost) = stage.lost() {
                return Err(lost);
            }
            let asker = &self.crowd.asker;
            if demo::metrics(asker).await.map(|text| demo::number(&text, "tidegate_transactions_live")) == Some(0.0) {
                return Ok(());
            }
            if begun.elapsed() > LINGER {
                let live = demo::still_live(asker).await;
                return Err(format!("not everything has ended {LINGER:?} after the last fault:\n{live}"));
            }
            if looked.elapsed() > OPERATOR_EVERY {
                looked = Instant::now();
                self.operator.look(&self.crowd).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The engine remembers: what was acknowledged is sent once more.
    pub(super) async fn repeat_some(&self) {
        let orders = self.orders.borrow().clone();
        let step = orders.len().div_ceil(REPEATED_MAX).max(1);
        for order in orders.iter().step_by(step) {
            if let Some(id) = self.crowd.id_of(&order.idempotency_key) {
                self.crowd.repeat(order, &id).await;
            }
        }
    }
}
