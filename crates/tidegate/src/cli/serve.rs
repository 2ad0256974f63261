//! `serve`: settings to components to a running node, and a clean end of it. `settings` shows what it would run with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::show::{duration, note, say, table};
use super::{Ended, Exit, Failed, Global};
use crate::settings::{Built, Resolved, Said, resolve};

/// What may be said of settings on the command line.
#[derive(Debug, Args)]
struct SettingsFlags {
    /// The data directory; made if it is missing
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address of the API; loopback only
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Only when the data directory is made
    #[arg(long, value_name = "N")]
    partitions: Option<String>,
    /// Threads that run transactions
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Folder where ${secret.x} finds file x
    #[arg(long, value_name = "DIR")]
    secrets: Option<String>,
    /// Level of the log, or a filter
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// A TOML file with any of the settings; tidegate settings lists them [env: TIDEGATE_SETTINGS]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: SettingsFlags,
}

#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    #[command(flatten)]
    flags: SettingsFlags,
}

impl SettingsFlags {
    fn resolve(&self) -> Result<Resolved, Failed> {
        let path = self.settings.clone().or_else(|| super::variable("TIDEGATE_SETTINGS").map(PathBuf::from));
        let file = match &path {
            None => None,
            Some(path) => {
                let shown = path.display().to_string();
                let text =
                    std::fs::read_to_string(path).map_err(|e| Failed::new(Exit::Refused, format!("{shown}: {e}")))?;
                Some((shown, text))
            }
        };
        let mut flags = BTreeMap::new();
        for (name, value) in [
            ("data", &self.data),
            ("listen", &self.listen),
            ("partitions", &self.partitions),
            ("workers", &self.workers),
            ("secrets", &self.secrets),
            ("log", &self.log),
            ("log_format", &self.log_format),
        ] {
            if let Some(value) = value {
                flags.insert(name, value.clone());
            }
        }
        let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
        resolve(&Said { file, environment: &super::variable, flags: &flags })
            .map_err(|wrong| Failed::new(Exit::Refused, wrong.to_string()))
    }
}

pub(super) fn settings(args: &SettingsArgs, global: &Global) -> Ended {
    let resolved = args.flags.resolve()?;
    let help = |name: &str| crate::settings::SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.help);
    if global.is_json() {
        let all: Vec<_> = resolved
            .0
            .iter()
            .map(|v| json!({"name": v.name, "value": v.value, "source": v.source.to_string(), "help": help(v.name)}))
            .collect();
        say(&serde_json::to_string_pretty(&all).unwrap_or_default());
    } else {
        let rows: Vec<Vec<String>> = resolved
            .0
            .iter()
            .map(|v| {
                let value = if v.value.is_empty() { "-".to_owned() } else { v.value.clone() };
                vec![v.name.to_owned(), value, v.source.to_string(), help(v.name).to_owned()]
            })
            .collect();
        say(&table(&["NAME", "VALUE", "FROM", "WHAT IT DOES"], &rows));
    }
    resolved.build().map_err(|wrong| Failed::new(Exit::Refused, wrong.to_string()))?;
    Ok(Exit::Done)
}

pub(super) fn serve(args: &ServeArgs) -> Ended {
    let begun = Instant::now();
    let resolved = args.flags.resolve()?;
    let Built { engine: settings, listen, log, log_json } =
        resolved.build().map_err(|wrong| Failed::new(Exit::Refused, wrong.to_string()))?;
    start_log(&log, log_json)?;
    let refused = |why: &dyn std::fmt::Display| Failed::new(Exit::Refused, why.to_string());
    let watching = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| refused(&e))?;
    // From here on a signal is a wish, also while the journal is replayed.
    let mut signals = watching.block_on(async { Signals::new() }).map_err(|e| refused(&e))?;
    let data = settings.data.display().to_string();
    let is_new = !settings.data.join("journal").exists();
    let drain_for = settings.drain;
    let drain = listen.drain.clone();
    let listening = api::listen(listen).map_err(|e| refused(&e))?;
    let is_new = if is_new { " (new)" } else { "" };
    note(&format!("tidegate {}   data {data}{is_new}   {} partitions", env!("CARGO_PKG_VERSION"), settings.partitions));
    let components =
        runtime::Components { renderer: api::view::render, serve: Some(std::sync::Arc::clone(&listening.serve)) };
    let engine = runtime::Engine::start(settings, components).map_err(|e| refused(&e))?;
    listening.open().map_err(|e| refused(&e))?;
    note(&format!(
        "ready in {}   http://{}   loopback only, no token needed",
        duration(begun.elapsed()),
        listening.address
    ));
    watching.block_on(async {
        let which = signals.next().await;
        note(&format!("{which}: draining, for {} at most; once more to stop at once", duration(drain_for)));
        drain.begin();
        let deadline = Instant::now() + drain_for;
        while listening.open_requests() > 0 && Instant::now() < deadline {
            tokio::select! {
                which = signals.next() => stop_at_once(which),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        // Sealing the journal blocks; a second signal must still be heard.
        let stopping = tokio::task::spawn_blocking(move || engine.stop());
        tokio::select! {
            which = signals.next() => stop_at_once(which),
            stopped = stopping => if let Err(why) = stopped {
                tracing::error!(%why, "the engine did not stop cleanly");
            }
        }
    });
    note("stopped");
    Ok(Exit::Done)
}

fn stop_at_once(which: &str) -> ! {
    note(&format!("{which} again: stopped at once; the journal tells the next start what was under way"));
    std::process::exit(1);
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

fn start_log(filter: &str, json: bool) -> Result<(), Failed> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|e| Failed::new(Exit::Refused, format!("log is \"{filter}\": {e}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people, not for files.
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = if json { log.json().try_init() } else { log.try_init() };
    started.map_err(|e| Failed::new(Exit::Refused, format!("the log cannot start: {e}")))
}
