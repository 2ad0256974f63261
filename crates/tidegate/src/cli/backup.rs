//! A copy of a working node's data, and a data directory from it. What the copy consists of is `runtime::backup`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::show::say;
use super::{Ended, Exit, Failed, Global, good};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// A new or empty folder on the node's machine
    to: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The folder of the backup
    from: PathBuf,
    /// The data directory to make; new or empty
    #[arg(long)]
    data: PathBuf,
}

pub(super) fn backup(args: &BackupArgs, global: &Global) -> Ended {
    let to = std::path::absolute(&args.to).map_err(|e| Failed::usage(format!("{}: {e}", args.to.display())))?;
    let body = json!({ "to": to }).to_string();
    let made = good(global.client()?.post_and_wait("/v1/node/backup", &body)?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&made).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let number = |name: &str| made.get(name).and_then(Value::as_u64).unwrap_or(0);
    let at = made.get("at").and_then(Value::as_str).unwrap_or("?");
    say(&format!(
        "{}: {} files, {:.1} MiB; everything acknowledged before {at} is in it",
        to.display(),
        number("files"),
        number("bytes") as f64 / f64::from(1 << 20)
    ));
    Ok(Exit::Done)
}

pub(super) fn restore(args: &RestoreArgs, global: &Global) -> Ended {
    let made = runtime::backup::restore(&args.from, &args.data);
    let made = made.map_err(|why| Failed::new(Exit::Refused, format!("nothing to start from was made: {why}")))?;
    if global.is_json() {
        let made = json!({
            "data": args.data,
            "at": made.at.to_string(),
            "files": made.files,
            "bytes": made.bytes,
            "incarnation": made.incarnation,
        });
        say(&serde_json::to_string_pretty(&made).unwrap_or_default());
        return Ok(Exit::Done);
    }
    say(&format!("{}: {} files, as of {}", args.data.display(), made.files, made.at));
    say("its node starts with all calls paused. What was accepted after the backup is not in it, and calls made since");
    say("are made again, under the same call keys. Make sure that the old node is gone, then:");
    say(&format!("  tidegate serve --data {}", args.data.display()));
    say("  tidegate resume calls");
    Ok(Exit::Done)
}
