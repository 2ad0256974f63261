//! What the tests stand on: definitions, a bank inside the process that can be told how to behave, nodes on a folder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connectors::{Body, Call, NotSent, Reply};
use runtime::settings::LocalParticipants;
use runtime::view::View;
use runtime::{Answer, Components, Engine, Refusal, Settings, SourceText, Submission, Until};

/// Long enough that only something that hangs meets it.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

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
    retry: {attempts: 5, backoff: 5ms, max_backoff: 10ms}
    limits: {max_in_flight: 40}
"#;

const INPUT: &str = r#"
input:
  type: object
  additionalProperties: false
  required: [from, to]
  properties:
    from: {type: string, maxLength: 40}
    to: {type: string, maxLength: 40}
    note: {type: string, maxLength: 200000}
key: account/${input.from}
timeout: 10m
"#;

const DEBIT: &str = r#"
  - name: debit
    call: {participant: bank, method: POST, path: "/debits/${input.to}", body: {a: 1}}
    result: {id: "${response.body.id}"}
    compensate: {participant: bank, method: POST, path: "/reversals/${input.to}", body: {key: "${steps.debit.call_key}"}}
"#;

const CREDIT: &str = r#"
  - name: credit
    call: {participant: bank, method: POST, path: "/credits/${input.to}", body: {a: 1}}
    compensate: {participant: bank, method: POST, path: "/reversals/${input.to}", body: {key: "${steps.credit.call_key}"}}
"#;

/// Name, what stands between the input and the steps, what stands before the debit, and after it.
const SAGAS: [(&str, &str, &str, &str); 4] = [
    ("transfer", "", "", CREDIT),
    ("locked", "lock: balance", "", ""),
    ("sleeping", "", "\n  - name: rest\n    wait: {for: 700ms}", ""),
    ("awaiting", "", "\n  - name: word\n    wait: {signal: word_given, timeout: 5m}", ""),
];

/// How the bank answers at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    /// Nobody takes the connection.
    Down,
    /// Every fourth call is cut before it is answered.
    Shaky,
    /// As well, but what is to be done for `panic` panics.
    Broken,
}

/// A participant inside the process. Refuses credits to accounts that begin with `nobody`.
#[derive(Debug)]
pub(crate) struct Bank {
    mood: AtomicU8,
    calls: AtomicU64,
    /// Calls done, by path, in the order in which a path was first seen.
    done: Mutex<(HashMap<String, u64>, Vec<String>)>,
}

impl Bank {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: AtomicU8::new(mood as u8), calls: AtomicU64::new(0), done: Mutex::default() })
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Calls that reached the bank, or tried to.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often each path was done.
    pub(crate) fn done(&self) -> HashMap<String, u64> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Paths in the order in which they were first done.
    pub(crate) fn order(&self) -> Vec<String> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn reply(&self, call: &Call) -> Reply {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let path = &call.request.path_and_query;
        let mood = self.mood.load(Ordering::SeqCst);
        assert!(mood != Mood::Broken as u8 || !path.contains("panic"), "the test asked for this panic");
        if mood == Mood::Down as u8 {
            return Reply::NotSent { why: NotSent::ConnectRefused, detail: "down".into() };
        }
        if mood == Mood::Shaky as u8 && n.is_multiple_of(4) {
            return Reply::Cut { detail: "cut".into() };
        }
        let refused = path.starts_with("/credits/nobody");
        if !refused {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done.0.entry(path.clone()).or_default() += 1;
            if done.0[path] == 1 {
                done.1.push(path.clone());
            }
        }
        let body = model::json::parse(br#"{"id":"d1"}"#).map_or(Body::Empty, Body::Json);
        Reply::Answered { status: if refused { 409 } else { 200 }, retry_after: None, headers: Vec::new(), body }
    }

    fn local(self: &Arc<Self>) -> LocalParticipants {
        let bank = Arc::clone(self);
        LocalParticipants(Arc::new(move |call: &Call| bank.reply(call)))
    }
}

/// `<idempotency key> <state>/<outcome>/<reason>`.
fn render(view: &View<'_>) -> Vec<u8> {
    let state = runtime::state_word(view.tx);
    let (outcome, reason) = (runtime::outcome_word(view.tx), runtime::reason_word(view.tx));
    format!("{} {state}/{outcome}/{reason}", view.tx.idempotency_key).into_bytes()
}

pub(crate) fn components() -> Components {
    Components { renderer: render, serve: None }
}

pub(crate) fn settings(dir: &Path, bank: &Arc<Bank>) -> Settings {
    let mut settings = Settings::new(dir);
    settings.workers = 2;
    settings.drain = Duration::from_secs(2);
    // Small files: the tests share one machine.
    settings.journal_disk_bytes_max = 256 << 20;
    settings.local = Some(bank.local());
    settings
}

pub(crate) fn start(dir: &Path, bank: &Arc<Bank>) -> Engine {
    start_with(settings(dir, bank))
}

pub(crate) fn start_with(settings: Settings) -> Engine {
    Engine::start(settings, components()).expect("the node starts")
}

pub(crate) async fn apply(engine: &Engine) {
    apply_with_bank_at(engine, "http://127.0.0.1:1").await;
}

pub(crate) async fn apply_with_bank_at(engine: &Engine, endpoint: &str) {
    let mut texts = vec![PARTICIPANTS.replace("http://127.0.0.1:1", endpoint)];
    texts.extend(SAGAS.iter().map(|(name, head, before, after)| {
        format!(
            "apiVersion: tidegate/v1\nkind: Saga\nname: {name}\nversion: 1{INPUT}{head}\nsteps:{before}{DEBIT}{after}"
        )
    }));
    let files = texts.into_iter().enumerate();
    let files = files.map(|(n, text)| SourceText { path: format!("{n}.yaml"), text }).collect();
    engine.apply(files, false, "test").await.expect("applied");
}

/// Ends a node and everything of it, so that the folder can be opened again by this process.
pub(crate) fn end(engine: Engine) {
    engine.stop();
    assert_eq!(engine.failure(), None);
    drop(engine);
}

pub(crate) fn order(definition: &str, key: &str, from: &str, to: &str) -> Submission {
    order_noting(definition, key, &format!(r#"{{"from":"{from}","to":"{to}"}}"#))
}

pub(crate) fn order_noting(definition: &str, key: &str, input: &str) -> Submission {
    Submission {
        definition: definition.into(),
        version: None,
        input: model::json::parse(input.as_bytes()).expect("JSON"),
        idempotency_key: key.into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
    }
}

/// A transfer whose account and target are its key.
pub(crate) fn transfer(key: &str) -> Submission {
    order("transfer", key, key, key)
}

/// Submits, and comes again while the node says that it is full or cannot now. Gives how often it said so.
pub(crate) async fn insist(engine: &Engine, order: Submission, wait: Duration) -> (Answer, u32) {
    let began = Instant::now();
    let mut refused = 0;
    loop {
        match engine.submit(order.clone(), wait, Until::End).await {
            Ok(answer) => return (answer, refused),
            Err(Refusal::Unavailable { .. } | Refusal::Full { .. }) if began.elapsed() < WAIT => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other:?} after {refused} refusals"),
        }
    }
}

pub(crate) fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Looks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WAIT, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One number of the node's metrics without labels.
pub(crate) fn number(engine: &Engine, name: &str) -> u64 {
    let families = engine.metrics();
    let family = families.iter().find(|family| family.name == name).expect("a family");
    match &family.samples[0].1 {
        runtime::report::SampleValue::Number(n) => *n as u64,
        other @ runtime::report::SampleValue::Histogram { .. } => panic!("{other:?}"),
    }
}
