//! The last write, cut short at every byte, in every kind of file: it is cut whole, and nothing else is.

use journal::disk::sim::SimDisk;
use journal::{Journal, Starts, Torn};

use crate::scene::{self, Chain, commit, lines, open, read, settings, sim, start, try_open};

/// A journal of three groups that was killed, its last segment's name, and the last group's offset and bytes.
struct Killed {
    disk: SimDisk,
    name: String,
    offset: usize,
    span: usize,
}

fn killed(last_entries: &[u8], recycle: bool) -> Killed {
    let disk = sim(7);
    let (journal, desk) = start(&disk, settings());
    let mut chain = Chain::new(1);
    if recycle {
        // Through all segments several times, so that what comes last lies over former lives.
        for _ in 0..60 {
            commit(&journal, &desk, chain.part(&[7; 1500]));
            journal.trimmable(1, chain.next_seq - 1);
        }
        scene::eventually("recycling", || journal.figures().segments_recycled > 3);
    }
    commit(&journal, &desk, chain.part(b"one"));
    commit(&journal, &desk, chain.part(b"two"));
    commit(&journal, &desk, chain.part(last_entries));
    let dead = disk.after_process_death();
    drop(journal);
    let seen = scene::inspect(&dead);
    assert!(!seen.sealed && seen.torn.is_none() && seen.damage.is_empty(), "{seen:?}");
    let file = seen.files.iter().rfind(|file| file.groups > 0).expect("a used segment");
    let span = (64 + 72 + last_entries.len()).next_multiple_of(512);
    Killed { disk: dead, name: file.name.clone(), offset: 4096 + file.used_bytes as usize - span, span }
}

/// What is recovered when the last group of `killed` is replaced by `make(group's bytes, kept)` for every `kept`.
fn at_every_byte(killed: &Killed, make: impl Fn(&[u8], usize) -> Vec<u8>) {
    let whole = killed.disk.contents(&killed.name).expect("the segment");
    let all = {
        let opened = open(&killed.disk.after_process_death());
        lines(&read(&opened, &Starts::new()).0)
    };
    for kept in 0..=killed.span {
        let disk = killed.disk.after_process_death();
        let made = make(&whole, kept);
        // The last bytes of a group may be zeros anyhow.
        let place = killed.offset..killed.offset + killed.span;
        let is_whole = made.get(place.clone()) == whole.get(place);
        disk.set_contents(&killed.name, &made);
        let opened = try_open(&disk, settings()).unwrap_or_else(|error| panic!("{kept} bytes kept: {error}"));
        let (batches, damage) = read(&opened, &Starts::new());
        assert!(damage.is_empty() && opened.recovery().damage.is_empty(), "{kept} bytes kept");
        let found = lines(&batches);
        if is_whole {
            assert!(found == all, "{kept} bytes kept");
        } else {
            assert!(found == all[..all.len() - 1], "{kept} bytes kept");
            let torn = opened.recovery().torn;
            if kept >= 64 {
                let Torn { group, bytes, .. } = torn.expect("it is told what was cut");
                assert_eq!(group, opened.recovery().last_group + 1);
                assert!(bytes > 0 && bytes <= killed.span as u64);
            }
        }
        // It goes on from there, and a second start finds nothing torn.
        drop(opened);
        let again = open(&disk);
        assert_eq!(again.recovery().torn, None, "{kept} bytes kept");
        assert!(lines(&read(&again, &Starts::new()).0) == found, "{kept} bytes kept");
    }
}

#[test]
fn over_zeros() {
    let killed = killed(&[3; 700], false);
    at_every_byte(&killed, |whole, kept| {
        let mut bytes = whole.to_vec();
        bytes[killed.offset + kept..killed.offset + killed.span].fill(0);
        bytes
    });
}

#[test]
fn over_a_former_life() {
    let killed = killed(&[3; 700], true);
    let former = {
        // Another segment's groups, as recycling leaves them.
        let disk = sim(99);
        let (journal, desk) = start(&disk, settings());
        let mut chain = Chain::new(1);
        (0..6).for_each(|_| commit(&journal, &desk, chain.part(&[9; 1200])));
        drop(journal);
        disk.contents("segment-0000000000000001").expect("the segment")
    };
    at_every_byte(&killed, |whole, kept| {
        let mut bytes = whole.to_vec();
        let (from, to) = (killed.offset + kept, killed.offset + killed.span);
        bytes[from..to].copy_from_slice(&former[from..to]);
        bytes
    });
}

#[test]
fn at_the_end_of_a_short_file() {
    let killed = killed(&[3; 700], false);
    at_every_byte(&killed, |whole, kept| whole[..killed.offset + kept].to_vec());
}

/// Sectors of one write persist in any order: any of them may be missing.
#[test]
fn any_sector_of_the_last_group_may_be_missing() {
    let killed = killed(&[3; 3000], false);
    let whole = killed.disk.contents(&killed.name).expect("the segment");
    let sectors = killed.span / 512;
    for missing in 1..1_u32 << sectors {
        let disk = killed.disk.after_process_death();
        let mut bytes = whole.clone();
        for sector in (0..sectors).filter(|sector| missing & (1 << sector) != 0) {
            bytes[killed.offset + sector * 512..][..512].fill(0);
        }
        disk.set_contents(&killed.name, &bytes);
        let opened = try_open(&disk, settings()).unwrap_or_else(|error| panic!("sectors {missing:b} missing: {error}"));
        let found = lines(&read(&opened, &Starts::new()).0);
        assert_eq!(found, [(1, 1, "one".to_owned()), (1, 2, "two".to_owned())]);
    }
}

/// Several partitions in the last group, one of them damaged: still torn, since nothing proves it durable.
#[test]
fn one_bad_batch_in_the_last_group_cuts_it_whole() {
    let disk = sim(7);
    let (journal, desk) = start(&disk, settings());
    let (mut a, mut b) = (Chain::new(1), Chain::new(2));
    commit(&journal, &desk, a.part(b"kept"));
    let both = journal::Part { batches: vec![a.batch(1, b"cut"), b.batch(1, b"cut")], token: 0 };
    commit(&journal, &desk, both);
    let dead = disk.after_process_death();
    drop(journal);
    let name = "segment-0000000000000001";
    let mut bytes = dead.contents(name).expect("the segment");
    bytes[4096 + 512 + 64 + 73] ^= 4;
    dead.set_contents(name, &bytes);
    let opened = open(&dead);
    assert_eq!(opened.recovery().torn.map(|torn| (torn.group, torn.bytes)), Some((2, 512)));
    assert_eq!(lines(&read(&opened, &Starts::new()).0), [(1, 1, "kept".to_owned())]);
}
