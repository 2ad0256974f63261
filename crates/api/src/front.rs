//! One worker's door: accepts connections, bounds them, and turns each request into an answer.
//!
//! Everything here lives on one thread (`Rc`, `spawn_local`); what all workers share are a few counters.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use runtime::report::{Family, FamilyKind, SampleValue};
use runtime::{Accepted, Engine};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::body::{Body, Response};
use crate::listen::ListenSettings;
use crate::problem::{Code, Problem};
use crate::router::{self, Found, Op};
use crate::routes::{self, Ask};

/// What the workers count together.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    connections: AtomicUsize,
    requests: AtomicUsize,
    refused_connections: AtomicU64,
    workers: Mutex<Vec<Arc<Counters>>>,
}

/// Answers of one worker by operation and first digit of the status. Only that worker writes.
#[derive(Debug)]
struct Counters([[AtomicU64; 6]; OPS]);

// The library makes no default of arrays that long.
impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

const OPS: usize = Op::ALL.len();

impl Shared {
    pub(crate) fn open_requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// The front's own numbers, beside the engine's.
    pub(crate) fn families(&self) -> Vec<Family> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = Vec::new();
        for op in Op::ALL {
            for (class, word) in ["other", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
                let sum: u64 = workers.iter().map(|w| w.0[op.index()][class].load(Ordering::Relaxed)).sum();
                if sum > 0 {
                    let labels = vec![("operation", op.as_str().to_owned()), ("status", word.to_owned())];
                    samples.push((labels, SampleValue::Number(sum as f64)));
                }
            }
        }
        let one = |n: f64| vec![(Vec::new(), SampleValue::Number(n))];
        let gauge = |name, help, n: usize| Family { name, help, kind: FamilyKind::Gauge, samples: one(n as f64) };
        vec![
            Family {
                name: "tidegate_http_requests_total",
                help: "Answered requests by operation and class of status.",
                kind: FamilyKind::Counter,
                samples,
            },
            gauge(
                "tidegate_http_requests_open",
                "Requests not answered yet, waiting ones included.",
                self.open_requests(),
            ),
            gauge("tidegate_http_connections", "Open connections.", self.connections.load(Ordering::Relaxed)),
            Family {
                name: "tidegate_http_connections_refused_total",
                help: "Connections closed because there were too many.",
                kind: FamilyKind::Counter,
                samples: one(self.refused_connections.load(Ordering::Relaxed) as f64),
            },
        ]
    }
}

/// One worker's part of the front.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) engine: Engine,
    pub(crate) settings: Arc<ListenSettings>,
    pub(crate) shared: Arc<Shared>,
    counters: Arc<Counters>,
    worker: usize,
    /// Wakes the clients that wait on this worker when the drain begins.
    draining: Notify,
}

impl Front {
    pub(crate) fn new(worker: usize, engine: Engine, settings: Arc<ListenSettings>, shared: Arc<Shared>) -> Self {
        let counters = Arc::new(Counters::default());
        shared.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        Self { engine, settings, shared, counters, worker, draining: Notify::new() }
    }

    /// What `waiting` comes to, or `None` if the drain begins first: nobody is kept waiting by a node that ends.
    pub(crate) async fn unless_draining<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        let told = self.draining.notified();
        tokio::pin!(told);
        // Listening first and looking then, so that the beginning cannot fall between.
        told.as_mut().enable();
        if self.settings.drain.has_begun() {
            return None;
        }
        tokio::select! {
            biased;
            done = waiting => Some(done),
            () = told => None,
        }
    }

    /// Counts a request as open until the guard is dropped.
    pub(crate) fn open(&self) -> Open {
        let before = self.shared.requests.fetch_add(1, Ordering::AcqRel);
        Open { shared: Arc::clone(&self.shared), before }
    }

    fn count(&self, op: Op, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        let counter = &self.counters.0[op.index()][if class < 6 { class } else { 0 }];
        // One writer: a plain addition, made visible to the reader of `/metrics`.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Runs tasks that must stay on this thread.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F> hyper::rt::Executor<F> for Here
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Accepts for as long as the worker lives.
pub(crate) async fn accept(front: Rc<Front>, listener: TcpListener) {
    let teller = Rc::clone(&front);
    tokio::task::spawn_local(async move {
        teller.settings.drain.begun().await;
        teller.draining.notify_waiters();
    });
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let seat = Seat::take(&front);
                if seat.before >= front.settings.connections_max {
                    front.shared.refused_connections.fetch_add(1, Ordering::Relaxed);
                    tokio::task::spawn_local(turn_away(seat, stream));
                } else {
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(connection(seat, stream, peer.ip()));
                }
            }
            Err(why) => {
                // Out of file descriptors, most likely: others will be closed soon.
                tracing::warn!(%why, worker = front.worker, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// One of the connections that are counted.
struct Seat {
    front: Rc<Front>,
    before: usize,
}

impl Seat {
    fn take(front: &Rc<Front>) -> Self {
        Self { front: Rc::clone(front), before: front.shared.connections.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.front.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many connections beyond the bound are told why; further ones are only closed.
const TOLD_MAX: usize = 64;

async fn turn_away(seat: Seat, mut stream: TcpStream) {
    if seat.before >= seat.front.settings.connections_max + TOLD_MAX {
        return;
    }
    let problem = Problem::new(Code::Unavailable, "the node has as many connections as it may have")
        .retry(Duration::from_secs(1), Accepted::No);
    let body = problem.render();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let told = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await
    };
    // Whoever does not read it in time does not get it.
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

async fn connection(seat: Seat, stream: TcpStream, peer: IpAddr) {
    let front = Rc::clone(&seat.front);
    let settings = &front.settings;
    let mut http = auto::Builder::new(Here);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle_timeout)
        .max_buf_size(settings.header_bytes_max.max(8_192));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(1_024)
        .keep_alive_interval(settings.idle_timeout)
        .keep_alive_timeout(Duration::from_secs(20));
    // Who comes during the drain is still told so: such a connection ends after its first answer.
    let is_draining = Rc::new(Cell::new(settings.drain.has_begun()));
    let service = {
        let (front, is_draining) = (Rc::clone(&front), Rc::clone(&is_draining));
        service_fn(move |request| {
            let (front, is_draining) = (Rc::clone(&front), Rc::clone(&is_draining));
            async move {
                let http1 = request.version() < Version::HTTP_2;
                let mut response = serve(&front, peer, request).await;
                if http1 && is_draining.get() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        })
    };
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = settings.drain.begun(), if !is_draining.get() => {
            is_draining.set(true);
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(why) = ended {
        tracing::debug!(%why, %peer, "a connection ended badly");
    }
}

/// A request that is not answered yet, nor given up by its client.
#[derive(Debug)]
pub(crate) struct Open {
    shared: Arc<Shared>,
    before: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn serve(front: &Rc<Front>, peer: IpAddr, request: Request<Incoming>) -> Response {
    let open = front.open();
    let (parts, body) = request.into_parts();
    let (op, answered) = match router::find(&parts.method, parts.uri.path()) {
        // How it is must be known when it is full, too.
        Found::Op(op, _)
            if open.before >= front.settings.requests_max && !matches!(op, Op::Alive | Op::Ready | Op::Metrics) =>
        {
            let full = Problem::new(Code::Unavailable, "the node has as many requests open as it may have");
            (op, Err(full.retry(Duration::from_secs(1), Accepted::No)))
        }
        Found::Op(op, params) => {
            let ask = Ask { front, peer, parts: &parts, params };
            (op, routes::answer(op, ask, body).await)
        }
        Found::OtherMethod(allow) => {
            let detail = format!("{} does not take {}", parts.uri.path(), parts.method);
            let mut problem = Problem::new(Code::MethodNotAllowed, detail).hint(format!("it takes {allow}"));
            problem.allow = Some(allow);
            (Op::Later, Err(problem))
        }
        Found::Nothing => {
            let detail = format!("there is nothing at {}", parts.uri.path());
            (Op::Later, Err(Problem::new(Code::NotFound, detail).hint("GET /openapi.json lists all routes")))
        }
    };
    let mut response = answered.unwrap_or_else(|problem| problem.respond());
    front.count(op, response.status());
    if parts.method == Method::HEAD {
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::Whole(None);
    }
    response
}
