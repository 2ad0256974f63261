//! A participant as its file declares it: where it is, what it promises, how its answers are read.

use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::template::TextTemplate;

/// One external system by role. Nothing that decides about money has a default: all of this was written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Participant {
    pub name: CompactString,
    pub owner: Option<CompactString>,
    /// `http` in this version.
    pub connector: CompactString,
    /// Base addresses, at least one.
    pub endpoints: Vec<String>,
    /// Sent with every call; the only place where secrets are named.
    pub headers: Vec<(CompactString, TextTemplate)>,
    pub idempotency: Idempotency,
    /// How long a call can still take effect after we stopped waiting.
    #[serde(with = "crate::as_text::duration")]
    pub settles_within: Duration,
    /// An undo makes a later do impossible: nothing has to settle.
    pub undo_blocks_do: bool,
    /// One attempt.
    #[serde(with = "crate::as_text::duration")]
    pub timeout: Duration,
    pub retry: Retry,
    pub answers: Vec<AnswerRule>,
    pub limits: Limits,
}

/// Whether a repeated call key is recognised, how it is sent, and for how long that holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Repeats execute again.
    None,
    /// The engine sends the call key in this header.
    Header {
        name: CompactString,
        #[serde(rename = "for", with = "crate::as_text::duration")]
        remembers: Duration,
        scope: PromiseScope,
    },
    /// Every call carries `${call.key}` in this field of its body; the engine inserts nothing.
    Body {
        field: CompactString,
        #[serde(rename = "for", with = "crate::as_text::duration")]
        remembers: Duration,
        scope: PromiseScope,
    },
}

impl Idempotency {
    /// For how long a repeat is recognised; `None` if never.
    pub fn remembers(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Header { remembers, .. } | Self::Body { remembers, .. } => Some(*remembers),
        }
    }
}

/// Who shares the memory of call keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseScope {
    Participant,
    /// A repeat must go to the same endpoint.
    Endpoint,
}

/// Factor 2 and jitter are fixed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// Calls that the participant took, the first included.
    pub attempts: u32,
    #[serde(with = "crate::as_text::duration")]
    pub backoff: Duration,
    #[serde(with = "crate::as_text::duration")]
    pub max_backoff: Duration,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub max_in_flight: u32,
    pub max_per_second: Option<u32>,
    /// Nothing learned goes below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "Learn::is_on")]
    pub learn: Learn,
}

/// Whether the limit is learned, between `min_in_flight` and `max_in_flight`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// `max_in_flight` is the limit.
    Off,
    /// `max_in_flight` is the limit, and it is shown what would have been learned.
    Observe,
    #[default]
    On,
}

impl Learn {
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::On];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::On => "on",
        }
    }

    /// What is meant if nothing is said is not written down: files applied before keep their bytes.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_on(&self) -> bool {
        *self == Self::On
    }
}

/// One line of `answers`: the first whose `when` holds decides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AnswerRule {
    pub when: Expr,
    pub outcome: AnswerOutcome,
    pub reason: Option<CompactString>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerOutcome {
    Done,
    Refused,
    /// Declared proof that nothing ran for this call key.
    NotExecuted,
    Unknown,
    /// Only in a compensation; believed only after the step has settled.
    NothingToUndo,
}

impl Participant {
    /// The canonical bytes that the catalog keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::saga::BadPlan> {
        crate::saga::from_stored(bytes)
    }
}
