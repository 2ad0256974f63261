//! Opening: reads everything, decides what is true, and secures the end before anything is released.
//!
//! First the lock; then side files and segments are walked, and every CRC, hash and chain is checked. A torn end is
//! cut; damage is an error, or freezes its partition. What lies behind the last seal is readable, but nobody knows
//! whether it is on disk: the process may have died, or its fsync may have failed. So it is copied into a fresh
//! segment, synced under its name, and read back. The fresh segment says which group numbers it supersedes, so that a
//! crash at any moment leaves either the old end or the new one. Last, the marker of a failure is removed.
//! Opening again at any point is harmless.
//!
//! Left out: giving the batches back (`reading`), running (`file`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::chain::{self, Chains, Fate};
use crate::disk::{self, Disk, Guard, LockError};
use crate::error::{Error, Place};
use crate::format::{
    self, GROUP_HEADER_BYTES, GroupFrame, GroupKind, SEGMENT_HEADER_BYTES, SUPERSEDES_NOTHING, SegmentHeader,
};
use crate::recovered::{Recovery, Tail};
use crate::segment::{self, Closed, Extents, FAILED, Prepared, RESERVE, free_name, segment_name};
use crate::settings::Settings;
use crate::side::{self, Side};
use crate::survey::Survey;
use crate::walk::{self, GroupAt, Source, Step, Walker};
use crate::writer::Active;
use crate::yard::YardState;

/// All that a journal needs to run.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) guard: Box<dyn Guard>,
    pub(crate) recovery: Recovery,
    pub(crate) yard: YardState,
    pub(crate) active: Active,
    pub(crate) next_group: u64,
}

/// See the head of this file.
pub(crate) fn recover(settings: &Settings, disk: &Arc<dyn Disk>) -> Result<Recovered, Error> {
    let guard = disk.lock().map_err(|error| match error {
        LockError::Held { pid } => Error::Locked { dir: settings.dir.display().to_string(), pid },
        LockError::Io(source) => Error::Io { what: "cannot lock the journal's folder".to_owned(), source },
    })?;
    let survey = Survey::read(disk)?;
    if let Some(damage) = survey.damage.first() {
        return Err(Error::damage(damage));
    }
    let mut found = Found::default();
    if survey.names.failed {
        found.recovery.after_failure = Some(read_marker(&**disk)?);
    }
    for source in &survey.sides {
        found.read_side(disk, source)?;
    }
    found.read_segments(disk, survey.segments.clone())?;
    if settings.strict
        && let Some(damage) = found.recovery.damage.first()
    {
        return Err(Error::damage(damage));
    }
    let yard = tidy(disk, &survey, &mut found).map_err(Error::io("cannot tidy the journal's folder"))?;
    secure(settings, disk, found, yard, guard)
}

/// What the walk shows.
#[derive(Debug, Default)]
struct Found {
    recovery: Recovery,
    chains: Chains,
    sides: Vec<(u16, Side)>,
    /// Segments with at least one valid group, oldest first.
    used: Vec<(Source, Extents)>,
    /// Groups behind the last seal, all in the last used segment.
    unsealed: Vec<GroupAt>,
    /// The seal that ends the last used segment.
    seal: Option<GroupAt>,
}

impl Found {
    fn read_side(&mut self, disk: &Arc<dyn Disk>, source: &Source) -> Result<(), Error> {
        let Some(partition) = side::partition_of_id(source.header.segment) else { return Ok(()) };
        let mut side =
            Side { header: source.header, end: SEGMENT_HEADER_BYTES as u64, next_group: 1, tail: Tail::default() };
        let mut walker = Walker::new(Arc::clone(disk), vec![source.clone()]);
        let mut extents = Extents::default();
        while let Some(step) = walker.step()? {
            let group = match step {
                Step::Group(group) => group,
                Step::Damage(damage) => return Err(Error::damage(&damage)),
            };
            side.end = (group.offset + group.span) as u64;
            side.next_group = group.header.group + 1;
            if let Some(tail) = self.read_group(&walker, &group, &mut extents)? {
                side.tail = tail;
            }
        }
        side::secure(&**disk, partition, side.end)
            .map_err(Error::io(format!("cannot secure the side file of partition {partition}")))?;
        self.sides.push((partition, side));
        Ok(())
    }

    fn read_segments(&mut self, disk: &Arc<dyn Disk>, sources: Vec<Source>) -> Result<(), Error> {
        let mut walker = Walker::new(Arc::clone(disk), sources);
        let mut current = None;
        while let Some(step) = walker.step()? {
            let group = match step {
                Step::Group(group) => group,
                Step::Damage(damage) if damage.is_confined() => {
                    self.recovery.damage.push(damage);
                    continue;
                }
                Step::Damage(damage) => return Err(Error::damage(&damage)),
            };
            if current != Some(group.source) {
                current = Some(group.source);
                self.used.push((walker.source(group.source).clone(), Extents::default()));
                self.unsealed.clear();
            }
            self.seal = (group.header.kind == GroupKind::Seal).then_some(group);
            match group.header.kind {
                GroupKind::Seal => self.unsealed.clear(),
                GroupKind::Batches => {
                    self.unsealed.push(group);
                    self.recovery.groups += 1;
                }
            }
            self.recovery.last_group = group.header.group;
            if let Some((source, mut extents)) = self.used.pop() {
                self.read_group(&walker, &group, &mut extents)?;
                self.used.push((source, extents));
            }
        }
        self.recovery.torn = walker.torn();
        self.recovery.tails = self.chains.ends();
        Ok(())
    }

    /// Checks the batches of a group; where its last batch ends.
    fn read_group(&mut self, walker: &Walker, group: &GroupAt, extents: &mut Extents) -> Result<Option<Tail>, Error> {
        let segment = walker.source(group.source).header.segment;
        let mut tail = None;
        let mut all_whole = true;
        for batch in walk::batches(&group.header, walker.frame(group)) {
            let batch = batch.map_err(|at| Error::damage(&chain::unreadable(segment, group, at)))?;
            extents.add_header(&batch.header);
            tail = Some(Tail { seq: batch.header.last_seq(), hash: batch.header.hash });
            all_whole &= batch.whole;
            match self.chains.see(segment, group, &batch) {
                Fate::Follows => self.recovery.batches += 1,
                Fate::Damaged(damage) => self.recovery.damage.push(damage),
                Fate::Known | Fate::Behind => {}
            }
        }
        if !group.whole && all_whole {
            self.recovery.damage.push(chain::filling(segment, group));
        }
        Ok(tail)
    }

    fn next_segment(survey: &Survey) -> u64 {
        let ids = survey.names.segments.iter().chain(&survey.names.free);
        ids.max().map_or(1, |id| id + 1)
    }
}

fn read_marker(disk: &dyn Disk) -> Result<String, Error> {
    let mut bytes = Vec::new();
    disk.open_to_read(FAILED)
        .and_then(|file| disk::read_whole(&*file, &mut bytes))
        .map_err(Error::io("cannot read the marker of the failure"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes what a crash left half done; segments that hold no group become free.
fn tidy(disk: &Arc<dyn Disk>, survey: &Survey, found: &mut Found) -> io::Result<YardState> {
    for name in &survey.names.unfinished {
        disk.remove(name)?;
    }
    let mut yard = YardState {
        next_segment: Found::next_segment(survey),
        free: survey.names.free.clone(),
        sides: found.sides.iter().copied().collect(),
        frozen: found.chains.damaged().clone(),
        reserve: survey.names.reserve,
        ..YardState::default()
    };
    for source in &survey.segments {
        let id = source.header.segment;
        if !found.used.iter().any(|(used, _)| used.header.segment == id) {
            disk.rename(&segment_name(id), &free_name(id))?;
            yard.free.push(id);
        }
    }
    disk.sync_names()?;
    Ok(yard)
}

/// Makes sure that the end is on disk, and gives the segment that goes on from it.
fn secure(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    mut found: Found,
    mut yard: YardState,
    guard: Box<dyn Guard>,
) -> Result<Recovered, Error> {
    let last_group = found.recovery.last_group;
    let last = found.used.pop();
    let sealed = found.seal.filter(|_| found.recovery.torn.is_none() && found.recovery.after_failure.is_none());
    let mut next_group = last_group + 1;
    let going_on = match (&last, sealed) {
        (Some((source, _)), Some(seal)) => go_on(disk, source, &seal)?,
        _ => None,
    };
    let active = match (going_on, last) {
        (Some((segment, offset)), Some((_, extents))) => Active { segment, offset, extents },
        (_, last) => {
            let mut tail = Ending::default();
            if let Some((source, extents)) = last {
                // Torn or not, groups from here on are void where they lie.
                let first = found.unsealed.first().map_or(next_group, |group| group.header.group);
                tail.supersedes_from = first;
                let mut closed = Closed { header: source.header, limit: source.limit.min(first), extents };
                tail.read(disk, &source, &found.unsealed)?;
                if !found.unsealed.is_empty() {
                    closed.extents = extents_before(disk, &source, first)?;
                }
                found.used.push((Source { limit: closed.limit, ..source }, closed.extents));
            }
            if last_group > 0 {
                tail.seal = Some(next_group);
                next_group += 1;
            }
            found.recovery.secured_bytes = tail.bytes();
            fresh(settings, disk, &mut yard, &tail)?
        }
    };
    if found.recovery.after_failure.is_some() {
        disk.remove(FAILED)
            .and_then(|()| disk.sync_names())
            .map_err(Error::io("cannot remove the marker of the failure"))?;
    }
    yard.closed = VecDeque::from_iter(found.used.into_iter().map(|(source, extents)| Closed {
        header: source.header,
        limit: source.limit,
        extents,
    }));
    Ok(Recovered { guard, recovery: found.recovery, yard, active, next_group })
}

/// The sealed segment, to be written on. The seal is written again: it proves what is before it, but was perhaps
/// itself never synced, and a hole in its place would look like damage one day.
fn go_on(disk: &Arc<dyn Disk>, source: &Source, seal: &GroupAt) -> Result<Option<(Prepared, u64)>, Error> {
    let header = source.header;
    let again = || -> io::Result<Option<(Prepared, u64)>> {
        let file = disk.open(&source.name)?;
        if file.bytes()? != header.bytes {
            return Ok(None);
        }
        let mut frame = vec![0; seal.span];
        let read = file.read_at(&mut frame, seal.offset as u64)?;
        if read != frame.len() {
            return Ok(None);
        }
        disk::write_all(&*file, &frame, seal.offset as u64)?;
        file.sync_data()?;
        Ok(Some((Prepared { file, header }, (seal.offset + seal.span) as u64)))
    };
    again().map_err(Error::io(format!("cannot write the seal of {} again", source.name)))
}

/// What a fresh segment starts with.
#[derive(Debug)]
struct Ending {
    /// Number, `durable_through`, batches and bytes of each group.
    groups: Vec<(u64, u64, u32, Vec<u8>)>,
    extents: Extents,
    supersedes_from: u64,
    seal: Option<u64>,
}

impl Default for Ending {
    fn default() -> Self {
        Self { groups: Vec::new(), extents: Extents::default(), supersedes_from: SUPERSEDES_NOTHING, seal: None }
    }
}

impl Ending {
    fn bytes(&self) -> u64 {
        self.groups.iter().map(|(.., bytes)| bytes.len() as u64).sum()
    }

    fn read(&mut self, disk: &Arc<dyn Disk>, source: &Source, groups: &[GroupAt]) -> Result<(), Error> {
        if groups.is_empty() {
            return Ok(());
        }
        let mut all = Vec::new();
        let read = disk.open_to_read(&source.name).and_then(|file| disk::read_whole(&*file, &mut all));
        read.map_err(Error::io(format!("cannot read {}", source.name)))?;
        for group in groups {
            let frame = all.get(group.offset..group.offset + group.span).unwrap_or_default();
            let payload = GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + group.header.length as usize;
            let Some(payload) = frame.get(payload) else {
                let source_error = io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter");
                return Err(Error::io(format!("cannot read {}", source.name))(source_error));
            };
            for batch in walk::batches(&group.header, frame).flatten() {
                self.extents.add_header(&batch.header);
            }
            let header = &group.header;
            self.groups.push((header.group, header.durable_through, header.batches, payload.to_vec()));
        }
        Ok(())
    }

    /// The groups, and the seal, as they go behind the header of `segment`.
    fn frame(&self, segment: &SegmentHeader) -> Vec<u8> {
        let mut out = Vec::new();
        let mut frame = GroupFrame::default();
        for (group, durable_through, batches, bytes) in &self.groups {
            frame.clear();
            frame.push_all(bytes, *batches);
            out.extend_from_slice(frame.finish(segment, *group, *durable_through));
        }
        if let Some(seal) = self.seal {
            frame.clear();
            out.extend_from_slice(frame.finish(segment, seal, seal - 1));
        }
        out
    }
}

/// What remains valid in a segment whose groups from `first` on are superseded.
fn extents_before(disk: &Arc<dyn Disk>, source: &Source, first: u64) -> Result<Extents, Error> {
    let mut extents = Extents::default();
    let limited = Source { limit: first, ..source.clone() };
    let mut walker = Walker::new(Arc::clone(disk), vec![limited]);
    while let Some(step) = walker.step()? {
        if let Step::Group(group) = step {
            for batch in walk::batches(&group.header, walker.frame(&group)).flatten() {
                extents.add_header(&batch.header);
            }
        }
    }
    Ok(extents)
}

/// A fresh segment with `tail`, synced, read back and compared before its name can be relied on.
fn fresh(settings: &Settings, disk: &Arc<dyn Disk>, yard: &mut YardState, tail: &Ending) -> Result<Active, Error> {
    let id = yard.next_segment;
    yard.next_segment += 1;
    let mut header = SegmentHeader {
        segment: id,
        bytes: settings.segment_bytes,
        align: settings.align_bytes,
        salt: disk.salt(),
        supersedes_from: tail.supersedes_from,
    };
    let body = tail.frame(&header);
    // Settings may have become smaller than what the last run left; room for one more seal.
    let needed = format::aligned(SEGMENT_HEADER_BYTES + body.len() + 2 * header.align as usize, 4096) as u64;
    header.bytes = header.bytes.max(needed);
    let body_end = (SEGMENT_HEADER_BYTES + body.len()) as u64;
    let mut outcome = Err(io::Error::other("no attempt was made"));
    // A recycled file first, then a new one, then a new one in the room of the reserve.
    while let Some(free) = yard.free.pop() {
        let fits = disk.open(&free_name(free)).and_then(|file| file.bytes()).is_ok_and(|bytes| bytes == header.bytes);
        if fits {
            outcome = segment::prepare(&**disk, Some(free), &header, &body);
            break;
        }
        disk.remove(&free_name(free)).map_err(Error::io("cannot remove a segment of another size"))?;
    }
    if outcome.is_err() {
        outcome = segment::prepare(&**disk, None, &header, &body);
    }
    if outcome.is_err() && yard.reserve {
        disk.remove(RESERVE).and_then(|()| disk.sync_names()).map_err(Error::io("cannot give up the reserve"))?;
        yard.reserve = false;
        tracing::warn!("the reserve was given up to secure the end of the journal");
        outcome = segment::prepare(&**disk, None, &header, &body);
    }
    let segment = outcome.map_err(|source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { needed_bytes: header.bytes, source }
        }
        _ => Error::Io { what: "cannot make a fresh segment".to_owned(), source },
    })?;
    verify(&segment, &header, &body)?;
    Ok(Active { segment, offset: body_end, extents: tail.extents.clone() })
}

/// Reads the fresh segment back, from the device if the system allows, and compares.
fn verify(segment: &Prepared, header: &SegmentHeader, body: &[u8]) -> Result<(), Error> {
    segment.file.forget_cached();
    let mut found = vec![0; SEGMENT_HEADER_BYTES + body.len()];
    let mut have = 0;
    while have < found.len() {
        match segment.file.read_at(&mut found[have..], have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(source) => {
                return Err(Error::Io { what: "cannot read the fresh segment back".to_owned(), source });
            }
        }
    }
    if found[..SEGMENT_HEADER_BYTES] == header.encode() && found[SEGMENT_HEADER_BYTES..] == *body {
        return Ok(());
    }
    let differs = found[SEGMENT_HEADER_BYTES..].iter().zip(body).take_while(|(found, body)| found == body).count();
    let place = Place::new(header.segment, SEGMENT_HEADER_BYTES + differs);
    let source = io::Error::new(io::ErrorKind::InvalidData, format!("it differs at {place} from what was written"));
    Err(Error::Io { what: "the fresh segment reads back other bytes; replace the disk".to_owned(), source })
}
