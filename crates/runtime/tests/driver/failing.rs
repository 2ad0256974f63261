//! Ends: a second process, a worker that panics, a stop with clients waiting.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runtime::view::Detail;
use runtime::{Engine, Readiness, Refusal, Until};

use crate::world::{self, Bank, Mood, WAIT};

#[tokio::test]
async fn a_second_node_on_the_folder_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    let second = Engine::start(world::settings(dir.path(), &bank), world::components());
    let why = second.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(why.contains("in use"), "{why}");
    world::apply(&engine).await;
    let (done, _) = world::insist(&engine, world::transfer("k1"), WAIT).await;
    assert_eq!(world::text(&done), "k1 ended/completed/");
    world::end(engine);
}

#[tokio::test]
async fn a_worker_that_panics_fails_the_node_loudly_and_a_restart_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Broken);
    let mut settings = world::settings(dir.path(), &bank);
    settings.drain = Duration::from_millis(200);
    let engine = world::start_with(settings);
    world::apply(&engine).await;
    let (done, _) = world::insist(&engine, world::transfer("k1"), WAIT).await;
    let parked = engine.submit(world::order("awaiting", "w1", "w1", "w1"), Duration::ZERO, Until::End).await;
    let waits = parked.expect("accepted").id;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.get(waits, WAIT, Until::End, Detail::Answer).await })
    };
    let answer =
        tokio::time::timeout(WAIT, engine.submit(world::order("transfer", "k2", "k2", "panic"), WAIT, Until::End));
    let answer = answer.await.expect("answered, not left hanging");
    assert!(
        matches!(answer, Err(Refusal::Unavailable { accepted: runtime::refusal::Accepted::Unknown, .. })),
        "{answer:?}"
    );
    world::until("the node has failed", || engine.failure().is_some()).await;
    let failure = engine.failure().expect("the node has failed");
    assert!(failure.contains("panicked"), "{failure}");
    assert!(matches!(engine.readiness(), Readiness::NotReady(why) if why.contains("panicked")));
    let refused = engine.submit(world::transfer("k3"), WAIT, Until::End).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    let waited = tokio::time::timeout(WAIT, waiting).await.expect("answered").expect("joined");
    assert!(matches!(waited, Err(Refusal::Unavailable { .. })), "{waited:?}");
    engine.stop();
    drop(engine);
    let engine = world::start(dir.path(), &Bank::new(Mood::Well));
    let again = engine.get(done.id, WAIT, Until::End, Detail::Answer).await.expect("kept");
    assert_eq!(world::text(&again), "k1 ended/completed/");
    assert!(engine.get(waits, Duration::ZERO, Until::End, Detail::Answer).await.is_ok());
    engine.stop();
}

#[tokio::test]
async fn a_stop_answers_those_who_wait_and_does_not_hang() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Down);
    let engine = world::start(dir.path(), &bank);
    world::apply(&engine).await;
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(world::transfer(&format!("k{n}")), WAIT, Until::End).await })
        })
        .collect();
    world::until("all are begun", || world::number(&engine, "tidegate_transactions_live") == 20).await;
    let began = Instant::now();
    let stopping = engine.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.expect("stopped");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for client in clients {
        let answer = client.await.expect("joined").expect("answered as it stands");
        assert!(!answer.decided, "{}", world::text(&answer));
    }
    let late = tokio::time::timeout(WAIT, engine.submit(world::transfer("late"), WAIT, Until::End)).await;
    assert!(matches!(late, Ok(Err(Refusal::Unavailable { .. }))), "{late:?}");
    drop(engine);
    bank.set(Mood::Well);
    let engine = world::start(dir.path(), &bank);
    for n in 0..20 {
        let (answer, _) = world::insist(&engine, world::transfer(&format!("k{n}")), WAIT).await;
        assert!(answer.replayed);
        assert_eq!(world::text(&answer), format!("k{n} ended/completed/"));
    }
    assert!(bank.done().values().all(|count| *count == 1));
    world::end(engine);
}

/// A bank behind a real socket that answers every request late. Ends with the process.
fn slow_bank(late: Duration) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = Vec::new();
                let mut piece = [0; 4_096];
                while let Ok(n @ 1..) = stream.read(&mut piece) {
                    request.extend_from_slice(&piece[..n]);
                    // The bodies of these tests are `{"a":1}` and end a request.
                    if !request.ends_with(b"}") {
                        continue;
                    }
                    request.clear();
                    counter.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(late);
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"id\":\"d1\"}";
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_stop_waits_for_calls_in_flight_and_asks_nobody_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let (address, heard) = slow_bank(Duration::from_millis(400));
    let settings = || {
        let mut settings = world::settings(dir.path(), &Bank::new(Mood::Well));
        settings.local = None;
        settings.drain = WAIT;
        settings
    };
    let engine = world::start_with(settings());
    world::apply_with_bank_at(&engine, &address).await;
    for n in 0..10 {
        engine.submit(world::transfer(&format!("k{n}")), Duration::ZERO, Until::End).await.expect("accepted");
    }
    world::until("the bank has heard of all", || heard.load(Ordering::SeqCst) == 10).await;
    let stopping = engine.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.expect("stopped");
    assert_eq!(heard.load(Ordering::SeqCst), 10, "no call starts while the node stops");
    drop(engine);
    let engine = world::start_with(settings());
    for n in 0..10 {
        let (answer, _) = world::insist(&engine, world::transfer(&format!("k{n}")), WAIT).await;
        assert_eq!(world::text(&answer), format!("k{n} ended/completed/"));
    }
    assert_eq!(heard.load(Ordering::SeqCst), 20, "each debit and each credit once");
    world::end(engine);
}
