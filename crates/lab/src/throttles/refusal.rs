//! Refusing some attempts at random while too few succeed: one formula, four variants.
//!
//! ```text
//! p = max(0, (requests − K·accepts) / (requests + 1))
//! ```
//!
//! | variant | source | K | window | refused ones count as requests | at most | from |
//! |---|---|---|---|---|---|---|
//! | SRE | Site Reliability Engineering (Google 2016), chapter 21 | 2 | 2 min | yes | – | – |
//! | kratos | go-kratos/aegis e0742c6, `circuitbreaker/sre/sre.go` | 1/0.6 | 3 s | yes | – | 100 requests |
//! | failsafe | failsafe-go 0.9.7, `adaptivethrottler` | 1/0.9 | 60 s | no | 0.9 | – |
//! | Envoy | envoyproxy/envoy 1.40, `admission_control` | 1/0.95 | 30 s | no | 0.8 | rps threshold |
//!
//! Envoy raises p to the power 1/aggression before it is cut off. Accepted is what got an answer, the business's
//! own refusal too; to Envoy also a 429.

use std::time::Duration;

use super::sliding::Sliding;
use crate::arm::{Asking, Moment, Outcome, Permit, Setting, Settings, Throttle, ThrottleKind};
use crate::limiters::{even, geometric, whole};

/// What [`Refusal`] is made with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RefusalSettings {
    /// Requests allowed for each that is accepted.
    pub k: f64,
    pub window: Duration,
    pub buckets: usize,
    /// Below so many requests in the window nothing is refused.
    pub requests_min: f64,
    /// Below so many requests per second nothing is refused.
    pub rps_min: f64,
    pub max: f64,
    pub aggression: f64,
    /// Whether what was refused here counts as a request, so that refusals keep refusal up.
    pub counts_refused: bool,
    /// Whether a 429 is an answer like any other (to Envoy everything below 500 is).
    pub is_throttled_good: bool,
}

impl RefusalSettings {
    pub const SRE: Self = Self {
        k: 2.0,
        window: Duration::from_secs(120),
        buckets: 120,
        requests_min: 0.0,
        rps_min: 0.0,
        max: 1.0,
        aggression: 1.0,
        counts_refused: true,
        is_throttled_good: false,
    };

    pub const KRATOS: Self =
        Self { k: 1.0 / 0.6, window: Duration::from_secs(3), buckets: 10, requests_min: 100.0, ..Self::SRE };

    pub const FAILSAFE: Self = Self {
        k: 1.0 / 0.9,
        window: Duration::from_secs(60),
        buckets: 20,
        max: 0.9,
        counts_refused: false,
        ..Self::SRE
    };

    pub const ENVOY: Self = Self {
        k: 1.0 / 0.95,
        window: Duration::from_secs(30),
        buckets: 30,
        max: 0.8,
        counts_refused: false,
        is_throttled_good: true,
        ..Self::SRE
    };
}

/// The probability to refuse after so many requests of which so many were accepted.
pub fn probability(s: &RefusalSettings, requests: f64, accepts: f64) -> f64 {
    if requests < s.requests_min || requests / s.window.as_secs_f64() < s.rps_min {
        return 0.0;
    }
    let p = ((requests - s.k * accepts) / (requests + 1.0)).max(0.0);
    let p = if s.aggression == 1.0 { p } else { p.powf(1.0 / s.aggression) };
    p.min(s.max)
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Refusal {
    settings: RefusalSettings,
    counts: Sliding,
}

impl Refusal {
    pub fn new(settings: RefusalSettings) -> Self {
        Self { settings, counts: Sliding::new(settings.window, settings.buckets) }
    }
}

impl Throttle for Refusal {
    fn permit(&mut self, at: &mut Moment<'_>, _asking: &Asking) -> Permit {
        let (requests, accepts) = self.counts.counts(at.now);
        let p = probability(&self.settings, requests, accepts);
        if p > 0.0 && at.dice.chance(p) { Permit::Reject } else { Permit::Now }
    }

    fn ended(&mut self, at: &mut Moment<'_>, _attempt: u16, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Throttled { .. }) => self.counts.add(at.now, self.settings.is_throttled_good),
            Some(outcome) => self.counts.add(at.now, outcome.is_answer()),
            None if self.settings.counts_refused => self.counts.add(at.now, false),
            None => {}
        }
    }
}

const fn settings(k: f64, window_s: f64, requests_min: f64, max: f64) -> [Setting; 4] {
    [
        even("k", k, 1.0, 4.0),
        geometric("window_s", window_s, 1.0, 300.0),
        geometric("requests_min", requests_min, 1.0, 300.0),
        even("max", max, 0.5, 1.0),
    ]
}

fn with(base: RefusalSettings, s: &Settings) -> RefusalSettings {
    RefusalSettings {
        k: s.get("k"),
        window: Duration::from_secs_f64(s.get("window_s")),
        requests_min: f64::from(whole(s.get("requests_min"))),
        max: s.get("max"),
        ..base
    }
}

pub const SRE: ThrottleKind = ThrottleKind {
    name: "sre",
    about: "client-side throttling of the SRE book",
    settings: const { &settings(2.0, 120.0, 1.0, 1.0) },
    make: |s| Box::new(Refusal::new(with(RefusalSettings::SRE, s))),
};

pub const KRATOS_SRE: ThrottleKind = ThrottleKind {
    name: "kratos-sre",
    about: "go-kratos/aegis SRE breaker (September 2025)",
    settings: const { &settings(1.0 / 0.6, 3.0, 100.0, 1.0) },
    make: |s| Box::new(Refusal::new(with(RefusalSettings::KRATOS, s))),
};

pub const FAILSAFE: ThrottleKind = ThrottleKind {
    name: "failsafe-throttler",
    about: "failsafe-go 0.9.7 adaptivethrottler",
    settings: const { &settings(1.0 / 0.9, 60.0, 1.0, 0.9) },
    make: |s| Box::new(Refusal::new(with(RefusalSettings::FAILSAFE, s))),
};

pub const ENVOY: ThrottleKind = ThrottleKind {
    name: "envoy-admission",
    about: "Envoy 1.40 admission_control",
    settings: &[
        even("sr_threshold", 0.95, 0.5, 0.99),
        geometric("window_s", 30.0, 1.0, 120.0),
        geometric("aggression", 1.0, 0.5, 4.0),
        geometric("rps_threshold", 0.01, 0.01, 50.0),
        even("max_rejection", 0.8, 0.5, 1.0),
    ],
    make: |s| {
        Box::new(Refusal::new(RefusalSettings {
            k: 1.0 / s.get("sr_threshold"),
            window: Duration::from_secs_f64(s.get("window_s")),
            aggression: s.get("aggression"),
            rps_min: s.get("rps_threshold"),
            max: s.get("max_rejection"),
            ..RefusalSettings::ENVOY
        }))
    },
};

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::dice::Dice;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_formulas_by_hand() {
        // requests, accepts → SRE, failsafe, Envoy
        for (requests, accepts, sre, failsafe, envoy) in [
            (100.0, 100.0, 0.0, 0.0, 0.0f64),
            (100.0, 50.0, 0.0, (100.0 - 50.0 / 0.9) / 101.0, (100.0 - 50.0 / 0.95) / 101.0),
            (100.0, 20.0, 60.0 / 101.0, (100.0 - 20.0 / 0.9) / 101.0, (100.0 - 20.0 / 0.95) / 101.0),
            (100.0, 0.0, 100.0 / 101.0, 0.9, 0.8),
            (0.0, 0.0, 0.0, 0.0, 0.0),
        ] {
            assert!(close(probability(&RefusalSettings::SRE, requests, accepts), sre));
            assert!(close(probability(&RefusalSettings::FAILSAFE, requests, accepts), failsafe));
            let got = probability(&RefusalSettings::ENVOY, requests, accepts);
            assert!(close(got, envoy.min(0.8)), "{got} {envoy}");
        }
        // kratos: silent below 100 requests, then (200 − 60/0.6)/201.
        assert_eq!(probability(&RefusalSettings::KRATOS, 99.0, 0.0), 0.0);
        assert!(close(probability(&RefusalSettings::KRATOS, 200.0, 60.0), 100.0 / 201.0));
        // Envoy with aggression 2: the root; with a threshold of 10 requests per second (30 s): nothing.
        let envoy = RefusalSettings { aggression: 2.0, max: 1.0, ..RefusalSettings::ENVOY };
        let plain = (100.0 - 50.0 / 0.95) / 101.0f64;
        assert!(close(probability(&envoy, 100.0, 50.0), plain.sqrt()));
        assert_eq!(probability(&RefusalSettings { rps_min: 10.0, ..envoy }, 100.0, 0.0), 0.0);
    }

    #[test]
    fn a_dead_participant_is_asked_less_and_less() {
        let mut dice = Dice::new(3);
        let mut sre = Refusal::new(RefusalSettings::SRE);
        let asking = Asking { in_flight: 0, queued: 0, waited: Duration::ZERO, priority: 0, attempt: 1 };
        let mut sent = 0;
        for n in 0..1_000 {
            let mut at = Moment { now: Timestamp::from_millis(n), dice: &mut dice };
            let permit = sre.permit(&mut at, &asking);
            let outcome = (permit == Permit::Now).then_some(Outcome::Failed);
            sent += u32::from(outcome.is_some());
            sre.ended(&mut at, 1, outcome);
        }
        // 1/(n + 1) of the n-th: about ln 1000.
        assert!((4..20).contains(&sent), "{sent}");
    }
}
