//! Bytes that nobody sane would send, against every reader of the project.
//!
//! A **target** takes any bytes, does with them what the product would, and asserts what must hold: nothing panics,
//! what was read can be written and read again, and time and memory stay in proportion to the input. libFuzzer
//! (`cargo fuzz run NAME`) drives it by coverage; `storm` drives the same targets on a plain stable toolchain; the
//! tests replay the corpora and every input that ever failed. docs/internals/fuzzing.md has the figures.

#![deny(unsafe_code)]

pub mod bounds;
mod choices;
mod scope;
pub mod storm;
pub mod targets;

pub use targets::{TARGETS, Target, find};

#[global_allocator]
static COUNTED: bounds::Counted = bounds::Counted;

/// The example definitions, for targets that need real plans.
pub(crate) const TELECOM: [(&str, &str); 4] = [
    ("participants.yaml", include_str!("../../examples/telecom/participants.yaml")),
    ("top-up.yaml", include_str!("../../examples/telecom/top-up.yaml")),
    ("tariff-change.yaml", include_str!("../../examples/telecom/tariff-change.yaml")),
    ("number-port-out.yaml", include_str!("../../examples/telecom/number-port-out.yaml")),
];

/// The body of a libFuzzer binary: one target by its name.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! drive {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            static TARGET: std::sync::OnceLock<&'static $crate::Target> = std::sync::OnceLock::new();
            TARGET.get_or_init(|| $crate::find($name).expect("a target of this name")).check(data);
        });
    };
}
