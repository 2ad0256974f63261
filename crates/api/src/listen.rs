//! Settings of the HTTP front, the sockets it stands on, and how it is told to stop.
//!
//! TLS and tokens are not here yet: whoever listens beyond loopback must be refused by the caller.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::settings::Serve;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::front::{self, Front, Shared};

/// The numbers of the front.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Port 0: the kernel chooses one.
    pub listen: SocketAddr,
    /// Of one request, 1 KiB and more. Larger ones are answered 413.
    pub body_bytes_max: usize,
    /// Of one apply: all files together.
    pub apply_bytes_max: usize,
    /// Of one batch of submissions.
    pub batch_bytes_max: usize,
    /// Of one request's head, at least 8 KiB. Larger ones are answered 431.
    pub header_bytes_max: usize,
    /// Open connections of the node; further ones are answered 503 and closed.
    pub connections_max: usize,
    /// Requests of the node that are not answered yet, waiting ones included; further ones are answered 503.
    pub requests_max: usize,
    /// A connection without a whole request head for so long is closed.
    pub idle_timeout: Duration,
    /// A body must arrive within this; in a batch, each next piece.
    pub body_timeout: Duration,
    /// The JSON Schema of definition files that `/schema/v1.json` serves.
    pub definition_schema: &'static str,
    /// Begun when the process is asked to end.
    pub drain: Drain,
}

impl ListenSettings {
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            body_bytes_max: 1 << 20,
            apply_bytes_max: 8 << 20,
            batch_bytes_max: 64 << 20,
            header_bytes_max: 32 << 10,
            connections_max: 16_384,
            requests_max: 65_536,
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            definition_schema: "{}",
            drain: Drain::new(),
        }
    }
}

/// Tells the front to take no new work: `/readyz` is 503, submissions are refused, connections end after their answer.
#[derive(Clone, Debug)]
pub struct Drain(Arc<DrainState>);

#[derive(Debug)]
struct DrainState {
    /// Read by every request: no lock.
    begun: AtomicBool,
    tell: watch::Sender<bool>,
}

impl Drain {
    pub fn new() -> Self {
        Self(Arc::new(DrainState { begun: AtomicBool::new(false), tell: watch::Sender::new(false) }))
    }

    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.tell.send_replace(true);
    }

    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    pub(crate) async fn begun(&self) {
        let mut told = self.0.tell.subscribe();
        // The sender is ours: it cannot go away while we wait.
        let _ = told.wait_for(|begun| *begun).await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the front cannot stand there.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {at}: {source}{}", hint(source))]
pub struct ListenError {
    pub at: SocketAddr,
    pub source: std::io::Error,
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; something else listens there: stop it, or choose another place with --listen"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
        _ => "",
    }
}

/// A port that is taken, and what serves it.
#[derive(Clone)]
pub struct Listening {
    /// With the port that the kernel chose, if it was asked to.
    pub address: SocketAddr,
    /// What the runtime runs on every worker, inside a `LocalSet`.
    pub serve: Serve,
    shared: Arc<Shared>,
    first: Arc<Socket>,
}

impl Listening {
    /// Takes connections from now on, also before the first worker gets to accept them: who says "ready" calls it.
    pub fn open(&self) -> Result<(), ListenError> {
        self.first.listen(BACKLOG).map_err(|source| ListenError { at: self.address, source })
    }

    /// Requests that are not answered yet.
    pub fn open_requests(&self) -> usize {
        self.shared.open_requests()
    }
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Takes the port. Connections are refused until [`Listening::open`], or until the runtime starts what serves it.
pub fn listen(settings: ListenSettings) -> Result<Listening, ListenError> {
    let failed = |source| ListenError { at: settings.listen, source };
    // With SO_REUSEPORT alone two nodes would share a port in silence. A first bind without it finds the other one.
    let probe = socket(settings.listen).map_err(failed)?;
    probe.bind(&settings.listen.into()).map_err(failed)?;
    let bound = probe.local_addr().map_err(failed)?;
    let address = bound.as_socket().ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    drop(probe);
    // The first worker's. Until it listens it holds the port and refuses connections.
    let first = Arc::new(shared_socket(address).map_err(failed)?);
    let shared = Arc::new(Shared::default());
    let (settings, for_workers) = (Arc::new(settings), Arc::clone(&shared));
    let of_worker = Arc::clone(&first);
    let serve: Serve = Arc::new(move |worker, engine| {
        let (settings, shared, first) = (Arc::clone(&settings), Arc::clone(&for_workers), Arc::clone(&of_worker));
        Box::pin(async move {
            let socket = if worker == 0 { first.try_clone() } else { shared_socket(address) };
            let opened = socket.and_then(|socket| {
                socket.listen(BACKLOG)?;
                tokio::net::TcpListener::from_std(socket.into())
            });
            match opened {
                Ok(listener) => front::accept(Rc::new(Front::new(worker, engine, settings, shared)), listener).await,
                Err(why) => tracing::error!(%why, %address, worker, "this worker cannot listen"),
            }
        })
    });
    Ok(Listening { address, serve, shared, first })
}

/// Connections that the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4_096;

fn socket(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn shared_socket(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = socket(at)?;
    socket.set_reuse_port(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_once() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let Ok(first) = listen(ListenSettings::new(any)) else { panic!("a port is free") };
        assert_ne!(first.address.port(), 0);
        assert!(first.open().is_ok());
        let Err(why) = listen(ListenSettings::new(first.address)) else { panic!("taken twice") };
        assert!(why.to_string().starts_with("cannot listen on 127.0.0.1:"), "{why}");
    }
}
