//! CEL's grammar, by the `cel` crate: its parser only, without its macros and without its interpreter.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{EntryExpr, Expr as Cel, IdedExpr, LiteralValue, SourceInfo, operators as op};
use compact_str::CompactString;
use model::{Number, Value};
use plan::{BinaryOp, UnaryOp};

use super::tokens::{Token, Tokens, tokens, wrong};
use super::{BYTES_MAX, Tree, TreeNode, Wrong};
use crate::source::Span;

/// Reads the expression at the start of `text`, which ends at the text's end or at a `}` not opened in it.
/// Gives the tree and the byte of that end.
pub(crate) fn parse(text: &str) -> (Result<Tree, Wrong>, usize) {
    let found = match tokens(text) {
        Ok(found) => found,
        Err(wrong) => return (Err(wrong), text.len()),
    };
    let end = found.end;
    (grammar(&text[..end], &found), end)
}

fn grammar(text: &str, tokens: &Tokens) -> Result<Tree, Wrong> {
    if tokens.all.is_empty() {
        return Err(wrong(0, text.len().max(1), "an empty expression"));
    }
    if text.len() > BYTES_MAX {
        let message = format!("an expression of {} bytes, at most {BYTES_MAX} are read", text.len());
        return Err(Wrong { too_large: true, span: Span::new(0, text.len()), message });
    }
    // The parser is generated code that asserts its own expectations. No input is known to break them since only
    // whole tokens reach it; should one, it is the author's mistake in one expression and not the end of a server.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        let parser = cel::Env::default().with_optional_support(false).parser();
        parser.max_recursion_depth(64).error_recovery_limit(4).parse_with_source_info(text)
    }));
    match parsed {
        Ok(Ok((cel, places))) => Reader { text, tokens, places: &places }.tree(&cel),
        Ok(Err(errors)) => Err(syntax(text, tokens, &errors)),
        Err(_) => Err(wrong(0, text.len(), "this cannot be read as an expression")),
    }
}

fn syntax(text: &str, tokens: &Tokens, errors: &cel::ParseErrors) -> Wrong {
    // Later stages complain of what the grammar left incomplete; the grammar's own word is the cause.
    let grammar = errors.errors.iter().find(|e| e.msg.starts_with("Syntax error"));
    let first = grammar.or_else(|| errors.errors.first());
    let message = first.map_or("", |e| e.msg.as_str());
    let (line, column) = first.map_or((1, 1), |e| (e.pos.0.max(1) as usize, e.pos.1.max(1) as usize));
    let line_start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let at = line_start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(at, _)| at);
    if message.contains("ecursion limit") {
        let message = "an expression nested too deep".to_owned();
        return Wrong { too_large: true, span: Span::new(0, text.len()), message };
    }
    for (part, said) in [
        ("invalid int literal", "a whole number that does not fit 64 bits"),
        ("invalid uint literal", "a whole number that does not fit 64 bits"),
        ("invalid double literal", "a number beyond what a double can hold"),
        ("invalid string literal", "a text with an escape that means no character"),
    ] {
        if message.contains(part) {
            let span = tokens.from(at).unwrap_or_else(|| Span::new(at, at + 1));
            return wrong(span.start, span.end, said);
        }
    }
    if let Some(word) = message.strip_prefix("reserved identifier: ") {
        return wrong(at, at + word.len(), &format!("\"{word}\" is a reserved word of CEL"));
    }
    match tokens.from(at) {
        Some(span) => wrong(span.start, span.end, &format!("\"{}\" is not expected here", &text[span.start..span.end])),
        None => {
            let last = tokens.all.last().map_or(Span::new(0, 1), |(_, span)| *span);
            wrong(last.start, last.end, "the expression ends too early")
        }
    }
}

struct Reader<'p> {
    text: &'p str,
    tokens: &'p Tokens,
    places: &'p SourceInfo,
}

impl Reader<'_> {
    /// The token an operator, a name or a literal was made of.
    fn token(&self, id: u64) -> Span {
        let Some((start, stop)) = self.places.offset_for(id) else { return Span::new(0, self.text.len()) };
        let end = stop as usize + 1;
        let end = (end..=self.text.len()).find(|e| self.text.is_char_boundary(*e)).unwrap_or(self.text.len());
        Span::new((start as usize).min(end), end)
    }

    fn tree(&self, cel: &IdedExpr) -> Result<Tree, Wrong> {
        let token = self.token(cel.id);
        match &cel.expr {
            Cel::Literal(literal) => self.literal(literal, token),
            Cel::Ident(name) if name.starts_with('.') => {
                Err(wrong(token.start, token.end, "a name does not begin with a point"))
            }
            Cel::Ident(name) => Ok(Tree { span: token, node: TreeNode::Name(name.clone()) }),
            Cel::Select(select) => {
                let of = self.tree(&select.operand)?;
                let name = self.tokens.from(token.end).unwrap_or(token);
                Ok(Tree { span: of.span.to(name), node: TreeNode::Select(Box::new(of), select.field.clone()) })
            }
            Cel::Call(call) => self.call(call, token),
            Cel::List(list) => {
                let items = list.elements.iter().map(|e| self.tree(e)).collect::<Result<_, _>>()?;
                Ok(Tree { span: self.to_partner(token), node: TreeNode::List(items) })
            }
            Cel::Map(map) => {
                let mut members = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(member) = &entry.expr else { continue };
                    members.push((self.tree(&member.key)?, self.tree(&member.value)?));
                }
                Ok(Tree { span: self.to_partner(token), node: TreeNode::Map(members) })
            }
            Cel::Struct(_) => Err(wrong(token.start, token.end, "typed messages are not part of the language")),
            Cel::Comprehension(_) | Cel::Unspecified => {
                Err(wrong(token.start, token.end, "this cannot be read as an expression"))
            }
        }
    }

    fn to_partner(&self, open: Span) -> Span {
        Span::new(open.start, self.tokens.partner(open.start).map_or(open.end, |at| at + 1))
    }

    fn literal(&self, literal: &LiteralValue, token: Span) -> Result<Tree, Wrong> {
        let value = match literal {
            LiteralValue::Null => Value::Null,
            LiteralValue::Boolean(b) => Value::Bool(*b.inner()),
            LiteralValue::Int(n) => Value::int(*n.inner()),
            // One kind of whole number: `5u` is 5.
            LiteralValue::UInt(n) => {
                let n = *n.inner();
                Value::Number(i64::try_from(n).map_or(Number::Uint(n), Number::Int))
            }
            LiteralValue::Double(d) => {
                // A whole JSON number is an integer; one that shall compute as a double is made one (see `plan::Expr`).
                let text = CompactString::new(format!("{:?}", d.inner()));
                if d.inner().fract() != 0.0 {
                    Value::Number(Number::Decimal(text))
                } else {
                    let arg = Tree { span: token, node: TreeNode::Literal(Value::Text(text)) };
                    let node = TreeNode::Call { name: "double".into(), of: None, args: vec![arg] };
                    return Ok(Tree { span: token, node });
                }
            }
            LiteralValue::String(text) => Value::Text(CompactString::new(text.inner())),
            LiteralValue::Bytes(_) => return Err(wrong(token.start, token.end, "bytes are not part of the language")),
        };
        // The sign of a negative number is part of the literal, not of its token.
        let negative = matches!(literal, LiteralValue::Int(n) if *n.inner() < 0)
            || matches!(literal, LiteralValue::Double(d) if d.inner().is_sign_negative());
        let mut span = token;
        if negative
            && let Some(at) = self.text[..token.start].rfind('-')
            && self.text[at + 1..token.start].trim().is_empty()
        {
            span.start = at;
        }
        Ok(Tree { span, node: TreeNode::Literal(value) })
    }

    fn call(&self, call: &cel::common::ast::CallExpr, token: Span) -> Result<Tree, Wrong> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.tree(arg)?);
        }
        let all = args.iter().fold(token, |span, arg| span.to(arg.span));
        let unary = match call.func_name.as_str() {
            op::LOGICAL_NOT => Some(UnaryOp::Not),
            op::NEGATE => Some(UnaryOp::Negate),
            _ => None,
        };
        let binary = match call.func_name.as_str() {
            op::LOGICAL_AND => Some(BinaryOp::And),
            op::LOGICAL_OR => Some(BinaryOp::Or),
            op::EQUALS => Some(BinaryOp::Equal),
            op::NOT_EQUALS => Some(BinaryOp::NotEqual),
            op::LESS => Some(BinaryOp::Less),
            op::LESS_EQUALS => Some(BinaryOp::LessEqual),
            op::GREATER => Some(BinaryOp::Greater),
            op::GREATER_EQUALS => Some(BinaryOp::GreaterEqual),
            op::ADD => Some(BinaryOp::Add),
            op::SUBSTRACT => Some(BinaryOp::Subtract),
            op::MULTIPLY => Some(BinaryOp::Multiply),
            op::DIVIDE => Some(BinaryOp::Divide),
            op::MODULO => Some(BinaryOp::Remainder),
            op::IN => Some(BinaryOp::In),
            _ => None,
        };
        let mut given = args.into_iter();
        let mut arg =
            || given.next().map(Box::new).ok_or_else(|| wrong(token.start, token.end, "something is missing"));
        if let Some(unary) = unary {
            return Ok(Tree { span: all, node: TreeNode::Unary(unary, arg()?) });
        }
        if let Some(binary) = binary {
            return Ok(Tree { span: all, node: TreeNode::Binary(binary, arg()?, arg()?) });
        }
        if call.func_name == op::CONDITIONAL {
            return Ok(Tree { span: all, node: TreeNode::Ternary(arg()?, arg()?, arg()?) });
        }
        if call.func_name == op::INDEX {
            let (of, index) = (arg()?, arg()?);
            let span = of.span.to(self.to_partner(token));
            return Ok(Tree { span, node: TreeNode::Index(of, index) });
        }
        let of = call.target.as_ref().map(|t| self.tree(t)).transpose()?;
        // The token of a call is its opening bracket; its name stands right before.
        let name = self.word_before(token.start).unwrap_or(token);
        let start = of.as_ref().map_or(name.start, |t| t.span.start);
        let span = Span::new(start, self.to_partner(token).end);
        let node = TreeNode::Call { name: call.func_name.clone(), of: of.map(Box::new), args: given.collect() };
        Ok(Tree { span, node })
    }

    fn word_before(&self, byte: usize) -> Option<Span> {
        let at = self.tokens.all.partition_point(|(_, span)| span.start < byte);
        let (token, span) = self.tokens.all.get(at.checked_sub(1)?)?;
        (*token == Token::Word).then_some(*span)
    }
}
