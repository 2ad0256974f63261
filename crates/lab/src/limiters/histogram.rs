//! Latencies in buckets of two significant digits, as Envoy keeps them.
//!
//! Source of the idea: OpenHistogram (`libcircllhist`), which Envoy's controller uses: 90 buckets per power of ten,
//! a quantile interpolated evenly within its bucket. Whole microseconds from 1 µs to 10 000 s; outside, the nearest.

use std::fmt;

const PER_DECADE: usize = 90;
const DECADES: usize = 10;

/// Counts per bucket; a fixed size whatever is put in.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u32; PER_DECADE * DECADES]>,
    samples: u64,
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} samples)", self.samples)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; PER_DECADE * DECADES]), samples: 0 }
    }
}

/// The bucket of a value, in tenths of a microsecond so that 1 µs has two digits.
fn bucket(us: u64) -> usize {
    let tenths = us.max(1).saturating_mul(10);
    let decade = (tenths.ilog10() - 1).min(DECADES as u32 - 1);
    let mantissa = (tenths / 10u64.pow(decade)).clamp(10, 99);
    decade as usize * PER_DECADE + (mantissa as usize - 10)
}

/// Lower edge and width of a bucket in microseconds.
fn edges(bucket: usize) -> (f64, f64) {
    let width = 10f64.powi((bucket / PER_DECADE) as i32) / 10.0;
    ((bucket % PER_DECADE + 10) as f64 * width, width)
}

impl Histogram {
    pub fn insert(&mut self, us: u64) {
        let count = &mut self.counts[bucket(us)];
        *count = count.saturating_add(1);
        self.samples += 1;
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.samples = 0;
    }

    /// The value in microseconds below which the fraction `q` lies; `None` if there is no sample.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let target = q.clamp(0.0, 1.0) * self.samples as f64;
        let mut below = 0.0;
        let mut last = None;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (left, width) = edges(bucket);
            let count = f64::from(*count);
            if below + count >= target {
                return Some(left + width * (target - below) / count);
            }
            below += count;
            last = Some(left + width);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for us in [1_000, 1_000, 1_000, 1_000] {
            histogram.insert(us);
        }
        // One bucket, 1000..1100 µs: half of its four samples lie below its middle.
        assert_eq!(histogram.quantile(0.5), Some(1050.0));
        assert_eq!(histogram.quantile(1.0), Some(1100.0));
        histogram.insert(25_400);
        assert_eq!(histogram.quantile(1.0), Some(26_000.0));
        histogram.clear();
        assert_eq!(histogram.samples(), 0);
    }

    #[test]
    fn every_value_has_a_bucket_around_it() {
        for us in [1u64, 9, 10, 99, 100, 12_345, 999_999, 1_000_000, 9_999_999_999] {
            let (left, width) = edges(bucket(us));
            assert!(left <= us as f64 && (us as f64) < left + width + 1e-6, "{us}: {left} + {width}");
        }
        assert_eq!(bucket(0), bucket(1));
        assert_eq!(bucket(u64::MAX), PER_DECADE * DECADES - 1);
    }
}
