//! A JSON value that never loses a digit.
//!
//! Whole numbers are exact 64-bit integers; other numbers keep the text they came with and become a
//! float only inside an expression that computes with them. Objects keep their members sorted by bytes,
//! so that two equal values have one canonical text and one digest.

use std::fmt;

use compact_str::CompactString;

/// JSON, exactly.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    Text(CompactString),
    List(Vec<Value>),
    Map(Map),
}

/// A number as it was written.
#[derive(Clone, PartialEq, Eq)]
pub enum Number {
    /// A whole number from -2^63 to 2^63-1.
    Int(i64),
    /// A whole number from 2^63 to 2^64-1.
    Uint(u64),
    /// Anything with a fraction: JSON's own text of it, finite as a float, never a whole number.
    Decimal(CompactString),
}

/// An object: members sorted by the bytes of their names, each name once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Map(Vec<(CompactString, Value)>);

impl Map {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Builds a map from members in any order; `None` if a name stands twice.
    pub fn from_members(mut members: Vec<(CompactString, Value)>) -> Option<Self> {
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return None;
            }
        }
        Some(Self(members))
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        if self.0.len() <= 8 {
            return self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        }
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|place| &self.0[place].1)
    }

    /// Sets a member, replacing the one of that name.
    pub fn insert(&mut self, name: impl Into<CompactString>, value: Value) {
        let name = name.into();
        match self.0.binary_search_by(|(n, _)| n.cmp(&name)) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, (CompactString, Value)> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a (CompactString, Value);
    type IntoIter = std::slice::Iter<'a, (CompactString, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Value {
    pub fn int(n: i64) -> Self {
        Self::Number(Number::Int(n))
    }

    pub fn text(text: impl Into<CompactString>) -> Self {
        Self::Text(text.into())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(Number::Int(n)) => Some(*n),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The member `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_map()?.get(name)
    }

    /// The JSON word for this kind of value: `null`, `boolean`, `integer`, `number`, `string`, `array`, `object`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(Number::Int(_) | Number::Uint(_)) => "integer",
            Self::Number(Number::Decimal(_)) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

impl fmt::Display for Value {
    /// Canonical JSON: members sorted, no white space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        crate::json::write(self, &mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(n, v)| (n, v))).finish()
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => n.fmt(f),
            Self::Decimal(text) => f.write_str(text),
        }
    }
}
