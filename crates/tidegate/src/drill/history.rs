//! A history of what clients were told, recorded through faults, for checkers that know nothing of Tidegate.
//!
//! Clients append to lists, or move money, at two systems at once, and read everything back, while the processes are
//! killed and paused and the systems ail. What each was told, and when, becomes a file; a checker of ours judges it
//! from that file alone, and so can one that somebody else wrote.

mod appends;
mod clients;
mod findings;
mod op;
mod sagas;
mod transfers;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Ended, Exit, Failed};
use crate::demo;
use crate::demo::ask::{Ask, Asker};
use crate::demo::roll::{self, Check};
use crate::demo::stage::Stage;
use crate::demo::{judge, show};

use super::blow::{BRISK, Blow, Fates};
use super::{Common, verdict};
use clients::Clients;
use findings::Findings;

/// What a history is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Model {
    /// Appends to lists and reads of them
    Append,
    /// Transfers between accounts and reads of all balances
    Bank,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What the clients do
    #[arg(long, value_enum, default_value_t = Model::Append)]
    kind: Model,
    /// The file to write; a checker that wants to know the format by its name wants .json
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave out the lock that makes each transaction one: the history must then be found wrong
    #[arg(long)]
    unlocked: bool,
    /// How many blows
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    rounds: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JudgeArgs {
    /// A history as `drill history` writes it
    file: PathBuf,
    /// What it is about
    #[arg(long, value_enum, default_value_t = Model::Append)]
    kind: Model,
}

const KINDS: [Blow; 6] =
    [Blow::Kill, Blow::KillStarting, Blow::Pause, Blow::PauseSystems, Blow::KillSystems, Blow::Trouble];
const LISTS: [&str; 2] = ["lists-a", "lists-b"];
const ACCOUNTS: [&str; 2] = ["accounts-a", "accounts-b"];

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    seed: u64,
    took_s: f64,
    file: String,
    blows: std::collections::BTreeMap<&'static str, u64>,
    history: Findings,
    checks: Vec<Check>,
    pub(super) passed: bool,
}

/// Judges a file.
pub(super) fn judge_file(args: &JudgeArgs, is_json: bool) -> Ended {
    let found = judged(args.kind, &args.file).map_err(|why| Failed::new(Exit::Refused, why))?;
    show(&found, is_json);
    Ok(if found.passed() { Exit::Done } else { Exit::Refused })
}

fn judged(model: Model, file: &Path) -> Result<Findings, String> {
    let ops = op::read(file)?;
    Ok(match model {
        Model::Append => appends::judge(&ops),
        Model::Bank => transfers::judge(&ops),
    })
}

pub(super) async fn play(args: &Args, stage: &mut Stage) -> Result<Told, String> {
    let begun = Instant::now();
    let (systems, mut files) = match args.kind {
        Model::Append => (LISTS, sagas::appends(LISTS)),
        Model::Bank => (ACCOUNTS, sagas::bank(ACCOUNTS)),
    };
    if args.unlocked {
        let lock = |line: &&str| !line.starts_with("lock:");
        files.iter_mut().for_each(|(_, text)| *text = text.lines().filter(lock).collect::<Vec<_>>().join("\n"));
    }
    stage.systems = match args.kind {
        Model::Append => &LISTS,
        Model::Bank => &ACCOUNTS,
    };
    let participants = stage.with_doors(&sagas::participants(systems));
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    apply(&stage.asker(), &participants, &files).await?;
    let clients = Rc::new(Clients::new(args.kind, stage.asker(), args.common.seed));
    clients.read_all().await?;
    let mut fates = Fates::new(&participants, args.common.seed, &BRISK);
    fates.always(stage).await?;
    let at_work = clients.begin();
    fates.strike(args.rounds, &KINDS, stage, &|| clients.progress()).await?;
    stage.stand_client().set("all", "well").await.map_err(|why| why.to_string())?;
    clients.end(at_work).await?;
    clients.read_all().await?;
    clients.write(&args.out)?;

    let asker = stage.asker();
    demo_ended(&asker).await?;
    let roll = roll::read(&asker).await?;
    let stranded = fates.stranded + demo::stranded(&asker).await?;
    let left = if stranded == 0 { Vec::new() } else { vec![format!("{stranded} calls that nobody was making")] };
    let mut checks = vec![Check::none_of("nothing live was stranded (TX-4)", "the engine's own counter is 0", &left)];
    checks.push(judge::clean_stop(stage).await?);
    let (_, check) = judge::effects(&stage.ledger(), &roll, &std::collections::BTreeMap::new())?;
    checks.push(check);
    checks.push(verdict::data_is_well("the doctor finds the stopped data well (JR-1, JR-2)", &verdict::doctor(stage)?));
    checks.extend(fates.check());
    let history = judged(args.kind, &args.out)?;
    checks.push(Check {
        name: "the history can be explained",
        passed: history.passed(),
        detail: format!(
            "{} operations, {} reads compared, {} writes proven, {} violations",
            history.ops, history.reads_compared, history.writes_proven, history.violations
        ),
    });
    Ok(Told {
        seed: args.common.seed,
        took_s: begun.elapsed().as_secs_f64(),
        file: args.out.display().to_string(),
        blows: fates.struck,
        passed: checks.iter().all(|check| check.passed),
        history,
        checks,
    })
}

async fn apply(asker: &Asker, participants: &str, files: &[(String, String)]) -> Result<(), String> {
    let participants = ("participants.yaml".to_owned(), participants.to_owned());
    let files: Vec<Value> =
        std::iter::once(&participants).chain(files).map(|(path, text)| json!({"path": path, "text": text})).collect();
    let body = json!({ "files": files }).to_string();
    let reply = asker.ask(Ask::post("/v1/apply", &body)).await?;
    if reply.status == 200 { Ok(()) } else { Err(format!("the definitions were not applied: {}", reply.problem())) }
}

/// Until nothing is live: what a client gave up on ends as well.
async fn demo_ended(asker: &Asker) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let live = demo::metrics(asker).await.map(|text| demo::number(&text, "tidegate_transactions_live"));
        if live == Some(0.0) {
            return Ok(());
        }
        if begun.elapsed() > super::load::LINGER {
            return Err(format!("not everything has ended:\n{}", demo::still_live(asker).await));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let blows: Vec<String> = self.blows.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " "))).collect();
        writeln!(f, "blows       {}", blows.join(", "))?;
        writeln!(f, "file        {}", self.file)?;
        writeln!(f, "{}\n", self.history)?;
        for check in &self.checks {
            writeln!(f, "{:<8}{}: {}", if check.passed { "ok" } else { "FAILED" }, check.name, check.detail)?;
        }
        write!(f, "\n{} in {:.1} s with seed {}", if self.passed { "passed" } else { "FAILED" }, self.took_s, self.seed)
    }
}
