//! Faults of every kind in any mixture: each seed has its own kinds, its own settings and its own order of blows.
//!
//! A full disk needs a file system of its own, so the drill moves into a mount namespace of its own first, which ends
//! with it however it ends. Where that is not possible it says so and leaves that kind out.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::demo;
use crate::demo::dice::Dice;
use crate::demo::stage::Stage;

use super::blow::{Blow, Fates, USUAL};
use super::load::Load;
use super::told::Told;
use super::{Common, verdict};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many blows
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Only these kinds [default: a choice of the seed]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    only: Vec<Blow>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Set in the namespace, to why there is none otherwise.
const ROOM: &str = "TIDEGATE_DRILL_ROOM";
const SMALL_DISK_BYTES: u64 = 320 << 20;
/// A kind is part of a seed's mixture with this probability.
const CHOSEN: f64 = 0.6;

impl Args {
    /// The kinds of this run.
    fn kinds(&self) -> Vec<Blow> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let mut dice = Dice::new(self.common.seed, "kinds");
        let mut chosen: Vec<Blow> = Blow::ALL.into_iter().filter(|_| dice.hits(CHOSEN)).collect();
        if !chosen.iter().any(|kind| matches!(kind, Blow::Kill | Blow::KillStarting | Blow::TornTail)) {
            chosen.push(Blow::Kill);
        }
        chosen
    }
}

/// Goes on in a mount namespace of its own if the drill needs one: this process image is replaced.
pub(super) fn move_into_a_room(args: &Args) -> Result<(), String> {
    if !args.kinds().contains(&Blow::DiskFull) || std::env::var_os(ROOM).is_some() {
        return Ok(());
    }
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", program]);
        command
    };
    let tried = unshare("true").stdin(Stdio::null()).output();
    let why = match tried {
        Ok(done) if done.status.success() => {
            let here = std::env::current_exe().map_err(|why| format!("this program cannot be found: {why}"))?;
            let replaced = unshare(&here.to_string_lossy()).args(std::env::args_os().skip(1)).env(ROOM, "").exec();
            format!("unshare does not start: {replaced}")
        }
        Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        Err(why) => format!("unshare does not start: {why}"),
    };
    if args.only.contains(&Blow::DiskFull) {
        return Err(format!("a full disk needs a file system of its own, and so root: {why}"));
    }
    eprintln!("no full disk in this run, it needs a file system of its own and so root: {why}");
    Ok(())
}

pub(super) async fn play(args: &Args, stage: &mut Stage) -> Result<Told, String> {
    let begun = Instant::now();
    let mut kinds = args.kinds();
    if std::env::var_os(ROOM).is_none() {
        kinds.retain(|kind| *kind != Blow::DiskFull);
    }
    settings(stage, args.common.seed);
    if kinds.contains(&Blow::DiskFull) {
        stage.mount_data(SMALL_DISK_BYTES)?;
        stage.set_engine("journal_disk_max", "64MiB");
    }
    under_load(begun, args.common.seed, args.rounds, &kinds, stage).await
}

/// A stand, an engine and clients that go on all the time; so many blows; then the faults stop, everything must end,
/// and what was said is compared with what was done.
pub(super) async fn under_load(
    begun: Instant,
    seed: u64,
    rounds: u32,
    kinds: &[Blow],
    stage: &mut Stage,
) -> Result<Told, String> {
    let participants = stage.with_doors(demo::PARTICIPANTS);
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    demo::apply(&stage.asker(), &participants).await?;
    let mut fates = Fates::new(&participants, seed, &USUAL);
    fates.always(stage).await?;
    let load = Load::new(stage, seed);
    let at_work = load.begin();
    fates.strike(rounds, kinds, stage, &|| load.progress()).await?;
    stage.stand_client().set("all", "well").await.map_err(|why| why.to_string())?;
    load.end(at_work).await?;
    let verdict = verdict::reach(stage, &load, fates.stranded).await?;
    Ok(Told::new(seed, begun, &load, fates, verdict))
}

/// Small and large: checkpoints, trimming and eviction happen all the time under some seeds, and never under others.
fn settings(stage: &mut Stage, seed: u64) {
    let mut dice = Dice::new(seed, "settings");
    stage.set_engine("workers", *dice.pick(&["1", "2", "3"]));
    stage.set_engine("partitions", *dice.pick(&["1", "4", "16"]));
    stage.set_engine("checkpoint_every", *dice.pick(&["16KiB", "1MiB", "64MiB"]));
    stage.set_engine("memory_max", *dice.pick(&["8MiB", "1GiB"]));
    stage.set_engine("journal_disk_max", *dice.pick(&["64MiB", "8GiB"]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_choose_different_mixtures_and_each_kills() {
        let of =
            |seed| Args { rounds: 1, only: Vec::new(), common: Common { seed, keep: None, program: None } }.kinds();
        assert_eq!(of(5), of(5));
        let all: std::collections::BTreeSet<Vec<Blow>> = (0..50).map(of).collect();
        assert!(all.len() > 10, "{}", all.len());
        let kills = |kind: &Blow| matches!(kind, Blow::Kill | Blow::KillStarting | Blow::TornTail);
        assert!(all.iter().all(|kinds| kinds.iter().any(kills)));
        assert!(Blow::ALL.iter().all(|kind| all.iter().any(|kinds| kinds.contains(kind))));
    }
}
