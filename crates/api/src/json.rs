//! Writing JSON straight into bytes, member by member.
//!
//! The answers of the hot path are made here; no tree is built in between. Reading is `model::json`'s.

use model::{Timestamp, TxId, Value};

/// An object that is being written. Dropping it without [`Object::end`] leaves it open.
#[derive(Debug)]
pub(crate) struct Object<'b> {
    out: &'b mut Vec<u8>,
    first: bool,
}

impl<'b> Object<'b> {
    pub(crate) fn begin(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Starts a member. Names are ours: plain letters that need no escape.
    pub(crate) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.first {
            self.first = false;
        } else {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        model::json::write_text(text, self.name(name));
        self
    }

    /// A word of ours that needs no escape.
    pub(crate) fn word(&mut self, name: &str, word: &str) -> &mut Self {
        let out = self.name(name);
        out.push(b'"');
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
        self
    }

    pub(crate) fn maybe_text(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    pub(crate) fn maybe_word(&mut self, name: &str, word: Option<&str>) -> &mut Self {
        match word {
            Some(word) => self.word(name, word),
            None => self.null(name),
        }
    }

    pub(crate) fn number(&mut self, name: &str, n: u64) -> &mut Self {
        write_u64(n, self.name(name));
        self
    }

    pub(crate) fn maybe_number(&mut self, name: &str, n: Option<u64>) -> &mut Self {
        match n {
            Some(n) => self.number(name, n),
            None => self.null(name),
        }
    }

    pub(crate) fn float(&mut self, name: &str, n: f64) -> &mut Self {
        use std::io::Write as _;
        let out = self.name(name);
        if n.is_finite() {
            // Writing into a vector cannot fail.
            let _ = write!(out, "{n}");
        } else {
            out.extend_from_slice(b"null");
        }
        self
    }

    pub(crate) fn flag(&mut self, name: &str, is: bool) -> &mut Self {
        self.name(name).extend_from_slice(if is { b"true" } else { b"false" });
        self
    }

    pub(crate) fn null(&mut self, name: &str) -> &mut Self {
        self.name(name).extend_from_slice(b"null");
        self
    }

    pub(crate) fn value(&mut self, name: &str, value: &Value) -> &mut Self {
        model::json::write(value, self.name(name));
        self
    }

    /// RFC 3339 in UTC; null for the zero that stands for "not yet".
    pub(crate) fn time(&mut self, name: &str, at: Timestamp) -> &mut Self {
        if at == Timestamp::ZERO || at == Timestamp::NEVER {
            return self.null(name);
        }
        write_time(at, self.name(name));
        self
    }

    pub(crate) fn id(&mut self, name: &str, id: TxId) -> &mut Self {
        let out = self.name(name);
        out.extend_from_slice(b"\"tx_");
        out.extend_from_slice(&id.text());
        out.push(b'"');
        self
    }

    /// JSON that is already written.
    pub(crate) fn raw(&mut self, name: &str, json: &[u8]) -> &mut Self {
        self.name(name).extend_from_slice(json);
        self
    }

    /// An array of what `write` writes for each item.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) -> &mut Self {
        let out = self.name(name);
        out.push(b'[');
        let mut first = true;
        for item in items {
            if !first {
                out.push(b',');
            }
            first = false;
            write(item, out);
        }
        out.push(b']');
        self
    }

    pub(crate) fn end(&mut self) {
        self.out.push(b'}');
    }
}

pub(crate) fn write_u64(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Microseconds as milliseconds with at most three decimals: 4712 is `4.712`.
pub(crate) fn write_ms(us: u64, out: &mut Vec<u8>) {
    write_u64(us / 1_000, out);
    let rest = us % 1_000;
    if rest > 0 {
        let digits = [b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8];
        let kept = digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1);
        out.extend_from_slice(&digits[..kept]);
    }
}

/// `"2026-11-23T12:03:41.201345Z"`, quotes included, always with six decimals so that text sorts like time.
pub(crate) fn write_time(at: Timestamp, out: &mut Vec<u8>) {
    let seconds = at.0 / 1_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let pair = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    out.push(b'"');
    out.extend_from_slice(&pair(year / 100));
    out.extend_from_slice(&pair(year));
    out.push(b'-');
    out.extend_from_slice(&pair(month));
    out.push(b'-');
    out.extend_from_slice(&pair(day));
    out.push(b'T');
    out.extend_from_slice(&pair(seconds / 3_600 % 24));
    out.push(b':');
    out.extend_from_slice(&pair(seconds / 60 % 60));
    out.push(b':');
    out.extend_from_slice(&pair(seconds % 60));
    out.push(b'.');
    let micros = at.0 % 1_000_000;
    out.extend_from_slice(&pair(micros / 10_000));
    out.extend_from_slice(&pair(micros / 100));
    out.extend_from_slice(&pair(micros));
    out.extend_from_slice(b"Z\"");
}

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_read_back_to_the_microsecond() {
        for us in [1, 999_999, 1_795_435_421_201_345, 1_709_251_199_999_999, 253_402_300_799_000_000] {
            let mut out = Vec::new();
            write_time(Timestamp(us), &mut out);
            let text = String::from_utf8(out).unwrap_or_default();
            let inner = text.trim_matches('"');
            assert_eq!(inner.len(), 27, "{text}");
            assert_eq!(Timestamp::parse_rfc3339(inner), Some(Timestamp(us)), "{text}");
        }
    }

    #[test]
    fn milliseconds_keep_their_microseconds() {
        for (us, want) in [(0, "0"), (7, "0.007"), (1_000, "1"), (4_712, "4.712"), (10_500, "10.5"), (90_010, "90.01")]
        {
            let mut out = Vec::new();
            write_ms(us, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn an_object_of_every_kind() {
        let mut out = Vec::new();
        let mut o = Object::begin(&mut out);
        o.text("a", "x\"y").maybe_word("b", None).number("c", 7).flag("d", true).float("e", 0.5);
        o.float("f", f64::NAN).time("g", Timestamp::ZERO).list("h", [1u64, 2], write_u64).end();
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"{"a":"x\"y","b":null,"c":7,"d":true,"e":0.5,"f":null,"g":null,"h":[1,2]}"#
        );
    }
}
