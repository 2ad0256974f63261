//! What happened: the durable, ordered record of one node, for all of its partitions.
//!
//! ```text
//!  partition's thread        writer (one thread)                      disk
//!  Batch::encode ──► submit ──► group: header, batches, CRC ──► one pwrite ──► one fdatasync
//!                                                                               │
//!  Completion(worker, Committed) ◄──────────────────────────────────────────────┘
//! ```
//! A **batch** is one partition's share, hashed and chained by that partition's own thread. A **group** is what one
//! `fdatasync` makes durable: whatever was queued while the previous one ran. A **segment** is a file that was
//! written once with zeros and is recycled, so that a group commit never touches metadata.
//!
//! The order to read in: [`mod@format`] (bytes), [`contract`] (what every journal promises), `writer` (the hot path),
//! `keeper` (segments before and after the hot path), `walk` and `recovery` (what is true after a crash).
//! The layout and the rules are drawn in `docs/internals/journal.md`.
//!
//! Left out on purpose: what is inside an entry, who owns a partition, checkpoints, replication.

#![forbid(unsafe_code)]

pub mod contract;
pub mod format;
#[doc(hidden)]
pub mod mutant;
pub mod settings;

pub mod batch;
mod error;

mod file;
mod inbox;
mod keeper;
mod segment;
mod side;
mod tails;
mod writer;
mod yard;

mod chain;
mod reading;
mod recovered;
mod recovery;
mod survey;
mod walk;

pub mod disk;
pub mod inspect;
mod memory;

pub use batch::{Batch, BatchHash};
pub use contract::{
    Committed, Completion, Durable, Fault, Figures, Journal, KeptFile, KeptFiles, Part, Refused, Status, Why,
};
pub use error::{Damage, DamageKind, Error, Place, Torn};
pub use file::{FileJournal, Opened, open, open_on};
pub use memory::{MemoryJournal, MemoryOpened, MemoryStore};
pub use reading::Batches;
pub use recovered::{Recovered, RecoveredBatch, Recovery, Start, Starts, Tail};
pub use settings::Settings;
