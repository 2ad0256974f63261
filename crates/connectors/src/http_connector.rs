//! The HTTP connector: targets become endpoints with pools, calls find their way to them.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use http::{HeaderMap, HeaderValue, header};
use rustls::RootCertStore;
use tokio::time::Instant;

use crate::{
    Answer, Call, Cancelled, Connector, NotSent, Reply, Target, TargetError, Token,
    compose::is_framing,
    flight::{Flight, Job, Ride},
    http1, http2,
    pool::{Endpoint, Pool, Route, Speaks},
    target::Address,
    transport::{TlsSetup, machine_roots},
    verdict::Sent,
};

/// Numbers that hold for all targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpSettings {
    /// Sent as `user-agent`, unless a target has its own. Visible ASCII.
    pub user_agent: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { user_agent: concat!("tidegate/", env!("CARGO_PKG_VERSION")).to_owned() }
    }
}

/// Calls over HTTP/1.1 and HTTP/2. Lives on one thread; `start` and `close` must run inside a tokio `LocalSet`.
///
/// The sink is never called from within `start`, `cancel` or `close`, always from a task of the `LocalSet`. It may
/// call all of them.
pub struct HttpConnector {
    settings: HttpSettings,
    flight: Rc<Flight>,
    participants: RefCell<Vec<Vec<Rc<Endpoint>>>>,
    /// Read when the first target with TLS comes.
    roots: OnceCell<RootCertStore>,
    closed: Cell<bool>,
}

impl std::fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpConnector").field("in_flight", &self.flight.len()).finish_non_exhaustive()
    }
}

impl HttpConnector {
    pub fn new(settings: HttpSettings, sink: Rc<dyn Fn(Answer)>) -> Self {
        Self {
            settings,
            flight: Rc::new(Flight::new(sink)),
            participants: RefCell::default(),
            roots: OnceCell::new(),
            closed: Cell::new(false),
        }
    }

    /// Replaces all targets; a [`crate::ParticipantIndex`] is a place in `targets`. Connections to endpoints that are
    /// reached as before are kept, even if headers changed; calls in flight are not touched. All or nothing: with an
    /// error (every one found is told) the old targets stay.
    pub fn set_participants(&self, targets: &[Target]) -> Result<(), Vec<TargetError>> {
        let mut known: Vec<Rc<Pool>> = Vec::new();
        for endpoint in self.participants.borrow().iter().flatten() {
            if !known.iter().any(|pool| Rc::ptr_eq(pool, &endpoint.pool)) {
                known.push(endpoint.pool.clone());
            }
        }
        let before = known.len();
        let mut errors = Vec::new();
        let mut fresh = Vec::with_capacity(targets.len());
        for target in targets {
            fresh.push(self.endpoints(target, &mut known, &mut errors));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let old = self.participants.replace(fresh);
        for pool in &known[..before] {
            let used = self.participants.borrow().iter().flatten().any(|endpoint| Rc::ptr_eq(&endpoint.pool, pool));
            if !used {
                pool.retire();
            }
        }
        drop(old);
        Ok(())
    }

    fn endpoints(
        &self,
        target: &Target,
        known: &mut Vec<Rc<Pool>>,
        errors: &mut Vec<TargetError>,
    ) -> Vec<Rc<Endpoint>> {
        let number = |what| TargetError::Number { participant: target.name.clone(), what };
        if target.connections_max == 0 {
            errors.push(number("connections_max has to be at least 1"));
        }
        if target.streams_max == 0 {
            errors.push(number("streams_max has to be at least 1"));
        }
        if target.endpoints.len() > usize::from(u16::MAX) {
            errors.push(number("has more than 65535 endpoints"));
        }
        let headers = self.headers(target, errors);
        let mut endpoints = Vec::with_capacity(target.endpoints.len());
        for spec in &target.endpoints {
            let address = match Address::parse(&spec.url) {
                Ok(address) => address,
                Err(what) => {
                    let (participant, url) = (target.name.clone(), spec.url.clone());
                    errors.push(TargetError::Endpoint { participant, url, what });
                    continue;
                }
            };
            let Ok(host) = HeaderValue::from_str(address.authority.as_str()) else {
                let (participant, url) = (target.name.clone(), spec.url.clone());
                errors.push(TargetError::Endpoint { participant, url, what: "has a host that no header can carry" });
                continue;
            };
            let route = Route::new(target, address);
            let pool = match known.iter().find(|pool| pool.route == route) {
                Some(pool) => pool.clone(),
                None => {
                    let tls = match self.tls(target, &route.address) {
                        Ok(tls) => tls,
                        Err(what) => {
                            errors.push(TargetError::Tls { participant: target.name.clone(), what });
                            continue;
                        }
                    };
                    let pool = Rc::new(Pool::new(route, tls));
                    known.push(pool.clone());
                    pool
                }
            };
            endpoints.push(Rc::new(Endpoint {
                pool,
                headers: headers.clone(),
                host,
                keep_headers: target.keep_headers.clone(),
                body_bytes_max: target.body_bytes_max,
            }));
        }
        endpoints
    }

    fn headers(&self, target: &Target, errors: &mut Vec<TargetError>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Ok(user_agent) = HeaderValue::from_str(&self.settings.user_agent) {
            headers.insert(header::USER_AGENT, user_agent);
        }
        for (name, value) in &target.headers {
            if is_framing(name) {
                let participant = target.name.clone();
                errors.push(TargetError::Header { participant, header: name.clone() });
            }
            headers.insert(name, value.clone());
        }
        headers
    }

    fn tls(&self, target: &Target, address: &Address) -> Result<Option<TlsSetup>, String> {
        if !address.secure {
            return Ok(None);
        }
        TlsSetup::new(&target.tls, self.roots.get_or_init(machine_roots), address).map(Some)
    }

    /// Answers from a task, never from within the call that found out.
    fn answer_later(&self, job: &Job, reply: Reply) {
        let ride = Rc::new(Ride::default());
        self.flight.board(job, ride.clone());
        let (flight, token) = (self.flight.clone(), job.token);
        let task = tokio::task::spawn_local(async move { flight.answer(token, reply) });
        ride.set_task(task.abort_handle());
    }
}

impl Connector for HttpConnector {
    fn start(&self, call: Call) {
        let Call { token, participant, endpoint: at, request, timeout } = call;
        let started = Instant::now();
        let found = self
            .participants
            .borrow()
            .get(participant.0 as usize)
            .and_then(|endpoints| endpoints.get(usize::from(at.0)).cloned());
        let Some(endpoint) = found else {
            // There is no endpoint to lead the job there, so the answer is listed under a stand-in.
            self.flight.board_refused(token, participant, at, started);
            let flight = self.flight.clone();
            tokio::task::spawn_local(async move {
                let detail = "no such participant or endpoint".into();
                flight.answer(token, Reply::NotSent { why: NotSent::Invalid, detail });
            });
            return;
        };
        let job = Job { token, participant, at, endpoint, request, started, deadline: started + timeout };
        if self.closed.get() {
            let detail = "the connector is closed".into();
            return self.answer_later(&job, Reply::NotSent { why: NotSent::Closed, detail });
        }
        match job.endpoint.pool.speaks.get() {
            Speaks::Http1 => {
                if let Some(job) = http1::start(&self.flight, job) {
                    let reply = http2::pool_full(&job.endpoint.pool);
                    self.answer_later(&job, reply);
                }
            }
            Speaks::Http2 | Speaks::Unknown => http2::start(&self.flight, job),
        }
    }

    fn cancel(&self, token: Token) -> Cancelled {
        let Some(ride) = self.flight.take(token) else { return Cancelled::NotInFlight };
        let sent = ride.sent();
        ride.stop();
        match sent {
            Sent::No => Cancelled::NotSent,
            Sent::Perhaps => Cancelled::MayHaveLeft,
        }
    }

    fn in_flight(&self) -> usize {
        self.flight.len()
    }

    fn close(&self) {
        self.closed.set(true);
        let stopped = self.flight.stop_all();
        self.stop_pools();
        let flight = self.flight.clone();
        if stopped.is_empty() {
            return;
        }
        tokio::task::spawn_local(async move {
            for (token, sent) in stopped {
                let detail = "the connector was closed".into();
                flight.answer(
                    token,
                    match sent {
                        Sent::No => Reply::NotSent { why: NotSent::Withdrawn, detail },
                        Sent::Perhaps => Reply::Cut { detail },
                    },
                );
            }
        });
    }
}

impl HttpConnector {
    fn stop_pools(&self) {
        for endpoint in self.participants.borrow().iter().flatten() {
            endpoint.pool.stop();
        }
    }
}

impl Drop for HttpConnector {
    /// Ends every task without answers: whoever drops the connector does not wait any more.
    fn drop(&mut self) {
        self.flight.stop_all();
        self.stop_pools();
    }
}
