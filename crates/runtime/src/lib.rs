//! Drives the pure rooms against clock, journal, store and connectors.
//!
//! One worker thread per core leads a share of the partitions; a transaction stays on its partition's worker from
//! the first verdict to the last. [`Engine`] is the cheap handle that everything outside holds.

pub mod answer;
pub mod backup;
pub mod catalog;
pub mod doctor;
pub mod engine;
pub mod query;
pub mod refusal;
pub mod report;
pub mod settings;
pub mod submission;
pub mod view;

mod applying;
mod clock;
mod finding;
mod gauges;
mod given;
mod idempotency;
mod inbox;
mod numbers;
mod prepare;
mod recovery;
mod shared;
mod start;
mod state_word;
mod steering;
mod tables;
mod targets;
mod worker;

pub use answer::{Answer, Until};
pub use catalog::{Applied, AppliedObject, Change, SourceText};
pub use engine::Engine;
pub use query::{Counted, Filter, GroupBy, Page};
pub use refusal::{Accepted, Refusal};
pub use report::{NodeReport, Readiness};
pub use settings::{Components, Settings};
pub use state_word::{outcome_word, reason_word, state_word};
pub use submission::{SignalOrder, SignalTo, Submission, Verb};
pub use view::View;
