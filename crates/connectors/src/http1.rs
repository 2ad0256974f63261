//! HTTP/1.1: one task per connection, which carries one call after the other.
//!
//! ```text
//! start ─► idle lane on top of the stack ─► its task wakes: write, read head, read body ─► back on the stack ─► answer
//!      └─► none idle: a new lane; its task dials first
//! ```
//! The task drives hyper's connection itself, so a call costs no second task, no timer of its own and no copy of the
//! header table. While idle it watches the connection, and ends with it.
//!
//! A call that meets a pooled connection already closed is dialled again in the same lane, at most once, and only if
//! hyper gave the whole request back **and** the connection's counter has not moved: then no byte of it was written
//! anywhere, and the second write is the first. In every other case the call ends with what is known.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::{
    Body, Protocol, Reply,
    compose::{compose, origin_form},
    flight::{Flight, Job, Ride, watched},
    pool::{Endpoint, Pool, Speaks},
    reading::{self, Gathering, TooBig},
    transport::{Alarm, Dialled, Evidence, Offer, Wire, dial},
    verdict::{self, Sent},
};

/// A connection unused for longer asks the kernel whether it was closed before a request is written. Servers close
/// connections that were unused for seconds; what is reused at once saves the system call.
const TRUST_UNASKED: Duration = Duration::from_millis(20);

/// A spare connection that lay longer is not worth the try.
const SPARE_AGE_MAX: Duration = Duration::from_secs(1);

/// The head of an answer, at most.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A connection's place in the pool: where its next call is put.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) ride: Rc<Ride>,
    next: RefCell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
    idle_since: Cell<Instant>,
}

impl Lane {
    fn hand(&self, job: Job) {
        *self.next.borrow_mut() = Some(job);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// An open connection.
struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    evidence: Rc<Evidence>,
    opened: Instant,
}

/// hyper's side of a connection. Dropped as soon as it ends, which is what hands back a request that it never took.
struct Driver(Option<http1::Connection<TokioIo<Wire>, Full<Bytes>>>);

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.0.as_mut().is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
            self.0 = None;
        }
    }

    fn has_ended(&self) -> bool {
        self.0.is_none()
    }
}

/// Gives `job` to an idle connection, else to a new one; hands it back if the pool is full.
pub(crate) fn start(flight: &Rc<Flight>, job: Job) -> Option<Job> {
    let pool = job.endpoint.pool.clone();
    loop {
        let top = pool.idle.borrow_mut().pop();
        let Some(lane) = top else { break };
        if lane.ride.is_over() {
            continue;
        }
        flight.board(&job, lane.ride.clone());
        lane.hand(job);
        return None;
    }
    let Some(seat) = pool.take_seat() else { return Some(job) };
    let lane = Rc::new(Lane {
        ride: Rc::default(),
        next: RefCell::default(),
        waker: RefCell::default(),
        idle_since: Cell::new(job.started),
    });
    *lane.ride.seat.borrow_mut() = Some(seat);
    flight.board(&job, lane.ride.clone());
    let deadline = job.deadline;
    *lane.next.borrow_mut() = Some(job);
    let ride = lane.ride.clone();
    let work = work(flight.clone(), pool, lane, deadline);
    let task = tokio::task::spawn_local(watched(flight.clone(), ride.clone(), work));
    ride.set_task(task.abort_handle());
    None
}

async fn work(flight: Rc<Flight>, pool: Rc<Pool>, lane: Rc<Lane>, first_deadline: Instant) {
    let mut link: Option<Link> = None;
    let mut alarm = Alarm::new(first_deadline);
    let mut spare_headers = HeaderMap::new();
    while let Some(job) = next(&pool, &lane, &mut link, &mut alarm).await {
        let token = job.token;
        let mut carried = Carrying { pool: &pool, lane: &lane, alarm: &mut alarm, spare_headers: &mut spare_headers };
        let reply = carried.carry(job, &mut link).await;
        // The place is free before anybody hears of the answer, so that whoever starts the next call finds it.
        let stays = link.is_some() && !pool.retired.get();
        if stays {
            lane.idle_since.set(Instant::now());
            pool.idle.borrow_mut().push(lane.clone());
        } else {
            link = None;
            lane.ride.seat.borrow_mut().take();
        }
        lane.ride.leave();
        flight.answer(token, reply);
        if !stays {
            return;
        }
    }
    pool.idle.borrow_mut().retain(|other| !Rc::ptr_eq(other, &lane));
    lane.ride.seat.borrow_mut().take();
}

/// Waits for the next call; `None` once the connection is of no use any more.
async fn next(pool: &Pool, lane: &Lane, link: &mut Option<Link>, alarm: &mut Alarm) -> Option<Job> {
    poll_fn(|cx| {
        if let Some(job) = lane.next.borrow_mut().take() {
            return Poll::Ready(Some(job));
        }
        let Some(link) = link.as_mut() else { return Poll::Ready(None) };
        link.driver.poll(cx);
        if link.driver.has_ended() {
            return Poll::Ready(None);
        }
        let unused_end = lane.idle_since.get() + pool.route.idle_timeout;
        let end = unused_end.min(link.opened + pool.route.connection_age_max);
        if alarm.poll_past(cx, end).is_ready() {
            return Poll::Ready(None);
        }
        let mut waker = lane.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    })
    .await
}

/// How an exchange came to an end before a status line.
enum Stopped {
    OutOfTime,
    Broken(Box<TrySendError<http::Request<Full<Bytes>>>>),
}

struct Carrying<'l> {
    pool: &'l Pool,
    lane: &'l Lane,
    alarm: &'l mut Alarm,
    spare_headers: &'l mut HeaderMap,
}

impl Carrying<'_> {
    /// Carries one call. Leaves the connection in `link` only if it can carry another.
    async fn carry(&mut self, job: Job, link: &mut Option<Link>) -> Reply {
        let Job { endpoint, request, started, deadline, .. } = job;
        if link
            .as_ref()
            .is_some_and(|link| link.driver.has_ended() || started >= link.opened + self.pool.route.connection_age_max)
        {
            *link = None;
        }
        let composed = match compose(&endpoint, request, std::mem::take(self.spare_headers)) {
            Ok(composed) => composed,
            Err(reply) => return reply,
        };
        let mut request = http::Request::new(Full::new(composed.body));
        *request.method_mut() = composed.method;
        *request.uri_mut() = origin_form(composed.path);
        *request.headers_mut() = composed.headers;
        request.headers_mut().insert(http::header::HOST, endpoint.host.clone());

        let mut pooled = link.is_some();
        if let Some(link) = link
            && started.saturating_duration_since(self.lane.idle_since.get()) > TRUST_UNASKED
        {
            link.evidence.ask_kernel();
        }
        loop {
            if link.is_none() {
                // One that lay there since the server was asked which HTTP it speaks may have been closed like any other.
                let spare = self.pool.spare.borrow_mut().take().filter(|spare| spare.at.elapsed() < SPARE_AGE_MAX);
                pooled |= spare.is_some();
                match self.open(spare, deadline).await {
                    Ok(opened) => *link = Some(opened),
                    Err(reply) => return reply,
                }
            }
            let Some(open) = link.as_mut() else { continue };
            self.lane.ride.begin(&open.evidence);
            match self.exchange(open, request, deadline).await {
                Ok(response) => return self.read(link, response, &endpoint, deadline).await,
                Err(Stopped::OutOfTime) => {
                    *link = None;
                    return Reply::TimedOut { sent: self.lane.ride.sent() == Sent::Perhaps };
                }
                Err(Stopped::Broken(mut error)) => {
                    *link = None;
                    let sent = self.lane.ride.sent();
                    match error.take_message() {
                        Some(whole) if pooled && sent == Sent::No => request = whole,
                        _ => return verdict::broken(sent, error.error()),
                    }
                    pooled = false;
                    self.lane.ride.leave();
                }
            }
        }
    }

    async fn open(&mut self, spare: Option<Dialled>, deadline: Instant) -> Result<Link, Reply> {
        let dialled = match spare {
            Some(dialled) => dialled,
            None => self.dial(deadline).await?,
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (sender, driver) =
            builder.handshake(TokioIo::new(dialled.wire)).await.map_err(|error| verdict::broken(Sent::No, &error))?;
        Ok(Link { sender, driver: Driver(Some(driver)), evidence: dialled.evidence, opened: dialled.at })
    }

    async fn dial(&mut self, deadline: Instant) -> Result<Dialled, Reply> {
        let route = &self.pool.route;
        let mut dialling = pin!(dial(&route.address, self.pool.tls.as_ref(), Offer::Http1, route.connect_timeout));
        let alarm = &mut *self.alarm;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = dialling.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            alarm.poll_past(cx, deadline).map(|()| None)
        })
        .await;
        match outcome {
            Some(Ok(dialled)) => Ok(dialled),
            Some(Err(failure)) => {
                // The server may have come to speak only HTTP/2; the next call asks.
                if failure.why == crate::NotSent::Tls && route.protocol == Protocol::Auto {
                    self.pool.speaks.set(Speaks::Unknown);
                }
                Err(failure.into())
            }
            None => Err(Reply::TimedOut { sent: false }),
        }
    }

    async fn exchange(
        &mut self,
        link: &mut Link,
        request: http::Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Stopped> {
        let mut answer = pin!(link.sender.try_send_request(request));
        let alarm = &mut *self.alarm;
        let driver = &mut link.driver;
        poll_fn(|cx| {
            driver.poll(cx);
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(|error| Stopped::Broken(Box::new(error))));
            }
            alarm.poll_past(cx, deadline).map(|()| Err(Stopped::OutOfTime))
        })
        .await
    }

    async fn read(
        &mut self,
        link: &mut Option<Link>,
        response: Response<Incoming>,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Reply {
        let (head, mut incoming) = response.into_parts();
        let body = match link.as_mut() {
            Some(open) => self.read_body(open, &mut incoming, endpoint.body_bytes_max, deadline).await,
            None => Err(Body::Empty),
        };
        drop(incoming);
        let reply_body = match body {
            Ok(body) => {
                // One more turn, so that hyper sees the end of the message and is ready for the next.
                if let Some(open) = link.as_mut() {
                    poll_fn(|cx| {
                        open.driver.poll(cx);
                        Poll::Ready(())
                    })
                    .await;
                }
                if link.as_ref().is_some_and(|open| open.driver.has_ended() || !open.sender.is_ready())
                    || head.status == StatusCode::SWITCHING_PROTOCOLS
                {
                    *link = None;
                }
                body
            }
            Err(body) => {
                *link = None;
                body
            }
        };
        let reply = reading::answered(head.status, &head.headers, &endpoint.keep_headers, reply_body);
        *self.spare_headers = head.headers;
        reply
    }

    /// `Err` with a body that was not read to its end, so that the connection is of no further use.
    async fn read_body(
        &mut self,
        link: &mut Link,
        incoming: &mut Incoming,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Body, Body> {
        if incoming.size_hint().lower() > bytes_max as u64 {
            return Err(reading::too_big(bytes_max));
        }
        let mut gathering = Gathering::default();
        let alarm = &mut *self.alarm;
        poll_fn(|cx| {
            let mut driven = false;
            while !incoming.is_end_stream() {
                match Pin::new(&mut *incoming).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let Ok(piece) = frame.into_data() else { continue };
                        if let Err(TooBig) = gathering.push(piece, bytes_max) {
                            return Poll::Ready(Err(reading::too_big(bytes_max)));
                        }
                        driven = false;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(reading::cut(&error))),
                    Poll::Ready(None) => break,
                    // Having asked for more, let the connection bring it.
                    Poll::Pending if !driven => {
                        link.driver.poll(cx);
                        driven = true;
                    }
                    Poll::Pending => {
                        return alarm.poll_past(cx, deadline).map(|()| Err(reading::out_of_time()));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
        .map(|()| gathering.finish())
    }
}
