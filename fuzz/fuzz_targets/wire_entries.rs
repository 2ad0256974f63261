//! libFuzzer on the target `wire_entries`.

#![no_main]

fuzz::drive!("wire_entries");
