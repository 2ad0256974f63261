//! What is done to the processes and the disk of a drill, one blow after the other, and how the engine came back.
//!
//! The kind of each blow, its moment and its length come from the seed. What the engine was doing at that moment does
//! not: two runs of a seed are alike, not equal.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::demo;
use crate::demo::dice::Dice;
use crate::demo::roll::Check;
use crate::demo::stage::{Stage, Whom};

use super::verdict;

/// One kind of blow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(super) enum Blow {
    /// kill -9 of the engine
    Kill,
    /// kill -9 of the engine, and once more while it is starting
    KillStarting,
    /// kill -9 of the engine, and half a group behind the end of its journal, as a power cut leaves it
    TornTail,
    /// SIGSTOP of the engine, later SIGCONT
    Pause,
    /// SIGSTOP of the systems, later SIGCONT
    PauseSystems,
    /// kill -9 of the systems; they come back from their ledger
    KillSystems,
    /// One system is down, hangs, refuses, or loses most answers for a while
    Trouble,
    /// The disk of the engine's data is full for a while (needs root: a file system of its own)
    DiskFull,
}

impl Blow {
    pub(super) const ALL: [Self; 8] = [
        Self::Kill,
        Self::KillStarting,
        Self::TornTail,
        Self::Pause,
        Self::PauseSystems,
        Self::KillSystems,
        Self::Trouble,
        Self::DiskFull,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillStarting => "kill_starting",
            Self::TornTail => "torn_tail",
            Self::Pause => "pause",
            Self::PauseSystems => "pause_systems",
            Self::KillSystems => "kill_systems",
            Self::Trouble => "trouble",
            Self::DiskFull => "disk_full",
        }
    }
}

/// What the systems do between blows and during them.
#[derive(Debug)]
pub(super) struct Weather {
    /// All the time: answers that come late, or never, are what a restart must cope with.
    always: &'static str,
    /// What one of them does while it is in trouble. Undos are spared refusals: a person would be asked for each.
    troubles: &'static [&'static str],
    /// How long the engine lives between two blows.
    lives_ms: (u64, u64),
}

pub(super) const USUAL: Weather = Weather {
    always: "slow 40ms 20% + lost 3% + errors 503 2% + late 700ms 1%",
    troubles: &[
        "down",
        "hang",
        "lost 60%",
        "refuse 50% on do",
        "busy 429 retry 1s 80%",
        "slow 900ms",
        "gateway 30% + cut mid 20% + cut before 20%",
        "late 1500ms 40% + errors 500 30%",
    ],
    lives_ms: (20, 900),
};

/// Short waits, for what happens one after the other. No answer is cut in the middle: one that was needed would have to
/// be brought by a person, while everything behind it waits.
pub(super) const BRISK: Weather = Weather {
    always: "slow 5ms 10% + lost 2% + errors 503 1% + refuse 3% on do",
    troubles: &["down", "lost 40%", "refuse 50% on do", "gateway 20% + cut before 20%", "late 400ms 20%"],
    lives_ms: (400, 2_400),
};

/// How long after its start an engine is killed that is killed while starting, at most.
const STARTING_MS: u64 = 120;
/// A standstill outlasts every time limit of the participants now and then.
const PAUSE_MS: (u64, u64) = (50, 2_500);
/// A system stays dead, in trouble, or the disk full, for so long.
const LASTS_MS: (u64, u64) = (200, 1_800);
/// One blow in so many meets systems that are in trouble as well.
const IN_TROUBLE_ONE_IN: u64 = 3;
/// The data of one killed engine in so many is examined before it starts again.
const EXAMINED_ONE_IN: u64 = 10;
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Of a group that a power cut tore, at most.
const TORN_BYTES_MAX: u64 = 6_000;

/// What the blows came to.
#[derive(Debug)]
pub(super) struct Fates {
    participants: String,
    weather: &'static Weather,
    dice: Dice,
    pub(super) struck: BTreeMap<&'static str, u64>,
    pub(super) ready_again: Vec<Duration>,
    pub(super) stranded: u64,
    /// Data directories of killed engines that the doctor looked at.
    pub(super) examined: u64,
    not_well: Vec<String>,
}

impl Fates {
    pub(super) fn new(participants: &str, seed: u64, weather: &'static Weather) -> Self {
        Self {
            participants: participants.to_owned(),
            weather,
            dice: Dice::new(seed, "moments"),
            struck: BTreeMap::new(),
            ready_again: Vec::new(),
            stranded: 0,
            examined: 0,
            not_well: Vec::new(),
        }
    }

    /// Strikes `rounds` times, each time with one of `kinds`, which is not empty.
    pub(super) async fn strike(
        &mut self,
        rounds: u32,
        kinds: &[Blow],
        stage: &mut Stage,
        progress: &dyn Fn() -> String,
    ) -> Result<(), String> {
        let mut said = Instant::now();
        for round in 1..=rounds {
            tokio::time::sleep(self.within(self.weather.lives_ms)).await;
            if let Some(lost) = stage.lost() {
                return Err(lost);
            }
            let blow = *self.dice.pick(kinds);
            let also_in_trouble = kinds.contains(&Blow::Trouble) && self.dice.below(IN_TROUBLE_ONE_IN) == 0;
            if also_in_trouble {
                self.trouble(stage).await?;
            }
            let struck = self.strike_with(blow, stage).await;
            struck.map_err(|why| format!("blow {round}, {}: {why}", blow.as_str()))?;
            *self.struck.entry(blow.as_str()).or_default() += 1;
            if also_in_trouble || blow == Blow::Trouble || blow == Blow::KillSystems {
                self.always(stage).await?;
            }
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                eprintln!("{round} of {rounds} blows, {}", progress());
            }
        }
        Ok(())
    }

    async fn strike_with(&mut self, blow: Blow, stage: &mut Stage) -> Result<(), String> {
        match blow {
            Blow::Kill => {
                self.kill(stage).await?;
                self.start(stage).await
            }
            Blow::KillStarting => {
                self.kill(stage).await?;
                stage.spawn_engine()?;
                tokio::time::sleep(Duration::from_millis(self.dice.below(STARTING_MS))).await;
                stage.kill_engine()?;
                self.start(stage).await
            }
            Blow::TornTail => {
                self.kill(stage).await?;
                tear(&stage.data().join("journal"), &mut self.dice)?;
                self.start(stage).await
            }
            Blow::Pause => self.pause(Whom::Engine, stage).await,
            Blow::PauseSystems => self.pause(Whom::Stand, stage).await,
            Blow::KillSystems => {
                stage.kill_stand()?;
                tokio::time::sleep(self.within(LASTS_MS)).await;
                stage.start_stand(&self.participants).await
            }
            Blow::Trouble => {
                self.trouble(stage).await?;
                tokio::time::sleep(self.within(LASTS_MS)).await;
                Ok(())
            }
            Blow::DiskFull => {
                let ballast = stage.data().join("ballast-of-the-drill");
                fill(&ballast)?;
                tokio::time::sleep(self.within(LASTS_MS)).await;
                std::fs::remove_file(&ballast).map_err(|e| format!("cannot remove {}: {e}", ballast.display()))?;
                stage.until_ready(Instant::now()).await.map(drop)
            }
        }
    }

    async fn kill(&mut self, stage: &mut Stage) -> Result<(), String> {
        self.stranded += demo::stranded(&stage.asker()).await.unwrap_or(0);
        stage.kill_engine()?;
        if self.dice.below(EXAMINED_ONE_IN) == 0 {
            self.examined += 1;
            let check = verdict::data_is_well("a killed engine's data", &verdict::doctor(stage)?);
            if !check.passed {
                self.not_well.push(check.detail);
            }
        }
        Ok(())
    }

    async fn start(&mut self, stage: &mut Stage) -> Result<(), String> {
        let ready = stage.start_engine().await?;
        self.ready_again.push(ready);
        Ok(())
    }

    async fn pause(&mut self, whom: Whom, stage: &mut Stage) -> Result<(), String> {
        stage.pause(whom)?;
        tokio::time::sleep(self.within(PAUSE_MS)).await;
        stage.resume(whom)
    }

    async fn trouble(&mut self, stage: &mut Stage) -> Result<(), String> {
        let (system, trouble) = (*self.dice.pick(stage.systems), *self.dice.pick(self.weather.troubles));
        stage.stand_client().set(system, trouble).await.map_err(|why| why.to_string())?;
        Ok(())
    }

    /// Every system as it is between troubles.
    pub(super) async fn always(&self, stage: &Stage) -> Result<(), String> {
        stage.stand_client().set("all", self.weather.always).await.map(drop).map_err(|why| why.to_string())
    }

    fn within(&mut self, (from, to): (u64, u64)) -> Duration {
        Duration::from_millis(from + self.dice.below(to - from))
    }

    pub(super) fn count(&self, blow: Blow) -> u64 {
        self.struck.get(blow.as_str()).copied().unwrap_or(0)
    }

    /// Whether the doctor found every killed engine's data well; nothing to say if it looked at none.
    pub(super) fn check(&self) -> Option<Check> {
        let compared = format!("{} examined between kill and start", self.examined);
        let name = "the data of a killed engine is well (JR-1, JR-2)";
        (self.examined > 0).then(|| Check::none_of(name, &compared, &self.not_well))
    }
}

/// Leaves behind the journal's end what a power cut leaves of a group under way: some of it, or something else.
///
/// Nothing that was acknowledged is touched: what a killed process wrote is whole, and this stands behind it.
fn tear(journal: &Path, dice: &mut Dice) -> Result<(), String> {
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("cannot {what} the journal: {why}");
    let found = journal::inspect::inspect(journal).map_err(|why| failed("inspect", &why))?;
    let newest = found.files.iter().filter(|file| file.side_of.is_none()).max_by_key(|file| file.segment);
    let newest = newest.ok_or("the journal has no segment to tear")?;
    if found.torn.is_some() {
        return Ok(());
    }
    let path = journal.join(&newest.name);
    let file = std::fs::File::options().read(true).write(true).open(&path).map_err(|why| failed("open", &why))?;
    // A segment that nothing was written to yet has its header all the same, and that is durable.
    let end = (newest.used_bytes + journal::format::SEGMENT_HEADER_BYTES as u64).next_multiple_of(512);
    let bytes = (1 + dice.below(TORN_BYTES_MAX)).min(newest.file_bytes.saturating_sub(end)) as usize;
    let mut torn = vec![0; bytes];
    if dice.below(2) == 0 {
        // An older group's beginning in the wrong place, as in a segment that is used a second time.
        file.read_exact_at(&mut torn, 0).map_err(|why| failed("read", &why))?;
    } else {
        torn.iter_mut().for_each(|byte| *byte = dice.next() as u8);
    }
    file.write_all_at(&torn, end).map_err(|why| failed("tear", &why))
}

/// Takes all room that there is.
fn fill(ballast: &Path) -> Result<(), String> {
    use std::io::Write as _;
    let mut file =
        std::fs::File::create(ballast).map_err(|why| format!("cannot create {}: {why}", ballast.display()))?;
    let chunk = vec![7; 1 << 16];
    loop {
        match file.write_all(&chunk) {
            Ok(()) => {}
            Err(full) if full.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(other) => return Err(format!("cannot fill the disk: {other}")),
        }
    }
}
