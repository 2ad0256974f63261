//! Whatever the types can hold comes back from its bytes: arbitrary verdicts, entries and rows.

use std::sync::Arc;

use crate::support::every;
use compact_str::CompactString;
use model::{Direction, Map, Number, Outcome, Timestamp, TxId, Value};
use partition::branch::{Branch, Status, StepState};
use partition::entry::Begun;
use partition::transaction::{
    Act, Attempt, Attention, AttentionCause, Cause, LockState, Phase, Reason, ReceivedSignal, TxOutcome,
};
use partition::{Entry, EntryKind, Move, Shared, SharedWay, Transaction};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = CompactString> {
    "[a-zäß€ 0-9]{0,40}".prop_map(CompactString::from)
}

/// Any time that a journal can name, and the two that stand for none.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::NEVER),
        Just(Timestamp::ZERO),
        (1..1_u64 << 62).prop_map(Timestamp),
        (0..1_u64 << 40).prop_map(|us| Timestamp(every::AT.0 + us)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::int),
        ((1_u64 << 63)..=u64::MAX).prop_map(|n| Value::Number(Number::Uint(n))),
        "[1-9][0-9]{0,30}\\.[0-9]{1,20}".prop_map(|t| Value::Number(Number::Decimal(t.into()))),
        text().prop_map(Value::Text),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((text(), inner), 0..6).prop_map(|members| {
                let mut map = Map::new();
                members.into_iter().for_each(|(name, member)| map.insert(name, member));
                Value::Map(map)
            }),
        ]
    })
}

fn maybe_value() -> impl Strategy<Value = Option<Arc<Value>>> {
    option::of(value().prop_map(Arc::new))
}

fn direction() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Call, Direction::Compensate])
}

fn reason() -> impl Strategy<Value = Reason> {
    select(vec![Reason::Refused, Reason::Failed, Reason::Cancelled, Reason::TimedOut])
}

fn outcome() -> impl Strategy<Value = TxOutcome> {
    prop_oneof![Just(TxOutcome::Completed), reason().prop_map(TxOutcome::Aborted)]
}

fn status() -> impl Strategy<Value = Status> {
    use Status::{Active, Compensated, Done, Failed, GivenUp, Pending, Refused, Skipped, Undoing, Unknown};
    select(vec![Pending, Active, Done, Refused, Failed, Unknown, Skipped, Undoing, Compensated, GivenUp])
}

fn asked() -> impl Strategy<Value = AttentionCause> {
    use AttentionCause as A;
    let first = [A::Unknown, A::RefusedAfterPivot, A::UndoFails, A::ResultMissing, A::OurMistake, A::RequestChanged];
    let rest = [A::Expression, A::PromiseExpired, A::TimedOutAfterPivot, A::Quarantined, A::ParticipantGone];
    select([&first[..], &rest[..]].concat())
}

/// The largest index is kept free: a maybe-index is written plus one.
fn step() -> impl Strategy<Value = u16> {
    0..u16::MAX
}

fn cause() -> impl Strategy<Value = Cause> {
    (option::of(step()), text()).prop_map(|(step, detail)| Cause { step, detail })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let first = (step(), direction(), any::<u32>(), any::<u16>(), time());
    let outcomes = select(vec![Outcome::Done, Outcome::Refused, Outcome::Failed, Outcome::Unknown]);
    let ways = select(vec![SharedWay::Joined, SharedWay::Kept]);
    let shared = (ways, any::<u128>(), step(), any::<u32>(), any::<u64>());
    let shared =
        shared.prop_map(|(way, tx, step, attempt, age_us)| Shared { way, tx: TxId(tx), step, attempt, age_us });
    let rest = (any::<u32>(), outcomes, any::<u16>(), any::<bool>(), text(), option::of(shared));
    (first, rest).prop_map(
        |((step, direction, n, endpoint, started_at), (took_us, outcome, status, counted, detail, shared))| Attempt {
            step,
            direction,
            n,
            endpoint,
            started_at,
            took_us,
            outcome,
            status,
            counted,
            detail,
            shared: shared.map(Box::new),
        },
    )
}

fn attention() -> impl Strategy<Value = Attention> {
    (asked(), option::of(step()), direction(), text(), time())
        .prop_map(|(cause, step, direction, detail, since)| Attention { cause, step, direction, detail, since })
}

fn signal() -> impl Strategy<Value = ReceivedSignal> {
    (text(), text(), value()).prop_map(|(name, idempotency_key, body)| ReceivedSignal {
        name,
        idempotency_key,
        body: Arc::new(body),
    })
}

fn act() -> impl Strategy<Value = Act> {
    (time(), text(), text(), text()).prop_map(|(at, verb, who, why)| Act { at, verb, who, why })
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        select(vec![Move::TakeLock, Move::AwaitLock, Move::FreeLock, Move::Unask, Move::Wish, Move::Resume, Move::End]),
        (step(), direction(), any::<u64>()).prop_map(|(step, direction, digest)| Move::Start {
            step,
            direction,
            digest
        }),
        (step(), direction(), time()).prop_map(|(step, direction, patience_until)| Move::Park {
            step,
            direction,
            patience_until
        }),
        (attempt(), time(), any::<bool>(), maybe_value()).prop_map(
            |(attempt, settles_at, proves_not_executed, result)| {
                Move::Answer { attempt: Box::new(attempt), settles_at, proves_not_executed, result }
            }
        ),
        (step(), maybe_value()).prop_map(|(step, result)| Move::LateDone { step, result }),
        (step(), time(), any::<bool>()).prop_map(|(step, until, still_trying)| Move::Backoff {
            step,
            until,
            still_trying
        }),
        (step(), time()).prop_map(|(step, until)| Move::AwaitSignal { step, until }),
        (step(), time()).prop_map(|(step, until)| Move::Sleep { step, until }),
        (step(), time()).prop_map(|(step, until)| Move::Quiet { step, until }),
        (step(), status(), maybe_value(), any::<bool>()).prop_map(|(step, status, result, by_hand)| Move::Settle {
            step,
            status,
            result,
            by_hand
        }),
        signal().prop_map(Move::Signal),
        attention().prop_map(Move::Ask),
        step().prop_map(|step| Move::Recount { step }),
        (step(), direction()).prop_map(|(step, direction)| Move::Restored { step, direction }),
        (reason(), cause()).prop_map(|(reason, cause)| Move::Stop { reason, cause }),
        (outcome(), option::of(cause()), maybe_value()).prop_map(|(outcome, cause, output)| Move::Decide {
            outcome,
            cause,
            output
        }),
        act().prop_map(Move::Act),
    ]
}

fn begun() -> impl Strategy<Value = Begun> {
    let first = (any::<u128>(), any::<u32>(), text(), any::<u64>(), option::of(text()));
    let rest = (value(), time(), any::<u8>(), text(), vec(a_move(), 0..4));
    (first, rest).prop_map(
        |((id, plan, idempotency_key, submission_digest, key), (input, deadline, priority, traceparent, moves))| {
            Begun {
                id: TxId(id),
                plan,
                idempotency_key,
                submission_digest,
                key,
                input: Arc::new(input),
                deadline,
                priority,
                traceparent,
                moves: moves.into(),
            }
        },
    )
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        (any::<u32>(), any::<u16>(), any::<u16>()).prop_map(|(epoch, incarnation, semantics)| EntryKind::Epoch {
            epoch,
            incarnation,
            semantics
        }),
        (any::<[u8; 16]>(), vec(any::<u8>(), 0..300))
            .prop_map(|(hash, bytes)| EntryKind::Plan { hash, bytes: bytes.into() }),
        begun().prop_map(|begun| EntryKind::Begin(Box::new(begun))),
        (any::<u64>(), vec(a_move(), 0..8)).prop_map(|(tx, moves)| EntryKind::Moves { tx, moves: moves.into() }),
    ]
}

fn branch() -> impl Strategy<Value = Branch> {
    prop_oneof![
        select(vec![Branch::Idle, Branch::Parked, Branch::Attention]),
        any::<u32>().prop_map(|epoch| Branch::Outstanding { epoch }),
        time().prop_map(|until| Branch::Backoff { until }),
        time().prop_map(|until| Branch::Signal { until }),
        time().prop_map(|until| Branch::Sleeping { until }),
        time().prop_map(|until| Branch::Quiet { until }),
    ]
}

/// Fields are set one by one: most of a step's say nothing most of the time, and the format leaves those out.
fn step_state() -> impl Strategy<Value = StepState> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<u64>(), any::<u64>(), any::<u16>());
    let times = (time(), time(), time(), time());
    let flags = any::<[bool; 4]>();
    (status(), branch(), flags, numbers, times, option::of(asked()), maybe_value(), any::<u16>()).prop_map(
        |(status, branch, [may, hand, trying, undo], numbers, times, asked, result, given)| {
            let has = |bit: u16| given & 1 << bit != 0;
            let mut step = StepState {
                status,
                branch,
                may_have_executed: may,
                by_hand: hand,
                still_trying: trying,
                undo_may_have_executed: undo,
                asked,
                result,
                ..StepState::default()
            };
            if has(0) {
                step.attempts = numbers.0;
            }
            if has(1) {
                step.attempts_counted = numbers.1;
            }
            if has(2) {
                step.round = numbers.2;
            }
            if has(3) {
                step.order = numbers.3;
            }
            if has(4) {
                step.digest = numbers.4;
            }
            if has(5) {
                step.undo_digest = numbers.5;
            }
            if has(6) {
                step.endpoint = numbers.6;
            }
            if has(7) {
                step.first_attempt_at = times.0;
            }
            if has(8) {
                step.undo_first_attempt_at = times.1;
            }
            if has(9) {
                step.settles_at = times.2;
            }
            if has(10) {
                step.patience_until = times.3;
            }
            step
        },
    )
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        select(vec![Phase::Queued, Phase::Forward, Phase::Undoing, Phase::Ended]),
        reason().prop_map(Phase::Stopping)
    ]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let lock = select(vec![LockState::None, LockState::Waiting, LockState::Held, LockState::Released]);
    let head = (begun(), phase(), lock, option::of(outcome()), time(), time(), cause(), maybe_value());
    let flags = (option::of(attention()), any::<bool>(), any::<bool>(), any::<u16>(), any::<u32>());
    let lists = (vec(step_state(), 0..6), vec(attempt(), 0..4), vec(signal(), 0..3), vec(act(), 0..3));
    (head, flags, lists).prop_map(|(head, flags, lists)| {
        let (begun, phase, lock, outcome, decided_at, ended_at, cause, output) = head;
        let (attention, cancel_wish, deadline_spent, order_last, attempts_dropped) = flags;
        let (steps, attempts, signals, acts) = lists;
        Transaction {
            id: begun.id,
            plan: 3,
            phase,
            lock,
            idempotency_key: begun.idempotency_key,
            submission_digest: begun.submission_digest,
            key: begun.key,
            input: begun.input,
            began_at: every::AT,
            deadline: begun.deadline,
            priority: begun.priority,
            traceparent: begun.traceparent,
            outcome,
            decided_at,
            ended_at,
            cause,
            output,
            attention,
            cancel_wish,
            deadline_spent,
            order_last,
            steps: steps.into(),
            attempts: attempts.into(),
            attempts_dropped,
            signals,
            acts,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries(kinds in vec((kind(), 0_u64..1 << 40), 1..5)) {
        let mut at = every::AT;
        let entries: Vec<Entry> = kinds
            .into_iter()
            .zip(41..)
            .map(|((kind, after), seq)| {
                at = Timestamp(at.0 + after);
                Entry { seq, at, kind }
            })
            .collect();
        let mut writer = wire::EntryWriter::default();
        entries.iter().for_each(|entry| writer.push(entry));
        prop_assert_eq!((writer.first_seq(), writer.count() as usize), (41, entries.len()));
        let reader = wire::EntryReader::new(writer.payload(), 41).expect("a batch");
        let again: Vec<Entry> = reader.collect::<Result<_, _>>().expect("readable");
        prop_assert_eq!(again, entries);
        writer.clear();
        prop_assert!(writer.is_empty() && writer.payload().is_empty());
    }

    #[test]
    fn rows(tx in transaction()) {
        let hash = *b"0123456789abcdef";
        let mut row = Vec::new();
        wire::row::write(&tx, &hash, &mut row);
        prop_assert_eq!(wire::row::plan_of(&row), Ok(hash));
        prop_assert!(wire::row::read(&row, |_| None).is_err(), "a plan that nobody knows");
        prop_assert_eq!(wire::row::read(&row, |_| Some(3)), Ok(tx));
    }
}
