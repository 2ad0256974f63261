//! What is learned about a participant, and a person's word against it: both outlive the process.

use std::time::Duration;

use runtime::report::ParticipantReport;
use runtime::{Engine, Refusal, Until};

use crate::world::{self, Bank, Mood, WAIT};

fn bank_of(engine: &Engine) -> ParticipantReport {
    engine.participants().into_iter().find(|p| p.name == "bank").expect("declared")
}

/// So many transfers at once; gives the most calls that were seen under way.
async fn busy(engine: &Engine, name: &str, count: u32) -> u32 {
    let all: Vec<_> = (0..count)
        .map(|n| {
            let (engine, key) = (engine.clone(), format!("{name}{n}"));
            tokio::spawn(async move { world::insist(&engine, world::transfer(&key), WAIT).await.0 })
        })
        .collect();
    let mut most = 0;
    for one in all {
        while !one.is_finished() {
            most = most.max(bank_of(engine).in_flight);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(world::text(&one.await.expect("joined")).ends_with("ended/completed/"));
    }
    most
}

fn is_known(engine: &Engine) -> bool {
    bank_of(engine).learned.expect("learning is what is meant if nothing is said").capacity_per_s.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_and_what_a_person_fixed_outlive_the_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    assert_eq!((bank_of(&engine).learn, is_known(&engine)), ("on", false));
    // Held at one call, its limit is what holds calls back: that teaches.
    let pinned = engine.pin_participant("bank", Some((1, "try it".into())), "ann").await.expect("pinned");
    assert_eq!(pinned.limit, 1);
    for round in 0..50 {
        if is_known(&engine) {
            break;
        }
        assert_eq!(busy(&engine, &format!("r{round}-"), 400).await.max(1), 1, "more calls than the person said");
    }
    assert!(is_known(&engine), "{}", bank_of(&engine).explain);
    // Not more than is declared, not nothing, and nobody who is not there.
    for in_flight in [0, 41] {
        let refused = engine.pin_participant("bank", Some((in_flight, "no".into())), "ann").await;
        assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{refused:?}");
    }
    let refused = engine.pin_participant("nobody", None, "ann").await;
    assert!(matches!(refused, Err(Refusal::NoObject { .. })), "{refused:?}");
    engine.pin_participant("bank", Some((3, "month's end".into())), "ben").await.expect("pinned");
    world::end(engine);

    let engine = world::start(dir.path(), &bank);
    let now = bank_of(&engine);
    let pin = now.pinned.expect("the pin is durable");
    assert_eq!((pin.in_flight, pin.reason.as_str(), pin.who.as_str(), now.limit), (3, "month's end", "ben", 3));
    assert!(is_known(&engine), "what was learned is known again");
    assert!(busy(&engine, "second", 400).await <= 3);
    let free = engine.pin_participant("bank", None, "ben").await.expect("learned again");
    assert!(free.pinned.is_none(), "{free:?}");
    engine.forget_participant("bank", "a new machine", "ben").await.expect("forgotten");
    assert!(!is_known(&engine), "{}", bank_of(&engine).explain);
    world::end(engine);

    let engine = world::start(dir.path(), &bank);
    assert!(bank_of(&engine).pinned.is_none(), "it was let go before the restart");
    assert!(!is_known(&engine), "what was forgotten stays so");
    let (done, _) = world::insist(&engine, world::transfer("last"), WAIT).await;
    assert_eq!(world::text(&done), "last ended/completed/");
    world::end(engine);
}

#[tokio::test]
async fn a_damaged_memory_costs_learning_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    engine.submit(world::transfer("k1"), WAIT, Until::End).await.expect("done");
    world::end(engine);
    let file = dir.path().join("learned");
    let mut bytes = std::fs::read(&file).expect("kept at the end");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let engine = world::start(dir.path(), &bank);
    assert!(!is_known(&engine));
    let (done, _) = world::insist(&engine, world::transfer("k2"), WAIT).await;
    assert_eq!(world::text(&done), "k2 ended/completed/");
    world::end(engine);
}
