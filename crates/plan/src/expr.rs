//! Expressions: CEL, parsed and checked by `definition`, here as a tree with every name resolved.
//!
//! The tree is closed (no clock, no chance, no environment), bounded in size and depth when it is made, and
//! bounded in cost when it is evaluated.

use compact_str::CompactString;
use model::{StepIndex, Value};
use serde::{Deserialize, Serialize};

use crate::schema::Pattern;

/// The roots an expression may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Var {
    /// `input`: an object.
    Input,
    /// `transaction.id`: text.
    TransactionId,
    /// `steps.<name>.result`: an object of the kept fields.
    StepResult(StepIndex),
    /// `steps.<name>.outcome`: `"done"`, `"refused"`, `"failed"`, `"unknown"`, `"skipped"` or `"pending"`.
    StepOutcome(StepIndex),
    /// `steps.<name>.call_key`: text, known before the call.
    StepCallKey(StepIndex),
    /// `response.status`: an integer.
    ResponseStatus,
    /// `response.body`: any JSON; null if there was none.
    ResponseBody,
    /// `signal.body`: any JSON.
    SignalBody,
    /// `call.key`: the key of the call being rendered.
    CallKey,
    /// A variable bound by a macro, by depth: 0 is the innermost.
    Bound(u8),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    /// A literal. A whole number here is an integer; a double literal with a whole value, such as `2.0` or
    /// `1e300`, is `Call(ToDouble, [Const("2.0")])`, because a JSON number with a whole value is always an integer.
    Const(#[serde(with = "crate::as_text::value")] Value),
    Var(Var),
    /// `of.field`: an error if it is missing.
    Select(Box<Expr>, CompactString),
    /// `of[index]`: of a list by integer, of a map by text.
    Index(Box<Expr>, Box<Expr>),
    /// `has(of.field)`.
    Has(Box<Expr>, CompactString),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if ? then : else`.
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Call(Function, Vec<Expr>),
    /// `of.matches("…")` with a constant pattern: compiled once, with the plan.
    /// ([`Function::Matches`] is for patterns that are computed, and compiles at every evaluation.)
    Matches(Box<Expr>, Pattern),
    /// `of.all(x, body)` and the like; `body` sees the element as [`Var::Bound`] 0.
    Macro(Macro, Box<Expr>, Box<Expr>),
}

impl Expr {
    /// Whether it reads this variable anywhere.
    pub fn mentions(&self, var: &Var) -> bool {
        match self {
            Self::Const(_) => false,
            Self::Var(own) => own == var,
            Self::Select(of, _) | Self::Has(of, _) | Self::Unary(_, of) | Self::Matches(of, _) => of.mentions(var),
            Self::Index(a, b) | Self::Binary(_, a, b) | Self::Macro(_, a, b) => a.mentions(var) || b.mentions(var),
            Self::Ternary(a, b, c) => a.mentions(var) || b.mentions(var) || c.mentions(var),
            Self::List(items) | Self::Call(_, items) => items.iter().any(|item| item.mentions(var)),
            Self::Map(members) => members.iter().any(|(key, value)| key.mentions(var) || value.mentions(var)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryOp {
    Not,
    Negate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryOp {
    /// Commutative as in CEL: an error on one side yields to a deciding value on the other.
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    In,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    /// `string(x)`.
    ToText,
    /// `int(x)`.
    ToInt,
    /// `double(x)`.
    ToDouble,
    LowerAscii,
    UpperAscii,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}
