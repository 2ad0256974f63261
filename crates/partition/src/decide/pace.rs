//! How long to wait before the next attempt: exponential, factor 2, with jitter drawn from the call's own name.

use std::time::Duration;

use model::{StepIndex, TxId};
use plan::Retry;

/// After this many counted attempts an undo is reported, and slows down to [`SLOW_MAX`].
pub(crate) const UNDO_ATTEMPTS_BEFORE_ASKING: u32 = 10;
const SLOW_MAX: Duration = Duration::from_secs(3_600);

/// The wait after attempt `n` (from 1): `backoff · 2^(n-1)`, at most `max_backoff`, half of it jittered.
///
/// Equal jitter as in Marc Brooker, "Exponential Backoff and Jitter" (2015); the draw depends only on the
/// transaction, the step and the attempt, so that a replay would draw the same.
pub(crate) fn backoff(retry: Retry, tx: TxId, step: StepIndex, attempt: u32) -> Duration {
    jittered(doubled(retry.backoff, attempt.saturating_sub(1)).min(retry.max_backoff), tx, step, attempt)
}

/// The wait after the n-th counted attempt of an undo, which is repeated without end: as [`backoff`] up to
/// the tenth, then doubling on to one hour, so that a broken undo costs a bounded number of entries a day.
pub(crate) fn undo_backoff(retry: Retry, tx: TxId, step: StepIndex, attempt: u32) -> Duration {
    if attempt < UNDO_ATTEMPTS_BEFORE_ASKING {
        return backoff(retry, tx, step, attempt);
    }
    let slow = doubled(retry.max_backoff, attempt - UNDO_ATTEMPTS_BEFORE_ASKING + 1);
    jittered(slow.min(SLOW_MAX.max(retry.max_backoff)), tx, step, attempt)
}

fn doubled(base: Duration, times: u32) -> Duration {
    base.saturating_mul(1u32.checked_shl(times.min(30)).unwrap_or(u32::MAX))
}

fn jittered(full: Duration, tx: TxId, step: StepIndex, attempt: u32) -> Duration {
    let half = full / 2;
    let draw = splitmix64(tx.0 as u64 ^ (tx.0 >> 64) as u64 ^ (u64::from(step) << 48) ^ (u64::from(attempt) << 32));
    half + Duration::from_nanos(((u128::from(draw) * half.as_nanos()) >> 64) as u64)
}

/// Sebastiano Vigna's SplitMix64, one step.
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry =
        Retry { attempts: 3, backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(5) };

    #[test]
    fn waits_double_up_to_the_bound() {
        for (attempt, full_ms) in [(1, 200), (2, 400), (5, 3200), (6, 5000), (60, 5000)] {
            let wait = backoff(RETRY, TxId(7), 1, attempt).as_millis();
            assert!((full_ms / 2..=full_ms).contains(&wait), "attempt {attempt}: {wait} ms");
        }
        assert_eq!(backoff(RETRY, TxId(7), 1, 2), backoff(RETRY, TxId(7), 1, 2));
        assert_ne!(backoff(RETRY, TxId(7), 1, 2), backoff(RETRY, TxId(8), 1, 2));
    }

    #[test]
    fn a_broken_undo_slows_down_to_an_hour() {
        assert!(undo_backoff(RETRY, TxId(7), 1, 9) <= Duration::from_secs(5));
        let late = undo_backoff(RETRY, TxId(7), 1, 40);
        assert!(late > Duration::from_secs(1_799) && late <= SLOW_MAX, "{late:?}");
    }
}
