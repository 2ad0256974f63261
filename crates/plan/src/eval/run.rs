//! One expression node after the other: variables, fields, literals, functions.
//!
//! Operators stand in `operators`, macros in `macros`. Nothing here allocates for a value that stands in the
//! scope or the plan already.

use std::borrow::Cow;
use std::cell::Cell;

use compact_str::{CompactString, format_compact};
use model::{Map, Number, TxId, Value};

use super::{COST_MAX, DEPTH_MAX, EvalError, Scope, macros, operators};
use crate::expr::{Expr, Function, UnaryOp, Var};
use crate::number;
use crate::schema::Pattern;

/// A value under way: what JSON can hold, and a double that has not yet left the expression.
#[derive(Debug)]
pub(crate) enum Val<'a> {
    Ref(&'a Value),
    Own(Value),
    Double(f64),
}

/// What the nodes of one evaluation share.
pub(crate) struct Env<'e, 'c> {
    pub(crate) scope: &'e Scope<'e>,
    cost: &'c Cell<u32>,
    bound: Option<&'e Bound<'e>>,
}

/// A variable of a macro, innermost first.
pub(super) struct Bound<'e> {
    pub(super) value: &'e Value,
    pub(super) outer: Option<&'e Bound<'e>>,
}

impl<'e, 'c> Env<'e, 'c> {
    pub(crate) fn new(scope: &'e Scope<'e>, cost: &'c Cell<u32>) -> Self {
        Self { scope, cost, bound: None }
    }

    /// Runs `then` with one more variable.
    pub(super) fn with<T>(&self, value: &Value, then: impl FnOnce(&Env<'_, '_>) -> T) -> T {
        let bound = Bound { value, outer: self.bound };
        then(&Env { scope: self.scope, cost: self.cost, bound: Some(&bound) })
    }

    pub(super) fn spend(&self, cost: usize) -> Result<(), EvalError> {
        match self.cost.get().checked_sub(u32::try_from(cost).unwrap_or(COST_MAX)) {
            Some(rest) => {
                self.cost.set(rest);
                Ok(())
            }
            None => {
                self.cost.set(0);
                Err(EvalError::TooCostly)
            }
        }
    }

    /// Pays for work that grows with a text.
    pub(super) fn spend_text(&self, bytes: usize) -> Result<(), EvalError> {
        if bytes < 64 { Ok(()) } else { self.spend(bytes / 64) }
    }

    /// Pays for a copy of a value.
    pub(super) fn spend_copy(&self, value: &Value) -> Result<(), EvalError> {
        self.spend(1)?;
        match value {
            Value::Text(text) => self.spend_text(text.len()),
            Value::List(items) => items.iter().try_for_each(|item| self.spend_copy(item)),
            Value::Map(map) => map.iter().try_for_each(|(_, member)| self.spend_copy(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }
}

impl<'a> Val<'a> {
    pub(crate) fn bool(value: bool) -> Self {
        Self::Own(Value::Bool(value))
    }

    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Ref(value) => Some(value),
            Self::Own(value) => Some(value),
            Self::Double(_) => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.value() {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        self.value()?.as_str()
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.value().map_or("a number", kind_of)
    }

    pub(crate) fn into_cow(self) -> Result<Cow<'a, Value>, EvalError> {
        match self {
            Self::Ref(value) => Ok(Cow::Borrowed(value)),
            Self::Own(value) => Ok(Cow::Owned(value)),
            Self::Double(double) => {
                let number = number::from_double(double).ok_or(EvalError::Overflow)?;
                Ok(Cow::Owned(Value::Number(number)))
            }
        }
    }

    /// The value itself, copied if it is borrowed, and the copy paid for.
    pub(super) fn into_value(self, env: &Env<'_, '_>) -> Result<Value, EvalError> {
        match self {
            Self::Ref(value) => {
                env.spend_copy(value)?;
                Ok(value.clone())
            }
            other => other.into_cow().map(Cow::into_owned),
        }
    }
}

/// A kind of value with its article, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value.kind() {
        "null" => "null",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        _ => "a map",
    }
}

pub(super) fn wrong(what: impl std::fmt::Display, value: &Val<'_>) -> EvalError {
    EvalError::WrongType(format!("{what}, not {}", value.kind()))
}

/// `tx_` and 26 characters.
pub(crate) fn transaction_id(tx: TxId) -> [u8; 29] {
    let mut text = [0; 29];
    text[..3].copy_from_slice(b"tx_");
    text[3..].copy_from_slice(&tx.text());
    text
}

/// What stands in the plan or the scope already: constants, and fields of fields of the roots. Most expressions of
/// a definition are no more than that. `None` says nothing; [`run`] then finds the value, or the error.
pub(crate) fn direct<'e>(expr: &'e Expr, scope: &'e Scope<'e>) -> Option<&'e Value> {
    match expr {
        Expr::Select(of, field) => match direct(of, scope)? {
            Value::Map(map) => map.get(field),
            _ => None,
        },
        Expr::Const(value) => Some(value),
        Expr::Var(Var::Input) => Some(scope.input),
        Expr::Var(Var::StepResult(step)) => scope.steps.result(*step),
        Expr::Var(Var::ResponseBody) => scope.response.map(|response| response.body),
        Expr::Var(Var::SignalBody) => scope.signal,
        _ => None,
    }
}

/// Evaluates one node.
pub(crate) fn run<'e>(expr: &'e Expr, env: &Env<'e, '_>, depth: u32) -> Result<Val<'e>, EvalError> {
    if depth >= DEPTH_MAX {
        return Err(EvalError::TooCostly);
    }
    env.spend(1)?;
    match expr {
        Expr::Const(value) => Ok(Val::Ref(value)),
        Expr::Var(var) => read(*var, env),
        Expr::Select(of, field) => match direct(expr, env.scope) {
            Some(value) => Ok(Val::Ref(value)),
            None => select(of, field, env, depth),
        },
        Expr::Index(of, at) => index(of, at, env, depth),
        Expr::Has(of, field) => {
            let of = run(of, env, depth + 1)?;
            match of.value() {
                Some(Value::Map(map)) => Ok(Val::bool(map.get(field).is_some())),
                _ => Err(wrong(format_args!("has() asks for a field of a map (\"{field}\")"), &of)),
            }
        }
        Expr::Unary(op, of) => {
            let of = run(of, env, depth + 1)?;
            match op {
                UnaryOp::Not => of.as_bool().map(|b| Val::bool(!b)).ok_or_else(|| wrong("! needs a boolean", &of)),
                UnaryOp::Negate => operators::negate(&of),
            }
        }
        Expr::Binary(op, left, right) => operators::binary(*op, left, right, env, depth),
        Expr::Ternary(condition, then, otherwise) => {
            let condition = run(condition, env, depth + 1)?;
            match condition.as_bool() {
                Some(true) => run(then, env, depth + 1),
                Some(false) => run(otherwise, env, depth + 1),
                None => Err(wrong("the condition before ? must be a boolean", &condition)),
            }
        }
        Expr::List(items) => {
            let items: Result<Vec<Value>, EvalError> =
                items.iter().map(|item| run(item, env, depth + 1)?.into_value(env)).collect();
            Ok(Val::Own(Value::List(items?)))
        }
        Expr::Map(members) => map_of(members, env, depth),
        Expr::Call(function, arguments) => call(*function, arguments, env, depth),
        Expr::Matches(of, pattern) => {
            let of = run(of, env, depth + 1)?;
            matches(&of, pattern, env)
        }
        Expr::Macro(kind, of, body) => macros::run(*kind, of, body, env, depth),
    }
}

fn read<'e>(var: Var, env: &Env<'e, '_>) -> Result<Val<'e>, EvalError> {
    let scope = env.scope;
    let missing = || EvalError::Missing(name_of(var).into());
    Ok(match var {
        Var::Input => Val::Ref(scope.input),
        Var::TransactionId => {
            let text = transaction_id(scope.tx);
            Val::Own(Value::Text(CompactString::from_utf8_lossy(&text)))
        }
        Var::StepResult(step) => Val::Ref(scope.steps.result(step).ok_or_else(missing)?),
        Var::StepOutcome(step) => Val::Own(Value::Text(CompactString::const_new(scope.steps.outcome(step)))),
        Var::StepCallKey(step) => Val::Own(Value::Text(format_compact!("{}", scope.steps.call_key(step)))),
        Var::ResponseStatus => Val::Own(Value::int(i64::from(scope.response.ok_or_else(missing)?.status))),
        Var::ResponseBody => Val::Ref(scope.response.ok_or_else(missing)?.body),
        Var::SignalBody => Val::Ref(scope.signal.ok_or_else(missing)?),
        Var::CallKey => Val::Own(Value::Text(format_compact!("{}", scope.call.ok_or_else(missing)?))),
        Var::Bound(place) => {
            let mut bound = env.bound;
            for _ in 0..place {
                bound = bound.and_then(|b| b.outer);
            }
            Val::Ref(bound.ok_or_else(missing)?.value)
        }
    })
}

fn name_of(var: Var) -> CompactString {
    match var {
        Var::Input => "input".into(),
        Var::TransactionId => "transaction.id".into(),
        Var::StepResult(step) => format_compact!("result of step {step}"),
        Var::StepOutcome(step) => format_compact!("outcome of step {step}"),
        Var::StepCallKey(step) => format_compact!("call_key of step {step}"),
        Var::ResponseStatus => "response.status".into(),
        Var::ResponseBody => "response.body".into(),
        Var::SignalBody => "signal.body".into(),
        Var::CallKey => "call.key".into(),
        Var::Bound(place) => format_compact!("variable {place} of a macro"),
    }
}

/// The way to a value as its author wrote it, as far as the plan still knows.
fn path_of(expr: &Expr, field: &str) -> String {
    match expr {
        Expr::Var(Var::StepResult(step)) => format!("{field} in the result of step {step}"),
        Expr::Var(var) => format!("{}.{field}", name_of(*var)),
        Expr::Select(of, name) => path_of(of, &format!("{name}.{field}")),
        _ => field.to_owned(),
    }
}

fn select<'e>(of: &'e Expr, field: &str, env: &Env<'e, '_>, depth: u32) -> Result<Val<'e>, EvalError> {
    let missing = || EvalError::Missing(path_of(of, field));
    match run(of, env, depth + 1)? {
        Val::Ref(Value::Map(map)) => map.get(field).map(Val::Ref).ok_or_else(missing),
        Val::Own(Value::Map(map)) => map.get(field).cloned().map(Val::Own).ok_or_else(missing),
        other => Err(wrong(format_args!("\"{field}\" is read from a map"), &other)),
    }
}

fn index<'e>(of: &'e Expr, at: &'e Expr, env: &Env<'e, '_>, depth: u32) -> Result<Val<'e>, EvalError> {
    let of = run(of, env, depth + 1)?;
    let at = run(at, env, depth + 1)?;
    match of.value() {
        Some(Value::List(items)) => {
            let place = match (&at, at.value()) {
                (_, Some(Value::Number(Number::Int(place)))) => *place,
                (Val::Double(double), _) if double.fract() == 0.0 && double.abs() < 1e15 => *double as i64,
                _ => return Err(wrong("the place in a list must be an integer", &at)),
            };
            let missing = || EvalError::Missing(format!("place {place} of a list of {}", items.len()));
            let place = usize::try_from(place).ok().filter(|p| *p < items.len()).ok_or_else(missing)?;
            Ok(match of {
                Val::Ref(Value::List(items)) => Val::Ref(&items[place]),
                _ => Val::Own(items[place].clone()),
            })
        }
        Some(Value::Map(map)) => {
            let Some(name) = at.as_text() else {
                return Err(wrong("the name in a map must be a string", &at));
            };
            let missing = || EvalError::Missing(name.to_owned());
            match &of {
                Val::Ref(Value::Map(map)) => map.get(name).map(Val::Ref).ok_or_else(missing),
                _ => map.get(name).cloned().map(Val::Own).ok_or_else(missing),
            }
        }
        _ => Err(wrong("[ ] reads a list or a map", &of)),
    }
}

fn map_of<'e>(members: &'e [(Expr, Expr)], env: &Env<'e, '_>, depth: u32) -> Result<Val<'e>, EvalError> {
    let mut made = Vec::with_capacity(members.len());
    for (name, value) in members {
        let name = run(name, env, depth + 1)?;
        let Some(name) = name.as_text() else {
            return Err(wrong("the name of a member must be a string", &name));
        };
        env.spend_text(name.len())?;
        made.push((CompactString::new(name), run(value, env, depth + 1)?.into_value(env)?));
    }
    let map = Map::from_members(made).ok_or_else(|| EvalError::WrongType("a map names one member twice".into()))?;
    Ok(Val::Own(Value::Map(map)))
}

fn matches<'e>(of: &Val<'_>, pattern: &Pattern, env: &Env<'_, '_>) -> Result<Val<'e>, EvalError> {
    let text = of.as_text().ok_or_else(|| wrong("matches() asks a string", of))?;
    // The engine is linear in the text, with a larger factor than copying has.
    env.spend_text(text.len().saturating_mul(8))?;
    Ok(Val::bool(pattern.is_match(text)))
}

fn call<'e>(function: Function, arguments: &'e [Expr], env: &Env<'e, '_>, depth: u32) -> Result<Val<'e>, EvalError> {
    let one = |place: usize| match arguments.get(place) {
        Some(argument) => run(argument, env, depth + 1),
        None => Err(EvalError::WrongType("a function lacks an argument".into())),
    };
    match function {
        Function::Size => size(&one(0)?, env),
        Function::Contains | Function::StartsWith | Function::EndsWith | Function::Matches => {
            let (of, what) = (one(0)?, one(1)?);
            let (Some(text), Some(part)) = (of.as_text(), what.as_text()) else {
                let strange = if of.as_text().is_none() { &of } else { &what };
                return Err(wrong("a search in a string needs two strings", strange));
            };
            env.spend_text(text.len() + part.len())?;
            match function {
                Function::Contains => Ok(Val::bool(text.contains(part))),
                Function::StartsWith => Ok(Val::bool(text.starts_with(part))),
                Function::EndsWith => Ok(Val::bool(text.ends_with(part))),
                _ => {
                    env.spend(COST_MAX as usize / 20)?;
                    let pattern = Pattern::new(part)
                        .map_err(|_| EvalError::WrongType("matches() was given a pattern that is none".into()))?;
                    matches(&of, &pattern, env)
                }
            }
        }
        Function::ToText => to_text(one(0)?),
        Function::ToInt => to_int(&one(0)?),
        Function::ToDouble => to_double(&one(0)?),
        Function::LowerAscii | Function::UpperAscii => {
            let of = one(0)?;
            let text = of.as_text().ok_or_else(|| wrong("only a string has letters", &of))?;
            env.spend_text(text.len())?;
            let mut text = CompactString::new(text);
            match function {
                Function::LowerAscii => text.make_ascii_lowercase(),
                _ => text.make_ascii_uppercase(),
            }
            Ok(Val::Own(Value::Text(text)))
        }
    }
}

fn size<'e>(of: &Val<'_>, env: &Env<'_, '_>) -> Result<Val<'e>, EvalError> {
    let size = match of.value() {
        Some(Value::Text(text)) => {
            env.spend_text(text.len())?;
            text.chars().count()
        }
        Some(Value::List(items)) => items.len(),
        Some(Value::Map(map)) => map.len(),
        _ => return Err(wrong("size() asks a string, a list or a map", of)),
    };
    Ok(Val::Own(Value::int(i64::try_from(size).unwrap_or(i64::MAX))))
}

fn to_text(of: Val<'_>) -> Result<Val<'_>, EvalError> {
    let text = match (&of, of.value()) {
        (_, Some(Value::Text(_))) => return Ok(of),
        (_, Some(Value::Bool(b))) => CompactString::const_new(if *b { "true" } else { "false" }),
        (_, Some(Value::Number(n))) => number::text(n),
        (Val::Double(double), _) => number::text(&number::from_double(*double).ok_or(EvalError::Overflow)?),
        _ => return Err(wrong("string() takes a string, a number or a boolean", &of)),
    };
    Ok(Val::Own(Value::Text(text)))
}

fn to_int<'e>(of: &Val<'_>) -> Result<Val<'e>, EvalError> {
    let number = match (of, of.value()) {
        (_, Some(Value::Number(n))) => number::truncate(n).ok_or(EvalError::Overflow)?,
        (Val::Double(double), _) => number::from_double(double.trunc()).ok_or(EvalError::Overflow)?,
        (_, Some(Value::Text(text))) => match text.parse() {
            Ok(n) => Number::Int(n),
            Err(_) => return Err(EvalError::WrongType("int() was given text that is no 64-bit integer".into())),
        },
        _ => return Err(wrong("int() takes a number or a string", of)),
    };
    match number {
        Number::Int(_) => Ok(Val::Own(Value::Number(number))),
        Number::Uint(_) | Number::Decimal(_) => Err(EvalError::Overflow),
    }
}

fn to_double<'e>(of: &Val<'_>) -> Result<Val<'e>, EvalError> {
    let double = match (of, of.value()) {
        (Val::Double(double), _) => Some(*double),
        (_, Some(Value::Number(n))) => number::to_double(n),
        (_, Some(Value::Text(text))) => text.parse().ok().filter(|f: &f64| f.is_finite()),
        _ => return Err(wrong("double() takes a number or a string", of)),
    };
    double.map(Val::Double).ok_or_else(|| EvalError::WrongType("double() was given text that is no number".into()))
}
