//! libFuzzer on the target `connector_answer`.

#![no_main]

fuzz::drive!("connector_answer");
