//! HTTP/2: many calls on one connection, each a stream and a task of its own.
//!
//! Uses `h2` directly instead of hyper's layer above it: that layer adds a task per call, and wraps the very errors
//! that are evidence here (who ended the stream, and with which code). A call takes a place on a connection, waits
//! until it is open and has room for a stream, and hands its request over once. Until then nothing of it exists on the
//! wire, and it may change to another connection; afterwards it never does.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Response, Uri, Version, header, uri::Scheme};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use crate::{
    Body, NotSent, Protocol, Reply,
    compose::{Composed, compose},
    flight::{Flight, Job, Ride, watched},
    http1,
    pool::{Endpoint, Pool, Seat, Speaks},
    reading::{self, Gathering, TooBig},
    transport::{Alarm, Evidence, Offer, Wire, dial},
    verdict::{self, DialFailure, Sent},
};

/// As in HTTP/1.1: after this much quiet the kernel is asked whether the connection was closed.
const TRUST_UNASKED: Duration = Duration::from_millis(20);

/// How much of one answer may be under way. Bodies are small and read at once.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// How much of all answers of a connection may be under way.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// The head of an answer, at most.
const HEAD_BYTES_MAX: u32 = 64 << 10;

/// How often a call may change to another connection before its request is handed over.
const BOARDINGS_MAX: u32 = 3;

enum State {
    Dialling,
    Open(SendRequest<Bytes>, Rc<Evidence>),
    /// Takes no new streams.
    Retired,
    Failed(DialFailure),
    /// The server chose HTTP/1.1.
    Http1,
}

/// One connection, shared by calls.
pub(crate) struct Shared {
    state: RefCell<State>,
    /// Calls that have a place on it, waiting ones included.
    riders: Cell<u32>,
    /// Streams the server allows at once.
    allowed: Cell<u32>,
    idle_since: Cell<Instant>,
    opened: Cell<Instant>,
    waiting: RefCell<Vec<Waker>>,
    task: RefCell<Option<AbortHandle>>,
    seat: RefCell<Option<Seat>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("riders", &self.riders.get()).finish_non_exhaustive()
    }
}

impl Shared {
    fn set_state(&self, state: State) {
        // What was there is dropped after the borrow has ended: dropping a sender may run code of `h2`.
        let old = self.state.replace(state);
        drop(old);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// No new streams; those under way go on.
    pub(crate) fn retire(&self) {
        if matches!(&*self.state.borrow(), State::Open(..)) {
            self.set_state(State::Retired);
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        self.seat.borrow_mut().take();
    }

    pub(crate) fn leave(&self, now: Instant) {
        self.riders.set(self.riders.get().saturating_sub(1));
        self.idle_since.set(now);
    }

    /// Waits for the end of dialling.
    fn poll_open(&self, cx: &Context<'_>) -> Poll<Boarded> {
        match &*self.state.borrow() {
            State::Dialling => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            State::Open(sender, evidence) => Poll::Ready(Boarded::Open(sender.clone(), evidence.clone())),
            State::Retired => Poll::Ready(Boarded::Retired),
            State::Failed(failure) => Poll::Ready(Boarded::Failed(failure.clone())),
            State::Http1 => Poll::Ready(Boarded::Http1),
        }
    }
}

enum Boarded {
    Open(SendRequest<Bytes>, Rc<Evidence>),
    Retired,
    Failed(DialFailure),
    Http1,
}

/// Starts a call on a task of its own.
pub(crate) fn start(flight: &Rc<Flight>, job: Job) {
    let ride = Rc::new(Ride::default());
    flight.board(&job, ride.clone());
    let (flight, of_watch) = (flight.clone(), flight.clone());
    let of_task = ride.clone();
    let carrying = async move {
        let token = job.token;
        match carry(&of_task, job).await {
            Carried::Reply(reply) => {
                of_task.seat.borrow_mut().take();
                flight.answer(token, reply);
            }
            Carried::Http1(job) => {
                if let Some(job) = http1::start(&flight, *job) {
                    flight.answer(job.token, pool_full(&job.endpoint.pool));
                }
            }
        }
    };
    let task = tokio::task::spawn_local(watched(of_watch, ride.clone(), carrying));
    ride.set_task(task.abort_handle());
}

pub(crate) fn pool_full(pool: &Pool) -> Reply {
    let detail = compact_str::format_compact!(
        "all {} connections to {} are busy",
        pool.route.connections_max,
        pool.route.address.authority
    );
    Reply::NotSent { why: NotSent::PoolFull, detail }
}

enum Carried {
    Reply(Reply),
    Http1(Box<Job>),
}

/// What came of handing a request over.
enum Asked {
    Head(Response<h2::RecvStream>, Rc<Shared>),
    Reply(Reply),
    Http1,
}

async fn carry(ride: &Rc<Ride>, mut job: Job) -> Carried {
    let endpoint = job.endpoint.clone();
    // Kept for the case that the server turns out to speak HTTP/1.1; sharing a body costs a count.
    let keep = (endpoint.pool.speaks.get() == Speaks::Unknown).then(|| job.request.clone());
    let request = std::mem::replace(&mut job.request, nothing());
    let composed = match compose(&endpoint, request, HeaderMap::new()) {
        Ok(composed) => composed,
        Err(reply) => return Carried::Reply(reply),
    };
    let read_before = Cell::new(None);
    match timeout_at(job.deadline, ask(ride, &endpoint, composed, job.started, &read_before)).await {
        Ok(Asked::Reply(reply)) => Carried::Reply(reply),
        Ok(Asked::Http1) => match keep {
            Some(request) => {
                job.request = request;
                ride.seat.borrow_mut().take();
                Carried::Http1(Box::new(job))
            }
            None => Carried::Reply(
                DialFailure { why: NotSent::Tls, detail: "the server has gone over to HTTP/1.1".into() }.into(),
            ),
        },
        Ok(Asked::Head(response, shared)) => {
            let reply = read(response, &endpoint, job.deadline).await;
            drop(shared);
            Carried::Reply(reply)
        }
        Err(_) => {
            // Not one byte came on this connection since: it may be dead without our knowing. No call after this one
            // should have to find out as well.
            if let Some((evidence, shared)) = read_before.take() {
                let (evidence, before): (Rc<Evidence>, u64) = evidence;
                let shared: Rc<Shared> = shared;
                if evidence.read() == before {
                    shared.retire();
                }
            }
            Carried::Reply(Reply::TimedOut { sent: ride.sent() == Sent::Perhaps })
        }
    }
}

fn nothing() -> crate::Request {
    crate::Request { method: http::Method::GET, path_and_query: String::new(), headers: Vec::new(), body: None }
}

type ReadBefore = Cell<Option<((Rc<Evidence>, u64), Rc<Shared>)>>;

async fn ask(
    ride: &Rc<Ride>,
    endpoint: &Endpoint,
    composed: Composed,
    started: Instant,
    read_before: &ReadBefore,
) -> Asked {
    let pool = &endpoint.pool;
    let mut boardings = 0;
    let (mut sender, evidence, shared) = loop {
        boardings += 1;
        let Some(shared) = place(pool, started) else { return Asked::Reply(pool_full(pool)) };
        *ride.seat.borrow_mut() = Some(Seat::Stream(shared.clone()));
        let failure: DialFailure = match poll_fn(|cx| shared.poll_open(cx)).await {
            Boarded::Open(sender, evidence) => match sender.ready().await {
                Ok(sender) => break (sender, evidence, shared),
                // Nothing of this call has been handed over.
                Err(error) => {
                    shared.retire();
                    DialFailure { why: NotSent::ClosedBefore, detail: verdict::chain(&error) }
                }
            },
            Boarded::Retired => DialFailure { why: NotSent::ClosedBefore, detail: "the connection was closing".into() },
            Boarded::Failed(failure) => return Asked::Reply(failure.into()),
            Boarded::Http1 => return Asked::Http1,
        };
        if boardings == BOARDINGS_MAX {
            return Asked::Reply(failure.into());
        }
    };

    let Composed { method, path, mut headers, body } = composed;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if pool.route.address.secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(pool.route.address.authority.clone());
    uri.path_and_query = Some(path);
    let uri = match Uri::from_parts(uri) {
        Ok(uri) => uri,
        Err(error) => {
            return Asked::Reply(Reply::NotSent { why: NotSent::Invalid, detail: verdict::chain(&error) });
        }
    };
    headers.remove(header::HOST);
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;

    if started.saturating_duration_since(shared.idle_since.get()) > TRUST_UNASKED {
        evidence.ask_kernel();
    }
    ride.begin(&evidence);
    read_before.set(Some(((evidence.clone(), evidence.read()), shared.clone())));
    let (answer, mut upload) = match sender.send_request(request, body.is_empty()) {
        Ok(streams) => streams,
        // An error here means that no stream was made of it.
        Err(error) => {
            shared.retire();
            return Asked::Reply(verdict::broken(Sent::No, &error));
        }
    };
    if !body.is_empty() {
        // `h2` keeps what flow control does not let out yet. If the stream has ended meanwhile, the answer says why.
        let _ = upload.send_data(body, true);
    }
    match answer.await {
        Ok(response) => Asked::Head(response, shared),
        Err(error) => {
            if !error.is_reset() {
                shared.retire();
            }
            Asked::Reply(verdict::broken(ride.sent(), &error))
        }
    }
}

async fn read(response: Response<h2::RecvStream>, endpoint: &Endpoint, deadline: Instant) -> Reply {
    let (head, mut stream) = response.into_parts();
    let bytes_max = endpoint.body_bytes_max;
    let body = match timeout_at(deadline, gather(&mut stream, bytes_max)).await {
        Ok(body) => body,
        Err(_) => reading::out_of_time(),
    };
    reading::answered(head.status, &head.headers, &endpoint.keep_headers, body)
}

async fn gather(stream: &mut h2::RecvStream, bytes_max: usize) -> Body {
    let mut gathering = Gathering::default();
    while let Some(piece) = stream.data().await {
        match piece {
            Ok(piece) => {
                let _ = stream.flow_control().release_capacity(piece.len());
                if let Err(TooBig) = gathering.push(piece, bytes_max) {
                    return reading::too_big(bytes_max);
                }
            }
            Err(error) => return reading::cut(&error),
        }
    }
    gathering.finish()
}

/// A place on a connection that has room, else on a new one.
fn place(pool: &Rc<Pool>, now: Instant) -> Option<Rc<Shared>> {
    let age_max = pool.route.connection_age_max;
    let room = pool.shared.borrow().iter().find_map(|shared| {
        let usable = match &*shared.state.borrow() {
            State::Dialling => true,
            State::Open(..) => now < shared.opened.get() + age_max,
            State::Retired | State::Failed(_) | State::Http1 => false,
        };
        let room = pool.route.streams_max.min(shared.allowed.get()).max(1);
        (usable && shared.riders.get() < room).then(|| shared.clone())
    });
    let shared = match room {
        Some(shared) => shared,
        None => {
            let seat = pool.take_seat()?;
            let shared = Rc::new(Shared {
                state: RefCell::new(State::Dialling),
                riders: Cell::new(0),
                allowed: Cell::new(u32::MAX),
                idle_since: Cell::new(now),
                opened: Cell::new(now),
                waiting: RefCell::default(),
                task: RefCell::default(),
                seat: RefCell::new(Some(seat)),
            });
            pool.shared.borrow_mut().push(shared.clone());
            let task = tokio::task::spawn_local(live(pool.clone(), shared.clone()));
            *shared.task.borrow_mut() = Some(task.abort_handle());
            shared
        }
    };
    shared.riders.set(shared.riders.get() + 1);
    Some(shared)
}

/// A connection's life: dial, open, drive to its end.
async fn live(pool: Rc<Pool>, shared: Rc<Shared>) {
    let end = match open(&pool, &shared).await {
        Ok(Some(connection)) => {
            drive(&pool, &shared, connection).await;
            State::Retired
        }
        Ok(None) => State::Http1,
        Err(failure) => State::Failed(failure),
    };
    pool.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, &shared));
    shared.seat.borrow_mut().take();
    shared.set_state(end);
}

type Connection = h2::client::Connection<Wire, Bytes>;

/// `None` if the server chose HTTP/1.1.
async fn open(pool: &Pool, shared: &Shared) -> Result<Option<Connection>, DialFailure> {
    let route = &pool.route;
    let offer = if route.protocol == Protocol::Http2 { Offer::Http2 } else { Offer::Both };
    let dialled = dial(&route.address, pool.tls.as_ref(), offer, route.connect_timeout).await?;
    if !dialled.chose_http2 {
        pool.speaks.set(Speaks::Http1);
        *pool.spare.borrow_mut() = Some(dialled);
        return Ok(None);
    }
    pool.speaks.set(Speaks::Http2);
    let (sender, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .handshake::<_, Bytes>(dialled.wire)
        .await
        .map_err(|error| DialFailure { why: NotSent::Tls, detail: verdict::chain(&error) })?;
    // One turn, so that our settings are out before the first request: what is counted from there on is requests.
    let ended = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await;
    if let Some(outcome) = ended {
        let detail = match outcome {
            Ok(()) => "the server closed the connection at once".into(),
            Err(error) => verdict::chain(&error),
        };
        return Err(DialFailure { why: NotSent::Tls, detail });
    }
    shared.opened.set(dialled.at);
    shared.idle_since.set(Instant::now());
    shared.allowed.set(u32::try_from(connection.max_concurrent_send_streams()).unwrap_or(u32::MAX));
    shared.set_state(State::Open(sender, dialled.evidence));
    Ok(Some(connection))
}

async fn drive(pool: &Pool, shared: &Shared, mut connection: Connection) {
    let idle_timeout = pool.route.idle_timeout;
    let mut alarm = Alarm::new(Instant::now() + idle_timeout);
    let mut look_again = Instant::now() + idle_timeout;
    poll_fn(|cx| {
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        shared.allowed.set(u32::try_from(connection.max_concurrent_send_streams()).unwrap_or(u32::MAX));
        while alarm.poll_past(cx, look_again).is_ready() {
            let now = Instant::now();
            let unused = now.saturating_duration_since(shared.idle_since.get());
            let done = matches!(&*shared.state.borrow(), State::Retired) || unused >= idle_timeout;
            if shared.riders.get() == 0 && done {
                return Poll::Ready(());
            }
            look_again = now + idle_timeout.saturating_sub(unused).max(idle_timeout / 4);
        }
        Poll::Pending
    })
    .await;
}
