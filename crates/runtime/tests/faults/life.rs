//! A node from its start to its end, over a disk that lasts longer than it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::TxId;
use runtime::view::View;
use runtime::{Components, Engine, Filter, Settings, SourceText, Submission};
use store::file::{Watching, watch};

use crate::bank::{Bank, SETTLES_MS};
use crate::disk::{Door, JournalDisk, Shadow};

/// Long enough that only something that hangs meets it.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

const PARTICIPANTS: &str = r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: bank
    connector: http
    endpoints: ["http://127.0.0.1:1"]
    idempotency: {body: external_id, for: 24h}
    settles_within: SETTLES
    timeout: 2s
    retry: {attempts: 4, backoff: 2ms, max_backoff: 10ms}
    limits: {max_in_flight: 64}
"#;

const INPUT: &str = r#"
input:
  type: object
  additionalProperties: false
  required: [account, name]
  properties:
    account: {type: string, maxLength: 40}
    name: {type: string, maxLength: 80}
    note: {type: string, maxLength: 20000}
key: account/${input.account}
timeout: 10m
"#;

/// Name, what stands between the input and the steps, the steps before the two calls.
const DEFINITIONS: [(&str, &str, &str); 4] = [
    ("transfer", "", ""),
    ("locked", "lock: balance", ""),
    ("sleeping", "", "\n  - name: rest\n    wait: {for: 30ms}"),
    ("awaiting", "", "\n  - name: word\n    wait: {signal: word_given, timeout: 5m}"),
];

const CALLS: &str = r#"
  - name: debit
    call: {participant: bank, method: POST, path: "/debit/${input.name}", body: {external_id: "${call.key}"}}
    result: {id: "${response.body.id}"}
    compensate: {participant: bank, method: POST, path: "/undo/${input.name}", body: {external_id: "${call.key}", undoes: "${steps.debit.call_key}"}}
  - name: credit
    call: {participant: bank, method: POST, path: "/credit/${input.name}", body: {external_id: "${call.key}"}}
    compensate: {participant: bank, method: POST, path: "/undo/${input.name}", body: {external_id: "${call.key}", undoes: "${steps.credit.call_key}"}}
"#;

/// Every definition and the participant, as one would apply them.
pub(crate) fn files() -> Vec<SourceText> {
    let mut texts = vec![PARTICIPANTS.replace("SETTLES", &format!("{SETTLES_MS}ms"))];
    texts.extend(DEFINITIONS.iter().map(|(name, head, before)| {
        format!("apiVersion: tidegate/v1\nkind: Saga\nname: {name}\nversion: 1{INPUT}{head}\nsteps:{before}{CALLS}")
    }));
    texts.into_iter().enumerate().map(|(n, text)| SourceText { path: format!("{n}.yaml"), text }).collect()
}

/// `<idempotency key> <id> <state>/<outcome>/<reason>`.
fn render(view: &View<'_>) -> Vec<u8> {
    let state = runtime::state_word(view.tx);
    let (outcome, reason) = (runtime::outcome_word(view.tx), runtime::reason_word(view.tx));
    format!("{} {} {state}/{outcome}/{reason}", view.tx.idempotency_key, view.tx.id).into_bytes()
}

/// A transaction as it was rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) id: TxId,
    pub(crate) state: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
}

impl Line {
    pub(crate) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let [key, id, words] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("no line: {text}") };
        let [state, outcome, reason] = words.split('/').collect::<Vec<_>>()[..] else { panic!("no words: {text}") };
        let id = id.parse().expect("an id");
        Self { key: key.into(), id, state: state.into(), outcome: outcome.into(), reason: reason.into() }
    }
}

/// A running node and its way to the disk.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) door: Door,
    _watching: Watching,
}

impl Life {
    /// Starts a node on `data`; the error is what the node says.
    pub(crate) fn begin(
        data: &Path,
        shadow: &Arc<Shadow>,
        bank: &Arc<Bank>,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, String> {
        let door = Door::open(shadow);
        let watching = watch(data, Arc::new(door.clone()));
        let mut settings = Settings::new(data);
        settings.workers = 2;
        settings.drain = Duration::from_millis(500);
        // Small files: every power cut writes all of them anew.
        settings.journal_disk_bytes_max = 64 << 20;
        settings.local = Some(bank.local());
        settings.faults.journal_disk = Some(Arc::new(JournalDisk::new(door.clone(), data.join("journal"))));
        change(&mut settings);
        let engine = Engine::start(settings, Components { renderer: render, serve: None });
        let engine = engine.map_err(|why| {
            door.shut();
            why.to_string()
        })?;
        Ok(Self { engine, door, _watching: watching })
    }

    /// Dies: nothing reaches the disk any more, and its threads are waited for. Gives its own count of stranded calls.
    pub(crate) fn die(self) -> u64 {
        self.door.shut();
        self.end()
    }

    /// Stops it as a signal would.
    pub(crate) fn end(self) -> u64 {
        let stranded = number(&self.engine, "tidegate_tx4_stranded_total");
        self.engine.stop();
        stranded
    }
}

pub(crate) fn order(definition: &str, account: &str, name: &str, note: usize) -> Submission {
    let input = format!(r#"{{"account":"{account}","name":"{name}","note":"{}"}}"#, "x".repeat(note));
    Submission {
        definition: definition.into(),
        version: None,
        input: model::json::parse(input.as_bytes()).expect("JSON"),
        idempotency_key: name.into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
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

/// Every transaction that the node can list, as it is rendered.
pub(crate) async fn everything(engine: &Engine) -> Vec<Line> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = engine.list(Filter::default(), 1_000, cursor).await.expect("a page");
        all.extend(page.items.iter().map(|item| Line::read(item)));
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

/// Looks again and again until it is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > WAIT {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}
