//! libFuzzer on the target `journal_segments`.

#![no_main]

fuzz::drive!("journal_segments");
