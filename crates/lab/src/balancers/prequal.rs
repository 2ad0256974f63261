//! Prequal: probe a few, remember the answers, and take the quickest of those that are not too busy.
//!
//! Source: Wydrowski et al., Load is not what you should balance: Introducing Prequal, NSDI 2024. Every call sends
//! 3 probes to endpoints drawn at random; the answers (requests in flight there, recent latency at about that load)
//! go to a pool of 16, leave it after 1 s, after so many uses, when there is no room (the oldest), and one per call
//! as the oldest or the worst in turn. An answer is *hot* if its requests in flight exceed the 0.84 quantile of those
//! seen lately. The choice: the cold one with the least latency; if all are hot, the one with fewest in flight. Its
//! count in the pool goes up by one, so that the next call sees it. With fewer than two answers: at random.
//!
//! ```text
//! uses = max(1, (1 + δ) / ((1 − pool/endpoints)·r_probe − r_remove)),   δ = 1   (unbounded if not positive)
//! ```
//!
//! Left out: error aversion, of which the paper gives no formula.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;

use crate::arm::{Balancer, BalancerKind, Ended, EndpointView, Moment};
use crate::limiters::{even, geometric, whole};

/// How many recent answers the hot quantile is taken from.
const REMEMBERED: usize = 128;

/// What [`Prequal`] is made with; the defaults are the paper's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PrequalSettings {
    pub probes_per_call: f64,
    pub removals_per_call: f64,
    pub pool: usize,
    pub age: Duration,
    pub hot_quantile: f64,
    pub delta: f64,
}

impl Default for PrequalSettings {
    fn default() -> Self {
        Self {
            probes_per_call: 3.0,
            removals_per_call: 1.0,
            pool: 16,
            age: Duration::from_secs(1),
            hot_quantile: 0.84,
            delta: 1.0,
        }
    }
}

impl PrequalSettings {
    /// How often one answer may be used, with so many endpoints.
    pub fn uses(&self, endpoints: usize) -> f64 {
        let share = 1.0 - self.pool as f64 / endpoints.max(1) as f64;
        let gained = share.max(0.0) * self.probes_per_call - self.removals_per_call;
        if gained <= 0.0 { f64::INFINITY } else { ((1.0 + self.delta) / gained).max(1.0) }
    }
}

/// An answer to a probe.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Answer {
    endpoint: usize,
    in_flight: u32,
    latency: Duration,
    at: Timestamp,
    uses_left: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Prequal {
    settings: PrequalSettings,
    /// The oldest first.
    pool: VecDeque<Answer>,
    recent: VecDeque<u32>,
    probes_owed: f64,
    removals_owed: f64,
    takes_worst: bool,
    endpoints: usize,
}

impl Prequal {
    pub fn new(settings: PrequalSettings) -> Self {
        Self {
            settings,
            pool: VecDeque::new(),
            recent: VecDeque::new(),
            probes_owed: 0.0,
            removals_owed: 0.0,
            takes_worst: false,
            endpoints: 1,
        }
    }

    /// More requests in flight than this is hot.
    fn hot_above(&self) -> u32 {
        let mut sorted: Vec<u32> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let place = (self.settings.hot_quantile * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(u32::MAX)
    }

    /// The place in the pool of the best answer.
    fn best(&self, hot_above: u32) -> Option<usize> {
        let numbered = || self.pool.iter().enumerate();
        let cold = numbered().filter(|(_, a)| a.in_flight <= hot_above).min_by_key(|(_, a)| a.latency);
        cold.or_else(|| numbered().min_by_key(|(_, a)| a.in_flight)).map(|(place, _)| place)
    }

    /// The place of the worst: the busiest hot one, or the slowest if none is hot.
    fn worst(&self, hot_above: u32) -> Option<usize> {
        let numbered = || self.pool.iter().enumerate();
        let hot = numbered().filter(|(_, a)| a.in_flight > hot_above).max_by_key(|(_, a)| a.in_flight);
        hot.or_else(|| numbered().max_by_key(|(_, a)| a.latency)).map(|(place, _)| place)
    }
}

impl Balancer for Prequal {
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        self.endpoints = endpoints.len();
        let age = self.settings.age;
        self.pool.retain(|a| at.now.since(a.at) < age && a.endpoint < endpoints.len());
        let hot_above = self.hot_above();
        let chosen = if self.pool.len() < 2 { None } else { self.best(hot_above) };
        let endpoint = match chosen {
            None => at.dice.below(endpoints.len()),
            Some(place) => {
                let answer = &mut self.pool[place];
                answer.in_flight = answer.in_flight.saturating_add(1);
                answer.uses_left -= 1.0;
                let endpoint = answer.endpoint;
                if answer.uses_left <= 0.0 {
                    self.pool.remove(place);
                }
                endpoint
            }
        };
        self.removals_owed += self.settings.removals_per_call;
        while self.removals_owed >= 1.0 {
            self.removals_owed -= 1.0;
            // With no more than this in the pool the next choice would be blind.
            if self.pool.len() <= 2 {
                continue;
            }
            if self.takes_worst
                && let Some(place) = self.worst(hot_above)
            {
                self.pool.remove(place);
            } else {
                self.pool.pop_front();
            }
            self.takes_worst = !self.takes_worst;
        }
        endpoint
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}

    fn probes(&mut self, at: &mut Moment<'_>, endpoints: usize) -> Vec<usize> {
        self.probes_owed += self.settings.probes_per_call;
        let n = (self.probes_owed as usize).min(endpoints);
        self.probes_owed = (self.probes_owed - n as f64).min(self.settings.probes_per_call);
        // Without replacement: a partial shuffle.
        let mut all: Vec<usize> = (0..endpoints).collect();
        for place in 0..n {
            let other = place + at.dice.below(endpoints - place);
            all.swap(place, other);
        }
        all.truncate(n);
        all
    }

    fn probed(&mut self, at: &mut Moment<'_>, endpoint: usize, in_flight: u32, latency: Duration) {
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(in_flight);
        if self.pool.len() >= self.settings.pool.max(1) {
            self.pool.pop_front();
        }
        let uses_left = self.settings.uses(self.endpoints);
        self.pool.push_back(Answer { endpoint, in_flight, latency, at: at.now, uses_left });
    }
}

pub const KIND: BalancerKind = BalancerKind {
    name: "prequal",
    about: "Prequal (NSDI 2024): probes, requests in flight, then latency",
    settings: &[
        geometric("probes_per_call", 3.0, 0.5, 6.0),
        geometric("removals_per_call", 1.0, 0.1, 2.0),
        geometric("pool", 16.0, 4.0, 32.0),
        geometric("age_s", 1.0, 0.1, 5.0),
        even("hot_quantile", 0.84, 0.5, 0.99),
    ],
    make: |s| {
        Box::new(Prequal::new(PrequalSettings {
            probes_per_call: s.get("probes_per_call"),
            removals_per_call: s.get("removals_per_call"),
            pool: whole(s.get("pool")) as usize,
            age: Duration::from_secs_f64(s.get("age_s")),
            hot_quantile: s.get("hot_quantile"),
            ..PrequalSettings::default()
        }))
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn cold_by_latency_hot_by_requests_in_flight() {
        let mut dice = Dice::new(1);
        let mut at = Moment { now: Timestamp::from_millis(10), dice: &mut dice };
        let s = PrequalSettings { removals_per_call: 0.0, hot_quantile: 0.5, ..PrequalSettings::default() };
        let mut prequal = Prequal::new(s);
        let endpoints = [EndpointView::default(); 4];
        // In flight 1, 2, 30, 40; the median of them is 2: the last two are hot, however quick.
        for (endpoint, in_flight, latency) in [(0, 1, 9), (1, 2, 5), (2, 30, 1), (3, 40, 1)] {
            prequal.probed(&mut at, endpoint, in_flight, ms(latency));
        }
        assert_eq!(prequal.choose(&mut at, &endpoints), 1);
        // Chosen once, it counts 3 and is hot by now: the slower cold one.
        assert_eq!(prequal.choose(&mut at, &endpoints), 0);
        assert_eq!(prequal.choose(&mut at, &endpoints), 0);
        // All are hot: 3, 3, 30, 40. The fewest in flight.
        assert_eq!(prequal.choose(&mut at, &endpoints), 0);
        assert_eq!(prequal.choose(&mut at, &endpoints), 1);
        // A second later nothing is known.
        at.now = Timestamp::from_millis(1_010);
        prequal.choose(&mut at, &endpoints);
        assert!(prequal.pool.is_empty());
    }

    #[test]
    fn answers_are_used_as_often_as_the_formula_says() {
        let s = PrequalSettings::default();
        // (1 + 1) / ((1 − 16/100)·3 − 1) = 1.3158; with few endpoints probing cannot keep up and there is no bound.
        assert!((s.uses(100) - 2.0 / 1.52).abs() < 1e-12);
        assert_eq!(s.uses(10), f64::INFINITY);
        assert_eq!(PrequalSettings { probes_per_call: 9.0, ..s }.uses(1_000_000), 1.0);
    }

    #[test]
    fn the_pool_and_the_probes_are_bounded() {
        let mut dice = Dice::new(1);
        let mut at = Moment { now: Timestamp::from_millis(10), dice: &mut dice };
        let mut prequal = Prequal::new(PrequalSettings::default());
        let endpoints = [EndpointView::default(); 5];
        for n in 0..1_000 {
            prequal.probed(&mut at, n % 5, n as u32, ms(1));
        }
        assert_eq!((prequal.pool.len(), prequal.recent.len()), (16, REMEMBERED));
        for _ in 0..100 {
            let mut probes = prequal.probes(&mut at, 5);
            probes.sort_unstable();
            probes.dedup();
            assert_eq!(probes.len(), 3);
            assert!(prequal.choose(&mut at, &endpoints) < 5);
        }
        assert_eq!(prequal.probes(&mut at, 2).len(), 2);
    }
}
