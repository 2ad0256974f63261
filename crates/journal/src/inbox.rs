//! The queue between the workers and the writer: bounded in bytes, in order, never waiting for the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::contract::{Part, Refused, Why};

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    arrived: Condvar,
    queue_bytes_max: usize,
    part_bytes_max: usize,
}

#[derive(Debug, Default)]
struct InboxState {
    parts: VecDeque<(usize, Part)>,
    /// Bytes of parts that have not had their completion, taken by the writer or not.
    bytes: usize,
    /// The writer sleeps and must be woken.
    asleep: bool,
    disk_full: bool,
    stopping: bool,
    failed: Option<Arc<str>>,
}

/// What the writer finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Parts,
    /// Nothing came in the time given.
    Idle,
    /// Nothing will come any more.
    Stop,
}

impl Inbox {
    pub(crate) fn new(queue_bytes_max: usize, part_bytes_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), queue_bytes_max, part_bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn submit(&self, worker: usize, part: Part) -> Result<(), Refused> {
        let part_bytes = part.bytes();
        let mut state = self.lock();
        let why = if let Some(why) = &state.failed {
            Why::Failed { why: Arc::clone(why) }
        } else if state.stopping {
            Why::Stopped
        } else if part.batches.is_empty() {
            Why::Empty
        } else if part_bytes > self.part_bytes_max {
            Why::TooLarge { part_bytes, part_bytes_max: self.part_bytes_max }
        } else if state.disk_full {
            Why::DiskFull
        } else if state.bytes + part_bytes > self.queue_bytes_max {
            Why::QueueFull { queued_bytes: state.bytes, queue_bytes_max: self.queue_bytes_max }
        } else {
            state.bytes += part_bytes;
            state.parts.push_back((worker, part));
            let wake = std::mem::take(&mut state.asleep);
            drop(state);
            if wake {
                self.arrived.notify_one();
            }
            return Ok(());
        };
        Err(Refused { why, part })
    }

    /// Swaps everything queued with the empty `into`; sleeps while there is nothing.
    pub(crate) fn take(&self, into: &mut VecDeque<(usize, Part)>, idle_after: Option<Duration>) -> Taken {
        let mut state = self.lock();
        loop {
            if !state.parts.is_empty() {
                state.asleep = false;
                std::mem::swap(&mut state.parts, into);
                return Taken::Parts;
            }
            if state.stopping {
                return Taken::Stop;
            }
            state.asleep = true;
            let Some(idle_after) = idle_after else {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let empty = |state: &mut InboxState| state.parts.is_empty() && !state.stopping;
            let (woken, time) =
                self.arrived.wait_timeout_while(state, idle_after, empty).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if time.timed_out() && state.parts.is_empty() && !state.stopping {
                state.asleep = false;
                return Taken::Idle;
            }
        }
    }

    /// `bytes` of parts have had their completion.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    pub(crate) fn set_disk_full(&self, disk_full: bool) {
        self.lock().disk_full = disk_full;
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.lock().disk_full
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    pub(crate) fn failed(&self) -> Option<Arc<str>> {
        self.lock().failed.clone()
    }

    /// Refuses everything from now on, and gives back what is queued.
    pub(crate) fn fail(&self, why: Arc<str>) -> VecDeque<(usize, Part)> {
        let mut state = self.lock();
        state.failed.get_or_insert(why);
        std::mem::take(&mut state.parts)
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.arrived.notify_all();
    }
}
