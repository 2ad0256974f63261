//! One worker: a thread, its partitions, its calls, its share of every group commit.
//!
//! ```text
//!  inbox, answers, timers ──► propose ──► entries ──► part ──► journal
//!                                │                               │ durable
//!                                └── effects, answers: held ◄────┘──► load ──► connector, waiters, history
//! ```
//! A turn takes what there is, decides it, and hands a part over when none of its own is under way; while one is,
//! entries gather, so groups grow with the load and no timer idles. Nothing in a turn waits.

mod calls;
mod checkpoint;
mod handing;
mod host;
mod look;
mod release;
mod stopping;
mod turn;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use connectors::{Answer, Connector, Delivery, HttpConnector, HttpSettings, LocalConnector};
use model::Timestamp;

use crate::given::{Avoided, GivenAnswer};
use crate::inbox::{Inbox, Note};
use crate::shared::Shared;
use crate::tables::Tables;
use calls::Calls;
pub(crate) use checkpoint::RESIDENT_BYTES;
pub(crate) use host::{Host, ParkedCall};
pub(crate) use look::{groups, matches};
use release::Held;
pub(crate) use release::{ENDED, push_history_of};
pub(crate) use turn::Around;

/// How long a turn may wait when nothing is due: often enough for clocks and sweeps.
const IDLE: Duration = Duration::from_millis(250);
/// New work taken in one turn; the rest waits, so that what must end is never far behind.
const BEGINS_PER_TURN: usize = 512;
/// Parts at the journal at once: one being written, one that the journal takes up the moment that is durable,
/// without waiting for this thread to be scheduled.
const PARTS_UNDER_WAY_MAX: usize = 2;

/// How calls leave.
enum Way {
    Http(HttpConnector),
    Local(LocalConnector),
}

impl Way {
    fn connector(&self) -> &dyn Connector {
        match self {
            Self::Http(http) => http,
            Self::Local(local) => local,
        }
    }
}

/// The state of one worker's thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    journal: Arc<dyn journal::Journal>,
    tables: Arc<Tables>,
    /// Partitions of this worker; `place_of` finds one.
    hosts: Vec<Host>,
    way: Way,
    answers: Rc<RefCell<Vec<Answer>>>,
    calls: Calls,
    /// Kept for its room: answers of the part that is being released.
    answers_due: Vec<Held>,
    /// What waits for the part that is being gathered.
    gathering: Vec<Held>,
    /// Parts under way, in order, with what waits for each.
    under_way: VecDeque<UnderWay>,
    /// Parts that the journal would not take (disk full), in order: tried again.
    stuck: VecDeque<journal::Part>,
    buffers: Vec<Vec<u8>>,
    history_block: store::history::Block,
    history_waiting: VecDeque<(store::history::Block, Vec<u128>)>,
    ended_keys: Vec<u128>,
    history_behind_told: u64,
    next_token: u64,
    effects: Vec<partition::Effect>,
    held_participants: Vec<bool>,
    /// Answers that the load manager has not heard of, and calls that it has not been asked about.
    finished: Vec<(u64, load::Sample, Option<Arc<GivenAnswer>>)>,
    asked: Vec<(u64, load::Released, Option<load::Share>)>,
    /// Calls that were not made, not told yet.
    avoided: Avoided,
    /// Numbers of routes, by plan and step.
    routes: std::collections::BTreeMap<(plan::PlanHash, model::StepIndex), u32>,
    learned_saved: Timestamp,
    verdicts: Vec<load::Verdict>,
    /// Change of this worker's parked calls, by participant, not yet told.
    parked_change: std::collections::BTreeMap<u32, i64>,
    starting: Vec<(u64, u16)>,
    next_compare: Timestamp,
    next_sweep: Timestamp,
    next_admission: Timestamp,
    resident_told: u64,
    stopping: bool,
    /// When it ends although calls are still unanswered.
    stop_at: Timestamp,
    unparks: usize,
    searches: VecDeque<look::Search>,
    rest: Vec<Note>,
    begins: Vec<Note>,
    row: Vec<u8>,
}

struct UnderWay {
    token: u64,
    since: Timestamp,
    held: Vec<Held>,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, journal: Arc<dyn journal::Journal>, hosts: Vec<Host>) -> Self {
        let answers = Rc::new(RefCell::new(Vec::new()));
        let inbox = Arc::clone(&shared.inboxes[index]);
        let (to, told) = (Rc::clone(&answers), Arc::clone(&inbox));
        let way = match &shared.settings.local {
            None => Way::Http(HttpConnector::new(
                HttpSettings::default(),
                Rc::new(move |answer| {
                    to.borrow_mut().push(answer);
                    told.tell();
                }),
            )),
            Some(local) => {
                let reply = Arc::clone(&local.0);
                Way::Local(LocalConnector::new(
                    Delivery::OnPoll,
                    move |call| reply(call),
                    Rc::new(move |answer| to.borrow_mut().push(answer)),
                ))
            }
        };
        let history_block = shared.history.take_block();
        Self {
            index,
            inbox,
            journal,
            tables: Arc::default(),
            hosts,
            way,
            answers,
            calls: Calls::default(),
            answers_due: Vec::new(),
            gathering: Vec::new(),
            under_way: VecDeque::new(),
            stuck: VecDeque::new(),
            buffers: Vec::new(),
            history_block,
            history_waiting: VecDeque::new(),
            ended_keys: Vec::new(),
            history_behind_told: 0,
            next_token: 1,
            effects: Vec::new(),
            held_participants: Vec::new(),
            finished: Vec::new(),
            asked: Vec::new(),
            avoided: Avoided::new(),
            routes: std::collections::BTreeMap::new(),
            learned_saved: Timestamp::ZERO,
            verdicts: Vec::new(),
            parked_change: std::collections::BTreeMap::new(),
            starting: Vec::new(),
            next_compare: Timestamp::ZERO,
            next_sweep: Timestamp::ZERO,
            next_admission: Timestamp::ZERO,
            resident_told: 0,
            stopping: false,
            stop_at: Timestamp::NEVER,
            unparks: 0,
            searches: VecDeque::new(),
            rest: Vec::new(),
            begins: Vec::new(),
            row: Vec::new(),
            shared,
        }
    }

    /// Runs until told to stop. Lives in the worker's own single-threaded runtime, beside its HTTP front.
    pub(crate) async fn run(mut self) {
        self.refresh_tables();
        let now = self.shared.clock.now();
        for place in 0..self.hosts.len() {
            for tx in std::mem::take(&mut self.hosts[place].to_grant) {
                let _ = self.propose(place, partition::Command::Grant(tx), now);
            }
        }
        loop {
            let busy = self.turn();
            if self.stopping && self.may_end() {
                break;
            }
            if busy {
                // Other tasks of this core go on, and bring what the next turn gathers.
                tokio::task::yield_now().await;
                continue;
            }
            if self.wants_to_submit() {
                // Once more around: what is ready on this core now still joins the group.
                tokio::task::yield_now().await;
                self.turn();
                self.submit();
                continue;
            }
            let wait = self.time_to_wait();
            tokio::select! {
                biased;
                () = self.inbox.ready() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.way.connector().close();
        tracing::debug!(worker = self.index, "worker ended");
    }

    fn time_to_wait(&self) -> Duration {
        let now = self.shared.clock.now();
        let mut next = now.after(IDLE);
        if self.shared.has_failed.load(Ordering::Acquire) {
            return IDLE;
        }
        for host in self.hosts.iter().filter(|host| host.frozen.is_none()) {
            if let Some(at) = host.leader.partition.next_wake() {
                next = next.min(at);
            }
        }
        if let Some(at) = self.shared.load.lock().next_wake(now) {
            next = next.min(at);
        }
        next.since(now).max(Duration::from_micros(200))
    }

    /// Takes over what is in force when it has changed.
    pub(crate) fn refresh_tables(&mut self) {
        if self.shared.generation.load(Ordering::Acquire) == self.tables.generation && self.tables.generation != 0 {
            return;
        }
        self.tables = self.shared.tables();
        if let Way::Http(http) = &self.way {
            let targets = crate::targets::targets(&self.tables, self.shared.settings.secrets.as_deref());
            if let Err(errors) = http.set_participants(&targets) {
                for error in errors {
                    tracing::error!(%error, "a participant's address cannot be used; its calls keep the old one");
                }
            }
        }
    }

    fn host_of(&mut self, partition: model::PartitionId) -> Option<usize> {
        let workers = self.shared.inboxes.len();
        let place = usize::from(partition.0) / workers;
        (usize::from(partition.0) % workers == self.index && place < self.hosts.len()).then_some(place)
    }
}

/// The partitions that a worker leads, in the order of its hosts.
pub(crate) fn partitions_of(worker: usize, workers: usize, partitions: u16) -> impl Iterator<Item = u16> {
    (0..partitions).filter(move |p| usize::from(*p) % workers == worker)
}
