//! `cargo xtask coverage`: which lines of the rooms that hold the promises no test of theirs reaches.
//!
//! Counted are the lines of `partition`, `load` and `wire` (their own test code apart) that the tests of those rooms
//! run. What stays below the goal is named, file by file; docs/internals/coverage.md says why. Needs cargo-llvm-cov.

use crate::child;
use crate::fuzz::target_dir;
use crate::setup;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const ROOMS: [&str; 3] = ["partition", "load", "wire"];
/// Lines of each room that tests must reach, in percent.
const GOAL: f64 = 95.0;
const LIMIT: Duration = Duration::from_secs(3_600);

pub(crate) fn report(root: &Path) -> ExitCode {
    match measured(root) {
        Ok(summary) => {
            let rooms = rooms(&summary, root);
            print!("{}", table(&rooms));
            if rooms.values().all(|files| total(files).percent() >= GOAL) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            eprintln!("xtask coverage: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measured(root: &Path) -> Result<Value, String> {
    if !child::succeeds(setup::cargo(root).args(["llvm-cov", "--version"]), Duration::from_secs(60)) {
        return Err(
            "cargo-llvm-cov is not here: rustup component add llvm-tools && cargo install --locked cargo-llvm-cov"
                .to_owned(),
        );
    }
    let out = target_dir(root).join("coverage.json");
    let mut command = setup::cargo(root);
    command.args(["llvm-cov", "test", "--json", "--summary-only", "--output-path"]).arg(&out);
    for room in ROOMS {
        command.args(["--package", room]);
    }
    let ending = child::run(&mut command, LIMIT);
    if !ending.passed() {
        return Err(format!("cargo llvm-cov: {ending}"));
    }
    let text = std::fs::read(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", out.display()))
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Lines {
    all: u64,
    reached: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.reached as f64 / self.all as f64 }
    }
}

type Files = BTreeMap<String, Lines>;

/// The source files of each room with their lines.
fn rooms(summary: &Value, root: &Path) -> BTreeMap<&'static str, Files> {
    let mut rooms: BTreeMap<&'static str, Files> = ROOMS.iter().map(|room| (*room, Files::new())).collect();
    for file in summary["data"][0]["files"].as_array().into_iter().flatten() {
        let name = file["filename"].as_str().unwrap_or_default();
        let name = name.strip_prefix(&*root.to_string_lossy()).unwrap_or(name).trim_start_matches('/');
        let mut parts = name.splitn(4, '/');
        let (Some("crates"), Some(room), Some("src"), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let count = |what: &str| file["summary"]["lines"][what].as_u64().unwrap_or(0);
        if let Some((_, files)) = rooms.iter_mut().find(|(name, _)| **name == room) {
            files.insert(rest.to_owned(), Lines { all: count("count"), reached: count("covered") });
        }
    }
    rooms
}

fn total(files: &Files) -> Lines {
    files
        .values()
        .fold(Lines::default(), |sum, lines| Lines { all: sum.all + lines.all, reached: sum.reached + lines.reached })
}

/// A line a room, and below it a line for each file under the goal.
fn table(rooms: &BTreeMap<&'static str, Files>) -> String {
    let mut text = String::new();
    for (room, files) in rooms {
        let sum = total(files);
        text.push_str(&format!("{room:<32} {:>6.2} %  {:>5} of {:>5} lines\n", sum.percent(), sum.reached, sum.all));
        for (file, lines) in files.iter().filter(|(_, lines)| lines.percent() < GOAL) {
            let missing = lines.all - lines.reached;
            text.push_str(&format!("  {file:<30} {:>6.2} %  {missing:>5} not reached\n", lines.percent()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_rooms_and_names_what_is_below_the_goal() {
        let file = |name: &str, all: u64, reached: u64| {
            let lines = serde_json::json!({"count": all, "covered": reached});
            serde_json::json!({"filename": name, "summary": {"lines": lines}})
        };
        let summary = serde_json::json!({"data": [{"files": [
            file("/repo/crates/wire/src/row.rs", 100, 99),
            file("/repo/crates/wire/src/moves.rs", 50, 40),
            file("/repo/crates/wire/tests/golden.rs", 10, 0),
            file("/repo/crates/model/src/id.rs", 10, 0),
        ]}]});
        let rooms = rooms(&summary, Path::new("/repo"));
        assert_eq!(total(&rooms["wire"]), Lines { all: 150, reached: 139 });
        assert_eq!(total(&rooms["load"]).percent(), 100.0);
        let text = table(&rooms);
        assert!(text.contains("moves.rs") && text.contains("10 not reached") && !text.contains("row.rs"), "{text}");
    }
}
