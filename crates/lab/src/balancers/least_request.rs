//! The least busy of a few drawn at random.
//!
//! Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (2001); Envoy's `least_request` policy
//! with equal weights: `choice_count` (2) endpoints drawn with replacement, the one with fewest calls under way.

use crate::arm::{Balancer, BalancerKind, Ended, EndpointView, Moment};
use crate::limiters::{even, whole};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct LeastRequest {
    choices: u32,
}

impl LeastRequest {
    pub fn new(choices: u32) -> Self {
        Self { choices: choices.max(1) }
    }
}

impl Balancer for LeastRequest {
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        let mut best = at.dice.below(endpoints.len());
        for _ in 1..self.choices {
            let other = at.dice.below(endpoints.len());
            if endpoints[other].in_flight < endpoints[best].in_flight {
                best = other;
            }
        }
        best
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}

pub const KIND: BalancerKind = BalancerKind {
    name: "least-request",
    about: "least request of two choices (Envoy's default)",
    settings: &[even("choices", 2.0, 2.0, 8.0)],
    make: |s| Box::new(LeastRequest::new(whole(s.get("choices")))),
};

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::dice::Dice;

    #[test]
    fn the_busiest_of_three_gets_a_ninth() {
        let mut dice = Dice::new(1);
        let mut balancer = LeastRequest::new(2);
        let endpoints = [3, 1, 9].map(|in_flight| EndpointView { in_flight });
        let mut got = [0; 3];
        for _ in 0..9_000 {
            let mut at = Moment { now: Timestamp(1), dice: &mut dice };
            got[balancer.choose(&mut at, &endpoints)] += 1;
        }
        // Of nine pairs five hold the idle one, one holds nothing but the busiest.
        for (got, want) in got.iter().zip([3_000i32, 5_000, 1_000]) {
            assert!((got - want).abs() < 300, "{got} {want}");
        }
    }
}
