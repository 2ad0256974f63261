//! libFuzzer on the target `json`.

#![no_main]

fuzz::drive!("json");
