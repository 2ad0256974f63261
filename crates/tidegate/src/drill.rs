//! `tidegate drill`: faults on purpose against an engine of its own, and a verdict on every promise it gave.
//!
//! A drill repeats one fault many times under load; the demo tells the whole story once.

mod kill;

use crate::cli::{Ended, Exit, Failed};
use crate::demo::stage::Stage;
use crate::demo::{interrupted, show};

/// Break an engine of its own on purpose, and check every promise it gave
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// kill -9 at random moments under load, restart, go on; then compare everything
    Kill(kill::Args),
}

/// Runs one. Done only if every check holds; otherwise the folder stays.
pub(crate) fn run(args: &Args, json: bool) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| failed(format!("cannot start: {why}")))?;
    let What::Kill(args) = &args.what;
    // The children end with the thread that started them, so all of it runs on this one.
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut stage = Stage::new(args.keep.as_deref(), args.seed).map_err(failed)?;
        let ended = tokio::select! {
            biased;
            () = interrupted() => return Ok(Exit::Interrupted),
            ended = kill::play(args, &mut stage) => ended,
        };
        let left = |stage: &mut Stage| format!("everything of this run is in {}", stage.keep_folder().display());
        let told = ended.map_err(|why| failed(format!("{why}\n{}", left(&mut stage))))?;
        show(&told, json);
        if told.passed {
            Ok(Exit::Done)
        } else {
            Err(failed(format!("the drill failed, see above; {}", left(&mut stage))))
        }
    })
}

fn failed(why: impl Into<String>) -> Failed {
    Failed::new(Exit::Refused, why)
}
