//! The clients: C connections, each sends a transaction, waits for its answer, and sends the next (a closed loop).
//!
//! Prints one line of JSON. Latency is of the whole transaction as the client sees it. The clock starts after a warm-up;
//! at the end every client finishes the transaction it is in, so that the participants' counts can be compared with
//! `completed_total`. An answer that is not the expected one is an error, counted and shown, and slows its client down.

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Wait after an error, so that a peer that refuses everything is not hammered.
const PAUSE: Duration = Duration::from_millis(50);
/// A transaction that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(60);
const LATENCY_US_MAX: u64 = 60_000_000;

struct Plan {
    uri: Uri,
    /// Name and template of each header.
    headers: Vec<(String, String)>,
    body: String,
    expect: String,
    run: String,
    measure_from: Instant,
    end: Instant,
}

#[derive(Default)]
struct Tally {
    latency_us: Option<Histogram<u64>>,
    completed: u64,
    completed_total: u64,
    errors: u64,
    first_error: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = rig::Arguments::of_process();
    let Ok(uri) = arguments.required("--url").parse::<Uri>() else {
        eprintln!("--url must be http://host:port/path");
        std::process::exit(2);
    };
    let headers = arguments.all("--header").into_iter().filter_map(|header| header.split_once(": "));
    let warmup = Duration::from_secs(arguments.number("--warmup", 2));
    let seconds = arguments.number("--seconds", 10);
    let measure_from = Instant::now() + warmup;
    let plan = Rc::new(Plan {
        uri,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: arguments.required("--body").to_owned(),
        expect: arguments.text("--expect").unwrap_or_default().to_owned(),
        run: arguments.text("--run").unwrap_or("run").to_owned(),
        measure_from,
        end: measure_from + Duration::from_secs(seconds),
    });
    let tally = Rc::new(RefCell::new(Tally {
        latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).ok(),
        ..Tally::default()
    }));
    let connections = arguments.number("--connections", 64);
    tokio::task::LocalSet::new()
        .run_until(async {
            let clients: Vec<_> = (0..connections)
                .map(|number| tokio::task::spawn_local(client(number, plan.clone(), tally.clone())))
                .collect();
            for client in clients {
                let _ = client.await;
            }
        })
        .await;
    let tally = tally.borrow();
    let at = |quantile: f64| {
        let latency_us = tally.latency_us.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile));
        latency_us as f64 / 1000.0
    };
    let report = serde_json::json!({
        "connections": connections,
        "seconds": seconds,
        "completed": tally.completed,
        "completed_total": tally.completed_total,
        "errors": tally.errors,
        "first_error": tally.first_error,
        "tx_per_s": tally.completed as f64 / seconds as f64,
        "latency_ms_p50": at(0.50),
        "latency_ms_p95": at(0.95),
        "latency_ms_p99": at(0.99),
        "latency_ms_max": at(1.0),
    });
    println!("{report}");
}

async fn client(number: u64, plan: Rc<Plan>, tally: Rc<RefCell<Tally>>) {
    let mut connection = None;
    let mut count = 0u64;
    while Instant::now() < plan.end {
        count += 1;
        let started = Instant::now();
        let outcome = match tokio::time::timeout(PATIENCE, transaction(&plan, number, count, &mut connection)).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let ended = Instant::now();
        match outcome {
            Ok(()) => {
                let mut tally = tally.borrow_mut();
                tally.completed_total += 1;
                if started >= plan.measure_from && ended <= plan.end {
                    tally.completed += 1;
                    let latency_us = u64::try_from((ended - started).as_micros()).unwrap_or(u64::MAX);
                    if let Some(histogram) = &mut tally.latency_us {
                        histogram.saturating_record(latency_us);
                    }
                }
            }
            Err(why) => {
                connection = None;
                {
                    let mut tally = tally.borrow_mut();
                    tally.errors += 1;
                    tally.first_error.get_or_insert(why);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

type Connection = http1::SendRequest<Full<Bytes>>;

/// Sends one transaction and waits for its outcome.
async fn transaction(plan: &Plan, number: u64, count: u64, connection: &mut Option<Connection>) -> Result<(), String> {
    let id = format!("{}-{number:03}-{count:08}", plan.run);
    let msisdn = format!("4917{:08}", (number * 1_000_003 + count) % 100_000_000);
    let amount = (100 + count % 4_900).to_string();
    let fill = |template: &str| template.replace("{id}", &id).replace("{msisdn}", &msisdn).replace("{amount}", &amount);
    if connection.as_ref().is_none_or(|sender| sender.is_closed()) {
        *connection = Some(connect(&plan.uri).await?);
    }
    let Some(sender) = connection.as_mut() else { return Err("no connection".to_owned()) };
    let path = plan.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", plan.uri.authority().map_or("localhost", |authority| authority.as_str()))
        .header("content-type", "application/json");
    for (name, value) in &plan.headers {
        request = request.header(name, fill(value));
    }
    let request = request.body(Full::new(Bytes::from(fill(&plan.body)))).map_err(|error| error.to_string())?;
    sender.ready().await.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    // Some peers write a space after a colon and some do not.
    if status.as_u16() == 200 && (text.contains(&plan.expect) || text.replace("\": ", "\":").contains(&plan.expect)) {
        Ok(())
    } else {
        Err(format!("{status}: {}", text.chars().take(300).collect::<String>()))
    }
}

async fn connect(uri: &Uri) -> Result<Connection, String> {
    let authority = uri.authority().ok_or("the address has no host")?;
    let stream = TcpStream::connect(authority.as_str()).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // How a connection ended shows in the request that was on it.
        let _ = driver.await;
    });
    Ok(sender)
}
