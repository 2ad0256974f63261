//! What a person does to transactions, definitions and participants. Each act keeps who and why.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::encode;
use super::show::{say, sentence, text};
use super::{Ended, Exit, Failed, Global, good, submit};

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// tx_…
    id: String,
    /// Why; goes into the history
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// tx_…
    id: String,
    /// Why; goes into the history
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// tx_…
    id: String,
    /// Name of the step
    step: String,
    /// What is decided: the call, or its undo
    #[arg(long, value_parser = ["call", "compensate"])]
    direction: String,
    /// done: it happened; refused: it did not (of an undo: give it up)
    #[arg(long, value_parser = ["done", "refused"])]
    outcome: String,
    /// The fields that the step keeps of an answer, as JSON
    #[arg(long)]
    result: Option<String>,
    /// Why; goes into the history
    #[arg(long)]
    reason: String,
}

/// What can be paused.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// New submissions of it are refused
    Definition,
    /// Calls to it wait
    Participant,
    /// All calls of the node wait; takes no name
    Calls,
}

/// What is meant by a kind and a name: its path without the verb, and what to call it.
fn object(kind: Kind, name: Option<&str>) -> Result<(String, String), Failed> {
    let (collection, word) = match (kind, name) {
        (Kind::Calls, None) => return Ok(("/v1/node".into(), "all calls".into())),
        (Kind::Calls, Some(_)) => return Err(Failed::usage("\"calls\" means all calls of the node and takes no name")),
        (Kind::Definition, _) => ("definitions", "definition"),
        (Kind::Participant, _) => ("participants", "participant"),
    };
    let name = name.ok_or_else(|| Failed::usage(format!("which {word}? Its name is missing")))?;
    Ok((format!("/v1/{collection}/{}", encode(name)), format!("{word}/{name}")))
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    kind: Kind,
    /// Of the definition or participant
    name: Option<String>,
    /// Why; shown to whoever is refused
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    kind: Kind,
    /// Of the definition or participant
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Name of the participant
    name: String,
    /// Calls at once, up to its max_in_flight
    #[arg(long)]
    in_flight: u32,
    /// Why; shown with the participant
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct UnpinArgs {
    /// Name of the participant
    name: String,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Name of the participant
    name: String,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ActivateArgs {
    /// Name of the definition
    name: String,
    version: u32,
}

pub(super) fn cancel(args: &CancelArgs, global: &Global) -> Ended {
    on_transaction(global, &format!("/v1/transactions/{}/cancel", encode(&args.id)), &because(args.reason.as_deref()))
}

pub(super) fn retry(args: &RetryArgs, global: &Global) -> Ended {
    on_transaction(global, &format!("/v1/transactions/{}/retry", encode(&args.id)), &because(args.reason.as_deref()))
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(|| "{}".to_owned(), |reason| json!({ "reason": reason }).to_string())
}

pub(super) fn resolve(args: &ResolveArgs, global: &Global) -> Ended {
    let path = format!("/v1/transactions/{}/steps/{}/resolve", encode(&args.id), encode(&args.step));
    let word = |text: &str| Value::from(text).to_string();
    let mut body = format!(
        "{{\"direction\":{},\"outcome\":{},\"reason\":{}",
        word(&args.direction),
        word(&args.outcome),
        word(&args.reason)
    );
    if let Some(result) = &args.result {
        body.push_str(&format!(",\"result\":{}", submit::json_argument(result, "result")?));
    }
    body.push('}');
    on_transaction(global, &path, &body)
}

fn on_transaction(global: &Global, path: &str, body: &str) -> Ended {
    let tx = good(global.client()?.post(path, body)?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&tx).unwrap_or_default());
    } else {
        say(&format!("{}  {}", text(&tx, "id"), sentence(&tx)));
    }
    Ok(Exit::Done)
}

pub(super) fn pause(args: &PauseArgs, global: &Global) -> Ended {
    let (path, what) = object(args.kind, args.name.as_deref())?;
    let line = format!("{what} paused: {}", args.reason);
    on_object(global, &format!("{path}/pause"), &json!({ "reason": args.reason }), &line)
}

pub(super) fn resume(args: &ResumeArgs, global: &Global) -> Ended {
    let (path, what) = object(args.kind, args.name.as_deref())?;
    on_object(global, &format!("{path}/resume"), &json!({}), &format!("{what} resumed"))
}

pub(super) fn pin(args: &PinArgs, global: &Global) -> Ended {
    let path = format!("/v1/participants/{}/pin", encode(&args.name));
    let line = format!("participant/{} pinned to {} calls at once", args.name, args.in_flight);
    on_object(global, &path, &json!({ "in_flight": args.in_flight, "reason": args.reason }), &line)
}

pub(super) fn unpin(args: &UnpinArgs, global: &Global) -> Ended {
    let path = format!("/v1/participants/{}/pin", encode(&args.name));
    let line = format!("participant/{} is no longer pinned", args.name);
    on_object(global, &path, &json!({ "reason": args.reason }), &line)
}

pub(super) fn forget(args: &ForgetArgs, global: &Global) -> Ended {
    let path = format!("/v1/participants/{}/forget", encode(&args.name));
    let line = format!("what was learned about participant/{} is forgotten", args.name);
    on_object(global, &path, &json!({ "reason": args.reason }), &line)
}

pub(super) fn activate(args: &ActivateArgs, global: &Global) -> Ended {
    let path = format!("/v1/definitions/{}/activate", encode(&args.name));
    let line = format!("definition/{} version {} active", args.name, args.version);
    on_object(global, &path, &json!({ "version": args.version }), &line)
}

fn on_object(global: &Global, path: &str, body: &Value, line: &str) -> Ended {
    let object = good(global.client()?.post(path, &body.to_string())?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&object).unwrap_or_default());
    } else {
        say(line);
    }
    Ok(Exit::Done)
}
