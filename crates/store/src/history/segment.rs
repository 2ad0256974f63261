//! A history segment's file: a header, then frames as `block` draws them. Reading one record, and reading all.

use std::path::Path;

use super::block::{self, FRAME_HEADER_LEN, RECORD_HEADER_LEN, StoredRecord};
use crate::Error;
use crate::durable::{failed, len_of};
use crate::fields::{Fields, PutFields};
use crate::file::{File, FileExt};

pub(super) const HEADER_LEN: usize = 32;
const MAGIC: u64 = 0x3153_4948_4754_0a0d;
const VERSION: u32 = 1;
const FRAME_MAGIC: u32 = 0x4d52_4648; // "HFRM"

pub(super) fn file_name(id: u32) -> String {
    format!("history-{id:08x}.seg")
}

pub(super) fn id_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_prefix("history-")?.strip_suffix(".seg")?, 16).ok()
}

pub(super) fn header(id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(id);
    out.put(&[0; 12]);
    let crc = crc32fast::hash(&out);
    out.put_u32(crc);
    out
}

/// Fills in the frame header at the front of a block's bytes.
pub(super) fn finish_frame(bytes: &mut [u8], segment: u32, records: u32, durable_through: u32) {
    let body = (bytes.len() - FRAME_HEADER_LEN) as u32;
    bytes[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&segment.to_le_bytes());
    bytes[8..12].copy_from_slice(&body.to_le_bytes());
    bytes[12..16].copy_from_slice(&records.to_le_bytes());
    bytes[16..20].copy_from_slice(&durable_through.to_le_bytes());
    bytes[20..28].fill(0);
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
}

struct Frame {
    body: usize,
    records: u32,
    durable_through: u64,
}

fn frame_at(header: &[u8], segment: u32) -> Option<Frame> {
    let mut fields = Fields::new(header);
    if fields.u32()? != FRAME_MAGIC || fields.u32()? != segment {
        return None;
    }
    let body = fields.u32()? as usize;
    let records = fields.u32()?;
    let durable_through = u64::from(fields.u32()?);
    fields.take(8)?;
    (fields.u32()? == crc32fast::hash(header.get(..28)?)).then_some(Frame { body, records, durable_through })
}

/// Reads one record by its place and checks its CRC.
pub(super) fn read_record(file: &File, path: &Path, offset: u32, len: u32) -> Result<StoredRecord, Error> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, u64::from(offset)).map_err(failed("read a record of", path))?;
    block::decode(&bytes).ok_or_else(|| Error::damaged(path, u64::from(offset), "a record does not match its checksum"))
}

/// What reading a whole segment found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) records: u64,
    /// Behind the last whole frame.
    pub(super) end: u64,
    /// Bytes in the file.
    pub(super) file_len: u64,
    /// Places that are not whole although whole frames follow: begin, length, number of the records seen before.
    pub(super) gaps: Vec<Gap>,
    /// The highest offset that a frame says was durable when it was made.
    pub(super) durable_through: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) at: u64,
    pub(super) len: u64,
    /// Records before it.
    pub(super) records_before: u64,
}

/// Reads every frame, verifies every record and hands it over with its offset and length.
pub(super) fn scan(
    file: &File,
    path: &Path,
    id: u32,
    mut visit: impl FnMut(&StoredRecord, u32, u32),
) -> Result<Scanned, Error> {
    let file_len = len_of(file, path)?;
    let mut found = vec![0; HEADER_LEN];
    if file_len < HEADER_LEN as u64 {
        return Ok(Scanned { file_len, ..Scanned::default() });
    }
    file.read_exact_at(&mut found, 0).map_err(failed("read", path))?;
    if found != header(id) {
        return Err(Error::damaged(path, 0, format!("not the header of history segment {id}, format {VERSION}")));
    }
    let mut scanned = Scanned { end: HEADER_LEN as u64, file_len, ..Scanned::default() };
    let mut at = HEADER_LEN as u64;
    let mut body = Vec::new();
    while at < file_len {
        match whole_frame(file, path, id, at, file_len, &mut body)? {
            Some(frame) => {
                if scanned.end < at {
                    scanned.gaps.push(Gap { at: scanned.end, len: at - scanned.end, records_before: scanned.records });
                }
                let mut inside = 0;
                while inside < body.len() {
                    let len = record_len(&body[inside..]).unwrap_or(body.len() - inside);
                    if let Some(record) = block::decode(&body[inside..inside + len]) {
                        visit(&record, (at as usize + FRAME_HEADER_LEN + inside) as u32, len as u32);
                    }
                    inside += len;
                }
                scanned.records += u64::from(frame.records);
                scanned.durable_through = scanned.durable_through.max(frame.durable_through);
                at += (FRAME_HEADER_LEN + frame.body) as u64;
                scanned.end = at;
            }
            None => match next_frame(file, path, id, at + 1, file_len)? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    Ok(scanned)
}

fn record_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*bytes.get(4..8)?.first_chunk()?) as usize;
    (RECORD_HEADER_LEN..=bytes.len()).contains(&len).then_some(len)
}

/// The frame at `at` with its body, if header and every record are whole.
fn whole_frame(
    file: &File,
    path: &Path,
    id: u32,
    at: u64,
    file_len: u64,
    body: &mut Vec<u8>,
) -> Result<Option<Frame>, Error> {
    let mut header = [0; FRAME_HEADER_LEN];
    if file_len - at < FRAME_HEADER_LEN as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, at).map_err(failed("read", path))?;
    let Some(frame) = frame_at(&header, id) else { return Ok(None) };
    if frame.body as u64 > file_len - at - FRAME_HEADER_LEN as u64 {
        return Ok(None);
    }
    body.resize(frame.body, 0);
    file.read_exact_at(body, at + FRAME_HEADER_LEN as u64).map_err(failed("read", path))?;
    let mut inside = 0;
    let mut records = 0;
    while inside < body.len() {
        let Some(len) = record_len(&body[inside..]) else { return Ok(None) };
        let record = &body[inside..inside + len];
        if crc32fast::hash(&record[4..]).to_le_bytes() != record[..4] {
            return Ok(None);
        }
        inside += len;
        records += 1;
    }
    Ok((records == frame.records).then_some(frame))
}

/// Looks for the next frame header from `at` on; only ever needed behind damage.
fn next_frame(file: &File, path: &Path, id: u32, at: u64, file_len: u64) -> Result<Option<u64>, Error> {
    let mut window = Vec::new();
    let mut from = at;
    while from + FRAME_HEADER_LEN as u64 <= file_len {
        let len = (file_len - from).min(1 << 20) as usize;
        window.resize(len, 0);
        file.read_exact_at(&mut window, from).map_err(failed("read", path))?;
        let hit = window.windows(FRAME_HEADER_LEN).position(|header| frame_at(header, id).is_some());
        if let Some(hit) = hit {
            return Ok(Some(from + hit as u64));
        }
        from += (len - FRAME_HEADER_LEN + 1) as u64;
    }
    Ok(None)
}
