//! The driver under stress: crashes, full disks, absent participants, racing duplicates.

#[path = "driver/crash.rs"]
mod crash;
#[path = "driver/disk.rs"]
mod disk;
#[path = "driver/duplicates.rs"]
mod duplicates;
#[path = "driver/failing.rs"]
mod failing;
#[path = "driver/finding.rs"]
mod finding;
#[path = "driver/parked.rs"]
mod parked;
#[path = "driver/shared.rs"]
mod shared;
#[path = "driver/steered.rs"]
mod steered;
#[path = "driver/waiting.rs"]
mod waiting;
#[path = "driver/world.rs"]
mod world;
