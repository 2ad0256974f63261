//! One after the other.

use crate::arm::{Balancer, BalancerKind, Ended, EndpointView, Moment};

/// See the module; it begins anywhere, so that many clients do not march in step.
#[derive(Clone, Copy, Default, Debug)]
pub struct RoundRobin {
    next: Option<usize>,
}

impl Balancer for RoundRobin {
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        let chosen = self.next.unwrap_or_else(|| at.dice.below(endpoints.len())) % endpoints.len().max(1);
        self.next = Some(chosen + 1);
        chosen
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}

pub const KIND: BalancerKind = BalancerKind {
    name: "round-robin",
    about: "one after the other",
    settings: &[],
    make: |_| Box::new(RoundRobin::default()),
};
