//! `stand`: plays the systems of a participants file, sets their temper, audits what they were made to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use definition::Known;
use serde_json::Value;
use stand::audit::{Story, Verdict};
use stand::{Idempotency, LedgerSettings, SystemSpec, TradeKind};

use super::client::encode;
use super::show::{note, say, text};
use super::{Ended, Exit, Failed, Global, files, good};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct StandArgs {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The participants file whose systems are played; the six telecom systems if absent
    file: Option<PathBuf>,
    /// The common door; each system has its own on the next ports
    #[arg(long, default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// Record every effect in this SQLite file, for audits
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Of every random choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Server threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Set the faults of a system, or of all: well, refuse, down, slow 200ms, errors 10% + lost 5% for 30s, …
    Set {
        system: String,
        /// Several are joined by +
        #[arg(required = true)]
        faults: Vec<String>,
        /// The stand
        #[arg(long, default_value = "http://127.0.0.1:7420")]
        stand: String,
    },
    /// Compare the systems' ledger with what the server says it decided
    Audit {
        /// The stand; it must have been started with --ledger
        #[arg(long, default_value = "http://127.0.0.1:7420")]
        stand: String,
    },
}

pub(super) fn stand(args: StandArgs, global: &Global) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::new(Exit::Refused, format!("cannot start: {e}")))?;
    match args.act {
        None => runtime.block_on(run(args.run)),
        Some(Act::Set { system, faults, stand }) => {
            let said = runtime.block_on(stand::control::Client::new(&stand).set(&system, &faults.join(" ")));
            said.map_err(|why| client_failed(&why))?;
            Ok(Exit::Done)
        }
        Some(Act::Audit { stand }) => {
            let stories = stories(global)?;
            let report = runtime
                .block_on(stand::control::Client::new(&stand).audit(&stories))
                .map_err(|why| client_failed(&why))?;
            if global.is_json() {
                say(&serde_json::to_string_pretty(&report).unwrap_or_default());
            } else {
                say(report.to_string().trim_end_matches('\n'));
            }
            Ok(if report.passed() { Exit::Done } else { Exit::Refused })
        }
    }
}

fn client_failed(why: &stand::control::ClientError) -> Failed {
    let exit = match why {
        stand::control::ClientError::NotReached { .. } => Exit::TryAgain,
        stand::control::ClientError::Refused(_) | stand::control::ClientError::Odd { .. } => Exit::Refused,
    };
    Failed::new(exit, why.to_string())
}

async fn run(args: RunArgs) -> Ended {
    let mut settings = stand::Settings::telecom(args.listen);
    if let Some(file) = &args.file {
        settings.systems = systems(file)?;
    }
    settings.ledger = args.ledger.map(LedgerSettings::at);
    settings.seed = args.seed;
    settings.threads = args.threads;
    let started = |stand: &stand::Stand| {
        let names: Vec<&str> = stand.systems().collect();
        say(&format!("{} answer at http://{}/<name>", names.join(", "), stand.address()));
        for name in names {
            note(&format!("  {name:12} {}", stand.own_url(name).unwrap_or_default()));
        }
    };
    let ended = async {
        // Without a handler there is only the hard way out.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    stand::run(&settings, started, ended).await.map_err(|e| Failed::new(Exit::Refused, e.to_string()))?;
    Ok(Exit::Done)
}

/// Each participant of the file as a system that keeps what the file says it promises.
fn systems(file: &std::path::Path) -> Result<Vec<SystemSpec>, Failed> {
    let files = files::read(&[file.to_path_buf()])?;
    let checked = definition::check(&files, &Known::default());
    if checked.has_errors() {
        for diagnostic in &checked.diagnostics {
            note(&diagnostic.render());
        }
        return Err(Failed::new(Exit::Refused, checked.closing_line()));
    }
    if checked.participants.is_empty() {
        return Err(Failed::new(Exit::Refused, format!("{} declares no participants", file.display())));
    }
    let mut systems: Vec<SystemSpec> = checked
        .participants
        .into_iter()
        .map(|declared| {
            let participant = declared.participant;
            let mut spec = SystemSpec::generic(participant.name.as_str());
            spec.trade = TradeKind::by_name(&participant.name);
            spec.idempotency = match &participant.idempotency {
                plan::Idempotency::None => Idempotency::None,
                plan::Idempotency::Header { name, .. } => Idempotency::Header(name.to_string()),
                plan::Idempotency::Body { field, .. } => Idempotency::Body(field.to_string()),
            };
            if let Some(remembers) = participant.idempotency.remembers() {
                spec.remembers_for = remembers;
            }
            spec.undo_blocks_do = participant.undo_blocks_do;
            spec
        })
        .collect();
    systems.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(systems)
}

/// The server's word on every transaction that it can list.
fn stories(global: &Global) -> Result<Vec<Story>, Failed> {
    let client = global.client()?;
    let (mut stories, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = good(client.get(&format!("/v1/transactions?limit=1000{cursor}"))?)?.json();
        for tx in page["items"].as_array().into_iter().flatten() {
            let verdict = match (text(tx, "state"), text(tx, "outcome")) {
                (_, "completed") => Verdict::Completed,
                ("ended", "aborted") => Verdict::Aborted,
                _ => Verdict::Live,
            };
            let mut story = Story::new(text(tx, "id"), text(tx, "definition"), verdict);
            let given_up = tx["uncompensated"].as_array().into_iter().flatten();
            story.uncompensated = given_up.filter_map(Value::as_str).map(str::to_owned).collect();
            stories.push(story);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => return Ok(stories),
        }
    }
}
