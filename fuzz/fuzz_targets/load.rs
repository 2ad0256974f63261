//! libFuzzer on the target `load`.

#![no_main]

fuzz::drive!("load");
