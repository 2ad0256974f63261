//! `tidegate demo`: the main job on real input, from nothing to an audited end, in about a minute.
//!
//! ```text
//! traces ─► arrivals ─► crowd ──HTTP──► tidegate serve ──HTTP──► tidegate stand ─► ledger
//!                         │ acknowledgements   │ the roll            ▲ faults          │ rows
//!                         └────────────────────┴──────► checks ◄── audit ◄─────────────┘
//! ```
//! Three processes, real HTTP between them, all started and ended here. Nothing here knows how the engine works: it is
//! judged by its public answers and by what the systems wrote down.

mod arrivals;
pub(crate) mod ask;
mod books;
pub(crate) mod crowd;
pub(crate) mod dice;
mod faults;
pub(crate) mod judge;
pub(crate) mod operator;
mod progress;
pub(crate) mod roll;
pub(crate) mod stage;
mod summary;
pub(crate) mod traffic;

use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Ended, Exit, Failed};
use ask::{Ask, Asker};
use crowd::Crowd;
use dice::Dice;
use operator::Operator;
use progress::Progress;
use roll::Check;
use stage::Stage;
pub(crate) use summary::quantile_ms;
use summary::{Clients, EngineLife, Summary};

/// Real arrivals, refusals, faults and a kill -9 against a server and a stand of its own; then the audit
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// A tenth of it, in seconds, for a quick look or CI
    #[arg(long)]
    quick: bool,
    /// How many transactions [default: 30000, with --quick 3000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    transactions: Option<u32>,
    /// Of every random choice: arrivals, numbers, faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Work in this new folder and leave it: data, ledger, logs
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The definitions of `examples/telecom`, as they stand there.
pub(crate) const DEFINITIONS: [(&str, &str); 3] = [
    ("top-up.yaml", include_str!("../../../examples/telecom/top-up.yaml")),
    ("tariff-change.yaml", include_str!("../../../examples/telecom/tariff-change.yaml")),
    ("number-port-out.yaml", include_str!("../../../examples/telecom/number-port-out.yaml")),
];
/// The participants, with names in capitals instead of addresses.
pub(crate) const PARTICIPANTS: &str = include_str!("demo/participants.yaml");

/// Arrivals a second, on average over the whole trace.
const RATE: f64 = 400.0;
/// The last transaction must end within this after the last arrival.
const LINGER: Duration = Duration::from_secs(120);
/// The engine stays dead for so long.
const DEAD_FOR: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const OPERATOR_EVERY: Duration = Duration::from_secs(1);
/// Acknowledged submissions that are sent once more when all has ended.
const REPEATED_AT_THE_END: usize = 500;

/// Runs it. Done only if every check holds.
pub(crate) fn run(args: &Args, json: bool) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| failed(format!("cannot start: {why}")))?;
    // The children end with the thread that started them, so all of it runs on this one.
    tokio::task::LocalSet::new().block_on(&runtime, rehearse(args, json))
}

fn failed(why: impl Into<String>) -> Failed {
    Failed::new(Exit::Refused, why)
}

async fn rehearse(args: &Args, json: bool) -> Ended {
    let mut stage = Stage::new(args.keep.as_deref(), args.seed).map_err(failed)?;
    let ended = tokio::select! {
        biased;
        () = interrupted() => return Ok(Exit::Interrupted),
        ended = play(args, &mut stage) => ended,
    };
    let left = |stage: &mut Stage| format!("everything of this run is in {}", stage.keep_folder().display());
    let summary = ended.map_err(|why| failed(format!("{why}\n{}", left(&mut stage))))?;
    show(&summary, json);
    if summary.passed {
        Ok(Exit::Done)
    } else {
        Err(failed(format!("the demo failed, see above; {}", left(&mut stage))))
    }
}

/// To standard output, as data or for people. A reader that went away changes nothing about the result.
pub(crate) fn show(what: &(impl serde::Serialize + std::fmt::Display), json: bool) {
    let text = if json { serde_json::to_string_pretty(what).unwrap_or_default() } else { what.to_string() };
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => if pressed.is_err() { std::future::pending::<()>().await },
        _ = term.recv() => {}
    }
}

/// The whole story.
async fn play(args: &Args, stage: &mut Stage) -> Result<Summary, String> {
    let begun = Instant::now();
    let count = args.transactions.unwrap_or(if args.quick { 3_000 } else { 30_000 }) as usize;
    let over = Duration::from_secs_f64((count as f64 / RATE).max(6.0));
    let participants = stage.with_doors(PARTICIPANTS);
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    apply(&stage.asker(), &participants).await?;

    let arrivals = traffic::draw(count, over, args.seed);
    let orders: Vec<traffic::Order> = arrivals.iter().map(|arrival| arrival.order.clone()).collect();
    stage.stand_client().schedule(&faults::schedule(over)).await.map_err(|why| why.to_string())?;
    let mut conductor = Conductor {
        crowd: Rc::new(Crowd::new(stage.asker())),
        operator: Operator::new(args.seed),
        progress: Progress::new(count as u64),
        engine: EngineLife::default(),
        live: 0,
        over,
    };
    conductor.progress.say(&format!(
        "{count} transactions from recorded arrivals within {:.0} s, faults and a kill -9 on the way (seed {})",
        over.as_secs_f64(),
        args.seed
    ));
    conductor.until_all_have_ended(arrivals, stage).await?;
    conductor.repeat_some(&orders, args.seed).await;
    let Conductor { crowd, operator, progress, mut engine, .. } = conductor;
    progress.say("all have ended: reading every verdict, stopping, auditing");

    let roll = roll::read(&crowd.asker).await?;
    engine.stranded += stranded(&crowd.asker).await?;
    let mut checks = judge::promises(&crowd, &roll, engine.stranded);
    let books = books::read(&stage.stand_client(), &roll).await?;
    let by_hand = operator.by_hand(&crowd.asker).await?;
    checks.push(judge::clean_stop(stage).await?);
    let (audit, check) = judge::effects(&stage.ledger(), &roll, &by_hand)?;
    checks.push(check);
    checks.push(Check {
        name: "money is conserved",
        passed: books.money.is_conserved() && books.money.charged_minor > 0,
        detail: format!("{} charged and {} credited", books.money.charged_minor, books.money.credited_minor),
    });
    Ok(Summary {
        seed: args.seed,
        took_s: begun.elapsed().as_secs_f64(),
        definitions: summary::definitions(&roll, &books),
        systems: books.systems,
        clients: Clients::of(&crowd.met, &operator),
        engine,
        money: books.money,
        audit,
        passed: checks.iter().all(|check| check.passed),
        checks,
    })
}

/// Brings the definitions and the participants to the engine.
pub(crate) async fn apply(asker: &Asker, participants: &str) -> Result<(), String> {
    let files: Vec<Value> = std::iter::once(("participants.yaml", participants))
        .chain(DEFINITIONS)
        .map(|(path, text)| json!({"path": path, "text": text}))
        .collect();
    let body = json!({ "files": files }).to_string();
    let reply = asker.ask(Ask::post("/v1/apply", &body)).await?;
    if reply.status == 200 { Ok(()) } else { Err(format!("the definitions were not applied: {}", reply.problem())) }
}

/// Follows the run, plays the fates and the person on call.
struct Conductor {
    crowd: Rc<Crowd>,
    operator: Operator,
    progress: Progress,
    engine: EngineLife,
    /// At the last look.
    live: u64,
    over: Duration,
}

impl Conductor {
    async fn until_all_have_ended(&mut self, arrivals: Vec<traffic::Arrival>, stage: &mut Stage) -> Result<(), String> {
        let begun = Instant::now();
        let crowd = Rc::clone(&self.crowd);
        let arriving = tokio::task::spawn_local(async move { crowd.arrive(arrivals).await });
        let mut next_operator = begun + OPERATOR_EVERY;
        let mut all_arrived = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(lost) = stage.lost() {
                return Err(lost);
            }
            self.look().await;
            if self.engine.kills == 0 && begun.elapsed() >= self.over.mul_f64(faults::KILL_AT) {
                self.kill(stage).await?;
            }
            if Instant::now() >= next_operator {
                self.operator.look(&self.crowd).await;
                next_operator = Instant::now() + OPERATOR_EVERY;
            }
            if all_arrived.is_none() && arriving.is_finished() {
                all_arrived = Some(Instant::now());
                continue;
            }
            let Some(since) = all_arrived else { continue };
            if self.live == 0 {
                return Ok(());
            }
            if since.elapsed() > LINGER {
                let live = still_live(&self.crowd.asker).await;
                return Err(format!(
                    "{} transactions have not ended {LINGER:?} after the last arrival:\n{live}",
                    self.live
                ));
            }
        }
    }

    /// How many are live, for the bar and for the end.
    async fn look(&mut self) {
        if let Some(metrics) = metrics(&self.crowd.asker).await {
            self.live = number(&metrics, "tidegate_transactions_live") as u64;
        }
        let promised = self.crowd.acknowledged_count();
        let message = format!("{} live", self.live);
        self.progress.set(promised.saturating_sub(self.live), &message);
    }

    async fn kill(&mut self, stage: &mut Stage) -> Result<(), String> {
        self.engine.stranded += stranded(&self.crowd.asker).await.unwrap_or(0);
        self.engine.kills += 1;
        self.engine.live_at_kill = self.live;
        stage.kill_engine()?;
        tokio::time::sleep(DEAD_FOR).await;
        let ready = stage.start_engine().await?;
        self.engine.ready_again_ms = Some(ready.as_millis() as u64);
        let words = format!("the engine was killed with {} live and is ready again after {ready:.0?}", self.live);
        self.progress.say(&words);
        Ok(())
    }

    /// The engine remembers across its death: some submissions are sent once more.
    async fn repeat_some(&self, orders: &[traffic::Order], seed: u64) {
        let mut dice = Dice::new(seed, "repeated at the end");
        for _ in 0..REPEATED_AT_THE_END.min(orders.len()) {
            let order = dice.pick(orders);
            if let Some(id) = self.crowd.id_of(&order.idempotency_key) {
                self.crowd.repeat(order, &id).await;
            }
        }
    }
}

/// The text of `/metrics`; none while the engine is away.
pub(crate) async fn metrics(asker: &Asker) -> Option<String> {
    let ask = Ask { within: Duration::from_secs(10), ..Ask::get("/metrics") };
    let reply = asker.ask(ask).await.ok().filter(|reply| reply.status == 200)?;
    Some(String::from_utf8_lossy(&reply.body).into_owned())
}

/// A number without labels.
pub(crate) fn number(metrics: &str, name: &str) -> f64 {
    let of = |line: &str| {
        line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).and_then(|n| n.trim().parse().ok())
    };
    metrics.lines().find_map(of).unwrap_or(0.0)
}

pub(crate) async fn stranded(asker: &Asker) -> Result<u64, String> {
    let metrics = metrics(asker).await.ok_or("the engine's metrics cannot be read")?;
    Ok(number(&metrics, "tidegate_tx4_stranded_total") as u64)
}

/// Some of those that have not ended, and what they wait for.
pub(crate) async fn still_live(asker: &Asker) -> String {
    let mut lines = Vec::new();
    for state in ["needs_attention", "compensating", "waiting", "running"] {
        let path = format!("/v1/transactions?state={state}&limit=10");
        let Ok(page) = asker.ask(Ask::get(&path)).await else { continue };
        for item in page.json()["items"].as_array().into_iter().flatten() {
            let word = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
            let (waits, asked) = (&item["waits_for"], &item["attention"]);
            lines.push(format!(
                "  {} {} {} waits for {waits}, attention {asked}",
                word("id"),
                word("definition"),
                word("state")
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_demo_have_no_errors() {
        let participants = PARTICIPANTS.replace("- PAYMENTS", "- http://127.0.0.1:1/payments");
        let participants = ["BILLING", "CRM", "HLR", "MNP", "SMS"].iter().fold(participants, |text, name| {
            text.replace(&format!("- {name}\n"), &format!("- http://127.0.0.1:1/{}\n", name.to_lowercase()))
        });
        let files: Vec<definition::SourceFile> = std::iter::once(("participants.yaml", participants.as_str()))
            .chain(DEFINITIONS)
            .map(|(path, text)| definition::SourceFile { path: path.to_owned(), text: text.to_owned() })
            .collect();
        let checked = definition::check(&files, &definition::Known::default());
        let errors: Vec<String> = checked.diagnostics.iter().map(|d| d.render()).collect();
        assert!(!checked.has_errors(), "{}", errors.join("\n"));
        assert_eq!(checked.participants.len(), 6);
    }

    #[test]
    fn numbers_of_metrics_are_found_by_their_whole_name() {
        let text = "# HELP x y\ntidegate_transactions_live_more 9\ntidegate_transactions_live 7\n";
        assert_eq!(number(text, "tidegate_transactions_live"), 7.0);
        assert_eq!(number(text, "absent"), 0.0);
    }
}
