//! What `check` says about a file: where, what, and what to do; as text and as data.
//!
//! Checks collect [`Problem`]s in byte ranges; [`Diagnostic`] is the same with lines, columns and source text,
//! so that it can leave the process without the file.

use std::fmt::Write as _;

use serde::Serialize;

use crate::source::{Lines, SourceFile, Span};

pub use code::Code;

mod code;

/// Whether it stops an apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding, complete in itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    pub message: String,
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the file.
    pub span: Span,
    /// The first is the place itself.
    pub labels: Vec<Label>,
    /// What to know and what to do; a note may have several lines.
    pub notes: Vec<String>,
}

/// A marked piece of one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Label {
    pub line: usize,
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
    /// Underlined with `^`; otherwise with `-`.
    pub primary: bool,
    pub text: String,
    /// The whole line, as it stands in the file.
    pub source: String,
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        [self.start, self.end].serialize(to)
    }
}

impl Diagnostic {
    /// The text of LANGUAGE A.7, without an empty line at its end:
    ///
    /// ```text
    /// telecom/top-up.yaml:45:7: error[unknown-field]: "particpant" is not a field of call
    ///    |
    /// 45 |       particpant: billing
    ///    |       ^^^^^^^^^^ did you mean "participant"?
    ///    |
    ///    = call has: participant, method, path, query, headers, body
    /// ```
    pub fn render(&self) -> String {
        self.render_as(&format!("{}[{}]", self.severity.as_str(), self.code.as_str()))
    }

    /// The same under another word than its severity and code: `failed` for an expectation that was not met.
    pub fn render_as(&self, word: &str) -> String {
        let mut out = format!("{}:{}:{}: {word}: {}\n", self.path, self.line, self.column, self.message);
        let width = self.labels.iter().map(|l| l.line).max().unwrap_or(1).to_string().len().max(2);
        let gutter = " ".repeat(width);
        for lines in self.labels.chunk_by(|a, b| a.line == b.line) {
            let _ = writeln!(out, "{gutter} |");
            let _ = writeln!(out, "{:>width$} | {}", lines[0].line, lines[0].source.replace('\t', " "));
            let mut sorted: Vec<&Label> = lines.iter().collect();
            sorted.sort_by_key(|l| l.column);
            let mut marks = String::new();
            for label in &sorted {
                pad_to(&mut marks, label.column);
                marks.push_str(&(if label.primary { "^" } else { "-" }).repeat(label.length));
            }
            // The last one's text stands beside its mark, the others' below theirs, where nothing is in the way.
            let mut below = Vec::new();
            if let Some((last, others)) = sorted.split_last() {
                if !last.text.is_empty() {
                    let _ = write!(marks, " {}", last.text);
                }
                for label in others.iter().rev().filter(|l| !l.text.is_empty()) {
                    let mut line = String::new();
                    pad_to(&mut line, label.column);
                    below.push(line + &label.text);
                }
            }
            for line in std::iter::once(marks).chain(below) {
                let _ = writeln!(out, "{gutter} | {line}");
            }
        }
        if !self.notes.is_empty() {
            let _ = writeln!(out, "{gutter} |");
        }
        for note in &self.notes {
            for (at, line) in note.lines().enumerate() {
                let lead = if at == 0 { "=" } else { " " };
                let _ = writeln!(out, "{gutter} {lead} {line}");
            }
        }
        out
    }
}

/// Spaces up to a column, from 1.
fn pad_to(line: &mut String, column: usize) {
    let length = line.chars().count();
    line.extend(std::iter::repeat_n(' ', column.saturating_sub(1).saturating_sub(length)));
}

/// A finding while its file is at hand.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    pub span: Span,
    pub message: String,
    under: String,
    labels: Vec<(Span, String, bool)>,
    notes: Vec<String>,
}

impl Problem {
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), under: String::new(), labels: Vec::new(), notes: Vec::new() }
    }

    /// Text behind the carets.
    pub fn under(mut self, text: impl Into<String>) -> Self {
        self.under = text.into();
        self
    }

    /// Another place that has to do with it, underlined with `-`.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into(), false));
        self
    }

    /// Another place at fault, underlined with `^`.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into(), true));
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub fn push_note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// The findings of one file, in the order they were made.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
    dropped: usize,
    /// Expressions read so far.
    pub(crate) expressions: usize,
}

/// How many findings one file may have before the rest is only counted.
const PROBLEMS_MAX: usize = 200;

impl Report {
    pub fn add(&mut self, problem: Problem) {
        // Two checks may meet at one place; the first to speak knows more.
        if self
            .problems
            .iter()
            .any(|p| p.span == problem.span && p.code == problem.code && p.message == problem.message)
        {
            return;
        }
        if self.problems.len() >= PROBLEMS_MAX {
            self.dropped += 1;
            return;
        }
        self.problems.push(problem);
    }

    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.code.severity() == Severity::Error)
    }

    /// Ordered by place.
    pub fn into_diagnostics(mut self, file: &SourceFile) -> Vec<Diagnostic> {
        let lines = Lines::new(&file.text);
        self.problems.sort_by_key(|p| (p.span.start, p.code.severity()));
        if self.dropped > 0
            && let Some(last) = self.problems.last_mut()
        {
            last.push_note(format!("{} more findings in this file are not shown", self.dropped));
        }
        self.problems.into_iter().map(|p| diagnostic(p, file, &lines)).collect()
    }
}

fn diagnostic(problem: Problem, file: &SourceFile, lines: &Lines<'_>) -> Diagnostic {
    let span = lines.snapped(problem.span);
    let place = lines.place(span.start);
    let mut labels = vec![label(problem.span, problem.under, true, lines)];
    labels.extend(problem.labels.into_iter().map(|(span, text, primary)| label(span, text, primary, lines)));
    Diagnostic {
        severity: problem.code.severity(),
        code: problem.code,
        message: problem.message,
        path: file.path.clone(),
        line: place.line,
        column: place.column,
        span,
        labels,
        notes: problem.notes,
    }
}

fn label(span: Span, text: String, primary: bool, lines: &Lines<'_>) -> Label {
    let span = lines.snapped(span);
    let place = lines.place(span.start);
    let end = lines.place(span.end.max(span.start));
    let source = lines.line(place.line);
    let rest = (source.chars().count() + 1).saturating_sub(place.column);
    // What spans lines is marked to the end of its first.
    let length = if end.line == place.line { end.column.saturating_sub(place.column) } else { rest };
    Label {
        line: place.line,
        column: place.column,
        length: length.clamp(1, rest.max(1)),
        primary,
        text,
        source: source.into(),
    }
}
