//! What is known: checkpoints of state rows, history segments, the idempotency index, the catalog.
//!
//! Four rooms under one data directory, each with its own files, recovery and offline inspection:
//!
//! - [`statelog`]: per partition, the rows of live transactions as of one seq (the snapshot);
//! - [`history`]: per node, finished transactions, found by id, idempotency key and key, and listed;
//! - [`catalog`]: per node, small versioned objects such as definitions and the node's identity;
//! - [`disk`]: how much room is left, who uses it, and the ballast that is given up last.
//!
//! The store keeps opaque bytes and a few summary fields. It knows no rule of the state machine,
//! decodes no row, and never decides when something expires: times and cut-offs come in as values.

#![forbid(unsafe_code)]

pub mod catalog;
pub mod disk;
mod durable;
mod error;
mod fields;
#[cfg(not(feature = "faults"))]
mod file;
#[cfg(feature = "faults")]
pub mod file;
pub mod history;
mod inspect;
pub mod statelog;

pub use error::Error;
pub use inspect::{Finding, Inspection, Severity};
