//! Torn tails are cut, damage is told with its place, redundant files are built again.

use std::fs;

use store::Severity;
use store::history::{History, inspect};

use crate::files::{copy_dir, flip, names, only};
use crate::history::{SMALL, append, open, record};

#[test]
fn a_torn_tail_is_cut_to_the_last_whole_block() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    let first = append(&history, 0..20, 10);
    history.flush_to_disk(first).expect("flush");
    append(&history, 20..30, 10);
    drop(history);
    let path = only(dir.path(), ".seg").file_name().expect("a name").to_owned();
    let whole = fs::read(dir.path().join(&path)).expect("file");
    for cut in 1..1200.min(whole.len() / 3 - 200) {
        if cut % 41 != 0 && cut > 20 {
            continue;
        }
        let torn = copy_dir(dir.path());
        fs::write(torn.path().join(&path), &whole[..whole.len() - cut]).expect("cut");
        assert_eq!(inspect(torn.path()).expect("inspect").worst(), Some(Severity::Leftover));
        let (history, opened) = History::open(torn.path(), SMALL).expect("open");
        assert_eq!((opened.records, opened.warnings), (20, vec![]), "cut by {cut}");
        assert!(!history.contains(record(25).id).expect("contains"));
        // The replay appends them again.
        append(&history, 20..30, 10);
        drop(history);
        let (history, opened) = History::open(torn.path(), SMALL).expect("open");
        assert_eq!((opened.records, opened.cut_bytes), (30, 0));
        assert_eq!(history.get(record(25).id).expect("get"), Some(record(25)));
    }
}

#[test]
fn a_bad_block_that_had_been_durable_is_told_and_its_neighbours_stay() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    for block in 0..4 {
        let position = append(&history, block * 10..block * 10 + 10, 10);
        history.flush_to_disk(position).expect("flush");
    }
    drop(history);
    let segment = only(dir.path(), ".seg");
    let whole = fs::read(&segment).expect("file");
    // The second block's first record: its row begins somewhere in the second quarter.
    flip(&segment, whole.len() * 3 / 8);
    assert_eq!(inspect(dir.path()).expect("inspect").worst(), Some(Severity::Loss));
    let (history, opened) = History::open(dir.path(), SMALL).expect("open");
    assert_eq!((opened.records, opened.cut_bytes), (30, 0));
    assert_eq!(opened.warnings.len(), 1);
    assert!(opened.warnings[0].contains("is damaged at byte"), "{:?}", opened.warnings);
    assert!(history.contains(record(5).id).expect("contains"));
    assert!(!history.contains(record(15).id).expect("contains"));
    assert!(history.contains(record(35).id).expect("contains"));
}

#[test]
fn a_bad_block_that_was_never_durable_is_torn_with_all_behind_it() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    append(&history, 0..40, 10);
    drop(history);
    let segment = only(dir.path(), ".seg");
    let whole = fs::read(&segment).expect("file");
    flip(&segment, whole.len() * 3 / 8);
    let (history, opened) = History::open(dir.path(), SMALL).expect("open");
    assert_eq!((opened.records, opened.warnings), (10, vec![]));
    assert!(opened.cut_bytes > 0);
    assert!(!history.contains(record(35).id).expect("contains"));
}

fn sealed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    append(&history, 0..1500, 50);
    drop(history);
    // A start seals what was full.
    drop(open(dir.path()));
    dir
}

#[test]
fn a_side_file_is_built_again_when_it_is_missing_or_damaged() {
    let dir = sealed();
    let side = only(dir.path(), ".idx");
    let whole = fs::read(&side).expect("file");
    let after_summaries = 4096 * (1 + 1000_usize.div_ceil(102));
    for at in [0, 30, after_summaries, after_summaries + 5000, whole.len() - 1, whole.len() - 40] {
        let hurt = copy_dir(dir.path());
        let side = only(hurt.path(), ".idx");
        flip(&side, at);
        assert_eq!(inspect(hurt.path()).expect("inspect").worst(), Some(Severity::Repairable), "byte {at}");
        let (history, opened) = History::open(hurt.path(), SMALL).expect("open");
        assert_eq!(opened.records, 1500);
        assert!(opened.warnings[0].contains("built again"), "{:?}", opened.warnings);
        assert_eq!(history.find_idempotency(record(500).idempotency).expect("find"), vec![record(500)]);
        drop(history);
        assert_eq!(fs::read(&side).expect("file"), whole);
    }
    fs::remove_file(&side).expect("remove");
    let history = open(dir.path());
    assert_eq!(history.get(record(500).id).expect("get"), Some(record(500)));
    assert_eq!(fs::read(&side).expect("file"), whole);
}

#[test]
fn a_flipped_bit_of_a_sealed_record_is_never_returned() {
    let dir = sealed();
    let sealed = names(dir.path()).into_iter().find(|name| name.ends_with(".seg")).expect("a segment");
    let path = dir.path().join(sealed);
    let middle = fs::read(&path).expect("file").len() / 2;
    flip(&path, middle);
    let report = inspect(dir.path()).expect("inspect");
    assert_eq!(report.worst(), Some(Severity::Loss));
    let (history, _) = History::open(dir.path(), SMALL).expect("open");
    let bad: Vec<u64> = (0..1000).filter(|n| history.get(record(*n).id).is_err()).collect();
    assert_eq!(bad.len(), 1);
    let error = history.get(record(bad[0]).id).expect_err("damage");
    assert!(error.is_damage() && error.to_string().contains("does not match its checksum"), "{error}");
}
