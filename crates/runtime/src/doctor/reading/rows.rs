//! The two checkpoints of a partition, each with exactly its rows. `store::statelog` draws the formats.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::{Fields, Unreadable, names_in};

const MANIFEST_MAGIC: u64 = 0x3150_4b43_4754_5354;
const SECTION_MAGIC: u32 = 0x3153_5452;
const VERSION: u32 = 1;
const SECTION_HEADER: usize = 32;
const RECORD_HEADER: usize = 16;
/// A record of this length says that its key is gone.
const DELETED: u32 = 0x00ff_ffff;

/// One checkpoint's manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Checkpoint {
    pub(in super::super) path: PathBuf,
    pub(in super::super) seq: u64,
    pub(in super::super) batch_hash: [u8; 16],
    pub(in super::super) meta: Vec<u8>,
    segments: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    id: u32,
    len: u64,
    chain: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    segment: u32,
    offset: u64,
    len: u32,
}

/// The rows of one checkpoint, found by key.
#[derive(Debug, Default)]
pub(in super::super) struct Rows {
    files: HashMap<u32, (PathBuf, File)>,
    index: HashMap<u64, Place>,
}

/// Every checkpoint in the folder of a partition, the older first.
pub(in super::super) fn checkpoints(dir: &Path) -> Result<Vec<Result<Checkpoint, Unreadable>>, Unreadable> {
    let names = names_in(dir)?;
    let manifests = names.iter().filter(|name| {
        let digits = name.strip_prefix("checkpoint-").unwrap_or_default();
        digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    Ok(manifests.map(|name| Checkpoint::read(&dir.join(name))).collect())
}

impl Checkpoint {
    fn read(path: &Path) -> Result<Self, Unreadable> {
        let bytes = fs::read(path).map_err(Unreadable::io(path))?;
        let wrong = |offset, what: &str| Unreadable::new(path, offset, what);
        let (body, hash) = bytes.split_last_chunk::<16>().ok_or_else(|| wrong(0, "too short for a checkpoint"))?;
        if xxh3_128(body).to_le_bytes() != *hash {
            return Err(wrong(0, "the checkpoint does not match its hash"));
        }
        let mut fields = Fields(body);
        let head = (fields.u64(), fields.u32());
        if head != (Some(MANIFEST_MAGIC), Some(VERSION)) {
            return Err(wrong(0, "this is no checkpoint of format 1, the only one known here"));
        }
        Self::decode(&mut fields, path.to_path_buf()).ok_or_else(|| wrong(12, "the checkpoint's fields do not add up"))
    }

    fn decode(fields: &mut Fields<'_>, path: PathBuf) -> Option<Self> {
        let _generation = fields.u64()?;
        let seq = fields.u64()?;
        let batch_hash = fields.array()?;
        let count = fields.u32()?;
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(Part { id: fields.u32()?, len: fields.u64()?, chain: fields.u64()? });
        }
        let meta = usize::try_from(fields.u64()?).ok()?;
        let meta = fields.take(meta)?.to_vec();
        fields.0.is_empty().then_some(Self { path, seq, batch_hash, meta, segments })
    }

    /// Finds its rows; every section and the chain of each segment is verified on the way.
    pub(in super::super) fn rows(&self) -> Result<Rows, Unreadable> {
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        let mut rows = Rows::default();
        for part in &self.segments {
            let path = dir.join(format!("rows-{:08x}.seg", part.id));
            let file = File::open(&path).map_err(Unreadable::io(&path))?;
            rows.read(part, &path, &file)?;
            rows.files.insert(part.id, (path, file));
        }
        Ok(rows)
    }
}

impl Rows {
    fn read(&mut self, part: &Part, path: &Path, file: &File) -> Result<(), Unreadable> {
        let (mut at, mut chain) = (0, 0);
        let mut section = Vec::new();
        while at < part.len {
            let wrong = |what: &str| Unreadable::new(path, at, what);
            let mut header = [0; SECTION_HEADER];
            file.read_exact_at(&mut header, at).map_err(|e| wrong(&format!("a section's header: {e}")))?;
            let mut fields = Fields(&header);
            let head = (fields.u32(), fields.u32(), fields.u64());
            if (head.0, head.1) != (Some(SECTION_MAGIC), Some(part.id)) {
                return Err(wrong("no section of this segment begins here"));
            }
            let (body, _records, hash) = (fields.u32().unwrap_or(0), fields.u32(), fields.u64().unwrap_or_default());
            if u64::from(body) > part.len - at - SECTION_HEADER as u64 {
                return Err(wrong("a section reaches past the checkpoint's end"));
            }
            section.resize(body as usize, 0);
            let body_at = at + SECTION_HEADER as u64;
            file.read_exact_at(&mut section, body_at).map_err(|e| wrong(&format!("a section: {e}")))?;
            if xxh3_64_with_seed(&section, xxh3_64_with_seed(&header[..24], 0)) != hash {
                return Err(wrong("a section does not match its hash"));
            }
            chain = xxh3_64_with_seed(&hash.to_le_bytes(), chain);
            self.take(part.id, body_at, &section).ok_or_else(|| wrong("a row is cut by the end of its section"))?;
            at = body_at + u64::from(body);
        }
        if chain != part.chain {
            return Err(Unreadable::new(path, 0, "its sections are whole but not those of this checkpoint"));
        }
        Ok(())
    }

    fn take(&mut self, segment: u32, at: u64, section: &[u8]) -> Option<()> {
        let mut fields = Fields(section);
        while !fields.0.is_empty() {
            let offset = at + (section.len() - fields.0.len() + RECORD_HEADER) as u64;
            let _crc = fields.u32()?;
            let len = fields.u32()? & DELETED;
            let key = fields.u64()?;
            if len == DELETED {
                self.index.remove(&key);
            } else {
                fields.take(len as usize)?;
                self.index.insert(key, Place { segment, offset, len });
            }
        }
        Some(())
    }

    pub(in super::super) fn len(&self) -> u64 {
        self.index.len() as u64
    }

    /// Every row, in the order of the files.
    pub(in super::super) fn for_each(&self, mut visit: impl FnMut(u64, &[u8])) -> Result<(), Unreadable> {
        let mut places: Vec<(Place, u64)> = self.index.iter().map(|(key, place)| (*place, *key)).collect();
        places.sort_unstable();
        let mut row = Vec::new();
        for (place, key) in places {
            self.read_at(place, &mut row)?;
            visit(key, &row);
        }
        Ok(())
    }

    /// The row with this key.
    pub(in super::super) fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(place) = self.index.get(&key) else { return Ok(None) };
        let mut row = Vec::new();
        self.read_at(*place, &mut row).map(|()| Some(row))
    }

    fn read_at(&self, place: Place, row: &mut Vec<u8>) -> Result<(), Unreadable> {
        row.resize(place.len as usize, 0);
        let Some((path, file)) = self.files.get(&place.segment) else { return Ok(()) };
        file.read_exact_at(row, place.offset)
            .map_err(|error| Unreadable::new(path, place.offset, format!("a row cannot be read: {error}")))
    }
}
