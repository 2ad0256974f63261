//! A participant as it really is: endpoints with a capacity, a quota before them, others who use it too.
//!
//! ```text
//!  call ──► state? ──► quota? ──► fails fast? ──► queue full? ──► endpoint: waits, is served ──► reply
//!            │           │            │                │
//!         refused     429 + RA?     500 in 1 ms      503 / 429
//! ```
//!
//! A call that its client has given up is served all the same: the endpoint does not know. `station.rs` is one
//! endpoint; left out: the network between (`world.rs`) and what a call means (`life.rs`).

mod station;
mod timeline;

use std::time::Duration;

use crate::agenda::{Agenda, Event};
use crate::arm::{Outcome, TrueParticipant};
use crate::dice::Dice;
use crate::dist;
use crate::scenario::{Participant, Rejection, State};
use station::Station;
use timeline::Knob;

/// The job of a client that nobody here controls.
pub(crate) const OTHERS: u32 = u32::MAX;
/// How long it takes an endpoint to say no.
const NO_US: u64 = 1_000;

/// What becomes of a call that reaches its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is worked on, or waits; the agenda says when it is served.
    In,
    /// It is answered without work, so many microseconds from now.
    Answered { after_us: u64, outcome: Outcome },
    /// Nobody will ever answer it.
    Swallowed,
}

#[derive(Debug)]
struct Bucket {
    per_s: f64,
    burst: f64,
    tokens: f64,
    filled_at: u64,
    rejection: Rejection,
}

impl Bucket {
    fn take(&mut self, now: u64) -> Result<(), Outcome> {
        let passed = now.saturating_sub(self.filled_at) as f64 / 1e6;
        self.tokens = (self.tokens + passed * self.per_s).min(self.burst);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(rejected(self.rejection, (1.0 - self.tokens) / self.per_s))
    }
}

fn rejected(how: Rejection, wait_s: f64) -> Outcome {
    match how {
        Rejection::WithRetryAfter => {
            Outcome::Throttled { retry_after: Some(Duration::from_secs(wait_s.ceil().clamp(1.0, 300.0) as u64)) }
        }
        Rejection::TooMany => Outcome::Throttled { retry_after: None },
        Rejection::Unavailable => Outcome::Failed,
    }
}

#[derive(Debug)]
pub(crate) struct Plant {
    number: u16,
    pub(crate) spec: Participant,
    stations: Vec<Station>,
    bucket: Option<Bucket>,
    network_s: f64,
    others_per_s: f64,
    others_made: u64,
    others_generation: u32,
    seed: u64,
    knobs: Vec<(u64, Knob)>,
    /// Answers that have filled the cache since it was cold.
    filled: f64,
    /// Mean size of a call, as the mix is now.
    mean_size: f64,
    scaled_at: u64,
}

impl Plant {
    pub(crate) fn new(number: u16, spec: &Participant, seed: u64, duration_s: f64, agenda: &mut Agenda) -> Self {
        let stations = (0..spec.endpoints).map(|_| Station::new(&spec.server)).collect();
        let bucket = spec.quota.map(|quota| Bucket {
            per_s: quota.per_s,
            burst: quota.burst,
            tokens: quota.burst,
            filled_at: 0,
            rejection: quota.rejection,
        });
        let knobs = timeline::knobs(spec, duration_s);
        for (index, (at, _)) in knobs.iter().enumerate() {
            agenda.at(*at, Event::Change { participant: number, index: index as u32 });
        }
        let mut plant = Self {
            number,
            stations,
            bucket,
            network_s: spec.server.network_s,
            others_per_s: 0.0,
            others_made: 0,
            others_generation: 0,
            seed,
            knobs,
            // Warm from long use.
            filled: f64::INFINITY,
            mean_size: 1.0,
            scaled_at: 0,
            spec: spec.clone(),
        };
        plant.set_others(0, spec.others_per_s, agenda);
        if let Some(scale) = spec.server.autoscale {
            agenda.at((scale.every_s * 1e6) as u64, Event::Scale { participant: number });
        }
        plant
    }

    pub(crate) fn set_mean_size(&mut self, size: f64) {
        self.mean_size = size;
    }

    /// One way, in microseconds.
    pub(crate) fn way_us(&self) -> u64 {
        (self.network_s * 5e5) as u64
    }

    fn warmth(&self) -> f64 {
        self.spec.server.cache.map_or(1.0, |cache| 1.0 - (-self.filled / cache.fill).exp())
    }

    /// A call of `work_s` seconds reaches an endpoint.
    pub(crate) fn take(
        &mut self,
        now: u64,
        endpoint: u16,
        call: u32,
        work_s: f64,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) -> Taken {
        let warmth = self.warmth();
        let Some(station) = self.stations.get_mut(usize::from(endpoint)) else { return Taken::Swallowed };
        let no = |outcome| Taken::Answered { after_us: NO_US, outcome };
        match station.state {
            State::Refuse => return no(Outcome::NotTaken { retry_after: None }),
            State::Hang => return Taken::Swallowed,
            State::Up => {}
        }
        if let Some(bucket) = &mut self.bucket
            && let Err(outcome) = bucket.take(now)
        {
            return no(outcome);
        }
        if station.fail > 0.0 && dice.chance(station.fail) {
            return no(Outcome::Failed);
        }
        if station.is_full(&self.spec.server) {
            return no(rejected(self.spec.server.when_full, 1.0));
        }
        let work_s = match self.spec.server.cache {
            Some(cache) if !dice.chance(cache.hit * warmth) => work_s * cache.miss_factor,
            _ => work_s,
        };
        station.add(now, call, work_s, self.number, endpoint, &self.spec.server, agenda);
        Taken::In
    }

    /// An endpoint is done with a call; calls in `done` can be answered.
    pub(crate) fn served(&mut self, now: u64, endpoint: u16, call: u32, agenda: &mut Agenda) {
        if let Some(station) = self.stations.get_mut(usize::from(endpoint)) {
            station.served(now, call, self.number, endpoint, &self.spec.server, agenda);
        }
    }

    /// As [`Plant::served`], for an endpoint whose calls share it.
    pub(crate) fn shared(
        &mut self,
        now: u64,
        endpoint: u16,
        generation: u32,
        done: &mut Vec<u32>,
        agenda: &mut Agenda,
    ) {
        if let Some(station) = self.stations.get_mut(usize::from(endpoint)) {
            station.shared(now, generation, done, self.number, endpoint, &self.spec.server, agenda);
        }
    }

    /// Whether an endpoint can send its answer: one that hangs or is gone cannot.
    pub(crate) fn can_answer(&self, endpoint: u16) -> bool {
        self.stations.get(usize::from(endpoint)).is_some_and(|s| s.state == State::Up)
    }

    /// A client has got an answer that it still waited for.
    pub(crate) fn answer_used(&mut self) {
        self.filled += 1.0;
    }

    /// What an endpoint knows about itself.
    pub(crate) fn looks(&self, endpoint: u16) -> Option<(u32, Duration)> {
        let station = self.stations.get(usize::from(endpoint)).filter(|s| s.state == State::Up)?;
        Some((station.inside(), station.typical_latency(&self.spec.server)))
    }

    /// Calls inside, given up or not, of whomever.
    pub(crate) fn inside(&self) -> u32 {
        self.stations.iter().map(Station::inside).sum()
    }

    /// A client that nobody here controls makes a call, and the next one is planned.
    pub(crate) fn other(&mut self, now: u64, generation: u32, agenda: &mut Agenda) {
        if generation != self.others_generation {
            return;
        }
        let mut dice =
            Dice::named(self.seed, [u64::from_be_bytes(*b"somebody"), u64::from(self.number), self.others_made]);
        let endpoint = (self.others_made % self.stations.len() as u64) as u16;
        self.others_made += 1;
        let work = self.spec.server.service_s * self.mean_size * dist::draw(self.spec.server.shape, &mut dice);
        // Whether they are answered is their business.
        let _ = self.take(now, endpoint, OTHERS, work, &mut dice, agenda);
        self.plan_other(now, &mut dice, agenda);
    }

    fn plan_other(&mut self, now: u64, dice: &mut Dice, agenda: &mut Agenda) {
        let gap = dice.exponential() / self.others_per_s;
        if gap.is_finite() {
            let event = Event::Other { participant: self.number, generation: self.others_generation };
            agenda.at(now + (gap * 1e6) as u64, event);
        }
    }

    fn set_others(&mut self, now: u64, per_s: f64, agenda: &mut Agenda) {
        self.others_per_s = per_s;
        self.others_generation += 1;
        let mut dice = Dice::named(self.seed, [u64::from_be_bytes(*b"others->"), u64::from(self.number), now]);
        self.plan_other(now, &mut dice, agenda);
    }

    /// What the scenario says happens.
    pub(crate) fn change(&mut self, now: u64, index: u32, agenda: &mut Agenda) {
        let Some((_, knob)) = self.knobs.get(index as usize).cloned() else { return };
        let number = self.number;
        let server = self.spec.server.clone();
        let mut each = |endpoint: Option<u16>, turn: &mut dyn FnMut(&mut Station)| {
            for (at, station) in self.stations.iter_mut().enumerate() {
                if endpoint.is_none_or(|only| usize::from(only) == at) {
                    station.turn(now, number, at as u16, &server, agenda, turn);
                }
            }
        };
        match knob {
            Knob::Capacity(endpoint, factor) => each(endpoint, &mut |s| s.capacity = factor),
            Knob::CapacitySeries(factor) => each(None, &mut |s| s.capacity_series = factor),
            Knob::Slow(endpoint, factor) => each(endpoint, &mut |s| s.slow = factor),
            Knob::Fail(endpoint, share) => each(endpoint, &mut |s| s.fail = share),
            Knob::State(endpoint, state) => each(endpoint, &mut |s| s.set_state(state)),
            Knob::Network(network_s) => self.network_s = network_s,
            Knob::Cold => self.filled = 0.0,
            Knob::Others(per_s) => self.set_others(now, per_s, agenda),
            Knob::Quota(per_s) => {
                if let Some(bucket) = &mut self.bucket {
                    // What has flowed in so far came at the old rate.
                    let passed = now.saturating_sub(bucket.filled_at) as f64 / 1e6;
                    bucket.tokens = (bucket.tokens + passed * bucket.per_s).min(bucket.burst);
                    bucket.filled_at = now;
                    bucket.per_s = per_s;
                }
            }
        }
    }

    /// The autoscaler looks, and orders what comes after its lag.
    pub(crate) fn scale(&mut self, now: u64, agenda: &mut Agenda) {
        let Some(scale) = self.spec.server.autoscale else { return };
        let span_s = (now - self.scaled_at).max(1) as f64 / 1e6;
        self.scaled_at = now;
        let has: f64 = self.stations.iter().map(|s| s.base).sum::<f64>() / self.stations.len() as f64;
        let server = self.spec.server.clone();
        let busy: f64 = self.stations.iter_mut().map(|s| s.busy_seconds(now, &server)).sum::<f64>()
            / span_s
            / self.stations.len() as f64;
        let wants = (busy / scale.target).clamp(has * 0.5, has * 2.0).clamp(scale.min, scale.max);
        let event = Event::Scaled { participant: self.number, workers_milli: (wants.ceil() * 1_000.0) as u32 };
        agenda.at(now + (scale.lag_s * 1e6) as u64, event);
        agenda.at(now + (scale.every_s * 1e6) as u64, Event::Scale { participant: self.number });
    }

    pub(crate) fn scaled(&mut self, now: u64, workers_milli: u32, agenda: &mut Agenda) {
        let server = self.spec.server.clone();
        for (at, station) in self.stations.iter_mut().enumerate() {
            station.turn(now, self.number, at as u16, &server, agenda, &mut |s| {
                s.base = f64::from(workers_milli) / 1_000.0
            });
        }
    }

    /// What is true now, for one who makes all calls but those of others.
    pub(crate) fn truth(&self) -> TrueParticipant {
        let server = &self.spec.server;
        let size = self.mean_size * server.cache_factor(self.warmth());
        let each: Vec<(f64, f64, f64)> = self
            .stations
            .iter()
            .map(|s| {
                if s.state != State::Up || s.fail >= 0.5 {
                    return (0.0, 0.0, 0.0);
                }
                let service_s = server.service_s * size * s.slow;
                let (mu, knee) = server.knee(s.workers(server), service_s, self.network_s);
                (mu * (1.0 - s.fail), knee, service_s + self.network_s)
            })
            .collect();
        let all: f64 = each.iter().map(|e| e.0).sum();
        // What others take is gone, but never all of it.
        let free = if all > 0.0 { ((all - self.others_per_s) / all).max(0.05) } else { 0.0 };
        let quota = self.bucket.as_ref().map_or(f64::INFINITY, |b| b.per_s);
        let mu = (all * free).min(quota);
        let w0_s = if all > 0.0 {
            each.iter().map(|e| e.0 * e.2).sum::<f64>() / all
        } else {
            server.service_s * size + self.network_s
        };
        // Under a quota the knee is where the quota is reached.
        let by_quota = if all * free > 0.0 { (quota / (all * free)).min(1.0) } else { 1.0 };
        let knee: Vec<f64> = each.iter().map(|e| e.1 * free).collect();
        TrueParticipant {
            mu,
            w0_s,
            knee_all: knee.iter().sum::<f64>() * by_quota,
            knee,
            quota_per_s: quota,
            quota_burst: self.bucket.as_ref().map_or(0.0, |b| b.burst),
        }
    }
}
