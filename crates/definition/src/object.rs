//! An object of the language: the fields it has, those it will have, and reading them one by one.

use std::time::Duration;

use compact_str::CompactString;
use model::Number;

use crate::diagnostic::{Code, Problem, Report};
use crate::expr::template::ambiguous;
use crate::names::{NameRule, did_you_mean};
use crate::source::Span;
use crate::yaml::{Entry, Kind, Node, Resolved, shown};

/// A kind of object.
#[derive(Debug)]
pub struct Shape {
    /// What people call it: `call`.
    pub name: &'static str,
    /// In the order of the manual.
    pub fields: &'static [&'static str],
    pub required: &'static [&'static str],
    /// Fields of later versions, and why they are not there yet.
    pub later: &'static [(&'static str, &'static str)],
}

/// The fields of one object, known ones only.
#[derive(Debug)]
pub struct Fields<'n> {
    entries: Vec<&'n Entry>,
}

impl<'n> Fields<'n> {
    pub fn entry(&self, name: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|e| e.name == name).copied()
    }

    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|e| &e.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }
}

impl Report {
    pub fn say(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.add(Problem::new(code, span, message));
    }

    /// Checks an object's fields. `owner` says whose it is (`step "credit"`), `at` where it begins.
    pub fn object<'n>(&mut self, node: &'n Node, shape: &Shape, owner: &str, at: Span) -> Option<Fields<'n>> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Broken => return None,
            Kind::Scalar(_) | Kind::List(_) => {
                let message = format!("{} is an object, this is {}", shape.name, node.what());
                let has = format!("{} has: {}", shape.name, shape.fields.join(", "));
                self.add(Problem::new(Code::WrongType, visible(node.span, at), message).note(has));
                return None;
            }
        };
        let mut known: Vec<&'n Entry> = Vec::new();
        let mut missing: Vec<&str> =
            shape.required.iter().filter(|r| !entries.iter().any(|e| e.name == **r)).copied().collect();
        for entry in entries {
            if shape.fields.contains(&entry.name.as_str()) {
                known.push(entry);
                continue;
            }
            let name = shown(&entry.name);
            if let Some((_, why)) = shape.later.iter().find(|(n, _)| *n == entry.name) {
                let message = format!("\"{name}\" is not part of this version of the language yet");
                self.add(Problem::new(Code::NotYet, entry.name_span, message).note(*why));
                continue;
            }
            let message = format!("\"{name}\" is not a field of {}", shape.name);
            let mut problem = Problem::new(Code::UnknownField, entry.name_span, message);
            let absent = shape.fields.iter().copied().filter(|f| !entries.iter().any(|e| e.name == *f));
            let near = did_you_mean(&entry.name, absent);
            if let Some(near) = near {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            problem = problem.note(format!("{} has: {}", shape.name, shape.fields.join(", ")));
            if let Some(place) = near.and_then(|near| missing.iter().position(|m| *m == near)) {
                problem = problem.note(format!("{owner} therefore has no {}", missing.remove(place)));
            }
            self.add(problem);
        }
        for name in missing {
            let message = format!("{owner} has no {name}");
            let has = format!("{} has: {}", shape.name, shape.fields.join(", "));
            self.add(Problem::new(Code::MissingField, at, message).note(has));
        }
        Some(Fields { entries: known })
    }

    /// A list's items.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str, at: Span) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            Kind::Broken => None,
            Kind::Scalar(_) | Kind::Map(_) => {
                self.say(Code::WrongType, visible(node.span, at), format!("{what} is a list, this is {}", node.what()));
                None
            }
        }
    }

    /// An object whose names the author chooses.
    pub fn members<'n>(&mut self, node: &'n Node, what: &str, at: Span) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Broken => None,
            Kind::Scalar(_) | Kind::List(_) => {
                let message = format!("{what} is an object, this is {}", node.what());
                self.say(Code::WrongType, visible(node.span, at), message);
                None
            }
        }
    }

    /// Text without expressions.
    pub fn plain_text<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        let (name, node) = (&entry.name, &entry.value);
        match &node.kind {
            Kind::Scalar(scalar) if scalar.resolve() == Resolved::Text => {
                if scalar.text.contains("${") {
                    self.say(Code::WrongType, node.span, format!("{name} is plain text, without expressions"));
                    return None;
                }
                Some(&scalar.text)
            }
            Kind::Broken => None,
            Kind::Scalar(scalar) if let Resolved::Ambiguous(why) = scalar.resolve() => {
                self.add(ambiguous(node, scalar, &why));
                None
            }
            _ => {
                let mut problem = Problem::new(
                    Code::WrongType,
                    visible(node.span, entry.name_span),
                    format!("{name} is text, this is {}", node.what()),
                );
                if let Kind::Scalar(scalar) = &node.kind
                    && scalar.resolve() != Resolved::Null
                {
                    problem = problem.under(format!("did you mean \"{}\"?", shown(&scalar.text)));
                }
                self.add(problem);
                None
            }
        }
    }

    /// Text for people: not empty, bounded.
    pub fn prose(&mut self, entry: &Entry) -> Option<CompactString> {
        const CHARS_MAX: usize = 500;
        let text = self.plain_text(entry)?;
        if text.chars().count() > CHARS_MAX {
            let message = format!("{} has at most {CHARS_MAX} characters", entry.name);
            self.say(Code::TooLarge, entry.value.span, message);
            return None;
        }
        Some(CompactString::new(text))
    }

    pub fn name(&mut self, entry: &Entry, what: &str, rule: NameRule) -> Option<CompactString> {
        let text = self.plain_text(entry)?;
        self.checked_name(text, entry.value.span, what, rule)
    }

    pub fn checked_name(&mut self, text: &str, at: Span, what: &str, rule: NameRule) -> Option<CompactString> {
        if rule.allows(text) {
            return Some(CompactString::new(text));
        }
        let mut problem = Problem::new(Code::BadName, at, format!("\"{}\" is no name of {what}", shown(text)));
        if let Some(mended) = rule.mend(text) {
            problem = problem.under(format!("did you mean \"{mended}\"?"));
        }
        self.add(problem.note(format!("a name of {what} has {}", rule.describe())));
        None
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
        let text = self.plain_text(entry)?;
        if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
            return Some(*value);
        }
        let message = format!("\"{}\" is not a value of {}", shown(text), entry.name);
        let mut problem = Problem::new(Code::WrongValue, entry.value.span, message);
        if let Some(near) = did_you_mean(text, words.iter().map(|(w, _)| *w)) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        self.add(problem.note(format!("{} is one of: {}", entry.name, all.join(", "))));
        None
    }

    pub fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        match &entry.value.kind {
            Kind::Broken => None,
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Bool(value) => Some(value),
                _ => self.wrong_type(entry, "true or false"),
            },
            Kind::List(_) | Kind::Map(_) => self.wrong_type(entry, "true or false"),
        }
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, entry: &Entry, min: u32, max: u32) -> Option<u32> {
        let number = match &entry.value.kind {
            Kind::Broken => return None,
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Number(Number::Int(n)) => n,
                Resolved::Number(Number::Uint(_)) => i64::MAX,
                _ => return self.wrong_type(entry, "a whole number"),
            },
            Kind::List(_) | Kind::Map(_) => return self.wrong_type(entry, "a whole number"),
        };
        match u32::try_from(number) {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            _ => {
                let message = format!("{} is from {min} to {max}", entry.name);
                self.say(Code::WrongValue, entry.value.span, message);
                None
            }
        }
    }

    /// `1500ms`, `30s`, `10d`; at least `min`.
    pub fn duration(&mut self, entry: &Entry, min: Duration) -> Option<Duration> {
        let span = visible(entry.value.span, entry.name_span);
        let text = match &entry.value.kind {
            Kind::Broken => return None,
            Kind::Scalar(scalar) => scalar.text.trim(),
            Kind::List(_) | Kind::Map(_) => "",
        };
        if let Some(duration) = model::parse_duration(text) {
            if duration >= min {
                return Some(duration);
            }
            self.say(Code::BadDuration, span, format!("{} is at least {}", entry.name, duration_text(min)));
            return None;
        }
        let name = &entry.name;
        let mut problem =
            Problem::new(Code::BadDuration, span, format!("{name} is a duration, for instance 1500ms or 30s"));
        if !text.is_empty() && text.len() < 16 && text.bytes().all(|b| b.is_ascii_digit()) {
            problem = problem.under(format!("did you mean \"{text}s\"?"));
        }
        self.add(problem.note("a duration is a whole number and one of ms s m h d (1d = 24h), at most 3660d"));
        None
    }

    fn wrong_type<T>(&mut self, entry: &Entry, wanted: &str) -> Option<T> {
        let message = format!("{} is {wanted}, this is {}", entry.name, entry.value.what());
        self.say(Code::WrongType, visible(entry.value.span, entry.name_span), message);
        None
    }
}

/// A value that is nothing cannot be pointed at: its name can.
pub fn visible(span: Span, name: Span) -> Span {
    if span.start == span.end { name } else { span }
}

/// As it is written in files, in the largest unit that keeps it whole.
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms >= length && ms.is_multiple_of(length) {
            return format!("{}{unit}", ms / length);
        }
    }
    if ms == 0 { "0s".into() } else { format!("{ms}ms") }
}
