//! Running a checkpoint: copy what is being reclaimed, append what changed, verify, publish, take it over.
//!
//! The order of records is what makes it right: rows copied by compaction come *before* the caller's changes, as if
//! they had been written one step earlier, so that a change in this very checkpoint always wins.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::index::{Place, reach};
use super::job::{CheckpointJob, Section};
use super::manifest::{self, Manifest, Part};
use super::segment::{self, RECORD_HEADER_LEN, SECTION_HEADER_LEN, Segment};
use super::{Rows, StateLog, Verified, Writer, compaction};
use crate::Error;
use crate::durable::{self, failed};
use crate::file::{File, FileExt};

/// Index changes taken over per lock, so that readers never wait long.
const TAKE_OVER_AT_ONCE: usize = 1024;

/// A change of the index that the published checkpoint brings.
pub(super) type Change = (u64, Option<Place>);

pub(super) fn run(job: CheckpointJob) -> Result<Verified, Error> {
    let log = job.log.clone();
    let mut writer = log.0.writer.lock();
    if let Some(reason) = &writer.stopped {
        return Err(Error::Stopped { room: "the state log", reason: reason.clone() });
    }
    if let Some(newest) = writer.kept.back()
        && job.seq < newest.seq
    {
        return Err(Error::Refused(format!("a checkpoint at seq {} after one at seq {}", job.seq, newest.seq)));
    }
    let result = write(&log, &mut writer, job);
    if let Err(error) = &result
        && !error.is_disk_full()
    {
        // After a failed sync the page cache and the disk may differ: nothing written from here on can be trusted.
        writer.stopped = Some(error.to_string());
    }
    result
}

fn write(log: &StateLog, writer: &mut Writer, job: CheckpointJob) -> Result<Verified, Error> {
    let mut output = Output::new(log, writer);
    let dirty_rows = job.rows();

    let plan = compaction::choose(log);
    let mut moved = HashMap::new();
    let mut evacuated = Vec::new();
    let mut copied_rows = 0;
    if !plan.is_empty() {
        let touched: HashSet<u64> = keys_of(&job).collect();
        let mut budget = log.0.settings.compact_bytes_max;
        for victim in plan {
            let outcome = compaction::evacuate(log, &victim, &touched, &mut budget, &mut output, &mut moved)?;
            copied_rows += outcome.rows;
            if outcome.complete {
                evacuated.push(victim.id);
            }
            if budget == 0 {
                break;
            }
        }
    }

    let first_of_checkpoint = output.next_segment_id();
    for mut section in job.sections {
        let mut at = SECTION_HEADER_LEN;
        let segment = output.place_for_section()?;
        while let Some((key, len, _)) = segment::record_at(&section.bytes, at) {
            // What this job wrote before is not in the index yet; its segments are all covered by reaching back to
            // the first that it wrote to.
            let older = moved.get(&key).copied().or_else(|| log.0.rows.read().index.get(key));
            let first = older.map_or(first_of_checkpoint, |place| place.first_segment().min(first_of_checkpoint));
            let reach = reach(segment, first);
            segment::finish_record(&mut section.bytes, at, len, reach);
            output.note(key, at, len, reach);
            at += RECORD_HEADER_LEN + len.unwrap_or(0) as usize;
        }
        output.write_section(section)?;
    }

    let Output { files, changes, written_bytes, .. } = output;
    if let Err(error) = files.sync_and_verify() {
        // Even "disk full" cannot be taken back once a sync has said it.
        writer.stopped = Some(error.to_string());
        return Err(error);
    }
    let manifest = {
        let rows = log.0.rows.read();
        let mut parts: std::collections::BTreeMap<u32, Part> =
            rows.segments.values().map(|s| (s.id, Part { id: s.id, len: s.len, chain: s.chain })).collect();
        for open in &files.open {
            parts.insert(open.id, Part { id: open.id, len: open.end, chain: open.chain });
        }
        for id in &evacuated {
            parts.remove(id);
        }
        Manifest {
            generation: writer.next_generation,
            seq: job.seq,
            batch_hash: job.batch_hash,
            segments: parts.into_values().collect(),
            meta: job.meta,
        }
    };
    durable::publish(&log.0.dir, &manifest::file_name(manifest.generation), &manifest.encode())?;

    writer.next_generation += 1;
    writer.next_segment = files.next_segment;
    take_over(log, &files.open, &changes, &evacuated);
    writer.kept.push_back(manifest);
    drop_what_nobody_needs(log, writer);

    let trim_through = if writer.kept.len() == 2 { writer.kept[0].seq } else { 0 };
    Ok(Verified { seq: job.seq, trim_through, dirty_rows, copied_rows, written_bytes })
}

fn keys_of(job: &CheckpointJob) -> impl Iterator<Item = u64> + '_ {
    job.sections.iter().flat_map(|section| {
        let mut at = SECTION_HEADER_LEN;
        std::iter::from_fn(move || {
            let (key, len, _) = segment::record_at(&section.bytes, at)?;
            at += RECORD_HEADER_LEN + len.unwrap_or(0) as usize;
            Some(key)
        })
    })
}

/// Brings index and segment table to the published checkpoint, a bounded number of rows per lock.
fn take_over(log: &StateLog, open: &[OpenSegment], changes: &[Change], evacuated: &[u32]) {
    {
        let mut rows = log.0.rows.write();
        for part in open {
            let segment = rows.segments.entry(part.id).or_insert_with(|| Segment {
                id: part.id,
                path: part.path.clone(),
                file: part.file.clone(),
                len: 0,
                live_bytes: 0,
                deletes: 0,
                chain: 0,
            });
            segment.len = part.end;
            segment.chain = part.chain;
        }
    }
    for some in changes.chunks(TAKE_OVER_AT_ONCE) {
        let mut rows = log.0.rows.write();
        for (key, place) in some {
            rows.change(*key, *place);
        }
    }
    let mut rows = log.0.rows.write();
    for part in open {
        if let Some(segment) = rows.segments.get_mut(&part.id) {
            segment.deletes += part.deletes;
        }
    }
    for id in evacuated {
        rows.segments.remove(id);
    }
}

impl Rows {
    /// Moves, adds or removes one row and keeps the segments' live bytes right.
    pub(super) fn change(&mut self, key: u64, place: Option<Place>) {
        let old = match place {
            Some(place) => {
                if let Some(segment) = self.segments.get_mut(&place.segment) {
                    segment.live_bytes += segment::footprint(place.len);
                }
                self.index.insert(key, place)
            }
            None => self.index.remove(key),
        };
        if let Some(old) = old
            && let Some(segment) = self.segments.get_mut(&old.segment)
        {
            segment.live_bytes -= segment::footprint(old.len);
        }
    }
}

/// Keeps two manifests and the segments that either names. What cannot be removed now is removed at the next start.
fn drop_what_nobody_needs(log: &StateLog, writer: &mut Writer) {
    while writer.kept.len() > 2 {
        let Some(oldest) = writer.kept.pop_front() else { return };
        if let Err(error) = durable::remove(&log.0.dir.join(manifest::file_name(oldest.generation))) {
            tracing::warn!(%error, "an old checkpoint stays on disk until the next start");
        }
        for part in oldest.segments {
            let still_needed = writer.kept.iter().any(|kept| kept.segments.iter().any(|other| other.id == part.id));
            if !still_needed && let Err(error) = durable::remove(&log.0.dir.join(segment::file_name(part.id))) {
                tracing::warn!(%error, "an old segment stays on disk until the next start");
            }
        }
    }
}

/// A segment that this checkpoint appends to.
#[derive(Debug)]
struct OpenSegment {
    id: u32,
    path: std::path::PathBuf,
    file: Arc<File>,
    /// Where this checkpoint's bytes begin and end.
    start: u64,
    end: u64,
    /// Where blocks are reserved up to.
    reserved: u64,
    chain: u64,
    deletes: u64,
    sections: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Files {
    open: Vec<OpenSegment>,
    next_segment: u32,
}

/// Where a checkpoint's sections go.
#[derive(Debug)]
pub(super) struct Output<'a> {
    log: &'a StateLog,
    generation: u64,
    /// The unsealed segment of the last checkpoint, while it may still be appended to.
    resume: Option<Segment>,
    files: Files,
    changes: Vec<Change>,
    noted: Vec<(u64, u32, Option<u32>, u8)>,
    copying: Option<Section>,
    written_bytes: u64,
}

impl<'a> Output<'a> {
    fn new(log: &'a StateLog, writer: &Writer) -> Self {
        let rows = log.0.rows.read();
        // The newest segment is appended to until it is large, or mostly dead: then it must be left alone so that it
        // can be reclaimed.
        let resume = rows.segments.values().next_back().filter(|last| {
            let mostly_dead = last.len > log.0.settings.dead_bytes_min() && last.live_bytes * 2 < last.len;
            last.len < log.0.settings.segment_bytes && !mostly_dead
        });
        Self {
            log,
            generation: writer.next_generation,
            resume: resume.cloned(),
            files: Files { open: Vec::new(), next_segment: writer.next_segment },
            changes: Vec::new(),
            noted: Vec::new(),
            copying: None,
            written_bytes: 0,
        }
    }

    /// The segment that the next section goes to, or a lower bound of it.
    fn next_segment_id(&self) -> u32 {
        match (self.files.open.first(), &self.resume) {
            (Some(open), _) => open.id,
            (None, Some(resume)) => resume.id,
            (None, None) => self.files.next_segment,
        }
    }

    /// The segment for the next section, opened or created.
    pub(super) fn place_for_section(&mut self) -> Result<u32, Error> {
        if let Some(open) = self.files.open.last()
            && open.end < self.log.0.settings.segment_bytes
        {
            return Ok(open.id);
        }
        if self.files.open.is_empty()
            && let Some(resume) = self.resume.take()
        {
            self.files.open.push(OpenSegment {
                id: resume.id,
                path: resume.path,
                file: resume.file,
                start: resume.len,
                end: resume.len,
                reserved: resume.len,
                chain: resume.chain,
                deletes: 0,
                sections: Vec::new(),
            });
            return Ok(resume.id);
        }
        let id = self.files.next_segment;
        let path = self.log.0.dir.join(segment::file_name(id));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        self.files.next_segment += 1;
        self.files.open.push(OpenSegment {
            id,
            path,
            file: Arc::new(file),
            start: 0,
            end: 0,
            reserved: 0,
            chain: 0,
            deletes: 0,
            sections: Vec::new(),
        });
        Ok(id)
    }

    /// Remembers a record of the section being filled, at `at` in its buffer.
    pub(super) fn note(&mut self, key: u64, at: usize, len: Option<u32>, reach: u8) {
        self.noted.push((key, at as u32, len, reach));
    }

    /// Appends a copied record; used by compaction, before the caller's sections. Of the place returned only the
    /// segment and the reach are known yet.
    pub(super) fn copy(&mut self, key: u64, row: Option<&[u8]>, first: u32) -> Result<Place, Error> {
        if self.copying.as_ref().is_some_and(|section| section.is_full(self.log)) {
            self.finish_copying()?;
        }
        let id = self.place_for_section()?;
        let mut section = self.copying.take().unwrap_or_else(|| Section::empty(self.log));
        let at = section.bytes.len();
        let len = row.map(|row| row.len() as u32);
        let reach = reach(id, first);
        segment::push_record(&mut section.bytes, key, row);
        segment::finish_record(&mut section.bytes, at, len, reach);
        section.records += 1;
        self.copying = Some(section);
        self.note(key, at, len, reach);
        Ok(Place { segment: id, offset: 0, len: len.unwrap_or(0), reach })
    }

    pub(super) fn finish_copying(&mut self) -> Result<(), Error> {
        match self.copying.take() {
            Some(section) => self.write_section(section),
            None => Ok(()),
        }
    }

    fn write_section(&mut self, mut section: Section) -> Result<(), Error> {
        let segment_bytes = self.log.0.settings.segment_bytes;
        let Some(open) = self.files.open.last_mut() else { return Ok(()) };
        let hash = segment::finish_section(&mut section.bytes, open.id, self.generation, section.records);
        let len = section.bytes.len() as u64;
        if open.end + len > open.reserved {
            // Reserved ahead, so that a full disk shows here, where it can be undone, and not in the sync.
            let ahead = len.max((segment_bytes / 8).min(1 << 20));
            durable::reserve(&open.file, &open.path, open.end, ahead)?;
            open.reserved = open.end + ahead;
        }
        open.file.write_all_at(&section.bytes, open.end).map_err(failed("write", &open.path))?;
        for (key, at, len, reach) in self.noted.drain(..) {
            let place = len.map(|len| Place { segment: open.id, offset: open.end as u32 + at, len, reach });
            open.deletes += u64::from(place.is_none());
            self.changes.push((key, place));
        }
        open.sections.push((open.end, hash));
        open.chain = segment::chained(open.chain, hash);
        open.end += len;
        self.written_bytes += len;
        section.recycle(self.log);
        Ok(())
    }
}

impl Files {
    /// Syncs what was written, then reads it back from the disk and compares it with the hashes taken in memory.
    fn sync_and_verify(&self) -> Result<(), Error> {
        let mut section = Vec::new();
        for open in &self.open {
            // Cut what an earlier, failed attempt may have left behind the end, and any unused reservation.
            open.file.set_len(open.end).map_err(failed("cut", &open.path))?;
            open.file.sync_data().map_err(failed("sync", &open.path))?;
            if open.start == 0
                && let Some(dir) = open.path.parent()
            {
                durable::sync_dir(dir)?;
            }
            durable::forget_cached(&open.file, open.start, open.end - open.start);
            for (at, expected) in &open.sections {
                let hash = segment::read_section(&open.file, &open.path, open.id, *at, open.end, &mut section)?;
                if hash != *expected {
                    return Err(Error::damaged(&open.path, *at, "what was read back differs from what was written"));
                }
            }
        }
        Ok(())
    }
}
