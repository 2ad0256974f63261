//! What writer, keeper and callers share about segments: the next one, the closed ones, what may be trimmed.
//!
//! The lock is held for moments only, never over a file operation. Left out: the queue of parts (`inbox`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::segment::{Closed, Prepared};
use crate::side::Side;

#[derive(Debug, Default)]
pub(crate) struct Yard {
    state: Mutex<YardState>,
    for_keeper: Condvar,
    for_writer: Condvar,
    /// Bytes that the active segment still takes; written by the writer after every group.
    active_left: AtomicU64,
    /// The active segment and the end of what is durable in it.
    active: Mutex<(u64, u64)>,
    /// Held while segments are recycled or removed, and while somebody begins to keep them.
    pub(crate) recycling: Mutex<()>,
}

#[derive(Debug, Default)]
pub(crate) struct YardState {
    pub(crate) ready: Option<Prepared>,
    /// Oldest first; the active segment is not among them.
    pub(crate) closed: VecDeque<Closed>,
    /// Full segments that the writer has not handed over yet.
    pub(crate) closing: u64,
    pub(crate) free: Vec<u64>,
    pub(crate) next_segment: u64,
    pub(crate) trimmable: BTreeMap<u16, u64>,
    pub(crate) sides: BTreeMap<u16, Side>,
    /// Moving aside has failed once; it is not tried again before the journal is opened again.
    pub(crate) sides_failed: bool,
    /// Frozen partitions: told apart only for the figures.
    pub(crate) frozen: BTreeSet<u16>,
    pub(crate) reserve: bool,
    /// Why the last attempt to prepare a segment failed.
    pub(crate) trouble: Option<String>,
    /// Bytes that can be written beyond the active segment, as last measured.
    pub(crate) room_bytes: u64,
    pub(crate) prepared: u64,
    pub(crate) recycled: u64,
    pub(crate) moved_aside: u64,
    /// So many are copying the files: nothing is recycled, moved aside or removed meanwhile.
    pub(crate) kept: u32,
    /// There is something to do for the keeper.
    pub(crate) work: bool,
    /// The writer is to end; it does not wait for a disk that is full any more.
    pub(crate) stopping: bool,
    /// The writer has ended; the keeper is to end.
    pub(crate) ended: bool,
}

impl Yard {
    pub(crate) fn new(state: YardState) -> Self {
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, YardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The active segment, the end of what is durable in it, and how many bytes it still takes.
    pub(crate) fn set_active(&self, segment: u64, end: u64, left: u64) {
        self.active_left.store(left, Ordering::Relaxed);
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = (segment, end);
    }

    pub(crate) fn active(&self) -> (u64, u64) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no file is recycled, moved aside or removed, until [`Self::keep_no_more`].
    pub(crate) fn keep(&self) {
        let _no_recycling = self.recycling.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().kept += 1;
    }

    pub(crate) fn keep_no_more(&self) {
        let mut state = self.lock();
        state.kept = state.kept.saturating_sub(1);
        drop(state);
        self.wake_keeper();
    }

    /// Bytes that can still be written before the disk counts as full.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.lock().room_bytes.saturating_add(self.active_left.load(Ordering::Relaxed))
    }

    pub(crate) fn trimmable(&self, partition: u16, seq: u64) {
        let mut state = self.lock();
        let known = state.trimmable.entry(partition).or_default();
        if *known < seq {
            *known = seq;
            drop(state);
            self.wake_keeper();
        }
    }

    pub(crate) fn wake_keeper(&self) {
        self.lock().work = true;
        self.for_keeper.notify_one();
    }

    /// Until there is work, or the time is over. False when the keeper is to end.
    pub(crate) fn wait_for_work(&self, at_most: Duration) -> bool {
        let state = self.lock();
        let waits = |state: &mut YardState| !state.work && !state.ended;
        let (mut state, _) =
            self.for_keeper.wait_timeout_while(state, at_most, waits).unwrap_or_else(PoisonError::into_inner);
        state.work = false;
        !state.ended
    }

    pub(crate) fn give_ready(&self, prepared: Prepared) {
        let mut state = self.lock();
        state.ready = Some(prepared);
        state.trouble = None;
        state.prepared += 1;
        drop(state);
        self.for_writer.notify_one();
    }

    pub(crate) fn tell_trouble(&self, why: String) {
        self.lock().trouble = Some(why);
        self.for_writer.notify_one();
    }

    /// The next segment for the writer. Waits for the keeper; `held` is told whenever the disk turns out to be full.
    /// Nothing if the journal is stopped while it is full.
    pub(crate) fn take_ready(&self, mut held: impl FnMut()) -> Option<Prepared> {
        let mut state = self.lock();
        loop {
            if let Some(ready) = state.ready.take() {
                state.room_bytes = state.room_bytes.saturating_sub(ready.header.bytes);
                state.closing += 1;
                state.work = true;
                drop(state);
                self.for_keeper.notify_one();
                return Some(ready);
            }
            if state.trouble.is_some() {
                if state.stopping {
                    return None;
                }
                held();
            }
            state.work = true;
            self.for_keeper.notify_one();
            state = self.for_writer.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn close(&self, closed: Closed) {
        let mut state = self.lock();
        state.closing = state.closing.saturating_sub(1);
        state.closed.push_back(closed);
        drop(state);
        self.wake_keeper();
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.for_writer.notify_all();
    }

    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.for_keeper.notify_all();
    }
}
