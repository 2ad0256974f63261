//! A tree to a [`plan::Expr`]: names resolved, types checked, and nothing read that may not be there.

mod operators;
mod roots;

use compact_str::CompactString;
use model::{StepIndex, Value};
use plan::schema::Schema;
use plan::{BinaryOp, Expr, Macro, Var};

use super::facts::Facts;
use super::types::{self, Member, Type};
use super::{Tree, TreeNode};
use crate::diagnostic::{Code, Problem, Report};
use crate::names::did_you_mean;
use crate::source::Span;

/// Evaluation goes this deep (`plan::eval::DEPTH_MAX`, less a little).
const DEPTH_MAX: usize = 60;

/// What names can mean in one definition.
#[derive(Debug, Default)]
pub(crate) struct World<'w> {
    /// `None` if the input is broken or there is none: its fields are not checked then.
    pub(crate) input: Option<&'w Schema>,
    pub(crate) steps: Vec<StepInfo>,
}

/// What expressions may know of a step.
#[derive(Debug)]
pub(crate) struct StepInfo {
    pub(crate) name: String,
    /// The names it keeps; `None` if that part is broken.
    pub(crate) results: Option<Vec<String>>,
    pub(crate) when: Option<Expr>,
    /// Of the whole value of `when`.
    pub(crate) when_span: Option<Span>,
    /// Of `optional: true`.
    pub(crate) optional: Option<Span>,
    /// The steps that have ended before this one starts, by index.
    pub(crate) earlier: Vec<bool>,
}

/// Where an expression stands, and so what it may name.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) roots: &'static [Root],
    pub(crate) moment: Moment,
    pub(crate) facts: Facts,
}

/// When it is evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Before there are steps, or where there are none.
    Outside,
    /// Before or while this step runs.
    Forward(usize),
    /// While this step is undone.
    Undo(usize),
    /// When the outcome is decided.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Root {
    Input,
    Transaction,
    Steps,
    Response,
    Signal,
    Call,
    Secret,
}

impl Root {
    pub(crate) const ALL: [Self; 7] =
        [Self::Input, Self::Transaction, Self::Steps, Self::Response, Self::Signal, Self::Call, Self::Secret];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Transaction => "transaction",
            Self::Steps => "steps",
            Self::Response => "response",
            Self::Signal => "signal",
            Self::Call => "call",
            Self::Secret => "secret",
        }
    }
}

/// Which kept fields anything reads: `(step, field)`; a whole result as `None`.
pub(crate) type Reads = std::collections::BTreeSet<(usize, Option<String>)>;

/// The text around an expression, for advice.
#[derive(Debug)]
pub(crate) struct Site<'s> {
    /// The whole scalar.
    pub(crate) template: &'s str,
    /// Where in it the expression's text begins.
    pub(crate) at: usize,
    /// What stands before the scalar on its line.
    pub(crate) lead: &'s str,
    /// Bytes of the scalar's text to bytes of the file.
    pub(crate) scalar: &'s crate::yaml::Scalar,
}

pub(crate) struct Lower<'l, 'w, 'r> {
    pub(crate) world: &'l World<'w>,
    pub(crate) here: &'l Here,
    pub(crate) site: &'l Site<'l>,
    /// The expression's own text.
    pub(crate) text: &'l str,
    pub(crate) report: &'r mut Report,
    pub(crate) reads: &'r mut Reads,
    facts: Facts,
    bound: Vec<(String, Type<'w>)>,
}

/// An expression with its type.
#[derive(Debug)]
pub(crate) struct Typed<'w> {
    pub(crate) expr: Expr,
    pub(crate) ty: Type<'w>,
}

impl<'l, 'w, 'r> Lower<'l, 'w, 'r> {
    pub(crate) fn new(
        world: &'l World<'w>,
        here: &'l Here,
        site: &'l Site<'l>,
        text: &'l str,
        report: &'r mut Report,
        reads: &'r mut Reads,
    ) -> Self {
        Self { world, here, site, text, report, reads, facts: here.facts.clone(), bound: Vec::new() }
    }

    /// `None` if something was wrong, which has been said.
    pub(crate) fn run(&mut self, tree: &Tree) -> Option<Typed<'w>> {
        if depth(tree) > DEPTH_MAX {
            self.say(Code::TooLarge, tree.span, format!("an expression nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        self.value(tree)
    }

    fn file_span(&self, span: Span) -> Span {
        self.site.scalar.span_of(self.site.at + span.start, self.site.at + span.end)
    }

    fn problem(&self, code: Code, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(code, self.file_span(span), message)
    }

    fn say(&mut self, code: Code, span: Span, message: impl Into<String>) {
        let problem = self.problem(code, span, message);
        self.report.add(problem);
    }

    fn value(&mut self, tree: &Tree) -> Option<Typed<'w>> {
        match &tree.node {
            TreeNode::Literal(value) => Some(Typed { ty: Type::of_value(value), expr: Expr::Const(value.clone()) }),
            TreeNode::Name(_) | TreeNode::Select(..) => self.path(tree),
            TreeNode::Index(of, at) => self.index(tree, of, at),
            TreeNode::Unary(op, of) => self.unary(*op, of),
            TreeNode::Binary(op, a, b) => self.binary(tree, *op, a, b),
            TreeNode::Ternary(condition, a, b) => self.ternary(condition, a, b),
            TreeNode::List(items) => {
                let lowered: Vec<_> = items.iter().map(|item| self.value(item)).collect();
                let lowered: Vec<_> = lowered.into_iter().collect::<Option<_>>()?;
                let ty = lowered.iter().map(|i| i.ty.clone()).reduce(Type::or).unwrap_or(Type::ANYTHING);
                Some(Typed { expr: Expr::List(lowered.into_iter().map(|i| i.expr).collect()), ty: Type::list(ty) })
            }
            TreeNode::Map(members) => self.map(members),
            TreeNode::Call { name, of, args } => self.call(tree, name, of.as_deref(), args),
        }
    }

    fn map(&mut self, members: &[(Tree, Tree)]) -> Option<Typed<'w>> {
        let mut lowered = Vec::with_capacity(members.len());
        let mut fine = true;
        for (name, value) in members {
            let key = self.of_kind(name, types::TEXT, "the name of a member");
            let value = self.value(value);
            match (key, value) {
                (Some(key), Some(value)) => {
                    if lowered.iter().any(|(k, _)| *k == key.expr && matches!(k, Expr::Const(_))) {
                        self.say(Code::BadExpression, name.span, "a map names one member twice");
                        fine = false;
                    }
                    lowered.push((key.expr, value.expr));
                }
                _ => fine = false,
            }
        }
        fine.then(|| Typed { expr: Expr::Map(lowered), ty: Type::of(types::MAP) })
    }

    /// A value that must be able to be one of `kinds`.
    pub(crate) fn of_kind(&mut self, tree: &Tree, kinds: u8, what: &str) -> Option<Typed<'w>> {
        let value = self.value(tree)?;
        if !value.ty.may_be(kinds) {
            let message = format!("{what} must be {}, this is {}", Type::of(kinds).describe(), value.ty.describe());
            self.say(Code::TypeMismatch, tree.span, message);
            return None;
        }
        Some(value)
    }

    fn ternary(&mut self, condition: &Tree, a: &Tree, b: &Tree) -> Option<Typed<'w>> {
        let condition = self.of_kind(condition, types::BOOL, "what stands before ?");
        let a = self.assuming(condition.as_ref(), true, |lower| lower.value(a));
        let b = self.assuming(condition.as_ref(), false, |lower| lower.value(b));
        let (condition, a, b) = (condition?, a?, b?);
        let expr = Expr::Ternary(Box::new(condition.expr), Box::new(a.expr), Box::new(b.expr));
        Some(Typed { expr, ty: a.ty.or(b.ty) })
    }

    /// Runs `then` knowing that a condition has a verdict.
    fn assuming<T>(&mut self, condition: Option<&Typed<'w>>, verdict: bool, then: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.facts.clone();
        if let Some(condition) = condition {
            self.facts = before.with(&condition.expr, verdict, &|step| self.when_of(step));
        }
        let result = then(self);
        self.facts = before;
        result
    }

    fn when_of(&self, step: StepIndex) -> Option<&'l Expr> {
        let world: &'l World<'w> = self.world;
        world.steps.get(usize::from(step))?.when.as_ref()
    }

    fn index(&mut self, tree: &Tree, of: &Tree, at: &Tree) -> Option<Typed<'w>> {
        // `input["a"]` is `input.a` written otherwise, and is checked as such.
        if let TreeNode::Literal(Value::Text(name)) = &at.node
            && !matches!(of.node, TreeNode::List(_))
        {
            let node = TreeNode::Select(Box::new(of.clone()), name.to_string());
            return self.path(&Tree { span: tree.span, node });
        }
        let of = self.of_kind(of, types::LIST | types::MAP, "what [ ] reads");
        let place = match of.as_ref().map(|o| o.ty.kinds & (types::LIST | types::MAP)) {
            Some(types::LIST) => self.of_kind(at, types::NUMBER, "a place in a list"),
            Some(types::MAP) => self.of_kind(at, types::TEXT, "the name of a member"),
            _ => self.of_kind(at, types::NUMBER | types::TEXT, "what stands in [ ]"),
        };
        let (of, place) = (of?, place?);
        let ty = if of.ty.may_be(types::MAP) { Type::ANYTHING } else { of.ty.items() };
        Some(Typed { expr: Expr::Index(Box::new(of.expr), Box::new(place.expr)), ty })
    }

    fn macro_call(&mut self, kind: Macro, of: &Tree, args: &[Tree], tree: &Tree) -> Option<Typed<'w>> {
        let range = self.of_kind(of, types::LIST | types::MAP, "what it goes over");
        let [name, body @ ..] = args else { return None };
        let TreeNode::Name(name) = &name.node else {
            self.say(Code::BadExpression, name.span, "the first argument names the element, for instance x");
            return None;
        };
        let item = match &range {
            Some(range) if !range.ty.may_be(types::MAP) => range.ty.items(),
            Some(range) if !range.ty.may_be(types::LIST) => Type::of(types::TEXT),
            _ => Type::ANYTHING,
        };
        self.bound.push((name.clone(), item.clone()));
        let bodies: Vec<_> = match (kind, body) {
            (Macro::Map, [one]) => vec![self.value(one)],
            (Macro::Map, [condition, one]) => {
                vec![self.of_kind(condition, types::BOOL, "the condition"), self.value(one)]
            }
            (_, [condition]) => vec![self.of_kind(condition, types::BOOL, "the condition")],
            _ => Vec::new(),
        };
        self.bound.pop();
        let bodies: Vec<_> = bodies.into_iter().collect::<Option<_>>()?;
        let range = range?;
        let mut bodies = bodies.into_iter();
        let (Some(first), second) = (bodies.next(), bodies.next()) else {
            self.say(Code::BadExpression, tree.span, "a condition is missing");
            return None;
        };
        let ty = match (kind, &second) {
            (Macro::Map, None) => Type::list(first.ty),
            (Macro::Map, Some(made)) => Type::list(made.ty.clone()),
            (Macro::Filter, _) => Type::list(item),
            _ => Type::of(types::BOOL),
        };
        let over = Box::new(range.expr);
        let expr = match second {
            // `map(x, condition, made)` is a filter and then a map.
            Some(made) => {
                let kept = Expr::Macro(Macro::Filter, over, Box::new(first.expr));
                Expr::Macro(Macro::Map, Box::new(kept), Box::new(made.expr))
            }
            None => Expr::Macro(kind, over, Box::new(first.expr)),
        };
        Some(Typed { expr, ty })
    }

    /// `of.name`, where `of` is a value.
    fn member(&mut self, of: Typed<'w>, name: &str, tree: &Tree, of_tree: &Tree) -> Option<Typed<'w>> {
        if !of.ty.may_be(types::MAP) {
            let message = format!("\"{name}\" is read from an object, this is {}", of.ty.describe());
            self.say(Code::TypeMismatch, of_tree.span, message);
            return None;
        }
        let field = CompactString::new(name);
        let ty = match of.ty.member(name) {
            Member::Unknown => Type::ANYTHING,
            Member::Required(ty) => ty,
            Member::Optional(ty) => {
                if !self.facts.know(&Expr::Has(Box::new(of.expr.clone()), field.clone()), true) {
                    self.not_required(tree, name);
                    return None;
                }
                ty
            }
            Member::NotNamed(schema) => {
                self.unknown_member(schema, name, tree, of_tree);
                return None;
            }
        };
        Some(Typed { expr: Expr::Select(Box::new(of.expr), field), ty })
    }

    fn not_required(&mut self, tree: &Tree, name: &str) {
        let path = &self.text[tree.span.start..tree.span.end];
        let problem = self
            .problem(Code::InputNotRequired, tree.span, format!("\"{name}\" is not required, so it may be missing"))
            .note(format!("guard it with has(), for instance:\n{}", self.guarded(tree.span, &format!("has({path})"))));
        self.report.add(problem);
    }

    /// The whole value with `guard ? path : ""` at the place of a path.
    fn guarded(&self, span: Span, guard: &str) -> String {
        let path = &self.text[span.start..span.end];
        let whole = span.start == 0 && span.end >= self.text.trim_end().len();
        let (open, close) = if whole { ("", "") } else { ("(", ")") };
        let (before, after) = (&self.text[..span.start], &self.text[span.end..]);
        let template = self.site.template;
        let rest = template.get(self.site.at + self.text.len()..).unwrap_or_default();
        let ahead = template.get(..self.site.at).unwrap_or_default();
        let text = format!("{ahead}{before}{open}{guard} ? {path} : \"\"{close}{after}{rest}");
        format!("{}'{}'", self.site.lead, text.replace('\'', "''"))
    }

    fn unknown_member(&mut self, schema: &Schema, name: &str, tree: &Tree, of: &Tree) {
        let names: Vec<&str> = schema.properties.iter().map(|(n, _)| n.as_str()).collect();
        let of_text = self.text[of.span.start..of.span.end].to_owned();
        let mut problem = self.problem(Code::UnknownInput, tree.span, format!("{of_text} has no \"{name}\""));
        if let Some(near) = did_you_mean(name, names.iter().copied()) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        let has = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        self.report.add(problem.note(format!("{of_text} has: {has}")));
    }

    fn bound_variable(&self, name: &str) -> Option<Typed<'w>> {
        let at = self.bound.iter().rposition(|(n, _)| n == name)?;
        let depth = u8::try_from(self.bound.len() - 1 - at).ok()?;
        Some(Typed { expr: Expr::Var(Var::Bound(depth)), ty: self.bound[at].1.clone() })
    }
}

fn depth(tree: &Tree) -> usize {
    let below = match &tree.node {
        TreeNode::Literal(_) | TreeNode::Name(_) => 0,
        TreeNode::Select(of, _) | TreeNode::Unary(_, of) => depth(of),
        TreeNode::Index(a, b) | TreeNode::Binary(_, a, b) => depth(a).max(depth(b)),
        TreeNode::Ternary(a, b, c) => depth(a).max(depth(b)).max(depth(c)),
        TreeNode::List(items) => items.iter().map(depth).max().unwrap_or(0),
        TreeNode::Map(members) => members.iter().map(|(k, v)| depth(k).max(depth(v))).max().unwrap_or(0),
        TreeNode::Call { of, args, .. } => {
            // `map` with a condition becomes two levels.
            args.iter().chain(of.as_deref()).map(depth).max().unwrap_or(0) + 1
        }
    };
    below + 1
}

/// Whether an operator only ever gives true or false.
fn is_comparison(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterEqual
            | BinaryOp::In
    )
}
