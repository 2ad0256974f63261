//! libFuzzer on the target `words`.

#![no_main]

fuzz::drive!("words");
