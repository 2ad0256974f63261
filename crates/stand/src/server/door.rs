//! Sockets that are open, closed or held, and the calls that come through them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::reply::{Cut, Reply};
use super::wire::{Reset, Wire};
use super::{Error, World};
use crate::control;
use crate::system::{Fate, System};

/// Of one request; a larger one is answered 413.
const BODY_MAX: usize = 1 << 20;
const BACKLOG: i32 = 4_096;

fn socket(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Takes a port without listening: connections to it are refused, nobody else gets it.
pub(super) fn hold(at: SocketAddr) -> Result<Socket, Error> {
    let failed = |source| Error::Listen { at, source };
    // SO_REUSEPORT would let two stands share a port in silence. A first bind without it finds the other one.
    let probe = socket(at).map_err(failed)?;
    probe.bind(&at.into()).map_err(failed)?;
    let at = address(&probe, at)?;
    drop(probe);
    let holder = socket(at).and_then(|socket| socket.set_reuse_port(true).map(|()| socket)).map_err(failed)?;
    holder.bind(&at.into()).map_err(failed)?;
    Ok(holder)
}

pub(super) fn address(socket: &Socket, at: SocketAddr) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Listen { at, source };
    let bound = socket.local_addr().map_err(failed)?;
    bound.as_socket().ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))
}

pub(super) fn listen(at: SocketAddr) -> Result<std::net::TcpListener, Error> {
    let open = || {
        let socket = socket(at)?;
        socket.set_reuse_port(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| Error::Listen { at, source })
}

/// The door of all systems, always open.
pub(super) async fn common(world: Arc<World>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn_connection(&world, stream, None),
            Err(why) => pause(&why).await,
        }
    }
}

/// A system's own door: open unless it is down.
pub(super) async fn own(world: Arc<World>, place: usize) {
    let system = Arc::clone(&world.systems[place]);
    let mut down = system.down();
    loop {
        if down.wait_for(|down| !*down).await.is_err() {
            return;
        }
        let listener = match listen(world.own[place]).map(TcpListener::from_std) {
            Ok(Ok(listener)) => listener,
            Ok(Err(why)) => {
                pause(&why).await;
                continue;
            }
            Err(why) => {
                pause(&why).await;
                continue;
            }
        };
        system.open_doors.fetch_add(1, Ordering::AcqRel);
        loop {
            tokio::select! {
                () = went_down(&mut down) => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => spawn_connection(&world, stream, Some(place)),
                    Err(why) => pause(&why).await,
                },
            }
        }
        drop(listener);
        system.open_doors.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Out of file descriptors, for example: said once per try, tried again soon.
async fn pause(why: &impl std::fmt::Display) {
    tracing::warn!(%why, "a door is stuck");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// One of the connections that are counted.
struct Seat(Arc<World>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn_connection(world: &Arc<World>, stream: TcpStream, own: Option<usize>) {
    let before = world.connections.fetch_add(1, Ordering::Relaxed);
    let seat = Seat(Arc::clone(world));
    if before < world.connections_max {
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(seat, Wire::new(stream), own));
    }
}

async fn connection(seat: Seat, wire: Wire, own: Option<usize>) {
    let world = Arc::clone(&seat.0);
    let reset = wire.reset();
    let mut http = auto::Builder::new(TokioExecutor::new());
    // A peer that goes away is noticed while it waits, and its call goes on without it (see `serve`).
    http.http1().keep_alive(true);
    let service = {
        let (world, reset) = (Arc::clone(&world), reset.clone());
        service_fn(move |request| serve(Arc::clone(&world), own, request, reset.clone()))
    };
    let connection = http.serve_connection(TokioIo::new(wire), service);
    // Pinned outside of the select, so that the socket is still there when its reset is asked for.
    let mut connection = std::pin::pin!(connection);
    match own.map(|place| world.systems[place].down()) {
        None => drop(connection.await),
        Some(mut down) => tokio::select! {
            _ = &mut connection => {}
            () = went_down(&mut down) => reset.ask(),
        },
    }
}

async fn went_down(down: &mut watch::Receiver<bool>) {
    let gone = down.wait_for(|down| *down).await.is_err();
    if gone {
        std::future::pending().await
    }
}

async fn serve(
    world: Arc<World>,
    own: Option<usize>,
    request: Request<Incoming>,
    reset: Reset,
) -> Result<Response<Reply>, Cut> {
    let path = request.uri().path();
    let first = path[1.min(path.len())..].split('/').next().unwrap_or("");
    if first == "_stand" {
        return Ok(Box::pin(control::answer(&world, request)).await);
    }
    let (system, skip) = match own {
        // At its own door the name may be left out.
        Some(place) => {
            let system = &world.systems[place];
            (system, if first == system.name { 1 + first.len() } else { 0 })
        }
        None => match world.system(first) {
            Some(system) => (system, 1 + first.len()),
            None => {
                let names: Vec<&str> = world.systems.iter().map(|system| system.name.as_str()).collect();
                let body = serde_json::json!({"error": format!("no system {first:?} here"), "systems": names});
                return Ok(respond(404, Bytes::from(body.to_string())));
            }
        },
    };
    let flight = system.enter();
    if !system.is_plain() {
        let system = Arc::clone(system);
        return Box::pin(serve_slowly(system, request, skip, flight, reset)).await;
    }
    let (parts, body) = request.into_parts();
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        match read(body).await {
            Ok(body) => body,
            Err(answer) => return answer,
        }
    };
    let fate = system.answer_plainly(&parts.method, rest(parts.uri.path(), skip), &parts.headers, &body);
    finish(system, parts.version, fate, &reset)
}

async fn serve_slowly(
    system: Arc<System>,
    request: Request<Incoming>,
    skip: usize,
    flight: crate::system::Flight,
    reset: Reset,
) -> Result<Response<Reply>, Cut> {
    if *system.down().borrow() {
        return finish(&system, request.version(), Fate::Cut, &reset);
    }
    let (parts, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let path = rest(parts.uri.path(), skip).to_owned();
    let whole = crate::system::Request { method: parts.method, path, headers: parts.headers, body };
    // In a task of its own: an effect does not stop half way because the caller went away.
    let at_work = {
        let system = Arc::clone(&system);
        tokio::spawn(async move {
            let _flight = flight;
            system.answer(whole).await
        })
    };
    let fate = at_work.await.unwrap_or(Fate::Cut);
    finish(&system, parts.version, fate, &reset)
}

fn rest(path: &str, skip: usize) -> &str {
    match &path[skip..] {
        "" => "/",
        rest => rest,
    }
}

/// The whole body, or what to answer instead.
async fn read(body: Incoming) -> Result<Bytes, Result<Response<Reply>, Cut>> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(why) if why.is::<LengthLimitError>() => {
            Err(Ok(respond(413, Bytes::from_static(br#"{"error":"the body is larger than 1 MiB"}"#))))
        }
        Err(_) => Err(Err(Cut)),
    }
}

pub(crate) fn respond(status: u16, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn finish(system: &System, version: Version, fate: Fate, reset: &Reset) -> Result<Response<Reply>, Cut> {
    match fate {
        Fate::Answered { answer, repeat, retry_after_s } => {
            let mut response = respond(answer.status, answer.body);
            if repeat {
                response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            }
            if let Some(after) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
            }
            Ok(response)
        }
        Fate::Torn { answer } => {
            system.counts.cut.fetch_add(1, Ordering::Relaxed);
            let mut response = respond(answer.status, Bytes::new());
            *response.body_mut() = Reply::torn(&answer.body);
            Ok(response)
        }
        Fate::Cut => {
            system.counts.cut.fetch_add(1, Ordering::Relaxed);
            // On HTTP/2 only the stream is reset: the other calls of the connection are somebody else's.
            if version < Version::HTTP_2 {
                reset.ask();
            }
            Err(Cut)
        }
    }
}
