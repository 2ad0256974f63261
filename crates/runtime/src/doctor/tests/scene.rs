//! A node that has seen a bit of everything: completed, aborted and undone, parked, waiting, and asking a person.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Removed at the end, if it is ours.
    dir: Option<TempDir>,
    data: PathBuf,
    runtime: tokio::runtime::Runtime,
    engine: Option<Engine>,
    pub(super) ended: Vec<TxId>,
    pub(super) live: Vec<TxId>,
}

fn render(view: &View<'_>) -> Vec<u8> {
    crate::state_word(view.tx).as_bytes().to_vec()
}

/// Refuses credits to "nobody" and calls those to "broken" malformed.
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
        let dir = tempfile::tempdir().expect("a folder");
        let mut scene = Self::new(dir.path().to_path_buf(), Some(dir));
        scene.prepare();
        scene.rounds(4);
        scene
    }

    /// A node on the folder `data` in `dir`, as far as its definitions.
    pub(super) fn run_in(dir: &Path) -> Self {
        let mut scene = Self::new(dir.join("data"), None);
        scene.declare();
        scene
    }

    fn new(data: PathBuf, dir: Option<TempDir>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        Self { dir, data, runtime, engine: None, ended: Vec::new(), live: Vec::new() }
    }

    fn declare(&mut self) {
        self.start();
        let engine = self.engine.clone().expect("it runs");
        let files = [
            ("participants.yaml", PARTICIPANTS),
            ("transfer.yaml", TRANSFER),
            ("notice.yaml", NOTICE),
            ("consent.yaml", CONSENT),
        ];
        let files = files.map(|(path, text)| SourceText { path: path.into(), text: text.into() }).into();
        self.runtime.block_on(async {
            engine.apply(files, false, "test").await.expect("applied");
            engine.pause_participant("mail", Some("on strike".into()), "test").await.expect("paused");
        });
    }

    /// Ends transactions until the process is killed.
    pub(super) fn for_ever(&mut self, dir: &Path) {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        for round in 0.. {
            let orders = (0..40).map(|n| {
                let to = if n % 4 == 0 { "nobody" } else { "bob" };
                transfer(&format!("{since}-{round}-{n}"), &format!("a{n}"), to)
            });
            self.end(orders.collect());
            if round == 0 {
                std::fs::write(dir.join("started"), "").expect("written");
            }
        }
    }

    fn prepare(&mut self) {
        self.declare();
        // Live ones first, so that checkpoints have rows that never change, then much that ends behind them.
        for n in 0..20 {
            self.begin(order("notice", &format!("n{n}"), &format!(r#"{{"to":"t{n}"}}"#)));
            self.begin(order("consent", &format!("c{n}"), &format!(r#"{{"who":"w{n}"}}"#)));
            self.begin(transfer(&format!("b{n}"), &format!("b{n}"), "broken"));
            // These wait for the lock that the one before holds while a person looks at it.
            self.begin(transfer(&format!("q{n}"), &format!("b{n}"), "bob"));
        }
    }

    /// At least so many times a hundred transactions that end, a quarter of them aborted, and on until every
    /// partition has had two more checkpoints.
    pub(super) fn rounds(&mut self, least: usize) {
        let newest = |scene: &Self, partition| scene.named(&format!("state/p{partition:04}/checkpoint-")).pop();
        let before: Vec<_> = (0..4).map(|partition| newest(self, partition)).collect();
        let mut met = vec![BTreeSet::new(); 4];
        for round in 0..200 {
            if round >= least && met.iter().all(|met| met.len() >= 2) {
                return;
            }
            let first = self.ended.len();
            let orders = (first..first + 100).map(|n| {
                let to = if n % 4 == 0 { "nobody" } else { "bob" };
                transfer(&format!("k{n}"), &format!("a{}", n % 100), to)
            });
            self.end(orders.collect());
            for (partition, met) in met.iter_mut().enumerate() {
                met.extend(newest(self, partition).filter(|path| before[partition].as_ref() != Some(path)));
            }
        }
        panic!("two hundred rounds without two checkpoints of each partition");
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
                waits
                    .push(tokio::spawn(async move { engine.submit(order, Duration::from_secs(20), Until::End).await }));
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
        settings.checkpoint_every_bytes = 8 << 10;
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
        &self.data
    }

    /// The directory as a crash would leave it now: a copy during which no file changed.
    pub(super) fn copy(&self) -> Self {
        let state = || -> std::io::Result<Vec<_>> {
            let files = self.files().into_values();
            files.map(|path| path.metadata().and_then(|m| Ok((path, m.len(), m.modified()?)))).collect()
        };
        for _ in 0..100 {
            let dir = tempfile::tempdir().expect("a folder");
            let copied = state().and_then(|before| {
                for (path, ..) in &before {
                    let to = dir.path().join(path.strip_prefix(self.data()).expect("below"));
                    std::fs::create_dir_all(to.parent().expect("a folder"))?;
                    std::fs::copy(path, to)?;
                }
                Ok(state()? == before)
            });
            if copied.is_ok_and(|same| same) {
                let mut copy = Self::new(dir.path().to_path_buf(), Some(dir));
                (copy.ended, copy.live) = (self.ended.clone(), self.live.clone());
                return copy;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the directory of an idle node never came to rest");
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
        drop(self.dir.take());
    }
}
