//! The command line: verbs, their arguments, their exit codes.
//!
//! Data goes to standard output (`-o json|table`), everything else to standard error. A verb is a file; each ends
//! with an [`Exit`]. What the server says is shown as it says it: no rule of the engine is repeated here.

mod apply;
mod backup;
mod client;
mod definitions;
mod files;
mod get;
mod init;
mod lab;
mod list;
mod operate;
mod participants;
mod serve;
pub(crate) mod show;
mod signal;
mod stand;
mod submit;
mod test;
mod watch;

use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use client::{Client, NoAnswer, Reply};

/// How a verb ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done, or completed.
    Done = 0,
    /// Bad input, or refused.
    Refused = 1,
    /// Wrong usage.
    Usage = 2,
    /// The server was not reached or is overloaded: try again.
    TryAgain = 3,
    /// The transaction was aborted.
    Aborted = 4,
    /// Not decided within the wait.
    Undecided = 5,
    /// Ctrl-C or SIGTERM ended it, as shells say it.
    Interrupted = 130,
}

/// Why a verb did not do what it should; the message is for standard error.
#[derive(Debug)]
pub(crate) struct Failed {
    exit: Exit,
    message: String,
}

impl Failed {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl From<NoAnswer> for Failed {
    fn from(why: NoAnswer) -> Self {
        let hint = if why.nothing_sent {
            "is it started? tidegate serve"
        } else {
            "it may have arrived: look before you repeat it"
        };
        Self::new(Exit::TryAgain, format!("{why}\n  {hint}"))
    }
}

pub(crate) type Ended = Result<Exit, Failed>;

const AFTER_HELP: &str = "Exit codes: 0 done or completed, 1 bad input or refused, 2 wrong usage, \
3 server not reached or overloaded (try again), 4 transaction aborted, 5 not decided within --wait.";

/// Business transactions across systems you do not control.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The server [env: TIDEGATE_SERVER] [default: http://127.0.0.1:7410]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// How data is written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Output {
    Json,
    Table,
    /// A page that opens offline, of `lab run` only
    Html,
}

impl Global {
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        let server = self.server.clone().or_else(|| variable("TIDEGATE_SERVER"));
        let actor = variable("TIDEGATE_ACTOR").or_else(|| variable("USER"));
        Client::new(server.as_deref().unwrap_or("http://127.0.0.1:7410"), actor).map_err(Failed::usage)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the files of an example to a folder
    Init(init::InitArgs),
    /// Check definition files without a server
    Check(files::CheckArgs),
    /// Run the cases of test files, or every failure of a definition, in virtual time
    Test(test::TestArgs),
    /// Apply definition files to the server, all or nothing
    Apply(apply::ApplyArgs),
    /// Begin a transaction and wait for its outcome
    Submit(submit::SubmitArgs),
    /// Show a transaction, a definition, a participant or the node
    Get(get::GetArgs),
    /// Find transactions, or count them
    List(list::ListArgs),
    /// Follow a transaction until it has ended
    Watch(watch::WatchArgs),
    /// Deliver a signal to a waiting transaction
    Signal(signal::SignalArgs),

    /// Run the engine and its API
    Serve(serve::ServeArgs),
    /// Show every setting of the server and where its value comes from
    Settings(serve::SettingsArgs),
    /// Wish that a transaction be aborted
    Cancel(operate::CancelArgs),
    /// Try at once what is waiting or needs attention
    Retry(operate::RetryArgs),
    /// Decide by hand what became of a call or an undo
    Resolve(operate::ResolveArgs),
    /// Hold new submissions of a definition, calls to a participant, or all calls
    Pause(operate::PauseArgs),
    /// Let a definition, a participant or all calls go on
    Resume(operate::ResumeArgs),
    /// Fix the limit of a participant
    Pin(operate::PinArgs),
    /// Let the limit of a participant be learned again
    Unpin(operate::UnpinArgs),
    /// Forget what was learned about a participant
    Forget(operate::ForgetArgs),
    /// Choose the version that new transactions begin with
    Activate(operate::ActivateArgs),
    /// Copy the data directory of a working node
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup; its node starts with all calls paused
    Restore(backup::RestoreArgs),

    /// Show the participants: limits, load, state and why
    Participants(participants::ParticipantsArgs),
    /// Verify the data directory of a stopped node, and say what is wrong and where
    Doctor(crate::doctor::Args),

    /// Play external systems to practise on
    Stand(stand::StandArgs),
    /// Real arrivals, refusals, faults and a kill -9 against a server and a stand of its own; then the audit
    Demo(crate::demo::Args),
    /// Break an engine of its own on purpose, and check every promise it gave
    Drill(crate::drill::Args),
    /// Measure speed and cost, beside what the machine allows
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The load manager and its rivals against systems whose true capacity is known
    #[command(subcommand)]
    Lab(lab::Lab),
    // A new verb stands here, in `GROUPS` and in `dispatch`.
}

/// How help groups the verbs; a test holds that each stands in exactly one group.
const GROUPS: &[(&str, &[&str])] = &[
    ("Use", &["init", "check", "test", "apply", "submit", "get", "list", "watch", "signal"]),
    (
        "Operate",
        &[
            "serve", "settings", "cancel", "retry", "resolve", "pause", "resume", "pin", "unpin", "forget", "activate",
            "backup", "restore",
        ],
    ),
    ("Inspect", &["participants", "doctor"]),
    ("Practise", &["stand", "demo", "drill", "bench", "lab"]),
];

fn dispatch(verb: Verb, global: &Global) -> Ended {
    if global.output == Output::Html && !matches!(verb, Verb::Lab(lab::Lab::Run(_))) {
        return Err(Failed::usage("-o html is for `lab run` only"));
    }
    match verb {
        Verb::Init(args) => init::init(&args),
        Verb::Check(args) => files::check(&args, global),
        Verb::Test(args) => test::test(&args, global),
        Verb::Apply(args) => apply::apply(&args, global),
        Verb::Submit(args) => submit::submit(&args, global),
        Verb::Get(args) => get::get(&args, global),
        Verb::List(args) => list::list(&args, global),
        Verb::Watch(args) => watch::watch(&args, global),
        Verb::Signal(args) => signal::signal(&args, global),
        Verb::Serve(args) => serve::serve(&args),
        Verb::Settings(args) => serve::settings(&args, global),
        Verb::Cancel(args) => operate::cancel(&args, global),
        Verb::Retry(args) => operate::retry(&args, global),
        Verb::Resolve(args) => operate::resolve(&args, global),
        Verb::Pause(args) => operate::pause(&args, global),
        Verb::Resume(args) => operate::resume(&args, global),
        Verb::Pin(args) => operate::pin(&args, global),
        Verb::Unpin(args) => operate::unpin(&args, global),
        Verb::Forget(args) => operate::forget(&args, global),
        Verb::Activate(args) => operate::activate(&args, global),
        Verb::Backup(args) => backup::backup(&args, global),
        Verb::Restore(args) => backup::restore(&args, global),
        Verb::Participants(args) => participants::participants(&args, global),
        Verb::Doctor(args) => crate::doctor::run(&args, global.is_json()),
        Verb::Stand(args) => stand::stand(args, global),
        Verb::Demo(args) => crate::demo::run(&args, global.is_json()),
        Verb::Drill(args) => crate::drill::run(&args, global.is_json()),
        Verb::Lab(what) => lab::lab(&what, global),
        Verb::Bench(what) => {
            let output = if global.is_json() { bench::Output::Json } else { bench::Output::Table };
            bench::run(what, output).map(|()| Exit::Done).map_err(|why| Failed::new(Exit::Refused, why))
        }
    }
}

/// The command with its verbs in groups: clap has none, so the list is written here from clap's own texts.
fn command() -> clap::Command {
    let command = Cli::command();
    let mut help = String::from("{about}\n\n{usage-heading} {usage}\n");
    for (group, verbs) in GROUPS {
        help.push_str(&format!("\n{group}:\n"));
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(clap::Command::get_about);
            help.push_str(&format!("  {verb:14}{}\n", about.map(ToString::to_string).unwrap_or_default()));
        }
    }
    help.push_str("\nOptions:\n{options}{after-help}");
    command.help_template(help).after_help(AFTER_HELP).disable_help_subcommand(true)
}

pub(crate) fn run() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(what) => {
            // Help and version are wanted output; everything else is wrong usage.
            let _ = what.print();
            return ExitCode::from(if what.use_stderr() { Exit::Usage as u8 } else { Exit::Done as u8 });
        }
    };
    let exit = dispatch(cli.verb, &cli.global).unwrap_or_else(|failed| {
        show::note(&format!("error: {}", failed.message));
        failed.exit
    });
    ExitCode::from(exit as u8)
}

/// A good answer, or the problem as a message and its exit code.
pub(crate) fn good(reply: Reply) -> Result<Reply, Failed> {
    if reply.is_good() { Ok(reply) } else { Err(problem(&reply)) }
}

/// What a problem document says, for a person.
pub(crate) fn problem(reply: &Reply) -> Failed {
    let document = reply.json();
    let text = |name: &str| document[name].as_str().map(str::to_owned);
    let mut message = match text("detail") {
        Some(detail) => detail,
        None => format!("the server answered {}: {}", reply.status, reply.text().trim()),
    };
    for fault in document["errors"].as_array().into_iter().flatten() {
        let place = ["pointer", "parameter", "header", "object"].iter().find_map(|kind| fault[*kind].as_str());
        let place = place.unwrap_or_default().trim_start_matches('/').replace('/', ".");
        message.push_str(&format!("\n  {place}  {}", fault["detail"].as_str().unwrap_or_default()));
    }
    if let Some(hint) = text("hint") {
        message.push_str(&format!("\n  {hint}"));
    }
    if reply.is_overload() {
        let accepted = match text("accepted").as_deref() {
            Some("unknown") => "whether anything was accepted is not known",
            _ => "nothing was accepted",
        };
        message.push_str(&format!("\n  {accepted}; try again in {} s", reply.header("retry-after").unwrap_or("1")));
        return Failed::new(Exit::TryAgain, message);
    }
    Failed::new(if reply.status == 500 { Exit::TryAgain } else { Exit::Refused }, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed_and_every_verb_stands_in_one_group() {
        command().debug_assert();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        let mut all: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }
}
