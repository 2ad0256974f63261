//! A YAML file as a tree in which everything knows its place.
//!
//! YAML 1.2, one document, without what makes a file mean more than it shows: anchors, aliases, merge keys, tags.
//! Reading goes on after an error where that is safe, so that one mistake hides as little as possible. Meaning
//! (which fields an object has) is not known here.

mod scalar;
mod trap;

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use crate::diagnostic::{Code, Problem, Report};
use crate::source::Span;

pub use scalar::{Resolved, Scalar};

/// A file may have so many bytes.
pub(crate) const BYTES_MAX: usize = 256 * 1024;
/// Maps and lists may be nested so deep.
pub(crate) const DEPTH_MAX: usize = 24;
/// A file may have so many values.
const NODES_MAX: usize = 20_000;

#[derive(Debug)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something was wrong with it and has been said: no check adds to it.
    Broken,
}

#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub name_span: Span,
    pub value: Node,
}

impl Node {
    /// What people call this kind of value.
    pub fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.what(),
            Kind::List(_) => "a list",
            Kind::Map(_) => "an object",
            Kind::Broken => "broken",
        }
    }

    pub fn is_broken(&self) -> bool {
        matches!(self.kind, Kind::Broken)
    }

    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|e| e.name == name).map(|e| &e.value),
            _ => None,
        }
    }
}

/// Reads a file. `None` if nothing of it can be used; what was wrong is in the report.
pub fn read(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > BYTES_MAX {
        let message = format!("the file has {} bytes, at most {BYTES_MAX} are read", text.len());
        report.add(Problem::new(Code::TooLarge, Span::new(0, 1), message));
        return None;
    }
    if !characters_are_fine(text, report) {
        return None;
    }
    let traps = trap::find(text);
    for found in &traps {
        report.add(found.problem(text));
    }
    let text = trap::defused(text, &traps);
    let mut reader = Reader {
        text: &text,
        parser: Parser::new_from_str(&text),
        bytes: Offsets::new(&text),
        traps: &traps,
        report,
        nodes: 0,
        depth: 0,
    };
    match reader.document() {
        Ok(node) => node,
        Err(stop) => {
            if let Stop::Syntax(error) = stop {
                reader.syntax(&error);
            }
            None
        }
    }
}

fn characters_are_fine(text: &str, report: &mut Report) -> bool {
    let mut indenting = true;
    for (at, c) in text.char_indices() {
        let span = Span::new(at, at + c.len_utf8());
        let message = match c {
            '\t' if indenting => "a tab cannot indent in YAML; use spaces",
            '\u{feff}' => "a byte order mark; save the file as plain UTF-8",
            '\u{fffd}' => "these bytes are not UTF-8",
            '\r' if text.as_bytes().get(at + 1) != Some(&b'\n') => "a carriage return alone does not end a line",
            '\n' | '\r' | '\t' => "",
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => "a control character; write it escaped",
            _ => "",
        };
        if !message.is_empty() {
            report.add(Problem::new(Code::YamlSyntax, span, message));
            return false;
        }
        indenting = c == '\n' || (indenting && c == ' ');
    }
    true
}

enum Stop {
    Syntax(ScanError),
    /// It has been said.
    Said,
}

/// Character positions, as the parser counts them, to bytes.
struct Offsets(Option<Vec<u32>>, usize);

impl Offsets {
    fn new(text: &str) -> Self {
        let table = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at as u32).collect());
        Self(table, text.len())
    }

    fn byte(&self, index: usize) -> usize {
        match &self.0 {
            None => index.min(self.1),
            Some(table) => table.get(index).map_or(self.1, |at| *at as usize),
        }
    }
}

struct Reader<'t, 'r> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    bytes: Offsets,
    traps: &'r [trap::Trap],
    report: &'r mut Report,
    nodes: usize,
    depth: usize,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = Span::new(self.bytes.byte(span.start.index()), self.bytes.byte(span.end.index()));
                Ok((event, span))
            }
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, Span::new(self.text.len(), self.text.len()))),
        }
    }

    fn say(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.report.add(Problem::new(code, span, message));
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if root.is_some() => {
                    self.say(Code::YamlSyntax, span, "a second document; a file holds one");
                    break;
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span)?);
                }
                _ => {}
            }
        }
        if root.is_none() {
            self.say(Code::YamlSyntax, Span::new(0, 0), "the file is empty");
        }
        Ok(root)
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.say(Code::TooLarge, span, format!("more than {NODES_MAX} values in one file"));
            return Err(Stop::Said);
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor > 0, tag.as_ref().map(ToString::to_string))
            }
            _ => (false, None),
        };
        if anchor {
            self.say(Code::YamlSyntax, span, "an anchor (&); write the value out where it is used");
        }
        if let Some(tag) = tag {
            self.say(Code::YamlSyntax, span, format!("a tag ({tag}); write \"…\" for text and nothing for a number"));
        }
        match event {
            Event::Scalar(text, style, _, _) => Ok(self.scalar(&text, style, span)),
            Event::Alias(_) => {
                self.say(Code::YamlSyntax, span, "an alias (*); write the value out where it is used");
                Ok(Node { span, kind: Kind::Broken })
            }
            Event::SequenceStart(..) => {
                self.deeper(span)?;
                let mut items = Vec::new();
                let end = loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        break at;
                    }
                    items.push(self.node(event, at)?);
                };
                self.depth -= 1;
                let last = self.end(span, end, items.last().map(|i| i.span.end));
                Ok(Node { span: self.trimmed(Span::new(span.start, last)), kind: Kind::List(items) })
            }
            Event::MappingStart(..) => {
                self.deeper(span)?;
                let (entries, end) = self.entries()?;
                self.depth -= 1;
                let first = entries.first().map_or(span.start, |e| e.name_span.start.min(span.start));
                let inside = entries.last().map(|e| e.value.span.end.max(e.name_span.end));
                let last = self.end(span, end, inside);
                Ok(Node { span: self.trimmed(Span::new(first, last)), kind: Kind::Map(entries) })
            }
            _ => Ok(Node { span, kind: Kind::Broken }),
        }
    }

    /// Where a list or map ends: at its bracket, or with the last value in it.
    fn end(&self, start: Span, end: Span, inside: Option<usize>) -> usize {
        match (self.text.as_bytes().get(start.start), inside) {
            (Some(b'[' | b'{'), _) | (_, None) => end.end,
            (_, Some(inside)) => inside.max(start.end),
        }
    }

    fn deeper(&mut self, span: Span) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.say(Code::TooLarge, span, format!("nested deeper than {DEPTH_MAX} levels"));
            return Err(Stop::Said);
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<(Vec<Entry>, Span), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries, span));
            }
            let key = self.node(event, span)?;
            let (event, at) = self.next()?;
            // A value that is not there has the place of its key's end.
            let value = self.node(event, at)?;
            match key.kind {
                Kind::Scalar(scalar) if scalar.plain && scalar.text == "<<" => {
                    self.say(Code::YamlSyntax, key.span, "a merge key (<<); write the fields out");
                }
                Kind::Scalar(scalar) => {
                    if let Some(first) = entries.iter().find(|e| e.name == scalar.text) {
                        let message = format!("\"{}\" stands twice in this object", shown(&scalar.text));
                        let problem = Problem::new(Code::DuplicateField, key.span, message);
                        self.report.add(problem.label(first.name_span, "first here"));
                        continue;
                    }
                    entries.push(Entry { name: scalar.text, name_span: key.span, value });
                }
                Kind::Broken => {}
                Kind::List(_) | Kind::Map(_) => {
                    self.say(Code::YamlSyntax, key.span, "the name of a field must be text")
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Node {
        if self.traps.iter().any(|t| t.value.start == span.start) {
            return Node { span, kind: Kind::Broken };
        }
        let span = self.trimmed(span);
        let source = &self.text[span.start..span.end];
        Node { span, kind: Kind::Scalar(Scalar::new(text, style, span, source)) }
    }

    /// Without the white space and comments that the parser counts to a value.
    fn trimmed(&self, span: Span) -> Span {
        let source = self.text.get(span.start..span.end).unwrap_or_default();
        Span::new(span.start, span.start + source.trim_end().len())
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = self.bytes.byte(error.marker().index());
        let at = at.min(self.text.len().saturating_sub(1));
        let info = error.info();
        if info.contains("recursion limit") {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return self.say(Code::TooLarge, Span::new(at, at + 1), message);
        }
        // The parser speaks of its own insides; these are the ones people meet.
        let message: Cow<'_, str> = if info.contains("mapping values are not allowed") {
            "a second \": \" in one value; put quotes around the value".into()
        } else if info.contains("unknown anchor") {
            "an alias (*); write the value out where it is used".into()
        } else if info.contains("did not find expected") || info.contains("simple key expect") {
            format!("this line does not fit the lines above it ({info})").into()
        } else {
            info.to_owned().into()
        };
        self.say(Code::YamlSyntax, Span::new(at, at + 1), message);
    }
}

/// Text from a file, short enough for a message.
pub fn shown(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 60;
    let clean = text.chars().take(CHARS_MAX).all(|c| !c.is_control());
    if clean && text.chars().nth(CHARS_MAX).is_none() {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    Cow::Owned(short)
}
