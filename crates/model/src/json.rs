//! JSON text to [`Value`] and back, exactly.
//!
//! Reading rides on `jiter`, which hands out the bytes of each number, so that nothing passes through a
//! float. Depth is bounded, a whole number past 64 bits is an error, and so is a member named twice.

use compact_str::CompactString;
use jiter::{Jiter, JiterErrorType, Peek};

use crate::value::{Map, Number, Value};

/// How deep arrays and objects may be nested, unless a caller says less.
pub const DEPTH_MAX: usize = 32;

/// Why a text is not a value we take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    #[error("not valid JSON at line {line}, column {column}: {what}")]
    Syntax { line: usize, column: usize, what: String },
    #[error("nested deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("the whole number {text} does not fit 64 bits; send it as a string")]
    TooLarge { text: String },
    #[error("the number {text} is beyond what a double can hold")]
    NotFinite { text: String },
    #[error("the member \"{name}\" stands twice in one object")]
    Twice { name: String },
}

/// Reads one JSON value that fills `text` (white space around it is fine).
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    parse_within(text, DEPTH_MAX)
}

/// Like [`parse`], with another bound on nesting.
pub fn parse_within(text: &[u8], depth_max: usize) -> Result<Value, Error> {
    let mut reader = Reader { jiter: Jiter::new(text), text, depth_max };
    let first = reader.jiter.peek().map_err(|e| reader.syntax(&e))?;
    let value = reader.value(first, 0)?;
    reader.jiter.finish().map_err(|e| reader.syntax(&e))?;
    Ok(value)
}

struct Reader<'t> {
    jiter: Jiter<'t>,
    text: &'t [u8],
    depth_max: usize,
}

impl Reader<'_> {
    fn syntax(&self, error: &jiter::JiterError) -> Error {
        let place = self.jiter.error_position(error.index);
        let what = match &error.error_type {
            JiterErrorType::JsonError(kind) => kind.to_string(),
            JiterErrorType::WrongType { expected, actual } => format!("expected {expected}, found {actual}"),
        };
        Error::Syntax { line: place.line, column: place.column, what }
    }

    fn value(&mut self, peek: Peek, depth: usize) -> Result<Value, Error> {
        match peek {
            Peek::String => {
                let text = self.jiter.known_str();
                match text {
                    Ok(text) => Ok(Value::Text(CompactString::new(text))),
                    Err(e) => Err(self.syntax(&e)),
                }
            }
            Peek::Null => self.jiter.known_null().map(|()| Value::Null).map_err(|e| self.syntax(&e)),
            Peek::True | Peek::False => self.jiter.known_bool(peek).map(Value::Bool).map_err(|e| self.syntax(&e)),
            Peek::Array => {
                if depth >= self.depth_max {
                    return Err(Error::TooDeep { max: self.depth_max });
                }
                let mut items = Vec::new();
                let mut next = self.jiter.known_array().map_err(|e| self.syntax(&e))?;
                while let Some(peek) = next {
                    items.push(self.value(peek, depth + 1)?);
                    next = self.jiter.array_step().map_err(|e| self.syntax(&e))?;
                }
                Ok(Value::List(items))
            }
            Peek::Object => {
                if depth >= self.depth_max {
                    return Err(Error::TooDeep { max: self.depth_max });
                }
                let mut members: Vec<(CompactString, Value)> = Vec::new();
                let first = self.jiter.known_object().map(|name| name.map(CompactString::new));
                let mut next = first.map_err(|e| self.syntax(&e))?;
                while let Some(name) = next {
                    let peek = self.jiter.peek().map_err(|e| self.syntax(&e))?;
                    let value = self.value(peek, depth + 1)?;
                    members.push((name, value));
                    let following = self.jiter.next_key().map(|name| name.map(CompactString::new));
                    next = following.map_err(|e| self.syntax(&e))?;
                }
                let twice = duplicate(&members);
                Map::from_members(members)
                    .map(Value::Map)
                    .ok_or_else(|| Error::Twice { name: twice.unwrap_or_default() })
            }
            _ => {
                let start = self.jiter.current_index();
                let bytes = self.jiter.known_number_bytes(peek);
                match bytes {
                    Ok(bytes) => number(bytes).map(Value::Number),
                    Err(e) => Err(self.syntax(&e)),
                }
                .map_err(|e| match e {
                    Error::Syntax { .. } if self.text.get(start).is_none_or(|b| !b.is_ascii_digit() && *b != b'-') => {
                        Error::Syntax {
                            line: self.jiter.error_position(start).line,
                            column: self.jiter.error_position(start).column,
                            what: "expected a value".into(),
                        }
                    }
                    other => other,
                })
            }
        }
    }
}

fn duplicate(members: &[(CompactString, Value)]) -> Option<String> {
    if members.len() < 2 || members.is_sorted_by(|a, b| a.0 < b.0) {
        return None;
    }
    let mut names: Vec<&str> = members.iter().map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned())
}

/// Reads the text of one JSON number. `1.0` and `1e3` are whole numbers, as JSON Schema has it.
pub fn number(text: &[u8]) -> Result<Number, Error> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(Error::Syntax { line: 0, column: 0, what: format!("\"{}\" is not a number", shown()) });
    }
    if digits.iter().all(u8::is_ascii_digit) {
        return whole(negative, digits.iter().copied()).ok_or_else(|| Error::TooLarge { text: shown() });
    }
    let as_text = std::str::from_utf8(text).ok().filter(|_| is_decimal(digits));
    let float = as_text.and_then(|text| text.parse::<f64>().ok());
    let (Some(as_text), Some(float)) = (as_text, float) else {
        return Err(Error::Syntax { line: 0, column: 0, what: format!("\"{}\" is not a number", shown()) });
    };
    if !float.is_finite() {
        return Err(Error::NotFinite { text: shown() });
    }
    match whole_of_decimal(negative, digits) {
        Whole::Is(number) => Ok(number),
        Whole::TooLarge => Err(Error::TooLarge { text: shown() }),
        Whole::Not => Ok(Number::Decimal(CompactString::new(as_text))),
    }
}

/// Digits, then a fraction or an exponent or both, each with a digit at least. What else a float's text may be ("inf",
/// "1.", "+1") is no number of JSON.
fn is_decimal(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(text);
    let mut rest = &text[whole..];
    if let [b'.', fraction @ ..] = rest {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        return whole > 0 && !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    whole > 0 && rest.is_empty()
}

enum Whole {
    Is(Number),
    TooLarge,
    Not,
}

/// Whether digits with a point or an exponent name a whole number, without going through a float.
fn whole_of_decimal(negative: bool, digits: &[u8]) -> Whole {
    let exponent_at = digits.iter().position(|b| matches!(b, b'e' | b'E'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => {
            let text = std::str::from_utf8(&digits[at + 1..]).unwrap_or("");
            match text.parse::<i32>() {
                Ok(e) => (&digits[..at], e),
                Err(_) => return Whole::Not,
            }
        }
        None => (digits, 0),
    };
    let (int, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let all = || int.iter().chain(fraction).copied();
    if all().all(|d| d == b'0') {
        return Whole::Is(Number::Int(0));
    }
    // The value is `all` as an integer times 10^shift.
    let shift = i64::from(exponent) - fraction.len() as i64;
    let trailing = all().collect::<Vec<_>>().iter().rev().take_while(|d| **d == b'0').count() as i64;
    if shift < 0 && trailing < -shift {
        return Whole::Not;
    }
    let count = int.len() + fraction.len();
    let found = if shift < 0 {
        whole(negative, all().take(count - (-shift) as usize))
    } else if shift > 20 {
        None
    } else {
        whole(negative, all().chain(std::iter::repeat_n(b'0', shift as usize)))
    };
    found.map_or(Whole::TooLarge, Whole::Is)
}

fn whole(negative: bool, digits: impl Iterator<Item = u8>) -> Option<Number> {
    let mut n: u64 = 0;
    for digit in digits {
        n = n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative {
        0i64.checked_sub_unsigned(n).map(Number::Int)
    } else {
        Some(i64::try_from(n).map_or(Number::Uint(n), Number::Int))
    }
}

/// Appends the canonical text of `value`: members sorted by bytes, no white space, shortest escapes.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::Text(text) => write_text(text, out),
        Value::List(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (place, (name, value)) in map.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_text(name, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Appends a number's text.
pub fn write_number(number: &Number, out: &mut Vec<u8>) {
    match number {
        Number::Int(n) => write_int(*n < 0, n.unsigned_abs(), out),
        Number::Uint(n) => write_int(false, *n, out),
        Number::Decimal(text) => out.extend_from_slice(text.as_bytes()),
    }
}

fn write_int(negative: bool, mut n: u64, out: &mut Vec<u8>) {
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
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (place, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0x00..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..place]);
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.extend_from_slice(escape);
        }
        start = place + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(text: &str) -> String {
        parse(text.as_bytes()).map_or_else(|e| format!("error: {e}"), |v| v.to_string())
    }

    #[test]
    fn numbers_keep_every_digit() {
        let cases = [
            ("9007199254740993", "9007199254740993"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            (
                "18446744073709551616",
                "error: the whole number 18446744073709551616 does not fit 64 bits; send it as a string",
            ),
            ("0.1", "0.1"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("12.50e1", "125"),
            ("1.25e1", "1.25e1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e400", "error: the number 1e400 is beyond what a double can hold"),
            ("1e30", "error: the whole number 1e30 does not fit 64 bits; send it as a string"),
        ];
        for (text, want) in cases {
            assert_eq!(roundtrip(text), want, "{text}");
        }
    }

    #[test]
    fn members_are_sorted_and_unique() {
        assert_eq!(roundtrip(r#" {"b":1, "a":[true,null,"\u00e9\n"]} "#), r#"{"a":[true,null,"é\n"],"b":1}"#);
        assert_eq!(roundtrip(r#"{"a":1,"b":2,"a":3}"#), "error: the member \"a\" stands twice in one object");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(33) + &"]".repeat(33);
        assert_eq!(parse(deep.as_bytes()), Err(Error::TooDeep { max: 32 }));
        assert!(parse(("[".repeat(32) + &"]".repeat(32)).as_bytes()).is_ok());
    }

    #[test]
    fn a_number_by_itself_is_one_of_json() {
        for text in
            ["", "-", "+1.0", "1.", ".5", "-.5", "1.e3", "1e", "1e+", "inf", "NaN", "-infinity", "1.5.2", "1e5x"]
        {
            assert!(
                matches!(number(text.as_bytes()), Err(Error::Syntax { .. })),
                "{text}: {:?}",
                number(text.as_bytes())
            );
        }
        for text in ["0", "-1.5", "2.50", "1e-7", "12.5E+3", "1e3"] {
            assert!(number(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error_with_its_place() {
        for text in ["", "{", "nul", "[1,]", "{\"a\" 1}", "01", "+1", "NaN", "Infinity", "-", "\"\x01\"", "1 2", "x"] {
            assert!(
                matches!(parse(text.as_bytes()), Err(Error::Syntax { .. })),
                "{text}: {:?}",
                parse(text.as_bytes())
            );
        }
    }
}
