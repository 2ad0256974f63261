//! `kill -9` at random moments, also while the engine is starting, with clients that go on all the time.
//!
//! When the rounds are over the faults stop, everything must end, and every acknowledgement and every effect is
//! compared.

use std::time::Instant;

use crate::demo::stage::Stage;

use super::blow::Blow;
use super::told::Told;
use super::{Common, faults};

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
    faults::under_load(Instant::now(), args.common.seed, args.rounds, &KINDS, stage).await
}
