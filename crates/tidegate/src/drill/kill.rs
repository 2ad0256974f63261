//! `kill -9` at random moments, also while the engine is starting, with clients that go on all the time.
//!
//! When the rounds are over the faults stop, everything must end, and every acknowledgement and every effect is
//! compared.

use std::time::Instant;

use crate::demo;
use crate::demo::stage::Stage;

use super::blow::{Blow, Fates, USUAL};
use super::load::Load;
use super::told::Told;
use super::{Common, verdict};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the engine is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One kill in six hits an engine once more that is just starting.
const KINDS: [Blow; 6] = [Blow::Kill, Blow::Kill, Blow::Kill, Blow::Kill, Blow::Kill, Blow::KillStarting];

pub(super) async fn play(args: &Args, stage: &mut Stage) -> Result<Told, String> {
    let begun = Instant::now();
    let participants = stage.with_doors(demo::PARTICIPANTS);
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    demo::apply(&stage.asker(), &participants).await?;
    let mut fates = Fates::new(&participants, args.common.seed, &USUAL);
    fates.always(stage).await?;
    let load = Load::new(stage, args.common.seed);
    let at_work = load.begin();
    fates.strike(args.rounds, &KINDS, stage, &|| load.progress()).await?;
    stage.stand_client().set("all", "well").await.map_err(|why| why.to_string())?;
    load.end(at_work).await?;
    let verdict = verdict::reach(stage, &load, fates.stranded).await?;
    Ok(Told::new(args.common.seed, begun, &load, fates, verdict))
}
