//! The state log against a plain map: puts, deletes, checkpoints, reopening, reclaiming.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;

use proptest::prelude::*;
use store::Error;
use store::statelog::{Checkpointer, Settings, StateLog, inspect};

type Model = BTreeMap<u64, Vec<u8>>;

pub(crate) const SMALL: Settings = Settings { segment_bytes: 64 << 10, compact_bytes_max: 64 << 10 };

pub(crate) fn rows_of(log: &StateLog) -> Model {
    let mut rows = Model::new();
    log.for_each_row(|key, row| assert!(rows.insert(key, row.to_vec()).is_none(), "row {key} twice")).expect("rows");
    rows
}

pub(crate) fn checkpoint(log: &StateLog, seq: u64, changes: &[(u64, Option<Vec<u8>>)]) -> store::statelog::Verified {
    let mut job = log.begin(seq, [seq as u8; 16], seq.to_le_bytes().to_vec());
    for (key, row) in changes {
        match row {
            Some(row) => job.put(*key, row).expect("a row"),
            None => job.delete(*key),
        }
    }
    job.run().expect("a checkpoint")
}

fn reopen(dir: &Path, seq: u64) -> StateLog {
    let (log, restored) = StateLog::open(dir, SMALL).expect("open");
    match restored {
        None => assert_eq!(seq, 0),
        Some(restored) => {
            assert_eq!(restored.seq, seq);
            assert_eq!(restored.batch_hash, [seq as u8; 16]);
            assert_eq!(restored.meta, seq.to_le_bytes());
            assert_eq!(restored.warnings, Vec::<String>::new());
        }
    }
    log
}

/// One checkpoint's changes. Old keys fill segments that stay mostly live, so that a delete or a new version of one of
/// them has something to hide for long; young keys come and go and make the segments between them empty.
#[derive(Clone, Debug)]
struct Round {
    old: Vec<(u64, bool)>,
    young: Vec<(u64, bool)>,
    row_len: usize,
    reopen: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let round = (
        prop::collection::vec((0..OLD_KEYS, prop::bool::weighted(0.4)), 0..4),
        prop::collection::vec((OLD_KEYS..OLD_KEYS + 40, prop::bool::weighted(0.6)), 0..40),
        0..4000_usize,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(old, young, row_len, reopen)| Round { old, young, row_len, reopen });
    prop::collection::vec(round, 20..70)
}

const OLD_KEYS: u64 = 120;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_map_with_checkpoints(rounds in rounds()) {
        let dir = tempfile::tempdir().expect("dir");
        let mut log = reopen(dir.path(), 0);
        let mut seq = 1;
        let base: Vec<_> = (0..OLD_KEYS).map(|key| (key, Some(vec![key as u8; 3000]))).collect();
        let mut model: Model = base.iter().map(|(key, row)| (*key, row.clone().unwrap_or_default())).collect();
        checkpoint(&log, seq, &base);
        for round in rounds {
            seq += 1;
            let mut changes = Vec::new();
            for (key, put) in round.old.iter().chain(&round.young) {
                if *put {
                    let row = vec![seq as u8; round.row_len];
                    model.insert(*key, row.clone());
                    changes.push((*key, Some(row)));
                } else {
                    model.remove(key);
                    changes.push((*key, None));
                }
            }
            checkpoint(&log, seq, &changes);
            if round.reopen {
                drop(log);
                log = reopen(dir.path(), seq);
            }
            prop_assert_eq!(&rows_of(&log), &model);
        }
        drop(log);
        let log = reopen(dir.path(), seq);
        prop_assert_eq!(&rows_of(&log), &model);
        for key in 0..OLD_KEYS + 40 {
            prop_assert_eq!(log.read(key).expect("read"), model.get(&key).cloned());
        }
        prop_assert_eq!(inspect(dir.path()).expect("inspect").findings, vec![]);
    }
}

#[test]
fn a_delete_of_a_row_in_an_old_segment_is_never_forgotten() {
    let dir = tempfile::tempdir().expect("dir");
    let mut log = reopen(dir.path(), 0);
    // Segments that stay mostly live for ever: 400 rows of 3,000 bytes.
    let mut model: Model = (0..400).map(|key| (key, vec![1; 3000])).collect();
    checkpoint(&log, 1, &model.iter().map(|(key, row)| (*key, Some(row.clone()))).collect::<Vec<_>>());
    let mut copied = 0;
    for seq in 2..300_u64 {
        let mut changes: Vec<_> = (0..30).map(|n| (10_000 + n, Some(vec![seq as u8; 2000]))).collect();
        model.extend(changes.iter().map(|(key, row)| (*key, row.clone().unwrap_or_default())));
        let old = (seq * 7) % 400;
        match seq % 9 {
            // Gone, and some of these come back and go again later.
            1 | 5 => {
                model.remove(&old);
                changes.push((old, None));
            }
            7 if !model.contains_key(&((old + 14) % 400)) => {
                model.insert((old + 14) % 400, vec![9; 100]);
                changes.push(((old + 14) % 400, Some(vec![9; 100])));
            }
            _ => {}
        }
        copied += checkpoint(&log, seq, &changes).copied_rows;
        if seq % 10 == 0 {
            drop(log);
            log = reopen(dir.path(), seq);
            assert_eq!(rows_of(&log), model, "after seq {seq}");
        }
    }
    assert!(copied > 0, "something was copied");
}

#[test]
fn a_key_that_came_back_and_went_again_stays_away() {
    // It comes back some checkpoints after it went, and is then left alone or written in every checkpoint, also in the
    // one that gives its delete up.
    for (gap, written_again) in [(1, false), (2, false), (3, false), (4, false), (1, true), (2, true)] {
        let dir = tempfile::tempdir().expect("dir");
        let log = reopen(dir.path(), 0);
        let base: Vec<_> = (0..400_u64).map(|key| (key, Some(vec![1; 3000]))).collect();
        checkpoint(&log, 1, &base);
        let mut seq = 1;
        // Enough of it empties every segment that was written meanwhile, and leaves the first ones as they are.
        let mut churn = |rounds: u64, more: &[(u64, Option<Vec<u8>>)]| {
            for _ in 0..rounds {
                seq += 1;
                let mut changes: Vec<_> = (0..30).map(|n| (10_000 + n, Some(vec![seq as u8; 2000]))).collect();
                changes.extend_from_slice(more);
                checkpoint(&log, seq, &changes);
            }
            seq
        };
        let back = [(5, Some(vec![2; 100]))];
        churn(6, &[]);
        churn(1, &[(5, None)]);
        churn(gap, &[]);
        churn(1, &back);
        churn(20, if written_again { &back } else { &[] });
        churn(1, &[(5, None)]);
        let seq = churn(20, &[]);
        drop(log);
        let log = reopen(dir.path(), seq);
        assert_eq!(log.read(5).expect("read"), None, "back after {gap}, written again: {written_again}");
        assert_eq!(log.stats().rows, 399 + 30);
    }
}

#[test]
fn dead_space_is_reclaimed_and_deletes_do_not_come_back() {
    let dir = tempfile::tempdir().expect("dir");
    let mut log = reopen(dir.path(), 0);
    let mut model = Model::new();
    let row = |n: u64| vec![n as u8; 4000];
    // A few rows stay for ever, in the very first segment, so that every delete has something old to hide.
    let mut copied = 0;
    let rounds = 120;
    for seq in 1..=rounds {
        let mut changes = Vec::new();
        for n in 0..100_u64 {
            let key = seq * 1000 + n;
            changes.push((key, Some(row(n))));
            model.insert(key, row(n));
            if seq > 2 && n != 0 {
                let old = (seq - 2) * 1000 + n;
                changes.push((old, None));
                model.remove(&old);
            }
        }
        copied += checkpoint(&log, seq, &changes).copied_rows;
        if seq % 40 == 0 {
            drop(log);
            log = reopen(dir.path(), seq);
        }
    }
    assert_eq!(rows_of(&log), model);
    let stats = log.stats();
    assert!(copied > 0, "something was copied");
    // 12,000 rows of 4,000 bytes went through; 318 live ones remain.
    assert!(stats.segment_bytes < 3 * stats.live_bytes, "{stats:?}");
    assert_eq!(inspect(dir.path()).expect("inspect").findings, vec![]);
}

#[test]
fn a_checkpoint_costs_what_changed() {
    let dir = tempfile::tempdir().expect("dir");
    let log = reopen(dir.path(), 0);
    let all: Vec<_> = (0..20_000_u64).map(|key| (key, Some(vec![7; 400]))).collect();
    let first = checkpoint(&log, 1, &all);
    assert_eq!(first.trim_through, 0, "one checkpoint is no reason to trim");
    let second = checkpoint(&log, 2, &[(5, Some(vec![8; 400])), (6, None)]);
    assert!(second.written_bytes < 1000, "{second:?}");
    assert_eq!(second.trim_through, 1);
    assert_eq!(second.dirty_rows, 2);
    assert_eq!(log.read(5).expect("read"), Some(vec![8; 400]));
    assert!(!log.contains(6));
    assert!(log.stats().index_bytes / log.stats().rows < 48, "{:?}", log.stats());
}

#[test]
fn rows_are_read_while_a_checkpoint_runs_in_the_background() {
    let dir = tempfile::tempdir().expect("dir");
    let log = reopen(dir.path(), 0);
    checkpoint(&log, 1, &(0..1000_u64).map(|key| (key, Some(vec![1; 300]))).collect::<Vec<_>>());
    let checkpointer = Checkpointer::start(4).expect("thread");
    let (tell, told) = channel();
    for seq in 2..=4_u64 {
        let mut job = log.begin(seq, [seq as u8; 16], seq.to_le_bytes().to_vec());
        (500..1500_u64).for_each(|key| job.put(key, &[seq as u8; 300]).expect("row"));
        let tell = tell.clone();
        checkpointer.submit(job, move |result| tell.send(result).expect("told")).expect("room");
    }
    for key in 0..500 {
        assert_eq!(log.read(key).expect("read"), Some(vec![1; 300]));
    }
    for seq in 2..=4_u64 {
        assert_eq!(told.recv().expect("told").expect("verified").seq, seq);
    }
    assert_eq!(log.read(1499).expect("read"), Some(vec![4; 300]));
    drop(checkpointer);
    drop(log);
    assert_eq!(rows_of(&reopen(dir.path(), 4)).len(), 1500);
}

#[test]
fn a_seq_that_goes_back_and_a_row_too_large_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let log = reopen(dir.path(), 0);
    checkpoint(&log, 5, &[(1, Some(vec![1]))]);
    assert!(matches!(log.begin(4, [0; 16], Vec::new()).run(), Err(Error::Refused(_))));
    let mut job = log.begin(6, [6; 16], Vec::new());
    assert!(matches!(job.put(1, &vec![0; store::statelog::ROW_BYTES_MAX + 1]), Err(Error::Refused(_))));
}

#[test]
fn an_empty_row_is_a_row_and_files_name_the_newest_checkpoint() {
    let dir = tempfile::tempdir().expect("dir");
    let log = reopen(dir.path(), 0);
    assert!(log.with_files(<[_]>::to_vec).is_empty());
    checkpoint(&log, 1, &[(u64::MAX, Some(Vec::new()))]);
    drop(log);
    let log = reopen(dir.path(), 1);
    assert_eq!(log.read(u64::MAX).expect("read"), Some(Vec::new()));
    let other = tempfile::tempdir().expect("dir");
    for (path, len) in log.with_files(<[_]>::to_vec) {
        let bytes = std::fs::read(&path).expect("file");
        std::fs::write(other.path().join(path.file_name().expect("name")), &bytes[..len as usize]).expect("copy");
    }
    assert_eq!(rows_of(&reopen(other.path(), 1)), rows_of(&log));
}
