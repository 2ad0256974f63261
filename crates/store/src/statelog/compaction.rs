//! Reclaiming dead space: the emptiest segments are copied out, a bounded number of bytes per checkpoint.
//!
//! Cleaning when dead bytes exceed live ones and preferring the emptiest segment follows the greedy policy of
//! log-structured file systems (Rosenblum and Ousterhout, 1992): space stays below about twice the live rows, and a
//! live row is copied about once per time that the log turns over.
//!
//! Deletes are the delicate part. A delete record must outlive every older version of its key, or the row would rise
//! from the dead when the segments are replayed. Each record therefore carries how far back older versions may lie
//! (`reach`); when its segment is given up, a delete is copied on only while such a segment exists.

use hashbrown::{HashMap, HashSet};

use super::StateLog;
use super::execution::Output;
use super::index::{Place, first_segment};
use super::segment::{self, Kind, RECORD_HEADER_LEN, Segment};
use crate::Error;

/// Segments looked at per checkpoint: bounds the reading, as the budget bounds the writing.
const VICTIMS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Evacuated {
    /// Nothing in the segment is needed any more once the checkpoint is published.
    pub(super) complete: bool,
    pub(super) rows: u64,
}

/// The segments to give up, emptiest first; none while less than half is dead.
pub(super) fn choose(log: &StateLog) -> Vec<Segment> {
    let rows = log.0.rows.read();
    let live: u64 = rows.segments.values().map(|s| s.live_bytes).sum();
    let total: u64 = rows.segments.values().map(|s| s.len).sum();
    let dead = total.saturating_sub(live);
    let last = rows.segments.keys().next_back().copied();
    // Without any live row a segment costs nothing to give up, so it goes at once.
    let worth_it = dead > live && dead >= log.0.settings.dead_bytes_min();
    let mut victims: Vec<Segment> = rows
        .segments
        .values()
        // The newest one may be appended to by this very checkpoint.
        .filter(|s| Some(s.id) != last && (s.live_bytes == 0 || (worth_it && s.live_bytes * 4 < s.len * 3)))
        .cloned()
        .collect();
    victims.sort_by_key(|s| (s.live_bytes * 1024 / s.len.max(1), s.id));
    victims.truncate(VICTIMS_MAX);
    victims
}

/// Copies what is still needed of `victim`. Rows that the caller changes in this checkpoint are left behind; their new
/// version carries the reach of the old one.
pub(super) fn evacuate(
    log: &StateLog,
    victim: &Segment,
    touched: &HashSet<u64>,
    budget: &mut u64,
    output: &mut Output<'_>,
    moved: &mut HashMap<u64, Place>,
) -> Result<Evacuated, Error> {
    let mut outcome = Evacuated { complete: true, rows: 0 };
    if victim.live_bytes == 0 && victim.deletes == 0 {
        return Ok(outcome);
    }
    let mut failure = None;
    segment::scan(&victim.file, &victim.path, victim.id, victim.len, |offset, record| {
        if failure.is_some() {
            return;
        }
        let live = moved.get(&record.key).copied().or_else(|| log.0.rows.read().index.get(record.key));
        let step = match record.kind {
            Kind::Put(row) => {
                let here = live.is_some_and(|place| place.segment == victim.id && place.offset == offset);
                if !here || touched.contains(&record.key) {
                    return;
                }
                Step::Row { row, first: first_segment(victim.id, record.reach) }
            }
            Kind::Delete => {
                let first = first_segment(victim.id, record.reach);
                let until = live.map_or(victim.id, |place| place.first_segment().min(victim.id));
                if !log.any_segment_in(first, until) {
                    return;
                }
                match live {
                    None => Step::Delete { first },
                    // Its row is already on the way in this checkpoint; this segment waits for the next one.
                    Some(_) if moved.contains_key(&record.key) => {
                        outcome.complete = false;
                        return;
                    }
                    // The key came back after this delete. Its row must now remember what the delete hid.
                    Some(place) => Step::Widen { place, first },
                }
            }
        };
        if *budget == 0 {
            outcome.complete = false;
            return;
        }
        match apply(log, step, record.key, output, moved) {
            Ok(bytes) => {
                *budget = budget.saturating_sub(bytes);
                outcome.rows += 1;
            }
            Err(error) => failure = Some(error),
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => output.finish_copying().map(|()| outcome),
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Row { row: &'a [u8], first: u32 },
    Delete { first: u32 },
    Widen { place: Place, first: u32 },
}

fn apply(
    log: &StateLog,
    step: Step<'_>,
    key: u64,
    output: &mut Output<'_>,
    moved: &mut HashMap<u64, Place>,
) -> Result<u64, Error> {
    let mut fetched = Vec::new();
    let (row, first) = match step {
        Step::Row { row, first } => (Some(row), first),
        Step::Delete { first } => (None, first),
        Step::Widen { place, first } => {
            let source = log.0.rows.read().segments.get(&place.segment).cloned();
            let Some(source) = source else {
                return Err(Error::damaged(&log.0.dir, 0, format!("row {key} is in an unknown segment")));
            };
            segment::read_row(&source.file, &source.path, key, place, &mut fetched)?;
            (Some(fetched.as_slice()), first)
        }
    };
    let place = output.copy(key, row, first)?;
    if row.is_some() {
        moved.insert(key, place);
    }
    Ok((RECORD_HEADER_LEN + row.map_or(0, <[u8]>::len)) as u64)
}

impl StateLog {
    /// True when a segment with `from <= id < until` exists.
    fn any_segment_in(&self, from: u32, until: u32) -> bool {
        from < until && self.0.rows.read().segments.range(from..until).next().is_some()
    }
}
