//! `submit`: begins a transaction, safely under one idempotency key however often the connection fails, and waits.

use std::io::Read as _;
use std::time::{Duration, Instant};

use clap::Args;
use model::Value as Exact;
use serde_json::Value;

use super::client::{Ask, Client, Reply, encode};
use super::show::{note, one_line, say, sentence, text};
use super::{Ended, Exit, Failed, Global, good, problem};

/// A submission is sent again so often, under the same key.
const TRIES_MAX: u32 = 6;
/// The longest that one request waits at the server.
const ONE_WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Name of the definition
    definition: String,
    /// The input as JSON; @FILE reads a file, - standard input
    #[arg(short, long, default_value = "{}")]
    input: String,
    /// 1 to 255 visible characters; made if absent. The same again begins nothing new
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long to wait, such as 0, 500ms, 10s, 5m
    #[arg(long, default_value = "10s", value_parser = wait)]
    wait: Duration,
    /// What to wait for
    #[arg(long, default_value = "outcome", value_parser = ["outcome", "end"])]
    until: String,
    /// Not the active version but this one
    #[arg(long)]
    version: Option<u32>,
    /// For the whole transaction; never past the definition's
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// low, normal or high
    #[arg(long, value_parser = ["low", "normal", "high"])]
    priority: Option<String>,
}

/// `0` or a duration as in files.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    model::parse_duration(text).ok_or_else(|| "a duration such as 500ms, 10s or 5m".into())
}

pub(super) fn submit(args: &SubmitArgs, global: &Global) -> Ended {
    let client = global.client()?;
    let input = json_argument(&args.input, "input")?;
    let key = match &args.idempotency_key {
        Some(key) => key.clone(),
        None => {
            let key = new_key()?;
            note(&format!("idempotency key {key} (made for you; --idempotency-key to choose)"));
            key
        }
    };
    let begun = Instant::now();
    let first_wait = args.wait.min(ONE_WAIT_MAX);
    let path = format!("/v1/transactions?wait={}ms&until={}", first_wait.as_millis(), args.until);
    let reply = send(&client, &path, &body(args, &input), &key, first_wait)?;
    let mut tx = match reply.status {
        200 | 202 => reply.json(),
        422 if text(&reply.json(), "type") == "/problems/input-invalid" => {
            return Err(input_invalid(&reply.json(), &args.definition));
        }
        _ => return Err(problem(&reply)),
    };
    let decided =
        |tx: &Value| if args.until == "end" { text(tx, "state") == "ended" } else { !tx["outcome"].is_null() };
    let id = text(&tx, "id").to_owned();
    while !decided(&tx) && begun.elapsed() < args.wait {
        let left = (args.wait - begun.elapsed()).min(ONE_WAIT_MAX);
        let path = format!("/v1/transactions/{id}?view=answer&wait={}ms&until={}", left.as_millis(), args.until);
        let ask = Ask { method: "GET", path: &path, headers: &[], body: None, timeout: left + Duration::from_secs(10) };
        tx = good(client.ask(&ask)?)?.json();
    }
    report(&client, global, &tx)
}

/// Says how it stands; the exit code is the outcome's.
fn report(client: &Client, global: &Global, tx: &Value) -> Ended {
    let id = text(tx, "id");
    let exit = match text(tx, "outcome") {
        "completed" => Exit::Done,
        "aborted" => Exit::Aborted,
        _ => Exit::Undecided,
    };
    if global.is_json() {
        say(&serde_json::to_string_pretty(tx).unwrap_or_default());
        return Ok(exit);
    }
    let mut line = format!("{id}  {}", sentence(tx));
    if exit == Exit::Undecided && text(&tx["waits_for"], "kind") == "participant" {
        let path = format!("/v1/participants/{}", encode(text(&tx["waits_for"], "name")));
        if let Ok(reply) = client.get(&path).map(|reply| reply.json())
            && !text(&reply, "why").is_empty()
        {
            line.push_str(&format!(" ({})", text(&reply, "why")));
        }
    }
    say(&line);
    match exit {
        Exit::Done if !tx["output"].is_null() => say(&one_line(&tx["output"])),
        Exit::Aborted if text(tx, "state") != "ended" => note(&still_undoing(client, id)),
        Exit::Undecided => note(&format!("accepted and safe; it goes on by itself: tidegate watch {id}")),
        _ => {}
    }
    Ok(exit)
}

fn still_undoing(client: &Client, id: &str) -> String {
    let full = client.get(&format!("/v1/transactions/{id}")).map(|reply| reply.json()).unwrap_or_default();
    let steps = full["steps"].as_array().into_iter().flatten();
    let left = steps.filter(|step| step["may_have_executed"] == true && text(step, "state") != "compensated").count();
    let steps = if left == 1 { "1 step".to_owned() } else { format!("{left} steps") };
    if left == 0 {
        format!("all is undone: tidegate get {id}")
    } else {
        format!("still undoing {steps}: tidegate watch {id}")
    }
}

/// The body by hand: numbers of the input must not pass through anything that knows only floats.
fn body(args: &SubmitArgs, input: &Exact) -> String {
    let mut body = format!("{{\"definition\":{},\"input\":{input}", Value::from(args.definition.as_str()));
    if let Some(version) = args.version {
        body.push_str(&format!(",\"version\":{version}"));
    }
    for (name, value) in [("timeout", &args.timeout), ("priority", &args.priority)] {
        if let Some(value) = value {
            body.push_str(&format!(",\"{name}\":{}", Value::from(value.as_str())));
        }
    }
    body.push('}');
    body
}

/// Sends it until there is an answer that says more than "try again". The key makes that safe.
fn send(client: &Client, path: &str, body: &str, key: &str, wait: Duration) -> Result<Reply, Failed> {
    let headers = [("Idempotency-Key", key)];
    let timeout = wait + Duration::from_secs(10);
    let ask = Ask { method: "POST", path, headers: &headers, body: Some(body), timeout };
    let mut pause = Duration::from_millis(200);
    for attempt in 1.. {
        let (why, after) = match client.ask(&ask) {
            Ok(reply) if reply.is_overload() && attempt < TRIES_MAX => {
                let after = reply.header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(1u64);
                (text(&reply.json(), "detail").to_owned(), Duration::from_secs(after.min(5)))
            }
            Ok(reply) => return Ok(reply),
            Err(none) if attempt < TRIES_MAX => (none.to_string(), pause),
            Err(none) => {
                let hint = format!("repeat it safely with --idempotency-key {key}");
                return Err(Failed::new(Exit::TryAgain, format!("{none}\n  is it started? tidegate serve\n  {hint}")));
            }
        };
        note(&format!("{why}; trying again with the same key"));
        std::thread::sleep(after);
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    Err(Failed::new(Exit::TryAgain, "no answer"))
}

fn input_invalid(document: &Value, definition: &str) -> Failed {
    let version =
        text(document, "detail").rsplit("version ").next().and_then(|rest| rest.split(' ').next()).unwrap_or("?");
    let mut message = format!("the input does not fit {definition} version {version}");
    for fault in document["errors"].as_array().into_iter().flatten() {
        let place = text(fault, "pointer").trim_start_matches('/').replace('/', ".");
        message.push_str(&format!("\n  {place}  {}", text(fault, "detail")));
    }
    message.push_str(&format!("\nnothing was accepted. The fields: tidegate get definition {definition} --input"));
    Failed::new(Exit::Refused, message)
}

/// JSON from the command line, a file or standard input, kept to the last digit.
pub(super) fn json_argument(argument: &str, what: &str) -> Result<Exact, Failed> {
    let bytes = match argument.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(|e| Failed::new(Exit::Refused, format!("{path}: {e}")))?,
        None if argument == "-" => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(1 << 20).read_to_end(&mut bytes);
            read.map_err(|e| Failed::new(Exit::Refused, format!("standard input: {e}")))?;
            bytes
        }
        None => argument.as_bytes().to_vec(),
    };
    model::json::parse(&bytes).map_err(|e| Failed::new(Exit::Refused, format!("the {what} is {e}")))
}

/// 16 hexadecimal digits of chance.
pub(super) fn new_key() -> Result<String, Failed> {
    let number = getrandom::u64().map_err(|e| Failed::new(Exit::Refused, format!("no random numbers: {e}")))?;
    Ok(format!("{number:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_every_digit_of_the_input() {
        let args = SubmitArgs {
            definition: "top-up".into(),
            input: String::new(),
            idempotency_key: None,
            wait: Duration::ZERO,
            until: "outcome".into(),
            version: Some(2),
            timeout: Some("30s".into()),
            priority: None,
        };
        let Ok(input) = json_argument(r#"{"b": 9007199254740993, "a": 0.10}"#, "input") else { panic!("good JSON") };
        assert_eq!(
            body(&args, &input),
            r#"{"definition":"top-up","input":{"a":0.10,"b":9007199254740993},"version":2,"timeout":"30s"}"#
        );
    }

    #[test]
    fn keys_are_visible_and_differ() {
        let (Ok(a), Ok(b)) = (new_key(), new_key()) else { panic!("chance is there") };
        assert!(a.len() == 16 && a != b && a.bytes().all(|c| c.is_ascii_hexdigit()));
    }
}
