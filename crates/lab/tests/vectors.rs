//! The ports against the real thing: sequences recorded from the original code, replayed value by value.
//!
//! `vectors/README.md` says how each file was recorded. Where the original could not be run, its formulas are pinned
//! beside the port, by hand.

use std::time::Duration;

use lab::balancers::peak_ewma::Estimate;
use lab::dice::Dice;
use lab::limiters::aimd::Aimd;
use lab::limiters::failsafe::{Failsafe, FailsafeSettings};
use lab::limiters::gradient::{Gradient, GradientSettings};
use lab::limiters::gradient2::{Gradient2, Gradient2Settings};
use lab::limiters::vegas::{Vegas, VegasSettings};
use lab::limiters::windowed::{SampleLimit, Windowed};
use lab::throttles::aws::{RetryQuota, SendRate};
use lab::throttles::budget::FinagleBudget;
use model::Timestamp;
use serde_json::Value;

/// The rows of a recording, under whichever name.
fn rows(text: &str) -> Vec<Vec<Value>> {
    let file: Value = serde_json::from_str(text).expect("a recording is JSON");
    let rows = ["samples", "steps", "operations"].iter().find_map(|name| file[*name].as_array());
    let rows = rows.expect("a recording has rows");
    assert!(rows.len() >= 200, "a recording of {} rows shows little", rows.len());
    rows.iter().map(|row| row.as_array().expect("a row is a list").clone()).collect()
}

fn int(value: &Value) -> i64 {
    value.as_i64().expect("a whole number")
}

fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Replays `rtt_ns, in_flight, dropped, limit_after`.
fn netflix(text: &str, mut limit: impl SampleLimit) {
    let mut dice = Dice::new(1);
    let mut before = limit.limit();
    let mut moved = 0;
    for (n, row) in rows(text).iter().enumerate() {
        limit.on_sample(&mut dice, int(&row[0]), int(&row[1]) as u32, int(&row[2]) == 1);
        assert_eq!(i64::from(limit.limit()), int(&row[3]), "row {n}: {row:?}");
        moved += u32::from(limit.limit() != before);
        before = limit.limit();
    }
    assert!(moved > 50, "the limit moved {moved} times");
}

#[test]
fn netflix_gradient2() {
    netflix(include_str!("vectors/netflix_gradient2.json"), Gradient2::new(&Gradient2Settings::default()));
    let other = Gradient2Settings {
        min: 1,
        initial: 50,
        max: 1000,
        long_window: 60,
        smoothing: 0.5,
        tolerance: 1.1,
        ..Gradient2Settings::default()
    };
    netflix(include_str!("vectors/netflix_gradient2_low_floor.json"), Gradient2::new(&other));
}

#[test]
fn netflix_gradient() {
    let settings = GradientSettings { probe_interval: None, ..GradientSettings::default() };
    netflix(include_str!("vectors/netflix_gradient.json"), Gradient::new(settings));
}

#[test]
fn netflix_vegas() {
    let settings = VegasSettings { probe_multiplier: 1e6, ..VegasSettings::default() };
    netflix(include_str!("vectors/netflix_vegas.json"), Vegas::new(settings));
    let smooth = VegasSettings { smoothing: 0.3, initial: 150, ..settings };
    netflix(include_str!("vectors/netflix_vegas_smooth.json"), Vegas::new(smooth));
}

#[test]
fn netflix_aimd() {
    netflix(include_str!("vectors/netflix_aimd.json"), Aimd::new(20, 5, 200, 0.9, 90_000_000));
}

#[test]
fn netflix_window() {
    let mut dice = Dice::new(1);
    let inner = Gradient2::new(&Gradient2Settings::default());
    let mut windowed = Windowed::new(inner, 100_000_000, 100_000_000);
    for (n, row) in rows(include_str!("vectors/netflix_windowed_gradient2.json")).iter().enumerate() {
        windowed.on_sample(&mut dice, int(&row[0]), int(&row[1]), int(&row[2]) as u32, int(&row[3]) == 1);
        assert_eq!(i64::from(windowed.inner.limit()), int(&row[4]), "row {n}: {row:?}");
    }
}

#[test]
fn failsafe_limiter() {
    let mut limiter = Failsafe::new(FailsafeSettings { samples_min: 1, ..FailsafeSettings::default() });
    for (n, row) in rows(include_str!("vectors/failsafe_limiter.json")).iter().enumerate() {
        let now = Timestamp::from_millis(int(&row[0]) as u64);
        let rtt = Duration::from_nanos(int(&row[1]) as u64);
        limiter.record(now, rtt, int(&row[2]) as u32, int(&row[3]) as u32, int(&row[4]) == 0);
        assert_eq!(i64::from(limiter.limit()), int(&row[5]), "row {n}: {row:?}");
    }
}

#[test]
fn aws_send_rate() {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    let mut rate = SendRate::new(1000.0, 0.7, 0.4);
    let mut waits = 0;
    for (n, row) in rows(include_str!("vectors/aws_adaptive.json")).iter().enumerate() {
        let now_s = float(&row[0]);
        match rate.acquire(now_s) {
            Ok(()) => {
                assert_eq!(int(&row[1]), 1, "row {n}");
                rate.responded(now_s, int(&row[2]) == 1);
            }
            Err(wait_s) => {
                assert_eq!(int(&row[1]), 0, "row {n}");
                assert!(close(wait_s, float(&row[3])), "row {n}: waits {wait_s}, {row:?}");
                waits += 1;
            }
        }
        let (fill, available, measured) = rate.state();
        assert!(close(measured, float(&row[4])), "row {n}: measured {measured}, {row:?}");
        assert!(close(fill, float(&row[5])), "row {n}: fill {fill}, {row:?}");
        assert!(close(available, float(&row[6])), "row {n}: {available} tokens, {row:?}");
    }
    assert!(waits > 100);
}

#[test]
fn aws_retry_quota() {
    let mut quota = RetryQuota::new(500);
    let mut held = Vec::new();
    for (n, row) in rows(include_str!("vectors/aws_quota.json")).iter().enumerate() {
        let cost = if row[0] == "throttle" { 5 } else { 14 };
        let granted = match row[0].as_str() {
            Some("first_ok") => {
                quota.release(1);
                true
            }
            Some("retry_ok") => {
                quota.release(held.pop().expect("a retry to succeed"));
                true
            }
            _ => {
                let granted = quota.acquire(cost);
                held.extend(granted.then_some(cost));
                granted
            }
        };
        assert_eq!((i64::from(granted), i64::from(quota.available())), (int(&row[1]), int(&row[2])), "row {n}");
    }
}

#[test]
fn tower_budget() {
    let mut budget = FinagleBudget::new(Duration::from_secs(10), 1, 0.2);
    // The original's clock starts when it is made.
    budget.start(Timestamp::ZERO);
    let mut refused = 0;
    for (n, row) in rows(include_str!("vectors/tower_budget.json")).iter().enumerate() {
        let now = Timestamp::from_millis(int(&row[0]) as u64);
        if int(&row[1]) == 1 {
            let granted = budget.withdraw(now);
            assert_eq!(i64::from(granted), int(&row[2]), "row {n}: {row:?}");
            refused += u32::from(!granted);
        } else {
            budget.deposit(now);
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn tower_peak_ewma() {
    let mut estimate = Estimate::new(1.0, Timestamp::ZERO);
    for (n, row) in rows(include_str!("vectors/tower_peak_ewma.json")).iter().enumerate() {
        let now = Timestamp::from_millis(int(&row[0]) as u64);
        if int(&row[1]) >= 0 {
            estimate.update(now, int(&row[1]) as f64 / 1e3, 10.0);
        }
        let cost = estimate.decayed(now, 10.0);
        assert!((cost - float(&row[2])).abs() < 2e-9, "row {n}: {cost}, {row:?}");
    }
}
