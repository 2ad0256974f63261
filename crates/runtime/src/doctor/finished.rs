//! TX-1, TX-2 and TX-3 on what has ended: each once in history, each row whole, nothing done and not undone.
//!
//! Left out: what participants really did; the ledger of `tidegate stand` can be audited for that.

use std::path::Path;

use hashbrown::HashMap;
use model::TxId;
use partition::branch::{Branch, Status};
use partition::transaction::Phase;
use partition::{Transaction, TxOutcome};
use plan::{PlanHash, Saga, Undo};

use super::reading::ended::{self, Ended};
use super::replay::Outcome;
use super::report::Notebook;
use super::seqs::SeqSet;
use super::{Doctor, RESTORE};
use crate::idempotency;
use crate::prepare::TENANT;
use crate::shared::{key_hash, tag};
use crate::tables::Tables;
use crate::worker::ENDED;

pub(super) const RECORDS: &str = "history.records";
pub(super) const ONCE: &str = "history.once";
pub(super) const UNDONE: &str = "history.undone";

/// Plans by their hash: those of the catalog, and those that only a partition's journal has.
pub(super) struct Plans<'a> {
    pub(super) tables: &'a Tables,
    pub(super) others: HashMap<PlanHash, std::sync::Arc<partition::plans::PlanSlot>>,
}

impl Plans<'_> {
    fn saga(&self, hash: &PlanHash) -> Option<&Saga> {
        let declared = self.tables.plans.get(hash).map(|version| version.saga.as_ref());
        declared.or_else(|| self.others.get(hash).map(|slot| &slot.saga))
    }
}

/// Reads all of history and holds it against the journal and the live transactions.
pub(super) fn check(doctor: &mut Doctor<'_>, dir: &Path, plans: &Plans<'_>, outcomes: &[Outcome]) {
    let mut seen: Vec<SeqSet> = outcomes.iter().map(|_| SeqSet::default()).collect();
    let mut records = 0;
    let segments = match ended::segments(dir) {
        Ok(segments) => segments,
        Err(error) => {
            doctor.book.wrong(RECORDS, error.place(), error.what, RESTORE);
            return;
        }
    };
    for (id, path) in segments {
        let result = ended::for_each(id, &path, |record| {
            records += 1;
            let place = format!("{}, byte {}", path.display(), record.offset);
            once(&mut doctor.book, &place, record, outcomes, &mut seen);
            row(&mut doctor.book, &place, record, plans);
            doctor.progress.tell("reading history", 1, "records");
        });
        if let Err(error) = result {
            doctor.book.wrong(RECORDS, error.place(), error.what, RESTORE);
        }
    }
    doctor.book.looked_at(RECORDS, "records", records);
    doctor.book.looked_at(ONCE, "records", records);
    if doctor.records_inspected.is_some_and(|inspected| inspected != records) {
        let what = format!("{records} records were read, the store's inspection counts {:?}", doctor.records_inspected);
        doctor.book.wrong(RECORDS, dir.display().to_string(), what, "report it: two readers of one format disagree");
    }
    if outcomes.iter().all(|outcome| outcome.is_at_end) {
        missing(&mut doctor.book, outcomes, &seen);
    } else {
        doctor.book.not_done(ONCE, "the journal could not be replayed, so nobody knows what ended");
    }
}

/// When the oldest record of history ended, if retention has dropped older ones; else 0.
pub(super) fn begins(dir: &Path) -> u64 {
    let mut oldest = u64::MAX;
    // Segments are numbered from 1 and dropped from the front.
    match ended::segments(dir).ok().and_then(|segments| segments.into_iter().next()) {
        Some((id, path)) if id > 1 => {
            match ended::for_each(id, &path, |record| oldest = oldest.min(record.ended_at_us)) {
                Ok(()) => oldest,
                Err(_) => 0,
            }
        }
        _ => 0,
    }
}

/// TX-1: no id twice, none that is live as well, none that the journal never gave.
fn once(book: &mut Notebook, place: &str, record: &Ended<'_>, outcomes: &[Outcome], seen: &mut [SeqSet]) {
    let id = TxId(record.id);
    let at = usize::from(id.partition().0);
    let (Some(outcome), Some(seen)) = (outcomes.get(at), seen.get_mut(at)) else {
        let what = format!("TX-1: {id} is of partition {at}, the directory has {}", outcomes.len());
        return book.wrong(ONCE, place, what, RESTORE);
    };
    if !seen.insert(id.seq()) {
        let what = format!("TX-1: {id} is in history twice, or two transactions share an entry of the journal");
        book.wrong(ONCE, place, what, "keep a copy of the directory and report it; both records stay readable");
    }
    let Some(state) = outcome.state.as_ref().filter(|_| outcome.is_at_end) else { return };
    if id.seq() > state.partition.seq {
        let what = format!("TX-1: {id} has ended, but the journal ends at entry {}", state.partition.seq);
        return book.wrong(
            ONCE,
            place,
            what,
            "the journal has lost its end, or history is of another directory: restore",
        );
    }
    if state.partition.presence(id.seq()) != partition::state::Presence::Absent {
        let what = format!("TX-2: {id} is in history and live as well");
        book.wrong(ONCE, place, what, "keep a copy of the directory and report it before starting the node");
    }
}

/// What ended according to the journal is in history, or will be put there by the next start.
fn missing(book: &mut Notebook, outcomes: &[Outcome], seen: &[SeqSet]) {
    for (id, (outcome, seen)) in outcomes.iter().zip(seen).enumerate() {
        book.looked_at(ONCE, "ends in the journal", outcome.ended_before.len() + outcome.ended_after.len());
        for seq in outcome.ended_before.iter().filter(|seq| !seen.contains(*seq)) {
            let name = outcome.ids.get(&seq).map(|id| format!("{}, ", TxId(*id))).unwrap_or_default();
            book.wrong(
                ONCE,
                format!("{name}partition {id}, begun by entry {seq}"),
                "TX-2: it has ended, no checkpoint has it any more, and history does not have it",
                "if the older checkpoint is used, the journal's replay brings it back: report it before starting",
            );
        }
        let to_come: Vec<u64> = outcome.ended_after.iter().filter(|seq| !seen.contains(*seq)).collect();
        if let Some(first) = to_come.first() {
            let name = outcome.ids.get(first).map_or_else(String::new, |id| format!(", first {}", TxId(*id)));
            book.note(
                ONCE,
                format!("partition {id}, begun by entry {first}{name}"),
                format!("ended transactions that are in the journal and not yet in history: {}", to_come.len()),
                "nothing: the next start puts them there",
            );
        }
    }
}

/// The record agrees with its row, and the row with the promises.
fn row(book: &mut Notebook, place: &str, record: &Ended<'_>, plans: &Plans<'_>) {
    let id = TxId(record.id);
    let hash = wire::row::plan_of(record.row);
    let read = hash.and_then(|hash| Ok((hash, wire::row::read(record.row, |_| Some(0))?)));
    let (hash, tx) = match read {
        Ok(read) => read,
        Err(error) => return book.wrong(RECORDS, place, format!("the row of {id} does not decode: {error}"), RESTORE),
    };
    if !plans.tables.plans.contains_key(&hash) {
        let what = format!("the plan of {id} is not in the catalog, so it cannot be shown");
        book.wrong(RECORDS, place, what, "apply the definition again with the same version and text");
    }
    let same = tx.id == id
        && tx.began_at.0 == record.began_at_us
        && tx.ended_at.0 == record.ended_at_us
        && record.words[0] == ENDED
        && record.words[1] == outcome_number(&tx);
    if !same {
        book.wrong(RECORDS, place, format!("the record of {id} says something else than its row ({})", tx.id), RESTORE);
    }
    let Some(saga) = plans.saga(&hash) else { return };
    let found = idempotency::scope(TENANT, &saga.name, &tx.idempotency_key) == record.idempotency
        && key_hash(&saga.name, &tx.key) == record.key
        && tag("definition", &saga.name) == record.definition;
    book.looked_at(RECORDS, "index entries recomputed", 3);
    if !found {
        let what = format!("TX-1: {id} would not be found by its idempotency key, key or definition");
        book.wrong(RECORDS, place, what, "report it: a resubmission of it could begin a second time");
    }
    tally(book, &tx, saga);
    judge(book, &tx, saga, place);
}

fn outcome_number(tx: &Transaction) -> u8 {
    match tx.outcome {
        None => 0,
        Some(TxOutcome::Completed) => 1,
        Some(TxOutcome::Aborted(_)) => 2,
    }
}

/// How an ended transaction came to its end, counted.
fn tally(book: &mut Notebook, tx: &Transaction, saga: &Saga) {
    book.looked_at(UNDONE, "ended transactions", 1);
    if !matches!(tx.outcome, Some(TxOutcome::Aborted(_))) {
        return;
    }
    book.looked_at(UNDONE, "aborted", 1);
    for (state, step) in tx.steps.iter().zip(&saga.steps) {
        let what = match (state.status, &step.compensate) {
            (Status::Compensated, _) => "steps compensated",
            (Status::GivenUp, _) => "undos given up by a person",
            (_, Undo::Nothing) if state.has_effect() => "steps with nothing to undo",
            _ if state.by_hand => "steps that a person says were not done",
            _ => continue,
        };
        book.looked_at(UNDONE, what, 1);
    }
}

/// TX-2 and TX-3 on one ended transaction.
pub(super) fn judge(book: &mut Notebook, tx: &Transaction, saga: &Saga, place: &str) {
    let place = format!("{} ({place})", tx.id);
    let advice = "find out at the participant what it did, and undo it by hand; then report it";
    if tx.phase != Phase::Ended || tx.outcome.is_none() {
        book.wrong(UNDONE, &place, format!("TX-2: it stands in {:?} with outcome {:?}", tx.phase, tx.outcome), advice);
    }
    if tx.steps.len() != saga.steps.len() {
        let what = format!("it has {} steps, its plan {}", tx.steps.len(), saga.steps.len());
        return book.wrong(UNDONE, &place, what, RESTORE);
    }
    let aborted = matches!(tx.outcome, Some(TxOutcome::Aborted(_)));
    for (state, step) in tx.steps.iter().zip(&saga.steps) {
        let name = &step.name;
        if state.branch != Branch::Idle || matches!(state.status, Status::Active | Status::Undoing) {
            let what = format!("TX-2: step \"{name}\" is {:?}, {:?} though all has ended", state.status, state.branch);
            book.wrong(UNDONE, &place, what, advice);
        }
        // The exceptions that TX-2 names: what was undone or given up by a person, and `compensate: none`.
        let is_excepted =
            matches!(state.status, Status::Compensated | Status::GivenUp) || matches!(step.compensate, Undo::Nothing);
        if aborted && state.has_effect() && !is_excepted {
            let what = format!(
                "TX-3: it is aborted, and step \"{name}\" ({:?}) may have executed and was not compensated",
                state.status
            );
            book.wrong(UNDONE, &place, what, advice);
        }
    }
}
