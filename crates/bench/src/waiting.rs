//! Jobs that stay: one waits for a signal after its first call, one for a participant that may be down; and the
//! node in this process that runs them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use compact_str::CompactString;
use connectors::{Body, Call, NotSent, Reply};
use runtime::settings::LocalParticipants;
use runtime::{Components, Engine, Settings, SourceText, Submission};

use crate::engine::decode;
use crate::saga;

/// Where the participant that may be down is called; its path tells it from the others.
const PARTNER_PATH: &str = "/deliveries";

/// The files of the usual saga, and those of the two that stay.
pub(crate) fn files(partner_in_flight: u32) -> Vec<SourceText> {
    let mut files = saga::files("http://127.0.0.1:1", saga::NO_LIMIT, None);
    if let Some(participants) = files.first_mut() {
        participants.text.push_str(&format!(
            "  - name: partner\n    connector: http\n    endpoints: [\"http://127.0.0.1:1/partner\"]\n    idempotency: {{header: Idempotency-Key, for: 24h}}\n    settles_within: 0s\n    timeout: 10s\n    retry: {{attempts: 3, backoff: 100ms, max_backoff: 1s}}\n    limits: {{max_in_flight: {partner_in_flight}}}\n"
        ));
    }
    files.push(SourceText { path: "hold.yaml".into(), text: HOLD.into() });
    files.push(SourceText { path: "delivery.yaml".into(), text: DELIVERY.into() });
    files
}

const HOLD: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: hold
version: 1
input:
  type: object
  additionalProperties: false
  required: [msisdn, amount]
  properties:
    msisdn: {type: string, pattern: "^[1-9][0-9]{7,14}$"}
    amount: {type: integer, minimum: 1, maximum: 100000}
key: subscriber/${input.msisdn}
timeout: 30d
steps:
  - name: reserve
    call:
      participant: stock
      method: POST
      path: /reservations
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}"}
    compensate:
      participant: stock
      method: POST
      path: /releases
      body: {key: "${steps.reserve.call_key}"}
  - name: confirm
    wait: {signal: confirmed, timeout: 20d}
  - name: charge
    call:
      participant: payments
      method: POST
      path: /charges
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}"}
    compensate:
      participant: payments
      method: POST
      path: /refunds
      body: {key: "${steps.charge.call_key}"}
"#;

const DELIVERY: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: delivery
version: 1
input:
  type: object
  additionalProperties: false
  required: [msisdn, amount]
  properties:
    msisdn: {type: string, pattern: "^[1-9][0-9]{7,14}$"}
    amount: {type: integer, minimum: 1, maximum: 100000}
key: subscriber/${input.msisdn}
timeout: 30d
steps:
  - name: deliver
    call:
      participant: partner
      method: POST
      path: /deliveries
      body: {msisdn: "${input.msisdn}", amount: "${input.amount}"}
    compensate:
      participant: partner
      method: POST
      path: /returns
      body: {key: "${steps.deliver.call_key}"}
"#;

/// The n-th submission of the usual saga.
pub(crate) fn order(n: u64) -> Option<Submission> {
    submission("order", n)
}

pub(crate) fn hold(n: u64) -> Option<Submission> {
    submission("hold", n)
}

pub(crate) fn delivery(n: u64) -> Option<Submission> {
    submission("delivery", n)
}

/// Decoded from the bytes that a client would send, under a definition of our choice.
fn submission(definition: &'static str, n: u64) -> Option<Submission> {
    thread_local! {
        static BODY: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    BODY.with_borrow_mut(|body| {
        saga::body(n, body);
        let mut order = decode(body, &format!("bench-{n:012}"))?;
        order.definition = CompactString::const_new(definition);
        Some(order)
    })
}

/// The participant that may be down, as it sees itself.
#[derive(Default)]
pub(crate) struct Partner {
    pub(crate) is_down: AtomicBool,
    /// Calls that it answered.
    pub(crate) served: AtomicU64,
}

/// Participants that say yes; the partner only while it is up.
pub(crate) fn participants(partner: &Arc<Partner>) -> LocalParticipants {
    let partner = Arc::clone(partner);
    LocalParticipants(Arc::new(move |call: &Call| {
        if call.request.path_and_query.starts_with(PARTNER_PATH) {
            if partner.is_down.load(Ordering::Acquire) {
                return Reply::NotSent { why: NotSent::ConnectRefused, detail: CompactString::const_new("it is down") };
            }
            partner.served.fetch_add(1, Ordering::Relaxed);
        }
        let body = model::json::parse(br#"{"ok":true}"#).map_or(Body::Empty, Body::Json);
        Reply::Answered { status: 200, retry_after: None, headers: Vec::new(), body }
    }))
}

/// Settings of a node that these benchmarks turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) workers: usize,
    pub(crate) memory_mib: u64,
    /// The node's own choice if absent.
    pub(crate) checkpoint_mib: Option<u64>,
}

/// A node on `data` in this process, with all three definitions in force.
pub(crate) fn node(
    data: &Path,
    numbers: Numbers,
    partner: &Arc<Partner>,
    partner_in_flight: u32,
) -> Result<Engine, String> {
    let engine = start(data, numbers, partner)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    runtime
        .block_on(engine.apply(files(partner_in_flight), false, "bench"))
        .map_err(|e| format!("the definitions were not applied: {e:?}"))?;
    Ok(engine)
}

/// The same on a data directory that has them already.
pub(crate) fn start(data: &Path, numbers: Numbers, partner: &Arc<Partner>) -> Result<Engine, String> {
    let mut settings = Settings::new(data);
    settings.workers = numbers.workers;
    settings.memory_bytes_max = numbers.memory_mib << 20;
    if let Some(mib) = numbers.checkpoint_mib {
        settings.checkpoint_every_bytes = mib << 20;
    }
    settings.local = Some(participants(partner));
    Engine::start(settings, Components { renderer: api::view::render, serve: None }).map_err(|e| e.to_string())
}

/// Bytes that the files under `dir` take on the disk, in MiB.
pub(crate) fn disk_mib(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    fn blocks(dir: &Path) -> u64 {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => blocks(&entry.path()),
                Ok(meta) => meta.blocks(),
                Err(_) => 0,
            })
            .sum()
    }
    // A block of stat(2) has 512 bytes.
    blocks(dir) as f64 * 512.0 / (1 << 20) as f64
}

/// The memory that this process has now, in MiB.
pub(crate) fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use runtime::Until;

    use super::*;
    use crate::closed_loop::ClosedLoop;
    use crate::engine::metric;

    #[test]
    fn what_is_down_keeps_its_own_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let partner = Arc::new(Partner { is_down: AtomicBool::new(true), ..Partner::default() });
        let numbers = Numbers { workers: 2, memory_mib: 64, checkpoint_mib: None };
        let engine = node(dir.path(), numbers, &partner, 8).unwrap();
        ClosedLoop::start(&engine, delivery, None, 16, 0, 100).run_to_end().unwrap();
        ClosedLoop::start(&engine, hold, None, 16, 0, 50).run_to_end().unwrap();
        let orders = ClosedLoop::start(&engine, order, Some(Until::Outcome), 16, 0, 200);
        orders.run_to_end().unwrap();
        assert_eq!((orders.done(), orders.refused(), orders.next()), (200, 0, 200));
        assert_eq!(metric(&engine, "tidegate_transactions_live"), 150.0);
        assert_eq!(partner.served.load(Ordering::Relaxed), 0);

        partner.is_down.store(false, Ordering::Release);
        let more = ClosedLoop::start(&engine, order, Some(Until::Outcome), 1, 200, u64::MAX);
        more.run_until(|_| partner.served.load(Ordering::Relaxed) >= 100).unwrap();
        more.stop().unwrap();
        assert_eq!(partner.served.load(Ordering::Relaxed), 100);
        assert!(disk_mib(dir.path()) > 0.0 && rss_mib() > 0.0);
        engine.stop();
    }
}
