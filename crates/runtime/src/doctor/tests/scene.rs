//! A node that has seen a bit of everything: completed, aborted and undone, parked, waiting, and asking a person.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connectors::{Body, Call, Reply};
use model::TxId;
use tempfile::TempDir;

use crate::settings::LocalParticipants;
use crate::view::{Detail, View};
use crate::{Components, Engine, Settings, SourceText, Submission, Until};

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
  - name: mail
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
  required: [from, to]
  properties:
    from: {type: string, maxLength: 20}
    to: {type: string, maxLength: 20}
key: account/${input.from}
lock: balance
timeout: 30m
steps:
  - name: debit
    call: {participant: bank, method: POST, path: "/debits/${input.from}", body: {n: 1}}
    result: {id: "${response.body.id}"}
    compensate: {participant: bank, method: POST, path: /reversals, body: {key: "${steps.debit.call_key}"}}
  - name: ledger
    call: {participant: bank, method: POST, path: /ledger, body: {n: 1}}
    compensate: none
  - name: credit
    call: {participant: bank, method: POST, path: "/credits/${input.to}", body: {n: 1}}
    compensate: {participant: bank, method: POST, path: /reversals, body: {key: "${steps.credit.call_key}"}}
output: {debit: "${steps.debit.result.id}"}
"#;

const NOTICE: &str = r#"
apiVersion: tidegate/v1
kind: Saga
name: notice
version: 1
input: {type: object, additionalProperties: false, required: [to], properties: {to: {type: string, maxLength: 20}}}
key: account/${input.to}
timeout: 30m
steps:
  - name: letter
    call: {participant: mail, method: POST, path: "/letters/${input.to}", body: {n: 1}}
    compensate: none
"#;

const CONSENT: &str = r#"
apiVersion: tidegate/v1
kind: Saga
name: consent
version: 1
input: {type: object, additionalProperties: false, required: [who], properties: {who: {type: string, maxLength: 20}}}
key: person/${input.who}
timeout: 3h
steps:
  - name: debit
    call: {participant: bank, method: POST, path: "/debits/${input.who}", body: {n: 1}}
    compensate: {participant: bank, method: POST, path: /reversals, body: {key: "${steps.debit.call_key}"}}
  - name: consent
    wait: {signal: given, timeout: 2h}
"#;

/// A directory and perhaps the node on it.
pub(super) struct Scene {
    dir: TempDir,
    runtime: tokio::runtime::Runtime,
    engine: Option<Engine>,
    pub(super) ended: Vec<TxId>,
    pub(super) live: Vec<TxId>,
}

fn render(view: &View<'_>) -> Vec<u8> {
    crate::state_word(view.tx, view.now).as_bytes().to_vec()
}

/// Refuses credits to "nobody", calls those to "broken" malformed, loses the first answer of "lost".
fn bank(call: &Call) -> Reply {
    let status = match call.request.path_and_query.as_str() {
        "/credits/nobody" => 409,
        "/credits/broken" => 405,
        _ => 200,
    };
    let body = model::json::parse(br#"{"id":"d1"}"#).map_or(Body::Empty, Body::Json);
    Reply::Answered { status, retry_after: None, headers: Vec::new(), body }
}

fn order(definition: &str, key: &str, input: &str) -> Submission {
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

fn transfer(key: &str, from: &str, to: &str) -> Submission {
    order("transfer", key, &format!(r#"{{"from":"{from}","to":"{to}"}}"#))
}

impl Scene {
    /// A node that has run a few hundred transactions and is idle now, still running.
    pub(super) fn run() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let mut scene = Self {
            dir: tempfile::tempdir().expect("a folder"),
            runtime: runtime.expect("a runtime"),
            engine: None,
            ended: Vec::new(),
            live: Vec::new(),
        };
        scene.start();
        let engine = scene.engine.clone().expect("it runs");
        let files = [
            ("participants.yaml", PARTICIPANTS),
            ("transfer.yaml", TRANSFER),
            ("notice.yaml", NOTICE),
            ("consent.yaml", CONSENT),
        ];
        let files = files.map(|(path, text)| SourceText { path: path.into(), text: text.into() }).into();
        scene.runtime.block_on(async {
            engine.apply(files, false, "test").await.expect("applied");
            engine.pause_participant("mail", Some("on strike".into()), "test").await.expect("paused");
        });
        // Live ones first, so that checkpoints have rows that never change, then much that ends behind them.
        for n in 0..20 {
            scene.begin(order("notice", &format!("n{n}"), &format!(r#"{{"to":"t{n}"}}"#)));
            scene.begin(order("consent", &format!("c{n}"), &format!(r#"{{"who":"w{n}"}}"#)));
            scene.begin(transfer(&format!("b{n}"), &format!("b{n}"), "broken"));
            // These wait for the lock that the one before holds while a person looks at it.
            scene.begin(transfer(&format!("q{n}"), &format!("b{n}"), "bob"));
        }
        for round in 0..4 {
            let orders = (0..100).map(|n| {
                let to = if n % 4 == 0 { "nobody" } else { "bob" };
                transfer(&format!("k{round}-{n}"), &format!("a{n}"), to)
            });
            scene.end(orders.collect());
        }
        scene
    }

    fn begin(&mut self, order: Submission) {
        let engine = self.engine.clone().expect("it runs");
        let answer = self.runtime.block_on(engine.submit(order, Duration::ZERO, Until::Outcome)).expect("accepted");
        self.live.push(answer.id);
    }

    fn end(&mut self, orders: Vec<Submission>) {
        let engine = self.engine.clone().expect("it runs");
        let ended = self.runtime.block_on(async {
            let mut waits = Vec::new();
            for order in orders {
                let engine = engine.clone();
                waits.push(tokio::spawn(async move { engine.submit(order, Duration::from_secs(20), Until::End).await }));
            }
            let mut ended = Vec::new();
            for wait in waits {
                let answer = wait.await.expect("joined").expect("accepted");
                assert_eq!(answer.body.as_ref(), b"ended");
                ended.push(answer.id);
            }
            ended
        });
        self.ended.extend(ended);
    }

    pub(super) fn start(&mut self) {
        let mut settings = Settings::new(self.data());
        settings.workers = 2;
        settings.checkpoint_every_bytes = 16 << 10;
        settings.local = Some(LocalParticipants(Arc::new(bank)));
        let components = Components { renderer: render, serve: None };
        self.engine = Some(Engine::start(settings, components).expect("the node starts"));
    }

    pub(super) fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }

    pub(super) fn knows(&self, id: TxId) -> bool {
        let engine = self.engine.clone().expect("it runs");
        let found = engine.get(id, Duration::ZERO, Until::End, Detail::Full);
        self.runtime.block_on(found).is_ok_and(|answer| answer.body.as_ref() == b"ended")
    }

    pub(super) fn data(&self) -> &Path {
        self.dir.path()
    }

    /// The directory as a crash would leave it now. Files may change while they are copied, as in a crash; so the
    /// catalog and checkpoints are copied before the journal, which only grows.
    pub(super) fn copy(&self) -> Self {
        let copy = Self {
            dir: tempfile::tempdir().expect("a folder"),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            engine: None,
            ended: self.ended.clone(),
            live: self.live.clone(),
        };
        for (name, path) in self.files() {
            let to = copy.data().join(name);
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            std::fs::copy(path, to).expect("copied");
        }
        copy
    }

    /// Every file by its name below the directory.
    pub(super) fn files(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.data().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.data()).expect("below").to_string_lossy().into_owned();
                    files.insert(name, path);
                }
            }
        }
        files
    }

    /// The files whose names begin with this.
    pub(super) fn named(&self, start: &str) -> Vec<PathBuf> {
        self.files().into_iter().filter(|(name, _)| name.starts_with(start)).map(|(_, path)| path).collect()
    }

    /// Length and content of every file.
    pub(super) fn fingerprint(&self) -> BTreeMap<String, (u64, u128)> {
        let hash = |path: PathBuf| {
            let bytes = std::fs::read(path).expect("read");
            (bytes.len() as u64, xxhash_rust::xxh3::xxh3_128(&bytes))
        };
        self.files().into_iter().map(|(name, path)| (name, hash(path))).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop();
    }
}
