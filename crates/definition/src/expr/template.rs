//! Text with `${…}` inside, and JSON with such text inside.
//!
//! `$${` is a literal `${`. A scalar that is one expression keeps its JSON type; text around makes it text.

use compact_str::CompactString;
use model::Value;
use plan::{Expr, TextPart, TextTemplate, ValueTemplate};

use super::lower::{Here, Lower, Reads, Root, Site, Typed, World};
use super::types::{self, Type};
use super::{Tree, TreeNode, parse};
use crate::diagnostic::{Code, Problem, Report};
use crate::source::Span;
use crate::yaml::{Kind, Node, Resolved, Scalar};

/// A file may have so many expressions: reading one costs far more than its bytes.
const EXPRESSIONS_MAX: usize = 2_000;

/// A piece of a scalar: bytes of its text.
enum Piece {
    Literal(String),
    /// The text between `${` and `}`, and what it says.
    Expr(Span, Tree),
}

/// What lowering needs besides the place of an expression.
pub(crate) struct Lowering<'l, 'w> {
    pub(crate) world: &'l World<'w>,
    pub(crate) file: &'l str,
    pub(crate) report: &'l mut Report,
    pub(crate) reads: &'l mut Reads,
}

impl<'w> Lowering<'_, 'w> {
    fn say(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.report.add(Problem::new(code, span, message));
    }

    /// A value that must be one whole `${…}` which can be one of `kinds`.
    pub(crate) fn expression(&mut self, node: &Node, here: &Here, kinds: u8, what: &str) -> Option<Expr> {
        let scalar = match &node.kind {
            Kind::Scalar(scalar) => scalar,
            Kind::Broken => return None,
            Kind::List(_) | Kind::Map(_) => {
                self.say(
                    Code::WrongType,
                    node.span,
                    format!("{what} is an expression, ${{…}}, this is {}", node.what()),
                );
                return None;
            }
        };
        let pieces = self.pieces(scalar)?;
        let [Piece::Expr(span, tree)] = pieces.as_slice() else {
            let message = format!("{what} is one expression, ${{…}}");
            let mut problem = Problem::new(Code::WrongType, node.span, message);
            if !scalar.text.contains("${") && !scalar.text.is_empty() {
                problem = problem.under(format!("did you mean ${{{}}}?", crate::yaml::shown(&scalar.text)));
            }
            self.report.add(problem);
            return None;
        };
        let (typed, tree_span) = self.lower(node, scalar, *span, tree, here)?;
        self.must_be(&typed, scalar, tree_span, kinds, what)?;
        Some(typed.expr)
    }

    fn must_be(&mut self, typed: &Typed<'_>, scalar: &Scalar, span: Span, kinds: u8, what: &str) -> Option<()> {
        if typed.ty.may_be(kinds) {
            return Some(());
        }
        let message = format!("{what} must be {}, this is {}", Type::of(kinds).describe(), typed.ty.describe());
        self.say(Code::TypeMismatch, scalar.span_of(span.start, span.end), message);
        None
    }

    /// Text with expressions inside, each of which must be able to become text.
    pub(crate) fn text(&mut self, node: &Node, here: &Here, what: &str) -> Option<TextTemplate> {
        let scalar = match &node.kind {
            Kind::Scalar(scalar) => scalar,
            Kind::Broken => return None,
            Kind::List(_) | Kind::Map(_) => {
                self.say(Code::WrongType, node.span, format!("{what} is text, this is {}", node.what()));
                return None;
            }
        };
        if scalar.resolve() == Resolved::Null {
            self.say(Code::WrongType, node.span, format!("{what} is text, this is nothing"));
            return None;
        }
        let pieces = self.pieces(scalar)?;
        self.parts(node, scalar, &pieces, here)
    }

    fn parts(&mut self, node: &Node, scalar: &Scalar, pieces: &[Piece], here: &Here) -> Option<TextTemplate> {
        let mut parts = Vec::with_capacity(pieces.len());
        let mut fine = true;
        for piece in pieces {
            let part = match piece {
                Piece::Literal(text) => Some(TextPart::Literal(CompactString::new(text))),
                Piece::Expr(span, tree) => match self.secret(scalar, *span, tree, here) {
                    Some(name) => name.map(TextPart::Secret),
                    None => self.lower(node, scalar, *span, tree, here).and_then(|(typed, at)| {
                        let kinds = types::TEXT | types::NUMBER | types::BOOL;
                        self.must_be(&typed, scalar, at, kinds, "what stands in text")?;
                        Some(TextPart::Expr(typed.expr))
                    }),
                },
            };
            match part {
                Some(part) => parts.push(part),
                None => fine = false,
            }
        }
        fine.then_some(TextTemplate(parts))
    }

    /// `${secret.name}` where secrets may stand: outer `None` if it is something else.
    fn secret(&mut self, scalar: &Scalar, span: Span, tree: &Tree, here: &Here) -> Option<Option<CompactString>> {
        if !here.roots.contains(&Root::Secret) {
            return None;
        }
        let TreeNode::Select(of, name) = &tree.node else { return None };
        if !matches!(&of.node, TreeNode::Name(root) if root == "secret") {
            return None;
        }
        if !crate::names::NameRule::Underscored.allows(name) {
            let message = format!("\"{name}\" is no name of a secret");
            let at = scalar.span_of(span.start, span.end);
            let rule = crate::names::NameRule::Underscored.describe();
            self.report.add(Problem::new(Code::BadName, at, message).note(format!("a name has {rule}")));
            return Some(None);
        }
        Some(Some(CompactString::new(name)))
    }

    /// JSON with expressions inside.
    pub(crate) fn json(&mut self, node: &Node, here: &Here) -> Option<ValueTemplate> {
        match &node.kind {
            Kind::Broken => None,
            Kind::Scalar(scalar) => self.json_scalar(node, scalar, here),
            Kind::List(items) => {
                let made: Vec<_> = items.iter().map(|item| self.json(item, here)).collect();
                let made: Vec<_> = made.into_iter().collect::<Option<_>>()?;
                if made.iter().all(|m| matches!(m, ValueTemplate::Literal(_))) {
                    return Some(ValueTemplate::Literal(Value::List(made.into_iter().filter_map(literal).collect())));
                }
                Some(ValueTemplate::List(made))
            }
            Kind::Map(entries) => {
                let mut members = Vec::with_capacity(entries.len());
                let mut fine = true;
                for entry in entries {
                    if entry.name.contains("${") {
                        self.say(
                            Code::BadExpression,
                            entry.name_span,
                            "an expression stands in a value, not in a name",
                        );
                        fine = false;
                    }
                    match self.json(&entry.value, here) {
                        Some(value) => members.push((CompactString::new(&entry.name), value)),
                        None => fine = false,
                    }
                }
                members.sort_by(|a, b| a.0.cmp(&b.0));
                fine.then_some(ValueTemplate::Map(members))
            }
        }
    }

    fn json_scalar(&mut self, node: &Node, scalar: &Scalar, here: &Here) -> Option<ValueTemplate> {
        match scalar.resolve() {
            Resolved::Text => {}
            Resolved::Ambiguous(why) => {
                self.report.add(ambiguous(node, scalar, &why));
                return None;
            }
            Resolved::Null | Resolved::Bool(_) | Resolved::Number(_) => {
                return scalar.value().map(ValueTemplate::Literal);
            }
        }
        let pieces = self.pieces(scalar)?;
        match pieces.as_slice() {
            [] => Some(ValueTemplate::Literal(Value::text(""))),
            [Piece::Literal(text)] => Some(ValueTemplate::Literal(Value::text(text.as_str()))),
            [Piece::Expr(span, tree)] => {
                self.lower(node, scalar, *span, tree, here).map(|(t, _)| ValueTemplate::Expr(t.expr))
            }
            _ => self.parts(node, scalar, &pieces, here).map(ValueTemplate::Text),
        }
    }

    /// Cuts a scalar at its expressions.
    fn pieces(&mut self, scalar: &Scalar) -> Option<Vec<Piece>> {
        let text = scalar.text.as_str();
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${") {
            let open = at + found;
            if open > at && text.as_bytes()[open - 1] == b'$' {
                literal.push_str(&text[at..open - 1]);
                literal.push_str("${");
                at = open + 2;
                continue;
            }
            literal.push_str(&text[at..open]);
            self.report.expressions += 1;
            if self.report.expressions > EXPRESSIONS_MAX {
                let message = format!("more than {EXPRESSIONS_MAX} expressions in one file");
                self.say(Code::TooLarge, scalar.span_of(open, open + 2), message);
                return None;
            }
            let (tree, length) = parse(&text[open + 2..]);
            let close = open + 2 + length;
            let tree = match tree {
                Ok(tree) => tree,
                Err(wrong) => {
                    let start = (open + 2 + wrong.span.start).min(text.len().saturating_sub(1));
                    let span = scalar.span_of(start, (open + 2 + wrong.span.end).min(text.len()).max(start));
                    let code = if wrong.too_large { Code::TooLarge } else { Code::BadExpression };
                    self.say(code, span, wrong.message);
                    return None;
                }
            };
            if text.as_bytes().get(close) != Some(&b'}') {
                self.say(Code::BadExpression, scalar.span_of(open, open + 2), "this expression has no closing }");
                return None;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Expr(Span::new(open + 2, close), tree));
            at = close + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Some(pieces)
    }

    /// The expression and the bytes of the scalar's text that it fills.
    fn lower(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        span: Span,
        tree: &Tree,
        here: &Here,
    ) -> Option<(Typed<'w>, Span)> {
        let text = &scalar.text[span.start..span.end];
        let line = self.file[..node.span.start.min(self.file.len())].rfind('\n').map_or(0, |at| at + 1);
        let lead = self.file.get(line..node.span.start).unwrap_or_default().trim_start();
        let site = Site { template: &scalar.text, at: span.start, lead, scalar };
        let at = Span::new(span.start + tree.span.start, span.start + tree.span.end);
        let typed = Lower::new(self.world, here, &site, text, self.report, self.reads).run(tree)?;
        Some((typed, at))
    }
}

fn literal(template: ValueTemplate) -> Option<Value> {
    match template {
        ValueTemplate::Literal(value) => Some(value),
        _ => None,
    }
}

/// The finding for a plain scalar that YAML reads otherwise than it looks.
pub(crate) fn ambiguous(node: &Node, scalar: &Scalar, why: &str) -> Problem {
    Problem::new(Code::QuoteThis, node.span, format!("put quotes around this: {why}"))
        .note(format!("write \"{}\" for the text", crate::yaml::shown(&scalar.text)))
}
