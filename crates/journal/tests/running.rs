//! A journal at work: seals, failures, full disks, trimming, recycling, slow partitions, bounded queues.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use journal::disk::Disk;
use journal::disk::sim::{Faults, SimDisk};
use journal::{DamageKind, Error, Fault, FileJournal, Journal, Part, Place, Settings, Start, Starts, Status, Why};

use crate::scene::{
    self, Chain, Desk, SEGMENT_BYTES, by_partition, commit, eventually, lines, open, read, settings, sim, start,
    try_open,
};

fn seqs(disk: &SimDisk) -> Vec<u64> {
    by_partition(&read(&open(disk), &Starts::new()).0).remove(&1).unwrap_or_default()
}

/// Waits until the next segment is there, so that the keeper has nothing to write.
fn settled(journal: &FileJournal, prepared: u64) {
    eventually("the next segment", || journal.figures().segments_prepared >= prepared);
}

// === seals ===

#[test]
fn an_idle_journal_seals_itself_once() {
    let disk = sim(1);
    let (journal, desk) = start(&disk, Settings { seal_after: Duration::from_millis(2), ..settings() });
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"one"));
    eventually("the seal", || journal.figures().seals == 1);
    let dead = disk.after_process_death();
    assert!(scene::inspect(&dead).sealed);
    let opened = open(&dead);
    assert_eq!((opened.recovery().secured_bytes, opened.recovery().torn), (0, None));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(journal.figures().seals, 1, "a sealed journal stays as it is");
    commit(&journal, &desk, chain.part(b"two"));
    eventually("the next seal", || journal.figures().seals == 2);
}

#[test]
fn a_sealed_end_is_written_on_and_an_unsealed_one_is_copied() {
    let disk = sim(1);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"one"));
    drop(journal);
    let (journal, desk) = start(&disk, settings());
    commit(&journal, &desk, chain.part(b"two"));
    let seen = scene::inspect(&disk.after_process_death());
    assert_eq!(seen.files.iter().filter(|file| file.groups > 0).count(), 1, "the same segment goes on");

    let dead = disk.after_process_death();
    drop(journal);
    let opened = open(&dead);
    assert!(opened.recovery().secured_bytes > 0);
    let seen = scene::inspect(&dead);
    assert!(seen.sealed && seen.damage.is_empty());
    assert_eq!(seen.files.iter().filter_map(|file| file.superseded_from).collect::<Vec<_>>(), [3]);
    assert_eq!(seen.partitions[&1].batches, 2);
    assert_eq!(lines(&read(&opened, &Starts::new()).0), [(1, 1, "one".to_owned()), (1, 2, "two".to_owned())]);
    drop(opened);
    // What was copied is on disk: the power may go at once.
    (0..8).for_each(|seed| assert_eq!(seqs(&dead.after_power_cut(seed)), [1, 2]));
}

// === failures ===

fn fails_for_ever(faults: Faults) -> (SimDisk, Vec<u64>) {
    let disk = sim(5);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"one"));
    settled(&journal, 1);
    disk.set_faults(faults);
    journal.submit(3, chain.part(&[2; 700])).expect("accepted");
    let (worker, committed) = desk.wait(1).remove(0);
    assert_eq!((worker, committed.token, committed.batches.len()), (3, 2, 1));
    assert!(matches!(committed.result, Err(Fault::Failed { .. })), "{:?}", committed.result);
    assert!(matches!(journal.status(), Status::Failed { .. }));
    let refused = journal.submit(3, chain.part(b"three")).expect_err("it has failed");
    assert!(matches!(refused.why, Why::Failed { .. }), "{}", refused.why);
    eventually("the marker", || disk.contents("failed").is_some_and(|text| !text.is_empty()));
    journal.stop();
    assert_eq!(desk.count(), 0, "one completion per part");
    let dead = disk.after_process_death();
    let opened = open(&dead);
    let why = opened.recovery().after_failure.clone().expect("it is told");
    assert!(why.contains("as it was told to") && why.contains("segment 1, byte 4608"), "{why}");
    drop(opened);
    assert_eq!(dead.contents("failed"), None, "the marker is gone after a good recovery");
    let found = seqs(&dead);
    (dead, found)
}

#[test]
fn a_failed_sync_stops_the_journal_and_what_is_released_later_is_on_disk() {
    let (dead, found) = fails_for_ever(Faults { fail_sync_in: Some(0), ..Faults::default() });
    assert_eq!(found, [1, 2], "it was readable");
    // Linux marks pages clean after a failed fsync: only a copy brings them to disk.
    (0..8).for_each(|seed| assert_eq!(seqs(&dead.after_power_cut(seed)), [1, 2]));
}

#[test]
fn a_failed_write_stops_the_journal() {
    let (dead, found) = fails_for_ever(Faults { fail_write_in: Some(0), ..Faults::default() });
    assert_eq!(found, [1], "half a group is a torn one");
    (0..8).for_each(|seed| assert_eq!(seqs(&dead.after_power_cut(seed)), [1]));
}

#[test]
fn a_failed_sync_during_recovery_releases_nothing() {
    let disk = sim(5);
    let (journal, desk) = start(&disk, settings());
    commit(&journal, &desk, Chain::new(1).part(b"one"));
    let dead = disk.after_process_death();
    drop(journal);
    for sync in 0..3 {
        let dead = dead.after_process_death();
        dead.set_faults(Faults { fail_sync_in: Some(sync), ..Faults::default() });
        if let Ok(opened) = try_open(&dead, settings()) {
            assert_eq!(read(&opened, &Starts::new()).0.len(), 1, "sync {sync}");
        }
        dead.set_faults(Faults::default());
        assert_eq!(seqs(&dead), [1], "sync {sync}");
    }
}

/// A seal proves what is before it, but nothing proves the seal: a hole in its place must not look like damage later.
#[test]
fn a_seal_that_never_reached_the_disk_is_written_again() {
    let disk = sim(5);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"one"));
    settled(&journal, 1);
    disk.set_faults(Faults { fail_sync_in: Some(0), ..Faults::default() });
    journal.stop();
    assert!(matches!(journal.status(), Status::Failed { .. }), "the seal failed");
    let dead = disk.after_process_death();
    // The worst case: the disk did not even take the marker.
    dead.remove("failed").expect("it was written");
    assert!(scene::inspect(&dead).sealed, "it is readable");
    let (journal, desk) = start(&dead, settings());
    commit(&journal, &desk, chain.part(b"two"));
    let later = dead.after_process_death();
    drop(journal);
    (0..8).for_each(|seed| assert_eq!(seqs(&later.after_power_cut(seed)), [1, 2]));
}

#[test]
fn a_short_write_is_no_failure() {
    let disk = sim(5);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"one"));
    settled(&journal, 1);
    disk.set_faults(Faults { short_write_in: Some(0), ..Faults::default() });
    commit(&journal, &desk, chain.part(&[1; 2000]));
    drop(journal);
    assert_eq!(seqs(&disk), [1, 2]);
}

#[test]
fn a_panicking_completion_fails_the_journal() {
    let disk = sim(5);
    let journal = open(&disk).start(Box::new(|_, _| panic!("a fault of the caller"))).expect("it starts");
    journal.submit(0, Chain::new(1).part(b"one")).expect("accepted");
    eventually("the failure", || matches!(journal.status(), Status::Failed { .. }));
    journal.stop();
}

// === full disks ===

/// Submits until the disk is full; the part that was refused, and what `status` said on the way.
fn fill(journal: &FileJournal, desk: &Desk, chain: &mut Chain) -> (Part, Vec<Status>) {
    let mut said = vec![journal.status()];
    for accepted in 1.. {
        if let Err(refused) = journal.submit(0, chain.part(&[1; 1500])) {
            assert_eq!(refused.why, Why::DiskFull);
            return (refused.part, said);
        }
        // One group at a time, so that nothing is missed of what `status` says.
        eventually("its end", || desk.count() == accepted || journal.status() == Status::DiskFull);
        let now = journal.status();
        if said.last().map(std::mem::discriminant) != Some(std::mem::discriminant(&now)) {
            said.push(now);
        }
    }
    unreachable!("the disk is small")
}

fn small() -> (SimDisk, Settings) {
    let disk = SimDisk::new(1, 5 * SEGMENT_BYTES);
    (disk, Settings { low_watermark_bytes: 2 * SEGMENT_BYTES, ..settings() })
}

#[test]
fn a_full_disk_is_announced_held_and_resumed_from() {
    let (disk, settings) = small();
    let (journal, desk) = start(&disk, settings);
    let mut chain = Chain::new(1);
    let (refused, said) = fill(&journal, &desk, &mut chain);
    assert!(matches!(said[..], [Status::Well, Status::DiskLow { .. }, ..]), "{said:?}");
    assert_eq!(journal.status(), Status::DiskFull);
    let accepted = refused.token - 1;
    assert!((desk.count() as u64) < accepted, "some are held");
    // Space comes back, from outside; nobody has to tell the journal.
    disk.set_capacity_bytes(50 * SEGMENT_BYTES);
    desk.wait_good(accepted as usize);
    eventually("the end of the full disk", || journal.status() != Status::DiskFull);
    commit(&journal, &desk, refused);
    eventually("room", || journal.status() == Status::Well);
    drop(journal);
    assert_eq!(seqs(&disk), (1..=accepted + 1).collect::<Vec<_>>());
}

#[test]
fn trimming_is_a_way_out_of_a_full_disk() {
    let (disk, settings) = small();
    let (journal, desk) = start(&disk, settings);
    let mut chain = Chain::new(1);
    let (refused, _) = fill(&journal, &desk, &mut chain);
    let accepted = refused.token - 1;
    journal.trimmable(1, 20);
    desk.wait_good(accepted as usize);
    eventually("the end of the full disk", || journal.status() != Status::DiskFull);
    commit(&journal, &desk, refused);
    drop(journal);
    let opened = open(&disk);
    let (batches, damage) = read(&opened, &Starts::from([(1, Start { seq: 20, hash: None })]));
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(by_partition(&batches)[&1], (21..=accepted + 1).collect::<Vec<_>>());
}

#[test]
fn the_settings_limit_counts_as_a_full_disk() {
    let disk = sim(1);
    let limit = Settings { disk_bytes_max: 3 * SEGMENT_BYTES, ..settings() };
    let (journal, desk) = start(&disk, limit);
    let (refused, _) = fill(&journal, &desk, &mut Chain::new(1));
    assert_eq!(journal.status(), Status::DiskFull);
    let used: u64 =
        disk.list().expect("it lists").iter().filter_map(|name| disk.contents(name)).map(|c| c.len() as u64).sum();
    assert!(used <= 3 * SEGMENT_BYTES, "{used}");
    let held = refused.token - 1 - desk.count() as u64;
    journal.stop();
    let ended = desk.wait(refused.token as usize - 1);
    let (good, stopped): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(_, c)| c.result.is_ok());
    assert_eq!(stopped.len() as u64, held);
    assert!(stopped.iter().all(|(_, c)| c.result == Err(Fault::Stopped)));
    drop(journal);
    assert_eq!(seqs(&disk), (1..=good.len() as u64).collect::<Vec<_>>(), "nothing half done");
}

#[test]
fn the_reserve_is_held_given_up_and_held_again() {
    let disk = SimDisk::new(1, 40 * SEGMENT_BYTES);
    let reserve_bytes = 10 * SEGMENT_BYTES;
    let (journal, _desk) = start(&disk, Settings { reserve_bytes, ..settings() });
    let reserve = || disk.contents("reserve").map(|bytes| bytes.len() as u64);
    eventually("the reserve", || reserve() == Some(reserve_bytes));
    disk.set_capacity_bytes(15 * SEGMENT_BYTES);
    assert_eq!(journal.give_up_reserve().expect("it is deleted"), reserve_bytes);
    assert_eq!((reserve(), journal.give_up_reserve().expect("nothing to do")), (None, 0));
    disk.set_capacity_bytes(40 * SEGMENT_BYTES);
    journal.trimmable(1, 1);
    eventually("the reserve again", || reserve() == Some(reserve_bytes));
}

#[test]
fn recovery_uses_the_reserve_when_there_is_no_other_room() {
    let disk = sim(1);
    let with_reserve = || Settings { reserve_bytes: 2 * SEGMENT_BYTES, ..settings() };
    let (journal, desk) = start(&disk, with_reserve());
    commit(&journal, &desk, Chain::new(1).part(b"one"));
    eventually("the reserve", || disk.contents("reserve").is_some());
    settled(&journal, 1);
    let dead = disk.after_process_death();
    drop(journal);
    let free: Vec<String> = dead.list().expect("it lists").into_iter().filter(|name| name.ends_with("2")).collect();
    free.iter().for_each(|name| dead.remove(name).expect("the prepared segment"));
    dead.set_capacity_bytes(0);
    let without = dead.after_process_death();
    without.remove("reserve").expect("it was there");
    let error = try_open(&without, with_reserve()).expect_err("no room at all");
    assert!(matches!(error, Error::DiskFull { needed_bytes: SEGMENT_BYTES, .. }), "{error}");
    dead.set_capacity_bytes(3 * SEGMENT_BYTES);
    let opened = try_open(&dead, with_reserve()).expect("the reserve gives room");
    assert_eq!(read(&opened, &Starts::new()).0.len(), 1);
    assert_eq!(dead.contents("reserve"), None);
}

// === trimming ===

#[test]
fn segments_are_recycled_and_their_former_life_stays_dead() {
    let disk = sim(1);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    for n in 0..300 {
        commit(&journal, &desk, chain.part(&[n as u8; 1500]));
        journal.trimmable(1, chain.next_seq.saturating_sub(4));
        if n % 50 == 49 {
            let dead = disk.after_process_death();
            let opened = open(&dead);
            let start = Start { seq: chain.next_seq.saturating_sub(4), hash: None };
            let (batches, damage) = read(&opened, &Starts::from([(1, start)]));
            assert!(damage.is_empty(), "{damage:?}");
            assert_eq!(by_partition(&batches)[&1], (start.seq + 1..chain.next_seq).collect::<Vec<_>>());
        }
    }
    eventually("recycling", || journal.figures().live_segments <= 3);
    let figures = journal.figures();
    assert!(figures.segments_recycled >= 40, "{figures:?}");
    assert!(disk.list().expect("it lists").len() <= 10, "files are used again");
}

/// Partition 9 has one old batch that nobody can trim; partition 1 writes and trims.
fn slow(disk: &SimDisk, settings: &Settings, groups: u64) -> (FileJournal, Desk, Chain, Chain) {
    let (journal, desk) = start(disk, settings.clone());
    let (mut busy, mut slow) = (Chain::new(1), Chain::new(9));
    commit(&journal, &desk, slow.part(b"old"));
    for _ in 0..groups {
        commit(&journal, &desk, busy.part(&[1; 1500]));
        journal.trimmable(1, busy.next_seq - 1);
    }
    (journal, desk, busy, slow)
}

#[test]
fn a_slow_partition_does_not_hold_the_head() {
    let disk = sim(1);
    let settings = Settings { live_segments_max: 3, ..settings() };
    let (journal, desk, mut busy, mut slow) = slow(&disk, &settings, 60);
    eventually("the head to move on", || journal.figures().live_segments <= 3);
    assert_eq!(journal.figures().batches_moved_aside, 1);
    assert!(disk.contents("side-00009").is_some() && disk.contents("segment-0000000000000001").is_none());
    commit(&journal, &desk, slow.part(b"newer"));
    for _ in 0..60 {
        commit(&journal, &desk, busy.part(&[1; 1500]));
        journal.trimmable(1, busy.next_seq - 1);
    }
    eventually("the head to move on again", || journal.figures().live_segments <= 3);
    commit(&journal, &desk, slow.part(b"newest"));

    // Killed, and opened twice: side file first, then the segments, one chain.
    let dead = disk.after_process_death();
    let aside = |disk: &SimDisk| {
        let opened = open(disk);
        let (batches, damage) = read(&opened, &Starts::new());
        assert!(damage.is_empty(), "{damage:?}");
        lines(&batches).into_iter().filter(|(partition, ..)| *partition == 9).collect::<Vec<_>>()
    };
    let expected = [(9, 1, "old"), (9, 2, "newer"), (9, 3, "newest")].map(|(p, s, e)| (p, s, e.to_owned()));
    assert_eq!(aside(&dead), expected);
    assert_eq!(aside(&dead), expected);
    (0..4).for_each(|seed| assert_eq!(aside(&dead.after_power_cut(seed)), expected));

    // Damage in the side file is that partition's, and nobody else's.
    let rotten = dead.after_process_death();
    let mut bytes = rotten.contents("side-00009").expect("it is there");
    bytes[4096 + 64 + 72] ^= 1;
    rotten.set_contents("side-00009", &bytes);
    let opened = open(&rotten);
    let damage = &opened.recovery().damage[0];
    assert_eq!((damage.place, damage.partition), (Place::Side { partition: 9, offset: 4096 + 64 }, Some(9)));
    assert!(read(&opened, &Starts::new()).0.iter().any(|batch| batch.partition == 1));
    drop(opened);

    // When the partition has caught up, the side file goes.
    journal.trimmable(9, 2);
    eventually("the side file to go", || disk.contents("side-00009").is_none());
    assert_eq!(journal.figures().side_bytes, 0);
    drop(journal);
    let (batches, damage) = read(&open(&disk), &Starts::from([(9, Start { seq: 2, hash: None })]));
    assert!(damage.is_empty(), "{damage:?}");
    assert!(lines(&batches).contains(&(9, 3, "newest".to_owned())));
}

/// The last group of a side file has a seal behind it: it cannot pass for a write that was cut short.
#[test]
fn the_end_of_a_side_file_is_not_torn() {
    let disk = sim(1);
    let settings = Settings { live_segments_max: 2, ..settings() };
    let (journal, ..) = slow(&disk, &settings, 60);
    eventually("the head to move on", || journal.figures().live_segments <= 2);
    drop(journal);
    let good = disk.contents("side-00009").expect("it is there");
    for at in (4096..4096 + 512).step_by(7) {
        let bad = disk.after_process_death();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bad.set_contents("side-00009", &bytes);
        match try_open(&bad, settings.clone()) {
            Err(Error::Damage(damage)) => assert!(matches!(damage.place, Place::Side { partition: 9, .. }), "{damage}"),
            Err(error) => panic!("byte {at}: {error}"),
            Ok(opened) => assert_eq!(opened.recovery().damage.len(), 1, "byte {at}"),
        }
    }
}

/// A crash between the copy to the side file and the end of the segment leaves batches in both.
#[test]
fn batches_in_a_side_file_and_in_a_segment_are_given_back_once() {
    let disk = sim(1);
    let (journal, ..) = slow(&disk, &settings(), 60);
    drop(journal);
    let before = disk.after_process_death();
    let (journal, _desk) = start(&disk, Settings { live_segments_max: 2, ..settings() });
    journal.trimmable(1, 60);
    eventually("the head to move on", || journal.figures().live_segments <= 2);
    let side = disk.contents("side-00009").expect("it was made");
    before.set_contents("side-00009", &side);
    let opened = open(&before);
    assert!(opened.recovery().damage.is_empty());
    let (batches, damage) = read(&opened, &Starts::new());
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(by_partition(&batches)[&9], [1]);
    assert_eq!(by_partition(&batches)[&1].len(), 60);
    drop(opened);
    // The segment goes at last; what the side file has already is not moved again.
    let (journal, _desk) = start(&before, Settings { live_segments_max: 2, ..settings() });
    journal.trimmable(1, 60);
    eventually("the head to move on", || journal.figures().live_segments <= 2);
    drop(journal);
    let (batches, damage) = read(&open(&before), &Starts::from([(1, Start { seq: 60, hash: None })]));
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(lines(&batches), [(9, 1, "old".to_owned())]);
}

/// The copy could be read, but its sync had failed: the segment may only go when the copy has reached the disk.
#[test]
fn a_side_file_that_never_reached_the_disk_is_written_again() {
    let disk = sim(1);
    let settings = Settings { live_segments_max: 2, ..settings() };
    let (journal, desk, mut busy, mut slow) = slow(&disk, &settings, 60);
    eventually("the head to move on", || journal.figures().live_segments <= 2);
    let first = disk.contents("side-00009").expect("it was made");
    commit(&journal, &desk, slow.part(b"newer"));
    (0..30).for_each(|_| commit(&journal, &desk, busy.part(&[1; 1500])));
    settled(&journal, journal.figures().live_segments);
    disk.set_faults(Faults { fail_sync_in: Some(0), ..Faults::default() });
    journal.trimmable(1, busy.next_seq - 1);
    eventually("the copy", || disk.contents("side-00009").is_some_and(|side| side.len() > first.len()));
    let dead = disk.after_process_death();
    drop(journal);
    let (journal, _desk) = start(&dead, settings);
    journal.trimmable(1, busy.next_seq - 1);
    eventually("the head to move on", || journal.figures().live_segments <= 2);
    for seed in 0..8 {
        let (batches, damage) = read(&open(&dead.after_power_cut(seed)), &Starts::new());
        assert!(damage.is_empty(), "{damage:?}");
        assert_eq!(by_partition(&batches)[&9], [1, 2]);
    }
}

#[test]
fn when_all_partitions_are_slow_nothing_is_written_twice() {
    let disk = sim(1);
    let (journal, desk) = start(&disk, Settings { live_segments_max: 2, ..settings() });
    let (mut a, mut b) = (Chain::new(1), Chain::new(2));
    for _ in 0..40 {
        commit(&journal, &desk, a.part(&[1; 1000]));
        commit(&journal, &desk, b.part(&[1; 1000]));
    }
    assert_eq!(journal.figures().batches_moved_aside, 0);
    drop(journal);
    assert_eq!(disk.list().expect("it lists").iter().filter(|name| name.starts_with("side")).count(), 0);
}

// === bounds ===

#[test]
fn the_queue_is_bounded_and_submit_does_not_wait() {
    let disk = sim(1);
    let (go, gate) = mpsc::channel::<()>();
    let desk = Desk::default();
    let (gate, tell) = (Mutex::new(gate), desk.completion());
    let held = move |worker, committed| {
        // Stands for a disk that is slow: the writer is held here until the test lets it go.
        gate.lock().expect("one caller").recv().expect("the test lets go");
        tell(worker, committed);
    };
    let journal = open(&disk).start(Box::new(held)).expect("it starts");
    let mut chain = Chain::new(1);
    let mut accepted = 0;
    let refused = loop {
        match journal.submit(0, chain.part(&[1; 1500])) {
            Ok(()) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused.why, Why::QueueFull { queue_bytes_max: 65_536, .. }), "{}", refused.why);
    assert!(journal.figures().queued_bytes <= 65_536);
    (0..=accepted).for_each(|_| go.send(()).expect("the writer waits"));
    desk.wait_good(accepted);
    commit(&journal, &desk, refused.part);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let check = |change: fn(&mut Settings), word: &str| {
        let mut settings = settings();
        change(&mut settings);
        let error = try_open(&sim(1), settings).expect_err("it cannot work").to_string();
        assert!(error.contains(word), "{error}");
    };
    check(|s| s.align_bytes = 100, "align_bytes is 100, it must be 512 or 4096");
    check(|s| s.segment_bytes = 4096, "segment_bytes is 4096");
    check(|s| s.segment_bytes = 16_000, "segment_bytes is 16000, it must be a multiple of 4096");
    check(|s| s.disk_bytes_max = 1, "disk_bytes_max is 1");
    check(|s| s.group_bytes_max = 0, "group_bytes_max is 0");
    check(|s| s.queue_bytes_max = 1, "queue_bytes_max is 1");
    check(|s| s.live_segments_max = 0, "live_segments_max is 0");
}

#[test]
fn other_segment_sizes_and_alignments_may_follow() {
    let disk = sim(1);
    let mut chain = Chain::new(1);
    for (n, (segment_bytes, align_bytes)) in [(16, 512), (64, 4096), (32, 512), (16, 512)].into_iter().enumerate() {
        let settings = Settings { segment_bytes: segment_bytes << 10, align_bytes, ..settings() };
        let (journal, desk) = start(&disk, settings);
        (0..30).for_each(|_| commit(&journal, &desk, chain.part(&[1; 1500])));
        let dead = disk.after_process_death();
        drop(journal);
        let all: Vec<u64> = (1..=30 * (n as u64 + 1)).collect();
        assert_eq!(seqs(&dead), all, "killed with {segment_bytes} KiB");
        assert_eq!(seqs(&disk.after_process_death()), all, "stopped with {segment_bytes} KiB");
    }
}

// === a real folder ===

/// Plays both processes: the first starts this test again in a second one, which must be refused.
#[test]
fn a_second_process_is_told_who_has_the_journal() {
    const SECOND: &str = "JOURNAL_TEST_FOLDER_IN_USE";
    if let Some(dir) = std::env::var_os(SECOND) {
        let error = journal::open(Settings { dir: dir.into(), ..settings() }).expect_err("the first process has it");
        panic!("refused: {error}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let opened = journal::open(Settings { dir: dir.path().into(), ..settings() }).expect("it opens");
    let second = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "running::a_second_process_is_told_who_has_the_journal", "--nocapture"])
        .env(SECOND, dir.path())
        .output()
        .expect("the second process runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert!(!second.status.success());
    let expected = format!("in use by process {}", std::process::id());
    assert!(said.contains("refused: ") && said.contains(&expected), "{said}");
    assert_eq!(journal::inspect::inspect(dir.path()).expect("readable").in_use_by, Some(std::process::id()));
    drop(opened);
    assert_eq!(journal::inspect::inspect(dir.path()).expect("readable").in_use_by, None);
}

#[test]
fn the_doctor_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let desk = Desk::default();
    let opened = journal::open(Settings { dir: dir.path().into(), ..settings() }).expect("it opens");
    let journal = opened.start(desk.completion()).expect("it starts");
    let mut chain = Chain::new(1);
    (0..20).for_each(|_| commit(&journal, &desk, chain.part(&[1; 1500])));
    drop(journal);
    let picture = || {
        let entries = std::fs::read_dir(dir.path()).expect("it lists");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("an entry");
                let modified = entry.metadata().and_then(|meta| meta.modified()).expect("a time");
                (entry.file_name(), modified, std::fs::read(entry.path()).expect("readable"))
            })
            .collect();
        files.sort();
        files
    };
    let before = picture();
    let seen = journal::inspect::inspect(dir.path()).expect("readable");
    assert!(before == picture());
    assert!(seen.sealed && seen.damage.is_empty() && seen.torn.is_none() && seen.failed.is_none());
    let report = &seen.partitions[&1];
    assert_eq!((report.first_seq, report.last_seq, report.batches, report.bytes), (1, 20, 20, 30_000));
    assert_eq!((report.hash, report.damaged, report.epoch), (chain.hash, false, 7));
    assert_eq!(seen.files.iter().map(|file| file.groups).sum::<u64>(), 20);
    // The doctor goes on behind damage and tells all of it.
    let first = dir.path().join("segment-0000000000000001");
    let mut bytes = std::fs::read(&first).expect("readable");
    bytes[4096 + 3] ^= 1;
    bytes[4096 + 2048 + 700] ^= 1;
    std::fs::write(&first, bytes).expect("writable");
    let seen = journal::inspect::inspect(dir.path()).expect("readable");
    let kinds: Vec<_> = seen.damage.iter().map(|damage| (damage.group, damage.kind.clone())).collect();
    assert_eq!(kinds[0], (1, DamageKind::GroupHeader));
    assert_eq!(kinds[1], (2, DamageKind::BatchHash { partition: 1, first_seq: 2, last_seq: 2 }));
    assert_eq!(kinds.len(), 2);
}
