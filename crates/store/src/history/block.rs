//! A block of finished transactions on its way to the history: encoded and checksummed by the worker that owns it.
//!
//! ```text
//! frame   magic u32 · segment u32 · body length u32 · records u32 · durable through u32 · reserved [8] · crc u32 │ body
//! record  crc u32 · length u32 · id u128 · idempotency u128 · key u64 · began u64 · ended u64
//!         definition u32 · state u8 · outcome u8 · reason u8 · tags u8 │ tags u32… │ row
//! ```
//! A record's CRC covers everything of it behind the CRC, a frame's only its own header: no byte is hashed twice.

use crate::fields::Fields;

pub(super) const FRAME_HEADER_LEN: usize = 32;
pub(super) const RECORD_HEADER_LEN: usize = 72;
/// The most tags that one record carries.
pub const TAGS_MAX: usize = 255;
/// The largest row in bytes.
pub const ROW_BYTES_MAX: usize = 32 << 20;

/// A finished transaction as the worker hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Time-ordered: its top 42 bits are milliseconds.
    pub id: u128,
    /// Hash of tenant, definition and idempotency key; any good 128-bit hash.
    pub idempotency: u128,
    /// Hash of definition or key space, and key.
    pub key: u64,
    /// Microseconds since 1970.
    pub began_at_us: u64,
    pub ended_at_us: u64,
    /// Numbers of the caller's making, compared for equality only.
    pub definition: u32,
    pub state: u8,
    pub outcome: u8,
    pub reason: u8,
    /// Participants, steps and whatever else a list may ask for, each as a number that the caller makes (a 32-bit hash
    /// will do). At most [`TAGS_MAX`]; more are cut.
    pub tags: &'a [u32],
    pub row: &'a [u8],
}

/// A record as read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    pub id: u128,
    pub idempotency: u128,
    pub key: u64,
    pub began_at_us: u64,
    pub ended_at_us: u64,
    pub definition: u32,
    pub state: u8,
    pub outcome: u8,
    pub reason: u8,
    pub tags: Vec<u32>,
    pub row: Vec<u8>,
}

/// What is kept in memory about a record of a segment without a side file: 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: u128,
    /// Mixed idempotency hash.
    pub(super) idempotency: u64,
    pub(super) key: u64,
    pub(super) tag_bits: u64,
    pub(super) ended_at_us: u64,
    pub(super) definition: u32,
    /// In the block while it is filled, in the segment afterwards.
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) state: u8,
    pub(super) outcome: u8,
    pub(super) reason: u8,
}

/// Records for one [`History::append`](super::History::append). Buffers are used again.
#[derive(Debug)]
pub struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

impl Default for Block {
    fn default() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_LEN], entries: Vec::new() }
    }
}

impl Block {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that it takes in a segment.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record; false when its row is larger than [`ROW_BYTES_MAX`], and then nothing is added.
    #[must_use]
    pub fn push(&mut self, record: &Record<'_>) -> bool {
        if record.row.len() > ROW_BYTES_MAX || self.bytes.len() > 1 << 30 {
            return false;
        }
        let tags = &record.tags[..record.tags.len().min(TAGS_MAX)];
        let at = self.bytes.len();
        let len = RECORD_HEADER_LEN + 4 * tags.len() + record.row.len();
        let mut header = [0; RECORD_HEADER_LEN];
        header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        header[8..24].copy_from_slice(&record.id.to_le_bytes());
        header[24..40].copy_from_slice(&record.idempotency.to_le_bytes());
        header[40..48].copy_from_slice(&record.key.to_le_bytes());
        header[48..56].copy_from_slice(&record.began_at_us.to_le_bytes());
        header[56..64].copy_from_slice(&record.ended_at_us.to_le_bytes());
        header[64..68].copy_from_slice(&record.definition.to_le_bytes());
        header[68..72].copy_from_slice(&[record.state, record.outcome, record.reason, tags.len() as u8]);
        self.bytes.reserve(len);
        self.bytes.extend_from_slice(&header);
        let mut bits = 0;
        for tag in tags {
            self.bytes.extend_from_slice(&tag.to_le_bytes());
            bits |= tag_bit(*tag);
        }
        self.bytes.extend_from_slice(record.row);
        let crc = crc32fast::hash(&self.bytes[at + 4..]);
        self.bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        self.entries.push(Entry {
            id: record.id,
            idempotency: mix(record.idempotency),
            key: record.key,
            tag_bits: bits,
            ended_at_us: record.ended_at_us,
            definition: record.definition,
            offset: at as u32,
            len: len as u32,
            state: record.state,
            outcome: record.outcome,
            reason: record.reason,
        });
        true
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER_LEN);
        self.entries.clear();
    }
}

/// One bit of 64 that a tag sets in a summary, so that most records need not be read to know a tag is absent.
pub(super) fn tag_bit(tag: u32) -> u64 {
    1 << (tag.wrapping_mul(0x9e37_79b1) >> 26)
}

/// Spreads a hash, or what a careless caller takes for one, over 64 bits.
pub(super) fn mix(value: u128) -> u64 {
    let folded = (value as u64) ^ ((value >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let product = u128::from(folded ^ 0xa076_1d64_78bd_642f) * u128::from(0xe703_7ed1_a0b4_28db_u64);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Decodes one whole record and checks its CRC.
pub(super) fn decode(bytes: &[u8]) -> Option<StoredRecord> {
    let mut fields = Fields::new(bytes);
    let crc = fields.u32()?;
    if crc32fast::hash(bytes.get(4..)?) != crc || fields.u32()? as usize != bytes.len() {
        return None;
    }
    let id = fields.u128()?;
    let idempotency = fields.u128()?;
    let key = fields.u64()?;
    let began_at_us = fields.u64()?;
    let ended_at_us = fields.u64()?;
    let definition = fields.u32()?;
    let [state, outcome, reason, tag_count] = fields.array()?;
    let mut tags = Vec::with_capacity(usize::from(tag_count));
    for _ in 0..tag_count {
        tags.push(fields.u32()?);
    }
    let row = fields.take(bytes.len() - RECORD_HEADER_LEN - 4 * tags.len())?.to_vec();
    Some(StoredRecord { id, idempotency, key, began_at_us, ended_at_us, definition, state, outcome, reason, tags, row })
}

/// The memory entry of a record read from a segment at `offset`.
pub(super) fn entry_of(record: &StoredRecord, offset: u32, len: u32) -> Entry {
    Entry {
        id: record.id,
        idempotency: mix(record.idempotency),
        key: record.key,
        tag_bits: record.tags.iter().fold(0, |bits, tag| bits | tag_bit(*tag)),
        ended_at_us: record.ended_at_us,
        definition: record.definition,
        offset,
        len,
        state: record.state,
        outcome: record.outcome,
        reason: record.reason,
    }
}
