//! Lists and counts over all segments: newest id first, filters, pages that stay in place under writes.
//!
//! Every segment yields its matching records from the highest id down; a merge takes the highest of all. A key or an
//! idempotency hash is looked up in the segments' tables, everything else is read off summaries. Work per call is
//! bounded: a page may come back short with a place to go on from.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::block::{Entry, StoredRecord, mix, tag_bit};
use super::pages::LoadedPage;
use super::side::{Facet, Side, Summary};
use super::{Segment, Shared, Tables};
use crate::Error;
use crate::fields::PutFields;

/// The most records of one page.
pub const LIMIT_MAX: usize = 1000;
/// Summaries looked at per page; a rare match past it continues with the next page.
const SUMMARIES_MAX: u64 = 2_000_000;
/// Records read per page because only their full bytes can tell whether they match.
const READS_MAX: u64 = 20_000;

/// Which records to list or count; everything set must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub definition: Option<u32>,
    pub state: Option<u8>,
    pub outcome: Option<u8>,
    pub reason: Option<u8>,
    pub key: Option<u64>,
    pub idempotency: Option<u128>,
    /// All of these tags: participants, steps.
    pub tags: Vec<u32>,
    /// Ids from this one on: how "began after" is asked, since ids begin with the time.
    pub id_from: Option<u128>,
    /// Ids below this one: how "began before" is asked.
    pub id_below: Option<u128>,
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Highest id first.
    pub records: Vec<StoredRecord>,
    /// Where the next page begins: pass it as `below`. `None` when there is nothing more. A page may be short, even
    /// empty, and still have a next one.
    pub next_below: Option<u128>,
}

/// What to count by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupBy {
    Definition,
    State,
    Outcome,
    Reason,
    /// Each tag of a record counts once in its own group; reads the records themselves.
    Tag,
}

/// One group of a count. Fields not grouped by are `None`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Count {
    pub definition: Option<u32>,
    pub state: Option<u8>,
    pub outcome: Option<u8>,
    pub reason: Option<u8>,
    pub tag: Option<u32>,
    pub records: u64,
}

/// A place in a list that a client may hold: the last id it saw, tied to the query that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub below: u128,
    query: u64,
}

impl Cursor {
    /// `query` is any fixed text of the filter, so that a cursor is refused by another query.
    pub fn new(query: &[u8], below: u128) -> Self {
        Self { below, query: xxh3_64(query) }
    }

    /// True when the cursor was made by this query.
    pub fn belongs_to(&self, query: &[u8]) -> bool {
        self.query == xxh3_64(query)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(28);
        bytes.put_u64(self.query);
        bytes.put_u128(self.below);
        let check = xxh3_64(&bytes) as u32;
        write!(f, "{:016x}{:032x}{check:08x}", self.query, self.below)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let cursor = Self {
                query: u64::from_str_radix(text.get(..16)?, 16).ok()?,
                below: u128::from_str_radix(text.get(16..48)?, 16).ok()?,
            };
            (cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or_else(|| Error::Refused("this is not a cursor that a list has returned".into()))
    }
}

impl Filter {
    fn takes_summary(&self, summary: &Summary) -> bool {
        self.takes_facet(summary.facet)
            && self.tags.iter().all(|tag| summary.tag_bits & tag_bit(*tag) != 0)
            && self.id_from.is_none_or(|from| summary.id >= from)
            && self.id_below.is_none_or(|below| summary.id < below)
    }

    fn takes_facet(&self, facet: Facet) -> bool {
        self.definition.is_none_or(|definition| facet.definition == definition)
            && self.state.is_none_or(|state| facet.state == state)
            && self.outcome.is_none_or(|outcome| facet.outcome == outcome)
            && self.reason.is_none_or(|reason| facet.reason == reason)
    }

    /// What summaries cannot tell for sure.
    fn takes_record(&self, record: &StoredRecord) -> bool {
        self.key.is_none_or(|key| record.key == key)
            && self.idempotency.is_none_or(|idempotency| record.idempotency == idempotency)
            && self.tags.iter().all(|tag| record.tags.contains(tag))
    }

    fn needs_record(&self) -> bool {
        self.key.is_some() || self.idempotency.is_some() || !self.tags.is_empty()
    }

    fn is_facets_only(&self) -> bool {
        !self.needs_record() && self.id_from.is_none() && self.id_below.is_none()
    }
}

pub(super) fn list(shared: &Shared, filter: &Filter, below: Option<u128>, limit: usize) -> Result<Page, Error> {
    let limit = limit.clamp(1, LIMIT_MAX);
    let top = match (below, filter.id_below) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let filter = Filter { id_below: top, ..filter.clone() };
    let (mut summaries_left, mut reads_left) = (SUMMARIES_MAX, READS_MAX);
    let mut page = Page::default();
    let mut sources = Vec::new();
    for (segment, snapshot) in segments_newest_first(shared) {
        if let Some(source) = Source::open(&filter, segment, &snapshot, limit)? {
            sources.push(source);
        }
    }
    // The next summary of each source, highest id first; of equal ids the one of the newest segment.
    let mut heads: BTreeMap<(u128, Reverse<usize>), Summary> = BTreeMap::new();
    for (n, source) in sources.iter_mut().enumerate() {
        if let Next::Summary(summary) = source.next(&filter)? {
            heads.insert((summary.id, Reverse(n)), summary);
        }
    }
    let mut last_id = None;
    while let Some(((_, Reverse(n)), mut summary)) = heads.pop_last() {
        // This source leads until another one's next id; one look at the heap serves the whole run.
        let until = heads.last_key_value().map(|((id, _), _)| *id);
        loop {
            if page.records.len() == limit || summaries_left == 0 || reads_left == 0 {
                page.next_below = last_id;
                return Ok(page);
            }
            summaries_left -= 1;
            if last_id != Some(summary.id) && filter.takes_summary(&summary) {
                reads_left -= 1;
                let record = shared.read_record(&sources[n].segment, summary.offset, summary.len)?;
                page.records.extend(record.filter(|record| filter.takes_record(record)));
            }
            last_id = Some(summary.id);
            match sources[n].next(&filter)? {
                Next::Summary(next) if until.is_none_or(|until| next.id > until) => summary = next,
                Next::Summary(next) => {
                    heads.insert((next.id, Reverse(n)), next);
                    break;
                }
                Next::End => break,
                Next::Cut => {
                    page.next_below = last_id;
                    return Ok(page);
                }
            }
        }
    }
    Ok(page)
}

enum Next {
    Summary(Summary),
    End,
    /// There are more below the last one, which this page did not collect.
    Cut,
}

struct Source {
    segment: Arc<Segment>,
    from: From,
}

enum From {
    /// Matching summaries of a table in memory, lowest id first, so that the next is popped; `cut` when there were more
    /// than a page needs.
    Memory { summaries: Vec<Summary>, cut: bool },
    /// All summaries with a rank below `rank`.
    Ranks { side: Arc<Side>, rank: u64, page: LoadedPage },
    /// Entries of the key or the idempotency table.
    Hashed { side: Arc<Side>, by_key: bool, left: std::ops::Range<u64>, hashes: LoadedPage, page: LoadedPage },
}

fn segments_newest_first(shared: &Shared) -> Vec<(Arc<Segment>, Snapshot)> {
    let segments: Vec<Arc<Segment>> = shared.segments.read().values().rev().cloned().collect();
    segments.into_iter().map(|segment| (segment.clone(), Snapshot::of(shared, &segment))).collect()
}

/// A segment's records at one moment.
enum Snapshot {
    Entries(Vec<Arc<Vec<Entry>>>),
    Side(Arc<Side>),
}

impl Snapshot {
    fn of(shared: &Shared, segment: &Segment) -> Self {
        loop {
            match shared.tables_of(segment) {
                Tables::Sealed(side) => return Self::Side(side),
                Tables::Memory(table) => return Self::Entries(table.entries()),
                Tables::Active => {
                    let tail = shared.tail.lock();
                    if tail.active_id == segment.id {
                        return Self::Entries(tail.active.entries());
                    }
                    // Rolled in between: it has become one of the others.
                }
            }
        }
    }
}

impl Source {
    fn open(filter: &Filter, segment: Arc<Segment>, snapshot: &Snapshot, limit: usize) -> Result<Option<Self>, Error> {
        let from = match snapshot {
            Snapshot::Entries(chunks) => from_memory(filter, chunks, limit),
            Snapshot::Side(side) => {
                let outside = filter.id_from.is_some_and(|from| side.max_id() < from)
                    || filter.id_below.is_some_and(|below| side.min_id() >= below);
                let facets_miss =
                    side.facets().is_some_and(|facets| facets.iter().all(|(facet, _)| !filter.takes_facet(*facet)));
                if outside || facets_miss {
                    return Ok(None);
                }
                let rank = match filter.id_below {
                    Some(below) => side.rank_of(below)?,
                    None => side.records(),
                };
                let side = side.clone();
                let (hashes, page) = (LoadedPage::default(), LoadedPage::default());
                if let Some(idempotency) = filter.idempotency {
                    let left = side.idempotency_range(mix(idempotency))?;
                    From::Hashed { side, by_key: false, left, hashes, page }
                } else if let Some(key) = filter.key {
                    let left = side.key_range(key, rank)?;
                    From::Hashed { side, by_key: true, left, hashes, page }
                } else {
                    From::Ranks { side, rank, page }
                }
            }
        };
        Ok(Some(Self { segment, from }))
    }

    /// The next summary, going down.
    fn next(&mut self, filter: &Filter) -> Result<Next, Error> {
        let summary = match &mut self.from {
            From::Memory { summaries, cut } => match summaries.pop() {
                Some(summary) => summary,
                None if *cut => return Ok(Next::Cut),
                None => return Ok(Next::End),
            },
            From::Ranks { rank: 0, .. } => return Ok(Next::End),
            From::Ranks { side, rank, page } => {
                *rank -= 1;
                side.summary(*rank, page)?
            }
            From::Hashed { side, by_key, left, hashes, page } => match left.next_back() {
                Some(at) => side.summary(side.rank_at(*by_key, at, hashes)?, page)?,
                None => return Ok(Next::End),
            },
        };
        if filter.id_from.is_some_and(|from| summary.id < from) {
            return Ok(Next::End);
        }
        Ok(Next::Summary(summary))
    }
}

/// The highest matches of a table in memory: as many as a page can use, and where they end if there are more.
fn from_memory(filter: &Filter, chunks: &[Arc<Vec<Entry>>], limit: usize) -> From {
    let keep = limit + 1;
    let hash = filter.idempotency.map(mix);
    let mut summaries: Vec<Summary> = Vec::new();
    let mut cut = None;
    for entry in chunks.iter().flat_map(|chunk| chunk.iter()) {
        let matches = filter.key.is_none_or(|key| entry.key == key)
            && hash.is_none_or(|hash| entry.idempotency == hash)
            && cut.is_none_or(|cut| entry.id > cut);
        if !matches {
            continue;
        }
        let summary = Summary::of(entry);
        if filter.takes_summary(&summary) {
            summaries.push(summary);
            if summaries.len() == 4 * keep {
                summaries.select_nth_unstable_by_key(keep - 1, |summary| Reverse(summary.id));
                summaries.truncate(keep);
                cut = summaries.iter().map(|summary| summary.id).min();
            }
        }
    }
    summaries.sort_unstable_by_key(|summary| summary.id);
    From::Memory { summaries, cut: cut.is_some() }
}

pub(super) fn count(shared: &Shared, filter: &Filter, group_by: &[GroupBy]) -> Result<Vec<Count>, Error> {
    let mut groups: BTreeMap<Count, u64> = BTreeMap::new();
    let by_tag = group_by.contains(&GroupBy::Tag);
    let mut add = |facet: Facet, tag: Option<u32>, records: u64| {
        let mut group = Count { tag, ..Count::default() };
        for by in group_by {
            match by {
                GroupBy::Definition => group.definition = Some(facet.definition),
                GroupBy::State => group.state = Some(facet.state),
                GroupBy::Outcome => group.outcome = Some(facet.outcome),
                GroupBy::Reason => group.reason = Some(facet.reason),
                GroupBy::Tag => {}
            }
        }
        *groups.entry(group).or_default() += records;
    };
    for (segment, snapshot) in segments_newest_first(shared) {
        let mut candidates = Vec::new();
        let mut take = |summary: Summary| {
            if filter.takes_summary(&summary) {
                if filter.needs_record() || by_tag {
                    candidates.push(summary);
                } else {
                    add(summary.facet, None, 1);
                }
            }
        };
        match &snapshot {
            Snapshot::Side(side) => match side.facets() {
                Some(facets) if filter.is_facets_only() && !by_tag => {
                    for (facet, records) in facets.iter().filter(|(facet, _)| filter.takes_facet(*facet)) {
                        add(*facet, None, *records);
                    }
                }
                _ => match (filter.idempotency, filter.key) {
                    (None, None) => side.for_each_summary(&mut take)?,
                    (idempotency, key) => {
                        let (mut hashes, mut page) = (LoadedPage::default(), LoadedPage::default());
                        let by_key = idempotency.is_none();
                        let range = match (idempotency, key) {
                            (Some(idempotency), _) => side.idempotency_range(mix(idempotency))?,
                            (None, key) => side.key_range(key.unwrap_or_default(), u64::MAX)?,
                        };
                        for at in range {
                            take(side.summary(side.rank_at(by_key, at, &mut hashes)?, &mut page)?);
                        }
                    }
                },
            },
            Snapshot::Entries(chunks) => {
                let hash = filter.idempotency.map(mix);
                for entry in chunks.iter().flat_map(|chunk| chunk.iter()) {
                    if filter.key.is_none_or(|key| entry.key == key)
                        && hash.is_none_or(|hash| entry.idempotency == hash)
                    {
                        take(Summary::of(entry));
                    }
                }
            }
        }
        for summary in candidates {
            let Some(record) = shared.read_record(&segment, summary.offset, summary.len)? else { continue };
            if !filter.takes_record(&record) {
                continue;
            }
            if by_tag {
                let mut tags = record.tags;
                tags.sort_unstable();
                tags.dedup();
                tags.into_iter().for_each(|tag| add(summary.facet, Some(tag), 1));
            } else {
                add(summary.facet, None, 1);
            }
        }
    }
    Ok(groups.into_iter().map(|(group, records)| Count { records, ..group }).collect())
}
