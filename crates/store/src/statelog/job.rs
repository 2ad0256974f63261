//! A checkpoint being collected: owned buffers that the engine thread fills and the background thread writes.

use super::segment::{RECORD_HEADER_LEN, SECTION_HEADER_LEN, push_record};
use super::{StateLog, Verified, execution};
use crate::Error;

/// The largest row in bytes.
pub const ROW_BYTES_MAX: usize = 0x00ff_fffe;
/// A section is closed at this size, or at a segment's if that is smaller: what is written and read back at once.
const SECTION_BYTES: usize = 1 << 20;
/// Buffers kept for the next job; beyond it memory goes back.
const SPARE_SECTIONS_MAX: usize = 32;

/// The changes since the last checkpoint. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct CheckpointJob {
    pub(super) log: StateLog,
    pub(super) seq: u64,
    pub(super) batch_hash: [u8; 16],
    pub(super) meta: Vec<u8>,
    pub(super) sections: Vec<Section>,
    rows: u64,
    bytes: u64,
}

/// Records behind room for a section header.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u32,
}

impl CheckpointJob {
    pub(super) fn new(log: StateLog, seq: u64, batch_hash: [u8; 16], meta: Vec<u8>) -> Self {
        Self { log, seq, batch_hash, meta, sections: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Sets a row. Costs a copy; no hash, no lock per row.
    pub fn put(&mut self, key: u64, row: &[u8]) -> Result<(), Error> {
        if row.len() > ROW_BYTES_MAX {
            return Err(Error::Refused(format!("row {key} has {} bytes, the most is {ROW_BYTES_MAX}", row.len())));
        }
        self.push(key, Some(row));
        Ok(())
    }

    /// Removes a row; one that is not there is fine.
    pub fn delete(&mut self, key: u64) {
        self.push(key, None);
    }

    fn push(&mut self, key: u64, row: Option<&[u8]>) {
        let needed = RECORD_HEADER_LEN + row.map_or(0, <[u8]>::len);
        if self.sections.last().is_none_or(|section| section.bytes.len() + needed > section_bytes(&self.log)) {
            self.sections.push(Section::empty(&self.log));
        }
        if let Some(section) = self.sections.last_mut() {
            push_record(&mut section.bytes, key, row);
            section.records += 1;
        }
        self.rows += 1;
        self.bytes += needed as u64;
    }

    /// Rows and deletes so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes held until the job has run.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The partition's log.
    pub fn log(&self) -> &StateLog {
        &self.log
    }

    /// Writes, verifies and publishes on the calling thread, which therefore is not the engine's. On
    /// [`Error::DiskFull`] nothing has changed and the caller's dirty rows stay dirty for the next checkpoint; any
    /// other error stops the log.
    pub fn run(self) -> Result<Verified, Error> {
        execution::run(self)
    }
}

fn section_bytes(log: &StateLog) -> usize {
    SECTION_BYTES.min(log.0.settings.segment_bytes as usize)
}

impl Section {
    pub(super) fn empty(log: &StateLog) -> Self {
        let mut bytes = log.0.spare.lock().pop().unwrap_or_else(|| Vec::with_capacity(SECTION_BYTES));
        bytes.clear();
        bytes.resize(SECTION_HEADER_LEN, 0);
        Self { bytes, records: 0 }
    }

    pub(super) fn is_full(&self, log: &StateLog) -> bool {
        self.bytes.len() >= section_bytes(log)
    }

    /// Gives the buffer back for the next job.
    pub(super) fn recycle(self, log: &StateLog) {
        let mut spare = log.0.spare.lock();
        if spare.len() < SPARE_SECTIONS_MAX && self.bytes.capacity() <= 2 * SECTION_BYTES {
            spare.push(self.bytes);
        }
    }
}
