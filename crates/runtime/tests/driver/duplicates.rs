//! The same submission many times at once: one transaction, whatever overtakes whatever.

use std::collections::HashSet;
use std::time::Duration;

use runtime::{Refusal, Until};

use crate::world::{self, Bank, Mood, WAIT};

const AT_ONCE: usize = 64;
const KEYS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_duplicates_begin_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    for round in 0..2 {
        for n in 0..KEYS {
            let key = format!("k{n}");
            let all: Vec<_> = (0..AT_ONCE)
                .map(|one| {
                    let (engine, order) = (engine.clone(), world::transfer(&key));
                    let wait = if one % 3 == 0 { Duration::ZERO } else { WAIT };
                    tokio::spawn(async move { engine.submit(order, wait, Until::End).await })
                })
                .collect();
            let mut ids = HashSet::new();
            let mut new = 0;
            for one in all {
                let answer = one.await.expect("joined").expect("accepted");
                ids.insert(answer.id);
                new += usize::from(!answer.replayed);
                assert!(world::text(&answer).starts_with(&format!("{key} ")), "{:?}", world::text(&answer));
            }
            assert_eq!(ids.len(), 1, "{key} in round {round}");
            assert_eq!(new, usize::from(round == 0), "{key} in round {round}");
            let other = engine.submit(world::order("transfer", &key, &key, "other"), WAIT, Until::End).await;
            assert!(matches!(other, Err(Refusal::KeyReused { first }) if ids.contains(&first)), "{other:?}");
        }
    }
    let done = bank.done();
    assert_eq!(done.len(), 2 * KEYS);
    assert!(done.values().all(|count| *count == 1), "{done:?}");
    world::end(engine);
}

/// Waves in which a transaction may end while its duplicates are still on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_that_come_while_it_ends_find_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    let all: Vec<_> = (0..6_000)
        .map(|n| {
            let engine = engine.clone();
            let order = world::transfer(&format!("k{}", n / 8));
            tokio::spawn(async move {
                // Spread over the life of the others.
                for _ in 0..n % 8 * 3 {
                    tokio::task::yield_now().await;
                }
                engine.submit(order, WAIT, Until::Outcome).await
            })
        })
        .collect();
    for one in all {
        one.await.expect("joined").expect("accepted");
    }
    let done = bank.done();
    assert_eq!(done.len(), 2 * 750);
    assert!(done.values().all(|count| *count == 1), "{:?}", done.iter().find(|(_, count)| **count > 1));
    world::end(engine);
}

/// A repeat is said to be one also if its wait ends before the transaction does.
#[tokio::test]
async fn a_repeat_that_outlives_its_wait_is_still_a_repeat() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = world::start(dir.path(), &Bank::new(Mood::Well));
    world::apply(&engine).await;
    let order = || world::order("awaiting", "k1", "k1", "k1");
    let wait = Duration::from_millis(20);
    let first = engine.submit(order(), wait, Until::End).await.expect("accepted");
    assert!(!first.decided && !first.replayed, "{}", world::text(&first));
    let again = engine.submit(order(), wait, Until::End).await.expect("known");
    assert_eq!((again.id, again.decided, again.replayed), (first.id, false, true), "{}", world::text(&again));
    world::end(engine);
}

/// Some are answered when it is accepted, some when their wait ends: one alone is the first, whichever came in first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_duplicates_one_is_the_first_even_if_waits_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = world::start(dir.path(), &Bank::new(Mood::Well));
    world::apply(&engine).await;
    for n in 0..KEYS {
        let key = format!("k{n}");
        let all: Vec<_> = (0..AT_ONCE)
            .map(|one| {
                let (engine, order) = (engine.clone(), world::order("awaiting", &key, &key, &key));
                let wait = if one % 2 == 0 { Duration::ZERO } else { Duration::from_millis(30) };
                tokio::spawn(async move { engine.submit(order, wait, Until::End).await })
            })
            .collect();
        let mut new = 0;
        for one in all {
            let answer = one.await.expect("joined").expect("accepted");
            assert!(!answer.decided, "{}", world::text(&answer));
            new += usize::from(!answer.replayed);
        }
        assert_eq!(new, 1, "{key}");
    }
    world::end(engine);
}
