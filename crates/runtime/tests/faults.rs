//! The real node over disks that fail: journal and store, workers and clients, all in this process, from a seed.
//!
//! `disk` is what lasts and what goes wrong with it, `bank` the participants with their ledger, `life` a node from
//! start to death, `campaign` one seed from beginning to audit. The schedule of faults, of clients and of people is
//! drawn from the seed; the threads of the node are real, so two runs of a seed are alike and not equal.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests report by panicking; a campaign says how far it is"
)]

#[path = "faults/bank.rs"]
mod bank;
#[path = "faults/campaign.rs"]
mod campaign;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/dice.rs"]
mod dice;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/life.rs"]
mod life;
#[path = "faults/poison.rs"]
mod poison;
