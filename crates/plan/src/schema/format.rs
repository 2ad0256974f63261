//! The formats that are asserted: `date-time`, `date`, `uuid`, `email`, `uri`.
//!
//! Each is checked by its shape and its calendar, never by asking the world whether it exists.

/// Whether `text` is of that format; formats of other names constrain nothing.
pub(super) fn holds(name: &str, text: &str) -> bool {
    match name {
        "date-time" => is_date_time(text.as_bytes()),
        "date" => is_date(text.as_bytes()),
        "uuid" => is_uuid(text.as_bytes()),
        "email" => is_email(text),
        "uri" => is_uri(text),
        _ => true,
    }
}

pub(super) fn described(name: &str) -> &str {
    match name {
        "date-time" => "a time as RFC 3339 has it (2026-11-23T02:00:00Z)",
        "date" => "a date (2026-11-23)",
        "uuid" => "a UUID (f81d4fae-7dec-11d0-a765-00a0c91e6bf6)",
        "email" => "an e-mail address",
        "uri" => "a URI with its scheme (https://example.org)",
        other => other,
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + u32::from(d - b'0')))
}

/// RFC 3339 `full-date`.
fn is_date(text: &[u8]) -> bool {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (digits(&text[..4]), digits(&text[5..7]), digits(&text[8..])) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// RFC 3339 `date-time`; a leap second only at the end of a UTC day.
fn is_date_time(text: &[u8]) -> bool {
    if text.len() < 20 || !is_date(&text[..10]) || !matches!(text[10], b'T' | b't') {
        return false;
    }
    if text[13] != b':' || text[16] != b':' {
        return false;
    }
    let clock = (digits(&text[11..13]), digits(&text[14..16]), digits(&text[17..19]));
    let (Some(hour), Some(minute), Some(second)) = clock else { return false };
    if hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let mut rest = &text[19..];
    if let [b'.', fraction @ ..] = rest {
        let places = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if places == 0 {
            return false;
        }
        rest = &fraction[places..];
    }
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let (Some(hours), Some(minutes)) = (digits(hours), digits(&[*m1, *m2])) else { return false };
            if hours > 23 || minutes > 59 {
                return false;
            }
            let minutes = i64::from(hours * 60 + minutes);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return false,
    };
    let utc_minute = (i64::from(hour * 60 + minute) - offset).rem_euclid(1440);
    second < 60 || utc_minute == 1439
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A dot-atom before the `@` (RFC 5322), host name labels after it (RFC 1123); no quoting, no address literals.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=64).contains(&local.len())
        && domain.len() <= 253
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
        && domain.split('.').all(label)
}

/// RFC 3986: a scheme, and only characters that a URI may hold, with whole percent escapes.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let bytes = rest.as_bytes();
    let mut fragments = 0;
    let characters_fit = bytes.iter().enumerate().all(|(at, b)| match b {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b'#' => {
            fragments += 1;
            fragments == 1
        }
        b => b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=".contains(b),
    });
    scheme_fits && characters_fit
}
