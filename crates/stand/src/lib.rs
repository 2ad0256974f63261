//! External systems to practise on: real HTTP servers with a capacity, a temper and an auditable ledger.
//!
//! ```text
//! caller ──► server (doors, HTTP/1.1 and h2c) ──► system: fault? → capacity → wait → book → ledger ──► answer
//!               └── /_stand/ ──► control: state, faults, capacities, schedules, audit
//! ```
//! `book` is what the six telecom systems do, as plain functions. `audit` compares the ledger with what an engine
//! says it decided. Nothing here knows the engine: only its public headers.

#![forbid(unsafe_code)]

pub mod audit;
mod book;
mod capacity;
mod chance;
pub mod control;
mod fault;
mod ledger;
mod schedule;
mod server;
mod settings;
mod system;

pub use book::Kind;
pub use capacity::{Capacity, Overload, ServiceTime};
pub use fault::{BadFault, CutWhen, Fault, Rule, Temper};
pub use ledger::{Error as LedgerError, Row};
pub use server::{Error, Stand, run};
pub use settings::{Durability, Idempotency, LedgerSettings, Settings, SystemSpec, TradeKind, UnseenUndo, telecom};
