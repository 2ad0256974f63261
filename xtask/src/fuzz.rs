//! `cargo xtask fuzz`: the targets of `fuzz/`, for seconds on any machine or for as long as one likes with libFuzzer.
//!
//! Without more words it replays what is kept and then storms every target with changed inputs; that needs nothing but
//! the stable toolchain, and is what `test` does. With `--libfuzzer` coverage leads, and cargo-fuzz must be there.

use crate::child;
use crate::setup;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Building everything once on a slow machine.
const BUILD: Duration = Duration::from_secs(40 * 60);
/// A single input may not take longer, nor the process more memory; at the end it says how far it went.
const LIMITS: [&str; 4] = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1"];

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'w> {
    seconds: u64,
    /// Inputs for each target, at most.
    executions: Option<u64>,
    libfuzzer: bool,
    targets: Vec<&'w str>,
}

impl<'w> Asked<'w> {
    /// Reads what stands after `cargo xtask fuzz`.
    pub(crate) fn parse(words: &[&'w str]) -> Result<Self, String> {
        let mut asked = Self { seconds: 5, executions: None, libfuzzer: false, targets: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--libfuzzer" => asked.libfuzzer = true,
                "--seconds" => {
                    let number = words.next().and_then(|n| n.parse().ok());
                    asked.seconds = number.ok_or("--seconds needs a whole number")?;
                }
                "--executions" => {
                    let number = words.next().and_then(|n| n.parse().ok());
                    asked.executions = Some(number.ok_or("--executions needs a whole number")?);
                }
                other if other.starts_with('-') => return Err(format!("`fuzz` does not understand `{other}`")),
                target => asked.targets.push(target),
            }
        }
        Ok(asked)
    }
}

pub(crate) fn run(root: &Path, asked: &Asked<'_>) -> ExitCode {
    let executions = asked.executions.map(|n| n.to_string());
    let words: Vec<&str> =
        executions.iter().flat_map(|n| ["--executions", n.as_str()]).chain(asked.targets.clone()).collect();
    let done = if asked.libfuzzer { libfuzzer(root, asked) } else { replay_and_storm(root, asked.seconds, &words) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What `test` does: the tests of `fuzz/`, then a storm of a fixed length, so that a faster machine does not try inputs
/// that a slower one never saw. The seconds are a bound for a machine that is very slow.
pub(crate) fn short(root: &Path) -> Result<(), String> {
    replay_and_storm(root, 20, &["--executions", "20000"])
}

fn replay_and_storm(root: &Path, seconds: u64, words: &[&str]) -> Result<(), String> {
    let limit = BUILD + Duration::from_secs(seconds * 30);
    let mut tests = cargo(root);
    tests.args(["nextest", "run"]);
    passed("the kept inputs", &mut tests, limit)?;
    let mut storm = cargo(root);
    storm.args(["run", "--quiet", "--bin", "storm", "--", "--seconds", &seconds.to_string()]).args(words);
    passed("the storm", &mut storm, limit)
}

fn libfuzzer(root: &Path, asked: &Asked<'_>) -> Result<(), String> {
    if !child::succeeds(setup::cargo(root).args(["fuzz", "--version"]), Duration::from_secs(60)) {
        return Err("cargo-fuzz is not here: cargo install --locked cargo-fuzz (and a C++ compiler)".to_owned());
    }
    let all = targets(root)?;
    let wanted: Vec<&str> =
        if asked.targets.is_empty() { all.iter().map(String::as_str).collect() } else { asked.targets.clone() };
    let found = target_dir(root).join("fuzz-corpus");
    for target in wanted {
        let grown = found.join(target);
        std::fs::create_dir_all(&grown).map_err(|e| format!("{}: {e}", grown.display()))?;
        let seeds = root.join("fuzz/corpus").join(target);
        let time = format!("-max_total_time={}", asked.seconds);
        let runs = asked.executions.map(|n| format!("-runs={n}"));
        let mut command = setup::cargo(&root.join("fuzz"));
        // Without a sanitizer this works on the stable toolchain; the code under test forbids `unsafe`. In one unit a
        // room, as cargo-fuzz would have it, and with all optimisations the instrumented build takes most of an hour.
        command.args(["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", "none", "--debug-assertions"]);
        command.args(["--codegen-units", "16", "--features", "libfuzzer", target]).args([&grown, &seeds]);
        command.arg("--").args(LIMITS).arg(time).args(runs);
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command.env("CARGO_TARGET_DIR", target_dir(root).join("libfuzzer"));
        passed(target, &mut command, BUILD + Duration::from_secs(asked.seconds))?;
    }
    Ok(())
}

/// The targets by their binaries' names.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| stem(entry.path())).collect();
    names.sort();
    Ok(names)
}

/// Cargo in the workspace of `fuzz/`, sharing what the product's build has compiled already.
fn cargo(root: &Path) -> Command {
    let mut command = setup::cargo(&root.join("fuzz"));
    command.env("CARGO_TARGET_DIR", target_dir(root));
    command
}

pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn passed(what: &str, command: &mut Command, limit: Duration) -> Result<(), String> {
    let ending = child::run(command, limit);
    if ending.passed() { Ok(()) } else { Err(format!("{what}: {ending}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_words() {
        assert_eq!(Asked::parse(&[]), Ok(Asked { seconds: 5, executions: None, libfuzzer: false, targets: vec![] }));
        let asked = Asked::parse(&["--libfuzzer", "--seconds", "60", "--executions", "9", "json", "load"]);
        let wanted = Asked { seconds: 60, executions: Some(9), libfuzzer: true, targets: vec!["json", "load"] };
        assert_eq!(asked, Ok(wanted));
        assert!(Asked::parse(&["--executions", "many"]).is_err());
        assert!(Asked::parse(&["--seconds"]).is_err() && Asked::parse(&["--second", "3"]).is_err());
    }

    #[test]
    fn knows_the_targets() {
        let names = targets(&crate::root()).expect("the folder of fuzz targets");
        assert!(names.len() >= 10 && names.iter().any(|name| name == "wire_entries"), "{names:?}");
    }
}
