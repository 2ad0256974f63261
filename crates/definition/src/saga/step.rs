//! Steps as they are written, before any expression is read.

use compact_str::CompactString;
use plan::{Action, Step, Undo};

use super::STEPS_MAX;
use super::order::Order;
use super::resolve::Resolved;
use crate::diagnostic::{Code, Problem, Report};
use crate::expr::lower::{Reads, StepInfo};
use crate::names::NameRule;
use crate::object::{Fields, Shape, visible};
use crate::source::Span;
use crate::yaml::{Entry, Kind, Node, shown};

pub(crate) const STEP: Shape = Shape {
    name: "step",
    fields: &[
        "name",
        "after",
        "when",
        "optional",
        "pivot",
        "call",
        "wait",
        "unknown",
        "timeout",
        "retry",
        "answers",
        "result",
        "compensate",
    ],
    required: &["name"],
    later: &[
        ("for_each", "a step for each element comes with a later version"),
        ("definition", "child transactions come with a later version"),
        ("schedule", "schedules come with a later version; wait until a time instead"),
        ("inquire", "asking what became of a call comes with a later version; say unknown: operator"),
        ("callback_url", "call-backs come with a later version; wait for a signal"),
        ("schema", "schemas of answers and signals come with a later version"),
        ("labels", "labels come with a later version"),
        ("priority", "priorities come with the load manager"),
    ],
};

pub(crate) const RESULTS_MAX: usize = 64;

/// One step, its fields known and its names read.
#[derive(Debug)]
pub(crate) struct Draft<'n> {
    /// `None` if it has none, or none that can be used.
    pub(crate) name: Option<CompactString>,
    /// Where to point when the step as a whole is meant.
    pub(crate) name_span: Span,
    /// `step "credit"`, for messages.
    pub(crate) owner: String,
    pub(crate) fields: Fields<'n>,
    pub(crate) optional: bool,
    pub(crate) pivot: bool,
    /// `None` if what it keeps cannot be read.
    pub(crate) results: Option<Vec<&'n Entry>>,
}

impl Draft<'_> {
    /// Of `optional: true`.
    pub(crate) fn optional_span(&self) -> Option<Span> {
        let entry = self.fields.entry("optional")?;
        self.optional.then(|| entry.name_span.to(entry.value.span))
    }

    /// Of `pivot: true`.
    pub(crate) fn pivot_span(&self) -> Option<Span> {
        let entry = self.fields.entry("pivot")?;
        self.pivot.then(|| entry.name_span.to(entry.value.span))
    }
}

/// Reads the list of steps. A step that is no object at all is left out.
pub(crate) fn drafts<'n>(list: &'n Entry, report: &mut Report) -> Vec<Draft<'n>> {
    let Some(items) = report.list(&list.value, "steps", list.name_span) else { return Vec::new() };
    if items.is_empty() {
        report.say(Code::WrongValue, list.name_span, "a saga has at least one step");
    }
    if items.len() > STEPS_MAX {
        let message = format!("{} steps, at most {STEPS_MAX} stand in one definition", items.len());
        report.say(Code::TooLarge, list.name_span, message);
        return Vec::new();
    }
    let mut drafts: Vec<Draft<'n>> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let Some(draft) = draft(item, place, list.name_span, report) else { continue };
        if let Some(name) = &draft.name
            && let Some(first) = drafts.iter().find(|d| d.name.as_ref() == Some(name))
        {
            let message = format!("two steps are called \"{name}\"");
            report.add(Problem::new(Code::DuplicateName, draft.name_span, message).label(first.name_span, "the first"));
        }
        drafts.push(draft);
    }
    drafts
}

fn draft<'n>(node: &'n Node, place: usize, list: Span, report: &mut Report) -> Option<Draft<'n>> {
    let at = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(list, |e| e.name_span),
        _ => visible(node.span, list),
    };
    let written = node.get("name").and_then(|n| match &n.kind {
        Kind::Scalar(scalar) => Some(shown(&scalar.text).into_owned()),
        _ => None,
    });
    let owner = written.map_or_else(|| format!("step {}", place + 1), |name| format!("step \"{name}\""));
    let fields = report.object(node, &STEP, &owner, at)?;
    let name = fields.entry("name").and_then(|e| report.name(e, "a step", NameRule::Underscored));
    let name_span = fields.get("name").map_or(at, |n| visible(n.span, at));
    let optional = fields.entry("optional").and_then(|e| report.boolean(e)).unwrap_or(false);
    let pivot = fields.entry("pivot").and_then(|e| report.boolean(e)).unwrap_or(false);
    match (fields.entry("call"), fields.entry("wait")) {
        (None, None) => {
            // A misspelt `call` has been reported as such.
            let misspelt = matches!(&node.kind, Kind::Map(e) if e.iter().any(|e| {
                crate::names::did_you_mean(&e.name, ["call", "wait"]).is_some() && !STEP.fields.contains(&e.name.as_str())
            }));
            let later =
                matches!(&node.kind, Kind::Map(e) if e.iter().any(|e| STEP.later.iter().any(|(n, _)| *n == e.name)));
            if !misspelt && !later {
                report.say(Code::MissingField, at, format!("{owner} has neither call nor wait"));
            }
        }
        (Some(_), Some(wait)) => {
            report.say(Code::WrongValue, wait.name_span, format!("{owner} has a call and a wait; write two steps"));
        }
        _ => {}
    }
    let results = match fields.entry("result") {
        Some(entry) => results(entry, report),
        None => Some(Vec::new()),
    };
    Some(Draft { name, name_span, owner, fields, optional, pivot, results })
}

fn results<'n>(entry: &'n Entry, report: &mut Report) -> Option<Vec<&'n Entry>> {
    let members = report.members(&entry.value, "result", entry.name_span)?;
    if members.len() > RESULTS_MAX {
        report.say(Code::TooLarge, entry.name_span, format!("a step keeps at most {RESULTS_MAX} fields"));
        return None;
    }
    for member in members {
        report.checked_name(&member.name, member.name_span, "a result", NameRule::Underscored);
    }
    Some(members.iter().collect())
}

/// What expressions may know of the steps. Conditions are added once they are read.
pub(crate) fn infos(drafts: &[Draft<'_>], order: &Order) -> Vec<StepInfo> {
    let info = |(place, draft): (usize, &Draft<'_>)| StepInfo {
        name: draft.name.as_deref().unwrap_or("").to_owned(),
        results: draft.results.as_ref().map(|r| r.iter().map(|e| e.name.clone()).collect()),
        when: None,
        when_span: draft.fields.get("when").map(|n| n.span),
        optional: draft.optional_span(),
        earlier: order.earlier[place].clone(),
    };
    drafts.iter().enumerate().map(info).collect()
}

/// The plan's steps; `None` if anything is missing, which has been reported.
pub(crate) fn finished(drafts: &[Draft<'_>], order: &Order, steps: Vec<Resolved>, reads: &Reads) -> Option<Vec<Step>> {
    let mut finished = Vec::with_capacity(drafts.len());
    for (place, (draft, step)) in drafts.iter().zip(steps).enumerate() {
        finished.push(Step {
            name: draft.name.clone()?,
            after: order.after[place].iter().map(|s| model::StepIndex::try_from(*s).ok()).collect::<Option<_>>()?,
            when: step.when?,
            optional: draft.optional,
            side: order.sides[place]?,
            action: match (step.call, step.wait) {
                (Some(call), _) => Action::Call(call.finished()?),
                (None, Some(wait)) => Action::Wait(wait),
                (None, None) => return None,
            },
            unknown: step.unknown,
            timeout: step.timeout,
            retry: step.retry,
            answers: step.answers?,
            result: step.result?,
            compensate: match step.undo {
                None => Undo::Nothing,
                Some(undo) => Undo::Call {
                    call: undo.call.finished()?,
                    timeout: undo.timeout,
                    answers: undo.answers?,
                    unknown: undo.unknown,
                },
            },
            result_is_read: reads.iter().any(|(step, _)| *step == place),
        });
    }
    Some(finished)
}
