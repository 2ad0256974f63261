//! `kill -9` under load, as a user would drill it: nothing acknowledged is lost, and the ledger's audit holds.
//!
//! Fifty kills by default. `TIDEGATE_KILL_ROUNDS=200 cargo test -p tidegate --test kill` runs two hundred, for which
//! nextest's time limit per test is too short. The other tests are about what a drill leaves behind: nothing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = std::env::var("TIDEGATE_KILL_ROUNDS").unwrap_or_else(|_| "50".to_owned());
    let done = tidegate(&["drill", "kill", "--rounds", &rounds, "--seed", "7", "-o", "json"]).output();
    let done = done.expect("the binary runs");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let story = format!("{}\n{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{story}");
    assert_eq!(told["passed"], true, "{story}");
    assert_eq!(told["kills"].as_u64().map(|n| n.to_string()), Some(rounds), "{story}");
    // A drill in which nothing was at stake has not drilled anything.
    assert!(told["acknowledged"].as_u64() > Some(100), "{story}");
    assert!(told["unanswered"].as_u64() > Some(0), "{story}");
    assert!(told["audited"]["effects"].as_u64() > Some(100), "{story}");
}

/// The processes that a drill has started: they carry its number in their environment.
fn started_by(drill: &Child) -> Vec<String> {
    let mark = format!("TIDEGATE_REHEARSED_BY={}", drill.id());
    let of = |entry: std::fs::DirEntry| {
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let is_marked = environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes());
        is_marked.then(|| entry.file_name().to_string_lossy().into_owned())
    };
    std::fs::read_dir("/proc").expect("processes are listed").flatten().filter_map(of).collect()
}

/// A drill that would go on for long, with its stand and its engine.
fn long_drill(folder: &Path) -> Child {
    let folder = folder.display().to_string();
    let mut drill = tidegate(&["drill", "kill", "--rounds", "10000", "--keep", &folder]);
    let drill = drill.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let begun = Instant::now();
    while started_by(&drill).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "a stand and an engine are started");
        std::thread::sleep(Duration::from_millis(5));
    }
    drill
}

fn all_gone(drill: &Child) {
    let begun = Instant::now();
    loop {
        let left = started_by(drill);
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{left:?} still live");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_interrupted_drill_leaves_no_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut drill = long_drill(folder.path());
    let pid = Pid::from_child(&drill);
    kill_process(pid, Signal::INT).expect("it lives");
    let status = drill.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    all_gone(&drill);
}

#[test]
fn a_killed_drill_takes_its_processes_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut drill = long_drill(folder.path());
    drill.kill().expect("it lives");
    drill.wait().expect("it ends");
    all_gone(&drill);
}
