//! A submission on its way in: checked against its definition, keyed, digested, before any worker hears of it.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use model::id::PartitionScope;
use model::{CallKey, PartitionId, StepIndex, TxId, Value, partition_of};
use plan::eval::{Scope, Steps};
use xxhash_rust::xxh3::Xxh3;

use crate::idempotency;
use crate::refusal::Refusal;
use crate::submission::Submission;
use crate::tables::{PlanVersion, Tables};

/// One tenant in this version; its name is part of every hash, so that others can come.
pub(crate) const TENANT: &str = "default";

/// A submission that may be proposed.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) plan: Arc<PlanVersion>,
    pub(crate) input: Arc<Value>,
    pub(crate) key: Option<CompactString>,
    pub(crate) idempotency_key: CompactString,
    pub(crate) digest: u64,
    pub(crate) scope: u128,
    pub(crate) partition: PartitionId,
    pub(crate) timeout: Option<Duration>,
    pub(crate) priority: u8,
    pub(crate) traceparent: CompactString,
}

/// No steps have run when a key is rendered.
struct NoSteps;

impl Steps for NoSteps {
    fn result(&self, _step: StepIndex) -> Option<&Value> {
        None
    }

    fn outcome(&self, _step: StepIndex) -> &'static str {
        "pending"
    }

    fn call_key(&self, step: StepIndex) -> CallKey {
        CallKey { tx: TxId(0), step, direction: model::Direction::Call, round: 0 }
    }
}

/// Checks a submission whole.
pub(crate) fn prepare(order: Submission, tables: &Tables, partitions: u16) -> Result<Prepared, Refusal> {
    let visible = |b: u8| (0x21..=0x7e).contains(&b);
    let key_len = order.idempotency_key.len();
    if key_len == 0 || key_len > 255 || !order.idempotency_key.bytes().all(visible) {
        return Err(Refusal::BadRequest("the idempotency key must have 1 to 255 visible ASCII characters".into()));
    }
    let Some((definition, plan)) = tables.active(&order.definition, order.version) else {
        return Err(Refusal::NoDefinition { name: order.definition, version: order.version });
    };
    if let Some(pause) = &definition.paused {
        return Err(Refusal::DefinitionPaused { name: order.definition, reason: pause.reason.clone() });
    }
    let violations = plan.saga.input.validate(&order.input);
    if !violations.is_empty() {
        let version = plan.saga.version;
        return Err(Refusal::InputInvalid { definition: order.definition, version, violations });
    }
    let key = match &plan.saga.key {
        None => None,
        Some(template) => {
            let scope =
                Scope { tx: TxId(0), input: &order.input, steps: &NoSteps, response: None, signal: None, call: None };
            let text = plan::render::render_text(template, &scope)
                .map_err(|e| Refusal::BadRequest(format!("the key of {} has no value: {e}", order.definition)))?;
            if text.len() > 512 {
                return Err(Refusal::BadRequest("the key has more than 512 bytes".into()));
            }
            Some(text)
        }
    };
    let scope = match &key {
        Some(key) => PartitionScope::Key(key),
        None => PartitionScope::Submission { definition: &order.definition, idempotency_key: &order.idempotency_key },
    };
    let partition = partition_of(TENANT, scope, partitions);
    let digest = digest(&order, key.as_deref());
    Ok(Prepared {
        scope: idempotency::scope(TENANT, &order.definition, &order.idempotency_key),
        plan: Arc::clone(plan),
        input: Arc::new(order.input),
        key,
        idempotency_key: order.idempotency_key,
        digest,
        partition,
        timeout: match (order.timeout, plan.saga.timeout) {
            (Some(wish), Some(bound)) => Some(wish.min(bound)),
            (wish, bound) => wish.or(bound),
        },
        priority: order.priority.min(2),
        traceparent: order.traceparent,
    })
}

/// What makes two submissions the same: everything the client said, in canonical form.
fn digest(order: &Submission, key: Option<&str>) -> u64 {
    let mut text = Vec::with_capacity(256);
    model::json::write(&order.input, &mut text);
    let mut hash = Xxh3::with_seed(2);
    hash.update(order.definition.as_bytes());
    hash.update(&[0]);
    hash.update(&order.version.unwrap_or(0).to_le_bytes());
    hash.update(&order.timeout.map_or(0, |t| t.as_micros() as u64).to_le_bytes());
    hash.update(&[order.priority]);
    hash.update(key.unwrap_or_default().as_bytes());
    hash.update(&[0]);
    hash.update(&text);
    hash.digest()
}
