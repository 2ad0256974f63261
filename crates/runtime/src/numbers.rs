//! Counters of a node: one cache line per worker, added up when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds in µs of a latency histogram: a quarter of a power of two apart.
const BUCKETS: usize = 128;

/// A histogram of durations, four buckets per doubling from 1 µs to about 70 minutes.
#[derive(Debug)]
pub(crate) struct Durations {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

fn bucket_of(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let log = 63 - us.leading_zeros() as usize;
    let quarter = (us >> (log - 2)) as usize & 3;
    (log * 4 + quarter - 4).min(BUCKETS - 1)
}

/// The first duration in µs that is beyond a bucket.
fn bound_of(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64 + 1;
    }
    let (log, quarter) = ((bucket + 4) / 4, (bucket + 4) % 4);
    (1u64 << log) + ((quarter as u64 + 1) << (log - 2))
}

impl Durations {
    pub(crate) fn add(&self, us: u64) {
        self.counts[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// (upper bound in seconds, cumulative count) of the buckets up to the last that is not empty, sum in seconds, count.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, f64, u64) {
        let counts: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let mut total = 0;
        let mut buckets = Vec::new();
        for (bucket, count) in counts.iter().enumerate() {
            total += count;
            // Every fourth bound is enough for a graph.
            if bucket % 4 == 3 {
                buckets.push((bound_of(bucket) as f64 / 1e6, total));
            }
        }
        (buckets, self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, total)
    }
}

/// Everything that a node counts.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) begun: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) refused_unavailable: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) aborted_refused: AtomicU64,
    pub(crate) aborted_failed: AtomicU64,
    pub(crate) aborted_cancelled: AtomicU64,
    pub(crate) aborted_timed_out: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) uncompensated: AtomicU64,
    pub(crate) calls_started: AtomicU64,
    pub(crate) calls_done: AtomicU64,
    pub(crate) calls_refused: AtomicU64,
    pub(crate) calls_failed: AtomicU64,
    pub(crate) calls_unknown: AtomicU64,
    pub(crate) entries: AtomicU64,
    /// Bytes of batches handed to the journal.
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) parts: AtomicU64,
    pub(crate) live: AtomicU64,
    pub(crate) resident: AtomicU64,
    pub(crate) parked: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoint_rows: AtomicU64,
    /// TX-4: outstanding by state, unknown to the dispatcher.
    pub(crate) stranded_found: AtomicU64,
    /// LD-2: started at or after their deadline.
    pub(crate) late_starts: AtomicU64,
    /// The state machine refused to go on with so many transactions: a defect, each of them.
    pub(crate) quarantined: AtomicU64,
    pub(crate) decision_latency: Durations,
    pub(crate) commit_latency: Durations,
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, n: u64) {
    counter.fetch_sub(n, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_below_the_bound_of_its_bucket() {
        for us in (0..70).map(|shift: u32| 1u64.checked_shl(shift).unwrap_or(3)).chain([0, 1, 3, 5, 99, 1_000_001]) {
            let bucket = bucket_of(us);
            assert!(bucket == BUCKETS - 1 || us < bound_of(bucket), "{us} in {bucket}");
            assert!(bucket == 0 || us >= bound_of(bucket - 1), "{us} in {bucket}");
        }
    }
}
