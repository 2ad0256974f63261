//! libFuzzer on the target `plan_stored`.

#![no_main]

fuzz::drive!("plan_stored");
