//! The words: ids, values, time, outcomes and keys that every other room speaks.
//!
//! Nothing here does I/O, reads a clock or draws a random number. Storage formats live in `wire`.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod call;
pub mod id;
pub mod json;
pub mod mutant;
pub mod time;
pub mod value;

pub use call::{CallKey, Direction, Outcome};
pub use id::{Epoch, Incarnation, PartitionId, Seq, StepIndex, TxId, partition_of};
pub use time::{Timestamp, parse_duration};
pub use value::{Map, Number, Value};
