//! A node from end to end, with participants inside the process: begin, decide, end, stop, start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connectors::{Body, Call, Reply};
use model::{TxId, Value};
use runtime::settings::LocalParticipants;
use runtime::view::{Detail, View};
use runtime::{Components, Engine, Refusal, Settings, SourceText, Submission, Until};

const PARTICIPANTS: &str = r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: bank
    connector: http
    endpoints: ["http://127.0.0.1:1"]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 0s
    timeout: 2s
    retry: {attempts: 3, backoff: 10ms, max_backoff: 20ms}
    limits: {max_in_flight: 1000}
"#;

const TRANSFER: &str = r#"
apiVersion: tidegate/v1
kind: Saga
name: transfer
version: 1
input:
  type: object
  additionalProperties: false
  required: [from, to, amount_minor]
  properties:
    from: {type: string, maxLength: 20}
    to: {type: string, maxLength: 20}
    amount_minor: {type: integer, minimum: 1, maximum: 1000}
key: account/${input.from}
timeout: 30s
steps:
  - name: debit
    call: {participant: bank, method: POST, path: "/debits/${input.from}", body: {amount_minor: "${input.amount_minor}"}}
    result: {id: "${response.body.id}"}
    compensate: {participant: bank, method: POST, path: /reversals, body: {key: "${steps.debit.call_key}"}}
  - name: credit
    call: {participant: bank, method: POST, path: "/credits/${input.to}", body: {amount_minor: "${input.amount_minor}"}}
    compensate: {participant: bank, method: POST, path: /reversals, body: {key: "${steps.credit.call_key}"}}
output: {debit: "${steps.debit.result.id}"}
"#;

fn render(view: &View<'_>) -> Vec<u8> {
    let outcome = runtime::outcome_word(view.tx);
    let reason = runtime::reason_word(view.tx);
    let state = runtime::state_word(view.tx);
    format!("{state}/{outcome}/{reason}").into_bytes()
}

/// Refuses credits to "nobody"; counts what it is asked.
fn bank(calls: &Arc<AtomicU64>) -> LocalParticipants {
    let calls = Arc::clone(calls);
    LocalParticipants(Arc::new(move |call: &Call| {
        calls.fetch_add(1, Ordering::Relaxed);
        let refused = call.request.path_and_query == "/credits/nobody";
        let status = if refused { 409 } else { 200 };
        let body = model::json::parse(br#"{"id":"d1"}"#).map_or(Body::Empty, Body::Json);
        Reply::Answered { status, retry_after: None, headers: Vec::new(), body }
    }))
}

fn start(dir: &std::path::Path, calls: &Arc<AtomicU64>) -> Engine {
    let mut settings = Settings::new(dir);
    settings.workers = 2;
    settings.local = Some(bank(calls));
    Engine::start(settings, Components { renderer: render, serve: None }).expect("the node starts")
}

fn order(key: &str, to: &str) -> Submission {
    let input = format!(r#"{{"from":"a-{key}","to":"{to}","amount_minor":10}}"#);
    Submission {
        definition: "transfer".into(),
        version: None,
        input: model::json::parse(input.as_bytes()).expect("JSON"),
        idempotency_key: key.into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
    }
}

fn files() -> Vec<SourceText> {
    [("participants.yaml", PARTICIPANTS), ("transfer.yaml", TRANSFER)]
        .map(|(path, text)| SourceText { path: path.into(), text: text.into() })
        .into()
}

async fn body(engine: &Engine, id: TxId) -> String {
    let answer = engine.get(id, Duration::from_secs(10), Until::End, Detail::Full).await.expect("known");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

const WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_transaction_completes_another_is_undone_and_both_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let calls = Arc::new(AtomicU64::new(0));
    let engine = start(dir.path(), &calls);
    engine.apply(files(), false, "test").await.expect("applied");
    let done = engine.submit(order("k1", "bob"), WAIT, Until::Outcome).await.expect("accepted");
    assert!(done.decided && !done.replayed);
    assert_eq!(body(&engine, done.id).await, "ended/completed/");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let undone = engine.submit(order("k2", "nobody"), WAIT, Until::Outcome).await.expect("accepted");
    assert!(undone.decided);
    assert_eq!(body(&engine, undone.id).await, "ended/aborted/refused");
    assert_eq!(calls.load(Ordering::Relaxed), 5, "debit, credit, and the undo of the debit only");

    let again = engine.submit(order("k1", "bob"), WAIT, Until::Outcome).await.expect("replayed");
    assert!(again.replayed);
    assert_eq!(again.id, done.id);
    let other = engine.submit(order("k1", "carol"), WAIT, Until::Outcome).await;
    assert!(matches!(other, Err(Refusal::KeyReused { first }) if first == done.id), "{other:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 5);
    engine.stop();

    let engine = start(dir.path(), &calls);
    assert_eq!(body(&engine, done.id).await, "ended/completed/");
    assert_eq!(body(&engine, undone.id).await, "ended/aborted/refused");
    let again = engine.submit(order("k1", "bob"), WAIT, Until::Outcome).await.expect("replayed");
    assert!(again.replayed && again.id == done.id);
    let fresh = engine.submit(order("k3", "bob"), WAIT, Until::End).await.expect("accepted");
    assert_eq!(fresh.body.as_ref(), b"ended/completed/");
    let page = engine.list(runtime::Filter::default(), 10, None).await.expect("a page");
    assert_eq!(page.items.len(), 3);
    engine.stop();
}

#[tokio::test]
async fn many_at_once_all_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let calls = Arc::new(AtomicU64::new(0));
    let engine = start(dir.path(), &calls);
    engine.apply(files(), false, "test").await.expect("applied");
    let all: Vec<_> = (0..2_000)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(order(&format!("k{n}"), "bob"), WAIT, Until::End).await })
        })
        .collect();
    for one in all {
        let answer = one.await.expect("joined").expect("accepted");
        assert_eq!(answer.body.as_ref(), b"ended/completed/");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 4_000);
    let counted = engine.count(runtime::Filter::default(), vec![runtime::GroupBy::State]).await.expect("counted");
    assert_eq!(counted.iter().map(|c| c.count).sum::<u64>(), 2_000, "{counted:?}");
    engine.stop();
}

#[tokio::test]
async fn bad_input_is_refused_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let calls = Arc::new(AtomicU64::new(0));
    let engine = start(dir.path(), &calls);
    engine.apply(files(), false, "test").await.expect("applied");
    let mut wrong = order("k1", "bob");
    wrong.input = model::json::parse(br#"{"from":"a","to":"b","amount_minor":0}"#).unwrap_or(Value::Null);
    assert!(matches!(engine.submit(wrong, WAIT, Until::End).await, Err(Refusal::InputInvalid { .. })));
    let mut wrong = order("k1", "bob");
    wrong.definition = "transfers".into();
    assert!(matches!(engine.submit(wrong, WAIT, Until::End).await, Err(Refusal::NoDefinition { .. })));
    // Nothing was accepted: the key is free.
    let right = engine.submit(order("k1", "bob"), WAIT, Until::End).await.expect("accepted");
    assert!(!right.replayed);
    engine.stop();
}
