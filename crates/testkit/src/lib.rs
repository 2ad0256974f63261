//! Cases that users write for their definitions, run on the real state machine in a world of their own.
//!
//! ```text
//! top-up.test.yaml ─suite─► cases ─world─► runs ─judge─► findings with their places
//!                             └─failures─► every refusal, failure, Unknown and crash, by itself
//! ```
//! A [`Suite`](suite::Suite) is read with `definition`'s own YAML and compiler; [`world::run`] drives the real
//! `partition::Leader` with virtual time and the requests as they would be sent; a crash replays the journal from its
//! bytes. Files, arguments and colours are the command line's; no rule of the engine is repeated here.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod failures;
mod json_schema;
pub mod judge;
pub mod made_up;
pub mod pattern;
pub mod play;
pub mod report;
pub mod run;
pub mod script;
pub mod suite;
pub mod world;

mod ledger;

pub use json_schema::JSON_SCHEMA;
pub use ledger::Violation;
