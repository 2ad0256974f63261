//! The plain parts: a limit that somebody wrote down, no throttle, the endpoint with the fewest calls.

use crate::arm::{Balancer, Ended, EndpointView, Limiter, Moment, Outcome, Throttle};

/// A limit that stays; calls beyond it wait.
#[derive(Clone, Debug)]
pub(crate) struct Fixed(pub(crate) f64);

impl Limiter for Fixed {
    fn limit(&self) -> f64 {
        self.0
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}

#[derive(Clone, Debug)]
pub(crate) struct NoThrottle;

impl Throttle for NoThrottle {
    fn ended(&mut self, _at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>) {}
}

/// The fewest calls under way; equals take turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct FewestCalls {
    turn: usize,
}

impl Balancer for FewestCalls {
    fn choose(&mut self, _at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        self.turn = (self.turn + 1) % endpoints.len();
        let from = self.turn;
        let order = (0..endpoints.len()).map(|n| (from + n) % endpoints.len());
        order.min_by_key(|n| endpoints[*n].in_flight).unwrap_or(0)
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}
