//! A stand over real sockets: every route, every fault, every promise.

mod caller;
mod capacity;
mod control;
mod doors;
mod faults;
mod ledger;
mod routes;
