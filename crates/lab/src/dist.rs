//! Service times, arrivals and keys: draws from distributions.

use crate::dice::Dice;
use crate::scenario::{Arrivals, RatePoint, Scenario, Shape};

/// A draw with mean 1.
pub fn draw(shape: Shape, dice: &mut Dice) -> f64 {
    match shape {
        Shape::Constant => 1.0,
        Shape::Exponential => dice.exponential(),
        Shape::Lognormal { sigma } => (sigma * dice.normal() - sigma * sigma / 2.0).exp(),
        Shape::Pareto { alpha, most } => {
            // Bounded at `most` means by drawing from the part of the distribution below that; x/scale lies in
            // [1, bound]. The mean of the unscaled bounded law is alpha/(alpha-1)·(1-bound^(1-alpha))/(1-bound^-alpha).
            let bound = most * alpha / (alpha - 1.0);
            let tail = bound.powf(-alpha);
            let mean = alpha / (alpha - 1.0) * (1.0 - bound.powf(1.0 - alpha)) / (1.0 - tail);
            let u = dice.unit() * (1.0 - tail);
            (1.0 - u).powf(-1.0 / alpha) / mean
        }
    }
}

/// One transaction's arrival, drawn once for all arms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Arrival {
    pub at_us: u64,
    pub definition: u16,
    pub label: u16,
    /// All its calls take so many times as long.
    pub size: f64,
}

/// Arrivals per second at a time.
pub fn rate_at(arrivals: &Arrivals, at_s: f64) -> f64 {
    let mut rate = 0.0;
    for RatePoint { at_s: from, per_s, over_s } in &arrivals.points {
        if at_s < *from {
            break;
        }
        let way = if *over_s > 0.0 { ((at_s - from) / over_s).min(1.0) } else { 1.0 };
        rate += (per_s - rate) * way;
    }
    let factor = arrivals.series.as_ref().map_or(1.0, |(every_s, values)| {
        let at = (at_s / every_s) as usize % values.len().max(1);
        values.get(at).copied().unwrap_or(1.0)
    });
    rate * factor
}

/// All arrivals of a run, in order: a Poisson process whose rate changes, or the given list.
pub fn arrivals(scenario: &Scenario, seed: u64) -> Vec<Arrival> {
    const STEP_S: f64 = 0.05;
    let mut dice = Dice::named(seed, [u64::from_be_bytes(*b"arrivals"), 0, 0]);
    let mut times: Vec<(f64, f64)> = Vec::new();
    if let Some(list) = &scenario.arrivals.list {
        times.extend(list.iter().take_while(|(at_s, _)| *at_s < scenario.duration_s));
    } else {
        let steps = (scenario.duration_s / STEP_S).ceil() as usize;
        // The hazard that is left until the next arrival.
        let mut left = dice.exponential();
        for step in 0..steps {
            let from = step as f64 * STEP_S;
            let rate = rate_at(&scenario.arrivals, from + STEP_S / 2.0);
            let mut hazard = rate * STEP_S;
            let mut at = from;
            while rate > 0.0 && left <= hazard {
                at += left / rate;
                hazard -= left;
                times.push((at, 1.0));
                left = dice.exponential();
            }
            left -= hazard;
        }
        times.retain(|(at_s, _)| *at_s < scenario.duration_s);
    }
    times
        .iter()
        .enumerate()
        .map(|(n, (at_s, size))| {
            let mut dice = Dice::named(seed, [u64::from_be_bytes(*b"which-tx"), n as u64, 0]);
            let shares = scenario.shares_at(*at_s);
            let definition = pick(&shares, dice.unit());
            let labels = &scenario.definitions[definition].labels;
            let sum: f64 = labels.iter().sum();
            let label = pick(labels, dice.unit() * sum);
            Arrival { at_us: (at_s * 1e6) as u64, definition: definition as u16, label: label as u16, size: *size }
        })
        .collect()
}

fn pick(shares: &[f64], mut at: f64) -> usize {
    for (n, share) in shares.iter().enumerate() {
        if at < *share {
            return n;
        }
        at -= share;
    }
    shares.iter().rposition(|share| *share > 0.0).unwrap_or(0)
}

/// Ranks by Zipf's law, as a table that is searched.
#[derive(Clone, PartialEq, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|c| *c /= sum);
        Self(cumulated)
    }

    /// From 0, the commonest.
    pub fn rank(&self, at: f64) -> u64 {
        self.0.partition_point(|c| *c <= at) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_mean_one() {
        for shape in [
            Shape::Constant,
            Shape::Exponential,
            Shape::Lognormal { sigma: 1.0 },
            Shape::Pareto { alpha: 2.5, most: 50.0 },
            Shape::Pareto { alpha: 1.5, most: 100.0 },
        ] {
            let mut dice = Dice::new(3);
            let n = 1_000_000;
            let mean = (0..n).map(|_| draw(shape, &mut dice)).sum::<f64>() / f64::from(n);
            assert!((mean - 1.0).abs() < 0.02, "{shape:?}: {mean}");
        }
    }

    #[test]
    fn ranks_follow_zipf() {
        let zipf = Zipf::new(100, 1.0);
        let harmonic: f64 = (1..=100).map(|n| 1.0 / f64::from(n)).sum();
        let mut dice = Dice::new(5);
        let first = (0..100_000).filter(|_| zipf.rank(dice.unit()) == 0).count() as f64 / 1e5;
        assert!((first - 1.0 / harmonic).abs() < 0.01, "{first}");
        assert_eq!(zipf.rank(0.999_999_999), 99);
    }
}
