//! Damage to what was durable: every flipped bit is reported with its place, and never skipped.

use std::collections::BTreeMap;

use journal::disk::sim::SimDisk;
use journal::format::{GroupFrame, SegmentHeader};
use journal::{DamageKind, Error, Fault, Journal, Part, Place, Settings, Starts};

use crate::scene::{self, Chain, by_partition, commit, lines, open, read, settings, sim, start, try_open};

const FIRST: &str = "segment-0000000000000001";

/// Four groups of two partitions, sealed: groups of 512 bytes at 4096, 4608, 5120, 5632; the seal at 6144.
fn sealed() -> SimDisk {
    let disk = sim(3);
    let (journal, desk) = start(&disk, settings());
    let (mut a, mut b) = (Chain::new(1), Chain::new(2));
    for n in 0..4_u8 {
        let (left, right) = (a.batch(1, &[n; 20]), b.batch(1, &[n; 30]));
        commit(&journal, &desk, Part { batches: vec![left, right], token: 0 });
    }
    drop(journal);
    disk
}

fn with(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
    let disk = disk.after_process_death();
    let mut bytes = disk.contents(name).expect("the file is there");
    change(&mut bytes);
    disk.set_contents(name, &bytes);
    disk
}

fn place(damage: &journal::Damage) -> u64 {
    match damage.place {
        Place::Segment { offset, .. } | Place::Side { offset, .. } => offset,
    }
}

#[test]
fn a_bit_anywhere() {
    let good = sealed();
    let all: BTreeMap<u16, Vec<u64>> = [(1, vec![1, 2, 3, 4]), (2, vec![1, 2, 3, 4])].into();
    let bytes = (0..4096).step_by(37).chain(4092..6144);
    for (n, at) in bytes.enumerate() {
        let bad = with(&good, FIRST, |bytes| bytes[at] ^= 1 << (n % 8));
        let seen = scene::inspect(&bad);
        assert!(!seen.damage.is_empty(), "byte {at}: the doctor sees it");
        match try_open(&bad, settings()) {
            Err(Error::Damage(damage)) => {
                // A header: the place is that of its group, whose number is told.
                let group = (at as u64).saturating_sub(3584) / 512;
                let frame = if at < 4096 { 0 } else { at as u64 / 512 * 512 };
                assert!(place(&damage) >= frame && place(&damage) <= at as u64, "byte {at}: {damage}");
                assert_eq!(damage.group, group, "byte {at}: {damage}");
            }
            Err(error) => panic!("byte {at}: {error}"),
            Ok(opened) => {
                let found = opened.recovery().damage.clone();
                assert_eq!(found.len(), 1, "byte {at}: {found:?}");
                assert!(place(&found[0]) <= at as u64 && at as u64 - place(&found[0]) < 512, "byte {at}: {}", found[0]);
                let (batches, told) = read(&opened, &Starts::new());
                let mut expected = all.clone();
                match found[0].partition {
                    None => assert_eq!((&found[0].kind, told.len()), (&DamageKind::Filling, 0)),
                    Some(hit) => {
                        assert_eq!(told, found, "byte {at}");
                        let before = (found[0].group - 1) as usize;
                        expected.get_mut(&hit).expect("1 or 2").truncate(before);
                        if before == 0 {
                            expected.remove(&hit);
                        }
                    }
                }
                assert_eq!(by_partition(&batches), expected, "byte {at}");
                let strict = Settings { strict: true, ..settings() };
                drop(opened);
                assert!(matches!(try_open(&bad, strict), Err(Error::Damage(_))), "byte {at}");
            }
        }
    }
}

/// A seal means nothing but proof: without it, all that it proved is still there.
#[test]
fn a_bit_in_the_seal_loses_nothing() {
    let good = sealed();
    for at in 6144..6144 + 512 {
        let bad = with(&good, FIRST, |bytes| bytes[at] ^= 0x10);
        let opened = open(&bad);
        assert!(opened.recovery().damage.is_empty(), "byte {at}");
        assert_eq!(read(&opened, &Starts::new()).0.len(), 8, "byte {at}");
    }
}

#[test]
fn the_last_group_is_damaged_not_torn_when_a_seal_proves_it() {
    let bad = with(&sealed(), FIRST, |bytes| bytes[5632 + 64 + 72] ^= 1);
    let opened = open(&bad);
    let damage = &opened.recovery().damage[0];
    assert_eq!((damage.group, damage.batch, damage.partition), (4, Some(0), Some(1)));
    assert_eq!(damage.place, Place::Segment { segment: 1, offset: 5632 + 64 });
    assert_eq!(damage.kind, DamageKind::BatchHash { partition: 1, first_seq: 4, last_seq: 4 });
    assert_eq!(
        damage.to_string(),
        "segment 1, byte 5696, group 4, batch 0: partition 1: the entries of seq 4..=4 do not match their hash"
    );
}

#[test]
fn the_damaged_partition_is_frozen_and_stays_so() {
    let bad = with(&sealed(), FIRST, |bytes| bytes[4608 + 64 + 75] ^= 1);
    for _ in 0..3 {
        let opened = open(&bad);
        let (batches, _) = read(&opened, &Starts::new());
        assert_eq!(by_partition(&batches)[&1], [1]);
        let mut healthy = Chain { partition: 2, next_seq: 0, hash: Default::default() };
        let last = batches.iter().rfind(|batch| batch.partition == 2).expect("some");
        (healthy.next_seq, healthy.hash) = (last.last_seq + 1, last.hash);
        let desk = scene::Desk::default();
        let journal = opened.start(desk.completion()).expect("it starts");
        journal.submit(0, Chain::new(1).part(b"no")).expect("accepted");
        assert_eq!(desk.wait(1)[0].1.result, Err(Fault::Frozen { partition: 1 }));
        commit(&journal, &desk, healthy.part(b"yes"));
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let disk = sim(3);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    (0..40).for_each(|_| commit(&journal, &desk, chain.part(&[1; 1500])));
    drop(journal);
    for name in ["segment-0000000000000002", "segment-0000000000000003"] {
        let dead = disk.after_process_death();
        journal::disk::Disk::remove(&dead, name).expect("it was there");
        let Err(Error::Damage(damage)) = try_open(&dead, settings()) else { panic!("{name} is missed") };
        assert!(matches!(damage.kind, DamageKind::GroupMissing { .. }), "{damage}");
    }
    // Without the oldest, the snapshot tells.
    let dead = disk.after_process_death();
    journal::disk::Disk::remove(&dead, FIRST).expect("it was there");
    let opened = open(&dead);
    let (_, damage) = read(&opened, &Starts::from([(1, journal::Start { seq: 2, hash: None })]));
    assert!(matches!(damage[0].kind, DamageKind::Gap { partition: 1, start_seq: 2, .. }), "{damage:?}");
}

/// A segment says that it replaces groups from a number on, so all below were there, whatever became of its own first
/// write. Found by fuzzing: the first opening cut the torn write and told nothing, the second refused the journal.
#[test]
fn a_gap_before_a_torn_end_is_damage_at_once() {
    let disk = sealed();
    let next = scene::inspect(&disk).files[0].last_group.expect("groups") + 1;
    let salt = 77;
    let segment = SegmentHeader { segment: 2, bytes: 16 << 10, align: 512, salt, supersedes_from: next + 5 };
    let mut frame = GroupFrame::default();
    frame.push(Chain::new(3).batch(1, &[5; 40]).bytes());
    let mut bytes = segment.encode();
    bytes.extend_from_slice(frame.finish(&segment, next, next - 1));
    bytes[4096 + 64 + 80] ^= 1;
    disk.set_contents("segment-0000000000000002", &bytes);
    let Err(Error::Damage(damage)) = try_open(&disk, settings()) else { panic!("five groups are missing") };
    assert_eq!(damage.kind, DamageKind::GroupMissing { expected: next, found: next + 5 });
    assert_eq!(scene::inspect(&disk).damage, [*damage]);
}

/// The last group of a segment is proven by the first group of the next one.
#[test]
fn the_end_of_a_full_segment_is_not_a_torn_end() {
    let disk = sim(3);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    (0..20).for_each(|_| commit(&journal, &desk, chain.part(&[1; 1500])));
    let dead = disk.after_process_death();
    drop(journal);
    let seen = scene::inspect(&dead);
    let end = 4096 + seen.files[0].used_bytes as usize;
    let groups = seen.files[0].last_group.expect("it is full");
    let header = with(&dead, FIRST, |bytes| bytes[end - 2048 + 17] ^= 1);
    let Err(Error::Damage(damage)) = try_open(&header, settings()) else { panic!("it is damage") };
    let offset = end as u64 - 2048;
    assert_eq!((damage.place, damage.group), (Place::Segment { segment: 1, offset }, groups));
    let payload = with(&dead, FIRST, |bytes| bytes[end - 600] ^= 1);
    let opened = open(&payload);
    assert_eq!(opened.recovery().torn, None);
    assert_eq!(opened.recovery().damage[0].group, groups);
    assert_eq!(read(&opened, &Starts::new()).0.len() as u64, groups - 1);
}

/// Nobody can tell whose batch it was: nobody may start without it.
#[test]
fn a_batch_that_names_another_partition_is_nobodys() {
    let bad = with(&sealed(), FIRST, |bytes| bytes[5632 + 64 + 20] ^= 2);
    let Err(Error::Damage(damage)) = try_open(&bad, settings()) else { panic!("it is damage") };
    assert_eq!((damage.kind, damage.group, damage.batch), (DamageKind::BatchHeader, 4, Some(0)));
}

/// Entries may hold anything, also a whole journal.
#[test]
fn a_journal_inside_an_entry_is_only_an_entry() {
    let inner = sealed().contents(FIRST).expect("the file");
    // Another seed, so another salt: the segment's id and the group's number are the very same.
    let disk = sim(4);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    commit(&journal, &desk, chain.part(b"before"));
    // 376 bytes of entries put the inner groups onto the alignment of the outer ones.
    let entries = [&[0; 376][..], &inner[4096..6656]].concat();
    commit(&journal, &desk, chain.part(&entries));
    let dead = disk.after_process_death();
    drop(journal);
    let torn = with(&dead, FIRST, |bytes| bytes[4608 + 200] ^= 1);
    let opened = open(&torn);
    assert_eq!(opened.recovery().torn.map(|torn| torn.group), Some(2));
    assert_eq!(lines(&read(&opened, &Starts::new()).0), [(1, 1, "before".to_owned())]);
}
