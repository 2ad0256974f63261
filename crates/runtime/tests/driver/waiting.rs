//! Locks, timers and signals, before and after a restart.

use std::time::Duration;

use model::Value;
use runtime::view::Detail;
use runtime::{Refusal, SignalOrder, SignalTo, Until};

use crate::world::{self, Bank, Mood, WAIT};

#[tokio::test]
async fn a_lock_is_first_come_first_served_across_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Down);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    let mut ids = Vec::new();
    for n in 0..30 {
        let order = world::order("locked", &format!("l{n}"), "one", &format!("{n:02}"));
        ids.push(engine.submit(order, Duration::ZERO, Until::End).await.expect("accepted").id);
    }
    world::end(engine);
    let engine = world::start(dir.path(), &bank);
    let order = world::order("locked", "l30", "one", "30");
    ids.push(engine.submit(order, Duration::ZERO, Until::End).await.expect("accepted").id);
    bank.set(Mood::Well);
    for id in ids {
        let answer = engine.get(id, WAIT, Until::End, Detail::Answer).await.expect("known");
        assert!(world::text(&answer).ends_with(" ended/completed/"), "{}", world::text(&answer));
    }
    let expected: Vec<String> = (0..=30).map(|n| format!("/debits/{n:02}")).collect();
    assert_eq!(bank.order(), expected);
    world::end(engine);
}

#[tokio::test]
async fn timers_go_on_across_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    let id = engine
        .submit(world::order("sleeping", "s1", "s1", "s1"), Duration::ZERO, Until::End)
        .await
        .expect("accepted")
        .id;
    let mut brief = world::order("awaiting", "s2", "s2", "s2");
    brief.timeout = Some(Duration::from_millis(600));
    let brief = engine.submit(brief, Duration::ZERO, Until::End).await.expect("accepted").id;
    world::end(engine);
    assert_eq!(bank.calls(), 0);
    let engine = world::start(dir.path(), &bank);
    let answer = engine.get(id, WAIT, Until::End, Detail::Answer).await.expect("known");
    assert_eq!(world::text(&answer), "s1 ended/completed/");
    let answer = engine.get(brief, WAIT, Until::End, Detail::Answer).await.expect("known");
    assert_eq!(world::text(&answer), "s2 ended/aborted/timed_out");
    assert_eq!(bank.calls(), 1);
    world::end(engine);
}

fn word(to: SignalTo, key: &str) -> SignalOrder {
    SignalOrder { to, signal: "word_given".into(), body: Value::Null, idempotency_key: key.into() }
}

#[tokio::test]
async fn signals_before_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Down);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    let first = engine
        .submit(world::order("awaiting", "a1", "a1", "a1"), Duration::ZERO, Until::End)
        .await
        .expect("accepted")
        .id;
    let second = engine
        .submit(world::order("awaiting", "a2", "a2", "a2"), Duration::ZERO, Until::End)
        .await
        .expect("accepted")
        .id;
    engine.signal(word(SignalTo::Transaction(first), "w1")).await.expect("taken");
    world::end(engine);
    let engine = world::start(dir.path(), &bank);
    // The same again is answered as before, another one is refused.
    assert!(engine.signal(word(SignalTo::Transaction(first), "w1")).await.expect("known").replayed);
    let other = engine.signal(word(SignalTo::Transaction(first), "w2")).await;
    assert!(matches!(other, Err(Refusal::Conflict(_))), "{other:?}");
    let by_key = SignalTo::Key { definition: "awaiting".into(), key: "account/a2".into() };
    assert_eq!(engine.signal(word(by_key, "w3")).await.expect("taken").id, second);
    bank.set(Mood::Well);
    for id in [first, second] {
        let answer = engine.get(id, WAIT, Until::End, Detail::Answer).await.expect("known");
        assert!(world::text(&answer).ends_with(" ended/completed/"), "{}", world::text(&answer));
    }
    world::end(engine);
}
