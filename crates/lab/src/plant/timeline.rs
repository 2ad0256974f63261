//! The changes of a scenario file as single settings at single times.

use crate::scenario::{Participant, State};

/// One setting; an endpoint of `None` is all of them.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Knob {
    Capacity(Option<u16>, f64),
    CapacitySeries(f64),
    Slow(Option<u16>, f64),
    Fail(Option<u16>, f64),
    State(Option<u16>, State),
    Network(f64),
    Quota(f64),
    Others(f64),
    Cold,
}

/// A straight line is walked in steps of this length.
const STEP_S: f64 = 0.25;
/// However long it is.
const STEPS_MAX: f64 = 2_000.0;

/// By time.
pub(super) fn knobs(spec: &Participant, duration_s: f64) -> Vec<(u64, Knob)> {
    let mut knobs: Vec<(f64, Knob)> = Vec::new();
    let mut capacity = vec![1.0; usize::from(spec.endpoints)];
    let mut slow = capacity.clone();
    for change in &spec.changes {
        let ends: Vec<Option<u16>> =
            if change.endpoints.is_empty() { vec![None] } else { change.endpoints.iter().copied().map(Some).collect() };
        for end in ends {
            let mut line = |now: &mut Vec<f64>, to: f64, knob: fn(Option<u16>, f64) -> Knob| {
                let steps = (change.over_s / STEP_S).round().clamp(1.0, STEPS_MAX) as usize;
                let from = now[usize::from(end.unwrap_or(0))];
                for step in 1..=steps {
                    let way = step as f64 / steps as f64;
                    // A jump happens at its time, a line begins there.
                    let at = if change.over_s > 0.0 { change.at_s + change.over_s * way } else { change.at_s };
                    knobs.push((at, knob(end, from + (to - from) * way)));
                }
                match end {
                    Some(end) => now[usize::from(end)] = to,
                    None => now.fill(to),
                }
            };
            if let Some(to) = change.capacity {
                line(&mut capacity, to, Knob::Capacity);
            }
            if let Some(to) = change.slow {
                line(&mut slow, to, Knob::Slow);
            }
            knobs.extend(change.fail.map(|share| (change.at_s, Knob::Fail(end, share))));
            knobs.extend(change.state.map(|state| (change.at_s, Knob::State(end, state))));
        }
        knobs.extend(change.network_s.map(|n| (change.at_s, Knob::Network(n))));
        knobs.extend(change.quota_per_s.map(|q| (change.at_s, Knob::Quota(q))));
        knobs.extend(change.others_per_s.map(|o| (change.at_s, Knob::Others(o))));
        knobs.extend(change.is_cold.then_some((change.at_s, Knob::Cold)));
    }
    if let Some((every_s, values)) = &spec.capacity_series {
        let count = ((duration_s / every_s).ceil() as usize).max(1);
        for (n, value) in values.iter().cycle().take(count).enumerate() {
            knobs.push((n as f64 * every_s, Knob::CapacitySeries(*value)));
        }
    }
    knobs.sort_by(|a, b| a.0.total_cmp(&b.0));
    knobs.into_iter().map(|(at_s, knob)| ((at_s * 1e6) as u64, knob)).collect()
}
