//! libFuzzer on the target `api_lines`.

#![no_main]

fuzz::drive!("api_lines");
