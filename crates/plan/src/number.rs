//! Numbers compared, converted and divided without losing a digit.
//!
//! A [`Number`] is compared by its decimal digits, never through a float. Left out: arithmetic, which is
//! `eval`'s, and reading or writing JSON, which is `model::json`'s.

use std::cmp::Ordering;

use compact_str::{CompactString, format_compact};
use model::value::Number;
use model::{Map, Value};

/// Two numbers on one line, exactly.
pub fn compare(a: &Number, b: &Number) -> Ordering {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => a.cmp(b),
        (Number::Uint(a), Number::Uint(b)) => a.cmp(b),
        (Number::Int(_), Number::Uint(_)) => Ordering::Less,
        (Number::Uint(_), Number::Int(_)) => Ordering::Greater,
        _ => {
            let (mut a_digits, mut b_digits) = ([0; 20], [0; 20]);
            Decimal::of(a, &mut a_digits).cmp(&Decimal::of(b, &mut b_digits))
        }
    }
}

/// A finite double against a whole number, without casting the whole number.
pub fn compare_double(double: f64, whole: i128) -> Ordering {
    // Past these no 64-bit number stands; within them truncation to i128 is exact.
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if double >= BEYOND {
        return Ordering::Greater;
    }
    if double <= -BEYOND {
        return Ordering::Less;
    }
    let truncated = double.trunc();
    (truncated as i128).cmp(&whole).then_with(|| {
        let fraction = double - truncated;
        fraction.partial_cmp(&0.0).unwrap_or(Ordering::Equal)
    })
}

/// JSON's equality: numbers by value, members in any order. `visit` is called once for each pair looked at
/// and ends the comparison by its error.
pub fn equal<E>(a: &Value, b: &Value, visit: &mut impl FnMut(&Value) -> Result<(), E>) -> Result<bool, E> {
    visit(a)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => compare(a, b).is_eq(),
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !equal(a, b, visit)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => equal_maps(a, b, visit)?,
        _ => false,
    })
}

fn equal_maps<E>(a: &Map, b: &Map, visit: &mut impl FnMut(&Value) -> Result<(), E>) -> Result<bool, E> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for ((a_name, a), (b_name, b)) in a.iter().zip(b) {
        if a_name != b_name || !equal(a, b, visit)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// [`equal`] where nothing is counted.
pub fn same(a: &Value, b: &Value) -> bool {
    equal(a, b, &mut |_| Ok::<(), std::convert::Infallible>(())).unwrap_or(false)
}

/// The nearest double; `None` if there is no finite one.
pub fn to_double(number: &Number) -> Option<f64> {
    match number {
        Number::Int(n) => Some(*n as f64),
        Number::Uint(n) => Some(*n as f64),
        Number::Decimal(text) => text.parse().ok().filter(|f: &f64| f.is_finite()),
    }
}

/// A double as a number: whole ones are integers, others the shortest text that reads back as the same.
/// `None` for NaN, infinity, and whole numbers past 64 bits.
pub fn from_double(double: f64) -> Option<Number> {
    if !double.is_finite() {
        return None;
    }
    if double.fract() == 0.0 {
        // 2^64 itself is already too large; everything between is exact.
        if !(-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(&double) {
            return None;
        }
        let whole = double as i128;
        return i64::try_from(whole).map(Number::Int).or_else(|_| u64::try_from(whole).map(Number::Uint)).ok();
    }
    Some(Number::Decimal(format_compact!("{double:?}")))
}

/// The number without its fraction, towards zero; `None` if that is past 64 bits.
pub fn truncate(number: &Number) -> Option<Number> {
    let Number::Decimal(_) = number else {
        return Some(number.clone());
    };
    let mut digits = [0; 20];
    let decimal = Decimal::of(number, &mut digits);
    if decimal.magnitude <= 0 {
        return Some(Number::Int(0));
    }
    let mut whole: u64 = 0;
    // More than 20 digits before the point overflow within 20 rounds.
    for place in 0..decimal.magnitude.min(21) {
        whole = whole.checked_mul(10)?.checked_add(u64::from(decimal.digit(place as usize)))?;
    }
    if decimal.negative {
        0i64.checked_sub_unsigned(whole).map(Number::Int)
    } else {
        Some(i64::try_from(whole).map_or(Number::Uint(whole), Number::Int))
    }
}

/// Whether `number` is a whole multiple of `unit`, exactly. A unit of zero divides nothing.
///
/// Units of more than 36 significant digits, and pairs more than 4,000 decimal places apart, count as not dividing.
pub fn is_multiple(number: &Number, unit: &Number) -> bool {
    let as_whole = |n: &Number| match n {
        Number::Int(n) => Some(i128::from(*n)),
        Number::Uint(n) => Some(i128::from(*n)),
        Number::Decimal(_) => None,
    };
    if let (Some(n), Some(unit)) = (as_whole(number), as_whole(unit)) {
        return unit != 0 && n % unit == 0;
    }
    let (mut n_digits, mut unit_digits) = ([0; 20], [0; 20]);
    let (n, unit) = (Decimal::of(number, &mut n_digits), Decimal::of(unit, &mut unit_digits));
    if unit.is_zero() {
        return false;
    }
    if n.is_zero() {
        return true;
    }
    // Both as integers at the finer of the two scales: the remainder of the one by the other, digit by digit.
    let scale = n.scale().min(unit.scale());
    let (n_zeros, unit_zeros) = (n.scale() - scale, unit.scale() - scale);
    const LIMIT: u128 = 10u128.pow(37);
    let mut modulus: u128 = 0;
    for place in 0..unit.len() as i64 + unit_zeros {
        modulus = modulus * 10 + u128::from(unit.digit(place as usize));
        if modulus >= LIMIT {
            return false;
        }
    }
    if n_zeros > 4_000 {
        return false;
    }
    let mut rest: u128 = 0;
    for place in 0..n.len() as i64 + n_zeros {
        rest = (rest * 10 + u128::from(n.digit(place as usize))) % modulus;
    }
    rest == 0
}

/// The text of a number as JSON has it.
pub fn text(number: &Number) -> CompactString {
    match number {
        Number::Int(n) => format_compact!("{n}"),
        Number::Uint(n) => format_compact!("{n}"),
        Number::Decimal(text) => text.clone(),
    }
}

/// A number as digits: 0.d₀d₁d₂… times 10^magnitude, d₀ not zero (or no digits at all, for zero).
struct Decimal<'t> {
    negative: bool,
    int: &'t [u8],
    fraction: &'t [u8],
    magnitude: i64,
}

impl<'t> Decimal<'t> {
    fn of(number: &'t Number, buffer: &'t mut [u8; 20]) -> Self {
        let (negative, n) = match number {
            Number::Int(n) => (*n < 0, n.unsigned_abs()),
            Number::Uint(n) => (false, *n),
            Number::Decimal(text) => return Self::parse(text.as_bytes()),
        };
        let mut rest = n;
        let mut at = buffer.len();
        while rest > 0 {
            at -= 1;
            buffer[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let int = &buffer[at..];
        Self { negative, int, fraction: &[], magnitude: int.len() as i64 }.trimmed()
    }

    fn parse(text: &'t [u8]) -> Self {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match digits.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&digits[..at], exponent(&digits[at + 1..])),
            None => (digits, 0),
        };
        let (int, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        Self { negative, int, fraction, magnitude: int.len() as i64 + exponent }.trimmed()
    }

    /// Without zeros at either end.
    fn trimmed(mut self) -> Self {
        while let [b'0', rest @ ..] = self.int {
            self.int = rest;
            self.magnitude -= 1;
        }
        if self.int.is_empty() {
            while let [b'0', rest @ ..] = self.fraction {
                self.fraction = rest;
                self.magnitude -= 1;
            }
        }
        while let [rest @ .., b'0'] = self.fraction {
            self.fraction = rest;
        }
        if self.fraction.is_empty() {
            while let [rest @ .., b'0'] = self.int {
                self.int = rest;
            }
        }
        self
    }

    fn len(&self) -> usize {
        self.int.len() + self.fraction.len()
    }

    fn is_zero(&self) -> bool {
        self.len() == 0
    }

    /// The place value of the last digit, as a power of ten.
    fn scale(&self) -> i64 {
        self.magnitude - self.len() as i64
    }

    /// The digit at `place` from the left; zero past the end.
    fn digit(&self, place: usize) -> u8 {
        let byte = match self.int.get(place) {
            Some(byte) => *byte,
            None => self.fraction.get(place - self.int.len()).copied().unwrap_or(b'0'),
        };
        byte.wrapping_sub(b'0').min(9)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return if other.negative { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if self.negative { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        match (self.negative, other.negative) {
            (false, true) => return Ordering::Greater,
            (true, false) => return Ordering::Less,
            _ => {}
        }
        let sizes = self.magnitude.cmp(&other.magnitude).then_with(|| {
            (0..self.len().max(other.len()))
                .map(|place| self.digit(place).cmp(&other.digit(place)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        if self.negative { sizes.reverse() } else { sizes }
    }
}

/// The digits after `e`; past any use they stop growing.
fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let size = digits
        .iter()
        .fold(0i64, |n, d| if n > 1_000_000_000_000 { n } else { n * 10 + i64::from(d.wrapping_sub(b'0').min(9)) });
    if negative { -size } else { size }
}
