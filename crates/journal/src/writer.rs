//! The hot path: one thread that makes groups durable, one after the other.
//!
//! ```text
//! take what is queued ─► check chains ─► frame one group ─► pwrite ─► fdatasync ─► completions ─┐
//!        ▲                                                                                      │
//!        └──────── what arrived meanwhile is the next group ◄───────────────────────────────────┘
//! ```
//! There is never more than one group between write and fsync: that is what lets recovery tell a write cut short
//! from damage. No timer delays a group; the only one puts the seal behind the last group when nothing comes.
//! Any error of write or fsync is the end of this journal until it is opened again: after a failed fsync nobody
//! knows what is on disk, and the kernel may not try again. Left out: where segments come from (`keeper`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::contract::{Committed, Completion, Durable, Fault, Part};
use crate::disk::{self, Disk};
use crate::format::{GroupFrame, SEGMENT_HEADER_BYTES, SUPERSEDES_NOTHING};
use crate::inbox::{Inbox, Taken};
use crate::segment::{Closed, Extents, FAILED, Prepared};
use crate::settings::Settings;
use crate::tails::Tails;
use crate::yard::Yard;

/// The segment that takes the next group.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Prepared,
    /// Where the next group starts.
    pub(crate) offset: u64,
    pub(crate) extents: Extents,
}

impl Active {
    /// Bytes of a group that still fit; the room of a seal is kept back.
    fn left(&self) -> u64 {
        let seal = u64::from(self.segment.header.align);
        self.segment.header.bytes.saturating_sub(self.offset + seal)
    }
}

/// What the writer counts; read by others at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) seals: AtomicU64,
    pub(crate) parts: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) write_time_us: AtomicU64,
    pub(crate) sync_time_us: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) settings: Arc<Settings>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) yard: Arc<Yard>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) completion: Completion,
    pub(crate) active: Active,
    pub(crate) next_group: u64,
    pub(crate) tails: Tails,
    pub(crate) rest: Rest,
}

/// Buffers that are kept from group to group.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    frame: GroupFrame,
    /// Taken from the inbox, not yet in a group.
    taken: VecDeque<(usize, Part)>,
    /// In the group being written; with a fault if it was left out of it.
    in_flight: Vec<(usize, Part, Option<Fault>)>,
    /// The segment before, kept from trimming until the active one has a durable group: the numbers go on from it.
    closing: Option<Closed>,
    /// There are groups behind the last seal.
    unsealed: bool,
    /// The next group is not written before, because the last one showed load.
    next_group_at: Option<Instant>,
}

/// A group with more than this is taken for load: several transactions share it.
const BUSY_BYTES: usize = 1 << 10;

/// Why the writer ends early.
enum Stop {
    /// A write or fsync failed.
    Failed(io::Error),
    /// Stopped while the disk is full: what is held was not written.
    Held,
}

impl Writer {
    /// Makes known where the active segment ends, and how much it still takes.
    pub(crate) fn tell_left(&self) {
        self.yard.set_active(self.active.segment.header.segment, self.active.offset, self.active.left());
    }

    pub(crate) fn run(mut self) {
        let end = self.turn_until_stopped();
        match end {
            Ok(()) => {}
            Err(Stop::Failed(error)) => {
                let place = format!("segment {}, byte {}", self.active.segment.header.segment, self.active.offset);
                self.fail(&format!("{error} ({place})"));
            }
            Err(Stop::Held) => {
                // Every part that `submit` took before the stop is told; later ones are refused.
                while self.inbox.take(&mut self.rest.taken, None) == Taken::Parts {
                    self.end_all(&Fault::Stopped);
                }
                self.end_all(&Fault::Stopped);
                self.inbox.set_disk_full(false);
            }
        }
    }

    fn turn_until_stopped(&mut self) -> Result<(), Stop> {
        loop {
            if let Some(next) = self.rest.next_group_at.take() {
                // Under load groups grow instead of following each other as fast as the disk goes: every group costs
                // its writers and waiters a few switches of context, however little is in it.
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            let idle_after = self.rest.unsealed.then_some(self.settings.seal_after);
            match self.inbox.take(&mut self.rest.taken, idle_after) {
                Taken::Parts => {
                    while !self.rest.taken.is_empty() {
                        self.commit_group()?;
                    }
                }
                Taken::Idle => self.seal()?,
                Taken::Stop => {
                    if self.rest.unsealed {
                        self.seal()?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Makes one group of the parts that fit, and tells their workers.
    fn commit_group(&mut self) -> Result<(), Stop> {
        let first_bytes = self.rest.taken.front().map_or(0, |(_, part)| part.bytes());
        self.rest.frame.clear();
        if !self.fits(first_bytes) {
            self.next_segment()?;
        }
        let group = self.next_group;
        let began = Instant::now();
        let mut bytes = 0;
        while let Some((_, part)) = self.rest.taken.front() {
            if self.rest.frame.batches() > 0 && !self.fits(part.bytes()) {
                break;
            }
            let Some((worker, part)) = self.rest.taken.pop_front() else { break };
            bytes += part.bytes();
            let fault = self.tails.advance(&part).err();
            if fault.is_none() {
                for batch in &part.batches {
                    self.rest.frame.push(batch.bytes());
                    self.active.extents.add(batch.partition(), batch.last_seq(), batch.bytes().len());
                }
                self.counters.parts.fetch_add(1, Ordering::Relaxed);
            }
            self.rest.in_flight.push((worker, part, fault));
        }
        if self.rest.frame.batches() > 0 {
            self.counters.batches.fetch_add(u64::from(self.rest.frame.batches()), Ordering::Relaxed);
            self.write_group().map_err(Stop::Failed)?;
            self.counters.groups.fetch_add(1, Ordering::Relaxed);
            self.rest.unsealed = true;
        }
        let mut released = 0;
        for (worker, part, fault) in self.rest.in_flight.drain(..) {
            released += part.bytes();
            let result = fault.map_or(Ok(Durable { group }), Err);
            (self.completion)(worker, Committed { token: part.token, result, batches: part.batches });
        }
        self.inbox.release(released);
        if bytes >= BUSY_BYTES {
            self.rest.next_group_at = Some(began + self.settings.group_every);
        }
        Ok(())
    }

    /// Whether a part of `bytes` goes into the group that is being framed.
    fn fits(&self, bytes: usize) -> bool {
        let align = self.active.segment.header.align as usize;
        let framed = self.rest.frame.span(align as u32);
        let with = framed + bytes.next_multiple_of(align);
        let first = self.rest.frame.batches() == 0;
        (first || with <= self.settings.group_bytes_max) && with as u64 <= self.active.left()
    }

    /// Writes and syncs what is framed, as one group.
    fn write_group(&mut self) -> io::Result<()> {
        let Active { segment, offset, .. } = &mut self.active;
        let bytes = self.rest.frame.finish(&segment.header, self.next_group, self.next_group - 1);
        let began = Instant::now();
        disk::write_all(&*segment.file, bytes, *offset)?;
        let written = Instant::now();
        segment.file.sync_data()?;
        let time_us = |from: Instant, to: Instant| (to - from).as_micros() as u64;
        self.counters.write_time_us.fetch_add(time_us(began, written), Ordering::Relaxed);
        self.counters.sync_time_us.fetch_add(time_us(written, Instant::now()), Ordering::Relaxed);
        self.counters.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        *offset += bytes.len() as u64;
        self.next_group += 1;
        self.tell_left();
        if let Some(closed) = self.rest.closing.take() {
            self.yard.close(closed);
        }
        Ok(())
    }

    /// The proof that everything before is on disk, while nothing else is to be written.
    fn seal(&mut self) -> Result<(), Stop> {
        self.rest.frame.clear();
        self.write_group().map_err(Stop::Failed)?;
        self.counters.seals.fetch_add(1, Ordering::Relaxed);
        self.rest.unsealed = false;
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), Stop> {
        let inbox = &self.inbox;
        let prepared = self.yard.take_ready(|| inbox.set_disk_full(true)).ok_or(Stop::Held)?;
        self.inbox.set_disk_full(false);
        let fresh = Active { segment: prepared, offset: SEGMENT_HEADER_BYTES as u64, extents: Extents::default() };
        let full = std::mem::replace(&mut self.active, fresh);
        self.tell_left();
        let closed = Closed { header: full.segment.header, limit: SUPERSEDES_NOTHING, extents: full.extents };
        // A segment without a group has nothing to go on from, and nothing to keep.
        if let Some(earlier) = self.rest.closing.replace(closed) {
            self.yard.close(earlier);
        }
        Ok(())
    }

    fn fail(&mut self, why: &str) {
        tracing::error!(why, "a write or fsync of the journal failed; the node must stop");
        let why: Arc<str> = why.into();
        // Refuse first: nobody may believe in a part that comes after the failure.
        let queued = self.inbox.fail(Arc::clone(&why));
        if let Err(error) = disk::write_text(&*self.disk, FAILED, &why) {
            tracing::error!(%error, "the marker of the failure could not be written");
        }
        self.rest.taken.extend(queued);
        self.end_all(&Fault::Failed { why });
    }

    /// Tells everybody whose part is not durable.
    fn end_all(&mut self, fault: &Fault) {
        let mut released = 0;
        let in_flight = self.rest.in_flight.drain(..);
        let taken = self.rest.taken.drain(..).map(|(worker, part)| (worker, part, None));
        for (worker, part, own) in in_flight.chain(taken) {
            released += part.bytes();
            let result = Err(own.unwrap_or_else(|| fault.clone()));
            (self.completion)(worker, Committed { token: part.token, result, batches: part.batches });
        }
        self.inbox.release(released);
    }
}
