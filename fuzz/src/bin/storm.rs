//! `storm`: every target, first on the inputs that are kept, then on a few thousand changed ones; no libFuzzer needed.
//!
//! ```text
//! storm [--seconds N] [--executions N] [--seed N] [TARGET …]
//! ```
//! An input that fails is kept under `fuzz/regressions/<target>` and ends the run with 1. Each target starts from the
//! same seed, so a process that dies without a word (a stack overflow) is repeated by naming its target.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::{TARGETS, Target, storm};

struct Asked {
    seconds: u64,
    executions: u64,
    seed: u64,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("storm: {why}\nusage: storm [--seconds N] [--executions N] [--seed N] [TARGET …]");
            return ExitCode::from(2);
        }
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut failed = 0;
    for target in &asked.targets {
        match one(&root, target, &asked) {
            Ok(line) => println!("{:<18} {line}", target.name),
            Err(why) => {
                eprintln!("{}: {why}", target.name);
                failed += 1;
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { seconds: 5, executions: u64::MAX, seed: 1, targets: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|n| n.parse::<u64>().ok()).ok_or_else(|| format!("{word} needs a whole number"));
        match word.as_str() {
            "--seconds" => asked.seconds = number()?,
            "--executions" => asked.executions = number()?,
            "--seed" => asked.seed = number()?,
            name => {
                let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                let target = fuzz::find(name).ok_or_else(|| format!("no target {name}: {}", known.join(", ")))?;
                asked.targets.push(target);
            }
        }
    }
    if asked.targets.is_empty() {
        asked.targets = TARGETS.iter().collect();
    }
    Ok(asked)
}

fn one(root: &Path, target: &'static Target, asked: &Asked) -> Result<String, String> {
    let kept = storm::kept(root, target).map_err(|e| format!("the kept inputs cannot be read: {e}"))?;
    for (path, bytes) in &kept {
        let run = || target.check(bytes);
        std::panic::catch_unwind(run).map_err(|_| format!("{} fails again", path.display()))?;
    }
    let seeds: Vec<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
    let started = Instant::now();
    let passed = storm::storm(target, &seeds, asked.seed, asked.executions, Duration::from_secs(asked.seconds));
    let seconds = started.elapsed().as_secs_f64();
    if let Some(input) = passed.failed {
        let folder = root.join("regressions").join(target.name);
        let path = folder.join(format!("storm-{:08x}", crc32fast::hash(&input)));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &input));
        written.map_err(|e| format!("an input fails and cannot be kept ({e}): {input:02x?}"))?;
        return Err(format!("an input fails; it is kept as {}", path.display()));
    }
    let rate = passed.executions as f64 / seconds.max(1e-9);
    Ok(format!("{:>3} kept, {:>8} changed, {rate:>8.0}/s", seeds.len(), passed.executions))
}
