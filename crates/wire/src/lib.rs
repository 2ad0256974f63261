//! Bytes to types and back: the entries of a journal batch, and the row of a transaction.
//!
//! Every released version decodes for ever; golden bytes in `tests/golden.rs` hold it. Decoding never trusts a
//! length, never recurses deeper than a value may be nested, and says where it stopped. How batches and groups are
//! framed and checked is the journal's; who stores rows is the store's.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod entry;
pub mod row;

mod code;
mod moves;
mod primitive;

pub use entry::{EntryReader, EntryWriter};
pub use primitive::Error;
