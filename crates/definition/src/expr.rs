//! Expressions: from the text inside `${…}` to a [`plan::Expr`] with every name resolved and every type checked.
//!
//! ```text
//! text ─tokens─► bounds, brackets ─parse─► Tree (CEL's grammar, by the `cel` crate) ─lower─► plan::Expr + Type
//! ```
//! Evaluation is `plan`'s; nothing here computes a value.

pub(crate) mod facts;
pub(crate) mod lower;
mod parse;
pub(crate) mod template;
mod tokens;
pub(crate) mod types;

use model::Value;
use plan::{BinaryOp, UnaryOp};

use crate::source::Span;

pub(crate) use parse::parse;

/// An expression may have so many bytes.
pub(crate) const BYTES_MAX: usize = 2_000;
/// Words, numbers, texts and signs in one expression.
pub(crate) const TOKENS_MAX: usize = 300;
/// Brackets of all kinds may be nested so deep.
pub(crate) const NESTING_MAX: usize = 16;

/// What was written, with its places as bytes of the expression's own text.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) span: Span,
    pub(crate) node: TreeNode,
}

#[derive(Clone, Debug)]
pub(crate) enum TreeNode {
    Literal(Value),
    Name(String),
    Select(Box<Tree>, String),
    Index(Box<Tree>, Box<Tree>),
    Unary(UnaryOp, Box<Tree>),
    Binary(BinaryOp, Box<Tree>, Box<Tree>),
    Ternary(Box<Tree>, Box<Tree>, Box<Tree>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    Call { name: String, of: Option<Box<Tree>>, args: Vec<Tree> },
}

/// What is wrong with an expression, in bytes of its own text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    pub(crate) too_large: bool,
    pub(crate) span: Span,
    pub(crate) message: String,
}
