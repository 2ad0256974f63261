//! A scope for tests: two steps, of which the second never ran.

use model::{CallKey, Direction, PartitionId, StepIndex, Timestamp, TxId, Value};
use plan::eval::{Response, Scope, Steps};

pub(crate) struct World {
    pub(crate) input: Value,
    pub(crate) result: Value,
    pub(crate) body: Value,
    pub(crate) signal: Value,
}

impl World {
    pub(crate) fn new(input: &str, body: &str) -> Self {
        Self {
            input: json(input),
            result: json(r#"{"charge_id":"ch_1","balance_minor":1500}"#),
            body: json(body),
            signal: json(r#"{"decision":"SET","port_at":"2026-11-23T02:00:00Z"}"#),
        }
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            tx: tx(),
            input: &self.input,
            steps: self,
            response: Some(Response { status: 200, body: &self.body }),
            signal: Some(&self.signal),
            call: Some(self.call_key(0)),
        }
    }
}

impl Steps for World {
    fn result(&self, step: StepIndex) -> Option<&Value> {
        (step == 0).then_some(&self.result)
    }

    fn outcome(&self, step: StepIndex) -> &'static str {
        if step == 0 { "done" } else { "skipped" }
    }

    fn call_key(&self, step: StepIndex) -> CallKey {
        CallKey { tx: tx(), step, direction: Direction::Call, round: 0 }
    }
}

pub(crate) fn tx() -> TxId {
    TxId::new(Timestamp::from_millis(1_795_000_000_123), 1, PartitionId(7), 2, 42)
}

pub(crate) fn json(text: &str) -> Value {
    model::json::parse(text.as_bytes()).expect("JSON")
}
