//! What is known to hold where an expression is evaluated: guards, and the conditions of steps that have run.
//!
//! A fact is an expression and the verdict it is known to have. Inputs, kept results and outcomes of ended steps
//! never change, so the same expression has the same verdict wherever it stands.

use model::{StepIndex, Value};
use plan::{BinaryOp, Expr, UnaryOp, Var};

#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<(Expr, bool)>);

impl Facts {
    /// With what follows from `expr` being `verdict`. `when` gives the condition of a step.
    pub(crate) fn with<'e>(&self, expr: &Expr, verdict: bool, when: &dyn Fn(StepIndex) -> Option<&'e Expr>) -> Self {
        let mut all = self.clone();
        let mut next = Vec::new();
        take_apart(expr, verdict, &mut next);
        while let Some((expr, verdict)) = next.pop() {
            if all.know(&expr, verdict) {
                continue;
            }
            // A step that is done was not skipped, so its condition held.
            if verdict
                && let Some(step) = says_done(&expr)
                && let Some(condition) = when(step)
            {
                take_apart(condition, true, &mut next);
            }
            all.0.push((expr, verdict));
        }
        all
    }

    pub(crate) fn know(&self, expr: &Expr, verdict: bool) -> bool {
        self.0.iter().any(|(known, v)| *v == verdict && known == expr)
    }

    /// Whether a whole condition is known to hold.
    pub(crate) fn know_all(&self, condition: &Expr) -> bool {
        let mut parts = Vec::new();
        take_apart(condition, true, &mut parts);
        parts.iter().all(|(expr, verdict)| self.know(expr, *verdict))
    }

    pub(crate) fn know_done(&self, step: StepIndex) -> bool {
        self.0.iter().any(|(known, verdict)| *verdict && says_done(known) == Some(step))
    }
}

/// The atoms that must hold for `expr` to be `verdict`.
fn take_apart(expr: &Expr, verdict: bool, into: &mut Vec<(Expr, bool)>) {
    match (expr, verdict) {
        (Expr::Binary(BinaryOp::And, a, b), true) | (Expr::Binary(BinaryOp::Or, a, b), false) => {
            take_apart(a, verdict, into);
            take_apart(b, verdict, into);
        }
        (Expr::Unary(UnaryOp::Not, of), _) => take_apart(of, !verdict, into),
        (Expr::Binary(BinaryOp::NotEqual, a, b), _) => {
            into.push((Expr::Binary(BinaryOp::Equal, a.clone(), b.clone()), !verdict));
        }
        _ => into.push((expr.clone(), verdict)),
    }
}

/// `steps.x.outcome == "done"`, either way round.
fn says_done(expr: &Expr) -> Option<StepIndex> {
    let Expr::Binary(BinaryOp::Equal, a, b) = expr else { return None };
    let done = |e: &Expr| matches!(e, Expr::Const(Value::Text(text)) if text == "done");
    match (&**a, &**b) {
        (Expr::Var(Var::StepOutcome(step)), other) | (other, Expr::Var(Var::StepOutcome(step))) if done(other) => {
            Some(*step)
        }
        _ => None,
    }
}
