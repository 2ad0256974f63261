//! libFuzzer on the target `store_rows`.

#![no_main]

fuzz::drive!("store_rows");
