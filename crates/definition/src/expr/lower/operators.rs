//! Operators and functions: what they take, what they give.

use model::Value;
use plan::schema::Pattern;
use plan::{BinaryOp, Expr, Function, Macro, UnaryOp, Var};

use super::{Lower, Typed, is_comparison};
use crate::diagnostic::Code;
use crate::expr::types::{self, Type};
use crate::expr::{Tree, TreeNode};
use crate::names::did_you_mean;
use crate::source::Span;

const OUTCOMES: [&str; 6] = ["done", "refused", "failed", "unknown", "skipped", "pending"];

const FUNCTIONS: [&str; 16] = [
    "has",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "double",
    "lowerAscii",
    "upperAscii",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
];

impl<'w> Lower<'_, 'w, '_> {
    pub(super) fn unary(&mut self, op: UnaryOp, of: &Tree) -> Option<Typed<'w>> {
        let (of, ty) = match op {
            UnaryOp::Not => (self.of_kind(of, types::BOOL, "what stands after !")?, Type::of(types::BOOL)),
            UnaryOp::Negate => {
                let of = self.of_kind(of, types::NUMBER, "what stands after -")?;
                let ty = Type::of(of.ty.kinds & types::NUMBER);
                (of, ty)
            }
        };
        Some(Typed { expr: Expr::Unary(op, Box::new(of.expr)), ty })
    }

    pub(super) fn binary(&mut self, tree: &Tree, op: BinaryOp, a: &Tree, b: &Tree) -> Option<Typed<'w>> {
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            let what = "each side of && and ||";
            let left = self.of_kind(a, types::BOOL, what);
            let right = self.assuming(left.as_ref(), op == BinaryOp::And, |lower| lower.of_kind(b, types::BOOL, what));
            return Some(joined(op, left?, right?, Type::of(types::BOOL)));
        }
        let (left, right) = (self.value(a), self.value(b));
        let (left, right) = (left?, right?);
        let (l, r) = (left.ty.kinds, right.ty.kinds);
        let both = |kinds: u8| l & kinds != 0 && r & kinds != 0;
        let fits = match op {
            BinaryOp::Equal | BinaryOp::NotEqual => l & r != 0 || both(types::NUMBER),
            BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual => {
                both(types::NUMBER) || both(types::TEXT) || both(types::BOOL)
            }
            BinaryOp::Add => both(types::NUMBER) || both(types::TEXT) || both(types::LIST),
            BinaryOp::Remainder => both(types::INT),
            BinaryOp::In => {
                let items = right.ty.items().kinds;
                let in_list = r & types::LIST != 0 && (l & items != 0 || (l & items & types::NUMBER) != 0);
                in_list || (r & types::MAP != 0 && l & types::TEXT != 0)
            }
            _ => both(types::NUMBER),
        };
        if !fits {
            let sign = sign(op);
            let message = match op {
                BinaryOp::Equal | BinaryOp::NotEqual => "these can never be equal".to_owned(),
                BinaryOp::In => "this can never be in it".to_owned(),
                BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual => {
                    "these have no order".to_owned()
                }
                _ => format!("{sign} does not join these"),
            };
            let problem = self.problem(Code::TypeMismatch, tree.span, message).under(format!(
                "left is {}, right is {}",
                left.ty.describe(),
                right.ty.describe()
            ));
            self.report.add(problem);
            return None;
        }
        if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) {
            self.outcome_word(&left, &right, tree.span)?;
        }
        let ty = if is_comparison(op) {
            Type::of(types::BOOL)
        } else {
            let mut kinds = 0;
            if both(types::NUMBER) {
                // A whole result of a computation with doubles is whole again.
                let whole = (l | r) & types::DOUBLE == 0;
                kinds |= if whole { types::INT } else { types::NUMBER };
            }
            if op == BinaryOp::Add {
                kinds |= l & r & (types::TEXT | types::LIST);
            }
            Type::of(kinds)
        };
        Some(joined(op, left, right, ty))
    }

    /// A comparison of an outcome with a word that is none would be false for ever.
    fn outcome_word(&mut self, a: &Typed<'_>, b: &Typed<'_>, span: Span) -> Option<()> {
        let word = match (&a.expr, &b.expr) {
            (Expr::Var(Var::StepOutcome(_)), Expr::Const(Value::Text(word)))
            | (Expr::Const(Value::Text(word)), Expr::Var(Var::StepOutcome(_))) => word,
            _ => return Some(()),
        };
        if OUTCOMES.contains(&word.as_str()) {
            return Some(());
        }
        let mut problem = self.problem(Code::TypeMismatch, span, format!("\"{word}\" is no outcome of a step"));
        if let Some(near) = did_you_mean(word, OUTCOMES) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        self.report.add(problem.note(format!("the outcomes are: {}", OUTCOMES.join(", "))));
        None
    }

    pub(super) fn call(&mut self, tree: &Tree, name: &str, of: Option<&Tree>, args: &[Tree]) -> Option<Typed<'w>> {
        let told = self.macro_of(name, of, args.len());
        if let (Some(kind), Some(of)) = (told, of) {
            return self.macro_call(kind, of, args, tree);
        }
        match (name, of, args) {
            ("has", None, [arg]) => self.has(arg),
            ("size", Some(of), []) | ("size", None, [of]) => {
                let of = self.of_kind(of, types::TEXT | types::LIST | types::MAP, "what has a size")?;
                Some(called(Function::Size, vec![of], types::INT))
            }
            ("contains" | "startsWith" | "endsWith", Some(of), [part]) => {
                let function = match name {
                    "contains" => Function::Contains,
                    "startsWith" => Function::StartsWith,
                    _ => Function::EndsWith,
                };
                let of = self.of_kind(of, types::TEXT, "what is searched");
                let part = self.of_kind(part, types::TEXT, "what is searched for");
                Some(called(function, vec![of?, part?], types::BOOL))
            }
            ("matches", Some(of), [pattern]) | ("matches", None, [of, pattern]) => self.matches(of, pattern),
            ("string", None, [of]) => {
                let of = self.of_kind(of, types::TEXT | types::NUMBER | types::BOOL, "what becomes text")?;
                Some(called(Function::ToText, vec![of], types::TEXT))
            }
            ("int", None, [of]) => {
                let of = self.of_kind(of, types::TEXT | types::NUMBER, "what becomes a whole number")?;
                Some(called(Function::ToInt, vec![of], types::INT))
            }
            ("double", None, [of]) => {
                let of = self.of_kind(of, types::TEXT | types::NUMBER, "what becomes a number")?;
                Some(called(Function::ToDouble, vec![of], types::NUMBER))
            }
            ("lowerAscii" | "upperAscii", Some(of), []) => {
                let function = if name == "lowerAscii" { Function::LowerAscii } else { Function::UpperAscii };
                let of = self.of_kind(of, types::TEXT, "what has letters")?;
                Some(called(function, vec![of], types::TEXT))
            }
            _ => {
                self.no_function(tree, name);
                None
            }
        }
    }

    fn macro_of(&self, name: &str, of: Option<&Tree>, args: usize) -> Option<Macro> {
        of?;
        match (name, args) {
            ("all", 2) => Some(Macro::All),
            ("exists", 2) => Some(Macro::Exists),
            ("exists_one" | "existsOne", 2) => Some(Macro::ExistsOne),
            ("map", 2 | 3) => Some(Macro::Map),
            ("filter", 2) => Some(Macro::Filter),
            _ => None,
        }
    }

    fn matches(&mut self, of: &Tree, pattern: &Tree) -> Option<Typed<'w>> {
        let of = self.of_kind(of, types::TEXT, "what is matched");
        let TreeNode::Literal(Value::Text(text)) = &pattern.node else {
            let message = "a pattern is written out, so that it is checked and compiled once";
            self.say(Code::BadExpression, pattern.span, message);
            return None;
        };
        match Pattern::new(text) {
            Ok(compiled) => {
                Some(Typed { expr: Expr::Matches(Box::new(of?.expr), compiled), ty: Type::of(types::BOOL) })
            }
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned();
                self.say(Code::BadExpression, pattern.span, format!("this pattern cannot be used: {reason}"));
                None
            }
        }
    }

    fn no_function(&mut self, tree: &Tree, name: &str) {
        let message = if FUNCTIONS.contains(&name) {
            let usage = match name {
                "has" => "has(input.field)",
                "size" => "size(x)",
                "string" | "int" | "double" => "string(x), int(x), double(x)",
                "all" | "exists" | "exists_one" | "filter" => "list.all(x, condition)",
                "map" => "list.map(x, made)",
                "lowerAscii" | "upperAscii" => "text.lowerAscii()",
                _ => "text.contains(\"part\")",
            };
            format!("{name} is not called like this; write {usage}")
        } else {
            format!("there is no function \"{name}\"")
        };
        let mut problem = self.problem(Code::UnknownFunction, tree.span, message);
        if let Some(near) = did_you_mean(name, FUNCTIONS)
            && near != name
        {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        let clock = ["now", "timestamp", "duration", "random", "uuid", "getFullYear", "getHours"];
        if clock.contains(&name) {
            problem = problem.note("expressions have no clock, no environment and no chance");
        }
        self.report.add(problem.note(format!("the functions are: {}", FUNCTIONS.join(", "))));
    }
}

fn joined<'w>(op: BinaryOp, left: Typed<'w>, right: Typed<'w>, ty: Type<'w>) -> Typed<'w> {
    Typed { expr: Expr::Binary(op, Box::new(left.expr), Box::new(right.expr)), ty }
}

fn called<'w>(function: Function, args: Vec<Typed<'w>>, kinds: u8) -> Typed<'w> {
    Typed { expr: Expr::Call(function, args.into_iter().map(|a| a.expr).collect()), ty: Type::of(kinds) }
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::And => "&&",
        BinaryOp::Or => "||",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Less => "<",
        BinaryOp::LessEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Remainder => "%",
        BinaryOp::In => "in",
    }
}
