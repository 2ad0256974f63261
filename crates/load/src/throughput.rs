//! How many calls end a second, and how long they take: fixed memory, no allocation.

use std::time::Duration;

use model::Timestamp;

/// Quarter-octave buckets from 16 µs to beyond an hour.
const BUCKETS: usize = 4 * 28;
const WINDOW_US: u64 = 10_000_000;

#[derive(Debug)]
pub(crate) struct Throughput {
    began: Timestamp,
    /// The window under way and the one before it.
    now: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
    ended_now: u64,
    ended_before: u64,
    /// What 95 of 100 calls end within, as of then.
    usual_us: u64,
    usual_at: Timestamp,
}

/// How often the slow end is looked up.
const USUAL_EVERY_US: u64 = 100_000;
/// Fewer calls say nothing about their slow end.
const USUAL_CALLS_MIN: u64 = 20;

impl Throughput {
    pub(crate) fn new() -> Self {
        Self {
            began: Timestamp::ZERO,
            now: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
            ended_now: 0,
            ended_before: 0,
            usual_us: 0,
            usual_at: Timestamp::ZERO,
        }
    }

    pub(crate) fn ended(&mut self, now: Timestamp, took: Duration) {
        self.turn(now);
        self.ended_now += 1;
        let slot = &mut self.now[bucket(took)];
        *slot = slot.saturating_add(1);
        if now.0.saturating_sub(self.usual_at.0) >= USUAL_EVERY_US {
            self.usual_at = now;
            self.usual_us = self.slow_end_us(20).unwrap_or(0);
        }
    }

    /// What most calls end within, in microseconds, looked up now and then; 0 if too few have ended.
    pub(crate) fn usual_us(&self) -> u64 {
        if self.ended_now + self.ended_before < USUAL_CALLS_MIN { 0 } else { self.usual_us }
    }

    pub(crate) fn turn(&mut self, now: Timestamp) {
        let age = now.0.saturating_sub(self.began.0);
        if age < WINDOW_US {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.fill(0);
        self.ended_before = std::mem::take(&mut self.ended_now);
        if age >= 2 * WINDOW_US {
            self.before.fill(0);
            self.ended_before = 0;
            self.began = now;
        } else {
            self.began = Timestamp(self.began.0 + WINDOW_US);
        }
    }

    /// Calls ended per second, over the last ten to twenty seconds.
    pub(crate) fn per_second(&self, now: Timestamp) -> f64 {
        // The window before counts whole only once it is one: right after the start there is none.
        let before_us = if self.ended_before > 0 { WINDOW_US } else { 0 };
        let span_us = (now.0.saturating_sub(self.began.0)).min(WINDOW_US) + before_us;
        let ended = (self.ended_now + self.ended_before) as f64;
        ended / (span_us.max(1_000_000) as f64 / 1e6)
    }

    /// The upper edge of the bucket that 99 of 100 calls end within; `None` without calls.
    pub(crate) fn p99_ms(&self) -> Option<f64> {
        self.slow_end_us(100).map(|us| us as f64 / 1_000.0)
    }

    /// The upper edge of the bucket that all but one of so many calls end within.
    fn slow_end_us(&self, one_of: u64) -> Option<u64> {
        let total = self.ended_now + self.ended_before;
        if total == 0 {
            return None;
        }
        let mut rest = total.div_ceil(one_of);
        for place in (0..BUCKETS).rev() {
            let count = u64::from(self.now[place]) + u64::from(self.before[place]);
            if count >= rest {
                return Some(upper_us(place));
            }
            rest -= count;
        }
        Some(0)
    }
}

/// Each power of two of microseconds, from 16 on, in four.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(16);
    let octave = 63 - us.leading_zeros() as usize;
    let quarter = (us >> (octave - 2)) as usize & 3;
    ((octave - 4) * 4 + quarter).min(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4 + 4, bucket as u64 % 4);
    (5 + quarter) << (octave - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for us in (1..5_000_000u64).step_by(37) {
            let place = bucket(Duration::from_micros(us));
            assert!(us < upper_us(place), "{us}");
            assert!(place == 0 || us >= upper_us(place - 1) || us < 16, "{us}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_slow_percent_is_found() {
        let mut throughput = Throughput::new();
        let at = |ms: u64| Timestamp::from_millis(1_000_000 + ms);
        for n in 0..1_000u64 {
            let took = if n % 50 == 0 { 400 } else { 5 };
            throughput.ended(at(n * 10), Duration::from_millis(took));
        }
        let p99 = throughput.p99_ms().unwrap_or(0.0);
        assert!((400.0..500.0).contains(&p99), "{p99}");
        let rate = throughput.per_second(at(10_000));
        assert!((95.0..=105.0).contains(&rate), "{rate}");
        throughput.turn(at(60_000));
        assert_eq!((throughput.p99_ms(), throughput.per_second(at(60_000))), (None, 0.0));
    }
}
