//! The moving statistics of failsafe-go: average, median, correlation and a window's percentile.
//!
//! Source: failsafe-go/failsafe-go 0.9.7, `internal/util/{average,median,windows}.go`. The order of additions and
//! subtractions is the original's, so that rounding is too.

/// A mean of the first samples, then an exponential average of factor 2/(age + 1).
#[derive(Clone, Copy, Debug)]
pub struct MovingAverage {
    factor: f64,
    warm_up: u32,
    count: u32,
    sum: f64,
    value: f64,
}

impl MovingAverage {
    pub fn new(age: u32, warm_up: u32) -> Self {
        Self { factor: 2.0 / (f64::from(age) + 1.0), warm_up, count: 0, sum: 0.0, value: 0.0 }
    }

    pub fn add(&mut self, sample: f64) -> f64 {
        if self.count < self.warm_up {
            self.count += 1;
            self.sum += sample;
            self.value = self.sum / f64::from(self.count);
        } else {
            self.value = self.value * (1.0 - self.factor) + sample * self.factor;
        }
        self.value
    }
}

/// The median of the last `N`; the sample itself until there are so many.
#[derive(Clone, Copy, Debug)]
pub struct MovingMedian<const N: usize> {
    values: [f64; N],
    index: usize,
    size: usize,
}

impl<const N: usize> Default for MovingMedian<N> {
    fn default() -> Self {
        Self { values: [0.0; N], index: 0, size: 0 }
    }
}

impl<const N: usize> MovingMedian<N> {
    pub fn add(&mut self, sample: f64) -> f64 {
        self.values[self.index] = sample;
        self.index = (self.index + 1) % N;
        if self.size < N - 1 {
            self.size += 1;
            return sample;
        }
        let mut sorted = self.values;
        sorted.sort_by(f64::total_cmp);
        sorted[N / 2]
    }
}

/// Sums over the last so many samples; zeros are left out.
#[derive(Clone, Debug)]
struct MovingSum {
    samples: Vec<f64>,
    size: usize,
    index: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl MovingSum {
    fn new(capacity: usize) -> Self {
        Self { samples: vec![0.0; capacity.max(1)], size: 0, index: 0, sum: 0.0, sum_of_squares: 0.0 }
    }

    /// The sample that fell out, if the window was full.
    fn add(&mut self, sample: f64) -> Option<f64> {
        if sample == 0.0 {
            return None;
        }
        let mut fell_out = None;
        if self.size == self.samples.len() {
            let oldest = self.samples[self.index];
            self.sum -= oldest;
            self.sum_of_squares -= oldest * oldest;
            fell_out = Some(oldest);
        } else {
            self.size += 1;
        }
        self.samples[self.index] = sample;
        self.sum += sample;
        self.sum_of_squares += sample * sample;
        self.index = (self.index + 1) % self.samples.len();
        fell_out
    }

    /// Coefficient of variation, mean and variance, once there are two samples and they make sense.
    fn variation(&self) -> Option<(f64, f64, f64)> {
        if self.size < 2 {
            return None;
        }
        let mean = self.sum / self.size as f64;
        let variance = self.sum_of_squares / self.size as f64 - mean * mean;
        if variance < 0.0 || mean == 0.0 || !mean.is_finite() || !variance.is_finite() {
            return None;
        }
        Some((variance.sqrt() / mean, mean, variance))
    }
}

/// The correlation of two series over the last so many pairs.
#[derive(Clone, Debug)]
pub struct Correlation {
    x: MovingSum,
    y: MovingSum,
    sum_of_products: f64,
    warm_up: usize,
}

impl Correlation {
    pub fn new(capacity: usize, warm_up: usize) -> Self {
        Self { x: MovingSum::new(capacity), y: MovingSum::new(capacity), sum_of_products: 0.0, warm_up }
    }

    /// The correlation in [-1, 1] and how much `y` varies; 0 while there is too little to tell.
    pub fn add(&mut self, x: f64, y: f64) -> (f64, f64) {
        if !x.is_finite() || !y.is_finite() {
            return (0.0, 0.0);
        }
        let old_x = self.x.add(x);
        let old_y = self.y.add(y);
        if let Some(old_x) = old_x {
            self.sum_of_products -= old_x * old_y.unwrap_or(0.0);
        }
        self.sum_of_products += x * y;
        let (Some((cv_x, mean_x, var_x)), Some((cv_y, mean_y, var_y))) = (self.x.variation(), self.y.variation())
        else {
            return (0.0, 0.0);
        };
        if self.x.size < self.warm_up {
            return (0.0, 0.0);
        }
        if cv_x < 0.01 || cv_y < 0.01 {
            return (0.0, cv_y);
        }
        let covariance = self.sum_of_products / self.x.size as f64 - mean_x * mean_y;
        (covariance / (var_x.sqrt() * var_y.sqrt()), cv_y)
    }
}

/// Samples kept of one window; past this every second is dropped and so is every second to come.
const KEPT: usize = 8_192;

/// The samples of one window, for one quantile at its end.
#[derive(Clone, Debug)]
pub struct Quantile {
    values: Vec<f64>,
    seen: usize,
    stride: usize,
}

impl Default for Quantile {
    fn default() -> Self {
        Self { values: Vec::new(), seen: 0, stride: 1 }
    }
}

impl Quantile {
    pub fn add(&mut self, value: f64) {
        if self.seen.is_multiple_of(self.stride) {
            self.values.push(value);
        }
        self.seen += 1;
        if self.values.len() >= KEPT {
            let mut keep = false;
            self.values.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    pub fn samples(&self) -> usize {
        self.seen
    }

    /// The quantile, interpolated; empties the window. 0 if it was empty.
    pub fn take(&mut self, q: f64) -> f64 {
        self.values.sort_by(f64::total_cmp);
        let place = q.clamp(0.0, 1.0) * self.values.len().saturating_sub(1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        let value = match (self.values.get(low), self.values.get(high)) {
            (Some(a), Some(b)) => a + (b - a) * place.fract(),
            _ => 0.0,
        };
        *self = Self { values: std::mem::take(&mut self.values), ..Self::default() };
        self.values.clear();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_waits_for_a_full_window() {
        let mut median = MovingMedian::<5>::default();
        let out: Vec<f64> = [100.0, 300.0, 200.0, 200.0, 250.0, 900.0].iter().map(|v| median.add(*v)).collect();
        assert_eq!(out, [100.0, 300.0, 200.0, 200.0, 200.0, 250.0]);
    }

    #[test]
    fn correlation_has_the_sign_of_the_relation() {
        let mut up = Correlation::new(50, 10);
        let mut down = Correlation::new(50, 10);
        let (mut r, mut s) = (0.0, 0.0);
        for n in 1..=100 {
            let x = f64::from(n);
            r = up.add(x, 3.0 * x + 2.0).0;
            s = down.add(x, 1000.0 - x).0;
        }
        assert!((r - 1.0).abs() < 1e-6 && (s + 1.0).abs() < 1e-6, "{r} {s}");
        assert_eq!(Correlation::new(5, 2).add(f64::INFINITY, 1.0), (0.0, 0.0));
    }

    #[test]
    fn a_window_stays_bounded() {
        let mut window = Quantile::default();
        for n in 0..100_000 {
            window.add(f64::from(n));
        }
        assert!(window.values.len() < KEPT);
        assert_eq!(window.samples(), 100_000);
        assert!((window.take(0.9) - 90_000.0).abs() < 100.0);
        assert_eq!((window.samples(), window.take(0.5)), (0, 0.0));
    }
}
