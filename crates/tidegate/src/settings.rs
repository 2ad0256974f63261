//! The numbers of `serve`: one table of names, read from flags, environment and a file, each with where it came from.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. A value that cannot be
//! refuses the start with its place. Settings live as text until `build` turns them into the components' own types.

mod file;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use api::ListenSettings;

use parse::{Kind, bytes_of, duration_of};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    kind: Kind,
    default: Default,
    /// What it does, and what larger and smaller mean.
    pub(crate) help: &'static str,
}

#[derive(Debug)]
enum Default {
    Text(&'static str),
    Cores,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default: Default::Text(default), help }
}

/// All of them, in the order in which they are shown.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("data", Kind::Path, "./data", "The data directory; made if it is missing. One process at a time."),
    setting(
        "listen",
        Kind::Address,
        "127.0.0.1:7410",
        "Address of the API. Loopback only, until there are TLS and tokens.",
    ),
    setting("partitions", Kind::Count(1, 4_096), "4", "Only when the data directory is made; fixed for its life."),
    Setting {
        name: "workers",
        kind: Kind::Count(1, 1_024),
        default: Default::Cores,
        help: "Threads that run transactions. More than the cores only costs.",
    },
    setting("secrets", Kind::MaybePath, "", "Folder where ${secret.x} finds file x."),
    setting("drain", Kind::Duration, "10s", "How long a clean stop waits for calls and clients."),
    setting(
        "inbox_max",
        Kind::Count(1, 10_000_000),
        "16384",
        "Submissions that may wait for one worker; beyond it 429.",
    ),
    setting(
        "memory_max",
        Kind::Bytes,
        "1GiB",
        "Memory for live transactions; beyond it they rest on disk, then new work is refused.",
    ),
    setting(
        "checkpoint_every",
        Kind::Bytes,
        "64MiB",
        "Journal bytes between two checkpoints. More: fewer writes, longer recovery.",
    ),
    setting("journal_disk_max", Kind::Bytes, "8GiB", "Disk for the journal; before it is full new work is refused."),
    setting(
        "idempotency_window",
        Kind::Duration,
        "7d",
        "How long an ended transaction's idempotency key is remembered, at least. 7d or more.",
    ),
    setting(
        "history_retention",
        Kind::Duration,
        "30d",
        "How long ended transactions can be looked up. Not shorter than idempotency_window.",
    ),
    setting(
        "connections_max",
        Kind::Count(1, 1_000_000),
        "16384",
        "Open connections to the API; further ones are answered 503.",
    ),
    setting(
        "requests_max",
        Kind::Count(1, 10_000_000),
        "65536",
        "Requests not answered yet, waiting ones included; further ones are answered 503.",
    ),
    setting("body_max", Kind::Bytes, "1MiB", "Bytes of one request."),
    setting("log", Kind::Text, "info", "Level of the log, or a filter such as info,runtime=debug."),
    setting("log_format", Kind::Word(&["text", "json"]), "text", "How the log is written to standard error."),
];

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Default,
    File { path: String, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// One value in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InForce {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// Every setting with its value, checked one by one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resolved(pub(crate) Vec<InForce>);

/// Why the settings cannot be: one line for each thing that is wrong, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong(pub(crate) Vec<String>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, line) in self.0.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

/// What was said: a file's text, the environment, flags by the name of their setting.
pub(crate) struct Said<'a> {
    pub(crate) file: Option<(&'a str, &'a str)>,
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) flags: &'a BTreeMap<&'static str, String>,
}

pub(crate) fn resolve(said: &Said<'_>) -> Result<Resolved, Wrong> {
    let mut wrong = Vec::new();
    let mut from_file = BTreeMap::new();
    if let Some((path, text)) = said.file {
        match file::read(path, text) {
            Ok(values) => from_file = values,
            Err(lines) => wrong.extend(lines),
        }
    }
    let mut all = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let variable = format!("TIDEGATE_{}", setting.name.to_uppercase());
        let (value, source) = if let Some(value) = said.flags.get(setting.name) {
            (value.clone(), Source::Flag(setting.name))
        } else if let Some(value) = (said.environment)(&variable) {
            (value, Source::Environment(variable))
        } else if let Some((line, value)) = from_file.remove(setting.name) {
            (value, Source::File { path: said.file.map(|(path, _)| path.to_owned()).unwrap_or_default(), line })
        } else {
            (setting.default.text(), Source::Default)
        };
        if let Err(why) = setting.kind.check(&value) {
            wrong.push(format!("{source}: {} is \"{value}\", {why}", setting.name));
        }
        all.push(InForce { name: setting.name, value, source });
    }
    if wrong.is_empty() { Ok(Resolved(all)) } else { Err(Wrong(wrong)) }
}

impl Default {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Cores => std::thread::available_parallelism().map_or(1, usize::from).to_string(),
        }
    }
}

/// What `serve` runs with.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) engine: runtime::Settings,
    pub(crate) listen: ListenSettings,
    pub(crate) log: String,
    pub(crate) log_json: bool,
}

impl Resolved {
    fn get(&self, name: &str) -> &InForce {
        self.0.iter().find(|v| v.name == name).unwrap_or_else(|| unreachable_setting(name))
    }

    fn text(&self, name: &str) -> &str {
        &self.get(name).value
    }

    fn count(&self, name: &str) -> usize {
        self.text(name).parse().unwrap_or(1)
    }

    fn bytes(&self, name: &str) -> u64 {
        bytes_of(self.text(name)).unwrap_or(0)
    }

    fn duration(&self, name: &str) -> std::time::Duration {
        duration_of(self.text(name)).unwrap_or_default()
    }

    /// The components' own settings; refuses what does not fit together.
    pub(crate) fn build(&self) -> Result<Built, Wrong> {
        let address = |text: &str| text.parse::<SocketAddr>().ok();
        let listen = address(self.text("listen")).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7410)));
        let mut wrong = Vec::new();
        if !listen.ip().is_loopback() {
            let at = &self.get("listen").source;
            wrong.push(format!(
                "{at}: listen is \"{listen}\", which is not loopback: this version has no TLS and no tokens, so anybody who \
                 reaches it could begin and cancel transactions. Listen on 127.0.0.1 and put a proxy with both in front"
            ));
        }
        let window = self.duration("idempotency_window");
        if window < std::time::Duration::from_secs(7 * 86_400) {
            wrong.push(format!(
                "{}: idempotency_window is \"{}\", it must be at least 7d",
                self.get("idempotency_window").source,
                self.text("idempotency_window")
            ));
        }
        if self.duration("history_retention") < window {
            wrong.push(format!(
                "{}: history_retention is \"{}\", shorter than idempotency_window (\"{}\"): a repeat could not be answered",
                self.get("history_retention").source,
                self.text("history_retention"),
                self.text("idempotency_window")
            ));
        }
        if !wrong.is_empty() {
            return Err(Wrong(wrong));
        }
        let mut engine = runtime::Settings::new(self.text("data"));
        engine.partitions = u16::try_from(self.count("partitions")).unwrap_or(u16::MAX);
        engine.workers = self.count("workers");
        engine.checkpoint_every_bytes = self.bytes("checkpoint_every");
        engine.memory_bytes_max = self.bytes("memory_max");
        engine.inbox_max = self.count("inbox_max");
        engine.idempotency_window = window;
        engine.history_retention = self.duration("history_retention");
        engine.secrets = Some(self.text("secrets")).filter(|path| !path.is_empty()).map(PathBuf::from);
        engine.drain = self.duration("drain");
        engine.journal_disk_bytes_max = self.bytes("journal_disk_max");
        let mut front = ListenSettings::new(listen);
        front.connections_max = self.count("connections_max");
        front.requests_max = self.count("requests_max");
        front.body_bytes_max = usize::try_from(self.bytes("body_max")).unwrap_or(usize::MAX);
        front.definition_schema = definition::JSON_SCHEMA;
        let log = self.text("log").to_owned();
        Ok(Built { engine, listen: front, log, log_json: self.text("log_format") == "json" })
    }
}

/// Names are this file's own constants.
fn unreachable_setting(name: &str) -> ! {
    unreachable!("there is no setting {name}")
}

#[cfg(test)]
mod tests;
