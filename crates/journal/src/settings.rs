//! The numbers of the journal, each with its unit and what larger and smaller do.
//!
//! Left out: where they come from; the binary composes settings.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::format::{GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES};

/// The largest segment: recovery reads one at a time into memory.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The folder of the journal; made if it is missing. One process at a time.
    pub dir: PathBuf,
    /// Bytes of a segment file. Larger: fewer changes of segment, coarser trimming, more memory in recovery.
    pub segment_bytes: u64,
    /// Groups start at multiples of this: 512 or 4096. 4096 never rewrites a block of an acknowledged group, at the
    /// price of 4 KiB for every group; 512 relies on the device writing a sector whole or not at all.
    pub align_bytes: u32,
    /// Bytes of one group. Larger: more parts share an fsync under load; smaller: shorter waits for the first.
    pub group_bytes_max: usize,
    /// Bytes of parts that wait for the next group. Beyond it `submit` refuses.
    pub queue_bytes_max: usize,
    /// Bytes that all files of the journal may have together, without the reserve.
    pub disk_bytes_max: u64,
    /// Bytes of the filesystem that the journal never takes when it prepares a segment.
    pub keep_free_bytes: u64,
    /// When fewer bytes than this can still be written, `status` says `DiskLow`. At least two segments make sense.
    pub low_watermark_bytes: u64,
    /// Bytes of a file that only takes up room, given up last: for the snapshot that makes trimming possible. 0: none.
    pub reserve_bytes: u64,
    /// Trimmed segments kept for recycling; more are deleted. Larger: fewer new files, more room taken while idle.
    pub spare_segments_max: usize,
    /// When so many segments are closed and not trimmed, batches that pin the oldest one are moved to side files, if a
    /// minority of all bytes keeps the rest.
    pub live_segments_max: usize,
    /// A journal without work seals itself after this time.
    pub seal_after: Duration,
    /// While groups show load, they do not begin closer to each other than this; a quiet journal never waits.
    /// Larger: fewer fsyncs and switches, more in each group, later answers; zero: as fast as the disk goes.
    pub group_every: Duration,
    /// How often space is looked for again when a segment could not be prepared.
    pub retry_every: Duration,
    /// Refuse to open for damage in a single partition's batches; otherwise that partition is frozen, others start.
    pub strict: bool,
}

impl Settings {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            align_bytes: 512,
            group_bytes_max: 4 << 20,
            queue_bytes_max: 64 << 20,
            disk_bytes_max: 8 << 30,
            keep_free_bytes: 256 << 20,
            low_watermark_bytes: 192 << 20,
            reserve_bytes: 0,
            spare_segments_max: 4,
            live_segments_max: 32,
            seal_after: Duration::from_millis(50),
            group_every: Duration::from_micros(250),
            retry_every: Duration::from_millis(500),
            strict: false,
        }
    }

    /// Bytes of batches that one group of a fresh segment can hold.
    pub fn part_bytes_max(&self) -> usize {
        let seal = self.align_bytes as usize;
        let room = (self.segment_bytes as usize).saturating_sub(SEGMENT_HEADER_BYTES + GROUP_HEADER_BYTES + seal);
        // A group ends on the alignment, so the last incomplete block is of no use.
        room.saturating_sub(self.align_bytes as usize).min(self.group_bytes_max)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Settings { what });
        if self.align_bytes != 512 && self.align_bytes != 4096 {
            return wrong(format!("align_bytes is {}, it must be 512 or 4096", self.align_bytes));
        }
        let smallest = SEGMENT_HEADER_BYTES as u64 + 4 * u64::from(self.align_bytes);
        if self.segment_bytes < smallest || self.segment_bytes > SEGMENT_BYTES_MAX {
            return wrong(format!(
                "segment_bytes is {}, it must lie between {smallest} and {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if !self.segment_bytes.is_multiple_of(4096) {
            return wrong(format!("segment_bytes is {}, it must be a multiple of 4096", self.segment_bytes));
        }
        if self.disk_bytes_max < 2 * self.segment_bytes {
            return wrong(format!(
                "disk_bytes_max is {}, it must hold at least two segments of {} bytes",
                self.disk_bytes_max, self.segment_bytes
            ));
        }
        if self.group_bytes_max < 4096 {
            return wrong(format!("group_bytes_max is {}, it must be at least 4096", self.group_bytes_max));
        }
        if self.queue_bytes_max < self.group_bytes_max {
            return wrong(format!(
                "queue_bytes_max is {}, it must be at least group_bytes_max, {}",
                self.queue_bytes_max, self.group_bytes_max
            ));
        }
        if self.live_segments_max == 0 {
            return wrong("live_segments_max is 0, it must be at least 1".to_owned());
        }
        Ok(())
    }
}
