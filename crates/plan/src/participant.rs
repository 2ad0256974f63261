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
    /// Reads whose answers may serve others; none if nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_reads: Vec<SharedRead>,
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

/// One operation that only reads, and whose answer may serve whoever asks the same. The method is GET.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedRead {
    pub path: PathPattern,
    /// By how much what an answer tells may be older than the moment in which somebody asks.
    #[serde(with = "crate::as_text::duration")]
    pub max_age: Duration,
}

/// Paths of one shape: `/contracts/*` is every path of two segments of which the first is `contracts`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathPattern(CompactString);

impl PathPattern {
    /// Takes `/`, and segments between slashes that are either `*` or letters, digits and `-._~`.
    ///
    /// # Errors
    /// Says in words what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix('/').ok_or("a path begins with /")?;
        if rest.contains(['?', '#']) {
            return Err("the query is no part of it: reads with another query are other reads");
        }
        for segment in rest.split('/') {
            if matches!(segment, "." | "..") {
                return Err("a path has no . and no .. between slashes");
            }
            if segment != "*" && segment.contains('*') {
                return Err("* stands for one whole part between slashes");
            }
            if segment != "*" && !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
                return Err("its parts are letters, digits and -._~, or * for any one part");
            }
        }
        if !rest.is_empty() && rest.split('/').any(str::is_empty) {
            return Err("a part between slashes is empty");
        }
        Ok(Self(CompactString::new(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it fits a path as it is sent; what follows a `?` does not count.
    pub fn fits(&self, path_and_query: &str) -> bool {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let mut wanted = self.0.split('/');
        let mut found = path.split('/');
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() => {}
                (Some(one), Some(other)) if one == other && one != "*" => {}
                _ => return false,
            }
        }
    }

    /// Whether a path that this template gives can fit: where it computes, it may give anything.
    pub fn may_fit(&self, template: &TextTemplate) -> bool {
        let mut shape = String::new();
        for part in &template.0 {
            match part {
                crate::template::TextPart::Literal(text) => shape.push_str(text),
                // No path has it in its text, and what is computed is one segment's text.
                _ => shape.push('\0'),
            }
        }
        let (wanted, found) = (self.0.split('/'), shape.split('/'));
        wanted.clone().count() == found.clone().count()
            && wanted
                .zip(found)
                .all(|(one, other)| one == other || other.contains('\0') || one == "*" && !other.is_empty())
    }
}

impl Participant {
    /// How old the answer of another may be that serves this read; `None` where nothing is declared.
    pub fn shares(&self, path_and_query: &str) -> Option<Duration> {
        self.shared_reads.iter().find(|read| read.path.fits(path_and_query)).map(|read| read.max_age)
    }

    /// The canonical bytes that the catalog keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::saga::BadPlan> {
        crate::saga::from_stored(bytes)
    }
}
