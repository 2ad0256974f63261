//! `tidegate drill`: faults on purpose against an engine of its own, and a verdict on every promise it gave.
//!
//! A drill repeats faults many times under load; the demo tells the whole story once. `load` has the clients, `blow`
//! what is done to the processes, `verdict` what must hold in the end; each verb puts them together.

mod blow;
mod damage;
mod faults;
mod history;
mod kill;
mod load;
mod told;
mod verdict;

use std::path::PathBuf;

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
    /// Kills, standstills, torn writes, a full disk and ailing systems in any mixture, from a seed
    Faults(faults::Args),
    /// Flip bits in the files of a stopped engine: doctor and start must find them
    Damage(damage::Args),
    /// Record what concurrent clients were told through faults, in the form that Elle-style checkers read, and judge it
    History(history::Args),
    /// Judge a recorded history from its file alone
    Judge(history::JudgeArgs),
}

/// What every drill takes.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// Of every random choice: moments, orders, faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Work in this new folder and leave it: data, ledger, logs
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Drill this build of tidegate instead of the one that is running
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// What a drill came to.
enum Told {
    Drill(told::Told),
    Damage(damage::Told),
    History(history::Told),
}

/// Runs one. Done only if every check holds; otherwise the folder stays.
pub(crate) fn run(args: &Args, json: bool) -> Ended {
    let common = match &args.what {
        What::Judge(args) => return history::judge_file(args, json),
        What::Kill(args) => &args.common,
        What::Faults(args) => {
            faults::move_into_a_room(args).map_err(failed)?;
            &args.common
        }
        What::Damage(args) => &args.common,
        What::History(args) => &args.common,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| failed(format!("cannot start: {why}")))?;
    // The children end with the thread that started them, so all of it runs on this one.
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut stage = Stage::new(common.keep.as_deref(), common.seed).map_err(failed)?;
        stage.program.clone_from(&common.program);
        let ended = tokio::select! {
            biased;
            () = interrupted() => return Ok(Exit::Interrupted),
            ended = play(&args.what, &mut stage) => ended,
        };
        let left = |stage: &mut Stage| format!("everything of this run is in {}", stage.keep_folder().display());
        let told = ended.map_err(|why| failed(format!("{why}\n{}", left(&mut stage))))?;
        let passed = match &told {
            Told::Drill(told) => {
                show(told, json);
                told.passed
            }
            Told::Damage(told) => {
                show(told, json);
                told.passed
            }
            Told::History(told) => {
                show(told, json);
                told.passed
            }
        };
        if passed { Ok(Exit::Done) } else { Err(failed(format!("the drill failed, see above; {}", left(&mut stage)))) }
    })
}

async fn play(what: &What, stage: &mut Stage) -> Result<Told, String> {
    match what {
        What::Kill(args) => kill::play(args, stage).await.map(Told::Drill),
        What::Faults(args) => faults::play(args, stage).await.map(Told::Drill),
        What::Damage(args) => damage::play(args, stage).await.map(Told::Damage),
        What::History(args) => history::play(args, stage).await.map(Told::History),
        What::Judge(_) => Err("a file is judged without a stage".to_owned()),
    }
}

fn failed(why: impl Into<String>) -> Failed {
    Failed::new(Exit::Refused, why)
}
