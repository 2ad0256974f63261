//! A saga: its steps, what each calls, how each is undone.

use std::time::Duration;

use compact_str::CompactString;
use model::StepIndex;
use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::participant::{AnswerRule, Retry};
use crate::schema::Schema;
use crate::template::{TextTemplate, ValueTemplate};

/// Names a plan by its content: XXH3-128 of its canonical bytes.
pub type PlanHash = [u8; 16];

/// One version of a definition of kind `Saga`, proven well-formed.
///
/// Steps stand in the order written. `after` points only at earlier entries of a proven acyclic order;
/// every step index in any expression is valid; at most one step is the pivot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saga {
    pub name: CompactString,
    pub version: u32,
    pub description: Option<String>,
    pub owner: Option<CompactString>,
    pub input: Schema,
    /// Renders to text: places the transaction and orders arrivals.
    pub key: Option<TextTemplate>,
    /// One at a time per (lock, key). Only with `key`.
    pub lock: Option<CompactString>,
    /// For the whole transaction, from acceptance.
    #[serde(with = "crate::as_text::maybe_duration")]
    pub timeout: Option<Duration>,
    pub steps: Vec<Step>,
    /// What a completed transaction answers.
    pub output: Option<ValueTemplate>,
}

/// Where a step stands towards the point of no return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Can be undone; refusal and failure abort the transaction.
    Before,
    /// The point of no return itself.
    Pivot,
    /// Only forward, without end.
    After,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    pub name: CompactString,
    /// The steps that must be done or skipped first. Empty: starts at once.
    pub after: Vec<StepIndex>,
    pub when: Option<Expr>,
    pub optional: bool,
    pub side: Side,
    pub action: Action,
    pub unknown: Option<OnUnknown>,
    /// One attempt; overrides the participant's. For a wait, see [`Wait::timeout`].
    #[serde(with = "crate::as_text::maybe_duration")]
    pub timeout: Option<Duration>,
    pub retry: Option<Retry>,
    /// Tried from the top, before the participant's.
    pub answers: Vec<AnswerRule>,
    /// All that is kept of an answer, by name.
    pub result: Vec<(CompactString, Expr)>,
    pub compensate: Undo,
    /// Later steps or the output read `result` fields of this one, so a Done answer that lacks one needs attention.
    pub result_is_read: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Call(Call),
    Wait(Wait),
}

/// One HTTP request to a participant, as written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    pub participant: CompactString,
    pub method: Method,
    /// Expressions in it are percent-encoded.
    pub path: TextTemplate,
    pub query: Vec<(CompactString, TextTemplate)>,
    pub headers: Vec<(CompactString, TextTemplate)>,
    pub body: Option<ValueTemplate>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Repeating it is harmless by HTTP's own meaning.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }

    /// It changes something at the participant.
    pub fn changes(self) -> bool {
        self != Self::Get
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// For a signal of that name. When the timeout passes, the step has failed.
    Signal {
        name: CompactString,
        #[serde(with = "crate::as_text::duration")]
        timeout: Duration,
    },
    /// For a duration, from when the step starts.
    For(#[serde(with = "crate::as_text::duration")] Duration),
    /// Until a time that the expression gives as RFC 3339 text; a time in the past ends it at once.
    Until(Expr),
}

/// What to do with an `Unknown` that may not be asked again, or no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Abort, and undo it with the rest.
    Compensate,
    /// A person decides.
    Operator,
    /// Only for optional steps: go on.
    Ignore,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a plan is held once, and nearly every step has an undo")]
pub enum Undo {
    /// Nothing to undo: a read, a wait, a step after the pivot, or `compensate: none`.
    Nothing,
    Call {
        call: Call,
        #[serde(with = "crate::as_text::maybe_duration")]
        timeout: Option<Duration>,
        answers: Vec<AnswerRule>,
        unknown: Option<OnUnknown>,
    },
}

impl Saga {
    /// The canonical bytes: what is hashed, and what the journal keeps. Format 1 is JSON with named fields.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plans hold only maps with text names, finite numbers and owned text: nothing here can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPlan> {
        from_stored(bytes)
    }

    pub fn hash_of(bytes: &[u8]) -> PlanHash {
        xxhash_rust::xxh3::xxh3_128(bytes).to_le_bytes()
    }

    pub fn step(&self, name: &str) -> Option<(StepIndex, &Step)> {
        self.steps.iter().enumerate().find(|(_, s)| s.name == name).map(|(i, s)| (i as StepIndex, s))
    }

    /// The place of the point of no return, if there is one.
    pub fn pivot(&self) -> Option<StepIndex> {
        self.steps.iter().position(|s| s.side == Side::Pivot).map(|i| i as StepIndex)
    }
}

impl Step {
    /// The participant it calls, if it calls one.
    pub fn call(&self) -> Option<&Call> {
        match &self.action {
            Action::Call(call) => Some(call),
            Action::Wait(_) => None,
        }
    }
}

/// How deep stored JSON may be nested: a body 32 levels deep (three brackets each) with an expression of
/// [`crate::eval::DEPTH_MAX`] (two each) at its bottom, and the plan around it.
const STORED_DEPTH_MAX: usize = 256;

/// Reads stored JSON. `serde_json`'s own bound of 128 is too low for plans that `definition` accepts.
pub(crate) fn from_stored<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, BadPlan> {
    if nesting(bytes) > STORED_DEPTH_MAX {
        return Err(BadPlan(format!("nested deeper than {STORED_DEPTH_MAX} levels")));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.disable_recursion_limit();
    let plan = T::deserialize(&mut reader).map_err(|e| BadPlan(e.to_string()))?;
    reader.end().map_err(|e| BadPlan(e.to_string()))?;
    Ok(plan)
}

/// The most brackets open at once, those inside strings not counted.
fn nesting(bytes: &[u8]) -> usize {
    let (mut open, mut most) = (0usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Stored plan bytes that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stored plan cannot be read: {0}")]
pub struct BadPlan(pub String);
