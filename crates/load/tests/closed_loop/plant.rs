//! One participant with a capacity that is known, and the callers around the manager: a small event simulation.
//!
//! First come, first served by so many workers; what was given up by its caller is worked on all the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use load::{CallRef, Class, Decision, Evidence, LoadManager, ParticipantSpec, Released, Sample, Verdict};
use model::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Spread {
    /// Always the mean.
    None,
    Exponential,
    /// Pareto with this shape; more than 1.
    Pareto(f64),
}

/// How things are, from `at_s` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) at_s: f64,
    pub(crate) arrivals_per_s: f64,
    pub(crate) workers: usize,
    pub(crate) service_ms: f64,
    /// On the way, without taking a worker.
    pub(crate) delay_ms: f64,
    /// Service is so much slower for each call that waits there.
    pub(crate) drag: f64,
    /// Every call is refused at once as not taken beyond so many per second (a bucket of a tenth of a second).
    pub(crate) quota_per_s: Option<f64>,
}

pub(crate) const CALM: Phase = Phase {
    at_s: 0.0,
    arrivals_per_s: 700.0,
    workers: 50,
    service_ms: 50.0,
    delay_ms: 0.0,
    drag: 0.0,
    quota_per_s: None,
};

impl Phase {
    pub(crate) fn capacity(&self) -> f64 {
        let own = self.workers as f64 / self.service_ms * 1_000.0;
        self.quota_per_s.map_or(own, |quota| own.min(quota))
    }

    pub(crate) fn knee(&self) -> f64 {
        self.capacity() * (self.service_ms + self.delay_ms) / 1_000.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Arrive,
    Served(u64),
    Answer(u64, u8),
    GiveUp(u64),
    Again(u64),
    Wake,
    Second,
    Change(usize),
}

/// What one second was like.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Second {
    pub(crate) done: u32,
    pub(crate) started: u32,
    pub(crate) in_flight: f64,
    pub(crate) limit: u32,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    released: Released,
    attempt: u32,
    started_us: u64,
    is_in_flight: bool,
}

pub(crate) struct World {
    pub(crate) load: LoadManager,
    now_us: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    dice: u64,
    phases: Vec<Phase>,
    phase: Phase,
    spread: Spread,
    timeout_ms: f64,
    attempts: u32,
    /// Calls that the callers know of.
    live: BTreeMap<u64, Live>,
    parked: VecDeque<Released>,
    next: u64,
    // The participant.
    busy: usize,
    queue: VecDeque<u64>,
    tokens: f64,
    tokens_at: u64,
    wake_at: u64,
    in_flight: u32,
    area: f64,
    area_at: u64,
    pub(crate) seconds: Vec<Second>,
    second: Second,
}

const START_US: u64 = 1_000_000_000;

impl World {
    pub(crate) fn new(spec: ParticipantSpec, phases: &[Phase], spread: Spread, seed: u64) -> Self {
        let mut load = LoadManager::new();
        load.set_participant(0, spec);
        let mut world = Self {
            load,
            now_us: START_US,
            events: BinaryHeap::new(),
            order: 0,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            phases: phases.to_vec(),
            phase: phases[0],
            spread,
            timeout_ms: 5_000.0,
            attempts: 3,
            live: BTreeMap::new(),
            parked: VecDeque::new(),
            next: 0,
            busy: 0,
            queue: VecDeque::new(),
            tokens: 0.0,
            tokens_at: START_US,
            wake_at: u64::MAX,
            in_flight: 0,
            area: 0.0,
            area_at: START_US,
            seconds: Vec::new(),
            second: Second::default(),
        };
        for (place, phase) in phases.iter().enumerate() {
            world.at((phase.at_s * 1e6) as u64 + START_US, Event::Change(place));
        }
        world.at(START_US, Event::Arrive);
        world.at(START_US + 1_000_000, Event::Second);
        world
    }

    pub(crate) fn timeout_ms(mut self, ms: f64) -> Self {
        self.timeout_ms = ms;
        self
    }

    fn at(&mut self, us: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((us, self.order, event)));
    }

    fn share(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        ((self.dice >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp(self.now_us)
    }

    fn count(&mut self, change: i32) {
        self.area += f64::from(self.in_flight) * (self.now_us - self.area_at) as f64;
        self.area_at = self.now_us;
        self.in_flight = self.in_flight.saturating_add_signed(change);
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        let until = START_US + seconds * 1_000_000;
        while let Some(Reverse((us, _, event))) = self.events.pop() {
            if us > until {
                self.at(us, event);
                return;
            }
            self.now_us = us;
            self.handle(event);
            self.schedule_wake();
        }
    }

    fn schedule_wake(&mut self) {
        if let Some(wake) = self.load.next_wake(self.timestamp()) {
            let wake = wake.0.max(self.now_us + 200);
            if wake < self.wake_at {
                self.wake_at = wake;
                self.at(wake, Event::Wake);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                let rate = self.phase.arrivals_per_s;
                if rate > 0.0 {
                    let token = self.next;
                    self.next += 1;
                    let released = Released {
                        call: CallRef { worker: 0, token },
                        deadline: Timestamp(self.now_us + 600_000_000),
                        ..Released::default()
                    };
                    self.live.insert(token, Live { released, attempt: 1, started_us: 0, is_in_flight: false });
                    self.release(released);
                }
                let gap = -self.share().ln() / rate.max(0.001) * 1e6;
                let gap = if rate > 0.0 { gap } else { 100_000.0 };
                self.at(self.now_us + gap as u64 + 1, Event::Arrive);
            }
            Event::Served(token) => {
                self.busy -= 1;
                self.at(self.now_us + (self.phase.delay_ms * 1_000.0) as u64, Event::Answer(token, 0));
                self.serve();
            }
            Event::Answer(token, kind) => {
                let evidence = match kind {
                    0 => Evidence::Done,
                    _ => Evidence::Throttled { retry_after: Some(Duration::from_secs(1)) },
                };
                self.ended(token, evidence);
            }
            Event::GiveUp(token) => self.ended(token, Evidence::Unknown),
            Event::Again(token) => {
                if let Some(live) = self.live.get(&token).copied() {
                    self.release(live.released);
                }
            }
            Event::Wake => {
                self.wake_at = u64::MAX;
                let (mut out, mut wants) = (Vec::new(), Vec::new());
                self.load.tick(self.timestamp(), &mut out, &mut wants);
                self.take(out);
                for want in wants {
                    for _ in 0..want.count {
                        let Some(released) = self.parked.pop_front() else { break };
                        self.load.set_parked(0, self.parked.len() as u64);
                        self.release(released);
                    }
                }
            }
            Event::Second => {
                self.count(0);
                let report = &self.load.report(self.timestamp())[0];
                self.second.in_flight = self.area / 1e6;
                self.second.limit = report.limit;
                self.seconds.push(std::mem::take(&mut self.second));
                self.area = 0.0;
                self.at(self.now_us + 1_000_000, Event::Second);
            }
            Event::Change(place) => {
                self.phase = self.phases[place];
                self.serve();
            }
        }
    }

    fn release(&mut self, released: Released) {
        match self.load.release(self.timestamp(), released) {
            Decision::Start { .. } => self.start(released.call.token),
            Decision::Queued => {}
            Decision::Park { .. } => {
                self.parked.push_back(released);
                self.load.set_parked(0, self.parked.len() as u64);
            }
            Decision::Expired | Decision::Answered { .. } => self.lose(released.call.token),
        }
    }

    fn lose(&mut self, token: u64) {
        self.live.remove(&token);
    }

    fn take(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            let token = verdict.call().token;
            match verdict {
                Verdict::Start { .. } => self.start(token),
                Verdict::Park { .. } => {
                    self.parked.push_back(self.live[&token].released);
                    self.load.set_parked(0, self.parked.len() as u64);
                }
                Verdict::Expired { .. } | Verdict::Answered { .. } => self.lose(token),
            }
        }
    }

    fn start(&mut self, token: u64) {
        self.count(1);
        self.second.started += 1;
        let now = self.now_us;
        let live = self.live.get_mut(&token).expect("a call that was released");
        live.started_us = now;
        live.is_in_flight = true;
        if let Some(quota) = self.phase.quota_per_s {
            let depth = (quota / 10.0).max(1.0);
            self.tokens = (self.tokens + quota * (now - self.tokens_at) as f64 / 1e6).min(depth);
            self.tokens_at = now;
            if self.tokens < 1.0 {
                self.at(now + 2_000, Event::Answer(token, 1));
                return;
            }
            self.tokens -= 1.0;
        }
        self.at(now + (self.timeout_ms * 1_000.0) as u64, Event::GiveUp(token));
        self.queue.push_back(token);
        self.serve();
    }

    fn serve(&mut self) {
        while self.busy < self.phase.workers {
            let Some(token) = self.queue.pop_front() else { return };
            self.busy += 1;
            let u = self.share();
            let factor = match self.spread {
                Spread::None => 1.0,
                Spread::Exponential => -u.ln(),
                Spread::Pareto(shape) => (shape - 1.0) / shape * u.powf(-1.0 / shape),
            };
            let slow = 1.0 + self.phase.drag * self.queue.len() as f64;
            let us = (self.phase.service_ms * 1_000.0 * factor * slow) as u64 + 1;
            self.at(self.now_us + us, Event::Served(token));
        }
    }

    fn ended(&mut self, token: u64, evidence: Evidence) {
        let Some(live) = self.live.get(&token).copied().filter(|live| live.is_in_flight) else { return };
        self.count(-1);
        let took = Duration::from_micros(self.now_us - live.started_us);
        let mut out = Vec::new();
        self.load.finish(self.timestamp(), live.released.call, Sample { took, evidence, quota: None }, &mut out);
        match evidence {
            Evidence::Done => {
                self.second.done += 1;
                self.live.remove(&token);
            }
            _ => {
                // The work over there goes on under the old name; the repeat has a new one.
                self.live.remove(&token);
                let attempt = live.attempt + u32::from(evidence == Evidence::Unknown);
                if attempt <= self.attempts {
                    let next = self.next;
                    self.next += 1;
                    let released =
                        Released { call: CallRef { worker: 0, token: next }, class: Class::Retry, ..live.released };
                    self.live.insert(next, Live { released, attempt, started_us: 0, is_in_flight: false });
                    let wait = self.share() * 200_000.0 * f64::from(1 << attempt.min(6));
                    self.at(self.now_us + wait as u64, Event::Again(next));
                }
            }
        }
        self.take(out);
    }

    /// Means over some seconds: done per second, in flight, started per second.
    pub(crate) fn mean(&self, from: usize, to: usize) -> (f64, f64, f64) {
        let seconds = &self.seconds[from..to];
        let n = seconds.len() as f64;
        (
            seconds.iter().map(|s| f64::from(s.done)).sum::<f64>() / n,
            seconds.iter().map(|s| s.in_flight).sum::<f64>() / n,
            seconds.iter().map(|s| f64::from(s.started)).sum::<f64>() / n,
        )
    }
}
