//! Answers of reads that may serve others: what was asked, what was answered, and whose call it was.
//!
//! Which of them are kept, for how long and who may have one is decided by `load`; whether one does for a step, by
//! `partition`. Here are the bodies, under the name of the call that they were given to.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use model::{StepIndex, TxId, Value};
use parking_lot::Mutex;
use partition::evidence::Body;
use partition::{CallRef, Evidence, OutgoingCall, Shared, SharedWay};
use plan::render::Request;

/// The call of a read whose answer may serve others, from its start to its answer.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) tx: TxId,
    pub(crate) participant: u32,
    pub(crate) request: Request,
}

impl Lead {
    pub(crate) fn of(outgoing: &OutgoingCall) -> Self {
        Self { tx: outgoing.key.tx, participant: outgoing.participant, request: outgoing.request.clone() }
    }
}

/// An answer that says yes or no.
#[derive(Debug)]
pub(crate) struct GivenAnswer {
    tx: TxId,
    step: StepIndex,
    attempt: u32,
    participant: u32,
    request: Request,
    pub(crate) endpoint: u16,
    pub(crate) evidence: Evidence,
    /// About what it takes in memory.
    pub(crate) bytes: usize,
}

/// One call is handed another's answer.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) token: u64,
    pub(crate) answer: Arc<GivenAnswer>,
    pub(crate) way: SharedWay,
    /// As [`load::Verdict::Answered`].
    pub(crate) age: Duration,
}

impl GivenAnswer {
    /// `None` for what nobody else should hear: no answer, one that says nothing, a body that nobody can read.
    pub(crate) fn of(
        lead: Lead,
        call: CallRef,
        endpoint: u16,
        evidence: &Evidence,
        for_load: load::Evidence,
    ) -> Option<Self> {
        if !matches!(for_load, load::Evidence::Done | load::Evidence::Refused) {
            return None;
        }
        let Evidence::Answered { body, .. } = evidence else { return None };
        let body_bytes = match body {
            Body::Empty => 0,
            Body::Json(value) => weight(value),
            Body::Unusable(_) => return None,
        };
        let headers: usize = lead.request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let request_bytes =
            lead.request.path_and_query.len() + headers + lead.request.body.as_ref().map_or(0, Vec::len);
        Some(Self {
            tx: lead.tx,
            step: call.step,
            attempt: call.attempt,
            participant: lead.participant,
            request: lead.request,
            endpoint,
            evidence: evidence.clone(),
            bytes: size_of::<Self>() + request_bytes + body_bytes,
        })
    }

    /// It answers this request. Digests have been equal already; this looks at every byte.
    pub(crate) fn answers(&self, participant: u32, request: &Request) -> bool {
        self.participant == participant && self.request == *request
    }

    pub(crate) fn mark(&self, way: SharedWay, age: Duration) -> Shared {
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Shared { way, tx: self.tx, step: self.step, attempt: self.attempt, age_us }
    }
}

/// Bytes that a value takes in memory, about.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(weight).sum(),
            Value::Map(map) => map.iter().map(|(name, value)| size_of::<Value>() + name.len() + weight(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

/// The answers that `load` says are to be kept. Changed only by whoever holds the load manager.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswers(Mutex<HashMap<load::CallRef, Arc<GivenAnswer>>>);

impl KeptAnswers {
    pub(crate) fn keep(&self, call: load::CallRef, answer: Arc<GivenAnswer>) {
        self.0.lock().insert(call, answer);
    }

    pub(crate) fn get(&self, call: load::CallRef) -> Option<Arc<GivenAnswer>> {
        self.0.lock().get(&call).cloned()
    }

    pub(crate) fn drop_all(&self, calls: impl Iterator<Item = load::CallRef>) {
        let mut kept = None;
        for call in calls {
            kept.get_or_insert_with(|| self.0.lock()).remove(&call);
        }
    }
}

/// Calls that were not made, by participant: [joined, kept].
pub(crate) type Avoided = std::collections::BTreeMap<u32, [u64; 2]>;
