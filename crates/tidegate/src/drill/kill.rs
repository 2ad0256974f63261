//! `kill -9` at random moments, also while the engine is starting, with clients that go on all the time.
//!
//! Each client submits one order after the other and repeats each under its key until it is acknowledged; now and then
//! it sends an old one again. When the rounds are over the faults stop, everything must end, and every acknowledgement
//! and every effect is compared.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use stand::audit::Counted;

use crate::demo::crowd::Crowd;
use crate::demo::dice::Dice;
use crate::demo::roll::{self, Check};
use crate::demo::stage::Stage;
use crate::demo::traffic::{self, Kind, Order};
use crate::demo::{self, judge};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the engine is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Of every random choice: moments, orders, faults
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Work in this new folder and leave it: data, ledger, logs
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
}

const CLIENTS: usize = 12;
/// Between two orders of one client: about 240 orders a second in all, as long as the engine lives.
const PAUSE_MS: u64 = 50;
/// After the engine is ready it is killed within this.
const LIVES_MS: (u64, u64) = (20, 900);
/// One kill in so many hits an engine that is just starting.
const KILLED_STARTING_ONE_IN: u64 = 6;
/// How long after its start such an engine is killed, at most.
const STARTING_MS: u64 = 120;
/// What the systems do all the time: answers that come late, or never, are what a restart must cope with.
const FAULTS: &str = "slow 40ms 20% + lost 3% + errors 503 2% + late 700ms 1%";
/// All must have ended this long after the last kill.
const LINGER: Duration = Duration::from_secs(120);
/// Acknowledged submissions that are sent once more at the end.
const REPEATED_MAX: usize = 3_000;

/// What the drill found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    seed: u64,
    took_s: f64,
    /// Of a ready engine.
    kills: u32,
    /// Besides, of one that was not ready yet.
    kills_while_starting: u32,
    acknowledged: u64,
    unanswered: u64,
    known_already: u64,
    /// From the start of a process until it took work, over all restarts.
    ready_again_ms_median: Option<u64>,
    ready_again_ms_max: Option<u64>,
    outcomes: BTreeMap<String, u64>,
    audited: Counted,
    checks: Vec<Check>,
    pub(super) passed: bool,
}

/// Clients that go on until they are told.
struct Load {
    crowd: Crowd,
    seed: u64,
    next: Cell<usize>,
    /// What was acknowledged, to be repeated.
    orders: RefCell<Vec<Order>>,
    ending: Cell<bool>,
}

impl Load {
    async fn client(&self, number: usize) {
        let mut dice = Dice::new(self.seed, &format!("client {number}"));
        while !self.ending.get() {
            let n = self.next.replace(self.next.get() + 1);
            let kind = if dice.below(4) == 0 { Kind::TariffChange } else { Kind::TopUp };
            let order = traffic::order(kind, n, self.seed, &mut dice);
            if self.crowd.begin(&order).await.is_some() {
                self.orders.borrow_mut().push(order);
            }
            if dice.below(10) == 0 {
                let old = dice.pick(&self.orders.borrow()).clone();
                if let Some(id) = self.crowd.id_of(&old.idempotency_key) {
                    self.crowd.repeat(&old, &id).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS / 2 + dice.below(PAUSE_MS))).await;
        }
    }
}

pub(super) async fn play(args: &Args, stage: &mut Stage) -> Result<Told, String> {
    let begun = Instant::now();
    let participants = stage.with_doors(demo::PARTICIPANTS);
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    demo::apply(&stage.asker(), &participants).await?;
    stage.stand_client().set("all", FAULTS).await.map_err(|why| why.to_string())?;
    let load = Rc::new(Load {
        crowd: Crowd::new(stage.asker()),
        seed: args.seed,
        next: Cell::new(0),
        orders: RefCell::default(),
        ending: Cell::new(false),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let load = Rc::clone(&load);
            tokio::task::spawn_local(async move { load.client(number).await })
        })
        .collect();
    let Fates { kills, kills_while_starting, mut ready_again, mut stranded } = fates(args, stage, &load.crowd).await?;
    load.ending.set(true);
    for client in clients {
        client.await.map_err(|why| format!("a client of the drill broke: {why}"))?;
    }
    stage.stand_client().set("all", "well").await.map_err(|why| why.to_string())?;
    all_ended(stage, &load.crowd).await?;
    repeat_some(&load).await;

    let roll = roll::read(&load.crowd.asker).await?;
    stranded += demo::stranded(&load.crowd.asker).await?;
    let mut checks = judge::promises(&load.crowd, &roll, stranded);
    checks.push(judge::clean_stop(stage).await?);
    let (report, check) = judge::effects(&stage.ledger(), &roll, &BTreeMap::new())?;
    checks.push(check);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for line in &roll {
        let outcome = line.reason.as_ref().or(line.outcome.as_ref());
        *outcomes.entry(outcome.cloned().unwrap_or_else(|| "none".to_owned())).or_default() += 1;
    }
    ready_again.sort();
    let met = &load.crowd.met;
    Ok(Told {
        seed: args.seed,
        took_s: begun.elapsed().as_secs_f64(),
        kills,
        kills_while_starting,
        acknowledged: load.crowd.acknowledged_count(),
        unanswered: met.unanswered.get(),
        known_already: met.known_already.get(),
        ready_again_ms_median: demo::quantile_ms(&ready_again, 0.5),
        ready_again_ms_max: demo::quantile_ms(&ready_again, 1.0),
        outcomes,
        audited: report.counted,
        passed: checks.iter().all(|check| check.passed),
        checks,
    })
}

/// What the rounds came to.
#[derive(Default)]
struct Fates {
    kills: u32,
    kills_while_starting: u32,
    ready_again: Vec<Duration>,
    stranded: u64,
}

/// Kills and restarts, as often as asked.
async fn fates(args: &Args, stage: &mut Stage, crowd: &Crowd) -> Result<Fates, String> {
    let mut dice = Dice::new(args.seed, "moments");
    let mut fates = Fates::default();
    let (soonest, latest) = LIVES_MS;
    let mut said = Instant::now();
    for round in 1..=args.rounds {
        tokio::time::sleep(Duration::from_millis(soonest + dice.below(latest - soonest))).await;
        if let Some(lost) = stage.lost() {
            return Err(lost);
        }
        fates.stranded += demo::stranded(&crowd.asker).await.unwrap_or(0);
        stage.kill_engine()?;
        fates.kills += 1;
        if dice.below(KILLED_STARTING_ONE_IN) == 0 {
            stage.spawn_engine()?;
            tokio::time::sleep(Duration::from_millis(dice.below(STARTING_MS))).await;
            stage.kill_engine()?;
            fates.kills_while_starting += 1;
        }
        let ready = stage.start_engine().await.map_err(|why| format!("after kill {round}: {why}"))?;
        fates.ready_again.push(ready);
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            eprintln!(
                "{round} of {} kills, {} acknowledged, {} wrong",
                args.rounds,
                crowd.acknowledged_count(),
                crowd.met.wrong.get()
            );
        }
    }
    Ok(fates)
}

async fn all_ended(stage: &mut Stage, crowd: &Crowd) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        if let Some(lost) = stage.lost() {
            return Err(lost);
        }
        let live = demo::metrics(&crowd.asker).await.map(|text| demo::number(&text, "tidegate_transactions_live"));
        if live == Some(0.0) {
            return Ok(());
        }
        if begun.elapsed() > LINGER {
            let live = demo::still_live(&crowd.asker).await;
            return Err(format!("not everything has ended {LINGER:?} after the last kill:\n{live}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn repeat_some(load: &Load) {
    let orders = load.orders.borrow().clone();
    let step = orders.len().div_ceil(REPEATED_MAX).max(1);
    for order in orders.iter().step_by(step) {
        if let Some(id) = load.crowd.id_of(&order.idempotency_key) {
            load.crowd.repeat(order, &id).await;
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |took: Option<u64>| took.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        writeln!(f, "kills       {} under load, {} more while it was starting", self.kills, self.kills_while_starting)?;
        writeln!(
            f,
            "ready again after {} in the median, {} at most",
            ms(self.ready_again_ms_median),
            ms(self.ready_again_ms_max)
        )?;
        writeln!(
            f,
            "clients     {} acknowledged; {} tries without an answer, all repeated; {} had arrived the first time",
            self.acknowledged, self.unanswered, self.known_already
        )?;
        let outcomes: Vec<String> = self.outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "outcomes    {}", outcomes.join(", "))?;
        let a = &self.audited;
        writeln!(
            f,
            "audit       {} effects, {} undos, {} repeats in {} rows\n",
            a.effects, a.undoes, a.repeats, a.rows
        )?;
        for check in &self.checks {
            writeln!(f, "{:<8}{}: {}", if check.passed { "ok" } else { "FAILED" }, check.name, check.detail)?;
        }
        write!(f, "\n{} in {:.1} s with seed {}", if self.passed { "passed" } else { "FAILED" }, self.took_s, self.seed)
    }
}
