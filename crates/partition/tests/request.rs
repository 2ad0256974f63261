//! The same call key never carries another request (SEMANTICS 25): what a newer renderer makes of an older plan is
//! compared with what was sent before.

use std::sync::Arc;
use std::time::Duration;

use crate::support::saga;
use model::{PartitionId, Timestamp, Value};
use partition::branch::Branch;
use partition::transaction::AttentionCause;
use partition::{Begin, Command, Effect, Evidence, Leader, Operator, Partition, Rejected, Sample, Surroundings};
use plan::{Participant, Saga};

struct Around(Vec<Participant>);

impl Surroundings for Around {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        let place = self.0.iter().position(|p| p.name == name)?;
        Some((place as u32, &self.0[place]))
    }

    fn is_held(&self, _: u32) -> bool {
        false
    }
}

#[test]
fn another_request_under_the_same_key_is_not_sent() {
    let around = Around(saga::participants());
    let now = Timestamp::from_millis(1_795_000_000_000);
    let mut leader = Leader::new(Partition::new(PartitionId(0)));
    leader.open_epoch(1, 1, now).expect("an epoch");
    let bytes: Arc<[u8]> = Arc::from(saga::saga("charge@pay POST undo").to_bytes());
    let (plan, _) = leader.use_plan(Saga::hash_of(&bytes), &bytes, now).expect("a plan");
    let mut effects = Vec::new();
    let begin = Begin {
        plan,
        idempotency_key: "k".into(),
        submission_digest: 1,
        key: None,
        input: Arc::new(Value::Null),
        deadline: Timestamp::NEVER,
        priority: 5,
        traceparent: "".into(),
    };
    let tx = leader.propose(Command::Begin(Box::new(begin)), now, &around, &mut effects).expect("begins").seq;
    let Some(Effect::Call(out)) = effects.pop() else { panic!("a call") };
    let sample = Sample {
        endpoint: 0,
        started_at: now,
        took: Duration::from_millis(1),
        evidence: Evidence::TimedOut,
        shared: None,
    };
    leader.propose(Command::Answered { call: out.call, sample }, now, &around, &mut effects).expect("an answer");
    // As if another renderer had made the first attempt.
    leader.partition.take_changes();
    let mut row = leader.partition.get(tx).expect("live").clone();
    row.steps[0].digest ^= 1;
    assert!(leader.partition.evict(tx));
    let evicted = leader.propose(Command::Wake(tx), now, &around, &mut effects);
    assert!(matches!(evicted, Err(Rejected::Illegal(_))), "an evicted row is brought back first: {evicted:?}");
    leader.partition.admit(row);
    let later = now.after(Duration::from_secs(10));
    leader.propose(Command::Wake(tx), later, &around, &mut effects).expect("due");
    let live = leader.partition.get(tx).expect("live");
    assert_eq!(live.attention.as_ref().map(|a| a.cause), Some(AttentionCause::RequestChanged));
    assert_eq!(live.steps[0].branch, Branch::Attention);
    assert!(effects.is_empty(), "nothing is sent");
    // Trying again makes the same request again, and asks again.
    let retry = Command::Operate { tx, verb: Operator::Retry, who: "anna".into(), why: "fixed?".into() };
    leader.propose(retry, later, &around, &mut effects).expect("an act");
    assert_eq!(leader.partition.get(tx).and_then(|live| live.attention.as_ref()).map(|a| a.since), Some(later));
    assert!(effects.is_empty(), "nothing is sent");
}
