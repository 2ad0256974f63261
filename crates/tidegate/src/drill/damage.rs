//! Bits that flip in the files of a stopped engine: the doctor must find each and say where, and a start must not pass
//! over one in the journal in silence.
//!
//! Load first, until everything has ended: a copy of the data then calls nobody, and is hurt and looked at as often as
//! asked. Which bytes are bound to be found: every one of the journal's groups, all of the rest's files.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::doctor::{Report, Severity};
use serde::Serialize;

use crate::demo;
use crate::demo::ask::Ask;
use crate::demo::dice::Dice;
use crate::demo::roll::Check;
use crate::demo::stage::Stage;

use super::Common;
use super::blow::{Fates, USUAL};
use super::load::Load;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many bits
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    bits: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How long clients write before anything is hurt.
const LOAD: Duration = Duration::from_secs(4);
/// How long a hurt engine may take to start, or to refuse.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// What one flipped bit came to.
#[derive(Clone, Debug, Serialize)]
struct Hurt {
    file: String,
    byte: u64,
    /// Where the doctor says that something is wrong.
    found_at: Vec<String>,
    /// `refused`, `froze a partition`, `started`; only of the journal.
    start: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    seed: u64,
    took_s: f64,
    acknowledged: u64,
    /// Bits by the room whose file was hit.
    bits: BTreeMap<String, u64>,
    starts: BTreeMap<&'static str, u64>,
    hurt: Vec<Hurt>,
    checks: Vec<Check>,
    pub(super) passed: bool,
}

pub(super) async fn play(args: &Args, stage: &mut Stage) -> Result<Told, String> {
    let begun = Instant::now();
    let seed = args.common.seed;
    stage.set_engine("checkpoint_every", "256KiB");
    stage.set_engine("journal_disk_max", "64MiB");
    let participants = stage.with_doors(demo::PARTICIPANTS);
    stage.start_stand(&participants).await?;
    stage.start_engine().await?;
    demo::apply(&stage.asker(), &participants).await?;
    Fates::new(&participants, seed, &USUAL).always(stage).await?;
    let load = Load::new(stage, seed);
    let at_work = load.begin();
    tokio::time::sleep(LOAD).await;
    load.end(at_work).await?;
    stage.stand_client().set("all", "well").await.map_err(|why| why.to_string())?;
    load.until_all_ended(stage).await?;
    stage.stop_engine().await?;

    let data = stage.data();
    let mut wrong = wrong_places(&examine(&data)?);
    let mut unseen = Vec::new();
    let mut silent = Vec::new();
    let mut hurt = Vec::new();
    let mut dice = Dice::new(seed, "bits");
    for n in 0..args.bits {
        let copy = stage.folder().join("hurt");
        copy_folder(&data, &copy)?;
        let (file, byte) = place(&copy, n, &mut dice)?;
        flip(&copy.join(&file), byte, dice.below(8) as u8)?;
        let found_at = found_places(&examine(&copy)?, &file);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = format!("{}, byte {byte}", file.display());
        if !found_at.iter().any(|place| place.contains(&name)) {
            unseen.push(format!("{shown}: {}", found_at.first().map_or("nothing was found", String::as_str)));
        }
        let start = if file.starts_with("journal") {
            let start = start_on(&copy, stage).await?;
            // Bytes between batches mean nothing: the doctor tells of them, a start need not.
            if start == "started" && !found_at.iter().all(|place| place.contains("all batches are whole")) {
                silent.push(shown);
            }
            Some(start)
        } else {
            None
        };
        hurt.push(Hurt { file: file.display().to_string(), byte, found_at, start });
        std::fs::remove_dir_all(&copy).map_err(|why| format!("cannot remove {}: {why}", copy.display()))?;
        if n % 10 == 9 {
            eprintln!("{} of {} bits", n + 1, args.bits);
        }
    }
    stage.start_engine().await.map_err(|why| format!("the undamaged data: {why}"))?;
    stage.stop_engine().await?;
    wrong.extend(wrong_places(&examine(&data)?));
    stage.stop_stand().await?;
    let count = format!("{} bits", hurt.len());
    let checks = vec![
        Check::none_of("the doctor finds the data well before and after", "twice", &wrong),
        Check::none_of("the doctor finds every flipped bit and names its file (JR-2)", &count, &unseen),
        Check::none_of("no start passes over damage of the journal in silence (JR-2)", &count, &silent),
    ];
    let mut bits: BTreeMap<String, u64> = BTreeMap::new();
    let mut starts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for one in &hurt {
        *bits.entry(one.file.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        if let Some(start) = one.start {
            *starts.entry(start).or_default() += 1;
        }
    }
    Ok(Told {
        seed,
        took_s: begun.elapsed().as_secs_f64(),
        acknowledged: load.crowd.acknowledged_count(),
        bits,
        starts,
        hurt,
        passed: checks.iter().all(|check| check.passed),
        checks,
    })
}

fn examine(data: &Path) -> Result<Report, String> {
    let report = runtime::doctor::examine(data, runtime::doctor::Settings::default(), &mut |_| {});
    report.map_err(|why| why.to_string())
}

fn wrong_places(report: &Report) -> Vec<String> {
    let wrong = report.findings.iter().filter(|finding| finding.severity == Severity::Wrong);
    wrong.map(|finding| format!("{} {}: {}", finding.check, finding.place, finding.what)).collect()
}

/// Everything that is wrong. In history also what is only noted: its last block may be a write that was cut short, which
/// the next start completes from the journal.
fn found_places(report: &Report, file: &Path) -> Vec<String> {
    let mut found = wrong_places(report);
    if file.starts_with("history") {
        let notes = report.findings.iter().filter(|finding| finding.severity == Severity::Note);
        found.extend(notes.map(|finding| format!("{} {}: {} (noted)", finding.check, finding.place, finding.what)));
    }
    found
}

/// A file and a byte of it that somebody must miss: every second one in the journal, before its last group, which could
/// be a write that a crash cut short; else anywhere in a file of another room. Most of the journal's bytes are room
/// between batches, where damage loses nothing, so every second of those is in the head of a batch.
fn place(data: &Path, n: u32, dice: &mut Dice) -> Result<(PathBuf, u64), String> {
    if n.is_multiple_of(2) {
        let found = journal::inspect::inspect(&data.join("journal")).map_err(|why| why.to_string())?;
        let whole: Vec<_> =
            found.files.iter().filter(|file| file.groups > 8 && file.superseded_from.is_none()).collect();
        if whole.is_empty() {
            return Err("the journal has no file with groups to hurt".to_owned());
        }
        let file = dice.pick(&whole);
        let begin = (file.used_bytes / 8).max(4_096);
        let (name, at) = (Path::new("journal").join(&file.name), begin + dice.below(file.used_bytes / 2));
        let byte = if n.is_multiple_of(4) { in_a_batch(&data.join(&name), at, dice)? } else { at };
        return Ok((name, byte));
    }
    let mut files = Vec::new();
    for room in ["state", "history", "catalog"] {
        list(data, Path::new(room), &mut files)?;
    }
    if files.is_empty() {
        return Err("there are no files to hurt but the journal's".to_owned());
    }
    let (file, bytes) = dice.pick(&files).clone();
    Ok((file, dice.below(bytes)))
}

/// A byte of the head of the first batch behind this place (`docs/internals/journal.md`: 72 bytes, the name in the 17th).
fn in_a_batch(file: &Path, from: u64, dice: &mut Dice) -> Result<u64, String> {
    let bytes = std::fs::read(file).map_err(|why| format!("cannot read {}: {why}", file.display()))?;
    let behind = bytes.get(from as usize..).unwrap_or_default();
    let head = behind.windows(20).position(|head| head.ends_with(b"TBAT"));
    let head = head.ok_or_else(|| format!("{} has no batch behind byte {from}", file.display()))?;
    Ok(from + head as u64 + dice.below(72))
}

/// Files that are not empty, with their lengths.
fn list(data: &Path, folder: &Path, into: &mut Vec<(PathBuf, u64)>) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("cannot list {}: {why}", folder.display());
    let mut entries: Vec<_> = std::fs::read_dir(data.join(folder)).map_err(failed)?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, about) = (folder.join(entry.file_name()), entry.metadata().map_err(failed)?);
        if about.is_dir() {
            list(data, &path, into)?;
        } else if about.len() > 0 {
            into.push((path, about.len()));
        }
    }
    Ok(())
}

fn flip(path: &Path, at: u64, bit: u8) -> Result<(), String> {
    let flipped = || -> std::io::Result<()> {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << bit;
        file.write_all_at(&byte, at)
    };
    flipped().map_err(|why| format!("cannot hurt {}: {why}", path.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("cannot copy {}: {why}", from.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to).map_err(failed)?;
        }
    }
    Ok(())
}

/// What an engine says to this data. It ends either way.
async fn start_on(data: &Path, stage: &mut Stage) -> Result<&'static str, String> {
    let before = stage.engine_log().len();
    let begun = stage.spawn_engine_on(data)?;
    let asker = stage.asker();
    let said = |stage: &Stage| stage.engine_log().split_off(before);
    loop {
        if stage.engine_ended().is_some() {
            // It takes the process away, ended as it is.
            let _ = stage.kill_engine();
            let said = said(stage);
            return if said.contains("byte") {
                Ok("refused")
            } else {
                Err(format!("it ended without a place:\n{said}"))
            };
        }
        let ready = Ask { within: Duration::from_secs(2), ..Ask::get("/readyz") };
        if asker.ask(ready).await.is_ok_and(|reply| reply.status == 200) {
            stage.kill_engine()?;
            let said = said(stage);
            return Ok(if said.contains("damaged") && said.contains("byte") { "froze a partition" } else { "started" });
        }
        if begun.elapsed() > STARTS_WITHIN {
            return Err(format!("it neither starts nor ends within {STARTS_WITHIN:?}:\n{}", said(stage)));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<String>| counts.join(", ");
        writeln!(f, "bits        {}", list(self.bits.iter().map(|(room, n)| format!("{n} in {room}")).collect()))?;
        writeln!(f, "starts      {}", list(self.starts.iter().map(|(how, n)| format!("{n} {how}")).collect()))?;
        writeln!(f, "data        of {} transactions\n", self.acknowledged)?;
        for check in &self.checks {
            writeln!(f, "{:<8}{}: {}", if check.passed { "ok" } else { "FAILED" }, check.name, check.detail)?;
        }
        write!(f, "\n{} in {:.1} s with seed {}", if self.passed { "passed" } else { "FAILED" }, self.took_s, self.seed)
    }
}
