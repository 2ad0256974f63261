//! Reads segments in order, group by group, and tells a write cut short from damage.
//!
//! Only one group is ever between write and fsync. So a group is proven durable by any sign of a later one: a group
//! or seal with a higher number, or a segment that supersedes a higher number. A group that does not hold and has no
//! such proof is the last write of a crash: torn, cut whole. With a proof it is damage: reported, never skipped.
//!
//! Left out: chains of batches (`chain`), and what is done about the end (`recovery`).

use std::sync::Arc;

use crate::disk::{self, Disk};
use crate::error::{Damage, DamageKind, Error, Place, Torn};
use crate::format::{
    self, BatchHeader, GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, SUPERSEDES_NOTHING, SegmentHeader,
};
use crate::mutant::{Mutant, is_planted};

/// A segment or side file whose header has been read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    /// Groups from this number on are void here: a later segment supersedes them.
    pub(crate) limit: u64,
}

impl Source {
    pub(crate) fn new(name: String, header: SegmentHeader) -> Self {
        Self { name, header, limit: SUPERSEDES_NOTHING }
    }
}

/// Sets the limits of all sources, which must be in the order of their ids.
pub(crate) fn set_limits(sources: &mut [Source]) {
    let mut limit = SUPERSEDES_NOTHING;
    for source in sources.iter_mut().rev() {
        source.limit = limit;
        limit = limit.min(source.header.supersedes_from);
    }
}

/// One group, or something in its place.
#[derive(Debug)]
pub(crate) enum Step {
    Group(GroupAt),
    Damage(Damage),
}

/// A group in the walker's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupAt {
    /// Which source.
    pub(crate) source: usize,
    pub(crate) offset: usize,
    pub(crate) span: usize,
    pub(crate) header: GroupHeader,
    /// Whether its CRC holds. If not, its batches must be judged one by one.
    pub(crate) whole: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Walker {
    disk: Arc<dyn Disk>,
    sources: Vec<Source>,
    at: usize,
    loaded: bool,
    buffer: Vec<u8>,
    offset: usize,
    /// The number that the next group must have.
    expected: Option<u64>,
    /// Where the last source ended: the place of a group that turns out to be missing.
    ended: Option<Place>,
    /// A segment without any group, passed before the first group: fine at the end, damage if a group follows.
    hollow: Option<Place>,
    torn: Option<Torn>,
    all_durable: bool,
    done: bool,
}

impl Walker {
    pub(crate) fn new(disk: Arc<dyn Disk>, sources: Vec<Source>) -> Self {
        Self {
            disk,
            sources,
            at: 0,
            loaded: false,
            buffer: Vec::new(),
            offset: 0,
            expected: None,
            ended: None,
            hollow: None,
            torn: None,
            all_durable: false,
            done: false,
        }
    }

    /// For sources that others follow, of which the walker is not told: nothing in them can be a write cut short.
    pub(crate) fn knowing_all_durable(mut self) -> Self {
        self.all_durable = true;
        self
    }

    pub(crate) fn source(&self, at: usize) -> &Source {
        &self.sources[at]
    }

    /// The bytes of a group; valid until the next `step`.
    pub(crate) fn frame(&self, group: &GroupAt) -> &[u8] {
        &self.buffer[group.offset..group.offset + group.span]
    }

    /// The write that was cut short, known when `step` has returned nothing.
    pub(crate) fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The next group or damage; nothing at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, Error> {
        while !self.done {
            if self.at == self.sources.len() {
                self.done = true;
                return Ok(self.missing_at_end().map(Step::Damage));
            }
            self.load()?;
            let Source { header: segment, limit, .. } = self.sources[self.at];
            if self.expected.is_some_and(|expected| expected >= limit) {
                self.leave();
                continue;
            }
            let here = self.buffer.get(self.offset..).unwrap_or_default();
            let place = Place::new(segment.segment, self.offset);
            let Some(header) = GroupHeader::decode(here, segment.segment, segment.salt) else {
                if let Some(step) = self.no_header(place) {
                    return Ok(Some(step));
                }
                continue;
            };
            if header.group >= limit {
                self.leave();
                continue;
            }
            if let Some(place) = self.hollow.take() {
                self.expected = Some(header.group);
                let group = header.group.saturating_sub(1);
                return Ok(Some(Step::Damage(damage(place, group, DamageKind::GroupHeader))));
            }
            if let Some(expected) = self.expected.replace(header.group)
                && expected != header.group
            {
                let kind = DamageKind::GroupMissing { expected, found: header.group };
                let place = self.ended.unwrap_or(place);
                return Ok(Some(Step::Damage(damage(place, expected, kind))));
            }
            let span = header.span(segment.align);
            let Some(frame) = here.get(..span) else {
                let cut = here.len() as u64;
                if self.is_proven_durable(header.group)? {
                    self.expected = Some(header.group + 1);
                    self.leave();
                    return Ok(Some(Step::Damage(damage(place, header.group, DamageKind::BatchHeader))));
                }
                return Ok(self.tear(place, header.group, cut));
            };
            let whole = header.crc_holds(frame, segment.salt);
            if !whole && !is_planted(Mutant::TornTailAccepted) && !self.is_proven_durable(header.group)? {
                return Ok(self.tear(place, header.group, span as u64));
            }
            let group = GroupAt { source: self.at, offset: self.offset, span, header, whole };
            self.offset += span;
            self.expected = Some(header.group + 1);
            self.ended = None;
            self.torn = None;
            return Ok(Some(Step::Group(group)));
        }
        Ok(None)
    }

    fn load(&mut self) -> Result<(), Error> {
        if !self.loaded {
            let name = &self.sources[self.at].name;
            let read = self.disk.open_to_read(name).and_then(|file| disk::read_whole(&*file, &mut self.buffer));
            read.map_err(Error::io(format!("cannot read {name}")))?;
            self.offset = SEGMENT_HEADER_BYTES;
            self.loaded = true;
        }
        Ok(())
    }

    /// On to the next source.
    fn leave(&mut self) {
        if self.ended.is_none() && self.offset > SEGMENT_HEADER_BYTES {
            self.ended = Some(Place::new(self.sources[self.at].header.segment, self.offset));
        }
        self.at += 1;
        self.loaded = false;
    }

    /// A write cut short ends the walk; a gap before it is damage all the same.
    fn tear(&mut self, place: Place, group: u64, bytes: u64) -> Option<Step> {
        self.torn = Some(Torn { place, group, bytes });
        self.done = true;
        self.missing_at_end().map(Step::Damage)
    }

    /// There is no group here: the end of this source, or damage if groups follow in it.
    fn no_header(&mut self, place: Place) -> Option<Step> {
        let Source { header: segment, limit, .. } = self.sources[self.at];
        let at_least = self.expected.unwrap_or(0);
        let align = segment.align as usize;
        let behind = find_group(&self.buffer, self.offset + align, &segment, at_least);
        if let Some((offset, header)) = behind {
            let group = self.expected.unwrap_or_else(|| header.group.saturating_sub(1));
            self.offset = offset;
            self.expected = Some(header.group);
            return Some(Step::Damage(damage(place, group, DamageKind::GroupHeader)));
        }
        if self.expected.is_none() && limit == SUPERSEDES_NOTHING {
            self.hollow.get_or_insert(place);
        }
        let block = self.buffer.get(self.offset..).unwrap_or_default();
        if format::is_begun(block, segment.segment) {
            // If a group with the expected number follows in another segment, this was never one; `step` forgets it.
            let bytes = block.len().min(align) as u64;
            self.torn = Some(Torn { place, group: at_least, bytes });
        }
        self.leave();
        None
    }

    /// Whether anything shows that the fsync of `group`, at the current offset, had returned.
    fn is_proven_durable(&self, group: u64) -> Result<bool, Error> {
        let here = &self.sources[self.at];
        if is_planted(Mutant::SealIgnored) {
            return Ok(false);
        }
        if self.all_durable || here.limit != SUPERSEDES_NOTHING {
            return Ok(true);
        }
        let next = self.offset + here.header.align as usize;
        if find_group(&self.buffer, next, &here.header, group + 1).is_some() {
            return Ok(true);
        }
        let mut bytes = Vec::new();
        for later in &self.sources[self.at + 1..] {
            let read = self.disk.open_to_read(&later.name).and_then(|file| disk::read_whole(&*file, &mut bytes));
            read.map_err(Error::io(format!("cannot read {}", later.name)))?;
            if find_group(&bytes, SEGMENT_HEADER_BYTES, &later.header, group + 1).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A segment that supersedes a number says that all groups below it were there.
    fn missing_at_end(&self) -> Option<Damage> {
        let expected = self.expected?;
        let promised = self.sources.iter().map(|source| source.header.supersedes_from);
        let found = promised.filter(|&from| from != SUPERSEDES_NOTHING).max()?;
        let place = self.ended.unwrap_or(Place::new(self.sources.last()?.header.segment, SEGMENT_HEADER_BYTES));
        (expected < found).then(|| damage(place, expected, DamageKind::GroupMissing { expected, found }))
    }
}

fn damage(place: Place, group: u64, kind: DamageKind) -> Damage {
    Damage { place, group, batch: None, partition: None, kind }
}

/// The first readable group header of `segment` from `offset` on with at least this number.
fn find_group(bytes: &[u8], offset: usize, segment: &SegmentHeader, at_least: u64) -> Option<(usize, GroupHeader)> {
    let align = segment.align as usize;
    (offset..bytes.len()).step_by(align).find_map(|at| {
        let header = GroupHeader::decode(&bytes[at..], segment.segment, segment.salt)?;
        (header.group >= at_least).then_some((at, header))
    })
}

/// A batch in a group's frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchAt {
    pub(crate) index: u32,
    /// From the start of the group.
    pub(crate) offset: usize,
    pub(crate) header: BatchHeader,
    /// Whether its hash holds.
    pub(crate) whole: bool,
}

/// A place in a group where a batch should begin and none does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable {
    pub(crate) index: u32,
    pub(crate) offset: usize,
}

/// The batches of a group, in order; the last item is an error if the framing breaks.
pub(crate) fn batches(group: &GroupHeader, frame: &[u8]) -> impl Iterator<Item = Result<BatchAt, Unreadable>> {
    let end = GROUP_HEADER_BYTES + group.length as usize;
    let frame = &frame[..end];
    let mut offset = GROUP_HEADER_BYTES;
    let mut index = 0;
    let count = group.batches;
    std::iter::from_fn(move || {
        if offset >= end && index >= count {
            return None;
        }
        let at = Unreadable { index, offset };
        let found = BatchHeader::decode(frame.get(offset..).unwrap_or_default());
        let Some(header) = found.filter(|header| index < count && header.span() <= end - offset) else {
            (offset, index) = (end, count);
            return Some(Err(at));
        };
        let bytes = &frame[offset..offset + header.span()];
        let batch = BatchAt { index, offset, header, whole: header.hash_holds(bytes) };
        offset += header.span();
        index += 1;
        Some(Ok(batch))
    })
}
