//! One pass over a value; nothing is allocated while it fits.
//!
//! The words are LANGUAGE.md's, made to stand after the name of a field: `amount_minor is 50, the minimum is 100`.
//! A sensitive value is never printed, nor is anything inside it.

use std::cmp::Ordering;
use std::fmt::Write as _;

use compact_str::CompactString;
use model::{Map, Number, Value};

use super::{Kind, Schema, VIOLATIONS_MAX, Violation, format};
use crate::number;

impl Schema {
    /// Everything wrong with `value`, up to [`VIOLATIONS_MAX`]; empty if it fits.
    pub fn validate(&self, value: &Value) -> Vec<Violation> {
        let mut found = Found { violations: Vec::new() };
        check(self, value, &Place::Root, self.sensitive, &mut found);
        found.violations
    }
}

/// Where a value stands: a chain on the stack, made text only for a violation.
enum Place<'p> {
    Root,
    Member(&'p Place<'p>, &'p str),
    Item(&'p Place<'p>, usize),
}

impl Place<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Place::Root => {}
            Place::Member(of, name) => {
                of.write(out);
                out.push('/');
                // RFC 6901.
                for c in name.chars() {
                    match c {
                        '~' => out.push_str("~0"),
                        '/' => out.push_str("~1"),
                        c => out.push(c),
                    }
                }
            }
            Place::Item(of, place) => {
                of.write(out);
                let _ = write!(out, "/{place}");
            }
        }
    }

    fn pointer(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

struct Found {
    violations: Vec<Violation>,
}

impl Found {
    fn add(&mut self, place: &Place<'_>, detail: String) {
        if !self.is_full() {
            self.violations.push(Violation { pointer: place.pointer(), detail });
        }
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }
}

fn check(schema: &Schema, value: &Value, place: &Place<'_>, hidden: bool, found: &mut Found) {
    if found.is_full() {
        return;
    }
    if !schema.kinds.is_empty() && !schema.kinds.iter().any(|kind| kind.holds(value)) {
        let mut detail = format!("is {}, must be ", article(value));
        for (at, kind) in schema.kinds.iter().enumerate() {
            detail.push_str(match at {
                0 => "",
                _ if at + 1 == schema.kinds.len() => " or ",
                _ => ", ",
            });
            detail.push_str(kind.with_article());
        }
        // Whatever else does not fit follows from this.
        return found.add(place, detail);
    }
    if let Some(constant) = &schema.constant
        && !number::same(value, &constant.0)
    {
        let must = shown(&constant.0);
        found.add(place, is(value, hidden, &format!("must be {must}"), &format!("must be {must}")));
    }
    if !schema.enumeration.is_empty() && !schema.enumeration.iter().any(|one| number::same(value, &one.0)) {
        let names: Vec<String> = schema.enumeration.iter().take(16).map(|one| shown(&one.0)).collect();
        let more = if schema.enumeration.len() > 16 { ", …" } else { "" };
        let must = format!("must be one of: {}{more}", names.join(", "));
        found.add(place, is(value, hidden, &must, &must));
    }
    match value {
        Value::Number(n) => check_number(schema, n, value, place, hidden, found),
        Value::Text(text) => check_text(schema, text, value, place, hidden, found),
        Value::List(items) => check_list(schema, items, place, hidden, found),
        Value::Map(map) => check_map(schema, map, place, hidden, found),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_number(schema: &Schema, n: &Number, value: &Value, place: &Place<'_>, hidden: bool, found: &mut Found) {
    let bound = |bound: &Option<super::Bound>| match bound {
        Some(super::Bound(Value::Number(bound))) => Some(number::compare(n, bound)),
        _ => None,
    };
    let text = |bound: &Option<super::Bound>| bound.as_ref().map_or_else(String::new, |b| shown(&b.0));
    if bound(&schema.minimum).is_some_and(Ordering::is_lt) {
        let limit = text(&schema.minimum);
        found.add(
            place,
            is(value, hidden, &format!("the minimum is {limit}"), &format!("is below the minimum of {limit}")),
        );
    }
    if bound(&schema.maximum).is_some_and(Ordering::is_gt) {
        let limit = text(&schema.maximum);
        found.add(
            place,
            is(value, hidden, &format!("the maximum is {limit}"), &format!("is above the maximum of {limit}")),
        );
    }
    if bound(&schema.exclusive_minimum).is_some_and(Ordering::is_le) {
        let must = format!("must be more than {}", text(&schema.exclusive_minimum));
        found.add(place, is(value, hidden, &must, &must));
    }
    if bound(&schema.exclusive_maximum).is_some_and(Ordering::is_ge) {
        let must = format!("must be less than {}", text(&schema.exclusive_maximum));
        found.add(place, is(value, hidden, &must, &must));
    }
    if let Some(super::Bound(Value::Number(unit))) = &schema.multiple_of
        && !number::is_multiple(n, unit)
    {
        let must = format!("must be a multiple of {}", text(&schema.multiple_of));
        found.add(place, is(value, hidden, &must, &must));
    }
}

fn check_text(schema: &Schema, text: &str, value: &Value, place: &Place<'_>, hidden: bool, found: &mut Found) {
    if schema.min_length.is_some() || schema.max_length.is_some() {
        let length = if text.is_ascii() { text.len() } else { text.chars().count() } as u64;
        check_count(
            (schema.min_length, schema.max_length),
            length,
            ("is", "character long", "characters long"),
            place,
            found,
        );
    }
    if let Some(pattern) = &schema.pattern
        && !pattern.is_match(text)
    {
        let must = format!("must match {}", pattern.text);
        found.add(place, is(value, hidden, &must, &must));
    }
    if let Some(name) = &schema.format
        && !format::holds(name, text)
    {
        let must = format!("must be {}", format::described(name));
        found.add(place, is(value, hidden, &must, &must));
    }
}

fn check_list(schema: &Schema, items: &[Value], place: &Place<'_>, hidden: bool, found: &mut Found) {
    check_count((schema.min_items, schema.max_items), items.len() as u64, ("has", "item", "items"), place, found);
    if schema.unique_items
        && let Some((first, second)) = first_repeated(items)
    {
        found.add(place, format!("holds the same item twice, at {first} and at {second}"));
    }
    if let Some(inner) = &schema.items {
        for (at, item) in items.iter().enumerate() {
            check(inner, item, &Place::Item(place, at), hidden || inner.sensitive, found);
            if found.is_full() {
                return;
            }
        }
    }
}

fn check_map(schema: &Schema, map: &Map, place: &Place<'_>, hidden: bool, found: &mut Found) {
    for name in &schema.required {
        if map.get(name).is_none() {
            found.add(&Place::Member(place, name), "is missing".into());
        }
    }
    let counts = (schema.min_properties, schema.max_properties);
    check_count(counts, map.len() as u64, ("has", "member", "members"), place, found);
    // Both sides are sorted by name: one walk.
    let mut known = schema.properties.as_slice();
    for (name, member) in map {
        while let [(first, _), rest @ ..] = known
            && first < name
        {
            known = rest;
        }
        let here = Place::Member(place, name);
        match (known, &schema.additional) {
            ([(first, inner), ..], _) if first == name => {
                check(inner, member, &here, hidden || inner.sensitive, found);
            }
            (_, Some(inner)) => check(inner, member, &here, hidden || inner.sensitive, found),
            _ if schema.closed => found.add(&here, unknown_member(schema, place)),
            _ => {}
        }
        if found.is_full() {
            return;
        }
    }
}

fn unknown_member(schema: &Schema, of: &Place<'_>) -> String {
    let mut detail = match of {
        Place::Root => "is not a field of the input; it has: ".to_owned(),
        _ => format!("is not a field of {}; it has: ", of.pointer()),
    };
    if schema.properties.is_empty() {
        detail.push_str("none");
    }
    for (at, (name, _)) in schema.properties.iter().take(32).enumerate() {
        detail.push_str(if at > 0 { ", " } else { "" });
        detail.push_str(name);
    }
    if schema.properties.len() > 32 {
        detail.push_str(", …");
    }
    detail
}

fn check_count(
    (min, max): (Option<u64>, Option<u64>),
    count: u64,
    (verb, one, many): (&str, &str, &str),
    place: &Place<'_>,
    found: &mut Found,
) {
    let noun = if count == 1 { one } else { many };
    if let Some(min) = min.filter(|min| count < *min) {
        found.add(place, format!("{verb} {count} {noun}, the minimum is {min}"));
    }
    if let Some(max) = max.filter(|max| count > *max) {
        found.add(place, format!("{verb} {count} {noun}, the maximum is {max}"));
    }
}

/// `is 50, the minimum is 100`; without the value where it is sensitive.
fn is(value: &Value, hidden: bool, rest: &str, rest_hidden: &str) -> String {
    if hidden { rest_hidden.to_owned() } else { format!("is {}, {rest}", shown(value)) }
}

/// Canonical JSON, cut where it is long.
fn shown(value: &Value) -> String {
    const LENGTH_MAX: usize = 64;
    let mut text = match value {
        Value::List(items) => return format!("a list of {}", items.len()),
        Value::Map(map) => return format!("a map of {}", map.len()),
        Value::Text(text) if text.len() > 8 * LENGTH_MAX => {
            let cut: CompactString = text.chars().take(LENGTH_MAX + 1).collect();
            Value::Text(cut).to_string()
        }
        other => other.to_string(),
    };
    if let Some((cut, _)) = text.char_indices().nth(LENGTH_MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(Number::Int(_) | Number::Uint(_)) => "an integer",
        Value::Number(Number::Decimal(_)) => "a number",
        Value::Text(_) => "a string",
        Value::List(_) => "an array",
        Value::Map(_) => "an object",
    }
}

impl Kind {
    fn holds(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Null, Value::Null)
                | (Self::Boolean, Value::Bool(_))
                | (Self::Integer, Value::Number(Number::Int(_) | Number::Uint(_)))
                | (Self::Number, Value::Number(_))
                | (Self::String, Value::Text(_))
                | (Self::Array, Value::List(_))
                | (Self::Object, Value::Map(_))
        )
    }

    fn with_article(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Two places that hold equal items. Sorting keeps a long list from costing its square.
fn first_repeated(items: &[Value]) -> Option<(usize, usize)> {
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|a, b| in_order(&items[*a], &items[*b]));
    let twice = places.windows(2).filter(|pair| in_order(&items[pair[0]], &items[pair[1]]).is_eq());
    twice.map(|pair| (pair[0], pair[1])).min()
}

/// Some total order in which exactly the equal values are equal.
fn in_order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::Text(_) => 3,
        Value::List(_) => 4,
        Value::Map(_) => 5,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => number::compare(a, b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => {
            let differing = a.iter().zip(b).map(|(a, b)| in_order(a, b)).find(|order| order.is_ne());
            differing.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Map(a), Value::Map(b)) => {
            let pairs = a.iter().zip(b);
            let differing = pairs.map(|(a, b)| a.0.cmp(&b.0).then_with(|| in_order(&a.1, &b.1))).find(|o| o.is_ne());
            differing.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}
