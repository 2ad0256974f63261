//! What the engine refused, as a problem.

use runtime::{Accepted, Refusal};

use super::{At, Code, Problem};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NoDefinition { .. } => {
                Self::new(Code::DefinitionNotFound, detail).hint("tidegate get definitions")
            }
            Refusal::DefinitionPaused { name, .. } => {
                Self::new(Code::DefinitionPaused, detail).hint(format!("tidegate resume definition {name}"))
            }
            Refusal::InputInvalid { definition, violations, .. } => {
                let hint = format!("tidegate get definition {definition} --input");
                violations.into_iter().fold(Self::new(Code::InputInvalid, detail).hint(hint), |problem, violation| {
                    problem.at(At::Pointer(format!("/input{}", violation.pointer)), violation.detail)
                })
            }
            Refusal::KeyReused { first } => Self::new(Code::IdempotencyKeyReused, detail)
                .about(first)
                .hint("send the first body again for its answer, or a new key for something new"),
            Refusal::BadRequest(_) => Self::new(Code::BadRequest, detail),
            Refusal::NoTransaction(id) => Self::new(Code::TransactionNotFound, detail).about(id),
            Refusal::PastRetention(id) => Self::new(Code::Gone, detail).about(id),
            Refusal::NoneLive { .. } => Self::new(Code::NoneLive, detail),
            Refusal::SeveralLive { .. } => {
                Self::new(Code::SeveralLive, detail).hint("send {\"transaction\": …} instead of definition and key")
            }
            Refusal::Conflict(_) => Self::new(Code::Conflict, detail),
            Refusal::NoObject { .. } => Self::new(Code::ObjectNotFound, detail),
            Refusal::Full { retry_after, accepted, .. } => {
                Self::new(Code::Overloaded, detail).retry(retry_after, accepted).again(accepted)
            }
            Refusal::Unavailable { retry_after, accepted, .. } => {
                Self::new(Code::Unavailable, detail).retry(retry_after, accepted).again(accepted)
            }
            Refusal::Internal(_) => {
                tracing::error!(what = detail, "the engine failed a request");
                Self::new(Code::Internal, detail).hint("repeat with the same idempotency key: that is always safe")
            }
        }
    }
}

impl Problem {
    fn again(self, accepted: Accepted) -> Self {
        match accepted {
            Accepted::No => self,
            Accepted::Unknown => self.hint("repeat with the same idempotency key: that is always safe"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plan::schema::Violation;

    use super::*;

    #[test]
    fn an_input_that_does_not_fit_is_answered_as_the_manual_shows() {
        let problem = Problem::from(Refusal::InputInvalid {
            definition: "top-up".into(),
            version: 1,
            violations: vec![Violation { pointer: "/amount_minor".into(), detail: "is 50, the minimum is 100".into() }],
        });
        assert_eq!(
            String::from_utf8_lossy(&problem.render()),
            r#"{"type":"/problems/input-invalid","title":"The input does not fit the definition","status":422,"detail":"1 field of the input of top-up version 1 is wrong","errors":[{"pointer":"/input/amount_minor","detail":"is 50, the minimum is 100"}],"hint":"tidegate get definition top-up --input"}"#
        );
    }

    #[test]
    fn every_refusal_has_the_status_of_the_contract() {
        let id = model::TxId(7);
        let name = || "x".into();
        let cases = [
            (Refusal::NoDefinition { name: name(), version: Some(2) }, 404),
            (Refusal::DefinitionPaused { name: name(), reason: "maintenance".into() }, 409),
            (Refusal::KeyReused { first: id }, 422),
            (Refusal::BadRequest("cursor of another query".into()), 400),
            (Refusal::NoTransaction(id), 404),
            (Refusal::PastRetention(id), 410),
            (Refusal::NoneLive { definition: name(), key: name() }, 404),
            (Refusal::SeveralLive { definition: name(), key: name() }, 409),
            (Refusal::Conflict("past the pivot".into()), 409),
            (Refusal::NoObject { kind: "participant", name: name() }, 404),
            (Refusal::Full { what: "full".into(), retry_after: Duration::ZERO, accepted: Accepted::No }, 429),
            (
                Refusal::Unavailable { what: "disk".into(), retry_after: Duration::ZERO, accepted: Accepted::Unknown },
                503,
            ),
            (Refusal::Internal("defect".into()), 500),
        ];
        for (refusal, status) in cases {
            let problem = Problem::from(refusal.clone());
            assert_eq!(problem.code.status(), status, "{refusal:?}");
            assert_eq!(problem.respond().headers().contains_key("retry-after"), matches!(status, 429 | 503));
        }
    }
}
