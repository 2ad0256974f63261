//! Names: what `input`, `steps`, `response` and the others mean, where they may stand, and what is there when.

use model::StepIndex;
use plan::{Expr, Var};

use super::{Lower, Moment, Root, Typed};
use crate::diagnostic::Code;
use crate::expr::types::{self, Member, Type};
use crate::expr::{Tree, TreeNode};
use crate::names::did_you_mean;

/// The beginning of a path that is not a value yet.
enum Part<'w> {
    Root(Root),
    Step(usize),
    Value(Typed<'w>),
}

/// Why a step's result may not be there.
enum Absent {
    /// It has not ended yet.
    NotEnded,
    /// Its own result, before it has one.
    Own,
    Skipped,
    Optional,
}

impl<'w> Lower<'_, 'w, '_> {
    /// A name, or members of one.
    pub(super) fn path(&mut self, tree: &Tree) -> Option<Typed<'w>> {
        match self.part(tree)? {
            Part::Value(value) => {
                if let Expr::Var(Var::StepResult(step)) = value.expr {
                    self.reads.insert((usize::from(step), None));
                    if !self.result_is_there(usize::from(step), tree) {
                        return None;
                    }
                }
                Some(value)
            }
            Part::Root(root) => {
                let example = match root {
                    Root::Transaction => "transaction.id",
                    Root::Steps => "steps.<name>.result.<field>",
                    Root::Response => "response.status or response.body",
                    Root::Signal => "signal.body",
                    Root::Call => "call.key",
                    Root::Secret | Root::Input => "secret.<name>",
                };
                let message = format!("\"{}\" alone is no value; write {example}", root.name());
                self.say(Code::NotHere, tree.span, message);
                None
            }
            Part::Step(step) => {
                let name = self.world.steps[step].name.clone();
                let message =
                    format!("a step alone is no value; write steps.{name}.result.<field>, .outcome or .call_key");
                self.say(Code::NotHere, tree.span, message);
                None
            }
        }
    }

    /// `has(of.field)`.
    pub(super) fn has(&mut self, arg: &Tree) -> Option<Typed<'w>> {
        let TreeNode::Select(of_tree, field) = &arg.node else {
            self.say(Code::BadExpression, arg.span, "has() asks for a field: has(input.name)");
            return None;
        };
        let of = match self.part(of_tree)? {
            Part::Value(value) => value,
            // `has(steps.fee)` and `has(response.body)` ask nothing: those are always there, or never.
            Part::Root(_) | Part::Step(_) => {
                self.say(Code::BadExpression, arg.span, "has() asks for a field of an object, this is always there");
                return None;
            }
        };
        if let Expr::Var(Var::StepResult(step)) = of.expr {
            self.kept(usize::from(step), field, arg)?;
        } else if !of.ty.may_be(types::MAP) {
            let message = format!("has() asks for a field of an object, this is {}", of.ty.describe());
            self.say(Code::TypeMismatch, of_tree.span, message);
            return None;
        } else if let Member::NotNamed(schema) = of.ty.member(field) {
            self.unknown_member(schema, field, arg, of_tree);
            return None;
        }
        Some(Typed { expr: Expr::Has(Box::new(of.expr), field.as_str().into()), ty: Type::of(types::BOOL) })
    }

    fn part(&mut self, tree: &Tree) -> Option<Part<'w>> {
        match &tree.node {
            TreeNode::Name(name) => {
                if let Some(bound) = self.bound_variable(name) {
                    return Some(Part::Value(bound));
                }
                let root = self.root(tree, name)?;
                if root == Root::Input {
                    let ty = self.world.input.map_or(Type::ANYTHING, Type::of_schema);
                    return Some(Part::Value(Typed { expr: Expr::Var(Var::Input), ty }));
                }
                Some(Part::Root(root))
            }
            TreeNode::Select(of, name) => match self.part(of)? {
                Part::Root(root) => self.below_root(root, name, tree),
                Part::Step(step) => self.below_step(step, name, tree),
                Part::Value(value) => {
                    if let Expr::Var(Var::StepResult(step)) = value.expr {
                        return self.kept(usize::from(step), name, tree).map(Part::Value);
                    }
                    self.member(value, name, tree, of).map(Part::Value)
                }
            },
            TreeNode::Index(of, at) => self.index(tree, of, at).map(Part::Value),
            _ => self.value(tree).map(Part::Value),
        }
    }

    fn root(&mut self, tree: &Tree, name: &str) -> Option<Root> {
        let here: Vec<&str> = self.here.roots.iter().map(|r| r.name()).collect();
        let list = if here.is_empty() { "nothing".into() } else { here.join(", ") };
        match Root::ALL.into_iter().find(|r| r.name() == name) {
            Some(root) if self.here.roots.contains(&root) => Some(root),
            Some(root) => {
                let why = match root {
                    Root::Secret => "secrets stand in the headers of a participant, whole: ${secret.name}",
                    Root::Response => "an answer exists in `answers` and `result` of a call",
                    Root::Signal => "a signal exists in `answers` and `result` of its wait",
                    Root::Call => "a call has a key in `call` and `compensate`",
                    Root::Steps | Root::Input | Root::Transaction => "there is no transaction yet",
                };
                let problem = self.problem(Code::NotHere, tree.span, format!("\"{name}\" cannot be named here"));
                self.report.add(problem.note(why).note(format!("here one can name: {list}")));
                None
            }
            None => {
                let mut problem = self.problem(Code::NotHere, tree.span, format!("\"{name}\" is not a name"));
                if let Some(near) = did_you_mean(name, here.iter().copied()) {
                    problem = problem.under(format!("did you mean \"{near}\"?"));
                } else if self.world.steps.iter().any(|s| s.name == name) {
                    problem = problem.under(format!("did you mean \"steps.{name}\"?"));
                }
                self.report.add(problem.note(format!("here one can name: {list}")));
                None
            }
        }
    }

    fn below_root(&mut self, root: Root, name: &str, tree: &Tree) -> Option<Part<'w>> {
        let (var, kinds, has) = match (root, name) {
            (Root::Steps, _) => return self.step(name, tree).map(Part::Step),
            (Root::Transaction, "id") => (Var::TransactionId, types::TEXT, ""),
            (Root::Response, "status") => (Var::ResponseStatus, types::INT, ""),
            (Root::Response, "body") => (Var::ResponseBody, types::ANY, ""),
            (Root::Signal, "body") => (Var::SignalBody, types::ANY, ""),
            (Root::Call, "key") => (Var::CallKey, types::TEXT, ""),
            (Root::Transaction, _) => (Var::Input, 0, "id"),
            (Root::Response, _) => (Var::Input, 0, "status, body"),
            (Root::Signal, _) => (Var::Input, 0, "body"),
            (Root::Call, _) => (Var::Input, 0, "key"),
            (Root::Secret | Root::Input, _) => {
                let message = "a secret stands alone, nothing is computed with it: ${secret.name}";
                self.say(Code::NotHere, tree.span, message);
                return None;
            }
        };
        if kinds == 0 {
            let mut problem = self.problem(Code::NotHere, tree.span, format!("{} has no \"{name}\"", root.name()));
            if let Some(near) = did_you_mean(name, has.split(", ")) {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            self.report.add(problem.note(format!("{} has: {has}", root.name())));
            return None;
        }
        Some(Part::Value(Typed { expr: Expr::Var(var), ty: Type::of(kinds) }))
    }

    fn step(&mut self, name: &str, tree: &Tree) -> Option<usize> {
        let found = self.world.steps.iter().position(|s| s.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.world.steps.iter().map(|s| s.name.as_str()).collect();
            let mut problem = self.problem(Code::UnknownStep, tree.span, format!("there is no step \"{name}\""));
            if let Some(near) = did_you_mean(name, names.iter().copied()) {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            self.report.add(problem.note(format!("the steps are: {}", names.join(", "))));
        }
        found
    }

    fn below_step(&mut self, step: usize, name: &str, tree: &Tree) -> Option<Part<'w>> {
        let index = StepIndex::try_from(step).ok()?;
        let (var, kinds) = match name {
            "call_key" => (Var::StepCallKey(index), types::TEXT),
            "outcome" => {
                if !self.has_ended(step) {
                    self.absent(step, &Absent::NotEnded, tree);
                    return None;
                }
                (Var::StepOutcome(index), types::TEXT)
            }
            "result" => (Var::StepResult(index), types::MAP),
            _ => {
                let step_name = &self.world.steps[step].name;
                let problem = self.problem(Code::NotHere, tree.span, format!("steps.{step_name} has no \"{name}\""));
                let keeps = self.world.steps[step].results.iter().flatten().any(|r| r == name);
                let near = did_you_mean(name, ["result", "outcome", "call_key"]);
                let problem = match near {
                    _ if keeps => problem.under(format!("did you mean \"steps.{step_name}.result.{name}\"?")),
                    Some(near) => problem.under(format!("did you mean \"{near}\"?")),
                    None => problem,
                };
                self.report.add(problem.note("a step has: result, outcome, call_key"));
                return None;
            }
        };
        Some(Part::Value(Typed { expr: Expr::Var(var), ty: Type::of(kinds) }))
    }

    /// `steps.<name>.result.<field>`.
    fn kept(&mut self, step: usize, field: &str, tree: &Tree) -> Option<Typed<'w>> {
        let info = &self.world.steps[step];
        if let Some(results) = &info.results
            && !results.iter().any(|r| r == field)
        {
            let name = info.name.clone();
            let keeps = if results.is_empty() { "nothing".into() } else { results.join(", ") };
            let mut problem =
                self.problem(Code::UnknownResult, tree.span, format!("step \"{name}\" keeps no \"{field}\""));
            if let Some(near) = did_you_mean(field, results.iter().map(String::as_str)) {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            self.report.add(problem.note(format!("step {name} keeps: {keeps}")));
            return None;
        }
        self.reads.insert((step, Some(field.to_owned())));
        if !self.result_is_there(step, tree) {
            return None;
        }
        let of = Expr::Var(Var::StepResult(StepIndex::try_from(step).ok()?));
        Some(Typed { expr: Expr::Select(Box::new(of), field.into()), ty: Type::ANYTHING })
    }

    fn result_is_there(&mut self, step: usize, tree: &Tree) -> bool {
        match self.absence(step) {
            None => true,
            Some(why) => {
                self.absent(step, &why, tree);
                // A warning of an undo that has to wait for an answer is no reason to stop.
                matches!((why, self.here.moment), (Absent::Own, Moment::Undo(_)))
            }
        }
    }

    fn has_ended(&self, step: usize) -> bool {
        match self.here.moment {
            Moment::Outside => false,
            Moment::End => true,
            Moment::Forward(own) => self.world.steps[own].earlier.get(step).copied().unwrap_or(true),
            // Undoing begins when nothing moves forward any more.
            Moment::Undo(_) => true,
        }
    }

    fn absence(&self, step: usize) -> Option<Absent> {
        let info = &self.world.steps[step];
        if StepIndex::try_from(step).is_ok_and(|s| self.facts.know_done(s)) {
            return None;
        }
        match self.here.moment {
            Moment::Outside => return Some(Absent::NotEnded),
            Moment::Forward(own) | Moment::Undo(own) if own == step => return Some(Absent::Own),
            Moment::Forward(own) | Moment::Undo(own) => {
                if !self.world.steps[own].earlier.get(step).copied().unwrap_or(true) {
                    return Some(Absent::NotEnded);
                }
            }
            Moment::End => {}
        }
        if info.optional.is_some() {
            return Some(Absent::Optional);
        }
        match &info.when {
            // A condition that could not be read has been reported; guess nothing from it.
            None => None,
            Some(when) if self.facts.know_all(when) => None,
            Some(_) => Some(Absent::Skipped),
        }
    }

    fn absent(&mut self, step: usize, why: &Absent, tree: &Tree) {
        let info = &self.world.steps[step];
        let name = &info.name;
        let use_then = || {
            let guard = format!("steps.{name}.outcome == \"done\"");
            format!("say what to use then, for instance:\n{}", self.guarded(tree.span, &guard))
        };
        let problem = match (why, self.here.moment) {
            (Absent::Skipped, _) => {
                let problem =
                    self.problem(Code::MayNotHaveRun, tree.span, format!("step \"{name}\" may have been skipped"));
                let problem = match info.when_span {
                    Some(span) => problem.label(span, "skipped when this is false"),
                    None => problem,
                };
                problem.note(use_then())
            }
            (Absent::Optional, _) => {
                let message = format!("step \"{name}\" is optional and may not be done");
                let problem = self.problem(Code::MayNotHaveRun, tree.span, message);
                let problem = match info.optional {
                    Some(span) => problem.label(span, "goes on when it fails"),
                    None => problem,
                };
                problem.note(use_then())
            }
            (Absent::Own, Moment::Undo(_)) => {
                let message = format!("the undo of step \"{name}\" uses what its own answer said");
                self.problem(Code::CompensationNeedsAnswer, tree.span, message)
                    .note("if that answer never comes, the undo waits, with needs_attention, until somebody knows")
                    .note(format!("the participant can find the call by steps.{name}.call_key, which is known before"))
            }
            (Absent::Own, _) => {
                let message = format!("step \"{name}\" has no result while it runs");
                self.problem(Code::MayNotHaveRun, tree.span, message)
            }
            (Absent::NotEnded, Moment::Undo(own)) => {
                let own = &self.world.steps[own].name;
                let message = format!("step \"{name}\" may not have run when \"{own}\" is undone");
                self.problem(Code::MayNotHaveRun, tree.span, message).note(use_then())
            }
            (Absent::NotEnded, Moment::Forward(own)) if own == step => {
                self.problem(Code::MayNotHaveRun, tree.span, format!("step \"{name}\" has no outcome while it runs"))
            }
            (Absent::NotEnded, Moment::Forward(own)) => {
                let own = &self.world.steps[own].name;
                let message = format!("step \"{name}\" does not come before \"{own}\"");
                let problem = self.problem(Code::MayNotHaveRun, tree.span, message);
                problem.note(format!("what is read must have ended: step \"{own}\" needs \"{name}\" in its `after`"))
            }
            (Absent::NotEnded, _) => {
                self.problem(Code::MayNotHaveRun, tree.span, format!("step \"{name}\" has not run at this point"))
            }
        };
        self.report.add(problem);
    }
}
