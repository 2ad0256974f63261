//! Evaluating an expression: what it may see, what it may cost, what can go wrong.
//!
//! The meaning is the CEL specification's, on JSON that never loses a digit:
//! - A whole JSON number is an int, always, also where it was written `2.0`. Past 63 bits it still compares and
//!   prints exactly; arithmetic whose result does not fit is an error.
//! - Any other JSON number compares exactly by its text with other JSON numbers, and becomes a double only when
//!   something is computed with it, or it is compared with something computed. Integers and doubles compare on one
//!   number line, without a lossy cast.
//! - CEL has no arithmetic across int and double. Here the integer is taken as a double if that loses no digit,
//!   because a JSON number of a schema's `number` may arrive as either; else it is an error.
//! - A double never leaves an expression: a whole result is an integer again, another the shortest decimal text
//!   that reads back as the same double. NaN and infinity are errors where they arise.
//! - Maps have text keys only, as JSON has.

use std::borrow::Cow;
use std::cell::Cell;

use compact_str::CompactString;
use model::{CallKey, Value};

use crate::expr::Expr;

mod macros;
mod operators;
pub(crate) mod run;

/// How much one evaluation may cost: 1 for each node visited (each round of a macro visits its body's nodes
/// again), and more for work that grows with the length of a text, a list or a map.
pub const COST_MAX: u32 = 10_000;
/// How deep an expression may be nested.
pub const DEPTH_MAX: u32 = 64;

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
    /// A value that may not stand where it would be sent (a line break in a header, `..` in a path).
    #[error("{0}")]
    NotSendable(String),
}

impl Expr {
    /// The value of the expression, borrowed from the scope or the plan where it stands there already.
    pub fn eval<'a>(&'a self, scope: &'a Scope<'a>) -> Result<Cow<'a, Value>, EvalError> {
        if let Some(value) = run::direct(self, scope) {
            return Ok(Cow::Borrowed(value));
        }
        let cost = Cell::new(COST_MAX);
        run::run(self, &run::Env::new(scope, &cost), 0)?.into_cow()
    }

    /// Like [`Expr::eval`]; anything but a boolean is an error.
    pub fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        let cost = Cell::new(COST_MAX);
        let value = run::run(self, &run::Env::new(scope, &cost), 0)?;
        value.as_bool().ok_or_else(|| EvalError::WrongType(format!("is {}, must be a boolean", value.kind())))
    }

    /// Like [`Expr::eval`]; anything but a string is an error.
    pub fn eval_text(&self, scope: &Scope<'_>) -> Result<CompactString, EvalError> {
        match self.eval(scope)? {
            Cow::Borrowed(Value::Text(text)) => Ok(text.clone()),
            Cow::Owned(Value::Text(text)) => Ok(text),
            other => Err(EvalError::WrongType(format!("is {}, must be a string", run::kind_of(&other)))),
        }
    }
}
