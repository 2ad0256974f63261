//! Reading TOML with places: every complaint says file, line and key, and what would be right.

use std::cell::RefCell;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The key, dotted; empty for the file itself.
    pub key: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Where the complaints of one file are collected.
#[derive(Clone, Debug)]
pub(super) struct Complaints<'a> {
    file: &'a str,
    text: &'a str,
    found: Rc<RefCell<Vec<Problem>>>,
}

impl<'a> Complaints<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Rc::default() }
    }

    pub(super) fn at(&self, offset: usize, key: &str, message: impl Into<String>) {
        let line = self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        let problem = Problem { file: self.file.into(), line, key: key.into(), message: message.into() };
        self.found.borrow_mut().push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(super) fn take(&self) -> Vec<Problem> {
        let mut found = std::mem::take(&mut *self.found.borrow_mut());
        found.sort_by_key(|p| p.line);
        found
    }
}

/// One table of the file, which remembers what it was asked for.
#[derive(Debug)]
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    path: String,
    offset: usize,
    complaints: Complaints<'a>,
    asked: RefCell<Vec<&'static str>>,
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
        DeValue::Float(n) => n.as_str().parse().ok(),
        _ => None,
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(table: &'a DeTable<'a>, path: String, offset: usize, complaints: Complaints<'a>) -> Self {
        Self { table, path, offset, complaints, asked: RefCell::default() }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.asked.borrow_mut().push(key);
        self.table.contains_key(key)
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Complains about a key of this table, or about its absence.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) {
        let offset = self.table.get(key).map_or(self.offset, |value| value.span().start);
        self.complaints.at(offset, &self.key(key), message);
    }

    /// A number in a range.
    pub(super) fn number(&self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let value = self.get(key)?;
        match number(value.get_ref()) {
            Some(n) if n >= low && n <= high => Some(n),
            Some(n) => {
                self.wrong(key, format!("{n} is out of range; it must be from {low} to {high}"));
                None
            }
            None => {
                self.wrong(key, format!("must be a number from {low} to {high}, and is {}", kind(value.get_ref())));
                None
            }
        }
    }

    pub(super) fn whole(&self, key: &'static str, low: u32, high: u32) -> Option<u32> {
        let n = self.number(key, f64::from(low), f64::from(high))?;
        if n.fract() == 0.0 {
            return Some(n as u32);
        }
        self.wrong(key, format!("{n} must be a whole number"));
        None
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        self.wrong(key, format!("must be true or false, and is {}", kind(value.get_ref())));
        None
    }

    pub(super) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.get(key)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.as_ref());
        }
        self.wrong(key, format!("must be a text, and is {}", kind(value.get_ref())));
        None
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.wrong(key, format!("\"{text}\" is not known here; it is one of {}", known.join(", ")));
        }
        found
    }

    pub(super) fn numbers(&self, key: &'static str, low: f64, high: f64) -> Option<Vec<f64>> {
        let value = self.get(key)?;
        let DeValue::Array(list) = value.get_ref() else {
            self.wrong(key, format!("must be a list of numbers, and is {}", kind(value.get_ref())));
            return None;
        };
        let read: Option<Vec<f64>> =
            list.iter().map(|v| number(v.get_ref()).filter(|n| *n >= low && *n <= high)).collect();
        if read.is_none() {
            self.wrong(key, format!("every entry must be a number from {low} to {high}"));
        }
        read
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.get(key)?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Table::new(table, self.key(key), value.span().start, self.complaints.clone()));
        }
        self.wrong(key, format!("must be a table, and is {}", kind(value.get_ref())));
        None
    }

    /// A table of tables, with their names.
    pub(super) fn named_tables(&self, key: &'static str) -> Vec<(String, Table<'a>)> {
        let Some(outer) = self.table(key) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in outer.table {
            let path = outer.key(name.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => {
                    let name = name.get_ref().to_string();
                    tables.push((name, Table::new(table, path, value.span().start, self.complaints.clone())));
                }
                other => {
                    self.complaints.at(value.span().start, &path, format!("must be a table, and is {}", kind(other)))
                }
            }
        }
        // As they stand in the file.
        tables.sort_by_key(|(_, table)| table.offset);
        tables
    }

    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(list) = value.get_ref() else {
            self.wrong(key, format!("must be a list of tables, and is {}", kind(value.get_ref())));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (n, value) in list.iter().enumerate() {
            let path = format!("{}[{n}]", self.key(key));
            match value.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Table::new(table, path, value.span().start, self.complaints.clone()));
                }
                other => {
                    self.complaints.at(value.span().start, &path, format!("must be a table, and is {}", kind(other)))
                }
            }
        }
        tables
    }

    /// Complains about keys that nobody asked for. Call it last.
    pub(super) fn close(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            if !asked.contains(&key.get_ref().as_ref()) {
                let mut known: Vec<&str> = asked.clone();
                known.sort_unstable();
                known.dedup();
                let message = format!("is not a key here; keys are {}", known.join(", "));
                self.complaints.at(key.span().start, &self.key(key.get_ref()), message);
            }
        }
    }
}
