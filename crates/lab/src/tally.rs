//! What one run has to say: counts, latencies, and samples of what was under way against what was true.

use crate::arm::{Call, Class, Outcome, TrueParticipant, Tx};
use crate::life::Life;
use crate::scenario::Scenario;

/// One participant at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) in_flight: f32,
    /// Calls inside the participant, given up and others' among them.
    pub(crate) inside: f32,
    pub(crate) limit: f32,
    /// L*, of all endpoints; 0 while it is down.
    pub(crate) knee: f32,
    pub(crate) mu: f32,
    pub(crate) w0_s: f32,
}

/// Those who arrived in one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cohort {
    pub(crate) arrived: u32,
    pub(crate) in_time: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) is_cut_short: bool,
    pub(crate) ended_at: u64,
    pub(crate) unfinished: u64,
    measure_from: u64,
    trigger_from: u64,
    pub(crate) cohorts: Vec<Cohort>,
    /// Of those that count: arrived, committed in time, committed late.
    pub(crate) arrived: u64,
    pub(crate) in_time: u64,
    pub(crate) late: u64,
    pub(crate) aborted: u64,
    /// Microseconds from arrival to commit, of those that count and committed, late ones too.
    pub(crate) latencies_us: Vec<u64>,
    /// External calls of transactions that count, and those that a commit in time needed.
    pub(crate) calls: u64,
    pub(crate) useful: u64,
    /// External calls from the trigger on (from the first that counts, if there is none) until all was over.
    pub(crate) calls_from_trigger: u64,
    pub(crate) calls_all: u64,
    pub(crate) compensate_calls: u64,
    pub(crate) compensations: u64,
    pub(crate) probes: u64,
    pub(crate) turned: u64,
    pub(crate) expired: u64,
    pub(crate) rejected: u64,
    pub(crate) answered_here: u64,
    pub(crate) timeouts: u64,
    pub(crate) not_taken: u64,
    pub(crate) failed: u64,
    pub(crate) busy_s: f64,
    /// External calls started, and transactions committed in time, in each second.
    pub(crate) calls_per_s: Vec<u32>,
    pub(crate) commits_per_s: Vec<u32>,
    /// By definition, label: arrived, in time; of those that count.
    pub(crate) groups: Vec<Vec<(u64, u64)>>,
    pub(crate) samples: Vec<Vec<Sample>>,
    /// Sum of shares of calls in flight by node, to judge evenness: (sum, sum of squares, nodes that had any).
    pub(crate) nodes_jain: (f64, u64),
    active_nodes: Vec<(f64, u16)>,
}

impl Tally {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let us = |s: f64| (s * 1e6) as u64;
        let measure_from = us(scenario.measure_from_s);
        Self {
            measure_from,
            trigger_from: scenario.trigger.map_or(measure_from, |(from, _)| us(from)),
            groups: scenario.definitions.iter().map(|d| vec![(0, 0); d.labels.len()]).collect(),
            samples: vec![Vec::new(); scenario.participants.len()],
            active_nodes: scenario.nodes.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn sample(
        &mut self,
        participant: usize,
        _now: u64,
        in_flight: u32,
        inside: u32,
        limit: f64,
        truth: &TrueParticipant,
    ) {
        self.samples[participant].push(Sample {
            in_flight: in_flight as f32,
            inside: inside as f32,
            limit: limit as f32,
            knee: truth.knee_all as f32,
            mu: truth.mu as f32,
            w0_s: truth.w0_s as f32,
        });
    }

    pub(crate) fn sample_nodes(&mut self, now: u64, in_flight: impl Iterator<Item = u32>) {
        let at_s = now as f64 / 1e6;
        let active = self.active_nodes.iter().rfind(|(from, _)| *from <= at_s).map_or(1, |(_, n)| usize::from(*n));
        if active < 2 {
            return;
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        for n in in_flight.take(active) {
            sum += f64::from(n);
            squares += f64::from(n) * f64::from(n);
        }
        if squares > 0.0 {
            self.nodes_jain.0 += sum * sum / squares / active as f64;
            self.nodes_jain.1 += 1;
        }
    }

    fn cohort(&mut self, at: u64) -> &mut Cohort {
        let second = (at / 1_000_000) as usize;
        if self.cohorts.len() <= second {
            self.cohorts.resize(second + 1, Cohort::default());
        }
        &mut self.cohorts[second]
    }

    pub(crate) fn arrived(&mut self, now: u64, tx: &Tx) {
        self.cohort(now).arrived += 1;
        if now >= self.measure_from {
            self.arrived += 1;
            self.groups[usize::from(tx.definition)][usize::from(tx.label)].0 += 1;
        }
    }

    pub(crate) fn started(&mut self, now: u64, call: &Call, arrived: u64) {
        self.calls_all += 1;
        self.compensate_calls += u64::from(call.class == Class::Compensate);
        self.calls += u64::from(arrived >= self.measure_from);
        self.calls_from_trigger += u64::from(now >= self.trigger_from);
        count(&mut self.calls_per_s, now);
    }

    pub(crate) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done | Outcome::Refused => {}
            Outcome::NotTaken { .. } | Outcome::Throttled { .. } => self.not_taken += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::TimedOut => self.timeouts += 1,
        }
    }

    pub(crate) fn over(&mut self, now: u64, life: &Life, committed: bool, in_time: bool) {
        if committed && in_time {
            self.cohort(life.arrived).in_time += 1;
            count(&mut self.commits_per_s, now);
        }
        if life.arrived < self.measure_from {
            return;
        }
        if !committed {
            self.aborted += 1;
            return;
        }
        self.latencies_us.push(now - life.arrived);
        if in_time {
            self.in_time += 1;
            self.useful += u64::from(life.useful);
            self.groups[usize::from(life.tx.definition)][usize::from(life.tx.label)].1 += 1;
        } else {
            self.late += 1;
        }
    }
}

fn count(per_second: &mut Vec<u32>, at: u64) {
    let second = (at / 1_000_000) as usize;
    if per_second.len() <= second {
        per_second.resize(second + 1, 0);
    }
    per_second[second] += 1;
}
