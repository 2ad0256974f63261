//! Unquoted expressions that YAML would misread: `${a ? b : c}` ends at the `: `, `${a #b}` is cut by a comment,
//! and inside `[ ]` and `{ }` the braces are YAML's own.
//!
//! Found line by line before the YAML parser sees the file, which would fail or, worse, silently cut. Each is
//! reported and replaced by filler of the same length, so that the rest of the file is still read at its
//! true place.

use std::borrow::Cow;

use crate::diagnostic::{Code, Problem};
use crate::source::Span;

/// One value that must be quoted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trap {
    /// The value as its author meant it, to the end of the line or of the expression.
    pub(super) value: Span,
    kind: TrapKind,
}

#[derive(Debug, PartialEq, Eq)]
enum TrapKind {
    /// `: ` at this byte.
    Colon(usize),
    /// ` #` with the `#` at this byte.
    Comment(usize),
    /// Inside `[ ]` or `{ }`.
    Flow,
}

impl Trap {
    pub(super) fn problem(&self, text: &str) -> Problem {
        let value = &text[self.value.start..self.value.end];
        let line_start = text[..self.value.start].rfind('\n').map_or(0, |at| at + 1);
        let quoted = format!("'{}'", value.replace('\'', "''"));
        let (message, problem_span) = match self.kind {
            TrapKind::Colon(_) | TrapKind::Comment(_) => {
                ("an expression with \": \" or \" #\" needs quotes in YAML", self.value.head())
            }
            TrapKind::Flow => ("an expression inside [ ] or { } needs quotes in YAML", self.value),
        };
        let problem = Problem::new(Code::QuoteThis, problem_span, message);
        let problem = match self.kind {
            TrapKind::Colon(at) => problem.also(Span::new(at, at + 1), "YAML ends the value here"),
            TrapKind::Comment(at) => problem.also(Span::new(at, at + 1), "YAML takes the rest for a comment"),
            TrapKind::Flow => problem,
        };
        let lead = if self.kind == TrapKind::Flow { "" } else { text[line_start..self.value.start].trim_start() };
        problem.note(format!("write it so:\n{lead}{quoted}"))
    }
}

/// The text with every trap replaced by filler.
pub(super) fn defused<'t>(text: &'t str, traps: &[Trap]) -> Cow<'t, str> {
    if traps.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for trap in traps {
        out.push_str(&text[from..trap.value.start]);
        let chars = text[trap.value.start..trap.value.end].chars();
        // The same number of characters and of bytes, so that every later place stays true.
        out.extend(chars.map(|c| if c.is_ascii() { 'x' } else { c }));
        from = trap.value.end;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

/// Every trap of a file, in order.
pub(super) fn find(text: &str) -> Vec<Trap> {
    let mut finder = Finder { text, traps: Vec::new(), flow: 0, quote: None, block: None };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end_matches(['\n', '\r']).len();
        finder.line(start, end);
        start += line.len();
    }
    finder.traps
}

struct Finder<'t> {
    text: &'t str,
    traps: Vec<Trap>,
    /// Open `[` and `{` of YAML itself.
    flow: usize,
    /// Inside a quoted scalar that spans lines.
    quote: Option<u8>,
    /// Inside a `|` or `>` block whose owner is indented so far.
    block: Option<usize>,
}

impl Finder<'_> {
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn line(&mut self, start: usize, end: usize) {
        let mut at = start;
        if let Some(quote) = self.quote {
            match self.skip_quoted(at, end, quote) {
                Some(after) => {
                    self.quote = None;
                    at = after;
                }
                None => return,
            }
            self.rest(at, end, start);
            return;
        }
        while at < end && self.bytes()[at] == b' ' {
            at += 1;
        }
        if at == end {
            return;
        }
        if self.block.is_none() && self.bytes()[at] == b'#' {
            return;
        }
        if let Some(owner) = self.block {
            if at - start > owner {
                return;
            }
            self.block = None;
            if self.bytes()[at] == b'#' {
                return;
            }
        }
        if self.flow > 0 {
            self.in_flow(at, end);
            return;
        }
        let mut indent = at - start;
        while self.bytes()[at..end].starts_with(b"- ") {
            at += 2;
            while at < end && self.bytes()[at] == b' ' {
                at += 1;
            }
            indent = at - start;
        }
        // A name, if there is one: up to the first ": " that is not inside an expression.
        match self.name_end(at, end) {
            Some(colon) => {
                let mut value = colon + 1;
                while value < end && self.bytes()[value] == b' ' {
                    value += 1;
                }
                self.value(value, end, indent);
            }
            // A `- |` belongs to the list's own indentation.
            None => self.value(at, end, indent.saturating_sub(2)),
        }
    }

    fn name_end(&self, at: usize, end: usize) -> Option<usize> {
        let bytes = self.bytes();
        let mut i = at;
        if matches!(bytes.get(at), Some(b'"' | b'\'')) {
            i = self.skip_quoted(at + 1, end, bytes[at])?;
        }
        while i < end {
            match bytes[i] {
                b':' if i + 1 == end || bytes[i + 1] == b' ' => return Some(i),
                b'$' if bytes.get(i + 1) == Some(&b'{') => return None,
                b'{' | b'[' if i == at => return None,
                _ => i += 1,
            }
        }
        None
    }

    fn value(&mut self, at: usize, end: usize, indent: usize) {
        let Some(first) = self.bytes()[..end].get(at) else { return };
        match first {
            b'"' | b'\'' => match self.skip_quoted(at + 1, end, *first) {
                Some(_) => {}
                None => self.quote = Some(*first),
            },
            b'|' | b'>' => self.block = Some(indent),
            b'#' => {}
            b'{' | b'[' => self.in_flow(at, end),
            _ => self.plain(at, end),
        }
    }

    fn plain(&mut self, at: usize, end: usize) {
        let bytes = self.bytes();
        let mut i = at;
        while i + 1 < end {
            if bytes[i] == b' ' && bytes[i + 1] == b'#' {
                return;
            }
            if bytes[i] == b'$' && bytes[i + 1] == b'{' {
                // An expression without an end on this line is someone else's finding.
                let Some((close, trap)) = expression(bytes, i + 2, end) else { return };
                if let Some(kind) = trap {
                    let value_end = self.text[at..end].trim_end().len() + at;
                    let cut = comment_after(bytes, close + 1, value_end);
                    self.traps.push(Trap { value: Span::new(at, cut), kind });
                    return;
                }
                i = close;
            }
            i += 1;
        }
    }

    fn rest(&mut self, at: usize, end: usize, start: usize) {
        // After a quoted scalar that began on an earlier line only the flow around it can go on.
        if self.flow > 0 {
            self.in_flow(at, end);
        } else if let Some(colon) = self.name_end(at, end) {
            self.value(colon + 1, end, at - start);
        }
    }

    fn in_flow(&mut self, at: usize, end: usize) {
        let mut i = at;
        while i < end {
            let byte = self.bytes()[i];
            match byte {
                // An apostrophe inside a word is no quote.
                b'"' | b'\'' if self.begins_value(at, i) => match self.skip_quoted(i + 1, end, byte) {
                    Some(after) => {
                        i = after;
                        continue;
                    }
                    None => {
                        self.quote = Some(byte);
                        return;
                    }
                },
                b'#' if i == at || self.bytes()[i - 1] == b' ' => return,
                b'$' if self.bytes()[..end].get(i + 1) == Some(&b'{') => {
                    if let Some((close, _)) = expression(self.bytes(), i + 2, end) {
                        // The scalar may have begun before the expression: `{path: a/${b}}`.
                        let begins = self.bytes()[at..i].iter().rposition(|b| b" ,[{".contains(b));
                        let start = begins.map_or(at, |n| at + n + 1);
                        let rest = self.bytes()[close + 1..end].iter().position(|b| b" ,]}".contains(b));
                        let stop = rest.map_or(end, |n| close + 1 + n);
                        self.traps.push(Trap { value: Span::new(start, stop), kind: TrapKind::Flow });
                        i = stop;
                        continue;
                    }
                }
                b'{' | b'[' => self.flow += 1,
                b'}' | b']' => {
                    self.flow = self.flow.saturating_sub(1);
                    if self.flow == 0 {
                        return;
                    }
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// Whether a value or a name of a flow begins at `i`: at the line's start, or after one of its signs.
    fn begins_value(&self, at: usize, i: usize) -> bool {
        let before = self.bytes()[at..i].iter().rev().find(|b| **b != b' ');
        before.is_none_or(|b| b"[{,:".contains(b))
    }

    /// The byte after the closing quote, if it is before `end`.
    fn skip_quoted(&self, at: usize, end: usize, quote: u8) -> Option<usize> {
        let bytes = self.bytes();
        let mut i = at;
        while i < end {
            if bytes[i] == b'\\' && quote == b'"' {
                i += 2;
                continue;
            }
            if bytes[i] == quote {
                if quote == b'\'' && bytes[..end].get(i + 1) == Some(&b'\'') {
                    i += 2;
                    continue;
                }
                return Some(i + 1);
            }
            i += 1;
        }
        None
    }
}

/// The place of the `}` that ends an expression begun before `at`, and the first trap inside.
fn expression(bytes: &[u8], at: usize, end: usize) -> Option<(usize, Option<TrapKind>)> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut trap = None;
    let mut i = at;
    while i < end {
        let byte = bytes[i];
        // YAML does not know of CEL's quotes: a trap inside them is one too.
        if trap.is_none() {
            if byte == b':' && (i + 1 == end || bytes[i + 1] == b' ') {
                trap = Some(TrapKind::Colon(i));
            } else if byte == b'#' && bytes[i - 1] == b' ' {
                trap = Some(TrapKind::Comment(i));
            }
        }
        match quote {
            Some(q) => {
                if byte == b'\\' {
                    i += 1;
                } else if byte == q {
                    quote = None;
                }
            }
            None => match byte {
                b'"' | b'\'' => quote = Some(byte),
                b'{' => depth += 1,
                b'}' if depth == 0 => return Some((i, trap)),
                b'}' => depth -= 1,
                _ => {}
            },
        }
        i += 1;
    }
    None
}

/// Where a comment begins after the expression, or the end of the value.
fn comment_after(bytes: &[u8], from: usize, end: usize) -> usize {
    let found = (from..end).find(|i| bytes[*i] == b'#' && bytes[i - 1] == b' ');
    let mut cut = found.unwrap_or(end);
    while cut > from && bytes[cut - 1] == b' ' {
        cut -= 1;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traps(text: &str) -> Vec<&str> {
        find(text).iter().map(|t| &text[t.value.start..t.value.end]).collect()
    }

    #[test]
    fn only_what_yaml_would_misread() {
        let cases: [(&str, &[&str]); 22] = [
            ("a: ${x}\n", &[]),
            ("a: ${x ? 1 : 2}\n", &["${x ? 1 : 2}"]),
            ("- ${x ? 1 : 2}\n", &["${x ? 1 : 2}"]),
            ("- a: ${x ? 1 : 2}  # why\n", &["${x ? 1 : 2}"]),
            ("a: é ${x == \"a #b\"} z\n", &["é ${x == \"a #b\"} z"]),
            ("a: ${x.y:z}\n", &[]),
            ("a: ${x?1:2}\n", &[]),
            ("a: '${x ? 1 : 2}'\n", &[]),
            ("a: \"${x ? \\\"1\\\" : 2}\"\n", &[]),
            ("\"a: b\": ${x ? 1 : 2}\n", &["${x ? 1 : 2}"]),
            ("# a: ${x ? 1 : 2}\n", &[]),
            ("a: b # ${x ? 1 : 2}\n", &[]),
            ("a: |\n  ${x ? 1 : 2}\n  # ${x ? 1 : 2}\nb: ${y ? 1 : 2}\n", &["${y ? 1 : 2}"]),
            ("- |\n  ${x ? 1 : 2}\n- >-\n  ${x ? 1 : 2}\n", &[]),
            ("a: 'x\n  ${x ? 1 : 2}'\nb: ${y}\n", &[]),
            ("a: {b: ${x}, c: d/${y}}\n", &["${x}", "d/${y}"]),
            ("a: [\n  ${x},\n  # ${y}\n  '${z}'\n]\nb: ${w}\n", &["${x}"]),
            ("a: {b: it's}\nc: it's ${x}\nd: ${y}\n", &[]),
            ("a: {b: 'it''s ${x}'}\n", &[]),
            ("a: ${x\n", &[]),
            ("a: ${{'b': 1}}\n", &["${{'b': 1}}"]),
            ("a: ${\"}: \"}\n", &["${\"}: \"}"]),
        ];
        for (text, found) in cases {
            assert_eq!(traps(text), found, "{text}");
        }
    }

    #[test]
    fn filler_keeps_every_place() {
        let text = "é: ü ${x ? é : 2} ß\nb: 1\n";
        let filled = defused(text, &find(text)).into_owned();
        assert_eq!((filled.len(), filled.chars().count()), (text.len(), text.chars().count()));
        assert!(filled.ends_with("\nb: 1\n"));
    }
}
