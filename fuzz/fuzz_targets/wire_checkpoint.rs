//! libFuzzer on the target `wire_checkpoint`.

#![no_main]

fuzz::drive!("wire_checkpoint");
