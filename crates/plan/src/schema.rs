//! The input schema: the subset of JSON Schema 2020-12 that a definition may use, compiled for one-pass validation.

use compact_str::CompactString;
use model::Value;
use serde::{Deserialize, Serialize};

mod format;
mod mask;
mod validate;

/// No more than so many violations of one input are reported.
pub const VIOLATIONS_MAX: usize = 20;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A checked schema. Every constraint that is absent does not constrain, and is not stored, so that a new kind
/// of constraint leaves the bytes of older plans as they are.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Schema {
    /// Empty: any kind.
    #[serde(skip_serializing_if = "is_default")]
    pub kinds: Vec<Kind>,
    #[serde(skip_serializing_if = "is_default")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub description: Option<String>,
    /// Sorted by name.
    #[serde(skip_serializing_if = "is_default")]
    pub properties: Vec<(CompactString, Schema)>,
    #[serde(skip_serializing_if = "is_default")]
    pub required: Vec<CompactString>,
    /// `additionalProperties: false`.
    #[serde(skip_serializing_if = "is_default")]
    pub closed: bool,
    /// `additionalProperties: {…}`: what unnamed members must be.
    #[serde(skip_serializing_if = "is_default")]
    pub additional: Option<Box<Schema>>,
    #[serde(skip_serializing_if = "is_default")]
    pub items: Option<Box<Schema>>,
    #[serde(skip_serializing_if = "is_default")]
    pub min_items: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub max_items: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub unique_items: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub min_properties: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub max_properties: Option<u64>,
    /// In characters.
    #[serde(skip_serializing_if = "is_default")]
    pub min_length: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub max_length: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub pattern: Option<Pattern>,
    /// `date-time`, `date`, `uuid`, `email`, `uri`: asserted.
    #[serde(skip_serializing_if = "is_default")]
    pub format: Option<CompactString>,
    #[serde(skip_serializing_if = "is_default")]
    pub minimum: Option<Bound>,
    #[serde(skip_serializing_if = "is_default")]
    pub maximum: Option<Bound>,
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive_minimum: Option<Bound>,
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive_maximum: Option<Bound>,
    #[serde(skip_serializing_if = "is_default")]
    pub multiple_of: Option<Bound>,
    #[serde(skip_serializing_if = "is_default")]
    pub enumeration: Vec<Constant>,
    #[serde(skip_serializing_if = "is_default")]
    pub constant: Option<Constant>,
    /// `x-sensitive: true`: masked wherever it is shown.
    #[serde(skip_serializing_if = "is_default")]
    pub sensitive: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// A number in a schema, exact.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bound(#[serde(with = "crate::as_text::value")] pub Value);

/// A value in `enum` or `const`, exact.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Constant(#[serde(with = "crate::as_text::value")] pub Value);

/// A regular expression and its compiled form (rebuilt when a plan is decoded).
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: CompactString,
    pub regex: regex::Regex,
}

impl Pattern {
    /// Bounded in compiled size, so that a hostile pattern costs an error and not the memory.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let regex = regex::RegexBuilder::new(text).size_limit(256 * 1024).dfa_size_limit(256 * 1024).build()?;
        Ok(Self { text: CompactString::new(text), regex })
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// One thing wrong with an input, in the words of LANGUAGE.md (`is 50, the minimum is 100`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// JSON pointer below the input (`/amount_minor`; empty for the input itself).
    pub pointer: String,
    pub detail: String,
}
