//! libFuzzer on the target `definition_files`.

#![no_main]

fuzz::drive!("definition_files");
