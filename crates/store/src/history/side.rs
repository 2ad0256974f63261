//! The side file of a sealed segment: how its records are found. Redundant: it can be built from the segment again.
//!
//! ```text
//! page 0       what is here: counts, bounds of ids and times
//! summaries    in order of id, 40 bytes: id u128 · tag bits u64 · definition u32 · offset u32 · length u32 · state,
//!              outcome, reason, 0; an entry's place here is its rank
//! idempotency  in order of hash, 12 bytes: hash u64 · rank u32
//! keys         in order of hash and rank, 12 bytes: hash u64 · rank u32
//! fences       the first id or hash of each page above, kept in memory: about 0.2 bytes a record
//! facets       how many records per definition, state, outcome, reason
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::block::Entry;
use super::pages::{LoadedPage, PAGE, PageBuilder, PageTable};
use crate::Error;
use crate::durable::{failed, len_of, sync_dir};
use crate::fields::{Fields, PutFields};
use crate::file::{self, File, FileExt};

const MAGIC: u64 = 0x3158_4448_4754_0a0d;
const VERSION: u32 = 1;
const SUMMARY_LEN: usize = 40;
const HASHED_LEN: usize = 12;
/// More combinations than this are not kept; counting then reads the summaries.
const FACETS_MAX: usize = 16_384;

pub(super) fn file_name(id: u32) -> String {
    format!("history-{id:08x}.idx")
}

/// What the side file keeps of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub(super) id: u128,
    pub(super) tag_bits: u64,
    pub(super) facet: Facet,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// What records are counted by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Facet {
    pub(super) definition: u32,
    pub(super) state: u8,
    pub(super) outcome: u8,
    pub(super) reason: u8,
}

impl Summary {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            tag_bits: entry.tag_bits,
            facet: Facet {
                definition: entry.definition,
                state: entry.state,
                outcome: entry.outcome,
                reason: entry.reason,
            },
            offset: entry.offset,
            len: entry.len,
        }
    }

    fn encode(&self) -> [u8; SUMMARY_LEN] {
        let mut out = [0; SUMMARY_LEN];
        out[0..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..24].copy_from_slice(&self.tag_bits.to_le_bytes());
        out[24..28].copy_from_slice(&self.facet.definition.to_le_bytes());
        out[28..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..36].copy_from_slice(&self.len.to_le_bytes());
        out[36..39].copy_from_slice(&[self.facet.state, self.facet.outcome, self.facet.reason]);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let id = fields.u128()?;
        let tag_bits = fields.u64()?;
        let definition = fields.u32()?;
        let offset = fields.u32()?;
        let len = fields.u32()?;
        let [state, outcome, reason] = fields.array()?;
        Some(Self { id, tag_bits, facet: Facet { definition, state, outcome, reason }, offset, len })
    }
}

/// An open side file.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) path: PathBuf,
    file: File,
    about: About,
    summaries: PageTable,
    idempotency: PageTable,
    keys: PageTable,
    id_fences: Vec<u128>,
    idempotency_fences: Vec<u64>,
    key_fences: Vec<u64>,
    facets: Option<Vec<(Facet, u64)>>,
}

#[derive(Clone, Copy, Debug)]
struct About {
    segment: u32,
    records: u64,
    data_len: u64,
    min_id: u128,
    max_id: u128,
    max_ended_us: u64,
}

impl Side {
    /// Writes the side file of a segment from its entries and opens it.
    pub(super) fn build(dir: &Path, segment: u32, data_len: u64, chunks: &[Arc<Vec<Entry>>]) -> Result<Self, Error> {
        let mut entries: Vec<Entry> = chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        let part = dir.join(format!("{}.tmp", file_name(segment)));
        let path = dir.join(file_name(segment));
        let mut file = File::create(&part).map_err(failed("create", &part))?;
        let write = |file: &mut File, bytes: &[u8]| file.write_all(bytes).map_err(failed("write", &part));
        write(&mut file, &[0; PAGE])?;

        let mut pages = PageBuilder::new();
        let mut fences = Vec::new();
        let mut facets: BTreeMap<Facet, u64> = BTreeMap::new();
        for entry in &entries {
            let summary = Summary::of(entry);
            if pages.push(&summary.encode()) {
                fences.put_u128(summary.id);
            }
            *facets.entry(summary.facet).or_default() += 1;
            if pages.whole_bytes() >= 1 << 20 {
                write(&mut file, &pages.take_whole())?;
            }
        }
        pages.finish_page();
        for table in [|entry: &Entry| entry.idempotency, |entry: &Entry| entry.key] {
            let mut hashed: Vec<(u64, u32)> = entries.iter().map(table).zip(0..).collect();
            hashed.sort_unstable();
            for (hash, rank) in hashed {
                let mut one = [0; HASHED_LEN];
                one[..8].copy_from_slice(&hash.to_le_bytes());
                one[8..].copy_from_slice(&rank.to_le_bytes());
                if pages.push(&one) {
                    fences.put_u64(hash);
                }
                if pages.whole_bytes() >= 1 << 20 {
                    write(&mut file, &pages.take_whole())?;
                }
            }
            pages.finish_page();
        }
        let whole = pages.take_whole();
        write(&mut file, &whole)?;
        let mut tail = fences;
        tail.put_u32(if facets.len() <= FACETS_MAX { facets.len() as u32 } else { u32::MAX });
        if facets.len() <= FACETS_MAX {
            for (facet, count) in &facets {
                tail.put_u32(facet.definition);
                tail.put(&[facet.state, facet.outcome, facet.reason, 0]);
                tail.put_u64(*count);
            }
        }
        let tail_hash = xxh3_64(&tail);
        tail.put_u64(tail_hash);
        write(&mut file, &tail)?;

        let about = About {
            segment,
            records: entries.len() as u64,
            data_len,
            min_id: entries.first().map_or(0, |entry| entry.id),
            max_id: entries.last().map_or(0, |entry| entry.id),
            max_ended_us: entries.iter().map(|entry| entry.ended_at_us).max().unwrap_or(0),
        };
        file.write_all_at(&about.encode(), 0).map_err(failed("write", &part))?;
        file.sync_all().map_err(failed("sync", &part))?;
        file::rename(&part, &path).map_err(failed("rename into place", &path))?;
        sync_dir(dir)?;
        Self::open(dir, segment)
    }

    /// Opens a side file: header, fences and facets are checked and read, the tables when they are used.
    pub(super) fn open(dir: &Path, segment: u32) -> Result<Self, Error> {
        let path = dir.join(file_name(segment));
        let file = File::open(&path).map_err(failed("open", &path))?;
        let file_len = len_of(&file, &path)?;
        let mut header = vec![0; PAGE];
        file.read_exact_at(&mut header, 0)
            .map_err(|error| Error::damaged(&path, 0, format!("its header cannot be read: {error}")))?;
        let about = About::decode(&header).ok_or_else(|| Error::damaged(&path, 0, "its header is not whole"))?;
        if about.segment != segment {
            return Err(Error::damaged(&path, 0, format!("it belongs to segment {}", about.segment)));
        }
        let table = |first_page, entry_len| PageTable { first_page, entry_len, entries: about.records };
        let summaries = table(1, SUMMARY_LEN);
        let idempotency = table(summaries.end_page(), HASHED_LEN);
        let keys = table(idempotency.end_page(), HASHED_LEN);
        let tail_at = keys.end_page() * PAGE as u64;
        let tail_len = file_len.checked_sub(tail_at).filter(|len| *len < 1 << 30);
        let mut tail = vec![0; tail_len.ok_or_else(|| Error::damaged(&path, file_len, "it ends too early"))? as usize];
        file.read_exact_at(&mut tail, tail_at).map_err(failed("read", &path))?;
        let bad_tail = || Error::damaged(&path, tail_at, "fences and facets are not whole");
        let (body, hash) = tail.split_last_chunk::<8>().ok_or_else(bad_tail)?;
        if xxh3_64(body).to_le_bytes() != *hash {
            return Err(bad_tail());
        }
        let mut fields = Fields::new(body);
        let mut id_fences = Vec::with_capacity(summaries.pages() as usize);
        for _ in 0..summaries.pages() {
            id_fences.push(fields.u128().ok_or_else(bad_tail)?);
        }
        let mut hash_fences =
            || -> Result<Vec<u64>, Error> { (0..keys.pages()).map(|_| fields.u64().ok_or_else(bad_tail)).collect() };
        let idempotency_fences = hash_fences()?;
        let key_fences = hash_fences()?;
        let facets = decode_facets(&mut fields).ok_or_else(bad_tail)?;
        Ok(Self { path, file, about, summaries, idempotency, keys, id_fences, idempotency_fences, key_fences, facets })
    }

    pub(super) fn records(&self) -> u64 {
        self.about.records
    }

    pub(super) fn data_len(&self) -> u64 {
        self.about.data_len
    }

    pub(super) fn max_ended_us(&self) -> u64 {
        self.about.max_ended_us
    }

    pub(super) fn max_id(&self) -> u128 {
        self.about.max_id
    }

    pub(super) fn min_id(&self) -> u128 {
        self.about.min_id
    }

    pub(super) fn facets(&self) -> Option<&[(Facet, u64)]> {
        self.facets.as_deref()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let fences = self.id_fences.len() * 16 + (self.idempotency_fences.len() + self.key_fences.len()) * 8;
        (fences + self.facets.as_ref().map_or(0, |facets| facets.len() * 16)) as u64
    }

    /// Hands over every idempotency hash in order.
    pub(super) fn for_each_idempotency(&self, mut visit: impl FnMut(u64)) -> Result<(), Error> {
        self.idempotency.for_each(&self.file, &self.path, |entry| {
            if let Some(hash) = Fields::new(entry).u64() {
                visit(hash);
            }
        })
    }

    /// Reads and checks every page.
    pub(super) fn verify(&self) -> Result<(), Error> {
        for table in [self.summaries, self.idempotency, self.keys] {
            table.for_each(&self.file, &self.path, |_| {})?;
        }
        Ok(())
    }

    /// Hands over every summary in order of id.
    pub(super) fn for_each_summary(&self, mut visit: impl FnMut(Summary)) -> Result<(), Error> {
        self.summaries.for_each(&self.file, &self.path, |entry| {
            if let Some(summary) = Summary::decode(entry) {
                visit(summary);
            }
        })
    }

    pub(super) fn summary(&self, rank: u64, page: &mut LoadedPage) -> Result<Summary, Error> {
        let entry = self.summaries.entry(&self.file, &self.path, rank, page)?;
        Summary::decode(entry).ok_or_else(|| Error::damaged(&self.path, 0, "a summary does not decode"))
    }

    /// How many records have a smaller id.
    pub(super) fn rank_of(&self, id: u128) -> Result<u64, Error> {
        let mut page = LoadedPage::default();
        let after = self.id_fences.partition_point(|fence| *fence < id) as u64;
        let (mut low, mut high) = (
            after.saturating_sub(1) * self.summaries.per_page(),
            (after * self.summaries.per_page()).min(self.records()),
        );
        while low < high {
            let middle = low + (high - low) / 2;
            if self.summary(middle, &mut page)?.id < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    pub(super) fn find_id(&self, id: u128) -> Result<Option<(u32, u32)>, Error> {
        if self.about.records == 0 || id < self.about.min_id || id > self.about.max_id {
            return Ok(None);
        }
        let rank = self.rank_of(id)?;
        if rank == self.about.records {
            return Ok(None);
        }
        let summary = self.summary(rank, &mut LoadedPage::default())?;
        Ok((summary.id == id).then_some((summary.offset, summary.len)))
    }

    pub(super) fn find_idempotency(&self, hash: u64, places: &mut Vec<(u32, u32)>) -> Result<(), Error> {
        let mut page = LoadedPage::default();
        for at in self.idempotency_range(hash)? {
            let summary =
                self.summary(u64::from(self.hashed(self.idempotency, at, &mut page)?.1), &mut LoadedPage::default())?;
            places.push((summary.offset, summary.len));
        }
        Ok(())
    }

    /// Positions in the idempotency table with this hash.
    pub(super) fn idempotency_range(&self, hash: u64) -> Result<std::ops::Range<u64>, Error> {
        self.range(self.idempotency, &self.idempotency_fences, (hash, 0), (hash, u32::MAX))
    }

    /// Positions in the key table with this hash and a rank below `below`; ranks rise along them.
    pub(super) fn key_range(&self, hash: u64, below: u64) -> Result<std::ops::Range<u64>, Error> {
        let below = u32::try_from(below).unwrap_or(u32::MAX);
        self.range(self.keys, &self.key_fences, (hash, 0), (hash, below))
    }

    /// The rank at a position of the idempotency or the key table.
    pub(super) fn rank_at(&self, by_key: bool, at: u64, page: &mut LoadedPage) -> Result<u64, Error> {
        let table = if by_key { self.keys } else { self.idempotency };
        Ok(u64::from(self.hashed(table, at, page)?.1))
    }

    fn range(
        &self,
        table: PageTable,
        fences: &[u64],
        from: (u64, u32),
        to: (u64, u32),
    ) -> Result<std::ops::Range<u64>, Error> {
        let mut page = LoadedPage::default();
        let low_page = (fences.partition_point(|fence| *fence < from.0) as u64).saturating_sub(1);
        let high_page = fences.partition_point(|fence| *fence <= to.0) as u64;
        let bounds = (low_page * table.per_page(), (high_page * table.per_page()).min(table.entries));
        let mut search = |wanted: (u64, u32)| -> Result<u64, Error> {
            let (mut low, mut high) = bounds;
            while low < high {
                let middle = low + (high - low) / 2;
                if self.hashed(table, middle, &mut page)? < wanted {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(low)
        };
        Ok(search(from)?..search(to)?)
    }

    fn hashed(&self, table: PageTable, at: u64, page: &mut LoadedPage) -> Result<(u64, u32), Error> {
        let mut fields = Fields::new(table.entry(&self.file, &self.path, at, page)?);
        fields
            .u64()
            .zip(fields.u32())
            .ok_or_else(|| Error::damaged(&self.path, 0, "an entry of a hash table does not decode"))
    }
}

fn decode_facets(fields: &mut Fields<'_>) -> Option<Option<Vec<(Facet, u64)>>> {
    let count = fields.u32()?;
    if count == u32::MAX {
        return Some(None);
    }
    let mut facets = Vec::new();
    for _ in 0..count {
        let definition = fields.u32()?;
        let [state, outcome, reason, _] = fields.array()?;
        facets.push((Facet { definition, state, outcome, reason }, fields.u64()?));
    }
    fields.is_empty().then_some(Some(facets))
}

impl About {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE);
        out.put_u64(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.segment);
        out.put_u64(self.records);
        out.put_u64(self.data_len);
        out.put_u128(self.min_id);
        out.put_u128(self.max_id);
        out.put_u64(self.max_ended_us);
        out.resize(PAGE - 4, 0);
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out
    }

    fn decode(page: &[u8]) -> Option<Self> {
        let (body, crc) = page.split_last_chunk::<4>()?;
        if crc32fast::hash(body).to_le_bytes() != *crc {
            return None;
        }
        let mut fields = Fields::new(body);
        if fields.u64()? != MAGIC || fields.u32()? != VERSION {
            return None;
        }
        Some(Self {
            segment: fields.u32()?,
            records: fields.u64()?,
            data_len: fields.u64()?,
            min_id: fields.u128()?,
            max_id: fields.u128()?,
            max_ended_us: fields.u64()?,
        })
    }
}
