//! Every expression of every step, and what each step says about itself.

use std::time::Duration;

use compact_str::CompactString;
use model::{StepIndex, Timestamp, Value};
use plan::{AnswerRule, Expr, OnUnknown, Retry, Wait};

use super::call::Draft as CallDraft;
use super::call::{self, CALL, COMPENSATE};
use super::order::Order;
use super::step::Draft;
use crate::diagnostic::{Code, Problem, Report};
use crate::expr::facts::Facts;
use crate::expr::lower::{Here, Moment, Reads, Root, World};
use crate::expr::template::Lowering;
use crate::expr::types;
use crate::names::NameRule;
use crate::object::{Shape, visible};
use crate::participants::{Answering, answers, retry};
use crate::source::Span;
use crate::yaml::{Entry, Kind};

pub(crate) const WAIT: Shape = Shape {
    name: "wait",
    fields: &["signal", "for", "until", "timeout"],
    required: &[],
    later: &[
        ("schema", "schemas of signals come with a later version; answers and result name what is read"),
        ("callback_url", "call-backs come with a later version; a signal is sent by key"),
        ("schedule", "schedules come with a later version; wait until a time instead"),
    ],
};

/// What could be made of a step. `None` in a field that has one: it was wrong.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) when: Option<Option<Expr>>,
    pub(crate) call: Option<CallDraft>,
    pub(crate) wait: Option<Wait>,
    pub(crate) unknown: Option<OnUnknown>,
    /// Of `unknown`, if it is said.
    pub(crate) unknown_at: Option<Span>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) answers: Option<Vec<AnswerRule>>,
    pub(crate) result: Option<Vec<(CompactString, Expr)>>,
    pub(crate) undo: Option<UndoDraft>,
    /// Something stands under `compensate`.
    pub(crate) compensate_said: bool,
}

#[derive(Debug)]
pub(crate) struct UndoDraft {
    pub(crate) call: CallDraft,
    pub(crate) timeout: Option<Duration>,
    pub(crate) answers: Option<Vec<AnswerRule>>,
    pub(crate) unknown: Option<OnUnknown>,
}

const BEFORE_CALL: &[Root] = &[Root::Input, Root::Steps, Root::Transaction];
const IN_CALL: &[Root] = &[Root::Input, Root::Steps, Root::Transaction, Root::Call];
const AT_ANSWER: &[Root] = &[Root::Response, Root::Input, Root::Steps, Root::Transaction];
const AT_SIGNAL: &[Root] = &[Root::Signal, Root::Input, Root::Steps, Root::Transaction];

/// Resolves all steps. Conditions first and in order, since later places rely on what they prove.
pub(crate) fn steps(
    drafts: &[Draft<'_>],
    order: &Order,
    world: &mut World<'_>,
    file: &str,
    reads: &mut Reads,
    report: &mut Report,
) -> Vec<Resolved> {
    let mut whens: Vec<Option<Option<Expr>>> = drafts.iter().map(|_| Some(None)).collect();
    for &place in &order.sequence {
        let Some(node) = drafts[place].fields.get("when") else { continue };
        let here = Here { roots: BEFORE_CALL, moment: Moment::Forward(place), facts: Facts::default() };
        let mut lowering = Lowering { world, file, report: &mut *report, reads: &mut *reads };
        let when = lowering.expression(node, &here, types::BOOL, "when");
        world.steps[place].when.clone_from(&when);
        whens[place] = when.map(Some);
    }
    let mut signals: Vec<(CompactString, Span)> = Vec::new();
    let mut resolved = Vec::with_capacity(drafts.len());
    for (place, (draft, when)) in drafts.iter().zip(whens).enumerate() {
        let facts = match &world.steps[place].when {
            Some(condition) => Facts::default().with(condition, true, &|step| when_of(world, step)),
            None => Facts::default(),
        };
        let mut lowering = Lowering { world, file, report: &mut *report, reads: &mut *reads };
        let step = Step { place, draft, facts };
        resolved.push(step.resolve(when, &mut lowering, &mut signals));
    }
    resolved
}

fn when_of<'w>(world: &'w World<'_>, step: StepIndex) -> Option<&'w Expr> {
    world.steps.get(usize::from(step))?.when.as_ref()
}

struct Step<'d, 'n> {
    place: usize,
    draft: &'d Draft<'n>,
    /// Known to hold whenever this step runs.
    facts: Facts,
}

impl Step<'_, '_> {
    fn here(&self, roots: &'static [Root], moment: Moment) -> Here {
        Here { roots, moment, facts: self.facts.clone() }
    }

    fn resolve(
        &self,
        when: Option<Option<Expr>>,
        lowering: &mut Lowering<'_, '_>,
        signals: &mut Vec<(CompactString, Span)>,
    ) -> Resolved {
        let fields = &self.draft.fields;
        let forward = Moment::Forward(self.place);
        let call = fields.entry("call").and_then(|entry| {
            let owner = &self.draft.owner;
            let inner = lowering.report.object(&entry.value, &CALL, owner, entry.name_span)?;
            Some(call::read(&inner, entry.name_span, &self.here(IN_CALL, forward), lowering))
        });
        let wait = fields.entry("wait").and_then(|entry| self.wait(entry, lowering, signals));
        let waits_for_signal = fields.get("wait").is_some_and(|n| n.get("signal").is_some());
        let is_wait = fields.has("wait") && !fields.has("call");
        if is_wait {
            self.not_of_a_wait(waits_for_signal, lowering.report);
        }
        let (roots, who) = match waits_for_signal && is_wait {
            true => (AT_SIGNAL, Answering::Signal),
            false => (AT_ANSWER, Answering::Call),
        };
        let at_answer = self.here(roots, forward);
        let answers = match fields.entry("answers") {
            Some(entry) if !is_wait || waits_for_signal => answers(entry, &at_answer, who, lowering),
            _ => Some(Vec::new()),
        };
        let result = match &self.draft.results {
            _ if is_wait && !waits_for_signal => Some(Vec::new()),
            None => None,
            Some(entries) => {
                let made: Vec<_> = entries.iter().map(|entry| kept(entry, &at_answer, lowering)).collect();
                made.into_iter().collect()
            }
        };
        let unknown = fields.entry("unknown");
        let timeout = fields.entry("timeout").and_then(|e| lowering.report.duration(e, Duration::from_millis(1)));
        Resolved {
            when,
            call,
            wait,
            unknown: unknown.and_then(|e| self.unknown(e, lowering.report)),
            unknown_at: unknown.map(|e| visible(e.value.span, e.name_span)),
            timeout,
            retry: fields.entry("retry").and_then(|e| retry(e, &self.draft.owner, lowering.report)),
            answers,
            result,
            undo: fields.entry("compensate").and_then(|e| self.compensate(e, lowering)),
            compensate_said: fields.has("compensate"),
        }
    }

    fn unknown(&self, entry: &Entry, report: &mut Report) -> Option<OnUnknown> {
        let words =
            [("compensate", OnUnknown::Compensate), ("operator", OnUnknown::Operator), ("ignore", OnUnknown::Ignore)];
        if let Kind::Scalar(scalar) = &entry.value.kind
            && scalar.text == "inquire"
        {
            let message = "\"inquire\" is not part of this version of the language yet";
            report.add(
                Problem::new(Code::NotYet, entry.value.span, message)
                    .note("unknown is one of: compensate, operator, ignore"),
            );
            return None;
        }
        let unknown = report.word(entry, &words)?;
        if unknown == OnUnknown::Ignore && !self.draft.optional {
            let message = format!("only an optional step can ignore an unknown outcome, {} is not", self.draft.owner);
            report.add(Problem::new(Code::WrongValue, entry.value.span, message).note("write compensate or operator"));
            return None;
        }
        Some(unknown)
    }

    fn not_of_a_wait(&self, for_signal: bool, report: &mut Report) {
        let fields = &self.draft.fields;
        let reasons = [
            ("timeout", "a wait for a signal has its own: wait: {signal: …, timeout: …}"),
            ("retry", "nothing is called that could be repeated"),
            ("unknown", "nothing is called whose outcome could be unknown"),
            ("pivot", "a wait is no point of no return; the step after it may be one"),
        ];
        for (name, why) in reasons {
            if let Some(entry) = fields.entry(name)
                && (name != "pivot" || self.draft.pivot)
            {
                report.add(Problem::new(Code::WrongValue, entry.name_span, format!("a wait has no {name}")).note(why));
            }
        }
        if let Some(entry) = fields.entry("compensate")
            && !matches!(&entry.value.kind, Kind::Scalar(s) if s.text == "none")
        {
            report.say(Code::WrongValue, entry.name_span, "a wait changes nothing, so there is nothing to undo");
        }
        for name in ["answers", "result"] {
            if let Some(entry) = fields.entry(name)
                && !for_signal
            {
                report.say(
                    Code::WrongValue,
                    entry.name_span,
                    format!("only a call and a wait for a signal have {name}"),
                );
            }
        }
    }

    fn wait(
        &self,
        entry: &Entry,
        lowering: &mut Lowering<'_, '_>,
        signals: &mut Vec<(CompactString, Span)>,
    ) -> Option<Wait> {
        let owner = format!("the wait of {}", self.draft.owner);
        let fields = lowering.report.object(&entry.value, &WAIT, &owner, entry.name_span)?;
        let mut said = ["signal", "for", "until"].into_iter().filter(|n| fields.has(n));
        let (first, second) = (said.next(), said.next());
        if let (Some(_), Some(second)) = (first, second) {
            let at = fields.entry(second).map_or(entry.name_span, |e| e.name_span);
            lowering.report.say(Code::WrongValue, at, "a wait is for one of: signal, for, until");
            return None;
        }
        let Some(first) = first else {
            if matches!(&entry.value.kind, Kind::Map(e) if e.iter().all(|e| WAIT.fields.contains(&e.name.as_str()))) {
                let message = format!("{owner} does not say for what");
                let problem = Problem::new(Code::MissingField, entry.name_span, message);
                lowering.report.add(problem.note("write one of: signal, for, until"));
            }
            return None;
        };
        let timeout = fields.entry("timeout").map(|e| lowering.report.duration(e, Duration::from_millis(1)));
        if first != "signal"
            && let Some(timeout) = fields.entry("timeout")
        {
            let message = "only a wait for a signal has a timeout; this one ends by itself";
            lowering.report.say(Code::WrongValue, timeout.name_span, message);
            return None;
        }
        let what = fields.entry(first)?;
        match first {
            "signal" => {
                let name = lowering.report.name(what, "a signal", NameRule::Underscored)?;
                if let Some((_, first)) = signals.iter().find(|(n, _)| *n == name) {
                    let message = format!("two steps wait for the signal \"{name}\"; only its first arrival counts");
                    let problem = Problem::new(Code::DuplicateName, what.value.span, message);
                    lowering.report.add(problem.label(*first, "here as well"));
                    return None;
                }
                signals.push((name.clone(), what.value.span));
                let Some(timeout) = timeout else {
                    let message = format!("{owner} has no timeout; a signal may never come");
                    lowering.report.add(
                        Problem::new(Code::MissingField, what.name_span, message)
                            .note("when the timeout passes, the step has failed"),
                    );
                    return None;
                };
                Some(Wait::Signal { name, timeout: timeout? })
            }
            "for" => lowering.report.duration(what, Duration::from_millis(1)).map(Wait::For),
            _ => self.until(what, lowering),
        }
    }

    fn until(&self, entry: &Entry, lowering: &mut Lowering<'_, '_>) -> Option<Wait> {
        if let Kind::Scalar(scalar) = &entry.value.kind
            && !scalar.text.contains("${")
        {
            if Timestamp::parse_rfc3339(&scalar.text).is_none() {
                let at = visible(entry.value.span, entry.name_span);
                let problem = Problem::new(Code::WrongValue, at, "until is a time or an expression that gives one");
                lowering.report.add(problem.note("for instance: 2026-11-23T02:00:00Z"));
                return None;
            }
            return Some(Wait::Until(Expr::Const(Value::text(scalar.text.as_str()))));
        }
        let here = self.here(BEFORE_CALL, Moment::Forward(self.place));
        lowering.expression(&entry.value, &here, types::TEXT, "until").map(Wait::Until)
    }

    fn compensate(&self, entry: &Entry, lowering: &mut Lowering<'_, '_>) -> Option<UndoDraft> {
        if let Kind::Scalar(scalar) = &entry.value.kind {
            if scalar.text != "none" {
                let at = visible(entry.value.span, entry.name_span);
                let problem = Problem::new(Code::WrongValue, at, "compensate is a call, or `none`");
                lowering.report.add(problem.note(format!("compensate has: {}", COMPENSATE.fields.join(", "))));
            }
            return None;
        }
        let owner = format!("the compensate of {}", self.draft.owner);
        let fields = lowering.report.object(&entry.value, &COMPENSATE, &owner, entry.name_span)?;
        let undo = Moment::Undo(self.place);
        let call = call::read(&fields, entry.name_span, &self.here(IN_CALL, undo), lowering);
        let answers = match fields.entry("answers") {
            Some(entry) => answers(entry, &self.here(AT_ANSWER, undo), Answering::Undo, lowering),
            None => Some(Vec::new()),
        };
        let unknown =
            fields.entry("unknown").and_then(|e| lowering.report.word(e, &[("operator", OnUnknown::Operator)]));
        let timeout = fields.entry("timeout").and_then(|e| lowering.report.duration(e, Duration::from_millis(1)));
        Some(UndoDraft { call, timeout, answers, unknown })
    }
}

fn kept(entry: &Entry, here: &Here, lowering: &mut Lowering<'_, '_>) -> Option<(CompactString, Expr)> {
    let what = format!("what is kept as {}", entry.name);
    let expr = lowering.expression(&entry.value, here, types::ANY, &what)?;
    Some((CompactString::new(&entry.name), expr))
}
