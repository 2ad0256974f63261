//! The load: keep-alive connections that each send a submission, await its answer and send the next; or, at a given
//! rate, submissions on time whatever the answers do. One thread, hyper's own client.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use crate::figures::latencies;
use crate::saga;

/// Warming up before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

struct Measured {
    latencies: Histogram<u64>,
    counted: u64,
    done_in_all: u64,
    errors: u64,
    first_error: Option<String>,
    next: u64,
}

pub(crate) fn play(to: SocketAddr, clients: u64, time: Duration, rate: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let local = tokio::task::LocalSet::new();
    let measured = Rc::new(RefCell::new(Measured {
        latencies: latencies(),
        counted: 0,
        done_in_all: 0,
        errors: 0,
        first_error: None,
        next: 0,
    }));
    let began = Instant::now();
    let (from, until) = (began + WARM_UP, began + WARM_UP + time);
    local.block_on(&runtime, async {
        let all: Vec<_> = (0..clients)
            .map(|n| {
                let pace = (rate > 0).then_some((n, clients, rate));
                tokio::task::spawn_local(client(to, Rc::clone(&measured), from, until, pace))
            })
            .collect();
        for one in all {
            if let Err(e) = one.await {
                measured.borrow_mut().first_error.get_or_insert_with(|| e.to_string());
            }
        }
    });
    let m = measured.borrow();
    let quantile = |q| m.latencies.value_at_quantile(q) as f64 / 1e3;
    println!(
        "{}",
        serde_json::json!({
            "tx_per_s": m.counted as f64 / time.as_secs_f64(),
            "latency_ms_p50": quantile(0.5),
            "latency_ms_p99": quantile(0.99),
            "latency_ms_p999": quantile(0.999),
            "done_in_all": m.done_in_all,
            "seconds_in_all": (WARM_UP + time).as_secs_f64(),
            "errors": m.errors,
            "first_error": m.first_error,
        })
    );
    Ok(())
}

/// One connection. With a pace (place, connections, rate), its n-th submission is due at a fixed time.
async fn client(
    to: SocketAddr,
    measured: Rc<RefCell<Measured>>,
    from: Instant,
    until: Instant,
    pace: Option<(u64, u64, u64)>,
) {
    let fail = |what: String| {
        let mut m = measured.borrow_mut();
        m.errors += 1;
        m.first_error.get_or_insert(what);
    };
    let mut sender = match connect(to).await {
        Ok(sender) => sender,
        Err(what) => return fail(what),
    };
    let began = Instant::now();
    let mut body = Vec::new();
    let mut round = 0;
    loop {
        let due = match pace {
            None => Instant::now(),
            Some((place, connections, rate)) => {
                let due = began + Duration::from_nanos((place + round * connections) * 1_000_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        round += 1;
        if Instant::now() >= until {
            return;
        }
        let n = {
            let mut m = measured.borrow_mut();
            m.next += 1;
            m.next
        };
        saga::body(n, &mut body);
        let request = Request::post("/v1/transactions?wait=30s")
            .header("host", "node")
            .header("content-type", "application/json")
            .header("idempotency-key", format!("load-{n}"))
            .body(Full::new(Bytes::copy_from_slice(&body)));
        let Ok(request) = request else { return fail("the request cannot be made".into()) };
        let answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(e) => return fail(e.to_string()),
        };
        let status = answer.status();
        let text = match answer.into_body().collect().await {
            Ok(text) => text.to_bytes(),
            Err(e) => return fail(e.to_string()),
        };
        if status != 200 || !text.windows(9).any(|w| w == b"completed") {
            return fail(format!("{status} {}", String::from_utf8_lossy(&text)));
        }
        let now = Instant::now();
        let mut m = measured.borrow_mut();
        m.done_in_all += 1;
        if now >= from && now < until {
            m.counted += 1;
            // Measured from when it was due, so that a stall is not left out.
            m.latencies.saturating_record((now - due).as_micros() as u64);
        }
    }
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = tokio::net::TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::task::spawn_local(async move {
        // Its errors reach us through the sender.
        let _ = connection.await;
    });
    Ok(sender)
}
