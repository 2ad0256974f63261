//! Whether a difference is one: paired by seed, with intervals and tests that name their sources.

use crate::dice::Dice;

/// A mean and the interval that holds it with 95 %.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

const RESAMPLES: usize = 2_000;

/// The bias-corrected and accelerated bootstrap of a mean (Efron 1987, eq. 6.8). One value gives a point.
///
/// The resampling is drawn from a fixed seed: the same values give the same interval.
pub fn bootstrap(values: &[f64]) -> Option<Interval> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let count = n as f64;
    let mean = values.iter().sum::<f64>() / count;
    if n < 3 || values.iter().all(|v| *v == values[0]) {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return Some(Interval { mean, low, high });
    }
    let mut dice = Dice::new(0x0b00_7512_a900_0000 ^ n as u64);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| values[dice.below(n)]).sum::<f64>() / count).collect();
    means.sort_by(f64::total_cmp);
    let below = means.iter().filter(|m| **m < mean).count() as f64 / RESAMPLES as f64;
    let bias = quantile(below.clamp(0.001, 0.999));
    // The jackknife's skewness.
    let left_out: Vec<f64> = values.iter().map(|v| (mean * count - v) / (count - 1.0)).collect();
    let (mut cubes, mut squares) = (0.0, 0.0);
    for each in &left_out {
        cubes += (mean - each).powi(3);
        squares += (mean - each).powi(2);
    }
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let at = |z: f64| {
        let moved = bias + (bias + z) / (1.0 - acceleration * (bias + z));
        let place = normal(moved) * (RESAMPLES - 1) as f64;
        means[(place.round() as usize).min(RESAMPLES - 1)]
    };
    Some(Interval { mean, low: at(-1.96), high: at(1.96) })
}

/// The share of a normal distribution that lies below (Abramowitz, Stegun 7.1.26; to 1.5e-7).
pub fn normal(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = poly * (-x * x).exp() / 2.0;
    if z > 0.0 { 1.0 - tail } else { tail }
}

/// The inverse of [`normal`], by halving.
fn quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if normal(middle) < share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Wilcoxon's signed-rank test: how likely differences like these are if neither side is better, two-sided, by the
/// normal approximation with ties and continuity corrected. 1 if nothing differs.
pub fn signed_rank(differences: &[f64]) -> f64 {
    let mut sized: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0 && d.is_finite()).collect();
    sized.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = sized.len() as f64;
    if sized.is_empty() {
        return 1.0;
    }
    let ranks = ranks(&sized.iter().map(|d| d.abs()).collect::<Vec<_>>());
    let positive: f64 = sized.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
    let mean = n * (n + 1.0) / 4.0;
    let mut variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0;
    let mut at = 0;
    while at < sized.len() {
        let same = sized[at..].iter().take_while(|d| d.abs() == sized[at].abs()).count();
        let t = same as f64;
        variance -= (t * t * t - t) / 48.0;
        at += same;
    }
    if variance <= 0.0 {
        return 1.0;
    }
    let off = ((positive - mean).abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * (1.0 - normal(off))).min(1.0)
}

/// Ranks from 1, the smallest first; equals share the mean of their places.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let same = order[at..].iter().take_while(|i| values[**i] == values[order[at]]).count();
        let shared = at as f64 + (same as f64 + 1.0) / 2.0;
        for place in &order[at..at + same] {
            ranks[*place] = shared;
        }
        at += same;
    }
    ranks
}

/// Holm's step-down correction: the same tests, each as careful as if it were the only one.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut held = vec![0.0; p.len()];
    let mut most: f64 = 0.0;
    for (at, place) in order.into_iter().enumerate() {
        most = most.max((p[place] * (p.len() - at) as f64).min(1.0));
        held[place] = most;
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_as_often_as_it_says() {
        let mut dice = Dice::new(11);
        let held = (0..400)
            .filter(|_| {
                let values: Vec<f64> = (0..30).map(|_| dice.exponential()).collect();
                bootstrap(&values).is_some_and(|i| i.low <= 1.0 && 1.0 <= i.high)
            })
            .count();
        // 95 % of 400 is 380; a skewed law with 30 values is held a little less often.
        assert!((355..=395).contains(&held), "{held}");
    }

    #[test]
    fn normal_and_its_inverse() {
        assert!((normal(1.959_964) - 0.975).abs() < 1e-5);
        assert!((quantile(0.025) + 1.959_964).abs() < 1e-4);
    }

    #[test]
    fn ranks_share_places() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn signed_ranks_as_in_the_textbook() {
        // By hand: W+ = 37 of ten with one tie, variance 96.25 - 6/48, z = (37 - 27.5 - 0.5)/9.804 = 0.918.
        let p = signed_rank(&[15.0, -7.0, 5.0, 20.0, -9.0, 17.0, -12.0, 5.0, -10.0, 19.0]);
        assert!((p - 0.3586).abs() < 1e-3, "{p}");
        assert!(signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) < 0.02);
        assert_eq!(signed_rank(&[0.0, 0.0]), 1.0);
    }

    #[test]
    fn holm_is_never_kinder_than_the_test() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
    }
}
