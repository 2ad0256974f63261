//! JR-1: the journal replayed from the older checkpoint gives, byte for byte, what the newer one holds.
//!
//! Each partition is rebuilt twice: from its older checkpoint through all of the journal, and from its newer one,
//! which is what a start does. Where the first passes the newer checkpoint's seq, and again at the end, both must
//! hold the same frame and the same rows. Partitions are taken in lots, so that only so many rows are in memory;
//! a lot costs one reading of the journal. Left out: what the resulting state must look like (`live`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use hashbrown::HashMap;
use journal::{BatchHash, Opened, Recovered, RecoveredBatch, Start, Starts};
use model::{PartitionId, Seq};
use partition::branch::Branch;
use partition::state::Presence;
use partition::{EntryKind, Partition, Transaction};

use super::reading::rows::{Checkpoint, Rows, checkpoints};
use super::report::Notebook;
use super::seqs::SeqSet;
use super::{Doctor, RESTORE};

pub(super) const CHECKPOINTS: &str = "state.checkpoints";
pub(super) const REPLAY: &str = "state.replay";
/// Ids of ended transactions that are remembered to name one that history lacks.
const IDS_MAX: usize = 200_000;
/// Differing rows that are looked for before a comparison gives up.
const DIFFERENCES_MAX: u64 = 20;

/// A partition as rebuilt, with the rows that were left on disk.
pub(super) struct Rebuilt {
    pub(super) partition: Partition,
    pub(super) rows: Rows,
}

/// What the journal says about one partition.
#[derive(Default)]
pub(super) struct Outcome {
    /// As rebuilt, if it could be.
    pub(super) state: Option<Rebuilt>,
    /// It stands at the journal's end, and not only where the checkpoint does.
    pub(super) is_at_end: bool,
    /// Transactions, by the entry that began them, that ended at or before the newer checkpoint: only history has
    /// them now.
    pub(super) ended_before: SeqSet,
    /// And those that ended after it: a start would put them into history if they are not there.
    pub(super) ended_after: SeqSet,
    pub(super) ids: HashMap<Seq, u128>,
}

/// One partition on its way through the journal.
struct Track {
    id: u16,
    dir: PathBuf,
    older: Option<Rebuilt>,
    newer: Option<Rebuilt>,
    /// Where the newer checkpoint stands: seq, and the hash of the batch that ends there.
    newer_at: Option<(Seq, BatchHash)>,
    start: Option<Start>,
    hash_matches: Option<bool>,
    differed: bool,
    stopped: bool,
    batches: u64,
    entries: u64,
    first_seq: Option<Seq>,
    outcome: Outcome,
}

/// Replays every partition of `doctor`'s directory; `judge` is given each transaction that ended on the way.
pub(super) fn replay(
    doctor: &mut Doctor<'_>,
    opened: Option<&Opened>,
    partitions: u16,
    mut judge: impl FnMut(&mut Notebook, &Transaction, &Partition),
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut next = 0;
    while next < partitions {
        let mut lot = Vec::new();
        let mut rows = 0;
        while next < partitions && (lot.is_empty() || rows < doctor.settings.rows_at_once) {
            let track = load(doctor, next, &mut rows);
            lot.push(track);
            next += 1;
        }
        if let Some(opened) = opened
            && let Err(why) = run(doctor, opened, partitions, &mut lot, &mut judge)
        {
            doctor.book.not_done(REPLAY, why);
            lot.iter_mut().for_each(|track| track.stopped = true);
        }
        for track in lot {
            outcomes.push(finish(doctor, track, opened.is_some()));
        }
    }
    outcomes
}

/// Reads both checkpoints of a partition.
fn load(doctor: &mut Doctor<'_>, id: u16, rows: &mut u64) -> Track {
    let dir = doctor.data.join("state").join(format!("p{id:04}"));
    let mut track = Track {
        id,
        dir: dir.clone(),
        older: None,
        newer: None,
        newer_at: None,
        start: None,
        hash_matches: None,
        differed: false,
        stopped: false,
        batches: 0,
        entries: 0,
        first_seq: None,
        outcome: Outcome::default(),
    };
    let mut found = match checkpoints(&dir) {
        Ok(found) => found,
        Err(error) => {
            doctor.book.wrong(CHECKPOINTS, error.place(), error.what, RESTORE);
            return track;
        }
    };
    // More than two may lie there after a crash; a start uses the newest, and keeps the one before.
    let newest = found.split_off(found.len().saturating_sub(2));
    let mut usable = Vec::new();
    for checkpoint in newest {
        let rebuilt = checkpoint.and_then(|checkpoint| {
            let rebuilt = rebuild(doctor, id, &checkpoint)?;
            Ok((checkpoint, rebuilt))
        });
        match rebuilt {
            Ok(found) => usable.push(found),
            Err(error) => doctor.book.wrong(
                CHECKPOINTS,
                error.place(),
                format!("partition {id}: a checkpoint cannot be used: {}", error.what),
                "if the other checkpoint is whole, a start uses that one and the journal; else restore from a backup",
            ),
        }
    }
    for (_, rebuilt) in &usable {
        *rows += rebuilt.rows.len();
        doctor.book.looked_at(CHECKPOINTS, "checkpoints", 1);
        doctor.book.looked_at(CHECKPOINTS, "rows", rebuilt.rows.len());
    }
    if let Some((checkpoint, rebuilt)) = usable.pop() {
        track.newer_at = Some((checkpoint.seq, BatchHash(checkpoint.batch_hash)));
        track.newer = Some(rebuilt);
    }
    track.older = Some(match usable.pop() {
        Some((checkpoint, rebuilt)) => {
            track.start = Some(start_at(&checkpoint));
            rebuilt
        }
        // As long as nothing was trimmed, the journal reaches back to the beginning.
        None => Rebuilt { partition: Partition::new(PartitionId(id)), rows: Rows::default() },
    });
    track
}

fn start_at(checkpoint: &Checkpoint) -> Start {
    Start { seq: checkpoint.seq, hash: Some(BatchHash(checkpoint.batch_hash)) }
}

fn rebuild(doctor: &Doctor<'_>, id: u16, checkpoint: &Checkpoint) -> Result<Rebuilt, super::reading::Unreadable> {
    let wrong = |what: String| super::reading::Unreadable { path: checkpoint.path.clone(), offset: 0, what };
    let rows = checkpoint.rows()?;
    let mut partition =
        wire::checkpoint::read(PartitionId(id), &checkpoint.meta).map_err(|e| wrong(format!("its frame: {e}")))?;
    if partition.seq != checkpoint.seq {
        return Err(wrong(format!("its frame stands at entry {}, its name says {}", partition.seq, checkpoint.seq)));
    }
    let mut first_wrong = None;
    let mut kept = 0;
    rows.for_each(|key, row| {
        let plans = &partition.plans;
        match wire::row::read(row, |hash| plans.find(hash)) {
            Ok(tx) if tx.seq() != key => {
                first_wrong.get_or_insert_with(|| format!("the row of entry {key} holds {}", tx.id));
            }
            Ok(tx) => {
                let parked = tx.steps.iter().all(|s| matches!(s.branch, Branch::Idle | Branch::Parked));
                let keep = kept < doctor.settings.rows_at_once / 4 || !parked;
                kept += u64::from(keep);
                partition.restore_row(tx, keep);
            }
            Err(error) => {
                first_wrong.get_or_insert_with(|| format!("the row of entry {key}: {error}"));
            }
        }
    })?;
    match first_wrong {
        Some(what) => Err(wrong(what)),
        None => Ok(Rebuilt { partition, rows }),
    }
}

/// One reading of the journal for the partitions of a lot.
fn run(
    doctor: &mut Doctor<'_>,
    opened: &Opened,
    partitions: u16,
    lot: &mut [Track],
    judge: &mut impl FnMut(&mut Notebook, &Transaction, &Partition),
) -> Result<(), String> {
    let mut starts = Starts::new();
    for id in 0..partitions {
        // What is not in this lot is passed over.
        starts.insert(id, Start { seq: Seq::MAX - 1, hash: None });
    }
    for track in lot.iter() {
        starts.remove(&track.id);
        if let Some(start) = track.start {
            starts.insert(track.id, start);
        }
    }
    for track in lot.iter_mut() {
        compare_where_they_meet(doctor, track);
    }
    let first = lot.first().map_or(0, |track| track.id);
    let batches = opened.batches(&starts).map_err(|error| error.to_string())?;
    for found in batches {
        match found.map_err(|error| error.to_string())? {
            Recovered::Damaged(damage) => {
                let Some(track) = damage.partition.and_then(|p| lot.get_mut(usize::from(p.checked_sub(first)?))) else {
                    continue;
                };
                track.stopped = true;
                doctor.book.wrong(
                    REPLAY,
                    format!("partition {}, {}", track.id, damage.place),
                    format!("the journal cannot be replayed further: {}", super::files::said(&damage)),
                    RESTORE,
                );
            }
            Recovered::Batch(batch) => {
                let Some(track) = batch.partition.checked_sub(first).and_then(|place| lot.get_mut(usize::from(place)))
                else {
                    if batch.partition >= partitions {
                        return Err(format!(
                            "the batch at {} is of partition {}, the directory has {partitions}",
                            batch.place, batch.partition
                        ));
                    }
                    continue;
                };
                if track.stopped {
                    continue;
                }
                if let Err(what) = take(doctor, track, &batch, judge) {
                    track.stopped = true;
                    doctor.book.wrong(REPLAY, format!("partition {}, {}", track.id, batch.place), what, RESTORE);
                }
                doctor.tell("replaying the journal", batch.last_seq.saturating_sub(batch.first_seq) + 1, "entries");
            }
        }
    }
    Ok(())
}

/// Applies a batch to the states that it is news to.
fn take(
    doctor: &mut Doctor<'_>,
    track: &mut Track,
    batch: &RecoveredBatch,
    judge: &mut impl FnMut(&mut Notebook, &Transaction, &Partition),
) -> Result<(), String> {
    track.batches += 1;
    let first = *track.first_seq.get_or_insert(batch.first_seq);
    if track.start.is_none() && first > 1 && track.older.is_some() {
        // The journal was trimmed, which only two checkpoints allow.
        track.older = None;
        if track.newer_at.is_none() {
            return Err(format!("it begins at entry {first}, and there is no checkpoint that reaches so far"));
        }
    }
    if let Some((seq, hash)) = track.newer_at {
        let here =
            [(batch.last_seq == seq).then_some(batch.hash), (batch.first_seq == seq + 1).then_some(batch.prev_hash)];
        for found in here.into_iter().flatten() {
            track.hash_matches = Some(track.hash_matches == Some(true) || found == hash);
        }
        if batch.first_seq <= seq && seq < batch.last_seq {
            return Err(format!(
                "the checkpoint at entry {seq} stands inside a batch of {}..={}",
                batch.first_seq, batch.last_seq
            ));
        }
    }
    let entries = wire::EntryReader::new(batch.entries(), batch.first_seq);
    let count = batch.last_seq + 1 - batch.first_seq;
    if count == 0 {
        return Ok(());
    }
    track.entries += count;
    let mut decoded = Vec::with_capacity(count as usize);
    for entry in entries.map_err(|error| format!("the batch does not decode: {error}"))? {
        decoded.push(entry.map_err(|error| format!("an entry after {} does not decode: {error}", batch.first_seq))?);
    }
    if decoded.len() as u64 != count {
        return Err(format!("the batch says {count} entries and has {}", decoded.len()));
    }
    let newer_seq = track.newer_at.map_or(0, |(seq, _)| seq);
    let mut ended = Vec::new();
    let follows = |state: &Option<Rebuilt>| state.as_ref().is_some_and(|s| batch.last_seq > s.partition.seq);
    if follows(&track.older)
        && let Some(older) = &mut track.older
    {
        apply(older, &decoded, |tx| ended.push(tx))?;
    }
    compare_where_they_meet(doctor, track);
    let has_older = track.older.is_some();
    if follows(&track.newer)
        && let Some(newer) = &mut track.newer
    {
        apply(newer, &decoded, |tx| {
            if !has_older {
                ended.push(tx);
            }
        })?;
    }
    let Some(state) = track.older.as_ref().or(track.newer.as_ref()) else { return Ok(()) };
    for tx in ended {
        judge(&mut doctor.book, &tx, &state.partition);
        if tx.ended_at.0 < doctor.history_begins_us {
            // Retention has dropped it, though the journal still reaches back to it.
            continue;
        }
        let set =
            if batch.last_seq <= newer_seq { &mut track.outcome.ended_before } else { &mut track.outcome.ended_after };
        set.insert(tx.seq());
        if track.outcome.ids.len() < IDS_MAX {
            track.outcome.ids.insert(tx.seq(), tx.id.0);
        }
    }
    Ok(())
}

fn apply(
    state: &mut Rebuilt,
    entries: &[partition::Entry],
    mut ended: impl FnMut(Box<Transaction>),
) -> Result<(), String> {
    let Rebuilt { partition, rows } = state;
    let applied = catch_unwind(AssertUnwindSafe(|| -> Result<(), String> {
        for entry in entries {
            if let EntryKind::Moves { tx, .. } = &entry.kind
                && partition.presence(*tx) == Presence::Evicted
            {
                let row = rows.get(*tx).map_err(|error| format!("{}: {}", error.place(), error.what))?;
                let row = row.ok_or_else(|| format!("the row of entry {tx} is missing"))?;
                let plans = &partition.plans;
                let live = wire::row::read(&row, |hash| plans.find(hash)).map_err(|error| error.to_string())?;
                partition.admit(live);
            }
            if let Some(tx) = partition.apply(entry).map_err(|error| error.to_string())? {
                ended(tx);
            }
        }
        Ok(())
    }));
    applied
        .unwrap_or_else(|_| Err("applying its entries panics (SEMANTICS 12): this partition would freeze".to_owned()))
}

/// Compares both states when they stand at the same entry.
fn compare_where_they_meet(doctor: &mut Doctor<'_>, track: &mut Track) {
    let (Some(older), Some(newer)) = (&track.older, &track.newer) else { return };
    let at_checkpoint = track.newer_at.is_some_and(|(seq, _)| seq == older.partition.seq);
    if at_checkpoint && older.partition.seq == newer.partition.seq {
        track.differed |= compare(doctor, track.id, older, newer, "the newer checkpoint");
    }
}

/// True if they differ.
fn compare(doctor: &mut Doctor<'_>, id: u16, older: &Rebuilt, newer: &Rebuilt, at: &'static str) -> bool {
    let seq = older.partition.seq;
    let place = format!("partition {id}, entry {seq} ({at})");
    let advice = "keep a copy of the directory and report it; a start uses the newer checkpoint";
    let mut differences = 0;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    wire::checkpoint::write(&older.partition, &mut a);
    wire::checkpoint::write(&newer.partition, &mut b);
    if a != b {
        differences += 1;
        doctor.book.wrong(REPLAY, &place, "JR-1: the frames differ (epoch, time or plans)", advice);
    }
    let (seqs, others) = (older.partition.live_seqs(), newer.partition.live_seqs());
    let mut rows = 0;
    for seq in merged(&seqs, &others) {
        let row = |state: &Rebuilt, into: &mut Vec<u8>| row_of(state, seq, into);
        let found = (row(older, &mut a), row(newer, &mut b));
        rows += 1;
        let what = match found {
            (Ok(true), Ok(true)) if a == b => continue,
            (Ok(true), Ok(true)) => {
                let byte = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
                format!("the row of entry {seq} differs from byte {byte} on ({} and {} bytes)", a.len(), b.len())
            }
            (Ok(true), Ok(false)) => format!("the row of entry {seq} is missing from the checkpoint's side"),
            (Ok(false), Ok(true)) => format!("the row of entry {seq} is in the checkpoint's side only"),
            (Ok(false), Ok(false)) => continue,
            (Err(what), _) | (_, Err(what)) => what,
        };
        differences += 1;
        let name = older.partition.get(seq).or_else(|| newer.partition.get(seq)).map(|tx| tx.id.to_string());
        let place = format!("{place}, {}", name.as_deref().unwrap_or("a parked transaction"));
        doctor.book.wrong(REPLAY, place, format!("JR-1: {what}"), advice);
        if differences >= DIFFERENCES_MAX {
            break;
        }
    }
    doctor.book.looked_at(REPLAY, "states compared", 1);
    doctor.book.looked_at(REPLAY, "rows compared", rows);
    differences > 0
}

/// Both sorted lists as one.
fn merged(a: &[Seq], b: &[Seq]) -> Vec<Seq> {
    let mut all: Vec<Seq> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The row of a live transaction in today's encoding. False if it is not live there.
fn row_of(state: &Rebuilt, seq: Seq, into: &mut Vec<u8>) -> Result<bool, String> {
    into.clear();
    if state.partition.presence(seq) == Presence::Absent {
        return Ok(false);
    }
    let tx = state.read(seq)?;
    let plan = state.partition.plans.get(tx.plan).ok_or_else(|| format!("the plan of entry {seq} is missing"))?;
    wire::row::write(&tx, &plan.hash, into);
    Ok(true)
}

impl Rebuilt {
    /// A live transaction, from memory or from its row.
    pub(super) fn read(&self, seq: Seq) -> Result<std::borrow::Cow<'_, Transaction>, String> {
        if let Some(tx) = self.partition.get(seq) {
            return Ok(std::borrow::Cow::Borrowed(tx));
        }
        let row = self.rows.get(seq).map_err(|error| format!("{}: {}", error.place(), error.what))?;
        let row = row.ok_or_else(|| format!("the row of entry {seq} is missing"))?;
        let plans = &self.partition.plans;
        wire::row::read(&row, |hash| plans.find(hash)).map(std::borrow::Cow::Owned).map_err(|error| error.to_string())
    }
}

fn finish(doctor: &mut Doctor<'_>, mut track: Track, has_journal: bool) -> Outcome {
    let id = track.id;
    doctor.book.looked_at(REPLAY, "partitions", 1);
    doctor.book.looked_at(REPLAY, "states compared", 0);
    doctor.book.looked_at(REPLAY, "batches", track.batches);
    doctor.book.looked_at(REPLAY, "entries", track.entries);
    let newer_at = track.newer_at;
    if let Some((seq, _)) = newer_at {
        match track.hash_matches {
            Some(true) => doctor.book.looked_at(REPLAY, "batch hashes of checkpoints", 1),
            Some(false) => doctor.book.wrong(
                REPLAY,
                format!("{}, entry {seq}", track.dir.display()),
                format!("partition {id}: the checkpoint names another batch than the journal has there"),
                RESTORE,
            ),
            None => {}
        }
    }
    if !has_journal || track.stopped {
        // What was reached is no state that ever was; the checkpoint's is.
        track.older = None;
    }
    if let Some((seq, _)) = newer_at
        && has_journal
        && !track.stopped
    {
        let was_trimmed = track.start.is_none() && seq > 0 && track.first_seq.is_none_or(|first| first > 1);
        let reached = track.older.as_ref().map_or(seq, |state| state.partition.seq);
        if was_trimmed {
            doctor.book.wrong(
                CHECKPOINTS,
                track.dir.display().to_string(),
                format!(
                    "partition {id} has one checkpoint, though its journal was trimmed, which takes two: \
                     there is nothing to compare it with, and none to fall back to"
                ),
                "the next checkpoint of the running node makes the second one again",
            );
            track.older = None;
        } else if reached < seq {
            doctor.book.wrong(
                REPLAY,
                format!("partition {id}, entry {reached}"),
                format!("the journal ends at entry {reached}, before the checkpoint's {seq}"),
                "part of the journal is gone: restore from a backup",
            );
            track.older = None;
        }
    }
    if let (Some(older), Some(newer)) = (&track.older, &track.newer)
        && !track.differed
    {
        compare(doctor, id, older, newer, "the journal's end");
    }
    // What a start would use comes first.
    let state = if track.stopped { None } else { track.newer.or(track.older) };
    Outcome { is_at_end: state.is_some() && has_journal, state, ..track.outcome }
}
