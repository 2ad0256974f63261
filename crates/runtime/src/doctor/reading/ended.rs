//! The records of history, segment by segment. `store::history` draws the format.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Fields, Unreadable, names_in};

const MAGIC: u64 = 0x3153_4948_4754_0a0d;
const VERSION: u32 = 1;
const HEADER: usize = 32;
const FRAME_MAGIC: u32 = 0x4d52_4648;
const FRAME_HEADER: usize = 32;
const RECORD_HEADER: usize = 72;
/// How much is looked at in one go for the next frame behind damage.
const WINDOW: usize = 1 << 20;

/// One record as it lies in a segment.
#[derive(Debug)]
pub(in super::super) struct Ended<'a> {
    pub(in super::super) id: u128,
    pub(in super::super) idempotency: u128,
    pub(in super::super) key: u64,
    pub(in super::super) began_at_us: u64,
    pub(in super::super) ended_at_us: u64,
    pub(in super::super) definition: u32,
    /// State, outcome, reason.
    pub(in super::super) words: [u8; 3],
    pub(in super::super) row: &'a [u8],
    /// Byte in the segment.
    pub(in super::super) offset: u64,
}

/// The segments of history, oldest first.
pub(in super::super) fn segments(dir: &Path) -> Result<Vec<(u32, PathBuf)>, Unreadable> {
    let id_of = |name: &String| {
        let digits = name.strip_prefix("history-")?.strip_suffix(".seg")?;
        u32::from_str_radix(digits, 16).ok()
    };
    Ok(names_in(dir)?.iter().filter_map(|name| Some((id_of(name)?, dir.join(name)))).collect())
}

/// Hands every record that verifies over. What does not is passed by: the inspection has told of it.
pub(in super::super) fn for_each(id: u32, path: &Path, mut visit: impl FnMut(&Ended<'_>)) -> Result<(), Unreadable> {
    let read = |file: &File, into: &mut [u8], at: u64| -> Result<(), Unreadable> {
        file.read_exact_at(into, at).map_err(|error| Unreadable::new(path, at, format!("cannot be read: {error}")))
    };
    let file = File::open(path).map_err(Unreadable::io(path))?;
    let end = file.metadata().map_err(Unreadable::io(path))?.len();
    if end < HEADER as u64 {
        return Ok(());
    }
    let mut header = [0; HEADER];
    read(&file, &mut header, 0)?;
    let mut fields = Fields(&header);
    let head = (fields.u64(), fields.u32(), fields.u32());
    if head != (Some(MAGIC), Some(VERSION), Some(id)) {
        return Err(Unreadable::new(
            path,
            0,
            format!("this is not history segment {id} of format 1, the only one known"),
        ));
    }
    let mut at = HEADER as u64;
    let mut body = Vec::new();
    while at + FRAME_HEADER as u64 <= end {
        let mut header = [0; FRAME_HEADER];
        read(&file, &mut header, at)?;
        let body_at = at + FRAME_HEADER as u64;
        let whole = match frame(&header, id) {
            Some(len) if len <= end - body_at => {
                body.resize(len as usize, 0);
                read(&file, &mut body, body_at)?;
                records(&body, body_at, &mut |_| {})
            }
            _ => None,
        };
        match whole {
            Some(()) => {
                records(&body, body_at, &mut visit);
                at = body_at + body.len() as u64;
            }
            None => match next_frame(&file, id, at + 1, end).map_err(Unreadable::io(path))? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    Ok(())
}

/// The length of the body of a frame whose header verifies.
fn frame(header: &[u8], id: u32) -> Option<u64> {
    let mut fields = Fields(header);
    let (magic, segment, body) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (_records, _durable, _reserved, crc) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
    (magic == FRAME_MAGIC && segment == id && crc == crc32fast::hash(&header[..28])).then_some(u64::from(body))
}

/// Visits the records of a frame's body; nothing if one of them does not verify before it is reached.
fn records(body: &[u8], body_at: u64, visit: &mut impl FnMut(&Ended<'_>)) -> Option<()> {
    let mut rest = body;
    while !rest.is_empty() {
        let offset = body_at + (body.len() - rest.len()) as u64;
        let mut fields = Fields(rest);
        let (crc, len) = (fields.u32()?, fields.u32()? as usize);
        let (record, after) = rest.split_at_checked(len)?;
        if len < RECORD_HEADER || crc32fast::hash(&record[4..]) != crc {
            return None;
        }
        let mut fields = Fields(&record[8..]);
        let (id, idempotency, key) = (fields.u128()?, fields.u128()?, fields.u64()?);
        let (began_at_us, ended_at_us, definition) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let [state, outcome, reason, tags] = fields.array()?;
        fields.take(4 * usize::from(tags))?;
        let words = [state, outcome, reason];
        let row = fields.0;
        visit(&Ended { id, idempotency, key, began_at_us, ended_at_us, definition, words, row, offset });
        rest = after;
    }
    Some(())
}

fn next_frame(file: &File, id: u32, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut window = Vec::new();
    let mut from = from;
    while from + FRAME_HEADER as u64 <= end {
        window.resize((end - from).min(WINDOW as u64) as usize, 0);
        file.read_exact_at(&mut window, from)?;
        if let Some(hit) = window.windows(FRAME_HEADER).position(|header| frame(header, id).is_some()) {
            return Ok(Some(from + hit as u64));
        }
        from += (window.len() - FRAME_HEADER + 1) as u64;
    }
    Ok(None)
}
