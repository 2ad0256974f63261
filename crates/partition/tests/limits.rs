//! Bounds and refusals that no ordinary life meets: results that are too deep or too large to keep, more attempts and
//! waiters than are kept, entries that do not follow.

use std::sync::Arc;
use std::time::Duration;

use crate::support::saga;
use crate::support::world::json;
use model::{Direction, PartitionId, Seq, Timestamp, Value};
use partition::branch::Status;
use partition::entry::Moves;
use partition::locks::WAITERS_MAX;
use partition::plans::PlanSlot;
use partition::state::ApplyError;
use partition::transaction::{ATTEMPTS_KEPT_MAX, AttentionCause};
use partition::{
    Begin, Body, CallRef, Command, Effect, Entry, EntryKind, Evidence, Leader, Move, Operator, Partition, Rejected,
    Sample, Surroundings, Transaction, TxOutcome,
};
use plan::{Participant, Saga};

/// Bytes that a result or an output may take.
const KEPT_BYTES_MAX: usize = 256 << 10;

struct Declared(Vec<Participant>);

impl Surroundings for Declared {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        let place = self.0.iter().position(|p| p.name == name)?;
        Some((place as u32, &self.0[place]))
    }

    fn is_held(&self, _: u32) -> bool {
        false
    }
}

/// One partition, led, and what it asked for.
struct Desk {
    leader: Leader,
    around: Declared,
    now: Timestamp,
    entries: Vec<Entry>,
    calls: Vec<CallRef>,
    ended: Vec<Transaction>,
}

impl Desk {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let mut leader = Leader::new(Partition::new(PartitionId(0)));
        let entry = leader.open_epoch(1, 1, now).expect("an epoch");
        let around = Declared(saga::participants());
        Self { leader, around, now, entries: vec![entry], calls: Vec::new(), ended: Vec::new() }
    }

    fn propose(&mut self, command: Command) -> Result<Seq, Rejected> {
        let mut effects = Vec::new();
        let entry = self.leader.propose(command, self.now, &self.around, &mut effects)?;
        for effect in effects {
            match effect {
                Effect::Call(out) => self.calls.push(out.call),
                Effect::Ended(tx) => self.ended.push(*tx),
                _ => {}
            }
        }
        self.entries.push(entry);
        Ok(self.leader.partition.seq)
    }

    fn begin(&mut self, text: &str, key: Option<&str>) -> Result<Seq, Rejected> {
        let bytes: Arc<[u8]> = Arc::from(saga::saga(text).to_bytes());
        let (plan, entry) = self.leader.use_plan(Saga::hash_of(&bytes), &bytes, self.now).expect("a plan");
        self.entries.extend(entry);
        let begin = Begin {
            plan,
            idempotency_key: "k".into(),
            submission_digest: 1,
            key: key.map(Into::into),
            input: Arc::new(json("{}")),
            deadline: Timestamp::NEVER,
            priority: 5,
            traceparent: "".into(),
        };
        self.propose(Command::Begin(Box::new(begin)))
    }

    fn answer(&mut self, status: u16, body: Value) {
        let call = self.calls.remove(0);
        let evidence = Evidence::Answered { status, has_retry_after: false, body: Body::Json(body) };
        let took = Duration::from_millis(1);
        let sample = Sample { endpoint: 0, started_at: self.now, took, evidence, shared: None };
        self.propose(Command::Answered { call, sample }).expect("an answer");
    }

    fn tx(&self, seq: Seq) -> &Transaction {
        self.leader.partition.get(seq).expect("it lives")
    }
}

fn with_id(id: Value) -> Value {
    Value::Map(model::Map::from_members(vec![("id".into(), id)]).expect("one member"))
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inside, n| if n % 2 == 0 { Value::List(vec![inside]) } else { with_id(inside) })
}

/// What an entry could not carry is not kept: a person is asked, and what was done stays done.
#[test]
fn a_result_that_is_too_deep_or_too_large_is_not_kept() {
    let text = |bytes: usize| Value::Text("x".repeat(bytes).into());
    let decimal = format!("0.{}", "3".repeat(KEPT_BYTES_MAX));
    let unfit = [
        (nested(80), "is nested too deep"),
        (text(KEPT_BYTES_MAX), "takes more than 256 KiB"),
        (Value::List(vec![text(1_000); 300]), "takes more than 256 KiB"),
        (Value::List(vec![Value::Bool(true); 40_000]), "takes more than 256 KiB"),
        (with_id(text(KEPT_BYTES_MAX)), "takes more than 256 KiB"),
        (Value::Number(model::Number::Decimal(decimal.into())), "takes more than 256 KiB"),
    ];
    for (id, why) in unfit {
        let mut desk = Desk::new();
        let seq = desk.begin("a@pay POST undo keep=id", None).expect("begins");
        desk.answer(200, with_id(id));
        let asked = desk.tx(seq).attention.as_ref().expect("a person is asked");
        assert_eq!(asked.cause, AttentionCause::ResultMissing);
        assert_eq!(asked.detail, format!("the result {why}"));
        assert_eq!(desk.tx(seq).steps[0].result, None);
        assert!(desk.tx(seq).steps[0].may_have_executed, "it is not forgotten that it was done");
    }
    // What fits is kept as it came.
    for id in [nested(60), text(KEPT_BYTES_MAX - 1_000), Value::List(vec![Value::Bool(true); 10_000])] {
        let mut desk = Desk::new();
        desk.begin("a@pay POST undo keep=id", None).expect("begins");
        desk.answer(200, with_id(id.clone()));
        assert_eq!(desk.ended[0].steps[0].result.as_deref(), Some(&with_id(id)));
    }
}

/// Nobody can do more about an output that cannot be kept: it is completed and says why there is none.
#[test]
fn an_output_that_is_too_large_is_left_out_and_named() {
    let half = || with_id(Value::Text("x".repeat(KEPT_BYTES_MAX / 2).into()));
    let mut desk = Desk::new();
    desk.begin("saga output=a.id output=b.id\na@pay POST undo keep=id\nb@pay POST undo keep=id", None).expect("begins");
    desk.answer(200, half());
    desk.answer(200, half());
    let tx = &desk.ended[0];
    assert_eq!((tx.outcome, &tx.output), (Some(TxOutcome::Completed), &None));
    assert_eq!(tx.cause.detail, "the output takes more than 256 KiB");
}

/// The language's rules may also say that it was done, or that nobody knows.
#[test]
fn a_rule_may_say_done_or_unknown() {
    let mut desk = Desk::new();
    desk.begin("a@pay POST undo done_if=response.status==409", None).expect("begins");
    desk.answer(409, json("{}"));
    assert_eq!(desk.ended[0].outcome, Some(TxOutcome::Completed));
    assert_eq!((desk.ended[0].attempts[0].outcome, desk.ended[0].attempts[0].status), (model::Outcome::Done, 409));

    let mut desk = Desk::new();
    let seq = desk.begin("a@pay POST undo unknown_if=response.status==200", None).expect("begins");
    desk.answer(200, json("{}"));
    assert_eq!(desk.tx(seq).attempts[0].outcome, model::Outcome::Unknown);
    assert!(desk.tx(seq).steps[0].may_have_executed);
    // Asked as often as may be, and then undone: it may have been done all the same.
    for _ in 0..2 {
        desk.now = desk.now.after(Duration::from_secs(60));
        desk.propose(Command::Wake(seq)).expect("a repeat is due");
        desk.answer(200, json("{}"));
    }
    assert_eq!(desk.tx(seq).outcome, Some(TxOutcome::Aborted(partition::transaction::Reason::Failed)));
    desk.now = desk.now.after(Duration::from_secs(60));
    desk.propose(Command::Wake(seq)).expect("the undo is due");
    assert_eq!(desk.calls[0].direction, Direction::Compensate);
}

/// A step beyond the pivot is asked for ever; of its attempts the first and the last are kept.
#[test]
fn of_many_attempts_the_first_and_the_last_are_kept() {
    let mut desk = Desk::new();
    let seq = desk.begin("a@pay POST pivot", None).expect("begins");
    let all = ATTEMPTS_KEPT_MAX + 25;
    for n in 1..=all {
        desk.answer(500, json("{}"));
        assert_eq!(desk.tx(seq).attempts.len(), n.min(ATTEMPTS_KEPT_MAX));
        desk.now = desk.now.after(Duration::from_secs(60));
        desk.propose(Command::Wake(seq)).expect("a repeat is due");
    }
    let tx = desk.tx(seq);
    let kept: Vec<u32> = tx.attempts.iter().map(|attempt| attempt.n).collect();
    let half = ATTEMPTS_KEPT_MAX as u32 / 2;
    let last = (all as u32 - half + 1)..=all as u32;
    assert_eq!(kept, (1..=half).chain(last).collect::<Vec<_>>());
    assert_eq!((tx.attempts_dropped, tx.steps[0].attempts), (25, all as u32 + 1));
}

/// A lock has a bound on those that wait for it; the refusal names the lock and changes nothing.
#[test]
fn so_many_wait_for_a_lock_and_no_more() {
    let text = "saga lock=balance\na@pay POST undo";
    let mut desk = Desk::new();
    for _ in 0..=WAITERS_MAX {
        desk.begin(text, Some("4711")).expect("one holds it, the others wait");
    }
    let seq = desk.leader.partition.seq;
    match desk.begin(text, Some("4711")) {
        Err(Rejected::KeyBusy { lock, waiting }) => assert_eq!((lock.as_str(), waiting), ("balance", WAITERS_MAX)),
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.leader.partition.seq, seq);
    desk.begin(text, Some("4712")).expect("another key is another lock");
}

/// Who wants to know whether an entry put its transaction aside need not read it.
#[test]
fn an_entry_says_what_it_is_about() {
    let mut desk = Desk::new();
    let seq = desk.begin("a@pay POST undo", None).expect("begins");
    let told: Vec<(bool, bool)> = desk.entries.iter().map(|e| (e.moves().is_some(), e.puts_aside())).collect();
    assert_eq!(told, [(false, false), (false, false), (true, false)], "an epoch, a plan, a begin");
    desk.answer(405, json("{}"));
    assert!(!desk.entries[3].puts_aside(), "a question about a step puts nothing aside");
    let mut aside = desk.tx(seq).attention.clone().expect("our mistake is a question");
    aside.cause = AttentionCause::Quarantined;
    let moves: Moves = [Move::Ask(aside)].into_iter().collect();
    let kind = EntryKind::Moves { tx: seq, moves };
    assert!(Entry { seq: 99, at: desk.now, kind }.puts_aside());
}

/// A damaged journal is refused with words for what is wrong, not applied as far as it goes.
#[test]
fn an_entry_that_does_not_follow_is_refused() {
    let mut desk = Desk::new();
    let seq = desk.begin("a@pay POST undo", None).expect("begins");
    let partition = &mut desk.leader.partition;
    let (next, at) = (partition.seq + 1, desk.now);
    let moves = |moves: Vec<Move>| moves.into_iter().collect::<Moves>();
    let mut refused = |seq: Seq, kind: EntryKind| {
        let refused = partition.apply(&Entry { seq, at, kind }).expect_err("it does not follow");
        (refused.to_string(), refused)
    };
    let (words, why) = refused(next + 1, EntryKind::Moves { tx: seq, moves: moves(vec![]) });
    assert!(matches!(why, ApplyError::Gap { .. }), "{words}");
    assert_eq!(words, format!("entry {} follows entry {}", next + 1, next - 1));
    let (words, _) = refused(next, EntryKind::Moves { tx: 77, moves: moves(vec![]) });
    assert_eq!(words, format!("entry {next} names transaction 77, which is not live"));
    let (words, _) = refused(next, EntryKind::Plan { hash: Saga::hash_of(b"x"), bytes: Arc::from(&b"x"[..]) });
    assert!(words.starts_with(&format!("entry {next}: ")), "{words}");
    // A step that has not been made cannot be undone.
    let illegal = Move::Park { step: 9, direction: Direction::Call, patience_until: Timestamp::NEVER };
    let (words, why) = refused(next, EntryKind::Moves { tx: seq, moves: moves(vec![illegal]) });
    assert!(matches!(why, ApplyError::Illegal { .. }), "{words}");
}

/// A row that left memory is asked for before its next entry is decided or replayed.
#[test]
fn an_entry_for_a_row_that_is_elsewhere_is_refused() {
    let mut desk = Desk::new();
    let seq = desk.begin("a@pay POST undo", None).expect("begins");
    desk.leader.partition.take_changes();
    assert!(desk.leader.partition.evict(seq));
    let verb = Operator::Cancel;
    let cancel = Command::Operate { tx: seq, verb, who: "anna".into(), why: "because".into() };
    let refused = desk.propose(cancel).expect_err("its row is not here");
    assert!(refused.to_string().contains("not brought back"), "{refused}");
    let entry = Entry { seq: seq + 1, at: desk.now, kind: EntryKind::Moves { tx: seq, moves: Moves::new() } };
    let refused = desk.leader.partition.apply(&entry).expect_err("its row is not here");
    assert!(matches!(refused, ApplyError::NotResident { .. }), "{refused}");
}

/// A plan that somebody decoded already is shared, not decoded again; one of another content is not taken for it.
#[test]
fn a_known_plan_is_shared() {
    let slot = |text: &str| {
        let bytes: Arc<[u8]> = Arc::from(saga::saga(text).to_bytes());
        Arc::new(PlanSlot::decode(Saga::hash_of(&bytes), bytes).expect("a plan"))
    };
    let (one, other) = (slot("a@pay POST undo"), slot("b@pay POST undo"));
    let mut partition = Partition::new(PartitionId(0));
    assert!(partition.plans.is_empty());
    partition.plans.know(Arc::clone(&one));
    let place = partition.plans.add(other.hash, Arc::clone(&other.bytes)).expect("a plan");
    assert!(partition.plans.get(place).is_some_and(|had| !Arc::ptr_eq(had, &other) && had.saga == other.saga));
    let place = partition.plans.add(one.hash, Arc::clone(&one.bytes)).expect("a plan");
    assert!(partition.plans.get(place).is_some_and(|had| Arc::ptr_eq(had, &one)));
    assert_eq!((partition.plans.len(), partition.plans.is_empty()), (2, false));
}

/// How a step ended, in the words that conditions see: also those that no saga can wait for at ease.
#[test]
fn a_condition_sees_failures_and_doubts() {
    let doubts: [(&str, &[u16], &str, Status); 2] = [
        ("a@hlr POST optional undo=none unknown=ignore", &[500], "unknown", Status::Unknown),
        ("a@hlr POST optional undo=none unknown=ignore", &[429, 429], "failed", Status::Failed),
    ];
    for (first, statuses, word, status) in doubts {
        let mut desk = Desk::new();
        let text = format!("{first}\nb@pay POST undo after=a when=steps.a.outcome=='{word}'");
        let seq = desk.begin(&text, None).expect("begins");
        for answer in statuses {
            desk.answer(*answer, json("{}"));
            desk.now = desk.now.after(Duration::from_secs(60));
            let _ = desk.propose(Command::Wake(seq));
        }
        assert_eq!(desk.tx(seq).steps[0].status, status, "{word}");
        assert_eq!(desk.calls.iter().map(|call| call.step).collect::<Vec<_>>(), [1], "{word}: b is called");
    }
}
