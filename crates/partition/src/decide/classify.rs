//! What an answer means: `answers` of the step, then of the participant, then the table of LANGUAGE.md.
//! Proof instead of guess: whatever does not prove that nothing ran is `Unknown`.

use compact_str::{CompactString, format_compact};
use model::mutant::{Mutant, is_planted};
use model::{Outcome, Value};
use plan::eval::Response;
use plan::{AnswerOutcome, AnswerRule};

use super::Decider;
use crate::evidence::{Body, Evidence};

/// The judgement of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// HTTP status; 0 without an answer.
    pub(crate) status: u16,
    pub(crate) detail: CompactString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Done,
    Refused,
    /// Declared proof: the participant took it and did nothing.
    NotExecuted,
    /// Proof: the participant did not take it; says something about the participant, not about this call.
    NotTaken,
    /// The participant does not know us: no transaction is judged by it.
    Unauthorized,
    /// The participant calls our request malformed: nothing is judged, a person is asked.
    OurMistake,
    Unknown,
    /// Declared for an undo: there was nothing.
    NothingToUndo,
}

impl Kind {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Done | Self::NothingToUndo => Outcome::Done,
            Self::Refused | Self::OurMistake => Outcome::Refused,
            Self::NotExecuted | Self::NotTaken | Self::Unauthorized => Outcome::Failed,
            Self::Unknown => Outcome::Unknown,
        }
    }

    /// The participant took it, so it spends an attempt.
    pub(crate) fn counts(self) -> bool {
        !matches!(self, Self::NotTaken | Self::Unauthorized)
    }
}

impl Decider<'_> {
    /// Judges one attempt by rules, first match first, and then by the table.
    pub(crate) fn classify(&self, evidence: &Evidence, rules: [&[AnswerRule]; 2]) -> Verdict {
        let verdict = |kind, status, detail| Verdict { kind, status, detail };
        let (status, has_retry_after, body) = match evidence {
            Evidence::NotSent(why) => return verdict(Kind::NotTaken, 0, why.clone()),
            Evidence::TimedOut if is_planted(Mutant::TimeoutMeansRefused) => {
                return verdict(Kind::Refused, 0, "no answer in time".into());
            }
            Evidence::Cut(why) if is_planted(Mutant::CutMeansNotSent) => {
                return verdict(Kind::NotTaken, 0, why.clone());
            }
            Evidence::Interrupted if is_planted(Mutant::RestartMeansNotSent) => {
                return verdict(Kind::NotTaken, 0, CompactString::default());
            }
            Evidence::TimedOut => return verdict(Kind::Unknown, 0, "no answer in time".into()),
            Evidence::Cut(why) => return verdict(Kind::Unknown, 0, why.clone()),
            Evidence::Interrupted => {
                return verdict(Kind::Unknown, 0, "the node restarted while it was outstanding".into());
            }
            Evidence::Answered { status, has_retry_after, body } => (*status, *has_retry_after, body),
        };
        let value = match body {
            Body::Json(value) => value,
            Body::Empty | Body::Unusable(_) => &Value::Null,
        };
        if rules.iter().any(|list| !list.is_empty()) {
            let response = Response { status, body: value };
            let ruled = self.seeing(Some(response), None, None, |scope| {
                // A rule that reads what this answer does not have does not hold.
                rules.iter().flat_map(|list| list.iter()).find(|rule| rule.when.eval_bool(scope).unwrap_or(false))
            });
            if let Some(rule) = ruled {
                let kind = match rule.outcome {
                    AnswerOutcome::Done => Kind::Done,
                    AnswerOutcome::Refused => Kind::Refused,
                    AnswerOutcome::NotExecuted => Kind::NotExecuted,
                    AnswerOutcome::Unknown => Kind::Unknown,
                    AnswerOutcome::NothingToUndo => Kind::NothingToUndo,
                };
                return verdict(kind, status, rule.reason.clone().unwrap_or_default());
            }
        }
        let detail = |what: &str| format_compact!("{status} {what}");
        match status {
            200..=299 => match body {
                Body::Unusable(why) => verdict(Kind::Done, status, format_compact!("its body is unusable: {why}")),
                Body::Empty | Body::Json(_) => verdict(Kind::Done, status, CompactString::default()),
            },
            429 => verdict(Kind::NotTaken, status, detail("too many requests")),
            503 if has_retry_after || is_planted(Mutant::Any503MeansNotTaken) => {
                verdict(Kind::NotTaken, status, detail("busy, try later"))
            }
            401 | 407 if !is_planted(Mutant::UnauthorizedMeansRefused) => {
                verdict(Kind::Unauthorized, status, detail("it does not know us"))
            }
            300..=399 | 405 | 415 | 421 | 426 | 431 => {
                verdict(Kind::OurMistake, status, detail("it cannot take this request"))
            }
            408 | 425 => verdict(Kind::Unknown, status, detail("it may have been executed")),
            400..=499 => verdict(Kind::Refused, status, detail("refused")),
            _ => verdict(Kind::Unknown, status, detail("it may have been executed")),
        }
    }
}
