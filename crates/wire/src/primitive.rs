//! The smallest parts: variable-length integers, text, times, values.

use compact_str::CompactString;
use model::{Map, Number, Timestamp, Value};

/// Bytes that are no message of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    #[error("the bytes end before {what} does")]
    Short { what: &'static str },
    #[error("{what} has the unknown code {code}")]
    Code { what: &'static str, code: u64 },
    #[error("{what} is not text")]
    NotText { what: &'static str },
    #[error("{what} is too large")]
    TooLarge { what: &'static str },
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    #[error("a value is nested too deep or an object is out of order")]
    BadValue,
}

/// Nesting that a decoded value may have.
const DEPTH_MAX: usize = 64;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// A time as its distance from `base`; 0 stands for "never", 1 for "none yet".
pub(crate) fn put_time(out: &mut Vec<u8>, time: Timestamp, base: Timestamp) {
    match time {
        Timestamp::NEVER => out.push(0),
        Timestamp::ZERO => out.push(1),
        Timestamp(t) => put_varint(out, zigzag(t.wrapping_sub(base.0) as i64).saturating_add(2)),
    }
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(false) => out.push(1),
        Value::Bool(true) => out.push(2),
        Value::Number(Number::Int(n)) => {
            out.push(3);
            put_varint(out, zigzag(*n));
        }
        Value::Number(Number::Uint(n)) => {
            out.push(4);
            put_varint(out, *n);
        }
        Value::Number(Number::Decimal(text)) => {
            out.push(5);
            put_text(out, text);
        }
        Value::Text(text) => {
            out.push(6);
            put_text(out, text);
        }
        Value::List(items) => {
            out.push(7);
            put_varint(out, items.len() as u64);
            for item in items {
                put_value(out, item);
            }
        }
        Value::Map(map) => {
            out.push(8);
            put_varint(out, map.len() as u64);
            for (name, value) in map {
                put_text(out, name);
                put_value(out, value);
            }
        }
    }
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub(crate) struct Bytes<'b> {
    rest: &'b [u8],
}

impl<'b> Bytes<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn done(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Trailing(self.rest.len())) }
    }

    pub(crate) fn take(&mut self, n: usize, what: &'static str) -> Result<&'b [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Error::Short { what })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Error> {
        let (first, rest) = self.rest.split_first().ok_or(Error::Short { what })?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, Error> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(what)?;
            if shift == 63 && byte > 1 {
                return Err(Error::TooLarge { what });
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Error::TooLarge { what })
    }

    /// An integer that fits a narrower type.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Error> {
        T::try_from(self.varint(what)?).map_err(|_| Error::TooLarge { what })
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'b [u8], Error> {
        let n: usize = self.small(what)?;
        self.take(n, what)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<CompactString, Error> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map(CompactString::new).map_err(|_| Error::NotText { what })
    }

    pub(crate) fn time(&mut self, base: Timestamp, what: &'static str) -> Result<Timestamp, Error> {
        Ok(match self.varint(what)? {
            0 => Timestamp::NEVER,
            1 => Timestamp::ZERO,
            n => Timestamp(base.0.wrapping_add(unzigzag(n - 2) as u64)),
        })
    }

    /// How many follow; never more than there are bytes left.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, Error> {
        let n: usize = self.small(what)?;
        if n > self.rest.len() { Err(Error::Short { what }) } else { Ok(n) }
    }

    pub(crate) fn value(&mut self) -> Result<Value, Error> {
        self.value_within(DEPTH_MAX)
    }

    fn value_within(&mut self, depth: usize) -> Result<Value, Error> {
        const WHAT: &str = "a value";
        Ok(match self.byte(WHAT)? {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => Value::Number(Number::Int(unzigzag(self.varint(WHAT)?))),
            4 => Value::Number(Number::Uint(self.varint(WHAT)?)),
            5 => Value::Number(Number::Decimal(self.text(WHAT)?)),
            6 => Value::Text(self.text(WHAT)?),
            7 | 8 if depth == 0 => return Err(Error::BadValue),
            7 => {
                let n = self.count(WHAT)?;
                let items = (0..n).map(|_| self.value_within(depth - 1)).collect::<Result<_, _>>()?;
                Value::List(items)
            }
            8 => {
                let n = self.count(WHAT)?;
                let members =
                    (0..n)
                        .map(|_| Ok((self.text(WHAT)?, self.value_within(depth - 1)?)))
                        .collect::<Result<Vec<_>, Error>>()?;
                Value::Map(Map::from_members(members).ok_or(Error::BadValue)?)
            }
            code => return Err(Error::Code { what: WHAT, code: u64::from(code) }),
        })
    }
}
