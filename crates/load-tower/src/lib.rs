//! The load manager of the engine for any Rust service that calls others: a `tower` layer.
//!
//! ```text
//!  request ──► Judge::ask ──► Downstream::admit ──► inner service ──► Judge::evidence ──► the permit ends
//!                              │ no room: waits (bounded), in the order of load::Class, priority and time left
//!                              └ no room to wait, or not in time: refused at once, nothing was sent
//! ```
//!
//! ```
//! use load_tower::{Downstream, HttpStatus, Spec};
//! use tower::ServiceBuilder;
//!
//! # #[derive(Clone)] struct Client;
//! # fn build(client: Client) {
//! let billing = Downstream::new(Spec { name: "billing".into(), max_in_flight: 200, ..Spec::default() });
//! let service = ServiceBuilder::new().layer(billing.layer(HttpStatus)).service(client);
//! # drop(service);
//! # }
//! ```
//!
//! One [`Downstream`] is one external system: share it (it is a handle) between all services that call that system.
//! Several endpoints of one system are several inner services: [`Downstream::balance`]. Without `tower`,
//! [`Downstream::admit`] gives a [`Permit`] for one call.
//!
//! What is learned, and how, is in the crate `load`; this one adds a clock, wakes those that wait, and reads HTTP's
//! words for load. Nothing is parked on disk: where the engine would park a call, this refuses it. Needs a `tokio`
//! runtime with time where calls wait; spawns nothing.

#![forbid(unsafe_code)]

mod downstream;
mod judge;
mod service;

pub use downstream::{Downstream, Permit, Refused};
pub use judge::{Ask, HttpStatus, Judge};
pub use load::ParticipantSpec as Spec;
pub use load::{BadSnapshot, Class, Evidence, Learn, ParkReason, ParticipantReport, Quota, State};
pub use service::{Error, Limited, LoadLayer};
