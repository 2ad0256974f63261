//! One scalar: its text, what it means in YAML 1.2, and where each of its bytes stands in the file.

use compact_str::CompactString;
use model::{Number, Value, json};
use saphyr_parser::ScalarStyle;

use crate::source::Span;

#[derive(Debug)]
pub struct Scalar {
    pub text: String,
    /// Not quoted and no block: numbers, booleans and null are recognised.
    pub plain: bool,
    places: Places,
}

/// Where the bytes of a scalar's text stand in the file.
#[derive(Debug)]
enum Places {
    /// Byte n of the text is byte start + n of the file.
    Straight(usize),
    /// One per byte of the text, and the end.
    Table(Vec<usize>),
    /// Folded over lines: only the scalar as a whole is known.
    Whole(Span),
}

/// What a scalar is without looking at where it stands.
#[derive(Clone, PartialEq, Debug)]
pub enum Resolved {
    Null,
    Bool(bool),
    Number(Number),
    Text,
    /// Text that looks like a number, or a number that looks otherwise than it is read: must be quoted. Why.
    Ambiguous(String),
}

impl Scalar {
    /// `source` is what the file has at `span`.
    pub(super) fn new(text: &str, style: ScalarStyle, span: Span, source: &str) -> Self {
        let plain = style == ScalarStyle::Plain;
        let places = match style {
            ScalarStyle::Plain if source == text => Places::Straight(span.start),
            ScalarStyle::SingleQuoted => single_quoted(source, span.start, text),
            ScalarStyle::DoubleQuoted => double_quoted(source, span.start, text),
            _ => Places::Whole(span),
        };
        let places = match places {
            Places::Table(table) if table.len() != text.len() + 1 => Places::Whole(span),
            other => other,
        };
        Self { text: text.to_owned(), plain, places }
    }

    /// The place of bytes `start..end` of the text.
    pub fn span_of(&self, start: usize, end: usize) -> Span {
        match &self.places {
            Places::Straight(at) => Span::new(at + start, at + end),
            Places::Table(table) => {
                let at = |n: usize| table[n.min(table.len() - 1)];
                Span::new(at(start), at(end))
            }
            Places::Whole(span) => *span,
        }
    }

    pub fn resolve(&self) -> Resolved {
        if self.plain { resolve(&self.text) } else { Resolved::Text }
    }

    /// The value, if it has one without quotes being needed.
    pub fn value(&self) -> Option<Value> {
        Some(match self.resolve() {
            Resolved::Null => Value::Null,
            Resolved::Bool(b) => Value::Bool(b),
            Resolved::Number(n) => Value::Number(n),
            Resolved::Text => Value::Text(CompactString::new(&self.text)),
            Resolved::Ambiguous(_) => return None,
        })
    }

    pub fn what(&self) -> &'static str {
        match self.resolve() {
            Resolved::Null => "nothing",
            Resolved::Bool(_) => "true or false",
            Resolved::Number(Number::Decimal(_)) => "a number with a fraction",
            Resolved::Number(_) => "a whole number",
            Resolved::Text | Resolved::Ambiguous(_) => "text",
        }
    }
}

/// The core schema of YAML 1.2 (10.3.2), less what is read otherwise than it looks.
fn resolve(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts_like_number = digits.starts_with(|c: char| c.is_ascii_digit())
        || digits.strip_prefix('.').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    if !starts_like_number {
        let lower = digits.to_ascii_lowercase();
        if lower == ".inf" || lower == ".nan" {
            return Resolved::Ambiguous("not a number that JSON has".into());
        }
        return Resolved::Text;
    }
    let based = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0o"));
    if based.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit())) {
        return Resolved::Ambiguous("YAML reads it as a number in another base".into());
    }
    if !is_yaml_number(digits) {
        return Resolved::Text;
    }
    if text.starts_with('+') {
        return Resolved::Ambiguous("YAML reads it as a number and drops the \"+\"".into());
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return Resolved::Ambiguous("YAML reads it as a number and drops the leading 0".into());
    }
    if !json_shape(digits) {
        return Resolved::Ambiguous("a number needs digits on both sides of its point".into());
    }
    match json::number(text.as_bytes()) {
        Ok(number) => Resolved::Number(number),
        Err(error) => Resolved::Ambiguous(error.to_string()),
    }
}

/// `[0-9]* (. [0-9]*)? ([eE] [-+]? [0-9]+)?`, with a digit somewhere before the exponent.
fn is_yaml_number(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e)),
        None => (digits, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fine = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    all_digits(whole) && all_digits(fraction) && exponent_fine
}

fn json_shape(digits: &str) -> bool {
    let mantissa = digits.split(['e', 'E']).next().unwrap_or(digits);
    match mantissa.split_once('.') {
        Some((whole, fraction)) => !whole.is_empty() && !fraction.is_empty(),
        None => true,
    }
}

fn single_quoted(source: &str, start: usize, text: &str) -> Places {
    let mut table = Vec::with_capacity(text.len() + 1);
    let mut chars = source.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\'' {
            if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
            } else {
                table.push(start + at);
                break;
            }
        }
        if c == '\n' {
            return Places::Table(Vec::new());
        }
        table.extend((0..c.len_utf8()).map(|n| start + at + n));
    }
    Places::Table(table)
}

fn double_quoted(source: &str, start: usize, text: &str) -> Places {
    let mut table = Vec::with_capacity(text.len() + 1);
    let mut decoded = text.chars();
    let mut chars = source.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                table.push(start + at);
                break;
            }
            '\n' => return Places::Table(Vec::new()),
            '\\' => {
                let digits = match chars.next() {
                    Some((_, 'x')) => 2,
                    Some((_, 'u')) => 4,
                    Some((_, 'U')) => 8,
                    Some((_, '\n')) | None => return Places::Table(Vec::new()),
                    Some(_) => 0,
                };
                for _ in 0..digits {
                    chars.next();
                }
            }
            _ => {}
        }
        let Some(meant) = decoded.next() else { return Places::Table(Vec::new()) };
        table.extend(std::iter::repeat_n(start + at, meant.len_utf8()));
    }
    Places::Table(table)
}
