//! The journal of a world: groups as the real format writes them, a disk that loses what was not synced, and the
//! real recovery to read what is left.
//!
//! While nothing goes wrong a group is kept as the bytes of its batches. When a process or the power ends, segments
//! are drawn from the groups with `journal::format`, the write that was under way is torn sector by sector, and
//! `journal::open_on` has to make sense of it on a [`SimDisk`]. Whoever appends names the tail that he knows: an
//! append that does not follow is fenced, as the writer's own table of tails does it.
//!
//! Left out: threads, the queue's bytes, recycling beyond a segment with a former life, side files.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use journal::disk::sim::{Faults, SimDisk};
use journal::format::{BATCH_HEADER_BYTES, BatchHeader, GroupFrame, SUPERSEDES_NOTHING, SegmentHeader};
use journal::{Batch, BatchHash, Part, Recovered, RecoveredBatch, Settings, Starts, Tail};
use model::mutant::{Mutant, is_planted};

use crate::fixed::Rng;

/// Bytes after which a drawn segment is closed.
const SEGMENT_BYTES: usize = 48 << 10;
const CAPACITY_BYTES: u64 = 1 << 30;
const SECTOR: usize = 512;

/// Durable batches that one fsync made so.
#[derive(Clone, Debug)]
struct Group {
    number: u64,
    batches: u32,
    bytes: Vec<u8>,
    /// Per partition: the last seq in it.
    last: Vec<(u16, u64)>,
}

impl Group {
    fn of(number: u64, part: &Part, bytes: Vec<u8>) -> Self {
        let mut group = Self { number, batches: 0, bytes, last: Vec::new() };
        group.bytes.clear();
        group.add(part);
        group
    }

    fn add(&mut self, part: &Part) {
        for batch in &part.batches {
            self.batches += 1;
            self.bytes.extend_from_slice(batch.bytes());
            self.last.push((batch.partition(), batch.last_seq()));
        }
    }
}

/// What an append led to.
#[derive(Debug)]
pub(crate) enum Append {
    Taken,
    /// Another owner has appended: nothing was written.
    Fenced {
        partition: u16,
    },
}

/// How the process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The process is gone, what it wrote is in the page cache.
    Process,
    /// The machine is gone, and with it what was not synced.
    Power,
}

/// What a recovery gave back.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) batches: Vec<RecoveredBatch>,
    /// The group under way survived although nobody was told.
    #[cfg(test)]
    unacknowledged: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Disk {
    groups: VecDeque<Group>,
    next_group: u64,
    tails: BTreeMap<u16, Tail>,
    /// Written, not yet synced.
    writing: Option<Group>,
    trimmable: BTreeMap<u16, u64>,
    spare: Vec<Vec<u8>>,
    first_segment: u64,
    /// Bits of durable groups that were flipped and put back: how often damage was asked for.
    rng: Rng,
    pub(crate) is_full: bool,
    /// Numbers of groups that are in the page cache only.
    lost: Vec<u64>,
}

impl Disk {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            groups: VecDeque::new(),
            next_group: 1,
            tails: BTreeMap::new(),
            writing: None,
            trimmable: BTreeMap::new(),
            spare: Vec::new(),
            first_segment: 1,
            rng,
            is_full: false,
            lost: Vec::new(),
        }
    }

    /// Begins the write of one group with these parts, if each follows its partition's tail.
    pub(crate) fn write<'p>(&mut self, parts: impl Iterator<Item = &'p Part>) -> Append {
        let mut tails = Vec::new();
        let mut group = Group::of(self.next_group, &Part::default(), self.spare.pop().unwrap_or_default());
        for part in parts {
            for batch in &part.batches {
                let known = tails.iter().rev().find(|(p, _)| *p == batch.partition()).map(|(_, tail)| *tail);
                let tail = known.or_else(|| self.tails.get(&batch.partition()).copied());
                if let Some(tail) = tail
                    && (batch.prev_hash() != tail.hash || batch.first_seq() != tail.seq + 1)
                {
                    return Append::Fenced { partition: batch.partition() };
                }
                tails.push((batch.partition(), Tail { seq: batch.last_seq(), hash: batch.hash() }));
            }
            group.add(part);
        }
        self.writing = Some(group);
        Append::Taken
    }

    /// The fsync returned: the group under way is durable.
    pub(crate) fn synced(&mut self) {
        let Some(group) = self.writing.take() else { return };
        self.keep(group);
    }

    /// The fsync failed, and somebody takes it for done all the same: its pages are clean and not on disk.
    pub(crate) fn synced_in_vain(&mut self) {
        if let Some(group) = self.writing.take() {
            self.lost.push(group.number);
            self.keep(group);
        }
    }

    fn keep(&mut self, group: Group) {
        let mut bytes = group.bytes.as_slice();
        while let Some(header) = BatchHeader::decode(bytes) {
            self.tails.insert(header.partition, Tail { seq: header.last_seq(), hash: header.hash });
            bytes = &bytes[header.span()..];
        }
        self.next_group = group.number + 1;
        self.groups.push_back(group);
        self.trim();
    }

    #[cfg(test)]
    fn tail(&self, partition: u16) -> Tail {
        self.tails.get(&partition).copied().unwrap_or_default()
    }

    /// Everything of `partition` up to `seq` is in two checkpoints.
    pub(crate) fn trimmable(&mut self, partition: u16, seq: u64) {
        let known = self.trimmable.entry(partition).or_default();
        *known = (*known).max(seq);
        self.trim();
    }

    fn trim(&mut self) {
        // Two groups stay, so that something is left to be torn and damaged.
        while self.groups.len() > 2
            && let Some(head) = self.groups.front()
            && head.last.iter().all(|(p, seq)| self.trimmable.get(p).is_some_and(|known| seq <= known))
        {
            let head = self.groups.pop_front();
            if self.spare.len() < 4
                && let Some(head) = head
            {
                self.spare.push(head.bytes);
            }
        }
    }

    /// Whether a write is under way.
    #[cfg(test)]
    fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The process ended: reads everything back with the real recovery. Gives the batches behind `starts`.
    ///
    /// # Errors
    /// What the journal would not open for, or gave back wrongly, in words.
    pub(crate) fn reopen(&mut self, end: End, starts: &Starts) -> Result<Found, String> {
        let seed = self.rng.u64();
        let disk = self.draw(seed, end);
        let cuts = self.rng.below(4);
        let mut disk = disk;
        // The power may fail again while the end is being secured.
        for _ in 0..cuts.saturating_sub(2) {
            disk.set_faults(Faults { cut_power_in: Some(self.rng.below(24)), ..Faults::default() });
            let again = open(disk.clone());
            drop(again);
            disk = match end {
                End::Power => disk.after_power_cut(self.rng.u64()),
                // The copy of the end is not under suspicion before it is finished.
                End::Process => disk.after_power_cut(self.rng.u64()),
            };
        }
        let opened = open(disk).map_err(|e| format!("the journal: {e}"))?;
        if let Some(damage) = opened.recovery().damage.first() {
            return Err(format!("the journal reports damage where none is: {damage}"));
        }
        let unacknowledged = self.writing.take();
        let all = read(&opened, &Starts::new())?;
        let survived = self.compare(&all, unacknowledged.as_ref())?;
        if let Some(group) = unacknowledged
            && survived
        {
            self.keep(group);
        }
        let batches = read(&opened, starts)?;
        self.first_segment += 1_000;
        Ok(Found {
            batches,
            #[cfg(test)]
            unacknowledged: survived,
        })
    }

    /// What was read must be what was acknowledged, and perhaps the whole of the group under way.
    fn compare(&self, all: &[RecoveredBatch], writing: Option<&Group>) -> Result<bool, String> {
        let mut read = all.iter();
        for (group, may_miss) in self.groups.iter().map(|g| (g, false)).chain(writing.map(|g| (g, true))) {
            let mut bytes = group.bytes.as_slice();
            let mut first = true;
            while let Some(header) = BatchHeader::decode(bytes) {
                let Some(found) = read.next() else {
                    if may_miss && first {
                        return Ok(false);
                    }
                    return Err(format!("group {} was durable and is gone", group.number));
                };
                let entries = &bytes[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + header.length as usize];
                if found.hash != header.hash || found.entries() != entries || found.group != group.number {
                    return Err(format!("group {} reads back as something else", group.number));
                }
                first = false;
                bytes = &bytes[header.span()..];
            }
        }
        match read.next() {
            Some(more) => Err(format!("{more:?} was never acknowledged nor under way")),
            None => Ok(writing.is_some()),
        }
    }

    /// The folder as the next process finds it.
    fn draw(&mut self, seed: u64, end: End) -> SimDisk {
        let disk = SimDisk::new(seed, CAPACITY_BYTES);
        let mut frame = GroupFrame::default();
        let mut segment = self.header(0);
        let mut bytes = segment.encode();
        let mut durable_through = 0;
        for group in &self.groups {
            if bytes.len() > SEGMENT_BYTES {
                disk.set_contents(&name(segment.segment), &padded(bytes, &mut self.rng));
                segment = SegmentHeader { segment: segment.segment + 1, salt: self.rng.u64(), ..segment };
                bytes = segment.encode();
            }
            frame.clear();
            frame.push_all(&group.bytes, group.batches);
            let frame = frame.finish(&segment, group.number, durable_through);
            if end == End::Power && self.lost.contains(&group.number) {
                bytes.resize(bytes.len() + frame.len(), 0);
            } else {
                bytes.extend_from_slice(frame);
            }
            durable_through = group.number;
        }
        let mut image = padded(bytes.clone(), &mut self.rng);
        if let Some(group) = &self.writing {
            frame.clear();
            frame.push_all(&group.bytes, group.batches);
            let frame = frame.finish(&segment, group.number, durable_through);
            let start = bytes.len();
            image.resize(image.len().max((start + frame.len()).next_multiple_of(4096)), 0);
            let sectors = frame.len() / SECTOR;
            // A dead process has written all of it or nothing; a dead machine any sectors of it.
            let all = self.rng.chance(1, 3);
            let none = self.rng.chance(1, 3);
            for n in 0..sectors {
                let keeps = match end {
                    _ if all => true,
                    _ if none => false,
                    End::Process => true,
                    End::Power => self.rng.chance(1, 2),
                };
                if keeps {
                    let at = n * SECTOR;
                    image[start + at..start + at + SECTOR].copy_from_slice(&frame[at..at + SECTOR]);
                }
            }
        }
        let bytes = image.len() as u64;
        let header = SegmentHeader { bytes, ..segment };
        image[..header.encode().len()].copy_from_slice(&header.encode());
        // The salt and the header are part of every CRC but the length is not, so groups stay whole.
        disk.set_contents(&name(segment.segment), &image);
        disk
    }

    fn header(&mut self, bytes: u64) -> SegmentHeader {
        SegmentHeader {
            segment: self.first_segment,
            bytes,
            align: 512,
            salt: self.rng.u64(),
            supersedes_from: SUPERSEDES_NOTHING,
        }
    }

    /// Flips one bit of what is durable on a copy of the disk, and opens that: damage must be told, or what is read
    /// must be everything. True if it was told.
    ///
    /// # Errors
    /// What was lost or changed without a word.
    pub(crate) fn rot(&mut self) -> Result<bool, String> {
        let writing = self.writing.take();
        let seed = self.rng.u64();
        let disk = self.draw(seed, End::Process);
        let mut names = journal::disk::Disk::list(&disk).map_err(|e| e.to_string())?;
        names.sort_unstable();
        let name = self.rng.pick(&names).clone();
        let mut image = disk.contents(&name).unwrap_or_default();
        let at = self.rng.below(image.len() as u64) as usize;
        image[at] ^= 1 << self.rng.below(8);
        disk.set_contents(&name, &image);
        let told = match open(disk) {
            Err(_) => true,
            Ok(opened) if !opened.recovery().damage.is_empty() => true,
            Ok(opened) => match read(&opened, &Starts::new()) {
                Err(_) => true,
                Ok(all) => {
                    // Nothing proves the last group durable but a later one: without a seal it may be cut as torn, and
                    // where the bit is in its first bytes nothing says that a group was begun.
                    let last = self.groups.pop_back();
                    let compared = self.compare(&all, last.as_ref());
                    self.groups.extend(last);
                    !compared.map_err(|e| format!("one bit of {name} at byte {at}: {e}"))?
                }
            },
        };
        self.writing = writing;
        Ok(told)
    }
}

/// Opens with the real recovery. The journal has a switch of its own for planted bugs, set here for all that it reads
/// until the next opening.
fn open(disk: SimDisk) -> Result<journal::Opened, journal::Error> {
    use journal::mutant::Mutant as There;
    let pairs = [
        (Mutant::TornTailAccepted, There::TornTailAccepted),
        (Mutant::SealIgnored, There::SealIgnored),
        (Mutant::TailServedUnsecured, There::TailServedUnsecured),
    ];
    journal::mutant::plant(pairs.into_iter().find(|(here, _)| is_planted(*here)).map(|(_, there)| there));
    journal::open_on(settings(), Arc::new(disk))
}

fn read(opened: &journal::Opened, starts: &Starts) -> Result<Vec<RecoveredBatch>, String> {
    let mut found = Vec::new();
    for item in opened.batches(starts).map_err(|e| format!("the journal: {e}"))? {
        match item.map_err(|e| format!("the journal: {e}"))? {
            Recovered::Batch(batch) => found.push(batch),
            Recovered::Damaged(damage) => return Err(format!("the journal reports damage: {damage}")),
        }
    }
    Ok(found)
}

fn name(segment: u64) -> String {
    format!("segment-{segment:016x}")
}

/// Zeros, or bytes of another life, up to a multiple of 4 KiB.
fn padded(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let end = (bytes.len() + 2 * SECTOR).next_multiple_of(4096);
    if rng.chance(1, 2) {
        let former =
            SegmentHeader { segment: 1, bytes: 0, align: 512, salt: rng.u64(), supersedes_from: SUPERSEDES_NOTHING };
        let mut frame = GroupFrame::default();
        let batch = Batch::encode(0, 1, 1, 0, BatchHash::NONE, 0, &[], Vec::new());
        frame.push(batch.bytes());
        let number = rng.below(1_000);
        while bytes.len() + SECTOR <= end {
            bytes.extend_from_slice(frame.finish(&former, number, 0));
            frame.clear();
            frame.push(batch.bytes());
        }
    }
    bytes.resize(end, 0);
    bytes
}

fn settings() -> Settings {
    let mut settings = Settings::new("world");
    settings.segment_bytes = 64 << 10;
    settings.disk_bytes_max = CAPACITY_BYTES;
    settings.keep_free_bytes = 0;
    settings.group_bytes_max = 16 << 10;
    settings.queue_bytes_max = 1 << 20;
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first_seq: u64, prev: BatchHash) -> Part {
        let batch = Batch::encode(3, 1, first_seq, 2, prev, 0, b"two entries", Vec::new());
        Part { batches: vec![batch], token: first_seq }
    }

    #[test]
    fn what_is_synced_survives_every_end_and_what_does_not_follow_is_fenced() {
        for seed in 0..200 {
            let mut disk = Disk::new(Rng::named(seed, "disk"));
            let mut prev = BatchHash::NONE;
            for n in 0..5 {
                let part = part(1 + n * 2, prev);
                assert!(matches!(disk.write([&part].into_iter()), Append::Taken));
                prev = part.batches[0].hash();
                if n < 4 {
                    disk.synced();
                }
            }
            assert!(disk.is_writing());
            let end = if seed % 2 == 0 { End::Power } else { End::Process };
            let found = disk.reopen(end, &Starts::new()).unwrap();
            assert_eq!(found.batches.len(), if found.unacknowledged { 5 } else { 4 });
            assert_eq!(disk.tail(3).seq, if found.unacknowledged { 10 } else { 8 });
            let stale = part(3, BatchHash::NONE);
            assert!(matches!(disk.write([&stale].into_iter()), Append::Fenced { partition: 3 }));
        }
    }

    #[test]
    fn a_flipped_bit_is_told_or_harmless() {
        let mut disk = Disk::new(Rng::named(7, "disk"));
        let mut prev = BatchHash::NONE;
        for n in 0..20 {
            let part = part(1 + n * 2, prev);
            assert!(matches!(disk.write([&part].into_iter()), Append::Taken));
            prev = part.batches[0].hash();
            disk.synced();
        }
        let told = (0..300).filter(|_| disk.rot().unwrap()).count();
        assert!(told > 50, "{told}");
    }
}
