//! libFuzzer on the target `wire_row`.

#![no_main]

fuzz::drive!("wire_row");
