//! The checked form of a definition: what the engine runs.
//!
//! `definition` makes a [`Saga`] from a file and proves its shape; everything downstream takes that proof for
//! granted. A saga's canonical bytes are what the journal keeps, so a replay decodes plans and never compiles.
//! Expressions are evaluated by the leader only, and their verdicts are recorded (SEMANTICS 11).

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod eval;
pub mod expr;
pub mod number;
pub mod participant;
pub mod render;
pub mod saga;
pub mod schema;
pub mod template;

mod as_text;

pub use eval::{EvalError, Response, Scope, Steps};
pub use expr::{BinaryOp, Expr, Function, Macro, UnaryOp, Var};
pub use participant::{
    AnswerOutcome, AnswerRule, Idempotency, Learn, Limits, Participant, PathPattern, PromiseScope, Retry, SharedRead,
};
pub use render::{Request, render_call, render_text, render_value, resolve_secrets};
pub use saga::{Action, Call, Method, OnUnknown, PlanHash, Saga, Side, Step, Undo, Wait};
pub use template::{TextPart, TextTemplate, ValueTemplate};
