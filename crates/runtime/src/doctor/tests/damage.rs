//! One kind of damage a test; the doctor names it, with its place.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use partition::branch::{Branch, Status};
use partition::transaction::LockState;
use partition::{Transaction, TxOutcome};
use store::catalog::{Catalog, ObjectKey, Op};
use store::history::{History, Record};
use store::statelog::StateLog;

use super::super::reading::{ended, rows};
use super::super::{Report, Severity};
use super::scene::Scene;
use super::{count, look, name, wrong};

fn stopped() -> Scene {
    let mut scene = Scene::run();
    scene.stop();
    scene
}

/// Changes one bit.
fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("written");
}

/// The checks that found something wrong.
fn sick(report: &Report) -> Vec<&'static str> {
    report.checks.iter().filter(|c| c.wrong > 0).map(|c| c.name).collect()
}

/// The journal's segment that holds the most.
fn segment(scene: &Scene) -> PathBuf {
    let dir = scene.data().join("journal");
    let seen = journal::inspect::inspect(&dir).expect("inspected");
    let file = seen.files.iter().max_by_key(|file| file.used_bytes).expect("a segment");
    dir.join(&file.name)
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_bit_of_a_batch() {
    let scene = stopped();
    let path = segment(&scene);
    // Far behind the headers of the first group, long before the last: inside some batch's entries.
    flip(&path, 20_000);
    let report = look(&scene);
    assert!(!report.is_well());
    let found = report.findings.iter().find(|f| f.check.starts_with("journal.")).expect("a finding of the journal");
    assert!(found.place.contains(&file_name(&path)) && found.place.contains("byte "), "{found:?}");
    assert!(found.what.contains("group "), "{found:?}");
}

#[test]
fn a_bit_of_the_header_of_a_segment() {
    let scene = stopped();
    let path = segment(&scene);
    flip(&path, 9);
    let report = look(&scene);
    let found = wrong(&report, "journal.files");
    assert!(found.what.contains("header is not readable"), "{found:?}");
    let replay = report.checks.iter().find(|c| c.name == "state.replay").expect("the check");
    assert!(replay.not_done.as_ref().is_some_and(|why| why.contains("would not open")), "{replay:?}");
    // The checkpoints can still be looked at, and nothing is concluded from what could not be read.
    assert_eq!(sick(&report), ["journal.files"]);
    assert!(count(&report, "live.branches", "live transactions") > 0);
}

#[test]
fn two_segments_swapped() {
    let scene = stopped();
    let dir = scene.data().join("journal");
    let seen = journal::inspect::inspect(&dir).expect("inspected");
    let names: Vec<_> = seen.files.iter().map(|file| dir.join(&file.name)).collect();
    let (a, b) = match names.as_slice() {
        [a, b, ..] => (a.clone(), b.clone()),
        // A segment under another's name is as bad.
        [a] => (a.clone(), a.with_file_name(file_name(a).replace('1', "2"))),
        [] => panic!("no segment"),
    };
    let aside = dir.join("aside");
    for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
        if from.exists() {
            std::fs::rename(from, to).expect("renamed");
        }
    }
    let report = look(&scene);
    let found = wrong(&report, "journal.files");
    assert!(found.what.contains("carries the header of segment"), "{found:?}");
}

#[test]
fn a_journal_cut_short() {
    let scene = stopped();
    for file in journal::inspect::inspect(&scene.data().join("journal")).expect("inspected").files {
        let path = scene.data().join("journal").join(&file.name);
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        file.set_len(12_288).expect("cut");
    }
    let report = look(&scene);
    let found = wrong(&report, "state.replay");
    assert!(
        found.what.contains("before the checkpoint's") || found.what.contains("before the snapshot's"),
        "{found:?}"
    );
    assert!(found.place.contains("partition "), "{found:?}");
}

#[test]
fn a_bit_of_a_row() {
    let scene = stopped();
    let path = scene.named("state/p0000/rows-").into_iter().next().expect("a segment of rows");
    flip(&path, 100);
    let report = look(&scene);
    for check in ["state.files", "state.checkpoints"] {
        let found = wrong(&report, check);
        assert!(found.place.contains(&path.display().to_string()) && found.place.contains("byte 0"), "{found:?}");
        assert!(found.what.contains("does not match its hash"), "{found:?}");
    }
}

#[test]
fn a_bit_of_a_checkpoint() {
    let scene = stopped();
    let path = scene.named("state/p0001/checkpoint-").pop().expect("a checkpoint");
    flip(&path, 30);
    let report = look(&scene);
    for check in ["state.files", "state.checkpoints"] {
        let found = wrong(&report, check);
        assert!(found.place.contains(&path.display().to_string()), "{found:?}");
    }
}

#[test]
fn a_checkpoint_deleted_before_anything_was_trimmed() {
    let scene = stopped();
    let all = scene.named("state/p0002/checkpoint-");
    std::fs::remove_file(all.first().expect("a checkpoint")).expect("removed");
    // With the journal's beginning still there, the one that is left is compared with all of it: no promise is hurt.
    let report = look(&scene);
    assert!(report.is_well());
    assert_eq!(count(&report, "state.checkpoints", "checkpoints"), 7);
    assert_eq!(count(&report, "state.replay", "batch hashes of checkpoints"), 4);
}

/// Files in which every byte counts.
fn of_the_store(scene: &Scene) -> Vec<PathBuf> {
    ["state/p0000/", "history/", "catalog/"].iter().flat_map(|start| scene.named(start)).collect()
}

#[test]
fn a_checkpoint_deleted_behind_a_trimmed_journal() {
    let mut scene = stopped();
    // A segment of another length than its header says is not written on: the next start begins a fresh one.
    let path = segment(&scene);
    let file = std::fs::File::options().write(true).open(&path).expect("opened");
    file.set_len(file.metadata().expect("its length").len() + 4096).expect("longer");
    scene.start();
    // Two more checkpoints of each, so that nothing needs the old segment any more, and a moment to trim it.
    scene.rounds(2);
    let dir = scene.data().join("journal");
    let trimmed = || {
        let seen = journal::inspect::inspect(&dir).expect("inspected");
        seen.partitions.len() == 4 && seen.partitions.values().all(|partition| partition.first_seq > 1)
    };
    for _ in 0..1_000 {
        if trimmed() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    scene.stop();
    assert!(trimmed(), "the journal was not trimmed");
    assert!(look(&scene).is_well(), "a trimmed journal is well");
    let all = scene.named("state/p0002/checkpoint-");
    assert_eq!(all.len(), 2);
    std::fs::remove_file(&all[0]).expect("removed");
    let report = look(&scene);
    let found = wrong(&report, "state.checkpoints");
    assert!(found.what.contains("partition 2 has one checkpoint") && found.place.contains("p0002"), "{found:?}");
    std::fs::remove_file(&all[1]).expect("removed");
    let report = look(&scene);
    let found = wrong(&report, "state.replay");
    assert!(found.what.contains("there is no checkpoint that reaches so far"), "{found:?}");
}

#[test]
fn no_bit_changes_unnoticed() {
    let scene = stopped();
    assert!(look(&scene).is_well());
    let notes = look(&scene).findings.len();
    let journal = journal::inspect::inspect(&scene.data().join("journal")).expect("inspected");
    let used = journal.files.iter().map(|file| (scene.data().join("journal").join(&file.name), file.used_bytes));
    let whole = of_the_store(&scene).into_iter().map(|path| {
        let bytes = std::fs::metadata(&path).expect("its length").len();
        (path, bytes)
    });
    for (path, bytes) in whole.chain(used).filter(|(_, bytes)| *bytes > 0) {
        for part in 0..2 {
            // Spread over the file, at places that no structure favours.
            let offset = (bytes * (2 * part + 1) / 4 + 13 * part) % bytes;
            flip(&path, offset);
            let report = look(&scene);
            flip(&path, offset);
            assert!(report.findings.len() > notes, "byte {offset} of {}", path.display());
        }
    }
    assert!(look(&scene).is_well(), "every bit is back in its place");
}

/// The newest checkpoint of a partition.
fn newest(scene: &Scene, partition: u16) -> rows::Checkpoint {
    let dir = scene.data().join(format!("state/p{partition:04}"));
    rows::checkpoints(&dir).expect("listed").pop().expect("a checkpoint").expect("whole")
}

/// Makes another checkpoint at the same place, with some rows changed, as no node would.
fn forge(
    scene: &Scene,
    partition: u16,
    hash: Option<[u8; 16]>,
    change: impl Fn(&mut Transaction) -> Option<bool>,
) -> u64 {
    let checkpoint = newest(scene, partition);
    let before = wire::checkpoint::read(model::PartitionId(partition), &checkpoint.meta).expect("a frame");
    let dir = scene.data().join(format!("state/p{partition:04}"));
    let (log, _) = StateLog::open(&dir, store::statelog::Settings::default()).expect("opened");
    let mut job = log.begin(checkpoint.seq, hash.unwrap_or(checkpoint.batch_hash), checkpoint.meta);
    let mut changed = 0;
    log.for_each_row(|key, row| {
        let mut tx = wire::row::read(row, |hash| before.plans.find(hash)).expect("a row");
        match change(&mut tx) {
            Some(true) => {
                let mut row = Vec::new();
                wire::row::write(&tx, &before.plans.get(tx.plan).expect("its plan").hash, &mut row);
                job.put(key, &row).expect("put");
                changed += 1;
            }
            Some(false) => {
                job.delete(key);
                changed += 1;
            }
            None => {}
        }
    })
    .expect("read");
    job.run().expect("a checkpoint");
    changed
}

#[test]
fn a_row_missing_from_a_checkpoint() {
    let scene = stopped();
    // Those that were there all along, and so are in the older one or in its replay.
    let victim = scene.live.iter().find(|id| id.partition().0 == 0).copied().expect("live in partition 0");
    assert_eq!(forge(&scene, 0, None, |tx| (tx.id == victim).then_some(false)), 1);
    let report = look(&scene);
    let found = wrong(&report, "state.replay");
    assert!(found.what.contains("JR-1") && found.what.contains("missing"), "{found:?}");
    assert!(found.place.contains("partition 0, entry ") && found.place.contains(&name(victim)), "{found:?}");
}

#[test]
fn a_checkpoint_of_another_journal() {
    let scene = stopped();
    forge(&scene, 3, Some([7; 16]), |_| None);
    let report = look(&scene);
    let found = wrong(&report, "state.replay");
    assert!(found.what.contains("partition 3: the checkpoint names another batch"), "{found:?}");
}

#[test]
fn a_branch_that_nothing_wakes() {
    let scene = stopped();
    let victim = scene.live.iter().find(|id| id.partition().0 == 1).copied().expect("live in partition 1");
    let strand = |tx: &mut Transaction| {
        (tx.id == victim).then(|| {
            for step in &mut tx.steps {
                if step.status == Status::Pending {
                    step.status = Status::Active;
                }
                step.branch = Branch::Idle;
            }
            tx.attention = None;
            true
        })
    };
    assert_eq!(forge(&scene, 1, None, strand), 1);
    let report = look(&scene);
    let found = wrong(&report, "live.branches");
    assert!(found.place.contains(&name(victim)) && found.what.contains("TX-4"), "{found:?}");
}

#[test]
fn a_lock_held_twice_and_a_key_used_twice() {
    let scene = stopped();
    let grab = |tx: &mut Transaction| {
        (tx.lock == LockState::Waiting).then(|| {
            tx.lock = LockState::Held;
            tx.phase = partition::transaction::Phase::Forward;
            tx.idempotency_key = "again".into();
            true
        })
    };
    let changed: u64 = (0..4).map(|partition| forge(&scene, partition, None, grab)).sum();
    assert_eq!(changed, 20);
    let report = look(&scene);
    let found = wrong(&report, "live.indexes");
    assert!(found.what.contains("held by 2 transactions") && found.place.contains("lock balance of key"), "{found:?}");
    let found = wrong(&report, "live.keys");
    assert!(found.what.contains("TX-1") && found.what.contains("\"again\" is live twice"), "{found:?}");
}

#[test]
fn a_bit_of_the_catalog() {
    let scene = stopped();
    let path = scene.data().join("catalog/catalog.log");
    flip(&path, 200);
    let report = look(&scene);
    let found = wrong(&report, "catalog.files");
    assert!(found.place.contains("catalog.log, byte "), "{found:?}");
}

#[test]
fn a_plan_removed() {
    let scene = stopped();
    let mut catalog = Catalog::open(&scene.data().join("catalog")).expect("opened");
    catalog.change(vec![Op::Delete { key: ObjectKey::new("definition", "transfer", 1) }]).expect("changed");
    drop(catalog);
    let report = look(&scene);
    let found = wrong(&report, "catalog.plans");
    assert!(found.place.contains("\"transfer\" version 1"), "{found:?}");
    assert!(wrong(&report, "catalog.objects").what.contains("active version of \"transfer\""));
    assert!(wrong(&report, "history.records").what.contains("plan"));
    assert_eq!(sick(&report), ["catalog.objects", "catalog.plans", "history.records"]);
}

#[test]
fn a_bit_of_history() {
    let scene = stopped();
    let path = scene.named("history/history-").into_iter().next().expect("a segment");
    flip(&path, 5_000);
    let report = look(&scene);
    let found = wrong(&report, "history.files");
    assert!(found.place.contains(&file_name(&path)), "{found:?}");
}

#[test]
fn history_lost() {
    let scene = stopped();
    for path in scene.named("history/") {
        std::fs::remove_file(path).expect("removed");
    }
    let report = look(&scene);
    let found = wrong(&report, "history.once");
    assert!(found.what.contains("TX-2") && found.place.contains("tx_"), "{found:?}");
    assert_eq!(sick(&report), ["history.once"]);
}

/// Reads all of history and writes it anew; `change` may give a record more or less, or another row.
fn rewrite(scene: &Scene, change: impl Fn(usize, &mut Transaction) -> usize) {
    rewrite_in(scene, store::history::Settings::default(), change);
}

fn rewrite_in(
    scene: &Scene,
    settings: store::history::Settings,
    change: impl Fn(usize, &mut Transaction) -> usize,
) -> History {
    let dir = scene.data().join("history");
    let mut records = Vec::new();
    for (id, path) in ended::segments(&dir).expect("listed") {
        ended::for_each(id, &path, |r| {
            let fields = (r.id, r.idempotency, r.key, r.began_at_us, r.ended_at_us, r.definition, r.words);
            records.push((fields, r.row.to_vec()));
        })
        .expect("read");
        std::fs::remove_file(path).expect("removed");
    }
    for path in scene.named("history/") {
        std::fs::remove_file(path).expect("removed");
    }
    let (history, _) = History::open(&dir, settings).expect("opened");
    let mut block = history.take_block();
    for (n, (fields, row)) in records.iter().enumerate() {
        let (id, idempotency, key, began_at_us, ended_at_us, definition, [state, outcome, reason]) = *fields;
        let plan = wire::row::plan_of(row).expect("a plan");
        let mut tx = wire::row::read(row, |_| Some(0)).expect("a row");
        let times = change(n, &mut tx);
        let mut row = Vec::new();
        wire::row::write(&tx, &plan, &mut row);
        for _ in 0..times {
            let (tags, row) = (&[][..], row.as_slice());
            let record = Record {
                id,
                idempotency,
                key,
                began_at_us,
                ended_at_us,
                definition,
                state,
                outcome,
                reason,
                tags,
                row,
            };
            assert!(block.push(&record));
        }
        if n % 25 == 24 {
            put(&history, std::mem::replace(&mut block, history.take_block()));
        }
    }
    if !block.is_empty() {
        put(&history, block);
    }
    history.flush_to_disk(history.position()).expect("flushed");
    history
}

fn put(history: &History, mut block: store::history::Block) {
    for _ in 0..1_000 {
        match history.append(block) {
            Ok(_) => return,
            Err(not) => block = not.block,
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("history took nothing for ten seconds");
}

#[test]
fn a_record_of_history_twice() {
    let scene = stopped();
    rewrite(&scene, |n, _| if n == 7 { 2 } else { 1 });
    let report = look(&scene);
    let found = wrong(&report, "history.once");
    assert!(found.what.contains("TX-1") && found.what.contains("in history twice"), "{found:?}");
    assert!(found.place.contains("history-") && found.place.contains("byte "), "{found:?}");
    assert_eq!(sick(&report), ["history.once"]);
}

#[test]
fn an_aborted_transaction_with_a_step_not_undone() {
    let scene = stopped();
    rewrite(&scene, |_, tx| {
        if matches!(tx.outcome, Some(TxOutcome::Aborted(_))) {
            tx.steps[0].status = Status::Done;
            tx.steps[0].may_have_executed = true;
        }
        1
    });
    let report = look(&scene);
    assert_eq!(sick(&report), ["history.undone"]);
    let check = report.checks.iter().find(|c| c.name == "history.undone").expect("the check");
    assert_eq!(check.wrong, scene.ended.len() as u64 / 4, "each of them is counted");
    assert!(report.findings.iter().filter(|f| f.severity == Severity::Wrong).count() <= 50, "not each is told");
    let found = wrong(&report, "history.undone");
    assert!(found.what.contains("TX-3") && found.what.contains("\"debit\""), "{found:?}");
    assert!(found.place.starts_with("tx_"), "{found:?}");
}

#[test]
fn what_retention_dropped_is_not_missed_and_a_side_file_is_verified() {
    let scene = stopped();
    let settings = store::history::Settings { segment_records_max: 50, ..store::history::Settings::default() };
    let mut ends = std::sync::Mutex::new(Vec::new());
    let history = rewrite_in(&scene, settings, |_, tx| {
        ends.lock().expect("alone").push(tx.ended_at.0);
        1
    });
    let ends = ends.get_mut().expect("alone");
    ends.sort_unstable();
    // A full segment is sealed on a thread of its own, and only then can be dropped.
    let cutoff_us = ends[ends.len() / 2];
    let mut dropped = 0;
    for _ in 0..1_000 {
        dropped += history.drop_ended_before(cutoff_us).expect("dropped").segments;
        if dropped > 0 && !scene.named("history/").iter().all(|path| !path.to_string_lossy().ends_with(".idx")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(dropped > 0, "nothing was dropped");
    drop(history);
    let report = look(&scene);
    assert!(report.is_well());
    assert!(count(&report, "history.once", "records") < scene.ended.len() as u64);
    assert!(count(&report, "history.once", "records") > 0);

    let mut sides = scene.named("history/").into_iter().filter(|path| path.to_string_lossy().ends_with(".idx"));
    let side = sides.next().expect("a side file");
    flip(&side, std::fs::metadata(&side).expect("its length").len() / 2);
    let report = look(&scene);
    let found = wrong(&report, "history.files");
    assert!(found.place.contains(&file_name(&side)), "{found:?}");
    assert_eq!(sick(&report), ["history.files"]);
}

#[test]
fn a_record_that_is_live_as_well() {
    let scene = stopped();
    let live = scene.live.iter().find(|id| id.partition().0 == 2).copied().expect("live in partition 2");
    let dir = scene.data().join("history");
    let (history, _) = History::open(&dir, store::history::Settings::default()).expect("opened");
    let mut block = history.take_block();
    let row = newest(&scene, 2).rows().expect("rows").get(live.seq()).expect("read").expect("a row");
    let record = Record {
        id: live.0,
        idempotency: 1,
        key: 2,
        began_at_us: 3,
        ended_at_us: 4,
        definition: 5,
        state: 5,
        outcome: 1,
        reason: 0,
        tags: &[],
        row: &row,
    };
    assert!(block.push(&record));
    let position = history.append(block).expect("taken");
    history.flush_to_disk(position).expect("flushed");
    drop(history);
    let report = look(&scene);
    let found = wrong(&report, "history.once");
    assert!(found.what.contains("is in history and live as well") && found.what.contains(&name(live)), "{found:?}");
    assert!(wrong(&report, "history.records").what.contains("says something else than its row"));
    assert!(wrong(&report, "history.undone").what.contains("TX-2"));
}
