//! The row of a transaction: what a checkpoint keeps of a live one, and history of an ended one.
//!
//! The plan is named by its hash, so that a row can be read without its partition.

use std::sync::Arc;

use model::mutant::{Mutant, is_planted};
use model::{Timestamp, TxId};
use partition::Transaction;
use partition::branch::{Branch, StepState};
use plan::PlanHash;
use smallvec::SmallVec;

use crate::code::Coded;
use crate::moves::{
    act, attempt, attention, cause, flag, maybe_value, put_act, put_attempt, put_attention, put_cause, put_maybe_value,
    put_signal, signal,
};
use crate::primitive::{Bytes, Error, put_text, put_time, put_value, put_varint};

/// The version written today.
pub const VERSION: u8 = 1;

/// Appends the row of `tx`.
pub fn write(tx: &Transaction, plan: &PlanHash, out: &mut Vec<u8>) {
    let base = tx.began_at;
    out.push(VERSION);
    out.extend_from_slice(&tx.id.0.to_le_bytes());
    out.extend_from_slice(plan);
    out.extend_from_slice(&base.0.to_le_bytes());
    out.push(tx.phase.code());
    out.push(tx.lock.code());
    put_text(out, &tx.idempotency_key);
    out.extend_from_slice(&tx.submission_digest.to_le_bytes());
    match &tx.key {
        Some(key) => {
            out.push(1);
            put_text(out, key);
        }
        None => out.push(0),
    }
    put_value(out, &tx.input);
    put_time(out, tx.deadline, base);
    out.push(tx.priority);
    put_text(out, &tx.traceparent);
    out.push(tx.outcome.map_or(0, Coded::code));
    put_time(out, tx.decided_at, base);
    put_time(out, tx.ended_at, base);
    put_cause(out, &tx.cause);
    put_maybe_value(out, tx.output.as_ref());
    match &tx.attention {
        Some(attention) => {
            out.push(1);
            put_attention(out, attention, base);
        }
        None => out.push(0),
    }
    out.push(u8::from(tx.cancel_wish) | u8::from(tx.deadline_spent) << 1);
    put_varint(out, u64::from(tx.order_last));
    put_varint(out, tx.steps.len() as u64);
    for step in &tx.steps {
        put_step(out, step, base);
    }
    put_varint(out, tx.attempts.len() as u64);
    for attempt in &tx.attempts {
        put_attempt(out, attempt, base);
    }
    put_varint(out, u64::from(tx.attempts_dropped));
    put_varint(out, tx.signals.len() as u64);
    for signal in &tx.signals {
        put_signal(out, signal);
    }
    put_varint(out, tx.acts.len() as u64);
    for act in &tx.acts {
        put_act(out, act, base);
    }
}

fn put_step(out: &mut Vec<u8>, step: &StepState, base: Timestamp) {
    out.push(step.status.code());
    let flags = u8::from(step.may_have_executed)
        | u8::from(step.by_hand) << 1
        | u8::from(step.still_trying) << 2
        | u8::from(step.result.is_some()) << 3
        | u8::from(
            step.round != 0
                || step.patience_until != Timestamp::NEVER
                || step.undo_digest != 0
                || step.undo_first_attempt_at != Timestamp::ZERO,
        ) << 4
        | u8::from(
            step.attempts != 0
                || step.attempts_counted != 0
                || step.endpoint != 0
                || step.order != 0
                || step.digest != 0
                || step.first_attempt_at != Timestamp::ZERO
                || step.settles_at != Timestamp::ZERO,
        ) << 5
        | u8::from(step.undo_may_have_executed && !is_planted(Mutant::RowForgetsTheUndo)) << 6
        | u8::from(step.asked.is_some()) << 7;
    out.push(flags);
    match step.branch {
        Branch::Idle => out.push(0),
        Branch::Outstanding { epoch } => {
            out.push(1);
            put_varint(out, u64::from(epoch));
        }
        Branch::Parked => out.push(2),
        Branch::Backoff { until } => put_branch(out, 3, until, base),
        Branch::Signal { until } => put_branch(out, 4, until, base),
        Branch::Sleeping { until } => put_branch(out, 5, until, base),
        Branch::Quiet { until } => put_branch(out, 6, until, base),
        Branch::Attention => out.push(7),
    }
    if flags & 32 != 0 {
        put_varint(out, u64::from(step.attempts));
        put_varint(out, u64::from(step.attempts_counted));
        put_varint(out, u64::from(step.order));
        out.extend_from_slice(&step.digest.to_le_bytes());
        put_time(out, step.first_attempt_at, base);
        put_time(out, step.settles_at, base);
        put_varint(out, u64::from(step.endpoint));
    }
    if flags & 16 != 0 {
        put_varint(out, u64::from(step.round));
        out.extend_from_slice(&step.undo_digest.to_le_bytes());
        put_time(out, step.undo_first_attempt_at, base);
        put_time(out, step.patience_until, base);
    }
    if let Some(asked) = step.asked {
        out.push(asked.code());
    }
    if let Some(result) = &step.result {
        put_value(out, result);
    }
}

fn put_branch(out: &mut Vec<u8>, tag: u8, until: Timestamp, base: Timestamp) {
    out.push(tag);
    put_time(out, until, base);
}

/// The plan that a row names, without reading the rest.
pub fn plan_of(row: &[u8]) -> Result<PlanHash, Error> {
    const WHAT: &str = "a row";
    row.get(17..33).and_then(|hash| hash.try_into().ok()).ok_or(Error::Short { what: WHAT })
}

/// Reads a row. `place_of` gives the plan's place in the table of whoever asks.
pub fn read(row: &[u8], place_of: impl FnOnce(&PlanHash) -> Option<u32>) -> Result<Transaction, Error> {
    const WHAT: &str = "a row";
    let mut from = Bytes::new(row);
    let from = &mut from;
    let version = from.byte(WHAT)?;
    if version != VERSION {
        return Err(Error::Code { what: "a row version", code: u64::from(version) });
    }
    let id = TxId(u128::from_le_bytes(array(from)?));
    let hash: PlanHash = array(from)?;
    let plan = place_of(&hash).ok_or(Error::Code { what: "the plan of a row", code: 0 })?;
    let base = Timestamp(u64::from_le_bytes(array(from)?));
    let tx = Transaction {
        id,
        plan,
        began_at: base,
        phase: Coded::from_code(from.byte(WHAT)?)?,
        lock: Coded::from_code(from.byte(WHAT)?)?,
        idempotency_key: from.text(WHAT)?,
        submission_digest: u64::from_le_bytes(array(from)?),
        key: if flag(from)? { Some(from.text(WHAT)?) } else { None },
        input: Arc::new(from.value()?),
        deadline: from.time(base, WHAT)?,
        priority: from.byte(WHAT)?,
        traceparent: from.text(WHAT)?,
        outcome: match from.byte(WHAT)? {
            0 => None,
            code => Some(Coded::from_code(code)?),
        },
        decided_at: from.time(base, WHAT)?,
        ended_at: from.time(base, WHAT)?,
        cause: cause(from)?,
        output: maybe_value(from)?,
        attention: if flag(from)? { Some(attention(from, base)?) } else { None },
        cancel_wish: false,
        deadline_spent: false,
        order_last: 0,
        steps: SmallVec::new(),
        attempts: SmallVec::new(),
        attempts_dropped: 0,
        signals: Vec::new(),
        acts: Vec::new(),
    };
    rest(tx, from, base)
}

fn rest(mut tx: Transaction, from: &mut Bytes<'_>, base: Timestamp) -> Result<Transaction, Error> {
    const WHAT: &str = "a row";
    let flags = from.byte(WHAT)?;
    if flags > 3 {
        return Err(Error::Code { what: "the flags of a row", code: u64::from(flags) });
    }
    tx.cancel_wish = flags & 1 != 0;
    tx.deadline_spent = flags & 2 != 0;
    if is_planted(Mutant::RowForgetsTheDeadline) {
        tx.deadline = Timestamp::NEVER;
    }
    tx.order_last = from.small(WHAT)?;
    tx.steps = (0..from.count(WHAT)?).map(|_| step(from, base)).collect::<Result<_, _>>()?;
    tx.attempts = (0..from.count(WHAT)?).map(|_| attempt(from, base)).collect::<Result<_, _>>()?;
    tx.attempts_dropped = from.small(WHAT)?;
    tx.signals = (0..from.count(WHAT)?).map(|_| signal(from)).collect::<Result<_, _>>()?;
    tx.acts = (0..from.count(WHAT)?).map(|_| act(from, base)).collect::<Result<_, _>>()?;
    from.done()?;
    Ok(tx)
}

fn step(from: &mut Bytes<'_>, base: Timestamp) -> Result<StepState, Error> {
    const WHAT: &str = "a step";
    let status = Coded::from_code(from.byte(WHAT)?)?;
    let flags = from.byte(WHAT)?;
    let branch = match from.byte(WHAT)? {
        0 => Branch::Idle,
        1 => Branch::Outstanding { epoch: from.small(WHAT)? },
        2 => Branch::Parked,
        3 => Branch::Backoff { until: from.time(base, WHAT)? },
        4 => Branch::Signal { until: from.time(base, WHAT)? },
        5 => Branch::Sleeping { until: from.time(base, WHAT)? },
        6 => Branch::Quiet { until: from.time(base, WHAT)? },
        7 => Branch::Attention,
        code => return Err(Error::Code { what: "a branch", code: u64::from(code) }),
    };
    let mut step = StepState {
        status,
        branch,
        may_have_executed: flags & 1 != 0,
        by_hand: flags & 2 != 0,
        still_trying: flags & 4 != 0,
        undo_may_have_executed: flags & 64 != 0,
        ..StepState::default()
    };
    if flags & 32 != 0 {
        step.attempts = from.small(WHAT)?;
        step.attempts_counted = from.small(WHAT)?;
        step.order = from.small(WHAT)?;
        step.digest = u64::from_le_bytes(array(from)?);
        step.first_attempt_at = from.time(base, WHAT)?;
        step.settles_at = from.time(base, WHAT)?;
        step.endpoint = from.small(WHAT)?;
    }
    if flags & 16 != 0 {
        step.round = from.small(WHAT)?;
        step.undo_digest = u64::from_le_bytes(array(from)?);
        step.undo_first_attempt_at = from.time(base, WHAT)?;
        step.patience_until = from.time(base, WHAT)?;
    }
    if flags & 128 != 0 {
        step.asked = Some(Coded::from_code(from.byte(WHAT)?)?);
    }
    if flags & 8 != 0 {
        step.result = Some(Arc::new(from.value()?));
    }
    Ok(step)
}

fn array<const N: usize>(from: &mut Bytes<'_>) -> Result<[u8; N], Error> {
    const WHAT: &str = "a row";
    from.take(N, WHAT)?.try_into().map_err(|_| Error::Short { what: WHAT })
}
