//! A discrete-event laboratory for load management: it knows the true capacity, so it can say who finds it.
//!
//! ```text
//!  scenario file ─► scenario ─┐                       ┌─ plant: what the participant really is
//!  series of others ─► series ─┼─► suite ─► world ─────┼─ life: how a transaction goes on
//!  arms by name ─► arms ───────┘      │                └─ arm: decides when and where (ours, others', the oracle)
//!                                     ▼
//!                                   score ─► report (means, intervals, ranks) ─► JSON, text, page
//! ```
//!
//! Time is virtual and everything drawn has a name, so the same seed gives the same bytes and all arms meet the
//! same day. Ours is the engine's own `load` crate, not a copy. `docs/load-manager.md` says what is measured and
//! why; `docs/lab.md` is the format of scenario files.
//!
//! Left out: real sockets (that is `stand` and `bench`), parallel branches, anything that ends a transaction but
//! its steps and its deadline.

#![forbid(unsafe_code)]

mod agenda;
pub mod arm;
pub mod arms;
pub mod balancers;
mod client;
#[cfg(test)]
mod closed_forms;
pub mod dice;
pub mod dist;
pub mod library;
mod life;
pub mod limiters;
#[cfg(test)]
mod ours;
pub mod page;
mod plant;
pub mod report;
pub mod scenario;
pub mod score;
pub mod series;
pub mod stats;
pub mod suite;
mod tally;
pub mod throttles;
pub mod tune;
mod world;
