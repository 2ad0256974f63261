//! A backup of a working node, and a node restored from it: nothing acknowledged before is missing, no call leaves
//! before somebody says so, and then everything ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use connectors::{Body, Call, NotSent, Reply};
use model::TxId;
use runtime::doctor::{Severity, examine};
use runtime::settings::LocalParticipants;
use runtime::view::{Detail, View};
use runtime::{Components, Engine, Refusal, Settings, SourceText, Submission, Until, backup};

const FILES: [(&str, &str); 2] = [
    (
        "participants.yaml",
        r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: stock
    connector: http
    endpoints: ["http://127.0.0.1:1"]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 0s
    timeout: 2s
    retry: {attempts: 3, backoff: 10ms, max_backoff: 20ms}
    limits: {max_in_flight: 100}
  - name: courier
    connector: http
    endpoints: ["http://127.0.0.1:1"]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 0s
    timeout: 2s
    retry: {attempts: 3, backoff: 10ms, max_backoff: 20ms}
    limits: {max_in_flight: 100}
"#,
    ),
    (
        "order.yaml",
        r#"
apiVersion: tidegate/v1
kind: Saga
name: order
version: 1
input: {type: object, additionalProperties: false, required: [n], properties: {n: {type: integer}}}
timeout: 1h
steps:
  - name: reserve
    call: {participant: stock, method: POST, path: "/reserve", body: {n: "${input.n}"}}
    compensate: {participant: stock, method: POST, path: "/release", body: {n: "${input.n}"}}
  - name: send
    call: {participant: courier, method: POST, path: "/send", body: {n: "${input.n}"}}
    compensate: {participant: courier, method: POST, path: "/recall", body: {n: "${input.n}"}}
"#,
    ),
];

const WAIT: Duration = Duration::from_secs(20);

fn render(view: &View<'_>) -> Vec<u8> {
    format!("{}/{}", runtime::state_word(view.tx), runtime::outcome_word(view.tx)).into_bytes()
}

/// Two systems: the courier is down until it is not. Counts its calls.
#[derive(Default)]
struct World {
    courier_is_up: AtomicBool,
    calls: AtomicU64,
}

fn start(dir: &std::path::Path, world: &Arc<World>) -> Engine {
    let mut settings = Settings::new(dir);
    settings.workers = 2;
    settings.checkpoint_every_bytes = 64 << 10;
    let world = Arc::clone(world);
    settings.local = Some(LocalParticipants(Arc::new(move |call: &Call| {
        world.calls.fetch_add(1, Ordering::SeqCst);
        if call.request.path_and_query == "/send" && !world.courier_is_up.load(Ordering::SeqCst) {
            return Reply::NotSent { why: NotSent::ConnectRefused, detail: "it is down".into() };
        }
        Reply::Answered { status: 200, retry_after: None, headers: Vec::new(), body: Body::Empty }
    })));
    Engine::start(settings, Components { renderer: render, serve: None }).expect("the node starts")
}

fn order(n: u64) -> Submission {
    Submission {
        definition: "order".into(),
        version: None,
        input: model::json::parse(format!("{{\"n\":{n}}}").as_bytes()).expect("JSON"),
        idempotency_key: format!("k{n}").into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
    }
}

/// Submits until `stop`; gives the ids in order.
async fn submit_all(engine: &Engine, from: u64, to: u64) -> Vec<TxId> {
    let mut ids = Vec::new();
    for n in from..to {
        ids.push(engine.submit(order(n), Duration::ZERO, Until::Outcome).await.expect("accepted").id);
    }
    ids
}

async fn state(engine: &Engine, id: TxId, wait: Duration) -> String {
    let answer = engine.get(id, wait, Until::End, Detail::Full).await.expect("known");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restored_from_a_backup_of_a_working_one_loses_nothing_and_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, copy, second) = (dir.path().join("data"), dir.path().join("backup"), dir.path().join("restored"));
    let world = Arc::new(World::default());
    let engine = start(&data, &world);
    let files = FILES.map(|(path, text)| SourceText { path: path.into(), text: text.into() });
    engine.apply(files.into(), false, "test").await.expect("applied");

    // Some have ended, some wait for the courier, and more come all the time.
    world.courier_is_up.store(true, Ordering::SeqCst);
    let ended = submit_all(&engine, 0, 200).await;
    for id in &ended {
        assert_eq!(state(&engine, *id, WAIT).await, "ended/completed");
    }
    world.courier_is_up.store(false, Ordering::SeqCst);
    let waiting = submit_all(&engine, 200, 600).await;
    let busy = {
        let engine = engine.clone();
        tokio::spawn(async move { submit_all(&engine, 600, 1_000).await })
    };
    let report = engine.back_up(copy.clone(), "test").await.expect("a backup");
    assert!(report.files > 4 && report.bytes > 0, "{report:?}");
    let later = busy.await.expect("submitted");
    engine.stop();

    let restored = backup::restore(&copy, &second).expect("restored");
    assert_eq!((restored.files, restored.at, restored.incarnation), (report.files, report.at, 2));
    let findings = examine(&second, runtime::doctor::Settings { rows_at_once: 10_000 }, &mut |_| {}).expect("looks");
    let wrong: Vec<_> = findings.findings.iter().filter(|f| f.severity == Severity::Wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");

    let world = Arc::new(World::default());
    world.courier_is_up.store(true, Ordering::SeqCst);
    let engine = start(&second, &world);
    assert!(engine.calls_paused().is_some_and(|pause| pause.reason.contains("restored")));
    for (n, id) in (0u64..).zip(ended.iter().chain(&waiting)) {
        let again = engine.submit(order(n), Duration::ZERO, Until::Outcome).await.expect("known");
        assert_eq!((again.id, again.replayed), (*id, true), "what was acknowledged before the backup is in it");
    }
    for id in &waiting {
        assert!(!state(&engine, *id, Duration::ZERO).await.starts_with("ended"), "{id} waits");
    }
    assert_eq!(world.calls.load(Ordering::SeqCst), 0, "no call leaves before somebody says so");

    engine.pause_calls(None, "test").await.expect("resumed");
    for id in &waiting {
        let how = state(&engine, *id, WAIT).await;
        assert_eq!(how, "ended/completed", "{:#?}", engine.participants());
    }
    // What came while the copy was made is in it from the beginning up to some moment.
    let mut found = 0;
    for (place, id) in later.iter().enumerate() {
        match engine.get(*id, WAIT, Until::End, Detail::Full).await {
            Ok(_) => {
                assert_eq!(found, place, "there is no hole in what was acknowledged, one after the other");
                found += 1;
            }
            Err(Refusal::NoTransaction(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    // The new life makes ids of its own.
    let new = submit_all(&engine, 5_000, 5_100).await;
    assert!(new.iter().all(|id| id.incarnation() == 2 && !later.contains(id)));
    engine.stop();
}

#[tokio::test]
async fn a_backup_that_is_not_whole_makes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, copy) = (dir.path().join("data"), dir.path().join("backup"));
    let engine = start(&data, &Arc::new(World::default()));
    let report = engine.back_up(copy.clone(), "test").await.expect("a backup");
    assert!(report.bytes > 0);
    let twice = engine.back_up(copy.clone(), "test").await.expect_err("the folder is taken");
    assert!(twice.to_string().contains("is not empty: choose a new folder"), "{twice}");
    let inside = engine.back_up(data.join("copy"), "test").await.expect_err("it would copy itself");
    assert!(inside.to_string().contains("choose a folder outside"), "{inside}");
    engine.stop();

    let target = dir.path().join("restored");
    let full = backup::restore(&copy, &data).expect_err("there is a node");
    assert!(full.to_string().contains("is not empty"), "{full}");
    let catalog = std::fs::read_dir(copy.join("catalog")).expect("a folder").next().expect("a file").expect("a file");
    let mut bytes = std::fs::read(catalog.path()).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(catalog.path(), &bytes).expect("written");
    let damaged = backup::restore(&copy, &target).expect_err("a bit is another");
    assert!(damaged.to_string().contains("is not as it was when the backup was made"), "{damaged}");
    assert!(!target.exists(), "nothing is made of it");
    std::fs::remove_file(copy.join(backup::MANIFEST)).expect("removed");
    let unfinished = backup::restore(&copy, &target).expect_err("not finished");
    assert!(unfinished.to_string().contains("not finished"), "{unfinished}");
}
