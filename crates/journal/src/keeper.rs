//! Looks after segments on its own thread, so that the writer never waits: recycles what is trimmable, moves aside
//! what pins the oldest segment, prepares the next segment, holds the reserve, measures what room is left.
//!
//! Left out: group commits. A failure here never fails the journal; it is a disk that is full, and tried again.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::disk::Disk;
use crate::format::{SUPERSEDES_NOTHING, SegmentHeader};
use crate::segment::{self, Closed, RESERVE, UNFINISHED, free_name, segment_name, side_name};
use crate::settings::Settings;
use crate::side;
use crate::yard::Yard;

/// Others use the filesystem too: how often room is measured when nothing happens.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) yard: Arc<Yard>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Arc<Settings>,
}

impl Keeper {
    pub(crate) fn run(&self) {
        loop {
            self.round();
            let troubled = self.yard.lock().trouble.is_some();
            let pause = if troubled { self.settings.retry_every } else { MEASURE_EVERY };
            if !self.yard.wait_for_work(pause) {
                return;
            }
        }
    }

    /// Everything that can be done now.
    pub(crate) fn round(&self) {
        self.free_old();
        self.prepare();
        self.hold_reserve();
        self.measure();
    }

    /// Recycles and moves aside, unless somebody copies the files just now.
    fn free_old(&self) {
        let _recycling = self.yard.recycling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.yard.lock().kept > 0 {
            return;
        }
        if let Err(error) = self.trim() {
            tracing::warn!(%error, "a trimmed segment could not be recycled; it is tried again");
        }
        self.move_aside();
    }

    fn trim(&self) -> io::Result<()> {
        let trimmable = self.yard.lock().trimmable.clone();
        // Side files first: their batches lie before those in segments, and a gap between them would be damage.
        let ended: Vec<u16> = {
            let state = self.yard.lock();
            let is_over = |partition: &u16, last: u64| trimmable.get(partition).is_some_and(|&seq| last <= seq);
            state.sides.iter().filter(|(p, side)| is_over(p, side.tail.seq)).map(|(&p, _)| p).collect()
        };
        for &partition in &ended {
            self.disk.remove(&side_name(partition))?;
        }
        if !ended.is_empty() {
            self.disk.sync_names()?;
            let mut state = self.yard.lock();
            state.sides.retain(|partition, _| !ended.contains(partition));
        }
        loop {
            let oldest = {
                let state = self.yard.lock();
                match state.closed.front() {
                    Some(closed) if closed.extents.needed(&trimmable).next().is_none() => closed.clone(),
                    _ => return Ok(()),
                }
            };
            self.recycle(&oldest)?;
        }
    }

    /// The oldest segment becomes free, or is deleted if there are enough free ones.
    fn recycle(&self, oldest: &Closed) -> io::Result<()> {
        let id = oldest.header.segment;
        let fits =
            oldest.header.bytes == self.settings.segment_bytes && oldest.header.align == self.settings.align_bytes;
        let keep = fits && self.yard.lock().free.len() < self.settings.spare_segments_max;
        // Renamed durably before its header is written over: a name never stands for another segment's contents.
        if keep {
            self.disk.rename(&segment_name(id), &free_name(id))?;
        } else {
            self.disk.remove(&segment_name(id))?;
        }
        let mut state = self.yard.lock();
        state.closed.pop_front();
        drop(state);
        self.disk.sync_names()?;
        let mut state = self.yard.lock();
        if keep {
            state.free.push(id);
        }
        state.recycled += 1;
        Ok(())
    }

    fn move_aside(&self) {
        loop {
            let (oldest, trimmable, mut sides) = {
                let state = self.yard.lock();
                if state.sides_failed || state.closed.len() < self.settings.live_segments_max {
                    return;
                }
                let Some(oldest) = state.closed.front() else { return };
                if !side::is_worth_moving(&state.closed, &state.trimmable) {
                    return;
                }
                (oldest.clone(), state.trimmable.clone(), state.sides.clone())
            };
            // Side files that end before a gap would break the chain: those that are over go first, in `trim`.
            let over = |partition: &u16, last: u64| trimmable.get(partition).is_some_and(|&seq| last <= seq);
            if sides.iter().any(|(partition, side)| over(partition, side.tail.seq)) {
                self.yard.wake_keeper();
                return;
            }
            match side::move_aside(&self.disk, &oldest, &trimmable, &mut sides) {
                Ok(moved) => {
                    let mut state = self.yard.lock();
                    state.sides = sides;
                    state.moved_aside += moved;
                }
                Err(error) => {
                    tracing::error!(%error, "batches could not be moved aside; the oldest segment stays until restart");
                    self.yard.lock().sides_failed = true;
                    return;
                }
            }
            if let Err(error) = self.recycle(&oldest) {
                // The segment is still first in line, but its batches are aside: do not move them twice.
                tracing::error!(%error, "the oldest segment could not be recycled; it stays until restart");
                self.yard.lock().sides_failed = true;
                return;
            }
        }
    }

    fn prepare(&self) {
        let (id, recycled) = {
            let mut state = self.yard.lock();
            if state.ready.is_some() {
                return;
            }
            let id = state.next_segment;
            state.next_segment += 1;
            (id, state.free.pop())
        };
        let header = SegmentHeader {
            segment: id,
            bytes: self.settings.segment_bytes,
            align: self.settings.align_bytes,
            salt: self.disk.salt(),
            supersedes_from: SUPERSEDES_NOTHING,
        };
        let room = if recycled.is_none() { self.room_for_new() } else { Ok(()) };
        match room.and_then(|()| segment::prepare(&*self.disk, recycled, &header, &[])) {
            Ok(prepared) => self.yard.give_ready(prepared),
            Err(error) => {
                if let Some(free) = recycled {
                    self.yard.lock().free.push(free);
                }
                let first = self.yard.lock().trouble.is_none();
                if first {
                    tracing::warn!(%error, "the next segment cannot be prepared; it is tried again");
                }
                self.yard.tell_trouble(error.to_string());
            }
        }
    }

    /// Whether the settings and the filesystem leave room for one more segment.
    fn room_for_new(&self) -> io::Result<()> {
        let full = |what: String| Err(io::Error::new(io::ErrorKind::StorageFull, what));
        let (used, max) = (self.used_bytes(), self.settings.disk_bytes_max);
        if used + self.settings.segment_bytes > max {
            return full(format!("the journal has {used} bytes of files, disk_bytes_max is {max}"));
        }
        let (free, keep) = (self.disk.free_bytes()?, self.settings.keep_free_bytes);
        if free < self.settings.segment_bytes.saturating_add(keep) {
            return full(format!("the filesystem has {free} free bytes, keep_free_bytes is {keep}"));
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        let state = self.yard.lock();
        let closed: u64 = state.closed.iter().map(|closed| closed.header.bytes).sum();
        let whole = 1 + state.closing + u64::from(state.ready.is_some()) + state.free.len() as u64;
        closed + whole * self.settings.segment_bytes + state.sides.values().map(|side| side.end).sum::<u64>()
    }

    fn hold_reserve(&self) {
        let bytes = self.settings.reserve_bytes;
        {
            let state = self.yard.lock();
            if bytes == 0 || state.reserve || state.trouble.is_some() {
                return;
            }
        }
        let needed =
            bytes.saturating_add(self.settings.keep_free_bytes).saturating_add(self.settings.low_watermark_bytes);
        if self.disk.free_bytes().is_ok_and(|free| free >= needed) {
            let unfinished = format!("{RESERVE}{UNFINISHED}");
            let made = segment::zeros(&*self.disk, &unfinished, bytes)
                .and_then(|_| self.disk.rename(&unfinished, RESERVE))
                .and_then(|()| self.disk.sync_names());
            match made {
                Ok(()) => self.yard.lock().reserve = true,
                Err(error) => tracing::warn!(%error, "the reserve could not be made; it is tried again"),
            }
        }
    }

    pub(crate) fn measure(&self) {
        let by_settings = self.settings.disk_bytes_max.saturating_sub(self.used_bytes());
        let by_disk = match self.disk.free_bytes() {
            Ok(free) => free.saturating_sub(self.settings.keep_free_bytes),
            Err(error) => {
                tracing::warn!(%error, "the filesystem does not say how much room is left");
                return;
            }
        };
        let whole = by_settings.min(by_disk) / self.settings.segment_bytes;
        let mut state = self.yard.lock();
        let segments = whole + u64::from(state.ready.is_some()) + state.free.len() as u64;
        state.room_bytes = segments * self.settings.segment_bytes;
    }

    /// Deletes the reserve; how many bytes that gave back.
    pub(crate) fn give_up_reserve(&self) -> io::Result<u64> {
        if !std::mem::take(&mut self.yard.lock().reserve) {
            return Ok(0);
        }
        self.disk.remove(RESERVE)?;
        self.disk.sync_names()?;
        Ok(self.settings.reserve_bytes)
    }
}
