//! Doors, threads and connections: from a TCP socket to a system and back.
//!
//! Every thread has its own single-threaded runtime and its own listeners on the same ports (SO_REUSEPORT).
//! There is one common door for all systems and one of its own for each. A bound socket that never listens holds each
//! own port, so that a system that is down refuses connections and still gets its port back.

mod door;
mod reply;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::sync::watch;

use crate::control::Client;
use crate::ledger::{self, Ledger};
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::system::System;
use crate::{BadFault, Temper};

pub(crate) use door::respond;
pub(crate) use reply::Reply;

/// How often the stand looks whether a fault has passed or a scheduled one is due.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the stand's settings: {0}")]
    Settings(String),
    #[error("cannot listen on {at}: {source}; is another stand running there?")]
    Listen { at: SocketAddr, source: std::io::Error },
    #[error("cannot start a server thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(
        "the ledger's row {seq} was made by a system \"{system}\" that this stand has not, or that answers otherwise now; use a new ledger file"
    )]
    OtherLedger { seq: u64, system: String },
    #[error("there is no system \"{name}\"; there are {}, and all for every one", there.join(", "))]
    NoSuchSystem { name: String, there: Vec<String> },
    #[error(transparent)]
    BadFault(#[from] BadFault),
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) systems: Vec<Arc<System>>,
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) common: SocketAddr,
    pub(crate) own: Vec<SocketAddr>,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_max: usize,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) started: Instant,
    pub(crate) schedule: Mutex<Schedule>,
}

impl World {
    pub(crate) fn system(&self, name: &str) -> Option<&Arc<System>> {
        self.by_name.get(name).map(|place| &self.systems[*place])
    }

    /// One system by its name, or every one for `all`.
    pub(crate) fn named(&self, name: &str) -> Result<&[Arc<System>], Error> {
        if name == "all" {
            return Ok(&self.systems);
        }
        let no_such = || {
            let there = self.systems.iter().map(|system| system.name.clone()).collect();
            Error::NoSuchSystem { name: name.to_owned(), there }
        };
        let place = *self.by_name.get(name).ok_or_else(no_such)?;
        Ok(&self.systems[place..=place])
    }

    /// Sets a temper and waits until doors that it opens or closes are open or closed.
    pub(crate) async fn set_temper(&self, name: &str, temper: &Temper) -> Result<(), Error> {
        let systems = self.named(name)?;
        for system in systems {
            system.set_temper(temper.clone());
        }
        let settled = || {
            systems.iter().all(|system| {
                let want = if *system.down().borrow() { 0 } else { self.threads };
                system.open_doors.load(Ordering::Acquire) == want
            })
        };
        for _ in 0..500 {
            if settled() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn look_around(&self) {
        let due = self.schedule.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
        for entry in due {
            tracing::info!(system = entry.system, fault = %entry.change, "as scheduled");
            for system in self.named(&entry.system).unwrap_or_default() {
                entry.change.apply(system);
            }
        }
        for system in &self.systems {
            system.look_around();
        }
    }
}

/// A running stand. Dropping it ends it: connections are closed, the ledger is committed.
#[derive(Debug)]
pub struct Stand {
    world: Arc<World>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// Hold the ports while no listener does.
    _holders: Vec<Socket>,
}

impl Stand {
    /// Opens the ledger, plays it into the systems, opens all doors. Returns when they accept connections.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        settings.check().map_err(Error::Settings)?;
        let ledger = match &settings.ledger {
            Some(settings) => Some(Arc::new(Ledger::open(settings)?)),
            None => None,
        };
        let mut holders = vec![door::hold(settings.listen)?];
        let common = door::address(&holders[0], settings.listen)?;
        let mut own = Vec::with_capacity(settings.systems.len());
        for (place, spec) in settings.systems.iter().enumerate() {
            let next = match settings.listen.port() {
                0 => 0,
                port => port
                    .checked_add(place as u16 + 1)
                    .ok_or_else(|| Error::Settings(format!("no port is left for system {} after {port}", spec.name)))?,
            };
            let at = spec.own_listen.unwrap_or_else(|| SocketAddr::new(settings.listen.ip(), next));
            let holder = door::hold(at)?;
            own.push(door::address(&holder, at)?);
            holders.push(holder);
        }
        let systems: Vec<Arc<System>> =
            settings.systems.iter().map(|spec| Arc::new(System::new(spec, ledger.clone(), settings.seed))).collect();
        let by_name = systems.iter().enumerate().map(|(place, system)| (system.name.clone(), place)).collect();
        let world = Arc::new(World {
            systems,
            by_name,
            ledger,
            common,
            own,
            connections: AtomicUsize::new(0),
            connections_max: settings.connections_max,
            seed: settings.seed,
            threads: settings.threads,
            started: Instant::now(),
            schedule: Mutex::new(Schedule::default()),
        });
        remember(&world)?;

        let (stop, stopping) = watch::channel(false);
        let mut stand = Self { world, stop, threads: Vec::new(), _holders: holders };
        for number in 0..settings.threads {
            // Bound here, so that a port that cannot be opened is an error of `start`.
            let listener = door::listen(common)?;
            let (world, stopping) = (Arc::clone(&stand.world), stopping.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build()
                .map_err(Error::Thread)?;
            let thread = std::thread::Builder::new()
                .name(format!("stand-{number}"))
                .spawn(move || {
                    runtime.block_on(serve(&world, number, listener, stopping));
                    runtime.shutdown_background();
                })
                .map_err(Error::Thread)?;
            stand.threads.push(thread);
        }
        // The own doors are opened by the threads themselves, as often as they must.
        let begun = Instant::now();
        let open = |system: &Arc<System>| {
            *system.down().borrow() || system.open_doors.load(Ordering::Acquire) == settings.threads
        };
        while !stand.world.systems.iter().all(open) {
            if begun.elapsed() > Duration::from_secs(10) {
                let closed = stand.world.systems.iter().position(|system| !open(system)).unwrap_or(0);
                let source = std::io::ErrorKind::AddrInUse.into();
                return Err(Error::Listen { at: stand.world.own[closed], source });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(stand)
    }

    /// The common door.
    pub fn address(&self) -> SocketAddr {
        self.world.common
    }

    /// Below the common door: `http://127.0.0.1:7420/<name>`. There a system that is down resets connections.
    pub fn url(&self, system: &str) -> Option<String> {
        self.world.system(system).map(|system| format!("http://{}/{}", self.world.common, system.name))
    }

    /// At its own door: `http://127.0.0.1:7421/<name>`. There a system that is down refuses connections.
    pub fn own_url(&self, system: &str) -> Option<String> {
        let place = *self.world.by_name.get(system)?;
        Some(format!("http://{}/{system}", self.world.own[place]))
    }

    /// The names, in the order of the settings.
    pub fn systems(&self) -> impl Iterator<Item = &str> {
        self.world.systems.iter().map(|system| system.name.as_str())
    }

    /// Speaks to this stand's control routes.
    pub fn client(&self) -> Client {
        Client::new(&self.world.common.to_string())
    }

    /// Sets the faults of one system, or of `all`: `errors 10% + slow 200ms for 30s`.
    pub async fn set(&self, system: &str, faults: &str) -> Result<(), Error> {
        self.world.set_temper(system, &faults.parse()?).await
    }

    /// Waits until everything that was put into the ledger is committed.
    pub async fn committed(&self) -> Result<(), Error> {
        match &self.world.ledger {
            Some(ledger) => Ok(ledger.committed(ledger.last_seq()).await?),
            None => Ok(()),
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a server thread of the stand panicked");
            }
        }
    }
}

/// Starts a stand, calls `started` with it, and ends it when `shutdown` does.
pub async fn run(
    settings: &Settings,
    started: impl FnOnce(&Stand),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stand = Stand::start(settings)?;
    started(&stand);
    shutdown.await;
    stand.committed().await
}

/// Plays the ledger's rows into the books.
fn remember(world: &World) -> Result<(), Error> {
    let Some(ledger) = &world.ledger else { return Ok(()) };
    let mut other = None;
    ledger::rows(&ledger.path, ledger::Order::BySeq, 0, u64::MAX, |row| {
        if world.system(&row.system).is_some_and(|system| system.replay(&row)) {
            return ControlFlow::Continue(());
        }
        other = Some(Error::OtherLedger { seq: row.seq, system: row.system });
        ControlFlow::Break(())
    })?;
    other.map_or(Ok(()), Err)
}

/// One thread: its doors, and on the first one the clock.
async fn serve(world: &Arc<World>, number: usize, common: std::net::TcpListener, mut stopping: watch::Receiver<bool>) {
    match tokio::net::TcpListener::from_std(common) {
        Ok(listener) => drop(tokio::spawn(door::common(Arc::clone(world), listener))),
        Err(why) => tracing::error!(%why, "the common door cannot be opened"),
    }
    for place in 0..world.systems.len() {
        tokio::spawn(door::own(Arc::clone(world), place));
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = looks.tick(), if number == 0 => world.look_around(),
        }
    }
}
