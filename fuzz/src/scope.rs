//! What an expression sees while it is fuzzed: one input, one answer, and steps that have not run.

use model::{CallKey, Direction, PartitionId, StepIndex, Timestamp, TxId, Value};
use plan::eval::{Response, Scope, Steps};

/// No step has run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl Steps for Nothing {
    fn result(&self, _: StepIndex) -> Option<&Value> {
        None
    }

    fn outcome(&self, _: StepIndex) -> &'static str {
        "pending"
    }

    fn call_key(&self, step: StepIndex) -> CallKey {
        CallKey { tx: tx(), step, direction: Direction::Call, round: 0 }
    }
}

pub(crate) fn tx() -> TxId {
    TxId::new(Timestamp::from_millis(1_795_000_000_000), 1, PartitionId(5), 2, 9)
}

pub(crate) fn scope<'a>(input: &'a Value, steps: &'a dyn Steps, body: &'a Value) -> Scope<'a> {
    Scope {
        tx: tx(),
        input,
        steps,
        response: Some(Response { status: 200, body }),
        signal: Some(body),
        call: Some(steps.call_key(0)),
    }
}
