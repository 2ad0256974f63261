//! What every journal promises, held against every implementation: `journal::contract`.

use std::sync::Arc;

use journal::disk::sim::SimDisk;
use journal::{
    BatchHash, DamageKind, Error, Fault, Journal, MemoryStore, Part, RecoveredBatch, Start, Starts, Status, Why, open,
};

use crate::scene::{self, Chain, Desk, by_partition, commit, lines, settings, sim};

/// A place where a journal lives.
enum Home {
    Memory(MemoryStore),
    Sim(SimDisk),
    Folder(tempfile::TempDir),
}

type Opening = (Vec<RecoveredBatch>, Vec<journal::Damage>, Arc<dyn Journal>, Desk);

impl Home {
    fn open(&self, starts: &Starts, frozen: &[u16]) -> Result<Opening, Error> {
        let desk = Desk::default();
        let in_folder = |dir: &tempfile::TempDir| open(journal::Settings { dir: dir.path().into(), ..settings() });
        let opened = match self {
            Self::Memory(store) => {
                let mut opened = store.open()?;
                frozen.iter().for_each(|&partition| opened.freeze(partition));
                let (batches, damage) = scene::split(opened.batches(starts)?);
                return Ok((batches, damage, Arc::new(opened.start(desk.completion())), desk));
            }
            Self::Sim(disk) => scene::try_open(disk, settings()),
            Self::Folder(dir) => in_folder(dir),
        };
        let mut opened = opened?;
        frozen.iter().for_each(|&partition| opened.freeze(partition));
        let (batches, damage) = scene::split(opened.batches(starts)?);
        Ok((batches, damage, Arc::new(opened.start(desk.completion())?), desk))
    }

    fn start(&self) -> (Arc<dyn Journal>, Desk) {
        let (_, _, journal, desk) = self.open(&Starts::new(), &[]).expect("it opens");
        (journal, desk)
    }
}

fn everywhere(check: impl Fn(&Home)) {
    check(&Home::Memory(MemoryStore::new()));
    check(&Home::Sim(sim(1)));
    check(&Home::Folder(tempfile::tempdir().expect("a folder")));
}

#[test]
fn parts_end_in_order_in_growing_groups() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let mut chain = Chain::new(3);
        for n in 0..20 {
            journal.submit(n % 4, chain.part(b"entry")).expect("accepted");
        }
        let ended = desk.wait(20);
        let tokens: Vec<u64> = ended.iter().map(|(_, committed)| committed.token).collect();
        assert_eq!(tokens, (1..=20).collect::<Vec<_>>());
        let workers: Vec<usize> = ended.iter().map(|(worker, _)| *worker).collect();
        assert_eq!(workers, (0..20).map(|n| n % 4).collect::<Vec<_>>());
        let groups: Vec<u64> = ended.iter().map(|(_, c)| c.result.as_ref().expect("durable").group).collect();
        assert!(groups.is_sorted(), "{groups:?}");
        assert!(ended.iter().all(|(_, c)| c.batches.len() == 1), "buffers come back");
        assert_eq!(journal.status(), Status::Well);
        let figures = journal.figures();
        assert_eq!((figures.parts, figures.batches), (20, 20));
        assert!(figures.groups >= 1 && figures.groups <= 20);
    });
}

#[test]
fn what_was_committed_is_given_back_in_order() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let (mut a, mut b) = (Chain::new(1), Chain::new(2));
        commit(&*journal, &desk, a.part(b"a1"));
        commit(&*journal, &desk, Part { batches: vec![b.batch(3, b"b1-3"), a.batch(1, b"a2")], token: 9 });
        commit(&*journal, &desk, Part { batches: vec![a.batch(1, b"a3"), a.batch(1, b"a4")], token: 9 });
        journal.stop();
        drop(journal);
        let (batches, damage, ..) = home.open(&Starts::new(), &[]).expect("it opens");
        let expected = [(1, 1, "a1"), (2, 3, "b1-3"), (1, 2, "a2"), (1, 3, "a3"), (1, 4, "a4")];
        assert_eq!(lines(&batches), expected.map(|(p, s, e)| (p, s, e.to_owned())));
        assert!(damage.is_empty(), "{damage:?}");
        let last = batches.last().expect("there are some");
        assert_eq!((last.epoch, last.hash, last.committed_through), (7, a.hash, 3));
        assert!(batches.windows(2).all(|two| two[0].group <= two[1].group && two[0].place < two[1].place));
    });
}

#[test]
fn a_snapshot_says_where_to_begin_and_is_checked() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let (mut a, mut b) = (Chain::new(1), Chain::new(2));
        let mut hashes = vec![BatchHash::NONE];
        for _ in 0..5 {
            commit(&*journal, &desk, a.part(b"a"));
            hashes.push(a.hash);
        }
        commit(&*journal, &desk, b.part(b"b"));
        journal.stop();
        drop(journal);
        let check = |seq, hash| {
            let starts = Starts::from([(1, Start { seq, hash })]);
            let (batches, damage, journal, _) = home.open(&starts, &[]).expect("it opens");
            journal.stop();
            let kinds: Vec<DamageKind> = damage.into_iter().map(|damage| damage.kind).collect();
            (by_partition(&batches), kinds)
        };
        let both = |a: &[u64]| [(1, a.to_vec()), (2, vec![1])].into_iter().filter(|(_, s)| !s.is_empty()).collect();
        assert_eq!(check(0, None), (both(&[1, 2, 3, 4, 5]), vec![]));
        assert_eq!(check(3, Some(hashes[3])), (both(&[4, 5]), vec![]));
        assert_eq!(check(5, Some(hashes[5])), (both(&[]), vec![]));
        let (expected, found) = (hashes[1], hashes[3]);
        let start = |start_seq, found| DamageKind::Start { partition: 1, start_seq, expected, found };
        assert_eq!(check(3, Some(expected)), (both(&[]), vec![start(3, found)]));
        assert_eq!(check(5, Some(expected)), (both(&[]), vec![start(5, hashes[5])]));
        let short = DamageKind::Short { partition: 1, last_seq: 5, start_seq: 9 };
        assert_eq!(check(9, None), (both(&[]), vec![short]));
    });
}

#[test]
fn a_batch_that_does_not_follow_is_not_written() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let mut chain = Chain::new(1);
        commit(&*journal, &desk, chain.part(b"one"));
        let before = chain.clone();
        drop(chain.batch(1, b"lost"));
        let mut other = Chain::new(2);
        let orphan = Part { batches: vec![other.batch(1, b"other"), chain.batch(1, b"orphan")], token: 5 };
        journal.submit(0, orphan).expect("accepted");
        let (_, committed) = desk.wait(1).remove(0);
        assert_eq!(committed.token, 5);
        let fault = committed.result.expect_err("it does not follow");
        assert!(matches!(fault, Fault::Chain { partition: 1, first_seq: 3, tail_seq: 1, .. }), "{fault}");
        // Nothing of the part was written: both partitions go on from where they were.
        let mut chain = before;
        commit(&*journal, &desk, chain.part(b"two"));
        commit(&*journal, &desk, Chain::new(2).part(b"first"));
        journal.stop();
        drop(journal);
        let (batches, damage, ..) = home.open(&Starts::new(), &[]).expect("it opens");
        let expected = [(1, 1, "one"), (1, 2, "two"), (2, 1, "first")];
        assert_eq!(lines(&batches), expected.map(|(p, s, e)| (p, s, e.to_owned())));
        assert!(damage.is_empty());
    });
}

#[test]
fn the_chain_is_held_over_a_restart() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let mut chain = Chain::new(1);
        commit(&*journal, &desk, chain.part(b"one"));
        journal.stop();
        drop(journal);
        let (journal, desk) = home.start();
        journal.submit(0, Chain::new(1).part(b"again from the start")).expect("accepted");
        let fault = desk.wait(1).remove(0).1.result.expect_err("it does not follow");
        assert!(matches!(fault, Fault::Chain { partition: 1, first_seq: 1, tail_seq: 1, .. }), "{fault}");
        commit(&*journal, &desk, chain.part(b"two"));
        journal.stop();
    });
}

#[test]
fn empty_batches_are_links_of_the_chain() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let mut chain = Chain::new(1);
        commit(&*journal, &desk, Part { batches: vec![chain.batch(0, b"")], token: 0 });
        commit(&*journal, &desk, chain.part(b"one"));
        let snapshot = Start { seq: 1, hash: Some(chain.hash) };
        commit(&*journal, &desk, Part { batches: vec![chain.batch(0, b""), chain.batch(0, b"")], token: 0 });
        commit(&*journal, &desk, chain.part(b"two"));
        journal.stop();
        drop(journal);
        let (batches, damage, journal, _) = home.open(&Starts::new(), &[]).expect("it opens");
        journal.stop();
        drop(journal);
        assert_eq!(batches.iter().map(|batch| batch.last_seq).collect::<Vec<_>>(), [0, 1, 1, 1, 2]);
        assert!(damage.is_empty());
        // Behind a snapshot that names its hash all links are given back, so that the caller ends where the chain does.
        let given_back = |start| {
            let (batches, damage, journal, _) = home.open(&Starts::from([(1, start)]), &[]).expect("it opens");
            journal.stop();
            assert!(damage.is_empty(), "{damage:?}");
            assert_eq!(batches.last().map(|batch| batch.hash), Some(chain.hash));
            batches.iter().map(|batch| batch.last_seq).collect::<Vec<_>>()
        };
        assert_eq!(given_back(snapshot), [1, 1, 2]);
        assert_eq!(given_back(Start { hash: None, ..snapshot }), [2]);
    });
}

#[test]
fn parts_that_cannot_be_taken_come_back_whole() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let refused = journal.submit(0, Part { batches: Vec::new(), token: 4 }).expect_err("nothing in it");
        assert_eq!((refused.why, refused.part.token), (Why::Empty, 4));
        let mut chain = Chain::new(1);
        let large = chain.part(&vec![0; 5 << 20]);
        let refused = journal.submit(0, large.clone()).expect_err("too large");
        assert!(matches!(refused.why, Why::TooLarge { .. }), "{}", refused.why);
        assert_eq!(refused.part, large);
        journal.stop();
        let refused = journal.submit(0, Chain::new(1).part(b"late")).expect_err("stopped");
        assert_eq!(refused.why, Why::Stopped);
        assert_eq!(desk.count(), 0);
    });
}

#[test]
fn stopping_completes_everything_that_was_accepted() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let mut chain = Chain::new(1);
        for _ in 0..200 {
            journal.submit(1, chain.part(b"entry")).expect("accepted");
        }
        journal.stop();
        assert_eq!(desk.count(), 200);
        desk.wait_good(200);
        journal.stop();
        assert_eq!(journal.figures().queued_bytes, 0);
    });
}

#[test]
fn workers_on_many_threads_each_see_their_own_order() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        std::thread::scope(|scope| {
            for worker in 0..4_u16 {
                let journal = Arc::clone(&journal);
                scope.spawn(move || {
                    let mut chain = Chain::new(worker);
                    for _ in 0..100 {
                        journal.submit(usize::from(worker), chain.part(b"entry")).expect("accepted");
                    }
                });
            }
        });
        let ended = desk.wait(400);
        for worker in 0..4 {
            let own = ended.iter().filter(|(who, _)| *who == worker);
            assert_eq!(own.map(|(_, c)| c.token).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
        }
        journal.stop();
        drop(journal);
        let (batches, ..) = home.open(&Starts::new(), &[]).expect("it opens");
        let all: Vec<u64> = (1..=100).collect();
        assert_eq!(by_partition(&batches), (0..4).map(|partition| (partition, all.clone())).collect());
    });
}

#[test]
fn trimming_never_takes_what_is_needed() {
    everywhere(|home| {
        let (journal, desk) = home.start();
        let (mut a, mut b) = (Chain::new(1), Chain::new(2));
        for _ in 0..100 {
            commit(&*journal, &desk, a.part(&[1; 400]));
            commit(&*journal, &desk, b.part(&[2; 400]));
        }
        journal.trimmable(1, 90);
        journal.trimmable(2, 80);
        journal.trimmable(2, 10);
        journal.stop();
        drop(journal);
        let (batches, damage, ..) = home.open(&Starts::new(), &[]).expect("it opens");
        assert!(damage.is_empty());
        let found = by_partition(&batches);
        assert!(found[&1].ends_with(&(91..=100).collect::<Vec<_>>()), "{found:?}");
        assert!(found[&2].ends_with(&(81..=100).collect::<Vec<_>>()), "{found:?}");
        assert!(found[&1].is_sorted() && found[&2].is_sorted());
    });
}

#[test]
fn one_at_a_time() {
    everywhere(|home| {
        let (journal, _desk) = home.start();
        let Err(error) = home.open(&Starts::new(), &[]) else { panic!("it is in use") };
        let text = error.to_string();
        assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        journal.stop();
        home.open(&Starts::new(), &[]).expect("it is free again");
    });
}

#[test]
fn a_frozen_partition_takes_nothing_and_others_go_on() {
    everywhere(|home| {
        let (_, _, journal, desk) = home.open(&Starts::new(), &[1]).expect("it opens");
        journal.submit(0, Chain::new(1).part(b"no")).expect("accepted");
        journal.submit(0, Chain::new(2).part(b"yes")).expect("accepted");
        let ended = desk.wait(2);
        assert_eq!(ended[0].1.result, Err(Fault::Frozen { partition: 1 }));
        assert!(ended[1].1.result.is_ok());
        journal.stop();
    });
}
