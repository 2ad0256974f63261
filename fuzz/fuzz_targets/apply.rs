//! libFuzzer on the target `apply`.

#![no_main]

fuzz::drive!("apply");
