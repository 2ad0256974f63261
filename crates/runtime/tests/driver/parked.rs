//! A participant that is away: transactions rest on disk, a restart keeps them, and its return is no stampede.

use std::time::Duration;

use runtime::view::Detail;
use runtime::{Filter, GroupBy, Refusal, Until, Verb};

use crate::world::{self, Bank, Mood, WAIT};

const PARKED: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_leaves_memory_survives_a_restart_and_ends_without_a_stampede() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Down);
    let settings = || {
        let mut settings = world::settings(dir.path(), &bank);
        settings.checkpoint_every_bytes = 32 << 10;
        // 1,000 rows in memory at most, parked ones leave it above 500.
        settings.memory_bytes_max = 1_100_000;
        settings
    };
    let engine = world::start_with(settings());
    world::apply(&engine).await;
    let clients: Vec<_> = (0..50)
        .map(|client| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0..PARKED / 50 {
                    let order = world::transfer(&format!("k{}", client * (PARKED / 50) + n));
                    world::insist(&engine, order, Duration::ZERO).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("joined");
    }
    assert!(bank.calls() <= 200, "{} calls to somebody who is away", bank.calls());
    world::until("rows leave memory", || world::number(&engine, "tidegate_transactions_resident") <= 1_000).await;
    assert_eq!(world::number(&engine, "tidegate_transactions_live"), PARKED);
    let count = || engine.count(Filter::default(), vec![GroupBy::Definition]);
    assert_eq!(count().await.expect("counted")[0].count, PARKED);
    let resident = world::number(&engine, "tidegate_transactions_resident");
    assert!(resident <= 1_000, "looking at everything brought {resident} back");
    // One that rests on disk can be looked at and cancelled.
    let first = engine.submit(world::transfer("k0"), Duration::ZERO, Until::End).await.expect("known");
    assert!(first.replayed);
    engine.operate(first.id, Verb::Cancel, "test".into(), "no more".into()).await.expect("cancelled");
    let cancelled = engine.get(first.id, WAIT, Until::End, Detail::Answer).await.expect("known");
    assert_eq!(world::text(&cancelled), "k0 ended/aborted/cancelled");
    world::end(engine);

    let before = bank.calls();
    let engine = world::start_with(settings());
    world::until("they are back", || world::number(&engine, "tidegate_transactions_live") == PARKED - 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bank.calls() - before <= 100, "{} calls to somebody who is still away", bank.calls() - before);
    bank.set(Mood::Well);
    world::until("all end", || {
        let in_flight = engine.participants().first().map_or(0, |p| p.in_flight);
        assert!(in_flight <= 40, "{in_flight} in flight, the limit is 40");
        world::number(&engine, "tidegate_transactions_live") == 0
    })
    .await;
    let done = bank.done();
    assert_eq!(done.len() as u64, 2 * (PARKED - 1));
    assert!(done.values().all(|count| *count == 1));
    let completed = Filter { outcome: Some("completed".into()), ..Filter::default() };
    assert_eq!(engine.count(completed, vec![GroupBy::State]).await.expect("counted")[0].count, PARKED - 1);
    assert_eq!(world::number(&engine, "tidegate_tx4_stranded_total"), 0);
    world::end(engine);
}

#[tokio::test]
async fn pauses_hold_and_resume_across_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    engine.pause_participant("bank", Some("holidays".into()), "test").await.expect("paused");
    engine.pause_definition("locked", Some("not yet".into()), "test").await.expect("paused");
    let refused = engine.submit(world::order("locked", "l1", "l1", "l1"), WAIT, Until::End).await;
    assert!(matches!(refused, Err(Refusal::DefinitionPaused { .. })), "{refused:?}");
    for n in 0..100 {
        engine.submit(world::transfer(&format!("k{n}")), Duration::ZERO, Until::End).await.expect("accepted");
    }
    world::end(engine);
    let engine = world::start(dir.path(), &bank);
    let refused = engine.submit(world::order("locked", "l1", "l1", "l1"), WAIT, Until::End).await;
    assert!(matches!(refused, Err(Refusal::DefinitionPaused { .. })), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bank.calls(), 0);
    engine.pause_participant("bank", None, "test").await.expect("resumed");
    engine.pause_definition("locked", None, "test").await.expect("resumed");
    world::until("all end", || world::number(&engine, "tidegate_transactions_live") == 0).await;
    assert!(bank.done().values().all(|count| *count == 1));
    let (done, _) = world::insist(&engine, world::order("locked", "l1", "l1", "l1"), WAIT).await;
    assert_eq!(world::text(&done), "l1 ended/completed/");
    world::end(engine);
}
