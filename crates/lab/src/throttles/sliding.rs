//! Counts of successes and of everything over a sliding window of buckets.

use std::time::Duration;

use model::Timestamp;

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    number: u64,
    all: u32,
    good: u32,
}

/// See the module. What is older than the window is forgotten a bucket at a time.
#[derive(Clone, Debug)]
pub struct Sliding {
    buckets: Vec<Bucket>,
    bucket_us: u64,
}

impl Sliding {
    pub fn new(window: Duration, buckets: usize) -> Self {
        let buckets = buckets.max(1);
        let bucket_us = (window.as_micros() as u64 / buckets as u64).max(1);
        Self { buckets: vec![Bucket::default(); buckets], bucket_us }
    }

    pub fn add(&mut self, now: Timestamp, is_good: bool) {
        let number = now.0 / self.bucket_us;
        let place = (number % self.buckets.len() as u64) as usize;
        let bucket = &mut self.buckets[place];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.all = bucket.all.saturating_add(1);
        bucket.good = bucket.good.saturating_add(u32::from(is_good));
    }

    /// How many there were, and how many of them good.
    pub fn counts(&self, now: Timestamp) -> (f64, f64) {
        let newest = now.0 / self.bucket_us;
        let oldest = (newest + 1).saturating_sub(self.buckets.len() as u64);
        let live = self.buckets.iter().filter(|b| (oldest..=newest).contains(&b.number));
        live.fold((0.0, 0.0), |(all, good), b| (all + f64::from(b.all), good + f64::from(b.good)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides_by_buckets() {
        let mut counts = Sliding::new(Duration::from_secs(10), 10);
        for second in 0..20 {
            counts.add(Timestamp::from_millis(second * 1_000), second % 2 == 0);
        }
        assert_eq!(counts.counts(Timestamp::from_millis(19_500)), (10.0, 5.0));
        assert_eq!(counts.counts(Timestamp::from_millis(24_500)), (5.0, 2.0));
        assert_eq!(counts.counts(Timestamp::from_millis(60_000)), (0.0, 0.0));
    }
}
