//! libFuzzer on the target `store_history`.

#![no_main]

fuzz::drive!("store_history");
