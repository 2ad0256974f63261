//! Golden views: what a client sees of a transaction at each of its turns.

use std::sync::Arc;
use std::time::Duration;

use definition::{Known, SourceFile};
use expect_test::{Expect, expect};
use model::{Direction, Outcome, Timestamp, TxId, Value};
use partition::branch::{Branch, Status, StepState};
use partition::transaction::{
    Act, Attempt, Attention, AttentionCause, Cause, LockState, Phase, Reason, Transaction, TxOutcome,
};
use plan::Saga;
use runtime::View;
use runtime::view::Detail;

fn saga(file: &str) -> Saga {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/telecom/");
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        SourceFile { path: name.to_owned(), text }
    };
    let checked = definition::check(&[read("participants.yaml"), read(file)], &Known::default());
    assert!(!checked.has_errors(), "{:?}", checked.diagnostics);
    checked.sagas.into_iter().next().unwrap_or_else(|| panic!("{file} has a saga")).plan
}

/// 2026-11-23T12:03:41 and so many microseconds.
fn at(us: u64) -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-23T12:03:41Z").unwrap_or_default().after(Duration::from_micros(us))
}

fn json(text: &str) -> Arc<Value> {
    Arc::new(model::json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}")))
}

/// A transaction of `plan` that has just begun.
fn begun(plan: &Saga) -> Transaction {
    Transaction {
        id: TxId::new(at(0), 0, model::PartitionId(3), 1, 42),
        plan: 0,
        phase: Phase::Forward,
        lock: if plan.lock.is_some() { LockState::Held } else { LockState::None },
        idempotency_key: "order-7".into(),
        submission_digest: 1,
        key: Some("subscriber/491701234567".into()),
        input: json(r#"{"msisdn":"491701234567","amount_minor":1000,"currency":"EUR","card_token":"tok_1"}"#),
        began_at: at(0),
        deadline: at(30_000_000),
        priority: 1,
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
        steps: plan.steps.iter().map(|_| StepState::default()).collect(),
        attempts: Default::default(),
        attempts_dropped: 0,
        signals: Vec::new(),
        acts: Vec::new(),
    }
}

fn attempt(step: u16, outcome: Outcome, status: u16, started_us: u64, took_us: u32) -> Attempt {
    Attempt {
        step,
        direction: Direction::Call,
        n: 1,
        endpoint: 0,
        started_at: at(started_us),
        took_us,
        outcome,
        status,
        counted: outcome != Outcome::Failed,
        detail: "".into(),
        shared: None,
    }
}

fn check(tx: &Transaction, plan: &Saga, detail: Detail, want: &Expect) {
    let bytes = super::render(&View { tx, plan, now: at(100_000), detail });
    let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("not JSON: {e}"));
    // Pretty, so that a difference is one line; the order of members is the renderer's.
    want.assert_eq(&serde_json::to_string_pretty(&parsed).unwrap_or_default());
    assert_eq!(serde_json::to_vec(&parsed).unwrap_or_default().len(), bytes.len(), "no white space, nothing twice");
}

fn completed(plan: &Saga) -> Transaction {
    let mut tx = begun(plan);
    tx.phase = Phase::Ended;
    tx.outcome = Some(TxOutcome::Completed);
    tx.decided_at = at(12_000);
    tx.ended_at = at(17_000);
    tx.output = Some(json(r#"{"charge_id":"ch_81","balance_minor":1750}"#));
    for (place, (status, started, took)) in
        [(201, 800, 5_200), (200, 6_900, 4_700), (202, 12_400, 4_100)].into_iter().enumerate()
    {
        tx.steps[place].status = Status::Done;
        tx.steps[place].may_have_executed = true;
        tx.attempts.push(attempt(place as u16, Outcome::Done, status, started, took));
    }
    tx.steps[0].result = Some(json(r#"{"charge_id":"ch_81"}"#));
    tx
}

#[test]
fn a_completed_one_as_its_client_sees_it() {
    let plan = saga("top-up.yaml");
    check(
        &completed(&plan),
        &plan,
        Detail::Answer,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "ended",
          "outcome": "completed",
          "reason": null,
          "cause": null,
          "waits_for": null,
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": "2026-11-23T12:03:41.012000Z",
          "ended_at": "2026-11-23T12:03:41.017000Z",
          "output": {
            "balance_minor": 1750,
            "charge_id": "ch_81"
          },
          "uncompensated": []
        }"#]],
    );
}

#[test]
fn a_completed_one_in_full_masks_what_is_sensitive() {
    let plan = saga("top-up.yaml");
    check(
        &completed(&plan),
        &plan,
        Detail::Full,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "ended",
          "outcome": "completed",
          "reason": null,
          "cause": null,
          "waits_for": null,
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": "2026-11-23T12:03:41.012000Z",
          "ended_at": "2026-11-23T12:03:41.017000Z",
          "output": {
            "balance_minor": 1750,
            "charge_id": "ch_81"
          },
          "uncompensated": [],
          "deadline": "2026-11-23T12:04:11.000000Z",
          "priority": "normal",
          "lock": "balance",
          "cancel_wish": false,
          "input": {
            "amount_minor": 1000,
            "card_token": "***",
            "currency": "EUR",
            "msisdn": "491701234567"
          },
          "steps": [
            {
              "name": "charge",
              "state": "done",
              "participant": "payments",
              "call_key": "0cn9wdtmg00000r0800000001a-0c0",
              "optional": false,
              "may_have_executed": true,
              "by_hand": false,
              "result": {
                "charge_id": "ch_81"
              },
              "attempts": [
                {
                  "n": 1,
                  "direction": "call",
                  "endpoint": 0,
                  "started_at": "2026-11-23T12:03:41.000800Z",
                  "took_ms": 5.2,
                  "outcome": "done",
                  "status": 201,
                  "counted": true,
                  "detail": "",
                  "answered_by": null
                }
              ]
            },
            {
              "name": "credit",
              "state": "done",
              "participant": "billing",
              "call_key": "0cn9wdtmg00000r0800000001a-1c0",
              "optional": false,
              "may_have_executed": true,
              "by_hand": false,
              "result": null,
              "attempts": [
                {
                  "n": 1,
                  "direction": "call",
                  "endpoint": 0,
                  "started_at": "2026-11-23T12:03:41.006900Z",
                  "took_ms": 4.7,
                  "outcome": "done",
                  "status": 200,
                  "counted": true,
                  "detail": "",
                  "answered_by": null
                }
              ]
            },
            {
              "name": "notify",
              "state": "done",
              "participant": "sms",
              "call_key": "0cn9wdtmg00000r0800000001a-2c0",
              "optional": true,
              "may_have_executed": true,
              "by_hand": false,
              "result": null,
              "attempts": [
                {
                  "n": 1,
                  "direction": "call",
                  "endpoint": 0,
                  "started_at": "2026-11-23T12:03:41.012400Z",
                  "took_ms": 4.1,
                  "outcome": "done",
                  "status": 202,
                  "counted": true,
                  "detail": "",
                  "answered_by": null
                }
              ]
            }
          ],
          "attempts_not_kept": 0,
          "signals": [],
          "acts": []
        }"#]],
    );
}

#[test]
fn an_aborted_one_that_is_still_undoing() {
    let plan = saga("top-up.yaml");
    let mut tx = begun(&plan);
    tx.phase = Phase::Undoing;
    tx.outcome = Some(TxOutcome::Aborted(Reason::Refused));
    tx.decided_at = at(13_000);
    tx.cause = Cause { step: Some(1), detail: "account blocked".into() };
    tx.steps[0].status = Status::Done;
    tx.steps[0].may_have_executed = true;
    tx.steps[0].branch = Branch::Quiet { until: at(10_000_000) };
    tx.steps[1].status = Status::Refused;
    tx.attempts.push(attempt(0, Outcome::Done, 201, 800, 5_200));
    tx.attempts.push(attempt(1, Outcome::Refused, 200, 6_900, 4_700));
    check(
        &tx,
        &plan,
        Detail::Summary,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "compensating",
          "outcome": "aborted",
          "reason": "refused",
          "cause": {
            "step": "credit",
            "participant": "billing",
            "detail": "account blocked"
          },
          "waits_for": {
            "kind": "quiet",
            "name": "payments",
            "since": "2026-11-23T12:03:41.013000Z"
          },
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": "2026-11-23T12:03:41.013000Z",
          "ended_at": null,
          "uncompensated": []
        }"#]],
    );
}

#[test]
fn one_that_waits_for_a_participant_says_since_when() {
    let plan = saga("tariff-change.yaml");
    let mut tx = begun(&plan);
    tx.steps[0].status = Status::Active;
    tx.steps[0].branch = Branch::Parked;
    for n in 0..3u64 {
        tx.attempts.push(Attempt { n: n as u32 + 1, ..attempt(0, Outcome::Failed, 0, 1_000 + n * 10_000, 300) });
    }
    check(
        &tx,
        &plan,
        Detail::Summary,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "tariff-change",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "waiting",
          "outcome": null,
          "reason": null,
          "cause": null,
          "waits_for": {
            "kind": "participant",
            "name": "crm",
            "since": "2026-11-23T12:03:41.001000Z"
          },
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": null,
          "ended_at": null,
          "uncompensated": []
        }"#]],
    );
}

#[test]
fn one_that_waits_for_its_lock() {
    let plan = saga("top-up.yaml");
    let mut tx = begun(&plan);
    tx.phase = Phase::Queued;
    tx.lock = LockState::Waiting;
    check(
        &tx,
        &plan,
        Detail::Summary,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "waiting",
          "outcome": null,
          "reason": null,
          "cause": null,
          "waits_for": {
            "kind": "lock",
            "name": "balance",
            "since": "2026-11-23T12:03:41.000000Z"
          },
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": null,
          "ended_at": null,
          "uncompensated": []
        }"#]],
    );
}

#[test]
fn one_whose_undo_needs_a_person_and_what_people_did() {
    let plan = saga("top-up.yaml");
    let mut tx = begun(&plan);
    tx.phase = Phase::Undoing;
    tx.outcome = Some(TxOutcome::Aborted(Reason::TimedOut));
    tx.decided_at = at(30_000_000);
    tx.steps[0] = StepState {
        status: Status::Undoing,
        branch: Branch::Backoff { until: at(99_000_000) },
        may_have_executed: true,
        still_trying: true,
        round: 2,
        ..StepState::default()
    };
    tx.steps[1].status = Status::GivenUp;
    tx.attention = Some(Attention {
        cause: AttentionCause::UndoFails,
        step: Some(0),
        direction: Direction::Compensate,
        detail: "422 ten times".into(),
        since: at(60_000_000),
    });
    tx.acts.push(Act { at: at(61_000_000), verb: "resolve".into(), who: "eve@ops".into(), why: "by \"hand\"".into() });
    check(
        &tx,
        &plan,
        Detail::Full,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "needs_attention",
          "outcome": "aborted",
          "reason": "timed_out",
          "cause": null,
          "waits_for": {
            "kind": "backoff",
            "name": "payments",
            "since": "2026-11-23T12:04:11.000000Z"
          },
          "attention": {
            "cause": "undo_fails",
            "step": "charge",
            "direction": "compensate",
            "still_trying": true,
            "next_at": "2026-11-23T12:05:20.000000Z",
            "detail": "422 ten times",
            "since": "2026-11-23T12:04:41.000000Z"
          },
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": "2026-11-23T12:04:11.000000Z",
          "ended_at": null,
          "output": null,
          "uncompensated": [
            "credit"
          ],
          "deadline": "2026-11-23T12:04:11.000000Z",
          "priority": "normal",
          "lock": "balance",
          "cancel_wish": false,
          "input": {
            "amount_minor": 1000,
            "card_token": "***",
            "currency": "EUR",
            "msisdn": "491701234567"
          },
          "steps": [
            {
              "name": "charge",
              "state": "compensating",
              "participant": "payments",
              "call_key": "0cn9wdtmg00000r0800000001a-0c2",
              "optional": false,
              "may_have_executed": true,
              "by_hand": false,
              "result": null,
              "attempts": []
            },
            {
              "name": "credit",
              "state": "given_up",
              "participant": "billing",
              "call_key": "0cn9wdtmg00000r0800000001a-1c0",
              "optional": false,
              "may_have_executed": false,
              "by_hand": false,
              "result": null,
              "attempts": []
            },
            {
              "name": "notify",
              "state": "pending",
              "participant": "sms",
              "call_key": "0cn9wdtmg00000r0800000001a-2c0",
              "optional": true,
              "may_have_executed": false,
              "by_hand": false,
              "result": null,
              "attempts": []
            }
          ],
          "attempts_not_kept": 0,
          "signals": [],
          "acts": [
            {
              "at": "2026-11-23T12:04:42.000000Z",
              "verb": "resolve",
              "who": "eve@ops",
              "why": "by \"hand\""
            }
          ]
        }"#]],
    );
}

#[test]
fn trailing_optional_work_is_running_whatever_it_waits_for() {
    let plan = saga("top-up.yaml");
    let mut tx = completed(&plan);
    tx.phase = Phase::Forward;
    tx.ended_at = Timestamp::ZERO;
    tx.steps[2] = StepState { status: Status::Active, branch: Branch::Parked, ..StepState::default() };
    tx.attempts.pop();
    check(
        &tx,
        &plan,
        Detail::Summary,
        &expect![[r#"
        {
          "id": "tx_0cn9wdtmg00000r0800000001a",
          "definition": "top-up",
          "version": 1,
          "key": "subscriber/491701234567",
          "idempotency_key": "order-7",
          "state": "running",
          "outcome": "completed",
          "reason": null,
          "cause": null,
          "waits_for": {
            "kind": "participant",
            "name": "sms",
            "since": "2026-11-23T12:03:41.011600Z"
          },
          "attention": null,
          "began_at": "2026-11-23T12:03:41.000000Z",
          "decided_at": "2026-11-23T12:03:41.012000Z",
          "ended_at": null,
          "uncompensated": []
        }"#]],
    );
}

#[test]
fn a_wait_for_a_signal_and_for_a_time_name_what_they_wait_for() {
    let plan = saga("number-port-out.yaml");
    let mut tx = begun(&plan);
    let waits = |tx: &Transaction| super::state::waits_for(tx, &plan).map(|w| format!("{} {}", w.kind, w.name));
    tx.steps[2] = StepState { status: Status::Active, branch: Branch::Signal { until: at(1) }, ..StepState::default() };
    assert_eq!(waits(&tx).as_deref(), Some("signal window_set"));
    tx.steps[2].branch = Branch::Idle;
    tx.steps[3].branch = Branch::Sleeping { until: at(1) };
    assert_eq!(waits(&tx).as_deref(), Some("time port_time"));
    tx.steps[4].branch = Branch::Outstanding { epoch: 1 };
    assert_eq!(waits(&tx), None);
    assert_eq!(super::state::of(&tx, false), "running");
}

#[test]
fn a_call_key_is_written_as_participants_get_it() {
    let plan = saga("top-up.yaml");
    let mut tx = completed(&plan);
    tx.steps[1].round = 12;
    let bytes = super::render(&View { tx: &tx, plan: &plan, now: at(0), detail: Detail::Full });
    let view: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    assert_eq!(view["steps"][1]["call_key"], tx.call_key(1, Direction::Call).to_string());
}

#[test]
fn a_plan_with_more_steps_than_the_state_is_still_rendered() {
    let plan = saga("top-up.yaml");
    let mut tx = begun(&plan);
    tx.steps.truncate(1);
    let bytes = super::render(&View { tx: &tx, plan: &plan, now: at(0), detail: Detail::Full });
    assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
}

#[test]
fn an_attempt_that_nobody_knows_the_end_of_has_no_endpoint() {
    let of = |endpoint| {
        let mut out = Vec::new();
        super::attempt(&Attempt { endpoint, ..attempt(0, Outcome::Unknown, 0, 0, 0) }, &mut out);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap_or_default()["endpoint"].take()
    };
    assert_eq!((of(0), of(2)), (0.into(), 2.into()));
    assert_eq!(of(partition::transaction::ENDPOINT_UNKNOWN), serde_json::Value::Null);
}

#[test]
fn an_attempt_that_called_nobody_names_the_call_that_was_answered() {
    let plan = saga("top-up.yaml");
    let tx = begun(&plan).id;
    let of = |shared: Option<partition::Shared>| {
        let mut out = Vec::new();
        let shared = shared.map(Box::new);
        super::attempt(&Attempt { shared, ..attempt(0, Outcome::Done, 200, 0, 0) }, &mut out);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap_or_default()["answered_by"].take()
    };
    assert_eq!(of(None), serde_json::Value::Null);
    for (way, word) in [(partition::SharedWay::Joined, "joined"), (partition::SharedWay::Kept, "kept")] {
        let by = of(Some(partition::Shared { way, tx, step: 2, attempt: 3, age_us: 1_500 }));
        let id = tx.to_string();
        let expected = serde_json::json!({"way": word, "transaction": id, "step": 2, "attempt": 3, "age_ms": 1.5});
        assert_eq!(by, expected);
    }
}
