//! The catalog's file: appending a change, reading it back, rewriting it when most of it is dead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{CHANGE_BYTES_MAX, Object, ObjectKey, Op};
use crate::durable::{create_dir, failed, len_of, names_in, publish, remove, reserve};
use crate::fields::{Fields, PutFields};
use crate::file::{self, File, FileExt};
use crate::{Error, Inspection, Severity};

const FILE: &str = "catalog.log";
const MAGIC: u64 = 0x3147_4f4c_5441_4754; // "TGATLOG1"
const VERSION: u32 = 1;
const HEADER_LEN: u64 = 16;
const CHANGE_HEADER_LEN: usize = 16;
/// A rewrite leaves gaps in the numbers; a larger one is not ours.
const NUMBERS_SKIPPED_MAX: u64 = 1 << 32;
/// By how much the number of a seal is ahead of the last change's.
const SEAL_AHEAD: u64 = 1 << 20;
/// Below this size dead bytes are not worth a rewrite.
const REWRITE_BYTES_MIN: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    end: u64,
    last_change: u64,
    stopped: Option<String>,
}

impl Log {
    pub(super) fn open(
        dir: &Path,
        warnings: &mut Vec<String>,
        mut visit: impl FnMut(u64, Vec<Op>),
    ) -> Result<Self, Error> {
        create_dir(dir)?;
        let path = dir.join(FILE);
        for name in names_in(dir)? {
            if name.ends_with(".tmp") {
                remove(&dir.join(name))?;
            }
        }
        if !path.exists() {
            publish(dir, FILE, &header())?;
        }
        let bytes = file::read(&path).map_err(failed("read", &path))?;
        let read = read_changes(&path, &bytes, &mut visit)?;
        let file = File::options().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        if read.end.max(read.sealed_through) < bytes.len() as u64 {
            warnings.push(format!(
                "the last change of {} was cut off while being written; {} bytes removed",
                path.display(),
                bytes.len() as u64 - read.end
            ));
            file.set_len(read.end).map_err(failed("cut", &path))?;
        }
        // What was read may so far be only in the page cache.
        file.sync_all().map_err(failed("sync", &path))?;
        Ok(Self { dir: dir.to_path_buf(), path, file, end: read.end, last_change: read.last_change, stopped: None })
    }

    pub(super) fn last_change(&self) -> u64 {
        self.last_change
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::damaged(&self.path, 0, format!("{what} cannot be decoded"))
    }

    pub(super) fn append(&mut self, ops: &[Op]) -> Result<u64, Error> {
        if let Some(reason) = &self.stopped {
            return Err(Error::Stopped { room: "the catalog", reason: reason.clone() });
        }
        let number = self.last_change + 1;
        let bytes = encode_change(number, ops)?;
        reserve(&self.file, &self.path, self.end, bytes.len() as u64)?;
        let written = self
            .file
            .write_all_at(&bytes, self.end)
            .map_err(failed("write", &self.path))
            .and_then(|()| self.file.sync_data().map_err(failed("sync", &self.path)));
        if let Err(error) = written {
            self.stopped = Some(error.to_string());
            return Err(error);
        }
        self.end += bytes.len() as u64;
        self.last_change = number;
        self.seal();
        Ok(number)
    }

    /// Behind the last change, an empty one that the next change overwrites: a whole change behind it is what tells
    /// damage of an old one from a write that was cut short. It is not waited for, and nothing is lost without it.
    fn seal(&self) {
        let sealed = encode_change(self.last_change + SEAL_AHEAD, &[])
            .and_then(|bytes| self.file.write_all_at(&bytes, self.end).map_err(failed("seal", &self.path)));
        if let Err(error) = sealed {
            tracing::warn!(%error, "the end of the catalog is not sealed");
        }
    }

    /// Writes the live objects to a new file, grouped by the change that wrote them, and swaps it in.
    pub(super) fn rewrite_if_mostly_dead(&mut self, objects: &BTreeMap<ObjectKey, Object>) -> Result<(), Error> {
        let live: u64 =
            objects.values().map(|o| (o.bytes.len() + o.key.kind.len() + o.key.name.len() + 32) as u64).sum();
        if self.end < REWRITE_BYTES_MIN || self.end < 4 * live {
            return Ok(());
        }
        let mut by_change: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        for object in objects.values() {
            let op = Op::Put { key: object.key.clone(), bytes: object.bytes.to_vec() };
            by_change.entry(object.change).or_default().push(op);
        }
        // The last number is kept even when nothing of that change is alive, so that numbers never repeat.
        by_change.entry(self.last_change).or_default();
        let mut bytes = header();
        for (number, ops) in &by_change {
            bytes.extend(encode_change(*number, ops)?);
        }
        match publish(&self.dir, FILE, &bytes) {
            Ok(()) => {}
            // The old file is whole; there is only more of it than needed.
            Err(error) if error.is_disk_full() => return Ok(()),
            Err(error) => {
                self.stopped = Some(error.to_string());
                return Err(error);
            }
        }
        self.file = File::options().read(true).write(true).open(&self.path).map_err(failed("open", &self.path))?;
        self.end = bytes.len() as u64;
        self.seal();
        Ok(())
    }
}

fn header() -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    let crc = crc32fast::hash(&out);
    out.put_u32(crc);
    out
}

fn encode_change(number: u64, ops: &[Op]) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    body.put_u64(number);
    body.put_u32(ops.len() as u32);
    for op in ops {
        let (tag, key, bytes) = match op {
            Op::Put { key, bytes } => (1, key, bytes.as_slice()),
            Op::Delete { key } => (2, key, [].as_slice()),
        };
        if key.kind.len() > usize::from(u16::MAX) || key.name.len() > usize::from(u16::MAX) {
            return Err(Error::Refused("an object's kind or name is longer than 65,535 bytes".into()));
        }
        body.put_u8(tag);
        body.put_u16(key.kind.len() as u16);
        body.put(key.kind.as_bytes());
        body.put_u16(key.name.len() as u16);
        body.put(key.name.as_bytes());
        body.put_u64(key.version);
        body.put_u32(bytes.len() as u32);
        body.put(bytes);
        if body.len() > CHANGE_BYTES_MAX {
            return Err(Error::Refused(format!("a change of the catalog is larger than {CHANGE_BYTES_MAX} bytes")));
        }
    }
    let mut out = Vec::with_capacity(8 + body.len());
    out.put_u32(body.len() as u32);
    out.put_u32(crc32fast::hash(&body));
    out.put(&body);
    Ok(out)
}

fn decode_ops(fields: &mut Fields<'_>) -> Option<Vec<Op>> {
    let count = fields.u32()?;
    let mut ops = Vec::new();
    for _ in 0..count {
        let tag = fields.u8()?;
        let kind_len = fields.u16()?;
        let kind = std::str::from_utf8(fields.take(usize::from(kind_len))?).ok()?.to_owned();
        let name_len = fields.u16()?;
        let name = std::str::from_utf8(fields.take(usize::from(name_len))?).ok()?.to_owned();
        let key = ObjectKey { kind, name, version: fields.u64()? };
        let len = fields.u32()?;
        let bytes = fields.take(len as usize)?.to_vec();
        ops.push(match tag {
            1 => Op::Put { key, bytes },
            2 => Op::Delete { key },
            _ => return None,
        });
    }
    fields.is_empty().then_some(ops)
}

struct Read {
    /// Behind the seal; 0 if there is none.
    sealed_through: u64,
    end: u64,
    last_change: u64,
}

fn read_changes(path: &Path, bytes: &[u8], visit: &mut impl FnMut(u64, Vec<Op>)) -> Result<Read, Error> {
    if bytes.get(..HEADER_LEN as usize) != Some(header().as_slice()) {
        return Err(Error::damaged(path, 0, format!("not a catalog of format {VERSION}")));
    }
    let mut read = Read { end: HEADER_LEN, last_change: 0, sealed_through: 0 };
    while let Some(rest) = bytes.get(read.end as usize..).filter(|rest| !rest.is_empty()) {
        match change_at(rest, read.last_change) {
            // A seal: only the next change may stand in its place.
            Some((number, ops, len)) if ops.is_empty() && number - read.last_change == SEAL_AHEAD => {
                read.sealed_through = read.end + len as u64;
                break;
            }
            Some((number, ops, len)) => {
                visit(number, ops);
                read.last_change = number;
                read.end += len as u64;
            }
            None => {
                // Torn only if nothing whole follows: each change is synced before the next is written.
                let later = (1..rest.len()).find(|at| change_at(&rest[*at..], read.last_change).is_some());
                if let Some(later) = later {
                    return Err(Error::damaged(
                        path,
                        read.end,
                        format!("change {} is damaged; a whole one follows {later} bytes later", read.last_change + 1),
                    ));
                }
                break;
            }
        }
    }
    Ok(read)
}

/// The change at the front of `bytes`, if it is whole and its number is above `after`.
fn change_at(bytes: &[u8], after: u64) -> Option<(u64, Vec<Op>, usize)> {
    let mut fields = Fields::new(bytes);
    let len = fields.u32()? as usize;
    let crc = fields.u32()?;
    if !(CHANGE_HEADER_LEN - 4..=CHANGE_BYTES_MAX + 64).contains(&len) {
        return None;
    }
    let body = fields.take(len)?;
    let mut fields = Fields::new(body);
    let number = fields.u64()?;
    // Cheap checks first: this runs at every byte of a tail that may be torn.
    if number <= after || number - after > NUMBERS_SKIPPED_MAX || crc32fast::hash(body) != crc {
        return None;
    }
    Some((number, decode_ops(&mut fields)?, 8 + len))
}

/// Verifies the catalog in `dir` without changing it.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    let path = dir.join(FILE);
    let mut report = Inspection::default();
    let file = File::open(&path).map_err(failed("open", &path))?;
    report.files = 1;
    report.bytes = len_of(&file, &path)?;
    let bytes = file::read(&path).map_err(failed("read", &path))?;
    let mut objects = BTreeMap::new();
    match read_changes(&path, &bytes, &mut |change, ops| super::apply(&mut objects, change, ops)) {
        Ok(read) if read.end.max(read.sealed_through) < report.bytes => {
            report.note(Severity::Leftover, &path, read.end, "the last change was cut off while being written");
        }
        Ok(_) => {}
        Err(Error::Damaged { path, offset, what }) => report.note(Severity::Loss, &path, offset, what),
        Err(other) => return Err(other),
    }
    report.items = objects.len() as u64;
    for name in names_in(dir)? {
        if name.ends_with(".tmp") {
            report.note(Severity::Leftover, &dir.join(name), 0, "left over from an interrupted rewrite");
        }
    }
    Ok(report)
}
