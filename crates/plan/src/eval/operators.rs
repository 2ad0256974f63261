//! Comparing, computing, deciding.

use std::cmp::Ordering;

use compact_str::CompactString;
use model::{Number, Value};

use super::EvalError;
use super::run::{Env, Val, run, wrong};
use crate::expr::{BinaryOp, Expr};
use crate::number;

pub(super) fn binary<'e>(
    op: BinaryOp,
    left: &'e Expr,
    right: &'e Expr,
    env: &Env<'e, '_>,
    depth: u32,
) -> Result<Val<'e>, EvalError> {
    if matches!(op, BinaryOp::And | BinaryOp::Or) {
        return decide(op == BinaryOp::Or, left, right, env, depth).map(Val::bool);
    }
    let left = run(left, env, depth + 1)?;
    let right = run(right, env, depth + 1)?;
    match op {
        BinaryOp::Equal => equal(&left, &right, env).map(Val::bool),
        BinaryOp::NotEqual => equal(&left, &right, env).map(|same| Val::bool(!same)),
        BinaryOp::Less => order(&left, &right, env).map(|o| Val::bool(o.is_lt())),
        BinaryOp::LessEqual => order(&left, &right, env).map(|o| Val::bool(o.is_le())),
        BinaryOp::Greater => order(&left, &right, env).map(|o| Val::bool(o.is_gt())),
        BinaryOp::GreaterEqual => order(&left, &right, env).map(|o| Val::bool(o.is_ge())),
        BinaryOp::In => is_in(&left, &right, env).map(Val::bool),
        BinaryOp::Add => add(left, &right, env),
        _ => compute(op, &left, &right),
    }
}

/// `&&` and `||`: whatever decides wins, also over an error on the other side. Only running out of budget is final.
fn decide<'e>(
    deciding: bool,
    left: &'e Expr,
    right: &'e Expr,
    env: &Env<'e, '_>,
    depth: u32,
) -> Result<bool, EvalError> {
    let side = |expr: &'e Expr| {
        let value = run(expr, env, depth + 1)?;
        value.as_bool().ok_or_else(|| wrong("&& and || join booleans", &value))
    };
    let left = side(left);
    if left == Ok(deciding) || left == Err(EvalError::TooCostly) {
        return left;
    }
    let right = side(right);
    if right == Ok(deciding) || right == Err(EvalError::TooCostly) {
        return right;
    }
    left?;
    right
}

/// A number under way.
#[derive(Clone, Copy)]
enum Num<'n> {
    Json(&'n Number),
    Double(f64),
}

fn number_in<'n>(of: &'n Val<'_>) -> Option<Num<'n>> {
    match of {
        Val::Double(double) => Some(Num::Double(*double)),
        Val::Ref(Value::Number(n)) => Some(Num::Json(n)),
        Val::Own(Value::Number(n)) => Some(Num::Json(n)),
        _ => None,
    }
}

impl Num<'_> {
    /// Its value if it is an integer, and whether it is past 63 bits.
    fn integer(self) -> Option<(i128, bool)> {
        match self {
            Num::Json(Number::Int(n)) => Some((i128::from(*n), false)),
            Num::Json(Number::Uint(n)) => Some((i128::from(*n), true)),
            _ => None,
        }
    }

    /// As an operand of double arithmetic: an integer only if that loses no digit.
    fn double(self) -> Result<f64, EvalError> {
        let exact = |n: i128| {
            let double = n as f64;
            if double as i128 == n {
                Ok(double)
            } else {
                Err(EvalError::WrongType(format!("{n} has too many digits to be computed with a double")))
            }
        };
        match self {
            Num::Double(double) => Ok(double),
            Num::Json(n @ Number::Decimal(_)) => number::to_double(n).ok_or(EvalError::Overflow),
            Num::Json(Number::Int(n)) => exact(i128::from(*n)),
            Num::Json(Number::Uint(n)) => exact(i128::from(*n)),
        }
    }

    fn cmp(self, other: Self) -> Ordering {
        match (self, other) {
            (Num::Json(a), Num::Json(b)) => number::compare(a, b),
            (Num::Double(a), Num::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Num::Double(a), b) => match b.integer() {
                Some((b, _)) => number::compare_double(a, b),
                None => a.partial_cmp(&b.double().unwrap_or(f64::NAN)).unwrap_or(Ordering::Equal),
            },
            (a, b) => b.cmp(a).reverse(),
        }
    }
}

fn equal(left: &Val<'_>, right: &Val<'_>, env: &Env<'_, '_>) -> Result<bool, EvalError> {
    if let (Some(left), Some(right)) = (left.value(), right.value()) {
        return match (left, right) {
            (Value::Text(left), Value::Text(right)) => {
                env.spend_text(left.len().min(right.len()))?;
                Ok(left == right)
            }
            (Value::Number(Number::Int(left)), Value::Number(Number::Int(right))) => Ok(left == right),
            _ => number::equal(left, right, &mut |one| {
                env.spend(1)?;
                one.as_str().map_or(Ok(()), |text| env.spend_text(text.len()))
            }),
        };
    }
    Ok(match (number_in(left), number_in(right)) {
        (Some(left), Some(right)) => left.cmp(right).is_eq(),
        _ => false,
    })
}

fn order(left: &Val<'_>, right: &Val<'_>, env: &Env<'_, '_>) -> Result<Ordering, EvalError> {
    if let (Some(left), Some(right)) = (number_in(left), number_in(right)) {
        return Ok(left.cmp(right));
    }
    match (left.value(), right.value()) {
        // UTF-8 sorts by its bytes as by its characters.
        (Some(Value::Text(left)), Some(Value::Text(right))) => {
            env.spend_text(left.len().min(right.len()))?;
            Ok(left.cmp(right))
        }
        (Some(Value::Bool(left)), Some(Value::Bool(right))) => Ok(left.cmp(right)),
        _ => Err(wrong(format_args!("{} cannot be ordered with what is", left.kind()), right)),
    }
}

fn is_in(item: &Val<'_>, of: &Val<'_>, env: &Env<'_, '_>) -> Result<bool, EvalError> {
    match of.value() {
        Some(Value::List(items)) => {
            for other in items {
                env.spend(1)?;
                if equal(item, &Val::Ref(other), env)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Some(Value::Map(map)) => Ok(item.as_text().is_some_and(|name| map.get(name).is_some())),
        _ => Err(wrong("in asks a list or a map", of)),
    }
}

fn add<'e>(left: Val<'e>, right: &Val<'_>, env: &Env<'_, '_>) -> Result<Val<'e>, EvalError> {
    match (left.value(), right.value()) {
        (Some(Value::Text(a)), Some(Value::Text(b))) => {
            env.spend_text(a.len() + b.len())?;
            let mut text = CompactString::with_capacity(a.len() + b.len());
            text.push_str(a);
            text.push_str(b);
            Ok(Val::Own(Value::Text(text)))
        }
        (Some(Value::List(_)), Some(Value::List(b))) => {
            let Value::List(mut items) = left.into_value(env)? else { return Err(EvalError::Overflow) };
            for item in b {
                env.spend_copy(item)?;
                items.push(item.clone());
            }
            Ok(Val::Own(Value::List(items)))
        }
        _ => compute(BinaryOp::Add, &left, right),
    }
}

fn compute<'e>(op: BinaryOp, left: &Val<'_>, right: &Val<'_>) -> Result<Val<'e>, EvalError> {
    let (Some(a), Some(b)) = (number_in(left), number_in(right)) else {
        let symbol = symbol(op);
        return Err(EvalError::WrongType(format!("{symbol} does not join {} with {}", left.kind(), right.kind())));
    };
    if let (Some((a, a_is_large)), Some((b, b_is_large))) = (a.integer(), b.integer()) {
        return whole(op, a, b, a_is_large || b_is_large);
    }
    let (a, b) = (a.double()?, b.double()?);
    let result = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide if b == 0.0 => return Err(EvalError::DivisionByZero),
        BinaryOp::Divide => a / b,
        _ => return Err(EvalError::WrongType("% takes integers".into())),
    };
    if result.is_finite() { Ok(Val::Double(result)) } else { Err(EvalError::Overflow) }
}

/// Integer arithmetic, 128 bits wide inside; a result past 63 bits only where an operand was.
fn whole<'e>(op: BinaryOp, a: i128, b: i128, large: bool) -> Result<Val<'e>, EvalError> {
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Subtract => a.checked_sub(b),
        BinaryOp::Multiply => a.checked_mul(b),
        BinaryOp::Divide | BinaryOp::Remainder if b == 0 => return Err(EvalError::DivisionByZero),
        BinaryOp::Divide => a.checked_div(b),
        // What overflows in 64-bit division overflows in its remainder too, as in CEL's own implementations.
        BinaryOp::Remainder if a == i128::from(i64::MIN) && b == -1 => return Err(EvalError::Overflow),
        _ => a.checked_rem(b),
    };
    let result = result.ok_or(EvalError::Overflow)?;
    let number = match i64::try_from(result) {
        Ok(n) => Number::Int(n),
        Err(_) if large => Number::Uint(u64::try_from(result).map_err(|_| EvalError::Overflow)?),
        Err(_) => return Err(EvalError::Overflow),
    };
    Ok(Val::Own(Value::Number(number)))
}

pub(super) fn negate<'e>(of: &Val<'_>) -> Result<Val<'e>, EvalError> {
    match number_in(of) {
        Some(n) => match n.integer() {
            Some((n, _)) => whole(BinaryOp::Subtract, 0, n, false),
            None => Ok(Val::Double(-n.double()?)),
        },
        None => Err(wrong("- takes a number", of)),
    }
}

fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Remainder => "%",
        BinaryOp::And => "&&",
        BinaryOp::Or => "||",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Less => "<",
        BinaryOp::LessEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::In => "in",
    }
}
