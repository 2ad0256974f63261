//! The front before a real engine, over real sockets: what a client meets, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use api::{Drain, ListenSettings, Listening};
use connectors::Reply;
use runtime::settings::LocalParticipants;
use runtime::{Components, Engine, Settings};
use serde_json::{Value, json};

const PARTICIPANTS: &str = r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: billing
    connector: http
    endpoints: [http://127.0.0.1:1]
    idempotency: {header: X-Key, for: 24h}
    settles_within: 0s
    timeout: 1s
    retry: {attempts: 2, backoff: 10ms, max_backoff: 10ms}
    limits: {max_in_flight: 8, learn: off}
"#;

const SAGA: &str = r#"
apiVersion: tidegate/v1
kind: Saga
name: credit
version: 1
input:
  type: object
  additionalProperties: false
  required: [account, amount_minor]
  properties:
    account: {type: string}
    amount_minor: {type: integer, minimum: 100}
    token: {type: string, x-sensitive: true}
key: account/${input.account}
timeout: 10s
steps:
  - name: credit
    call:
      participant: billing
      method: POST
      path: /credits
      body: {amount_minor: "${input.amount_minor}"}
    result: {id: "${response.body.id}"}
    compensate: none
output:
  id: ${steps.credit.result.id}
"#;

/// Waits for a signal that may never come.
const WAITING: &str = r#"
apiVersion: tidegate/v1
kind: Saga
name: waiting
version: 1
input: {type: object, additionalProperties: false, required: [n], properties: {n: {type: integer}}}
key: n/${input.n}
timeout: 10m
steps:
  - name: go
    wait: {signal: go, timeout: 5m}
    result: {by: "${signal.body.by}"}
  - name: rest
    wait: {for: 300ms}
output:
  by: ${steps.go.result.by}
"#;

/// A node on a port of its own; stopped when it is dropped.
struct Node {
    engine: Engine,
    listening: Listening,
    drain: Drain,
    _data: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

impl Node {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ListenSettings)) -> Self {
        let data = tempfile::tempdir().unwrap_or_else(|e| panic!("a folder: {e}"));
        let mut settings = Settings::new(data.path().join("data"));
        settings.workers = 1;
        settings.partitions = 2;
        settings.local = Some(LocalParticipants(Arc::new(|_| Reply::Answered {
            status: 201,
            retry_after: None,
            headers: Vec::new(),
            body: connectors::Body::Json(model::json::parse(br#"{"id":"c1"}"#).unwrap_or_default()),
        })));
        let mut front = ListenSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        front.definition_schema = r#"{"title":"schema"}"#;
        change(&mut front);
        let drain = front.drain.clone();
        let listening = api::listen(front).unwrap_or_else(|e| panic!("{e}"));
        let components = Components { renderer: api::view::render, serve: Some(Arc::clone(&listening.serve)) };
        let engine = Engine::start(settings, components).unwrap_or_else(|e| panic!("{e}"));
        listening.open().unwrap_or_else(|e| panic!("{e}"));
        Self { engine, listening, drain, _data: data }
    }

    fn applied() -> Self {
        let node = Self::start();
        let files = [("p.yaml", PARTICIPANTS), ("credit.yaml", SAGA), ("waiting.yaml", WAITING)];
        let files: Vec<Value> = files.iter().map(|(path, text)| json!({"path": path, "text": text})).collect();
        let answer = node.post("/v1/apply", &[], &json!({ "files": files }).to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        node
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            request.push_str("\r\n");
        }
        self.raw(request.as_bytes())
    }

    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.listening.address).unwrap_or_else(|e| panic!("{e}"));
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        stream.write_all(request).unwrap_or_else(|e| panic!("{e}"));
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        Answer::parse(&String::from_utf8_lossy(&text))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None)
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        self.ask("POST", path, &all, Some(body))
    }

    fn submit(&self, key: &str, amount_minor: i64, query: &str) -> Answer {
        let body = format!(
            r#"{{"definition":"credit","input":{{"account":"a","amount_minor":{amount_minor},"token":"t0p"}}}}"#
        );
        self.post(&format!("/v1/transactions{query}"), &[("Idempotency-Key", key)], &body)
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)
        } else {
            body.to_owned()
        };
        Self { status, head: head.to_owned(), body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The status and the last part of the problem's type.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status);
        (self.status, document["type"].as_str().unwrap_or_default().trim_start_matches("/problems/").to_owned())
    }
}

fn unchunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    out
}

#[test]
fn a_submission_is_answered_with_its_outcome_and_a_repeat_with_the_same() {
    let node = Node::applied();
    let first = node.submit("\"k1\"", 1000, "");
    assert_eq!(first.status, 200, "{first:?}");
    let tx = first.json();
    assert_eq!((&tx["outcome"], &tx["output"]), (&json!("completed"), &json!({"id": "c1"})));
    assert_eq!(first.header("tidegate-transaction"), tx["id"].as_str());
    assert_eq!(first.header("idempotent-replayed"), None);

    let again = node.submit("k1", 1000, "?until=end");
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json()["id"], tx["id"]);

    let other = node.submit("k1", 1001, "");
    assert_eq!(other.problem(), (422, "idempotency-key-reused".into()));
    assert_eq!(other.header("tidegate-transaction"), tx["id"].as_str());

    let id = tx["id"].as_str().unwrap_or_default();
    let full = node.get(&format!("/v1/transactions/{id}?wait=5s&until=end"));
    let tx = full.json();
    assert_eq!((&tx["state"], &tx["input"]["token"]), (&json!("ended"), &json!("***")));
    assert_eq!(tx["steps"][0]["attempts"][0]["status"], 201);
    assert!(!full.body.contains("t0p"), "a sensitive input is shown nowhere");
    let found = node.get("/v1/transactions?idempotency_key=k1").json();
    assert_eq!(found["items"][0]["id"], tx["id"]);
    assert_eq!(
        node.get("/v1/transactions/count?group_by=definition").json()["items"][0],
        json!({"definition": "credit", "count": 1})
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_nothing_is_accepted() {
    let node = Node::applied();
    let key = ("Idempotency-Key", "k");
    let submit = |body: &str| node.post("/v1/transactions", &[key], body);
    let code = |answer: Answer| answer.problem();
    assert_eq!(code(node.post("/v1/transactions", &[], "{}")), (400, "idempotency-key-missing".into()));
    assert_eq!(code(submit("")), (400, "json-invalid".into()));
    assert_eq!(code(submit("[]")), (400, "body-invalid".into()));
    assert_eq!(code(submit(r#"{"definition":"credit","inptu":{}}"#)), (400, "body-invalid".into()));
    assert_eq!(code(submit(r#"{"definition":"nope"}"#)), (404, "definition-not-found".into()));
    assert_eq!(
        code(submit(&format!(r#"{{"definition":"credit","input":{}}}"#, "[".repeat(40)))),
        (400, "json-invalid".into())
    );
    assert_eq!(code(node.submit("k", 1000, "?wait=90s")), (400, "bad-request".into()));
    assert_eq!(code(node.submit("k", 1000, "?wiat=1s")), (400, "bad-request".into()));
    assert_eq!(
        code(node.ask("POST", "/v1/transactions", &[key, ("Content-Type", "text/plain")], Some("{}"))),
        (415, "unsupported-media-type".into())
    );
    assert_eq!(code(node.get("/v1/transactions/tx_1")), (400, "bad-request".into()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let never_begun = model::TxId::new(model::Timestamp(now), 0, model::PartitionId(1), 1, 999_999);
    assert_eq!(code(node.get(&format!("/v1/transactions/{never_begun}"))), (404, "transaction-not-found".into()));
    assert_eq!(code(node.get("/v1/transactions/tx_00000000000000000000000000")), (410, "past-retention".into()));
    assert_eq!(code(node.get("/v1/locks")), (404, "not-yet".into()));
    assert_eq!(code(node.get("/nothing")), (404, "not-found".into()));
    let method = node.ask("PUT", "/v1/transactions", &[], Some(""));
    assert_eq!(
        (method.header("allow"), method.problem()),
        (Some("GET, HEAD, POST"), (405, "method-not-allowed".into()))
    );

    let small = node.submit("k", 50, "");
    assert_eq!(small.problem(), (422, "input-invalid".into()));
    let fault = &small.json()["errors"][0];
    assert_eq!(*fault, json!({"pointer": "/input/amount_minor", "detail": "is 50, the minimum is 100"}));
    assert_eq!(node.get("/v1/transactions").json()["items"], json!([]), "nothing was accepted");
}

#[test]
fn a_batch_answers_every_line_in_its_order() {
    let node = Node::applied();
    let line = |key: &str| {
        format!(
            r#"{{"idempotency_key":"{key}","definition":"credit","input":{{"account":"{key}","amount_minor":100}}}}"#
        )
    };
    let mut lines: Vec<String> = (0..600).map(|n| line(&format!("b{n}"))).collect();
    lines[7] = "not json".into();
    lines[8] = String::new();
    let body = lines.join("\n");
    let answer = node.ask("POST", "/v1/transactions/batch", &[("Content-Type", "application/x-ndjson")], Some(&body));
    assert_eq!(answer.status, 200);
    let out: Vec<Value> =
        answer.body.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    let numbers: Vec<u64> = out.iter().filter_map(|l| l["line"].as_u64()).collect();
    let wanted: Vec<u64> = (1..=600).filter(|n| *n != 9).collect();
    assert_eq!(numbers, wanted);
    assert_eq!(out[7]["problem"]["type"], "/problems/json-invalid");
    assert!(
        out.iter().enumerate().all(|(n, l)| n == 7 || (l["id"].is_string() && l["replayed"] == false)),
        "neighbours are fine"
    );
    let json = node.ask("POST", "/v1/transactions/batch", &[("Content-Type", "application/json")], Some("{}"));
    assert_eq!(json.problem(), (415, "unsupported-media-type".into()));
}

#[test]
fn one_that_waits_is_accepted_then_signalled_or_cancelled() {
    let node = Node::applied();
    let begin = |n: u32| {
        let body = format!(r#"{{"definition":"waiting","input":{{"n":{n}}}}}"#);
        node.post("/v1/transactions?wait=50ms", &[("Idempotency-Key", &format!("w{n}"))], &body)
    };
    let waiting = begin(1);
    assert_eq!(waiting.status, 202, "{waiting:?}");
    let tx = waiting.json();
    let id = tx["id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(waiting.header("location"), Some(format!("/v1/transactions/{id}").as_str()));
    assert_eq!(
        (&tx["state"], &tx["waits_for"]["kind"], &tx["waits_for"]["name"]),
        (&json!("waiting"), &json!("signal"), &json!("go"))
    );

    let signal = json!({"definition": "waiting", "key": "n/1", "signal": "go", "body": {"by": "house"}}).to_string();
    assert_eq!(node.post("/v1/signals", &[], &signal).problem().1, "idempotency-key-missing");
    let taken = node.post("/v1/signals", &[("Idempotency-Key", "s1")], &signal);
    assert_eq!((taken.status, taken.json()), (202, json!({"transaction": id, "accepted": true})));
    let done = node.get(&format!("/v1/transactions/{id}?wait=10s")).json();
    assert_eq!((&done["outcome"], &done["output"]), (&json!("completed"), &json!({"by": "house"})));

    let other = begin(2).json()["id"].as_str().unwrap_or_default().to_owned();
    let path = format!("/v1/transactions/{other}/cancel");
    let cancelled = node.post(&path, &[("Tidegate-Actor", "eve@ops")], r#"{"reason":"a mistake"}"#);
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let ended = node.get(&format!("/v1/transactions/{other}?wait=10s&until=end")).json();
    assert_eq!((&ended["outcome"], &ended["reason"]), (&json!("aborted"), &json!("cancelled")));
    assert_eq!((&ended["acts"][0]["who"], &ended["acts"][0]["why"]), (&json!("eve@ops"), &json!("a mistake")));
    assert_eq!(node.post(&path, &[], "").problem(), (409, "conflict".into()));
}

#[test]
fn definitions_and_participants_are_shown_and_paused() {
    let node = Node::applied();
    let one = node.get("/v1/definitions/credit").json();
    assert_eq!(
        (&one["active_version"], &one["versions"][0]["input"]["required"]),
        (&json!(1), &json!(["account", "amount_minor"]))
    );
    assert_eq!(node.get("/v1/definitions/credit/versions/1").json()["text"], SAGA);
    assert_eq!(node.get("/v1/definitions/credit/versions/2").problem().0, 404);
    assert_eq!(node.post("/v1/definitions/credit/pause", &[], "{}").problem().0, 400);
    let paused = node.post("/v1/definitions/credit/pause", &[], r#"{"reason":"maintenance"}"#);
    assert_eq!((paused.status, &paused.json()["paused"]["reason"]), (200, &json!("maintenance")));
    assert_eq!(node.submit("k", 1000, "").problem(), (409, "definition-paused".into()));
    assert_eq!(node.post("/v1/definitions/credit/resume", &[], "").status, 200);
    assert_eq!(node.submit("k", 1000, "").status, 200, "a refused submission uses its key up");
    assert_eq!(node.get("/v1/participants/billing").json()["limit"], 8);
    assert_eq!(node.get("/v1/participants/nope").problem().0, 404);

    let changed = SAGA.replace("minimum: 100", "minimum: 200");
    let files = json!({"files": [{"path": "credit.yaml", "text": changed}]}).to_string();
    assert_eq!(node.post("/v1/apply", &[], &files).problem(), (409, "version-exists".into()));
    let broken = json!({"files": [{"path": "credit.yaml", "text": SAGA.replace("method:", "methd:")}]}).to_string();
    let invalid = node.post("/v1/apply?dry_run=true", &[], &broken);
    assert_eq!(invalid.problem(), (422, "files-invalid".into()));
    let document = invalid.json();
    assert_eq!(
        (&document["errors"][0]["path"], &document["diagnostics"][0]["severity"]),
        (&json!("credit.yaml"), &json!("error"))
    );
    assert!(document["text"].as_str().is_some_and(|text| text.contains("credit.yaml:")), "{document}");
}

#[test]
fn the_node_tells_how_it_is_and_what_its_contract_is() {
    let node = Node::start();
    assert_eq!(node.get("/readyz").status, 200);
    let head = node.ask("HEAD", "/healthz", &[], None);
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("14"), ""));
    assert_eq!(node.get("/v1/node").json()["limits"]["body_bytes_max"], 1 << 20);
    assert_eq!(node.get("/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(node.get("/schema/v1.json").json()["title"], "schema");
    assert!(node.get("/problems/overloaded").body.contains("<h1>Too much at once</h1>"));
    assert_eq!(node.get("/problems/none").problem().0, 404);
    let metrics = node.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(
        metrics.body.contains("tidegate_http_requests_total{operation=\"ready\",status=\"2xx\"} 1"),
        "{}",
        metrics.body
    );
}

#[test]
fn bodies_and_heads_are_bounded() {
    let node = Node::with(|front| {
        front.body_bytes_max = 1_024;
        front.header_bytes_max = 8_192;
        front.body_timeout = Duration::from_millis(200);
    });
    let large = format!(r#"{{"definition":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(
        node.post("/v1/transactions", &[("Idempotency-Key", "k")], &large).problem(),
        (413, "body-too-large".into())
    );
    let slow = node.raw(b"POST /v1/transactions HTTP/1.1\r\nHost: n\r\nIdempotency-Key: k\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{");
    assert_eq!(slow.problem(), (408, "request-timeout".into()));
    let head = node.ask("GET", "/healthz", &[("X-Long", &"x".repeat(8_300))], None);
    assert_eq!(head.status, 431);
}

#[test]
fn connections_and_requests_beyond_the_bound_are_told_to_come_again() {
    let node = Node::with(|front| {
        front.connections_max = 1;
        front.requests_max = 0;
    });
    let full = node.get("/v1/node");
    assert_eq!(full.problem(), (503, "unavailable".into()));
    assert_eq!((full.header("retry-after"), &full.json()["accepted"]), (Some("1"), &json!("no")));
    assert_eq!(node.get("/readyz").status, 200, "how it is can be asked when it is full");
    let held = TcpStream::connect(node.listening.address).unwrap_or_else(|e| panic!("{e}"));
    // The held connection may be counted a moment after the next one is tried.
    let turned_away = (0..100).any(|_| node.get("/healthz").status == 503);
    assert!(turned_away);
    drop(held);
}

#[test]
fn who_waits_is_answered_when_the_drain_begins() {
    let node = Node::applied();
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| {
            let body = r#"{"definition":"waiting","input":{"n":1}}"#;
            node.post("/v1/transactions?wait=60s", &[("Idempotency-Key", "w1")], body)
        });
        let live = || node.get("/v1/transactions?idempotency_key=w1").json()["items"][0]["id"].is_string();
        assert!((0..500).any(|_| live() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }));
        node.drain.begin();
        // The wait was a minute: only the drain can have ended it within the socket's half minute.
        let answer = waiting.join().unwrap_or_else(|_| panic!("the client"));
        assert_eq!((answer.status, &answer.json()["state"]), (202, &json!("waiting")), "{answer:?}");
        assert_eq!(answer.header("tidegate-transaction"), answer.json()["id"].as_str());
    });
}

#[test]
fn while_it_drains_it_says_so_and_takes_no_new_work() {
    let node = Node::applied();
    node.drain.begin();
    assert_eq!(node.get("/readyz").problem(), (503, "unavailable".into()));
    let refused = node.submit("k", 1000, "");
    assert_eq!((refused.problem(), &refused.json()["accepted"]), ((503, "unavailable".into()), &json!("no")));
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(node.get("/v1/definitions").status, 200, "looking is still possible");
    assert_eq!(node.listening.open_requests(), 0);
}
