//! Corners that the stories and the random lives seldom turn: conditions on how a step ended, times that
//! are none, a checkpoint that is lost, rows that leave memory.

use std::sync::Arc;
use std::time::Duration;

use crate::support::saga;
use model::{PartitionId, Seq, Timestamp};
use partition::branch::{Branch, Status};
use partition::state::Presence;
use partition::transaction::AttentionCause;
use partition::{
    Begin, Body, CallRef, Command, Effect, Evidence, Leader, Partition, Rejected, Sample, Surroundings, Transaction,
};
use plan::{Participant, Saga};

struct Around {
    participants: Vec<Participant>,
    held: bool,
}

impl Surroundings for Around {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        let place = self.participants.iter().position(|p| p.name == name)?;
        Some((place as u32, &self.participants[place]))
    }

    fn is_held(&self, _: u32) -> bool {
        self.held
    }
}

/// One partition, led, with a clock that stands.
struct Desk {
    leader: Leader,
    around: Around,
    now: Timestamp,
    calls: Vec<CallRef>,
    ended: Vec<Transaction>,
}

impl Desk {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_795_000_000_000);
        let mut leader = Leader::new(Partition::new(PartitionId(0)));
        leader.open_epoch(1, 1, now).expect("an epoch");
        let around = Around { participants: saga::participants(), held: false };
        Self { leader, around, now, calls: Vec::new(), ended: Vec::new() }
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
        Ok(entry.seq)
    }

    /// Begins a transaction of the saga `text` with `input`, which is JSON.
    fn begin(&mut self, text: &str, input: &str) -> Seq {
        let bytes: Arc<[u8]> = Arc::from(saga::saga(text).to_bytes());
        let (plan, _) = self.leader.use_plan(Saga::hash_of(&bytes), &bytes, self.now).expect("a plan");
        let begin = Begin {
            plan,
            idempotency_key: "k".into(),
            submission_digest: 1,
            key: None,
            input: Arc::new(model::json::parse(input.as_bytes()).expect("JSON")),
            deadline: Timestamp::NEVER,
            priority: 5,
            traceparent: "".into(),
        };
        self.propose(Command::Begin(Box::new(begin))).expect("begins")
    }

    /// Answers the oldest call that is out.
    fn answer(&mut self, status: u16, body: &str) {
        let call = self.calls.remove(0);
        let body = Body::Json(model::json::parse(body.as_bytes()).expect("JSON"));
        let evidence = Evidence::Answered { status, has_retry_after: false, body };
        let sample =
            Sample { endpoint: 0, started_at: self.now, took: Duration::from_millis(1), evidence, shared: None };
        self.propose(Command::Answered { call, sample }).expect("an answer");
    }

    fn tx(&self, seq: Seq) -> &Transaction {
        self.leader.partition.get(seq).expect("it lives")
    }
}

/// `steps.<name>.outcome` says how a step ended, in the words of the language.
#[test]
fn a_condition_sees_how_a_step_ended() {
    for (status, word) in [(200, "done"), (409, "refused")] {
        let mut desk = Desk::new();
        let text = format!(
            "a@hlr POST optional undo=none unknown=ignore\nb@pay POST undo after=a when=steps.a.outcome=='{word}'"
        );
        let seq = desk.begin(&text, "{}");
        desk.answer(status, "{}");
        assert_eq!(desk.calls.len(), 1, "{word}: b is called");
        assert_eq!(desk.tx(seq).steps[1].status, Status::Active);
        let mut desk = Desk::new();
        let text = text.replace("==", "!=");
        desk.begin(&text, "{}");
        desk.answer(status, "{}");
        assert!(desk.calls.is_empty(), "{word}: b is skipped");
        assert_eq!(desk.ended.len(), 1);
        assert_eq!(desk.ended[0].steps[1].status, Status::Skipped);
    }
    // Skipped, too, is a way to end.
    let mut desk = Desk::new();
    desk.begin("a@pay POST undo when=input.x>0\nb@pay POST undo after=a when=steps.a.outcome=='skipped'", r#"{"x":0}"#);
    assert_eq!(desk.calls.len(), 1);
    assert_eq!(desk.calls[0].step, 1);
}

/// A rule of the step goes before the table: what HTTP calls a success is a refusal here.
#[test]
fn a_rule_of_the_step_comes_first() {
    let mut desk = Desk::new();
    desk.begin("a@pay POST undo refused_if=response.status==200", "{}");
    desk.answer(200, "{}");
    assert_eq!(desk.ended[0].steps[0].status, Status::Refused);
    let attempt = &desk.ended[0].attempts[0];
    assert_eq!((attempt.status, attempt.detail.as_str()), (200, "said so"));
}

/// A time that is none, or none there: a person is asked, and told which.
#[test]
fn a_wait_until_no_time_asks() {
    for (input, words) in [(r#"{"at":"tomorrow"}"#, "is no RFC 3339 time"), ("{}", "has no value")] {
        let mut desk = Desk::new();
        let seq = desk.begin("b wait=until:input.at", input);
        let asked = desk.tx(seq).attention.as_ref().expect("a person is asked");
        assert_eq!(asked.cause, AttentionCause::Expression, "{input}");
        assert!(asked.detail.contains(words), "{}", asked.detail);
        assert_eq!(desk.tx(seq).steps[0].branch, Branch::Attention);
    }
}

/// A checkpoint that never became durable counts for nothing: what it held is written by the next one.
#[test]
fn a_lost_checkpoint_is_written_again() {
    let mut desk = Desk::new();
    let (first, second) = (desk.begin("a@pay POST undo", "{}"), desk.begin("a@pay POST undo", "{}"));
    let partition = &mut desk.leader.partition;
    let changes = partition.take_changes();
    assert_eq!((changes.dirty, changes.removed), (vec![first, second], vec![]));
    let changes = partition.take_changes();
    assert_eq!((changes.dirty, changes.removed), (vec![], vec![]));
    assert_eq!((partition.resident_count(), partition.live_count()), (2, 2));
    // The second leaves memory: its row is in an earlier checkpoint, which still has it.
    let row = partition.get(second).expect("resident").clone();
    assert!(partition.evict(second) && !partition.evict(second));
    assert_eq!((partition.resident_count(), partition.live_count()), (1, 2));
    assert_eq!((partition.presence(second), partition.presence(second + 1)), (Presence::Evicted, Presence::Absent));
    partition.forget_rows(vec![99]);
    let changes = partition.take_changes();
    assert_eq!((changes.dirty, changes.removed), (vec![first], vec![99]));
    partition.admit(row);
    assert_eq!(partition.residents().map(Transaction::seq).max(), Some(second));
    assert_eq!(partition.live_seqs(), [first, second]);
}

/// Only what waits for participants alone is parked.
#[test]
fn parked_is_what_waits_for_its_participants_alone() {
    let mut desk = Desk::new();
    desk.around.held = true;
    let alone = desk.begin("a@pay POST undo", "{}");
    let beside = desk.begin("a@pay POST undo\nb wait=for:1h after=", "{}");
    desk.around.held = false;
    let calling = desk.begin("a@pay POST undo", "{}");
    let partition = &desk.leader.partition;
    assert_eq!(partition.get(alone).map(|tx| tx.steps[0].branch), Some(Branch::Parked));
    assert!(partition.is_parked(alone));
    assert!(!partition.is_parked(beside), "{:?}", partition.get(beside).map(|tx| &tx.steps));
    assert!(!partition.is_parked(calling) && !partition.is_parked(calling + 1));
}
