//! `all`, `exists`, `exists_one`, `map`, `filter`: over the items of a list, or the names of a map.

use std::borrow::Cow;

use model::Value;

use super::EvalError;
use super::run::{Env, Val, run as run_node, wrong};
use crate::expr::{Expr, Macro};

pub(super) fn run<'e>(
    kind: Macro,
    of: &'e Expr,
    body: &'e Expr,
    env: &Env<'e, '_>,
    depth: u32,
) -> Result<Val<'e>, EvalError> {
    let range = run_node(of, env, depth + 1)?;
    let items: Items<'_> = match range.value() {
        Some(Value::List(items)) => Items::List(items.iter()),
        Some(Value::Map(map)) => Items::Names(map.iter()),
        _ => return Err(wrong("all, exists, exists_one, map and filter go over a list or a map", &range)),
    };
    let holds = |item: &Value| {
        env.with(item, |inner| {
            let value = run_node(body, inner, depth + 1)?;
            value.as_bool().ok_or_else(|| wrong("the condition of a macro must be a boolean", &value))
        })
    };
    match kind {
        Macro::All => deciding(false, items, holds).map(Val::bool),
        Macro::Exists => deciding(true, items, holds).map(Val::bool),
        Macro::ExistsOne => {
            let mut count = 0usize;
            for item in items {
                count += usize::from(holds(&item)?);
            }
            Ok(Val::bool(count == 1))
        }
        Macro::Filter => {
            let mut kept = Vec::new();
            for item in items {
                if holds(&item)? {
                    env.spend_copy(&item)?;
                    kept.push(item.into_owned());
                }
            }
            Ok(Val::Own(Value::List(kept)))
        }
        Macro::Map => {
            let mut made = Vec::new();
            for item in items {
                made.push(env.with(&item, |inner| run_node(body, inner, depth + 1)?.into_value(inner))?);
            }
            Ok(Val::Own(Value::List(made)))
        }
    }
}

/// A chain of `&&` or `||` over the items: an error yields to an item that decides.
fn deciding(
    value: bool,
    items: Items<'_>,
    holds: impl Fn(&Value) -> Result<bool, EvalError>,
) -> Result<bool, EvalError> {
    let mut first_error = None;
    for item in items {
        match holds(&item) {
            Ok(answer) if answer == value => return Ok(value),
            Ok(_) => {}
            Err(EvalError::TooCostly) => return Err(EvalError::TooCostly),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(!value), Err)
}

enum Items<'r> {
    List(std::slice::Iter<'r, Value>),
    Names(std::slice::Iter<'r, (compact_str::CompactString, Value)>),
}

impl<'r> Iterator for Items<'r> {
    type Item = Cow<'r, Value>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::List(items) => items.next().map(Cow::Borrowed),
            Self::Names(members) => members.next().map(|(name, _)| Cow::Owned(Value::Text(name.clone()))),
        }
    }
}
