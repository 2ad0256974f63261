//! One of everything that the journal and the rows can hold, with fields that are easy to find in the bytes.

use std::sync::Arc;

use model::{Direction, Outcome, PartitionId, Timestamp, TxId, Value};
use partition::branch::{Branch, Status, StepState};
use partition::entry::Begun;
use partition::transaction::{
    Act, Attempt, Attention, AttentionCause, Cause, LockState, Phase, Reason, ReceivedSignal, TxOutcome,
};
use partition::{Entry, EntryKind, Move, Shared, SharedWay, Transaction};
use smallvec::smallvec;

pub(crate) const AT: Timestamp = Timestamp::from_millis(1_795_000_000_000);

pub(crate) fn id() -> TxId {
    TxId::new(AT, 1, PartitionId(5), 2, 9)
}

pub(crate) fn value() -> Arc<Value> {
    let text =
        r#"{"big":18446744073709551615,"exact":0.1,"id":9007199254740993,"list":[null,true,false,-1],"text":"é"}"#;
    Arc::new(model::json::parse(text.as_bytes()).expect("JSON"))
}

fn later(ms: u64) -> Timestamp {
    Timestamp(AT.0 + ms * 1_000)
}

fn attempt() -> Attempt {
    Attempt {
        step: 3,
        direction: Direction::Compensate,
        n: 2,
        endpoint: 1,
        started_at: Timestamp(AT.0 - 250),
        took_us: 1_500,
        outcome: Outcome::Unknown,
        status: 503,
        counted: true,
        detail: "busy".into(),
        shared: None,
    }
}

/// One that made no call.
fn shared_attempt() -> Attempt {
    let shared = Shared { way: SharedWay::Kept, tx: TxId(id().0 ^ 1), step: 300, attempt: 2, age_us: 1_234_567 };
    Attempt {
        direction: Direction::Call,
        outcome: Outcome::Done,
        status: 200,
        detail: "".into(),
        shared: Some(Box::new(shared)),
        ..attempt()
    }
}

fn cause() -> Cause {
    Cause { step: Some(0), detail: "why".into() }
}

fn attention() -> Attention {
    Attention {
        cause: AttentionCause::RequestChanged,
        step: Some(1),
        direction: Direction::Call,
        detail: "look".into(),
        since: AT,
    }
}

fn signal() -> ReceivedSignal {
    ReceivedSignal { name: "go".into(), idempotency_key: "s1".into(), body: Arc::new(Value::Bool(true)) }
}

fn act() -> Act {
    Act { at: AT, verb: "cancel".into(), who: "anna".into(), why: "wrong number".into() }
}

/// Every kind of verdict, by name.
pub(crate) fn moves() -> Vec<(&'static str, Move)> {
    let direction = Direction::Compensate;
    vec![
        ("take lock", Move::TakeLock),
        ("await lock", Move::AwaitLock),
        ("free lock", Move::FreeLock),
        ("start", Move::Start { step: 300, direction, digest: 0x0102_0304_0506_0708 }),
        ("park", Move::Park { step: 1, direction: Direction::Call, patience_until: Timestamp::NEVER }),
        (
            "answer",
            Move::Answer {
                attempt: Box::new(attempt()),
                settles_at: later(5_000),
                proves_not_executed: false,
                result: Some(value()),
            },
        ),
        ("late done", Move::LateDone { step: 2, result: None }),
        ("backoff", Move::Backoff { step: 2, until: later(200), still_trying: true }),
        ("await signal", Move::AwaitSignal { step: 2, until: later(3_600_000) }),
        ("sleep", Move::Sleep { step: 2, until: later(1) }),
        ("quiet", Move::Quiet { step: 2, until: later(10_000) }),
        ("settle", Move::Settle { step: 2, status: Status::GivenUp, result: None, by_hand: true }),
        ("signal", Move::Signal(signal())),
        ("ask", Move::Ask(attention())),
        ("unask", Move::Unask),
        ("recount", Move::Recount { step: 4 }),
        ("wish", Move::Wish),
        ("resume", Move::Resume),
        ("stop", Move::Stop { reason: Reason::TimedOut, cause: cause() }),
        (
            "decide",
            Move::Decide {
                outcome: TxOutcome::Aborted(Reason::Failed),
                cause: Some(Cause { step: None, detail: "".into() }),
                output: None,
            },
        ),
        ("act", Move::Act(act())),
        ("end", Move::End),
        ("restored", Move::Restored { step: 2, direction }),
        (
            "answered by another",
            Move::Answer {
                attempt: Box::new(shared_attempt()),
                settles_at: AT,
                proves_not_executed: false,
                result: None,
            },
        ),
    ]
}

/// The name of a verdict; a new kind does not compile without one, and then needs golden bytes.
pub(crate) fn name_of(a_move: &Move) -> &'static str {
    match a_move {
        Move::TakeLock => "take lock",
        Move::AwaitLock => "await lock",
        Move::FreeLock => "free lock",
        Move::Start { .. } => "start",
        Move::Park { .. } => "park",
        Move::Answer { attempt, .. } if attempt.shared.is_some() => "answered by another",
        Move::Answer { .. } => "answer",
        Move::LateDone { .. } => "late done",
        Move::Backoff { .. } => "backoff",
        Move::AwaitSignal { .. } => "await signal",
        Move::Sleep { .. } => "sleep",
        Move::Quiet { .. } => "quiet",
        Move::Settle { .. } => "settle",
        Move::Signal(_) => "signal",
        Move::Ask(_) => "ask",
        Move::Unask => "unask",
        Move::Recount { .. } => "recount",
        Move::Wish => "wish",
        Move::Resume => "resume",
        Move::Stop { .. } => "stop",
        Move::Decide { .. } => "decide",
        Move::Act(_) => "act",
        Move::End => "end",
        Move::Restored { .. } => "restored",
    }
}

/// Every kind of entry, in a journal's order.
pub(crate) fn entries() -> Vec<(&'static str, Entry)> {
    // Those of the first format, so that its golden bytes stay as they are; what came later has bytes of its own.
    let is_first = |m: &Move| !matches!(name_of(m), "restored" | "answered by another");
    let all = moves().into_iter().map(|(_, m)| m).filter(is_first).collect();
    let begun = Begun {
        id: id(),
        plan: 1,
        idempotency_key: "k1".into(),
        submission_digest: 0x1122_3344_5566_7788,
        key: Some("subscriber/49".into()),
        input: value(),
        deadline: later(30_000),
        priority: 5,
        traceparent: "00-ab".into(),
        moves: smallvec![Move::TakeLock, Move::Start { step: 0, direction: Direction::Call, digest: 7 }],
    };
    let plan: Arc<[u8]> = Arc::from(&b"{}"[..]);
    let kinds = vec![
        ("epoch", EntryKind::Epoch { epoch: 300, incarnation: 1, semantics: 1 }),
        ("plan", EntryKind::Plan { hash: *b"0123456789abcdef", bytes: plan }),
        ("begin", EntryKind::Begin(Box::new(begun))),
        ("moves", EntryKind::Moves { tx: 9, moves: all }),
    ];
    let numbered = kinds.into_iter().enumerate();
    numbered.map(|(n, (name, kind))| (name, Entry { seq: 7 + n as u64, at: later(n as u64), kind })).collect()
}

/// A transaction of which nothing is known but that it began, and one in which every field says something.
pub(crate) fn rows() -> Vec<(&'static str, Transaction)> {
    let bare = Transaction {
        id: id(),
        plan: 0,
        phase: Phase::Forward,
        lock: LockState::None,
        idempotency_key: "k1".into(),
        submission_digest: 1,
        key: None,
        input: Arc::new(Value::Null),
        began_at: AT,
        deadline: Timestamp::NEVER,
        priority: 5,
        traceparent: "".into(),
        outcome: None,
        decided_at: Timestamp::ZERO,
        ended_at: Timestamp::ZERO,
        cause: Cause::default(),
        output: None,
        attention: None,
        cancel_wish: false,
        deadline_spent: false,
        order_last: 0,
        steps: smallvec![StepState::default()],
        attempts: smallvec![],
        attempts_dropped: 0,
        signals: Vec::new(),
        acts: Vec::new(),
    };
    let full = Transaction {
        phase: Phase::Undoing,
        lock: LockState::Held,
        key: Some("subscriber/49".into()),
        input: value(),
        deadline: later(30_000),
        traceparent: "00-ab".into(),
        outcome: Some(TxOutcome::Aborted(Reason::Cancelled)),
        decided_at: later(400),
        ended_at: later(900),
        cause: cause(),
        output: Some(value()),
        attention: Some(attention()),
        cancel_wish: true,
        deadline_spent: true,
        order_last: 2,
        steps: branches().into_iter().map(full_step).collect(),
        attempts: smallvec![attempt()],
        attempts_dropped: 3,
        signals: vec![signal()],
        acts: vec![act()],
        ..bare.clone()
    };
    let shared = Transaction { attempts: smallvec![shared_attempt(), attempt()], ..bare.clone() };
    vec![("bare", bare), ("full", full), ("answered by another", shared)]
}

fn branches() -> [Branch; 8] {
    [
        Branch::Idle,
        Branch::Outstanding { epoch: 300 },
        Branch::Parked,
        Branch::Backoff { until: later(1) },
        Branch::Signal { until: later(2) },
        Branch::Sleeping { until: later(3) },
        Branch::Quiet { until: later(4) },
        Branch::Attention,
    ]
}

fn full_step(branch: Branch) -> StepState {
    StepState {
        status: Status::Undoing,
        branch,
        may_have_executed: true,
        by_hand: true,
        still_trying: true,
        attempts: 4,
        attempts_counted: 3,
        round: 1,
        order: 2,
        digest: 0x0102_0304_0506_0708,
        undo_digest: 0x1112_1314_1516_1718,
        first_attempt_at: later(10),
        undo_first_attempt_at: later(500),
        undo_may_have_executed: true,
        asked: (branch == Branch::Attention).then_some(AttentionCause::UndoFails),
        settles_at: later(20),
        endpoint: 1,
        patience_until: later(30),
        result: Some(Arc::new(Value::int(-1))),
    }
}
