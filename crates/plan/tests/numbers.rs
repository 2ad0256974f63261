//! Numbers against exact rational arithmetic on big integers.

use std::cmp::Ordering;

use model::{Number, Value};
use plan::number;
use proptest::prelude::*;

/// A decimal as `digits * 10^exponent`, small enough that an i128 holds both sides at one scale.
fn decimal() -> impl Strategy<Value = (i128, i32)> {
    (-9_999_999_999i128..=9_999_999_999, -9i32..=6)
}

/// One of several ways to write it.
fn written((digits, exponent): (i128, i32), style: u8) -> String {
    let shift = i32::from(style % 4);
    match style / 4 % 2 {
        // More zeros at the end, and an exponent that takes them back.
        0 => format!("{digits}{}e{}", "0".repeat(shift as usize), exponent - shift),
        // With a point.
        _ => {
            let sign = if digits < 0 { "-" } else { "" };
            let places = (shift + 1) as usize;
            let padded = format!("{:0>width$}", digits.unsigned_abs(), width = places + 1);
            let (int, fraction) = padded.split_at(padded.len() - places);
            format!("{sign}{int}.{fraction}e{}", exponent + shift + 1)
        }
    }
}

fn parsed(text: &str) -> Number {
    // JSON writes no leading zeros before the point.
    model::json::number(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Both at the scale 10^-9.
fn scaled((digits, exponent): (i128, i32)) -> i128 {
    digits * 10i128.pow((exponent + 9) as u32)
}

proptest! {
    #[test]
    fn comparison_is_exact(a in decimal(), b in decimal(), style in 0u8..64) {
        let (x, y) = (parsed(&written(a, style)), parsed(&written(b, style / 8)));
        prop_assert_eq!(number::compare(&x, &y), scaled(a).cmp(&scaled(b)), "{:?} {:?}", x, y);
        prop_assert_eq!(number::compare(&x, &parsed(&written(a, style / 8))), Ordering::Equal);
    }

    #[test]
    fn neighbours_differ(n in any::<i64>(), fraction in 1u32..1_000_000) {
        let near = parsed(&format!("{n}.{fraction:07}1"));
        let want = if n < 0 { Ordering::Less } else { Ordering::Greater };
        // -0.5 is written "-0.5", and the whole number before it is 0.
        prop_assume!(n != 0);
        prop_assert_eq!(number::compare(&near, &Number::Int(n)), want);
    }

    #[test]
    fn integers_compare_as_integers(a in any::<i64>(), b in any::<u64>()) {
        let (x, y) = (Number::Int(a), parsed(&b.to_string()));
        prop_assert_eq!(number::compare(&x, &y), i128::from(a).cmp(&i128::from(b)));
    }

    #[test]
    fn doubles_compare_without_a_cast(mantissa in -(1i64 << 53)..(1i64 << 53), shift in 0u32..11, n in any::<i64>(), half in any::<bool>()) {
        // mantissa * 2^shift, and perhaps a half less, is exact both as a double and as an i128 of halves.
        let small = mantissa >> 2;
        let double = if half { small as f64 - 0.5 } else { (mantissa as f64) * f64::from(1u32 << shift) };
        let halves = if half { i128::from(small) * 2 - 1 } else { (i128::from(mantissa) << shift) * 2 };
        prop_assert_eq!(number::compare_double(double, i128::from(n)), halves.cmp(&(i128::from(n) * 2)));
        let near = halves.div_euclid(2);
        prop_assert_eq!(number::compare_double(double, near), halves.cmp(&(near * 2)));
    }

    #[test]
    fn multiples_are_exact(a in decimal(), unit in decimal(), style in 0u8..64) {
        prop_assume!(unit.0 != 0);
        let exact = scaled(a) % scaled(unit) == 0;
        let found = number::is_multiple(&parsed(&written(a, style)), &parsed(&written(unit, style / 8)));
        prop_assert_eq!(found, exact);
    }

    #[test]
    fn multiples_of_cents(n in -1_000_000_000i64..1_000_000_000) {
        let price = parsed(&format!("{}{}.{:02}", if n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100));
        prop_assert!(number::is_multiple(&price, &parsed("0.01")));
        prop_assert_eq!(number::is_multiple(&price, &parsed("0.05")), n % 5 == 0);
    }

    #[test]
    fn truncation_is_towards_zero(a in decimal(), style in 0u8..64) {
        let found = number::truncate(&parsed(&written(a, style)));
        let want = scaled(a) / 1_000_000_000;
        prop_assert_eq!(found.map(|n| number::text(&n).to_string()), Some(want.to_string()));
    }

    #[test]
    fn doubles_come_back(double in any::<f64>()) {
        match number::from_double(double) {
            Some(n) => {
                prop_assert_eq!(number::to_double(&n), Some(double + 0.0));
                // What it prints is JSON that reads as the same number.
                let text = Value::Number(n.clone()).to_string();
                prop_assert_eq!(model::json::parse(text.as_bytes()), Ok(Value::Number(n)));
            }
            None => prop_assert!(!double.is_finite() || double.abs() >= 9e18),
        }
    }

    #[test]
    fn digits_that_are_none_do_no_harm(a in "[-+.eE0-9x]{0,24}", b in "[-+.eE0-9x]{0,24}") {
        let (a, b) = (Number::Decimal(a.into()), Number::Decimal(b.into()));
        let there = number::compare(&a, &b);
        prop_assert_eq!(number::compare(&b, &a), there.reverse());
        number::is_multiple(&a, &b);
        number::truncate(&a);
    }
}

#[test]
fn edges() {
    let compared = |a: &str, b: &str| number::compare(&parsed(a), &parsed(b));
    assert_eq!(compared("1e-400", "0"), Ordering::Greater);
    assert_eq!(compared("-1e-400", "0"), Ordering::Less);
    assert_eq!(compared("1e-99999999999", "1e-99999999998"), Ordering::Less);
    assert_eq!(compared("18446744073709551615", "18446744073709551614.5"), Ordering::Greater);
    assert_eq!(compared("0.1", "0.10"), Ordering::Equal);
    assert_eq!(compared("123.5", "0.1235e3"), Ordering::Equal);
    let multiple = |a: &str, b: &str| number::is_multiple(&parsed(a), &parsed(b));
    assert!(multiple("0", "0.3"));
    assert!(!multiple("1", "0"));
    assert!(!multiple("0.5", "0"));
    assert!(multiple("19.99", "0.01"));
    assert!(!multiple("19.995", "0.01"));
    assert!(multiple("18446744073709551615", "0.5"));
    assert!(!multiple("18446744073709551615", "1e-99999999999"));
}
