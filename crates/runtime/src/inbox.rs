//! What reaches a worker from outside its thread: two lanes, so that new work can never hold up what must end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use compact_str::CompactString;
use model::{PartitionId, Seq, TxId, Value};
use parking_lot::Mutex;
use partition::Operator;
use tokio::sync::{Notify, oneshot};

use crate::answer::{Answer, Until};
use crate::prepare::Prepared;
use crate::query::{Counted, Filter, GroupBy};
use crate::refusal::Refusal;
use crate::view::Detail;

/// Where an answer goes.
pub(crate) enum Responder {
    Once(oneshot::Sender<Result<Answer, Refusal>>),
    /// Called on the worker's own thread: must hand over and return.
    Call(Callback),
}

type Done = Box<dyn FnOnce(Result<Answer, Refusal>) + Send>;

/// Once it has been handed over, it is always called: a worker that ends, or dies, with somebody waiting says so.
pub(crate) struct Callback {
    done: Option<Done>,
    handed_over: bool,
}

impl Callback {
    pub(crate) fn new(done: impl FnOnce(Result<Answer, Refusal>) + Send + 'static) -> Self {
        Self { done: Some(Box::new(done)), handed_over: false }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if self.handed_over
            && let Some(done) = self.done.take()
        {
            done(Err(crate::engine::stopped()));
        }
    }
}

impl Responder {
    pub(crate) fn send(self, answer: Result<Answer, Refusal>) {
        match self {
            Self::Once(to) => {
                // Nobody there any more: a closed connection cancels nothing.
                let _ = to.send(answer);
            }
            Self::Call(mut to) => {
                if let Some(done) = to.done.take() {
                    done(answer);
                }
            }
        }
    }

    /// From here on whoever drops it owes an answer; taken back, the caller says it himself.
    pub(crate) fn set_handed_over(&mut self, handed_over: bool) {
        if let Self::Call(to) = self {
            to.handed_over = handed_over;
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Once(to) if to.is_closed())
    }
}

/// Somebody waits for a transaction.
pub(crate) struct Waiter {
    /// Absent: as soon as what is known is durable.
    pub(crate) until: Option<Until>,
    pub(crate) detail: Detail,
    pub(crate) replayed: bool,
    pub(crate) to: Responder,
}

/// A message to a worker.
pub(crate) enum Note {
    /// Begin this; wait for it.
    Begin(Box<Prepared>, Waiter),
    /// Look at it, or wait for it.
    Look {
        tx: TxId,
        waiter: Waiter,
    },
    Operate {
        tx: TxId,
        verb: Operator,
        who: CompactString,
        why: CompactString,
        waiter: Waiter,
    },
    Resolve {
        tx: TxId,
        step: CompactString,
        order: ResolveOrder,
        who: CompactString,
        why: CompactString,
        waiter: Waiter,
    },
    Signal {
        tx: TxId,
        name: CompactString,
        idempotency_key: CompactString,
        body: Arc<Value>,
        waiter: Waiter,
    },
    /// Live transactions of this definition and key that have not had this signal.
    Await {
        partition: PartitionId,
        definition: CompactString,
        key: CompactString,
        signal: CompactString,
        to: oneshot::Sender<Vec<TxId>>,
    },
    List {
        filter: Filter,
        before: Option<TxId>,
        limit: usize,
        to: oneshot::Sender<Vec<(TxId, bytes::Bytes)>>,
    },
    Count {
        filter: Filter,
        group_by: Vec<GroupBy>,
        to: oneshot::Sender<Vec<Counted>>,
    },
    /// A part is durable, or never will be.
    Committed(journal::Committed),
    /// The load manager decided about calls of this worker.
    Verdicts(Vec<load::Verdict>),
    /// Calls of this worker are handed the answers of others.
    Handed(Vec<crate::given::Handed>),
    /// The load manager has room for this many parked calls; so many more workers may be asked.
    Unpark {
        participant: u32,
        count: u32,
        workers_left: usize,
    },
    CheckpointDone {
        partition: PartitionId,
        seq: Seq,
        result: Result<store::statelog::Verified, store::Error>,
    },
    /// Whoever waits is answered as it stands.
    Drain,
    Stop,
}

/// What a person decided about a call.
pub(crate) struct ResolveOrder {
    pub(crate) direction: model::Direction,
    pub(crate) done: bool,
    pub(crate) result: Option<Arc<Value>>,
}

/// The way into one worker.
pub(crate) struct Inbox {
    begins: Mutex<Vec<Note>>,
    begins_waiting: AtomicUsize,
    begins_max: usize,
    rest: Mutex<Vec<Note>>,
    ready: Notify,
    /// The worker has been told and has not looked yet.
    told: AtomicBool,
    /// The worker has ended: whatever comes is dropped, and with it whoever waits is told.
    closed: AtomicBool,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("begins_waiting", &self.begins_waiting).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(begins_max: usize) -> Self {
        Self {
            begins: Mutex::default(),
            begins_waiting: AtomicUsize::new(0),
            begins_max,
            rest: Mutex::default(),
            ready: Notify::new(),
            told: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Drops what waits and whatever still comes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let (rest, begins) = (std::mem::take(&mut *self.rest.lock()), std::mem::take(&mut *self.begins.lock()));
        // Outside the locks: what is dropped here may call out.
        drop((rest, begins));
    }

    /// Adds to a lane, unless the worker has ended. Looked at under the lane's lock, so that nothing is left behind.
    fn add(&self, lane: &Mutex<Vec<Note>>, note: Note) {
        let mut waiting = lane.lock();
        if self.closed.load(Ordering::SeqCst) {
            drop(waiting);
            drop(note);
            return;
        }
        waiting.push(note);
        drop(waiting);
        self.tell();
    }

    /// Adds new work, or gives it back if too much is waiting.
    pub(crate) fn begin(&self, note: Note) -> Result<(), Box<Note>> {
        if self.begins_waiting.fetch_add(1, Ordering::Relaxed) >= self.begins_max {
            self.begins_waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Box::new(note));
        }
        self.add(&self.begins, note);
        Ok(())
    }

    /// Adds anything else. Its senders are bounded by what is in flight, by open requests and by the journal.
    pub(crate) fn send(&self, note: Note) {
        self.add(&self.rest, note);
    }

    pub(crate) fn tell(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.ready.notify_one();
        }
    }

    /// Waits until there may be something.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes everything of the urgent lane, and new work up to `begins_most`. Both buffers must be empty.
    pub(crate) fn drain(&self, rest: &mut Vec<Note>, begins: &mut Vec<Note>, begins_most: usize) {
        // An exchange, not a store: whoever found it set before this has put its note where it is found below.
        self.told.swap(false, Ordering::AcqRel);
        std::mem::swap(&mut *self.rest.lock(), rest);
        if begins_most == 0 {
            return;
        }
        let mut waiting = self.begins.lock();
        if waiting.len() <= begins_most {
            std::mem::swap(&mut *waiting, begins);
        } else {
            begins.extend(waiting.drain(..begins_most));
        }
        drop(waiting);
        self.begins_waiting.fetch_sub(begins.len(), Ordering::Relaxed);
    }
}
