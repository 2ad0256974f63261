//! libFuzzer on the target `store_catalog`.

#![no_main]

fuzz::drive!("store_catalog");
