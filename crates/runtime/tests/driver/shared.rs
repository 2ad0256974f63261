//! Reads that share a call, over real HTTP: fewer calls than transactions, each attempt marked, nobody lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::view::View;
use runtime::{Components, Engine, Settings, SourceText, Submission, Until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{WAIT, end, text};

/// A register on a real socket: counts what it is asked, and answers after a while.
#[derive(Debug, Default)]
struct Register {
    asked: Mutex<BTreeMap<String, u64>>,
    /// 500 to so many more questions.
    fails: AtomicU64,
    /// Nobody is answered.
    hangs: AtomicBool,
}

impl Register {
    async fn open(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let register = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&register).serve(stream));
            }
        });
        format!("http://{address}")
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4_096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            }
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes.drain(..end + 4);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default() += 1;
            while self.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            let fails = self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            let (status, body) = match path.rsplit('/').next() {
                _ if fails => ("500 Broken", "{}".to_owned()),
                Some("none") => ("404 Not Found", "{}".to_owned()),
                Some(who) => ("200 OK", format!(r#"{{"tariff":"T-{who}"}}"#)),
                None => ("200 OK", "{}".to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn asked(&self) -> u64 {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// The outcome and the output, and for each attempt its outcome and by whom it was answered.
fn render(view: &View<'_>) -> Vec<u8> {
    let mut line = runtime::outcome_word(view.tx).to_owned();
    if let Some(output) = &view.tx.output {
        line += &format!(" {output}");
    }
    for attempt in &view.tx.attempts {
        let by = attempt.shared.as_deref().map_or_else(
            || "itself".to_owned(),
            |shared| {
                assert!(shared.age_us <= 60_000_000 && shared.tx != view.tx.id);
                format!("{}:{}:{}#{}", shared.way.as_str(), shared.tx, shared.step, shared.attempt)
            },
        );
        line += &format!(" {}={by}", attempt.outcome.as_str());
    }
    let executed = view.tx.steps.iter().filter(|step| step.may_have_executed).count();
    format!("{line} executed={executed}").into_bytes()
}

fn start(dir: &std::path::Path, workers: usize) -> Engine {
    let mut settings = Settings::new(dir);
    settings.workers = workers;
    settings.drain = Duration::from_secs(2);
    settings.journal_disk_bytes_max = 256 << 20;
    Engine::start(settings, Components { renderer: render, serve: None }).expect("the node starts")
}

async fn apply(engine: &Engine, url: &str, shared_reads: &str) {
    let participants = format!(
        "apiVersion: tidegate/v1\nkind: Participants\nparticipants:\n  - name: register\n    connector: http\n    \
         endpoints: [\"{url}\"]\n    idempotency: none\n    settles_within: 0s\n    timeout: 5s\n    \
         retry: {{attempts: 5, backoff: 5ms, max_backoff: 10ms}}\n    limits: {{max_in_flight: 40}}\n{shared_reads}"
    );
    let saga = "apiVersion: tidegate/v1\nkind: Saga\nname: look\nversion: 1\ninput: {type: object, \
                additionalProperties: false, required: [who], properties: {who: {type: string, maxLength: 20}}}\n\
                timeout: 10m\nsteps:\n  - name: look\n    call: {participant: register, method: GET, \
                path: \"/contracts/${input.who}\"}\n    result: {tariff: \"${response.body.tariff}\"}\noutput: \
                {tariff: \"${steps.look.result.tariff}\"}\n";
    let files = [("p.yaml", participants.as_str()), ("s.yaml", saga)];
    let files = files.map(|(path, text)| SourceText { path: path.into(), text: text.into() });
    engine.apply(files.into(), false, "test").await.expect("applied");
}

fn order(key: &str, who: &str) -> Submission {
    Submission {
        definition: "look".into(),
        version: None,
        input: model::json::parse(format!(r#"{{"who":"{who}"}}"#).as_bytes()).expect("JSON"),
        idempotency_key: key.into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
    }
}

/// Submits all at once; gives each answer as text.
async fn all(engine: &Engine, orders: Vec<Submission>) -> Vec<String> {
    let begun = orders.into_iter().map(|order| {
        let engine = engine.clone();
        tokio::spawn(async move { text(&engine.submit(order, WAIT, Until::End).await.expect("it ends")) })
    });
    let mut told = Vec::new();
    for one in begun.collect::<Vec<_>>() {
        told.push(one.await.expect("joined"));
    }
    told
}

fn avoided(engine: &Engine) -> [u64; 2] {
    let report = engine.participants().into_iter().next().expect("the register");
    [report.avoided_joined, report.avoided_kept]
}

const SHARED: &str = "    shared_reads: [{method: GET, path: /contracts/*, max_age: 60s}]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_reads_are_one_call_and_each_is_marked() {
    let (dir, register) = (tempfile::tempdir().expect("a folder"), Arc::new(Register::default()));
    let url = register.open().await;
    let engine = start(dir.path(), 2);
    apply(&engine, &url, SHARED).await;
    let orders = (0..200).map(|n| order(&format!("a{n}"), "anna")).collect();
    let told = all(&engine, orders).await;
    // One call for all of them, or a few where two workers asked in the same moment.
    let calls = register.asked();
    assert!(calls <= 4, "{calls} calls for 200 equal reads");
    let by_itself = told.iter().filter(|line| line.contains("=itself")).count() as u64;
    assert_eq!(by_itself, calls);
    for line in &told {
        assert!(line.starts_with(r#"completed {"tariff":"T-anna"} done="#), "{line}");
        // Whoever called executed it; whoever was given the answer did nothing.
        assert!(line.ends_with(if line.contains("=itself") { "executed=1" } else { "executed=0" }), "{line}");
    }
    assert_eq!(avoided(&engine).iter().sum::<u64>(), 200 - calls);
    // Later, the answer is here.
    let told = all(&engine, vec![order("late", "anna")]).await;
    assert!(told[0].contains("done=kept:tx_"), "{told:?}");
    assert_eq!(register.asked(), calls);
    // Another question is another call, and no is an answer too.
    let told = all(&engine, (0..20).map(|n| order(&format!("n{n}"), "none")).collect()).await;
    assert!(told.iter().all(|line| line.starts_with("aborted refused=")), "{told:?}");
    assert!(register.asked() <= calls + 4);
    end(engine);
    // What ended is told so from history as well, and a new life begins with nothing kept.
    let engine = start(dir.path(), 2);
    let told = all(&engine, vec![order("late", "anna"), order("new", "anna")]).await;
    assert!(told[0].contains("done=kept:tx_") && told[1].contains("done=itself"), "{told:?}");
    end(engine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shared_that_is_not_declared() {
    let (dir, register) = (tempfile::tempdir().expect("a folder"), Arc::new(Register::default()));
    let url = register.open().await;
    let engine = start(dir.path(), 2);
    apply(&engine, &url, "").await;
    let told = all(&engine, (0..50).map(|n| order(&format!("a{n}"), "anna")).collect()).await;
    assert!(told.iter().all(|line| line.contains("done=itself executed=1")), "{told:?}");
    assert_eq!((register.asked(), avoided(&engine)), (50, [0, 0]));
    end(engine);
}

/// What fails costs whoever called an attempt, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_burns_no_attempt_of_those_that_wait() {
    let (dir, register) = (tempfile::tempdir().expect("a folder"), Arc::new(Register::default()));
    let url = register.open().await;
    register.fails.store(1, Ordering::SeqCst);
    let engine = start(dir.path(), 1);
    apply(&engine, &url, SHARED).await;
    let told = all(&engine, (0..40).map(|n| order(&format!("a{n}"), "anna")).collect()).await;
    assert!(told.iter().all(|line| line.starts_with(r#"completed {"tariff":"T-anna"}"#)), "{told:?}");
    let unknown = told.iter().map(|line| line.matches("unknown=itself").count()).sum::<usize>();
    assert_eq!(unknown, 1, "only whoever called knows of it: {told:?}");
    // That one again, one of the others for all of them, and perhaps who asked when that was under way.
    assert!(register.asked() <= 4, "{} calls", register.asked());
    end(engine);
}

/// The node dies while everybody waits for one call: each asks again in the next life, and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_strands_nobody_who_waits() {
    let (dir, register) = (tempfile::tempdir().expect("a folder"), Arc::new(Register::default()));
    let url = register.open().await;
    register.hangs.store(true, Ordering::SeqCst);
    let engine = start(dir.path(), 2);
    apply(&engine, &url, SHARED).await;
    for n in 0..60 {
        engine.submit(order(&format!("a{n}"), "anna"), Duration::ZERO, Until::Outcome).await.expect("accepted");
    }
    crate::world::until("a call is made", || register.asked() > 0).await;
    assert!(register.asked() <= 4);
    // It waits two seconds for answers that do not come, and ends without them.
    end(engine);
    register.hangs.store(false, Ordering::SeqCst);
    let engine = start(dir.path(), 2);
    let told = all(&engine, (0..60).map(|n| order(&format!("a{n}"), "anna")).collect()).await;
    assert!(told.iter().all(|line| line.starts_with(r#"completed {"tariff":"T-anna"}"#)), "{told:?}");
    end(engine);
}
