//! Connections of one endpoint, and how many of them there may be.
//!
//! Endpoints share a pool exactly when everything about connecting is the same, so new header values (a renewed
//! token) keep the connections. Leaves out what is done on them: `http1` and `http2`.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{
    Protocol, Target, Tls,
    http1::Lane,
    http2::Shared,
    target::Address,
    transport::{Dialled, TlsSetup},
};

/// Which HTTP an endpoint is known to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    /// The first TLS handshake will tell.
    Unknown,
    Http1,
    Http2,
}

/// Everything that makes two connections alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) connection_age_max: Duration,
    pub(crate) connections_max: u32,
    pub(crate) streams_max: u32,
}

impl Route {
    pub(crate) fn new(target: &Target, address: Address) -> Self {
        Self {
            address,
            protocol: target.protocol,
            tls: target.tls.clone(),
            connect_timeout: target.connect_timeout,
            idle_timeout: target.idle_timeout,
            connection_age_max: target.connection_age_max,
            connections_max: target.connections_max,
            streams_max: target.streams_max,
        }
    }
}

/// The connections of a route.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) route: Route,
    pub(crate) tls: Option<TlsSetup>,
    pub(crate) speaks: Cell<Speaks>,
    /// Connections and attempts to connect.
    pub(crate) open: Cell<u32>,
    /// HTTP/1.1: the most recently used on top, so that in quiet times the others grow old and go.
    pub(crate) idle: RefCell<Vec<Rc<Lane>>>,
    /// HTTP/2.
    pub(crate) shared: RefCell<Vec<Rc<Shared>>>,
    /// A connection that was opened to ask which HTTP, and turned out to be HTTP/1.1.
    pub(crate) spare: RefCell<Option<Dialled>>,
    /// No target uses it any more: connections end with the calls that are on them.
    pub(crate) retired: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(route: Route, tls: Option<TlsSetup>) -> Self {
        let speaks = match route.protocol {
            Protocol::Http1 => Speaks::Http1,
            Protocol::Http2 => Speaks::Http2,
            Protocol::Auto if route.address.secure => Speaks::Unknown,
            Protocol::Auto => Speaks::Http1,
        };
        Self {
            route,
            tls,
            speaks: Cell::new(speaks),
            open: Cell::new(0),
            idle: RefCell::default(),
            shared: RefCell::default(),
            spare: RefCell::default(),
            retired: Cell::new(false),
        }
    }

    /// A place for one more connection, if the bound allows.
    pub(crate) fn take_seat(self: &Rc<Self>) -> Option<Seat> {
        if self.open.get() >= self.route.connections_max {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Seat::Connection(self.clone()))
    }

    /// Drops the connections nobody uses, and keeps none from now on.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.spare.borrow_mut().take();
        for lane in self.idle.take() {
            lane.ride.stop();
        }
        for shared in self.shared.borrow().iter() {
            shared.retire();
        }
    }

    /// Drops every connection at once.
    pub(crate) fn stop(&self) {
        self.retire();
        for shared in self.shared.take() {
            shared.stop();
        }
    }
}

/// A counted place, given back when dropped.
#[derive(Debug)]
pub(crate) enum Seat {
    /// One of a pool's connections.
    Connection(Rc<Pool>),
    /// One of an HTTP/2 connection's streams.
    Stream(Rc<Shared>),
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self {
            Self::Connection(pool) => pool.open.set(pool.open.get().saturating_sub(1)),
            Self::Stream(shared) => shared.leave(Instant::now()),
        }
    }
}

/// One address of a participant, ready to be called.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) pool: Rc<Pool>,
    /// With user-agent and accept, without host.
    pub(crate) headers: HeaderMap,
    pub(crate) host: HeaderValue,
    pub(crate) keep_headers: Vec<HeaderName>,
    pub(crate) body_bytes_max: usize,
}
