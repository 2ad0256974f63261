//! The seeded world: the whole engine on one thread, made from one number, with everything going wrong that can.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod check;
mod disk;
pub mod event;
mod facts;
mod features;
pub mod fixed;
pub mod ledger;
pub mod menu;
pub mod mutants;
mod node;
mod outside;
mod people;
mod queue;
pub mod replay;
mod tables;
mod watch;
mod world;

pub use features::Features;
pub use world::Life;
