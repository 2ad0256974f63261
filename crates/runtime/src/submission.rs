//! What comes in: submissions, signals, operators' verbs.

use std::time::Duration;

use compact_str::CompactString;
use model::{Direction, TxId, Value};

/// A transaction to begin. Checked by the engine against its definition; accepted whole or not at all.
#[derive(Clone, Debug)]
pub struct Submission {
    pub definition: CompactString,
    /// Absent: the active one.
    pub version: Option<u32>,
    pub input: Value,
    /// 1 to 255 visible characters.
    pub idempotency_key: CompactString,
    /// Overrides the definition's, never past it.
    pub timeout: Option<Duration>,
    /// 0 low, 1 normal, 2 high.
    pub priority: u8,
    /// W3C trace context; empty if there is none.
    pub traceparent: CompactString,
}

/// A signal to a transaction, or to the one that has this definition and key.
#[derive(Clone, Debug)]
pub struct SignalOrder {
    pub to: SignalTo,
    pub signal: CompactString,
    pub body: Value,
    pub idempotency_key: CompactString,
}

#[derive(Clone, Debug)]
pub enum SignalTo {
    Transaction(TxId),
    Key { definition: CompactString, key: CompactString },
}

/// What a person does to a live transaction.
#[derive(Clone, Debug)]
pub enum Verb {
    Cancel,
    Retry,
    Resolve { step: CompactString, direction: Direction, done: bool, result: Option<Value> },
}
