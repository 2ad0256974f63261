//! `signal`: delivers a signal, by transaction or by definition and key.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::Ask;
use super::show::{note, say, text};
use super::{Ended, Exit, Failed, Global, good, submit};

#[derive(Debug, Args)]
pub(super) struct SignalArgs {
    /// Name of the signal
    signal: String,
    /// To this transaction
    #[arg(long, value_name = "TX", conflicts_with_all = ["definition", "key"])]
    transaction: Option<String>,
    /// To the live transaction of this definition …
    #[arg(long, requires = "key")]
    definition: Option<String>,
    /// … with this key
    #[arg(long, requires = "definition")]
    key: Option<String>,
    /// The body as JSON; @FILE reads a file, - standard input
    #[arg(short, long, default_value = "null")]
    body: String,
    /// 1 to 255 visible characters; made if absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(super) fn signal(args: &SignalArgs, global: &Global) -> Ended {
    let word = |text: &str| Value::from(text).to_string();
    let to = match (&args.transaction, &args.definition, &args.key) {
        (Some(id), ..) => format!("\"transaction\":{}", word(id)),
        (_, Some(definition), Some(key)) => format!("\"definition\":{},\"key\":{}", word(definition), word(key)),
        _ => return Err(Failed::usage("say --transaction TX, or --definition NAME and --key KEY")),
    };
    let body = submit::json_argument(&args.body, "body")?;
    let body = format!("{{{to},\"signal\":{},\"body\":{body}}}", word(&args.signal));
    let key = match &args.idempotency_key {
        Some(key) => key.clone(),
        None => {
            let key = submit::new_key()?;
            note(&format!("idempotency key {key} (made for you; --idempotency-key to choose)"));
            key
        }
    };
    let headers = [("Idempotency-Key", key.as_str())];
    let ask = Ask {
        method: "POST",
        path: "/v1/signals",
        headers: &headers,
        body: Some(&body),
        timeout: Duration::from_secs(30),
    };
    let reply = good(global.client()?.ask(&ask)?)?;
    let document = reply.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        let again = if reply.header("idempotent-replayed").is_some() { " (the same again)" } else { "" };
        say(&format!("{}  has signal {}{again}", text(&document, "transaction"), args.signal));
    }
    Ok(Exit::Done)
}
