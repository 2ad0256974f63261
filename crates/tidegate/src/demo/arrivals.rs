//! From recorded traces to the moments at which transactions arrive.
//!
//! A trace is stretched over the time that the demo has and scaled to the number of transactions it wants. Traces of
//! rates say nothing about the inside of a step: there arrivals are a Poisson process. Given its number of arrivals,
//! such a process is that many independent draws from the rate's shape (Kingman, "Poisson Processes", 2.4), so the
//! number asked for is met exactly. Traces of arrivals are kept as they are.

use std::time::Duration;

use super::dice::Dice;

/// Requests per second, one value a second (see `examples/traces/README.md`).
const BURSTY: &str = include_str!("../../../../examples/traces/autothrottle-bursty.txt");
const DIURNAL: &str = include_str!("../../../../examples/traces/autothrottle-diurnal.txt");
/// Milliseconds since the first arrival.
const CONVERSATIONS: &str = include_str!("../../../../examples/traces/azure-llm-conv-arrivals.txt");

/// Which trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trace {
    Bursty,
    Diurnal,
    Conversations,
}

/// `count` arrivals within `over`, in order of time.
pub(crate) fn arrivals(trace: Trace, count: usize, over: Duration, dice: &mut Dice) -> Vec<Duration> {
    match trace {
        Trace::Bursty => within_steps(&numbers(BURSTY), count, over, dice),
        Trace::Diurnal => within_steps(&numbers(DIURNAL), count, over, dice),
        Trace::Conversations => in_place(&numbers(CONVERSATIONS), count, over, dice),
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Draws from the shape of the rates.
fn within_steps(rates: &[f64], count: usize, over: Duration, dice: &mut Dice) -> Vec<Duration> {
    let mut sums = Vec::with_capacity(rates.len());
    let mut sum = 0.0;
    for rate in rates {
        sum += rate.max(0.0);
        sums.push(sum);
    }
    if sum <= 0.0 {
        return Vec::new();
    }
    let mut drawn: Vec<Duration> = (0..count)
        .map(|_| {
            let at = dice.unit() * sum;
            let step = sums.partition_point(|s| *s <= at).min(rates.len() - 1);
            let before = if step == 0 { 0.0 } else { sums[step - 1] };
            let inside = ((at - before) / rates[step]).clamp(0.0, 1.0);
            over.mul_f64((step as f64 + inside) / rates.len() as f64)
        })
        .collect();
    drawn.sort();
    drawn
}

/// Every arrival in its place. Of more than are wanted a seeded part is taken; of fewer, the trace begins again.
fn in_place(at_ms: &[f64], count: usize, over: Duration, dice: &mut Dice) -> Vec<Duration> {
    let (Some(first), Some(last)) = (at_ms.first(), at_ms.last()) else { return Vec::new() };
    let span = (last - first).max(1.0);
    let mut places: Vec<usize> = (0..at_ms.len()).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() + places.len() <= count {
        chosen.extend_from_slice(&places);
    }
    // A partial shuffle (Fisher and Yates): each part of this size is as likely as any other.
    for n in 0..count - chosen.len() {
        let other = n + dice.below((places.len() - n) as u64) as usize;
        places.swap(n, other);
        chosen.push(places[n]);
    }
    let mut drawn: Vec<Duration> =
        chosen.into_iter().map(|place| over.mul_f64((at_ms[place] - first) / span)).collect();
    drawn.sort();
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn every_trace_gives_exactly_the_number_in_order_within_the_time() {
        for trace in [Trace::Bursty, Trace::Diurnal, Trace::Conversations] {
            for count in [0, 1, 600, 12_345] {
                let drawn = arrivals(trace, count, MINUTE, &mut Dice::new(3, "test"));
                assert_eq!(drawn.len(), count, "{trace:?}");
                assert!(drawn.is_sorted() && drawn.iter().all(|at| *at <= MINUTE), "{trace:?}");
                assert_eq!(drawn, arrivals(trace, count, MINUTE, &mut Dice::new(3, "test")), "the same seed");
            }
        }
    }

    #[test]
    fn arrivals_follow_the_rate() {
        // A second of 100, one of 300, one of nothing: a quarter, three quarters, nobody.
        let drawn = within_steps(&[100.0, 300.0, 0.0], 40_000, Duration::from_secs(3), &mut Dice::new(1, "test"));
        let first = drawn.iter().filter(|at| at.as_secs_f64() < 1.0).count();
        assert!((9_500..10_500).contains(&first), "{first}");
        assert!(drawn.iter().all(|at| at.as_secs_f64() <= 2.0));
        // Poisson: the gaps inside a step vary as much as they are long.
        let gaps: Vec<f64> = drawn[..first].windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let ratio = variance.sqrt() / mean;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn recorded_arrivals_keep_their_places() {
        let drawn = in_place(&[0.0, 10.0, 100.0], 3, Duration::from_secs(1), &mut Dice::new(1, "test"));
        assert_eq!(drawn.iter().map(Duration::as_millis).collect::<Vec<_>>(), [0, 100, 1_000]);
        assert_eq!(numbers(CONVERSATIONS).len(), 5_000);
        assert_eq!((numbers(BURSTY).len(), numbers(DIURNAL).len()), (3_600, 3_600));
    }
}
