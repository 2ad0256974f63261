//! C3: the least expected wait, with the length of the queue cubed.
//!
//! Source: Suresh et al., C3: Cutting Tail Latency in Cloud Data Stores via Adaptive Replica Selection, NSDI 2015:
//!
//! ```text
//! q̂ = 1 + os·n + q̄          Ψ = R̄ − 1/μ̄ + q̂³/μ̄
//! ```
//!
//! with `os` the caller's calls under way there, `n` how many callers there are, and averages of the response time R,
//! the service time 1/μ and the queue q that the server writes into its answers. Here servers tell nothing: the
//! service time is the least response time of late, and the queue is what Little's law makes of the two.
//!
//! Left out: its cubic rate control and back-pressure queue, which belong to a store that names its replicas.

use crate::arm::{Balancer, BalancerKind, Ended, EndpointView, Moment, Outcome};
use crate::limiters::{even, geometric};

#[derive(Clone, Copy, Debug, Default)]
struct Replica {
    response_s: f64,
    service_s: f64,
    queue: f64,
    is_known: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct C3 {
    alpha: f64,
    clients: f64,
    exponent: f64,
    replicas: Vec<Replica>,
}

/// The score of one replica; less is better.
pub fn score(response_s: f64, service_s: f64, under_way: f64, clients: f64, queue: f64, exponent: f64) -> f64 {
    let estimate = 1.0 + under_way * clients + queue;
    response_s - service_s + estimate.powf(exponent) * service_s
}

impl C3 {
    /// Averages take in `alpha` of each measurement; `clients` is n.
    pub fn new(alpha: f64, clients: f64, exponent: f64) -> Self {
        Self { alpha, clients, exponent, replicas: Vec::new() }
    }
}

impl Balancer for C3 {
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        if self.replicas.len() < endpoints.len() {
            self.replicas.resize(endpoints.len(), Replica::default());
        }
        // Equal ones (at the start all of them) are taken in turn by chance.
        let first = at.dice.below(endpoints.len());
        let order = (0..endpoints.len()).map(|n| (first + n) % endpoints.len());
        let scored = order.map(|n| {
            let (r, under_way) = (&self.replicas[n], f64::from(endpoints[n].in_flight));
            (score(r.response_s, r.service_s, under_way, self.clients, r.queue, self.exponent), n)
        });
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |(_, n)| n)
    }

    fn ended(&mut self, _at: &mut Moment<'_>, ended: &Ended) {
        let place = usize::from(ended.endpoint);
        if self.replicas.len() <= place {
            self.replicas.resize(place + 1, Replica::default());
        }
        if matches!(ended.outcome, Outcome::NotTaken { .. } | Outcome::Throttled { .. }) {
            return;
        }
        let r = &mut self.replicas[place];
        let rtt_s = ended.rtt.as_secs_f64().max(1e-6);
        if !r.is_known {
            *r = Replica { response_s: rtt_s, service_s: rtt_s, queue: 0.0, is_known: true };
            return;
        }
        // Down at once, up by a hundredth: the least of late.
        r.service_s = if rtt_s < r.service_s { rtt_s } else { r.service_s + 0.01 * (rtt_s - r.service_s) };
        r.response_s += self.alpha * (rtt_s - r.response_s);
        let queue = (rtt_s / r.service_s - 1.0).max(0.0);
        r.queue += self.alpha * (queue - r.queue);
    }
}

pub const KIND: BalancerKind = BalancerKind {
    name: "c3",
    about: "C3 replica ranking (NSDI 2015), service time and queue guessed from latency",
    settings: &[even("alpha", 0.1, 0.02, 0.9), geometric("clients", 1.0, 0.25, 10.0), even("exponent", 3.0, 1.0, 4.0)],
    make: |s| Box::new(C3::new(s.get("alpha"), s.get("clients"), s.get("exponent"))),
};

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use model::Timestamp;

    use super::*;
    use crate::dice::Dice;

    #[test]
    fn the_score_by_hand() {
        // 4 ms response, 2 ms service, 1 under way of 2 clients, queue 1: 0.004 − 0.002 + 4³·0.002
        assert!((score(0.004, 0.002, 1.0, 2.0, 1.0, 3.0) - 0.13).abs() < 1e-12);
    }

    /// Three replicas that serve one call at a time, the third in 100 ms and the others in 10; a call every 6 ms.
    #[test]
    fn a_slow_replica_gets_little() {
        let mut dice = Dice::new(1);
        let mut c3 = C3::new(0.1, 1.0, 3.0);
        let mut queues: [VecDeque<Timestamp>; 3] = Default::default();
        let mut free_at = [0u64; 3];
        let mut got = [0; 3];
        for ms in 0..60_000u64 {
            let mut at = Moment { now: Timestamp::from_millis(ms), dice: &mut dice };
            for (place, service_ms) in [10, 10, 100].into_iter().enumerate() {
                if free_at[place] == ms
                    && let Some(started) = queues[place].pop_front()
                {
                    free_at[place] = ms + service_ms;
                    let rtt = at.now.since(started);
                    let in_flight = queues[place].len() as u32;
                    let (endpoint, outcome) = (place as u16, Outcome::Done);
                    c3.ended(
                        &mut at,
                        &Ended { endpoint, started, rtt, outcome, in_flight_at_start: in_flight + 1, in_flight },
                    );
                }
                if queues[place].is_empty() {
                    free_at[place] = ms + service_ms;
                }
            }
            if ms % 6 == 0 {
                let endpoints = [0, 1, 2].map(|n| EndpointView { in_flight: queues[n].len() as u32 });
                let chosen = c3.choose(&mut at, &endpoints);
                got[chosen] += 1;
                queues[chosen].push_back(at.now);
            }
        }
        assert!(got[2] * 8 < got[0] && got[2] * 8 < got[1], "{got:?}");
        assert!(queues.iter().all(|q| q.len() < 10), "{queues:?}");
    }
}
