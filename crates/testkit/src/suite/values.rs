//! JSON, times and patterns as they stand in a test file.

use definition::document::{Entry, Kind, Node, Problem, Resolved, did_you_mean, shown, visible};
use definition::{Code, Span};
use model::{Map, Timestamp, Value};

use super::Reader;
use crate::pattern::{Name, Pattern, Piece, Wanted};
use crate::script::At;

impl Reader<'_> {
    /// Any JSON; text stays as it is written.
    pub(crate) fn value(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Broken => None,
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Ambiguous(why) => {
                    let message = format!("\"{}\" needs quotes: {why}", shown(&scalar.text));
                    let problem = Problem::new(Code::QuoteThis, node.span, message);
                    self.report.add(problem.note(format!("write \"{}\"", shown(&scalar.text))));
                    None
                }
                _ => scalar.value(),
            },
            Kind::List(items) => items.iter().map(|item| self.value(item)).collect::<Option<Vec<_>>>().map(Value::List),
            Kind::Map(entries) => {
                let members = entries.iter().map(|e| Some((e.name.as_str().into(), self.value(&e.value)?)));
                Map::from_members(members.collect::<Option<Vec<_>>>()?).map(Value::Map)
            }
        }
    }

    pub(crate) fn time(&mut self, entry: &Entry) -> Option<Timestamp> {
        let text = self.report.plain_text(entry)?;
        let time = Timestamp::parse_rfc3339(text);
        if time.is_none() {
            let message = format!("{} is a time, for instance 2026-11-23T02:00:00Z", entry.name);
            self.report.say(Code::WrongValue, entry.value.span, message);
        }
        time
    }

    /// Any text, also one that looks like a number.
    pub(crate) fn text(&mut self, entry: &Entry) -> Option<At<String>> {
        let text = self.report.plain_text(entry)?.to_owned();
        Some(At { span: visible(entry.value.span, entry.name_span), value: text })
    }

    /// A value as it is wanted. `open`: members that are not named do not matter.
    pub(crate) fn pattern(&mut self, node: &Node, name_span: Span, open: bool) -> Option<Pattern> {
        let kind = match &node.kind {
            Kind::Broken => return None,
            Kind::List(items) => {
                Wanted::List(items.iter().map(|item| self.pattern(item, name_span, open)).collect::<Option<Vec<_>>>()?)
            }
            Kind::Map(entries) => {
                let members =
                    entries.iter().map(|e| Some((e.name.clone(), self.pattern(&e.value, e.name_span, open)?)));
                Wanted::Map { members: members.collect::<Option<Vec<_>>>()?, open }
            }
            Kind::Scalar(scalar) if scalar.resolve() == Resolved::Text && scalar.text.contains("${") => {
                self.wanted_text(&scalar.text, |start, end| scalar.span_of(start, end))?
            }
            Kind::Scalar(_) => Wanted::Exact(self.value(node)?),
        };
        Some(Pattern { span: visible(node.span, name_span), kind })
    }

    /// Text with the names that the engine makes.
    fn wanted_text(&mut self, text: &str, span_of: impl Fn(usize, usize) -> Span) -> Option<Wanted> {
        if text == "${any}" {
            return Some(Wanted::Any);
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                // `$${` is a literal `${`, as in definitions.
                literal.push_str(&rest[..at - 1]);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let begin = text.len() - rest.len() + at;
            let Some(end) = rest[at..].find('}') else {
                self.report.say(Code::BadExpression, span_of(begin, text.len()), "\"${\" without its \"}\"");
                return None;
            };
            let inside = rest[at + 2..at + end].trim();
            let name = self.name(inside, span_of(begin, begin + end + 1))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Name(name));
            rest = &rest[at + end + 1..];
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            return Some(Wanted::Exact(Value::text(literal)));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Some(Wanted::Text(pieces))
    }

    fn name(&mut self, inside: &str, span: Span) -> Option<Name> {
        match inside {
            "transaction.id" => return Some(Name::TransactionId),
            "call.key" => return Some(Name::CallKey),
            _ => {}
        }
        if let Some(step) = inside.strip_prefix("steps.").and_then(|rest| rest.strip_suffix(".call_key")) {
            return self.step_name(step, span).map(Name::StepCallKey);
        }
        let words = ["any", "transaction.id", "call.key", "steps.NAME.call_key"];
        let message = format!("\"{}\" is no name of what the engine makes", shown(inside));
        let mut problem = Problem::new(Code::NotHere, span, message);
        if let Some(near) = did_you_mean(inside, words) {
            problem = problem.under(format!("did you mean \"${{{near}}}\"?"));
        }
        self.report.add(problem.note(
            "an expectation has: ${any} (alone), ${transaction.id}, ${call.key}, ${steps.NAME.call_key}; all else is written out",
        ));
        None
    }
}
