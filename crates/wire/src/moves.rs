//! The recorded verdicts, one tag each.

use std::sync::Arc;

use model::mutant::{Mutant, is_planted};
use model::{Timestamp, TxId, Value};
use partition::transaction::{Act, Attempt, Attention, Cause, ReceivedSignal};
use partition::{Move, Shared};

use crate::code::Coded;
use crate::primitive::{Bytes, Error, put_text, put_time, put_value, put_varint};

pub(crate) fn put_maybe_value(out: &mut Vec<u8>, value: Option<&Arc<Value>>) {
    match value {
        Some(value) => {
            out.push(1);
            put_value(out, value);
        }
        None => out.push(0),
    }
}

pub(crate) fn maybe_value(from: &mut Bytes<'_>) -> Result<Option<Arc<Value>>, Error> {
    match from.byte("an optional value")? {
        0 => Ok(None),
        1 => Ok(Some(Arc::new(from.value()?))),
        code => Err(Error::Code { what: "an optional value", code: u64::from(code) }),
    }
}

pub(crate) fn put_attempt(out: &mut Vec<u8>, attempt: &Attempt, base: Timestamp) {
    put_varint(out, u64::from(attempt.step));
    // Direction, outcome, whether it counted, and whether the answer was another's share a byte.
    let flags = attempt.direction.code() | attempt.outcome.code() << 1 | u8::from(attempt.counted) << 3;
    out.push(flags | u8::from(attempt.shared.is_some()) << 4);
    put_varint(out, u64::from(attempt.n));
    put_varint(out, u64::from(attempt.endpoint));
    put_time(out, attempt.started_at, base);
    put_varint(out, u64::from(attempt.took_us));
    put_varint(out, u64::from(attempt.status));
    put_text(out, &attempt.detail);
    if let Some(shared) = attempt.shared.as_deref() {
        out.push(shared.way.code());
        out.extend_from_slice(&shared.tx.0.to_le_bytes());
        put_varint(out, u64::from(shared.step));
        put_varint(out, u64::from(shared.attempt));
        put_varint(out, shared.age_us);
    }
}

fn shared(from: &mut Bytes<'_>) -> Result<Shared, Error> {
    const WHAT: &str = "whose answer it was";
    let way = Coded::from_code(from.byte(WHAT)?)?;
    let tx = from.take(16, WHAT)?.try_into().map(u128::from_le_bytes).map_err(|_| Error::Short { what: WHAT })?;
    Ok(Shared { way, tx: TxId(tx), step: from.small(WHAT)?, attempt: from.small(WHAT)?, age_us: from.varint(WHAT)? })
}

pub(crate) fn attempt(from: &mut Bytes<'_>, base: Timestamp) -> Result<Attempt, Error> {
    const WHAT: &str = "an attempt";
    let step = from.small(WHAT)?;
    let flags = from.byte(WHAT)?;
    if flags > 31 {
        return Err(Error::Code { what: WHAT, code: u64::from(flags) });
    }
    Ok(Attempt {
        step,
        direction: Coded::from_code(flags & 1)?,
        outcome: Coded::from_code(flags >> 1 & 3)?,
        counted: flags & 8 != 0,
        n: from.small(WHAT)?,
        endpoint: from.small(WHAT)?,
        started_at: from.time(base, WHAT)?,
        took_us: from.small(WHAT)?,
        status: from.small(WHAT)?,
        detail: from.text(WHAT)?,
        shared: if flags & 16 != 0 { Some(Box::new(shared(from)?)) } else { None },
    })
}

pub(crate) fn put_cause(out: &mut Vec<u8>, cause: &Cause) {
    put_varint(out, cause.step.map_or(0, |step| u64::from(step) + 1));
    put_text(out, &cause.detail);
}

pub(crate) fn cause(from: &mut Bytes<'_>) -> Result<Cause, Error> {
    const WHAT: &str = "a cause";
    let step: u16 = from.small(WHAT)?;
    Ok(Cause { step: step.checked_sub(1), detail: from.text(WHAT)? })
}

pub(crate) fn put_attention(out: &mut Vec<u8>, attention: &Attention, base: Timestamp) {
    out.push(attention.cause.code());
    put_varint(out, attention.step.map_or(0, |step| u64::from(step) + 1));
    out.push(attention.direction.code());
    put_text(out, &attention.detail);
    put_time(out, attention.since, base);
}

pub(crate) fn attention(from: &mut Bytes<'_>, base: Timestamp) -> Result<Attention, Error> {
    const WHAT: &str = "attention";
    let cause = Coded::from_code(from.byte(WHAT)?)?;
    let step: u16 = from.small(WHAT)?;
    Ok(Attention {
        cause,
        step: step.checked_sub(1),
        direction: Coded::from_code(from.byte(WHAT)?)?,
        detail: from.text(WHAT)?,
        since: from.time(base, WHAT)?,
    })
}

pub(crate) fn put_signal(out: &mut Vec<u8>, signal: &ReceivedSignal) {
    put_text(out, &signal.name);
    put_text(out, &signal.idempotency_key);
    put_value(out, &signal.body);
}

pub(crate) fn signal(from: &mut Bytes<'_>) -> Result<ReceivedSignal, Error> {
    const WHAT: &str = "a signal";
    Ok(ReceivedSignal { name: from.text(WHAT)?, idempotency_key: from.text(WHAT)?, body: Arc::new(from.value()?) })
}

pub(crate) fn put_act(out: &mut Vec<u8>, act: &Act, base: Timestamp) {
    put_time(out, act.at, base);
    put_text(out, &act.verb);
    put_text(out, &act.who);
    put_text(out, &act.why);
}

pub(crate) fn act(from: &mut Bytes<'_>, base: Timestamp) -> Result<Act, Error> {
    const WHAT: &str = "an act";
    Ok(Act { at: from.time(base, WHAT)?, verb: from.text(WHAT)?, who: from.text(WHAT)?, why: from.text(WHAT)? })
}

pub(crate) fn put_move(out: &mut Vec<u8>, step: &Move, at: Timestamp) {
    match step {
        Move::TakeLock => out.push(1),
        Move::AwaitLock => out.push(2),
        Move::FreeLock => out.push(3),
        Move::Start { step, direction, digest } => {
            out.push(4);
            put_varint(out, u64::from(*step));
            out.push(direction.code());
            out.extend_from_slice(&digest.to_le_bytes());
        }
        Move::Park { step, direction, patience_until } => {
            out.push(5);
            put_varint(out, u64::from(*step));
            out.push(direction.code());
            put_time(out, *patience_until, at);
        }
        Move::Answer { attempt, settles_at, proves_not_executed, result } => {
            out.push(6);
            put_attempt(out, attempt, at);
            put_time(out, *settles_at, at);
            out.push(u8::from(*proves_not_executed));
            put_maybe_value(out, result.as_ref().filter(|_| !is_planted(Mutant::EntryForgetsTheResult)));
        }
        Move::LateDone { step, result } => {
            out.push(7);
            put_varint(out, u64::from(*step));
            put_maybe_value(out, result.as_ref());
        }
        Move::Backoff { step, until, still_trying } => {
            out.push(8);
            put_varint(out, u64::from(*step));
            put_time(out, *until, at);
            out.push(u8::from(*still_trying));
        }
        Move::AwaitSignal { step, until } => put_until(out, 9, *step, *until, at),
        Move::Sleep { step, until } => put_until(out, 10, *step, *until, at),
        Move::Quiet { step, until } => put_until(out, 11, *step, *until, at),
        Move::Settle { step, status, result, by_hand } => {
            out.push(12);
            put_varint(out, u64::from(*step));
            out.push(status.code());
            out.push(u8::from(*by_hand));
            put_maybe_value(out, result.as_ref());
        }
        Move::Signal(signal) => {
            out.push(13);
            put_signal(out, signal);
        }
        Move::Ask(attention) => {
            out.push(14);
            put_attention(out, attention, at);
        }
        Move::Unask => out.push(15),
        Move::Recount { step } => {
            out.push(16);
            put_varint(out, u64::from(*step));
        }
        Move::Wish => out.push(17),
        Move::Resume => out.push(18),
        Move::Stop { reason, cause } => {
            out.push(19);
            out.push(reason.code());
            put_cause(out, cause);
        }
        Move::Decide { outcome, cause, output } => {
            out.push(20);
            out.push(outcome.code());
            match cause {
                Some(cause) => {
                    out.push(1);
                    put_cause(out, cause);
                }
                None => out.push(0),
            }
            put_maybe_value(out, output.as_ref());
        }
        Move::Act(act) => {
            out.push(21);
            put_act(out, act, at);
        }
        Move::End => out.push(22),
        Move::Restored { step, direction } => {
            out.push(23);
            put_varint(out, u64::from(*step));
            out.push(direction.code());
        }
    }
}

fn put_until(out: &mut Vec<u8>, tag: u8, step: u16, until: Timestamp, at: Timestamp) {
    out.push(tag);
    put_varint(out, u64::from(step));
    put_time(out, until, at);
}

pub(crate) fn flag(from: &mut Bytes<'_>) -> Result<bool, Error> {
    match from.byte("a flag")? {
        0 => Ok(false),
        1 => Ok(true),
        code => Err(Error::Code { what: "a flag", code: u64::from(code) }),
    }
}

pub(crate) fn a_move(from: &mut Bytes<'_>, at: Timestamp) -> Result<Move, Error> {
    const WHAT: &str = "a move";
    Ok(match from.byte(WHAT)? {
        1 => Move::TakeLock,
        2 => Move::AwaitLock,
        3 => Move::FreeLock,
        4 => Move::Start {
            step: from.small(WHAT)?,
            direction: Coded::from_code(from.byte(WHAT)?)?,
            digest: from.take(8, WHAT)?.try_into().map(u64::from_le_bytes).map_err(|_| Error::Short { what: WHAT })?,
        },
        5 => Move::Park {
            step: from.small(WHAT)?,
            direction: Coded::from_code(from.byte(WHAT)?)?,
            patience_until: from.time(at, WHAT)?,
        },
        6 => Move::Answer {
            attempt: Box::new(attempt(from, at)?),
            settles_at: from.time(at, WHAT)?,
            proves_not_executed: flag(from)?,
            result: maybe_value(from)?,
        },
        7 => Move::LateDone { step: from.small(WHAT)?, result: maybe_value(from)? },
        8 => Move::Backoff { step: from.small(WHAT)?, until: from.time(at, WHAT)?, still_trying: flag(from)? },
        9 => Move::AwaitSignal { step: from.small(WHAT)?, until: from.time(at, WHAT)? },
        10 => Move::Sleep { step: from.small(WHAT)?, until: from.time(at, WHAT)? },
        11 => Move::Quiet { step: from.small(WHAT)?, until: from.time(at, WHAT)? },
        12 => {
            let step = from.small(WHAT)?;
            let status = Coded::from_code(from.byte(WHAT)?)?;
            let by_hand = flag(from)?;
            Move::Settle { step, status, by_hand, result: maybe_value(from)? }
        }
        13 => Move::Signal(signal(from)?),
        14 => Move::Ask(attention(from, at)?),
        15 => Move::Unask,
        16 => Move::Recount { step: from.small(WHAT)? },
        17 => Move::Wish,
        18 => Move::Resume,
        19 => Move::Stop { reason: Coded::from_code(from.byte(WHAT)?)?, cause: cause(from)? },
        20 => Move::Decide {
            outcome: Coded::from_code(from.byte(WHAT)?)?,
            cause: if flag(from)? { Some(cause(from)?) } else { None },
            output: maybe_value(from)?,
        },
        21 => Move::Act(act(from, at)?),
        22 => Move::End,
        23 => Move::Restored { step: from.small(WHAT)?, direction: Coded::from_code(from.byte(WHAT)?)? },
        code => return Err(Error::Code { what: WHAT, code: u64::from(code) }),
    })
}
