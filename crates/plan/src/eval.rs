//! Evaluating an expression: what it may see, what it may cost, what can go wrong.

use model::{CallKey, Value};

/// What an expression sees. Absent parts are those that the place of the expression cannot name.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub tx: model::TxId,
    pub input: &'a Value,
    pub steps: &'a dyn Steps,
    pub response: Option<Response<'a>>,
    pub signal: Option<&'a Value>,
    pub call: Option<CallKey>,
}

/// What is known of the steps so far.
pub trait Steps {
    /// The kept fields of a step, an object; `None` while there is none.
    fn result(&self, step: model::StepIndex) -> Option<&Value>;
    /// `"done"`, `"refused"`, `"failed"`, `"unknown"`, `"skipped"` or `"pending"`.
    fn outcome(&self, step: model::StepIndex) -> &'static str;
    /// The key of its forward call, known before the call.
    fn call_key(&self, step: model::StepIndex) -> CallKey;
}

/// An answer under judgement.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub status: u16,
    /// Null if there was none, or none that could be read.
    pub body: &'a Value,
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("tx", &self.tx).field("input", self.input).finish_non_exhaustive()
    }
}

/// Why an expression has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EvalError {
    #[error("there is no \"{0}\"")]
    Missing(String),
    #[error("{0}")]
    WrongType(String),
    #[error("the result does not fit 64 bits")]
    Overflow,
    #[error("division by zero")]
    DivisionByZero,
    #[error("the expression costs more than it may")]
    TooCostly,
}
