//! libFuzzer on the target `expression`.

#![no_main]

fuzz::drive!("expression");
