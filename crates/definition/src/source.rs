//! A file as it was given, and the way from a byte in it to its line and column.
//!
//! Everything downstream speaks in byte ranges; lines and columns exist only in diagnostics.

/// One file to be checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// As it shall stand in diagnostics, `telecom/top-up.yaml`.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    /// Bytes that are no UTF-8 become U+FFFD, which the reader refuses with its place.
    pub fn from_bytes(path: impl Into<String>, bytes: &[u8]) -> Self {
        Self { path: path.into(), text: String::from_utf8_lossy(bytes).into_owned() }
    }

    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit(['/', '\\']).next().unwrap_or(&self.path)
    }
}

/// A range of bytes in one file, end exclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// The first byte only.
    pub fn head(self) -> Self {
        Self { start: self.start, end: (self.start + 1).min(self.end) }
    }

    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

/// A place for people: both count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The same span, ending between characters and within the text.
    pub(crate) fn snapped(&self, span: Span) -> Span {
        let start = floor(self.text, span.start);
        let mut end = span.end.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        Span::new(start, end)
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        let offset = floor(self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let column = self.text[self.starts[line - 1]..offset].chars().count() + 1;
        Place { line, column }
    }

    /// The text of a line (from 1) without its end.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        let Some(&start) = self.starts.get(line.wrapping_sub(1)) else { return "" };
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
