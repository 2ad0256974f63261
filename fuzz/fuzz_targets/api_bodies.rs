//! libFuzzer on the target `api_bodies`.

#![no_main]

fuzz::drive!("api_bodies");
