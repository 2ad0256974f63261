//! Time as a value: microseconds since 1970, and the durations of definition files.

use std::fmt;
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z. Only the edges know what time it is; the core is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub const ZERO: Self = Self(0);
    /// Later than everything that can happen.
    pub const NEVER: Self = Self(u64::MAX);

    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 (`2026-11-23T02:00:00Z`, any offset, fractions of a second).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, len: usize| -> Option<u64> {
            let part = bytes.get(from..from + len)?;
            part.iter().try_fold(0u64, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
        };
        let at = |place: usize, want: &[u8]| bytes.get(place).is_some_and(|b| want.contains(b));
        if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut place = 19;
        let mut micros = 0;
        if at(place, b".") {
            place += 1;
            let mut scale = 100_000;
            let start = place;
            while let Some(digit) = bytes.get(place).filter(|b| b.is_ascii_digit()) {
                micros += u64::from(digit - b'0') * scale;
                scale /= 10;
                place += 1;
            }
            if place == start {
                return None;
            }
        }
        let offset_minutes: i64 = match bytes.get(place)? {
            b'Z' | b'z' if place + 1 == bytes.len() => 0,
            sign @ (b'+' | b'-') if place + 6 == bytes.len() && at(place + 3, b":") => {
                let (h, m) = (number(place + 1, 2)?, number(place + 4, 2)?);
                if h > 23 || m > 59 {
                    return None;
                }
                let minutes = (h * 60 + m) as i64;
                if *sign == b'+' { minutes } else { -minutes }
            }
            _ => return None,
        };
        let seconds = (days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second) as i64;
        let utc = seconds - offset_minutes * 60;
        u64::try_from(utc).ok().map(|s| Self(s * 1_000_000 + micros))
    }
}

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days_from_civil and its inverse.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let yoe = y - era * 400;
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (year, month, day) = civil(seconds / 86_400);
        let (h, m, s) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", self.0 / 1_000 % 1_000)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A duration as written in files: a whole number and one of `ms s m h d` (`1500ms`, `30s`, `10d`).
/// `None` if it is not one, or longer than 10 years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 15 {
        return None;
    }
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = number.checked_mul(unit_ms)?;
    (ms <= 3_660 * 86_400_000).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_both_ways() {
        for text in ["1970-01-01T00:00:00.000Z", "2026-11-23T02:00:00.125Z", "2024-02-29T23:59:59.999Z"] {
            assert_eq!(Timestamp::parse_rfc3339(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        let berlin = Timestamp::parse_rfc3339("2026-11-23T02:00:00+01:00");
        assert_eq!(berlin, Timestamp::parse_rfc3339("2026-11-23T01:00:00Z"));
        for bad in [
            "",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-23T02:00:00",
            "2026-11-23T02:00:00.Z",
            "2026-11-23T02:00:00Zx",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_of_files() {
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("10d"), Some(Duration::from_secs(864_000)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "5S", "99999999999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
