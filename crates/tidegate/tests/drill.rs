//! Drills as a user would run them: faults of every kind, flipped bits, and histories that a checker judges.
//!
//! `kill.rs` has the kills. Everything here is short; how to run it for longer stands in docs/internals/faults.md.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["-o", "json"]).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn told(done: &Output) -> (Value, String) {
    let story = format!("{}\n{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (serde_json::from_slice(&done.stdout).unwrap_or_default(), story)
}

#[test]
fn faults_of_every_kind_break_no_promise() {
    let kinds = "kill,kill-starting,torn-tail,pause,pause-systems,kill-systems,trouble";
    let done = tidegate(&["drill", "faults", "--rounds", "12", "--seed", "5", "--only", kinds]);
    let (told, story) = told(&done);
    assert!(done.status.success(), "{story}");
    assert_eq!(told["passed"], true, "{story}");
    assert!(told["acknowledged"].as_u64() > Some(100), "{story}");
    assert!(told["blows"].as_object().is_some_and(|blows| blows.len() >= 4), "{story}");
}

/// Needs root, for a file system of its own; says so where there is none.
#[test]
fn a_full_disk_breaks_no_promise() {
    let done = tidegate(&["drill", "faults", "--rounds", "4", "--seed", "5", "--only", "disk-full,kill"]);
    let (told, story) = told(&done);
    if story.contains("and so root") {
        eprintln!("SKIPPED: {story}");
        assert!(!done.status.success(), "a fault that was asked for and cannot be had is no success");
        return;
    }
    assert!(done.status.success(), "{story}");
    assert!(told["blows"]["disk_full"].as_u64() > Some(0), "{story}");
}

#[test]
fn flipped_bits_are_found() {
    let done = tidegate(&["drill", "damage", "--bits", "8", "--seed", "3"]);
    let (told, story) = told(&done);
    assert!(done.status.success(), "{story}");
    assert_eq!(told["bits"]["journal"], 4, "{story}");
    assert!(
        told["starts"]["froze a partition"].as_u64() > Some(0) || told["starts"]["refused"].as_u64() > Some(0),
        "{story}"
    );
}

fn history(kind: &str, file: &Path, more: &[&str]) -> Output {
    let file = file.display().to_string();
    let mut arguments = vec!["drill", "history", "--kind", kind, "--out", &file, "--seed", "4"];
    arguments.extend(more);
    tidegate(&arguments)
}

fn judge(kind: &str, file: &Path) -> Output {
    tidegate(&["drill", "judge", "--kind", kind, &file.display().to_string()])
}

#[test]
fn histories_through_faults_can_be_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["append", "bank"] {
        let file = folder.path().join(format!("{kind}.json"));
        let done = history(kind, &file, &["--rounds", "5"]);
        let (_, story) = told(&done);
        assert!(done.status.success(), "{kind}: {story}");
        // The checker by itself, from nothing but the file.
        let done = judge(kind, &file);
        let (found, story) = told(&done);
        assert!(done.status.success(), "{kind}: {story}");
        assert!(found["reads_compared"].as_u64() > Some(20), "{kind}: {story}");
        assert!(found["writes_proven"].as_u64() > Some(20), "{kind}: {story}");
    }
}

/// The same clients without the lock: what the checkers then see is what they would see if the lock did not hold.
#[test]
fn histories_without_the_lock_are_found_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["append", "bank"] {
        let file = folder.path().join(format!("{kind}.json"));
        let done = history(kind, &file, &["--rounds", "2", "--unlocked"]);
        assert_eq!(done.status.code(), Some(1), "{kind}: {}", told(&done).1);
        // It leaves its folder behind for whoever looks into the failure, which here is nobody.
        let (_, story) = told(&done);
        if let Some(left) = story.trim_end().rsplit("is in ").next() {
            let left = Path::new(left);
            assert!(left.starts_with(std::env::temp_dir()), "{story}");
            std::fs::remove_dir_all(left).expect("removed");
        }
        let (found, story) = told(&judge(kind, &file));
        assert!(found["violations"].as_u64() > Some(0), "{kind}: {story}");
    }
}
