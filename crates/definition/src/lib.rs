//! A definition file to a checked plan, or an error that points at the line.
//!
//! [`check`] takes the text of files and gives [`plan::Saga`]s and [`plan::Participant`]s that need no further
//! proof, or [`Diagnostic`]s in the words of the manual. It knows the language (docs/language.md) and nothing of
//! how a saga is run: no I/O, no clock, no state of an engine.
//!
//! ```text
//! text ─yaml─► tree with places ─saga, participants─► drafts ─expr─► plan::Expr ─proof─► plan
//! ```
//! What is not here: the rule that a version's content never changes (the server has the other version), the
//! evaluation of expressions (`plan`), and what answers mean (`connectors`, `partition`).

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod check;
mod diagnostic;
pub mod document;
mod expr;
mod json_schema;
mod names;
mod object;
mod participants;
mod saga;
mod schema;
mod source;
mod yaml;

pub use check::{Checked, CheckedParticipant, CheckedSaga, Known, check};
pub use diagnostic::{Code, Diagnostic, Label, Severity};
pub use json_schema::JSON_SCHEMA;
pub use source::{SourceFile, Span};
