//! A segment file: sections one after another, each hashed as a whole, each holding row records.
//!
//! ```text
//! section  magic u32 · segment u32 · generation u64 · body length u32 · records u32 · hash u64 │ body
//! record   crc u32 · length u24 + reach u8 · key u64 │ row        length 0xffffff = deleted, no row
//! ```
//! The section's hash covers its header fields and body, so that a section moved to another file does not verify.
//! A record's CRC serves single reads; whole scans trust the section's hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::index::Place;
use crate::Error;
use crate::durable::failed;
use crate::fields::Fields;
use crate::file::{File, FileExt};

pub(super) const SECTION_HEADER_LEN: usize = 32;
pub(super) const RECORD_HEADER_LEN: usize = 16;
/// A record of this length says that its key is gone.
pub(super) const DELETED: u32 = 0x00ff_ffff;
const MAGIC: u32 = 0x3153_5452; // "RTS1"

/// One file of rows, as of the newest checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Bytes that count; the file may be longer while a checkpoint is being written.
    pub(super) len: u64,
    /// Bytes of live records with their headers.
    pub(super) live_bytes: u64,
    /// Delete records in it, needed or not.
    pub(super) deletes: u64,
    /// Chained over the hashes of its sections.
    pub(super) chain: u64,
}

pub(super) fn file_name(id: u32) -> String {
    format!("rows-{id:08x}.seg")
}

pub(super) fn id_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_prefix("rows-")?.strip_suffix(".seg")?, 16).ok()
}

/// Bytes that a live row takes in its segment.
pub(super) fn footprint(len: u32) -> u64 {
    RECORD_HEADER_LEN as u64 + u64::from(len)
}

#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) key: u64,
    pub(super) reach: u8,
    pub(super) kind: Kind<'a>,
}

#[derive(Debug)]
pub(super) enum Kind<'a> {
    Put(&'a [u8]),
    Delete,
}

/// Appends a record with an empty CRC and reach; [`finish_record`] fills them in on the background thread.
pub(super) fn push_record(section: &mut Vec<u8>, key: u64, row: Option<&[u8]>) {
    let len = row.map_or(DELETED, |row| row.len() as u32);
    section.extend_from_slice(&[0; 4]);
    section.extend_from_slice(&len.to_le_bytes());
    section.extend_from_slice(&key.to_le_bytes());
    section.extend_from_slice(row.unwrap_or_default());
}

/// Reads the header at `offset` of a section buffer: key, row length (none for a delete) and reach.
pub(super) fn record_at(section: &[u8], offset: usize) -> Option<(u64, Option<u32>, u8)> {
    let mut fields = Fields::new(section.get(offset + 4..offset + RECORD_HEADER_LEN)?);
    let len_reach = fields.u32()?;
    let key = fields.u64()?;
    let len = len_reach & 0x00ff_ffff;
    Some((key, (len != DELETED).then_some(len), (len_reach >> 24) as u8))
}

/// Sets the reach of the record at `offset` and then its CRC.
pub(super) fn finish_record(section: &mut [u8], offset: usize, len: Option<u32>, reach: u8) {
    section[offset + 7] = reach;
    let end = offset + RECORD_HEADER_LEN + len.unwrap_or(0) as usize;
    let crc = crc32fast::hash(&section[offset + 4..end]);
    section[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Fills in the section header in the first 32 bytes of `section`; returns its hash.
pub(super) fn finish_section(section: &mut [u8], segment: u32, generation: u64, records: u32) -> u64 {
    let body = (section.len() - SECTION_HEADER_LEN) as u32;
    section[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    section[4..8].copy_from_slice(&segment.to_le_bytes());
    section[8..16].copy_from_slice(&generation.to_le_bytes());
    section[16..20].copy_from_slice(&body.to_le_bytes());
    section[20..24].copy_from_slice(&records.to_le_bytes());
    let hash = section_hash(section);
    section[24..32].copy_from_slice(&hash.to_le_bytes());
    hash
}

/// Chains a section's hash onto its segment's.
pub(super) fn chained(chain: u64, section_hash: u64) -> u64 {
    xxh3_64_with_seed(&section_hash.to_le_bytes(), chain)
}

fn section_hash(section: &[u8]) -> u64 {
    let seed = xxh3_64_with_seed(&section[..24], 0);
    xxh3_64_with_seed(&section[SECTION_HEADER_LEN..], seed)
}

/// What a whole scan of a segment ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scanned {
    pub(super) chain: u64,
    pub(super) records: u64,
}

/// Reads a segment's first `len` bytes section by section, verifies each and hands over its records with their
/// offsets in the file. Stops with the place of the first damage.
pub(super) fn scan(
    file: &File,
    path: &Path,
    id: u32,
    len: u64,
    mut visit: impl FnMut(u32, &Record<'_>),
) -> Result<Scanned, Error> {
    let mut scanned = Scanned { chain: 0, records: 0 };
    let mut section = Vec::new();
    let mut at = 0u64;
    while at < len {
        let hash = read_section(file, path, id, at, len, &mut section)?;
        scanned.chain = chained(scanned.chain, hash);
        let mut inside = SECTION_HEADER_LEN;
        while inside < section.len() {
            let Some((key, row_len, reach)) = record_at(&section, inside) else {
                return Err(Error::damaged(path, at + inside as u64, "a record is cut by the end of its section"));
            };
            let row_at = inside + RECORD_HEADER_LEN;
            let end = row_at + row_len.unwrap_or(0) as usize;
            let Some(row) = section.get(row_at..end) else {
                return Err(Error::damaged(path, at + inside as u64, "a row is cut by the end of its section"));
            };
            let kind = if row_len.is_some() { Kind::Put(row) } else { Kind::Delete };
            visit((at + inside as u64) as u32, &Record { key, reach, kind });
            scanned.records += 1;
            inside = end;
        }
        at += section.len() as u64;
    }
    Ok(scanned)
}

/// Reads and verifies the section that begins at `at`; returns its hash. `end` is where the valid bytes end.
pub(super) fn read_section(
    file: &File,
    path: &Path,
    id: u32,
    at: u64,
    end: u64,
    section: &mut Vec<u8>,
) -> Result<u64, Error> {
    let mut header = [0; SECTION_HEADER_LEN];
    if end - at < SECTION_HEADER_LEN as u64 {
        return Err(Error::damaged(path, at, "no room for a section header before the valid end"));
    }
    file.read_exact_at(&mut header, at).map_err(failed("read", path))?;
    let mut fields = Fields::new(&header);
    let magic = fields.u32().unwrap_or(0);
    let segment = fields.u32().unwrap_or(0);
    let _generation = fields.u64();
    let body = fields.u32().unwrap_or(0);
    let _records = fields.u32();
    let hash = fields.u64().unwrap_or(0);
    if magic != MAGIC || segment != id {
        return Err(Error::damaged(path, at, "no section of this segment begins here"));
    }
    if u64::from(body) > end - at - SECTION_HEADER_LEN as u64 {
        return Err(Error::damaged(path, at, "a section reaches past the valid end"));
    }
    section.resize(SECTION_HEADER_LEN + body as usize, 0);
    file.read_exact_at(section, at).map_err(failed("read", path))?;
    if section_hash(section) != hash {
        return Err(Error::damaged(path, at, format!("a section of {} bytes does not match its hash", section.len())));
    }
    Ok(hash)
}

/// Reads one row by its place into `row` and checks key and CRC.
pub(super) fn read_row(file: &File, path: &Path, key: u64, place: Place, row: &mut Vec<u8>) -> Result<(), Error> {
    row.resize(RECORD_HEADER_LEN + place.len as usize, 0);
    file.read_exact_at(row, u64::from(place.offset)).map_err(failed("read a row of", path))?;
    let stored = u32::from_le_bytes([row[0], row[1], row[2], row[3]]);
    let found = record_at(row, 0);
    if crc32fast::hash(&row[4..]) != stored || found.map(|(key, len, _)| (key, len)) != Some((key, Some(place.len))) {
        return Err(Error::damaged(path, u64::from(place.offset), format!("row {key} does not match its checksum")));
    }
    row.drain(..RECORD_HEADER_LEN);
    Ok(())
}
