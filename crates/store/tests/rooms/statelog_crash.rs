//! A crash at any byte of a checkpoint: the older or the newer one comes back exactly, never a mixture.

use std::fs;
use std::path::Path;

use store::statelog::{StateLog, inspect};
use store::{Error, Severity};

use crate::files::{copy_dir, flip, names};
use crate::statelog::{SMALL, checkpoint, rows_of};

type Rows = std::collections::BTreeMap<u64, Vec<u8>>;

/// Two checkpoints; `before` and `after` are the directory around the second one being written.
struct Story {
    before: tempfile::TempDir,
    after: tempfile::TempDir,
    old: Rows,
    new: Rows,
}

fn story() -> Story {
    let dir = tempfile::tempdir().expect("dir");
    let (log, _) = StateLog::open(dir.path(), SMALL).expect("open");
    checkpoint(&log, 1, &[(1, Some(vec![1; 50])), (2, Some(vec![2; 60])), (3, Some(vec![3; 70]))]);
    let (before, old) = (copy_dir(dir.path()), rows_of(&log));
    checkpoint(&log, 2, &[(1, Some(vec![11; 55])), (2, None), (4, Some(vec![4; 80]))]);
    Story { before, after: copy_dir(dir.path()), old, new: rows_of(&log) }
}

fn opens_as(dir: &Path, expected: &[(u64, &Rows)]) -> Vec<String> {
    let (log, restored) = StateLog::open(dir, SMALL).expect("opens");
    let restored = restored.expect("a checkpoint");
    let rows = rows_of(&log);
    let found = expected.iter().any(|(seq, wanted)| *seq == restored.seq && **wanted == rows);
    assert!(found, "seq {} with {rows:?}", restored.seq);
    // What was chosen goes on: the next checkpoint covers it and survives another start.
    checkpoint(&log, 9, &[(9, Some(vec![9; 9]))]);
    drop(log);
    let (log, again) = StateLog::open(dir, SMALL).expect("opens again");
    assert_eq!(again.map(|restored| (restored.seq, restored.warnings)), Some((9, Vec::new())));
    let mut rows = rows;
    rows.insert(9, vec![9; 9]);
    assert_eq!(rows_of(&log), rows);
    restored.warnings
}

fn newest_manifest(dir: &Path) -> String {
    names(dir).into_iter().rfind(|name| name.starts_with("checkpoint-")).expect("a manifest")
}

#[test]
fn rows_cut_anywhere_without_a_manifest_are_the_older_checkpoint() {
    let story = story();
    let segment = names(story.after.path()).into_iter().find(|name| name.starts_with("rows-")).expect("a segment");
    let whole = fs::read(story.after.path().join(&segment)).expect("a segment");
    let old_len = fs::read(story.before.path().join(&segment)).expect("a segment").len();
    for len in old_len..=whole.len() {
        let dir = copy_dir(story.before.path());
        fs::write(dir.path().join(&segment), &whole[..len]).expect("cut");
        assert_eq!(opens_as(dir.path(), &[(1, &story.old)]), Vec::<String>::new());
    }
}

#[test]
fn a_manifest_cut_or_flipped_anywhere_falls_back_and_says_so() {
    let story = story();
    let name = newest_manifest(story.after.path());
    let whole = fs::read(story.after.path().join(&name)).expect("a manifest");
    for at in 0..whole.len() {
        let dir = copy_dir(story.after.path());
        fs::write(dir.path().join(&name), &whole[..at]).expect("cut");
        assert!(!opens_as(dir.path(), &[(1, &story.old)]).is_empty());

        let dir = copy_dir(story.after.path());
        flip(&dir.path().join(&name), at);
        assert!(!opens_as(dir.path(), &[(1, &story.old)]).is_empty());

        // Not yet renamed: nothing to say.
        let dir = copy_dir(story.after.path());
        fs::rename(dir.path().join(&name), dir.path().join(format!("{name}.tmp"))).expect("rename");
        assert_eq!(opens_as(dir.path(), &[(1, &story.old)]), Vec::<String>::new());
    }
    assert_eq!(opens_as(story.after.path(), &[(2, &story.new)]), Vec::<String>::new());
}

#[test]
fn a_flipped_byte_of_the_newer_rows_falls_back_and_of_the_older_ones_is_told() {
    let story = story();
    let segment = names(story.after.path()).into_iter().find(|name| name.starts_with("rows-")).expect("a segment");
    let len = fs::read(story.after.path().join(&segment)).expect("a segment").len();
    let old_len = fs::read(story.before.path().join(&segment)).expect("a segment").len();
    for at in 0..len {
        let dir = copy_dir(story.after.path());
        flip(&dir.path().join(&segment), at);
        let report = inspect(dir.path()).expect("inspect");
        if at >= old_len {
            assert_eq!(report.worst(), Some(Severity::Repairable), "byte {at}");
            let warnings = opens_as(dir.path(), &[(1, &story.old)]);
            assert!(warnings.iter().any(|warning| warning.contains("using the checkpoint at seq 1")), "{warnings:?}");
        } else {
            assert_eq!(report.worst(), Some(Severity::Loss), "byte {at}");
            assert!(matches!(StateLog::open(dir.path(), SMALL), Err(Error::Damaged { .. })), "byte {at}");
            // Refusing must not have destroyed anything: with the byte restored all is well.
            flip(&dir.path().join(&segment), at);
            opens_as(dir.path(), &[(2, &story.new)]);
        }
    }
}

#[test]
fn a_missing_segment_is_damage_with_its_name() {
    let story = story();
    let segment = names(story.after.path()).into_iter().find(|name| name.starts_with("rows-")).expect("a segment");
    fs::remove_file(story.after.path().join(&segment)).expect("remove");
    let error = StateLog::open(story.after.path(), SMALL).expect_err("damage");
    assert!(error.to_string().contains(&segment), "{error}");
}

#[test]
fn a_row_flipped_under_an_open_log_is_not_returned() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, _) = StateLog::open(dir.path(), SMALL).expect("open");
    checkpoint(&log, 1, &[(1, Some(vec![1; 50]))]);
    let segment = names(dir.path()).into_iter().find(|name| name.starts_with("rows-")).expect("a segment");
    flip(&dir.path().join(segment), 70);
    assert!(matches!(log.read(1), Err(Error::Damaged { .. })));
}
