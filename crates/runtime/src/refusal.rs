//! Why something was not done: one closed list, each with what to do about it.

use std::time::Duration;

use compact_str::CompactString;
use model::TxId;
use plan::schema::Violation;

/// Whether anything was accepted when an answer is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    No,
    /// Ask again with the same idempotency key.
    Unknown,
}

#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no definition \"{name}\"{}", version.map(|v| format!(" version {v}")).unwrap_or_default())]
    NoDefinition { name: CompactString, version: Option<u32> },
    #[error("definition \"{name}\" is paused: {reason}")]
    DefinitionPaused { name: CompactString, reason: String },
    #[error("{} of the input of {definition} version {version} {} wrong", fields(violations.len()), if violations.len() == 1 { "is" } else { "are" })]
    InputInvalid { definition: CompactString, version: u32, violations: Vec<Violation> },
    #[error("the idempotency key was used before with another body, by {first}")]
    KeyReused { first: TxId },
    #[error("{0}")]
    BadRequest(String),
    #[error("there is no transaction {0}")]
    NoTransaction(TxId),
    #[error("{0} ended before the history that is kept")]
    PastRetention(TxId),
    #[error("no live transaction of \"{definition}\" has the key \"{key}\"")]
    NoneLive { definition: CompactString, key: CompactString },
    #[error(
        "several live transactions of \"{definition}\" have the key \"{key}\" and await this signal: name the transaction"
    )]
    SeveralLive { definition: CompactString, key: CompactString },
    /// The state does not allow it; 409.
    #[error("{0}")]
    Conflict(String),
    #[error("there is no {kind} \"{name}\"")]
    NoObject { kind: &'static str, name: CompactString },
    /// Something is full; 429.
    #[error("{what}")]
    Full { what: String, retry_after: Duration, accepted: Accepted },
    /// The node takes no work now; 503.
    #[error("{what}")]
    Unavailable { what: String, retry_after: Duration, accepted: Accepted },
    #[error("{0}")]
    Internal(String),
}

fn fields(n: usize) -> String {
    if n == 1 { "1 field".into() } else { format!("{n} fields") }
}
