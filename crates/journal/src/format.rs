//! The bytes: segment header, group header, batch header, version 1. All integers are little endian.
//!
//! ```text
//! segment  ┌ header, 4096 bytes ┬ group ┬ group ┬ seal ┬ zeros, or groups of the segment's former life ┐
//! group    ┌ header, 64 bytes ┬ batch ┬ batch ┬ zeros up to the segment's alignment ┐
//! batch    ┌ header, 72 bytes ┬ entries ┬ zeros up to 8 ┐
//! ```
//! Three checks, each for its own question. The *header CRC* of a group or batch: may its length and its partition
//! be believed? The *group CRC*: is this what one write meant to put down, in this segment and not in its former
//! life? The *batch hash*: is this partition's share whole, and does it follow the one before it? CRCs of groups
//! begin with the segment's salt, so that no payload can be mistaken for a group.
//!
//! Golden bytes in `tests/golden/` must decode for ever. Left out: who writes, who reads, where files are.

use xxhash_rust::xxh3::xxh3_128;

use crate::batch::BatchHash;

/// The version written into every segment header.
pub const FORMAT: u32 = 1;
/// Bytes of a segment's header; groups start behind it.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;
/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 72;
/// `SegmentHeader::supersedes_from` of a segment that replaces nothing.
pub const SUPERSEDES_NOTHING: u64 = u64::MAX;

const SEGMENT_MAGIC: [u8; 8] = *b"TIDEJRNL";
const GROUP_MAGIC: [u8; 4] = *b"TGRP";
const BATCH_MAGIC: [u8; 4] = *b"TBAT";

const KIND_BATCHES: u8 = 1;
const KIND_SEAL: u8 = 2;

/// `bytes` rounded up to a multiple of `align`, a power of two.
pub fn aligned(bytes: usize, align: usize) -> usize {
    (bytes + align - 1) & !(align - 1)
}

// === segment ===

/// The first 4096 bytes of a segment (and of a side file).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Grows by one with every segment; never used twice in one journal.
    pub segment: u64,
    /// Bytes of the whole file when it was prepared; 0 for a side file, which grows.
    pub bytes: u64,
    /// Groups start at multiples of this, 512 or 4096 bytes.
    pub align: u32,
    /// Random; every group CRC in this segment starts with it.
    pub salt: u64,
    /// Groups with this number or a higher one in *earlier* segments are void: recovery has copied or cut them.
    pub supersedes_from: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SEGMENT_HEADER_BYTES];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&self.align.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..48].copy_from_slice(&self.supersedes_from.to_le_bytes());
        let crc = crc32fast::hash(&out[..SEGMENT_HEADER_BYTES - 4]);
        out[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header, or what is wrong with it in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err(format!("the file has {} bytes, a segment header has {SEGMENT_HEADER_BYTES}", bytes.len()));
        };
        if bytes[0..8] != SEGMENT_MAGIC {
            return Err("it does not start with TIDEJRNL".to_owned());
        }
        if u32_at(bytes, SEGMENT_HEADER_BYTES - 4) != crc32fast::hash(&bytes[..SEGMENT_HEADER_BYTES - 4]) {
            return Err("the CRC of the segment header does not match".to_owned());
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(format!("format {format} is not known to this version, which reads format {FORMAT}"));
        }
        let align = u32_at(bytes, 12);
        if align != 512 && align != 4096 {
            return Err(format!("an alignment of {align} bytes is not known"));
        }
        Ok(Self {
            segment: u64_at(bytes, 16),
            bytes: u64_at(bytes, 24),
            align,
            salt: u64_at(bytes, 32),
            supersedes_from: u64_at(bytes, 40),
        })
    }
}

// === group ===

/// What a group carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupKind {
    Batches,
    /// Nothing but the proof that everything before it is on disk.
    Seal,
}

/// The first 64 bytes of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    pub kind: GroupKind,
    pub segment: u64,
    /// Grows by one with every group; the first is 1.
    pub group: u64,
    /// The highest group known to be on disk when this one was written.
    pub durable_through: u64,
    /// Bytes of batches behind the header, without the zeros of the alignment.
    pub length: u32,
    pub batches: u32,
    crc: u32,
}

impl GroupHeader {
    /// The header at the start of `bytes`, if it is one of segment `segment` with salt `salt`.
    pub fn decode(bytes: &[u8], segment: u64, salt: u64) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        if bytes[0..4] != GROUP_MAGIC || u64_at(bytes, 8) != segment {
            return None;
        }
        if u32_at(bytes, 60) != salted(salt, &bytes[..60]) {
            return None;
        }
        let kind = match bytes[4] {
            KIND_BATCHES => GroupKind::Batches,
            KIND_SEAL => GroupKind::Seal,
            _ => return None,
        };
        Some(Self {
            kind,
            segment,
            group: u64_at(bytes, 16),
            durable_through: u64_at(bytes, 24),
            length: u32_at(bytes, 32),
            batches: u32_at(bytes, 36),
            crc: u32_at(bytes, 40),
        })
    }

    /// Bytes from the start of this group to the start of the next one.
    pub fn span(&self, align: u32) -> usize {
        aligned(GROUP_HEADER_BYTES + self.length as usize, align as usize)
    }

    /// Whether `frame` (header, batches and alignment) is what was written.
    pub fn crc_holds(&self, frame: &[u8], salt: u64) -> bool {
        group_crc(salt, frame) == self.crc
    }
}

/// Whether a group of this segment was begun here, though its header cannot be read. Whatever else lies here is zeros or
/// the segment's former life.
pub(crate) fn is_begun(bytes: &[u8], segment: u64) -> bool {
    bytes.len() >= 16 && bytes[0..4] == GROUP_MAGIC && u64_at(bytes, 8) == segment
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

fn group_crc(salt: u64, frame: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&frame[..40]);
    crc.update(&frame[GROUP_HEADER_BYTES..]);
    crc.finalize()
}

/// Builds one group at a time in a buffer that is kept.
#[derive(Debug)]
pub struct GroupFrame {
    buffer: Vec<u8>,
    batches: u32,
}

impl Default for GroupFrame {
    fn default() -> Self {
        Self { buffer: vec![0; GROUP_HEADER_BYTES], batches: 0 }
    }
}

impl GroupFrame {
    /// Forgets the last group, keeps its memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.resize(GROUP_HEADER_BYTES, 0);
        self.batches = 0;
    }

    pub fn push(&mut self, batch: &[u8]) {
        debug_assert_eq!(batch.len() % 8, 0, "a batch is padded to 8 bytes");
        self.buffer.extend_from_slice(batch);
        self.batches += 1;
    }

    /// As `push` for `batches` batches that lie one behind the other.
    pub fn push_all(&mut self, bytes: &[u8], batches: u32) {
        self.buffer.extend_from_slice(bytes);
        self.batches += batches;
    }

    pub fn batches(&self) -> u32 {
        self.batches
    }

    /// Bytes that the group would have now, alignment included.
    pub fn span(&self, align: u32) -> usize {
        aligned(self.buffer.len(), align as usize)
    }

    /// Header, CRCs and alignment; the group as it goes to disk. A group without batches is a seal.
    pub fn finish(&mut self, segment: &SegmentHeader, group: u64, durable_through: u64) -> &[u8] {
        let length = (self.buffer.len() - GROUP_HEADER_BYTES) as u32;
        let kind = if self.batches == 0 { KIND_SEAL } else { KIND_BATCHES };
        let span = self.span(segment.align);
        self.buffer.resize(span, 0);
        let out = &mut self.buffer;
        out[0..4].copy_from_slice(&GROUP_MAGIC);
        out[4] = kind;
        out[8..16].copy_from_slice(&segment.segment.to_le_bytes());
        out[16..24].copy_from_slice(&group.to_le_bytes());
        out[24..32].copy_from_slice(&durable_through.to_le_bytes());
        out[32..36].copy_from_slice(&length.to_le_bytes());
        out[36..40].copy_from_slice(&self.batches.to_le_bytes());
        let crc = group_crc(segment.salt, out);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        let header_crc = salted(segment.salt, &out[..60]);
        out[60..64].copy_from_slice(&header_crc.to_le_bytes());
        out
    }
}

// === batch ===

/// The first 72 bytes of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// xxh3-128 of everything behind this field: header and entries.
    pub hash: BatchHash,
    pub partition: u16,
    pub epoch: u32,
    /// Entries; 0 for a batch that only proves that its owner may still append.
    pub count: u32,
    pub first_seq: u64,
    /// Highest seq that the writer of this batch knew as committed everywhere it has to be.
    pub committed_through: u64,
    /// Hash of the partition's batch before this one; zeros before the first.
    pub prev_hash: BatchHash,
    /// Bytes of entries.
    pub length: u32,
}

impl BatchHeader {
    /// Seq of the last entry; `first_seq - 1` for an empty batch.
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    /// Bytes from the start of this batch to the start of the next one.
    pub fn span(&self) -> usize {
        aligned(BATCH_HEADER_BYTES + self.length as usize, 8)
    }

    /// The header at the start of `bytes`, if its own CRC holds and its seqs have room; says nothing about the entries.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if bytes[16..20] != BATCH_MAGIC || u32_at(bytes, 68) != crc32fast::hash(&bytes[16..68]) {
            return None;
        }
        // Whoever reads on asks for the seq behind the last one: a batch that leaves none was written by nobody.
        u64_at(bytes, 32).checked_add(u64::from(u32_at(bytes, 28)))?;
        Some(Self {
            hash: hash_at(bytes, 0),
            partition: u16::from_le_bytes([bytes[20], bytes[21]]),
            epoch: u32_at(bytes, 24),
            count: u32_at(bytes, 28),
            first_seq: u64_at(bytes, 32),
            committed_through: u64_at(bytes, 40),
            prev_hash: hash_at(bytes, 48),
            length: u32_at(bytes, 64),
        })
    }

    /// Whether `bytes`, which start with this header, hash to what the header says.
    pub fn hash_holds(&self, bytes: &[u8]) -> bool {
        let end = BATCH_HEADER_BYTES + self.length as usize;
        bytes.get(16..end).is_some_and(|covered| batch_hash(covered) == self.hash)
    }
}

/// Appends nothing: makes `out` exactly one batch, header, entries and padding. Returns its hash.
pub(crate) fn encode_batch(header: &BatchHeader, entries: &[u8], out: &mut Vec<u8>) -> BatchHash {
    out.clear();
    out.reserve(header.span());
    out.resize(BATCH_HEADER_BYTES, 0);
    out[16..20].copy_from_slice(&BATCH_MAGIC);
    out[20..22].copy_from_slice(&header.partition.to_le_bytes());
    out[24..28].copy_from_slice(&header.epoch.to_le_bytes());
    out[28..32].copy_from_slice(&header.count.to_le_bytes());
    out[32..40].copy_from_slice(&header.first_seq.to_le_bytes());
    out[40..48].copy_from_slice(&header.committed_through.to_le_bytes());
    out[48..64].copy_from_slice(&header.prev_hash.0);
    out[64..68].copy_from_slice(&header.length.to_le_bytes());
    let crc = crc32fast::hash(&out[16..68]);
    out[68..72].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(entries);
    let hash = batch_hash(&out[16..]);
    out[0..16].copy_from_slice(&hash.0);
    out.resize(header.span(), 0);
    hash
}

fn batch_hash(covered: &[u8]) -> BatchHash {
    BatchHash(xxh3_128(covered).to_le_bytes())
}

// === fields ===

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

fn hash_at(bytes: &[u8], at: usize) -> BatchHash {
    let mut field = [0; 16];
    field.copy_from_slice(&bytes[at..at + 16]);
    BatchHash(field)
}
