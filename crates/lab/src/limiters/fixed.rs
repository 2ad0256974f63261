//! A fixed limit: what everybody offers, and, when its number is right by luck or by hindsight, hard to beat.
//!
//! [`SWEEP`] is what "the best fixed limit in hindsight" of a scenario is chosen from (LOAD.md §7.6).

use super::geometric;
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Setting, Settings};

/// From 5 to 500, each about 1.4 times the one before.
pub const SWEEP: [u32; 14] = [5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 225, 320, 500];

/// So many calls at a time, for ever.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fixed(pub f64);

impl Limiter for Fixed {
    fn limit(&self) -> f64 {
        self.0
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}

fn make(settings: &Settings) -> Box<dyn Limiter> {
    Box::new(Fixed(settings.get("limit")))
}

const fn limit(default: f64) -> [Setting; 1] {
    [geometric("limit", default, 5.0, 500.0)]
}

macro_rules! fixed {
    ($($kind:ident $name:literal $limit:literal;)*) => {
        $(pub const $kind: LimiterKind = LimiterKind {
            name: $name,
            about: "a limit that a person has written down",
            settings: const { &limit($limit) },
            make,
        };)*
    };
}

fixed! {
    FIXED_5 "fixed-5" 5.0;
    FIXED_10 "fixed-10" 10.0;
    FIXED_20 "fixed-20" 20.0;
    FIXED_50 "fixed-50" 50.0;
    FIXED_100 "fixed-100" 100.0;
    FIXED_200 "fixed-200" 200.0;
    FIXED_500 "fixed-500" 500.0;
}
