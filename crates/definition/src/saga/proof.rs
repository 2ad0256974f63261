//! What must hold of a saga as a whole: everything that may have happened can be undone, repeated or decided.
//!
//! Rules that hang on a participant's promise are checked where the participant is known.

use std::time::Duration;

use plan::participant::{Idempotency, Retry};
use plan::{Expr, Method, OnUnknown, Participant, Side, TextPart, ValueTemplate, Var, Wait};

use super::Directory;
use super::call::Draft as CallDraft;
use super::order::Order;
use super::resolve::Resolved;
use super::step::Draft;
use crate::diagnostic::{Code, Problem, Report};
use crate::expr::lower::Reads;
use crate::names::did_you_mean;
use crate::object::duration_text;
use crate::source::Span;
use crate::yaml::Entry;

/// Everything about steps and calls.
pub(crate) fn shape(
    drafts: &[Draft<'_>],
    order: &Order,
    steps: &[Resolved],
    known: &Directory<'_>,
    report: &mut Report,
) {
    for (place, (draft, step)) in drafts.iter().zip(steps).enumerate() {
        let proof = Proof { draft, step, side: order.sides[place], known };
        proof.participants(report);
        proof.compensation(report);
        proof.unknown(report);
        proof.undo_repeats(report);
        proof.call_key(report);
        proof.headers(report);
        proof.shared_read(report);
    }
}

struct Proof<'p, 'n> {
    draft: &'p Draft<'n>,
    step: &'p Resolved,
    /// `None`: the order is wrong.
    side: Option<Side>,
    known: &'p Directory<'p>,
}

impl Proof<'_, '_> {
    fn calls(&self) -> impl Iterator<Item = &CallDraft> {
        self.step.call.iter().chain(self.step.undo.iter().map(|u| &u.call))
    }

    /// The participant of a call, if it is known and right.
    fn participant(&self, call: &CallDraft) -> Option<&Participant> {
        let (name, _) = call.participant.as_ref()?;
        self.known.known.get(name).copied().flatten()
    }

    fn participants(&self, report: &mut Report) {
        for call in self.calls() {
            let Some((name, at)) = &call.participant else { continue };
            if self.known.known.contains_key(name) || !self.known.complete {
                continue;
            }
            let mut problem =
                Problem::new(Code::UnknownParticipant, *at, format!("there is no participant \"{name}\""));
            let names: Vec<&str> = self.known.known.keys().map(|n| n.as_str()).collect();
            if let Some(near) = did_you_mean(name, names.iter().copied()) {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            let list = if names.is_empty() { "none".into() } else { names.join(", ") };
            report.add(problem.note(format!("the participants are: {list}")));
        }
    }

    /// A.5.6 and A.5.8: what changes something before the pivot says how it is undone, nothing after it does.
    fn compensation(&self, report: &mut Report) {
        let Some(side) = self.side else { return };
        let owner = &self.draft.owner;
        let compensate = self.draft.fields.entry("compensate");
        match side {
            Side::Before => {
                let Some(call) = &self.step.call else { return };
                let Some((method, at)) = call.method else { return };
                if method.changes() && !self.step.compensate_said {
                    let message = format!("{owner} changes something and does not say how it is undone");
                    report.add(
                        Problem::new(Code::NotCompensated, at, message)
                            .under("anything but GET changes something")
                            .note("write compensate: with a call, or compensate: none if nothing has to be undone"),
                    );
                }
            }
            Side::Pivot | Side::After => {
                if let (Some(_), Some(entry)) = (&self.step.undo, compensate) {
                    let message = match side {
                        Side::Pivot => format!("{owner} is the pivot and cannot be undone"),
                        _ => format!("{owner} comes after the pivot, where nothing is undone"),
                    };
                    let problem = Problem::new(Code::CompensateAfterPivot, entry.name_span, message);
                    report.add(
                        problem.note("after a done pivot there is no way back: steps are repeated until they are done"),
                    );
                }
                if self.step.unknown == Some(OnUnknown::Compensate)
                    && let Some(at) = self.step.unknown_at
                {
                    let message = match side {
                        Side::Pivot => format!("{owner} is the pivot; while it is unknown nothing is undone"),
                        _ => format!("{owner} comes after the pivot, where nothing is undone"),
                    };
                    report.add(Problem::new(Code::CompensateAfterPivot, at, message).note("write unknown: operator"));
                }
            }
        }
    }

    /// A.5.5: a call that cannot be repeated says what happens when nobody knows whether it ran.
    fn unknown(&self, report: &mut Report) {
        let Some(call) = &self.step.call else { return };
        let Some((method, at)) = call.method else { return };
        let Some(participant) = self.participant(call) else { return };
        if method.is_idempotent() || participant.idempotency != Idempotency::None || self.draft.fields.has("unknown") {
            return;
        }
        let name = &participant.name;
        let message = format!("{} does not say what happens if its outcome stays unknown", self.draft.owner);
        let no_way_back = matches!(self.side, Some(Side::Pivot | Side::After));
        let mut ways = Vec::new();
        if !no_way_back {
            ways.push("unknown: compensate (undo it with the rest)");
        }
        ways.push("unknown: operator (a person decides)");
        if self.draft.optional {
            ways.push("unknown: ignore (go on)");
        }
        report.add(
            Problem::new(Code::UnknownNotSaid, at, message)
                .under(format!("\"{name}\" has idempotency: none, so a {} is not repeated", method.as_str()))
                .note(format!("write {}", ways.join(", or "))),
        );
    }

    /// An undo is repeated until it is done, so a repeat must be harmless, or a person decides.
    fn undo_repeats(&self, report: &mut Report) {
        let Some(undo) = &self.step.undo else { return };
        let Some((method, at)) = undo.call.method else { return };
        if method == Method::Get {
            report.say(Code::WrongValue, at, "a GET changes nothing, so it undoes nothing");
            return;
        }
        let Some(participant) = self.participant(&undo.call) else { return };
        if participant.idempotency != Idempotency::None || method.is_idempotent() || undo.unknown.is_some() {
            return;
        }
        let name = &participant.name;
        let message = format!("the undo of {} cannot be repeated safely", self.draft.owner);
        report.add(
            Problem::new(Code::UnknownNotSaid, at, message)
                .under(format!("\"{name}\" has idempotency: none, so a {} may run twice", method.as_str()))
                .note(
                    "an undo is repeated until it is done: use PUT or DELETE, or write unknown: operator in compensate",
                ),
        );
    }

    /// The engine inserts nothing into a body: every call says where its key goes.
    fn call_key(&self, report: &mut Report) {
        for call in self.calls() {
            let Some(participant) = self.participant(call) else { continue };
            let Idempotency::Body { field, .. } = &participant.idempotency else { continue };
            if matches!(call.method, None | Some((Method::Get, _))) {
                continue;
            }
            let Some(body) = &call.body else { continue };
            let value = match body {
                Some(ValueTemplate::Map(members)) => members.iter().find(|(n, _)| n == field).map(|(_, v)| v),
                _ => None,
            };
            if value == Some(&ValueTemplate::Expr(Expr::Var(Var::CallKey))) {
                continue;
            }
            let written = call.body_members.iter().find(|(n, _)| field == n);
            let at = written.map_or_else(|| call.body_at.unwrap_or(call.at), |(_, at)| *at);
            let name = &participant.name;
            let message = match written {
                Some(_) => format!("\"{field}\" must be the call key, \"{name}\" knows repeats by it"),
                None => format!("the body has no \"{field}\", by which \"{name}\" knows repeats"),
            };
            let problem = Problem::new(Code::CallKeyNotSent, at, message);
            report.add(problem.note(format!("write in this body:\n{field}: ${{call.key}}")));
        }
    }

    /// What a participant lets others answer does nothing over there, and is the same whoever asks.
    fn shared_read(&self, report: &mut Report) {
        let Some(call) = &self.step.call else { return };
        let (Some(participant), Some((Method::Get, at)), Some(path)) =
            (self.participant(call), call.method, call.path.as_ref())
        else {
            return;
        };
        let Some(shared) = participant.shared_reads.iter().find(|read| read.path.may_fit(path)) else { return };
        let (owner, name) = (&self.draft.owner, &participant.name);
        let because = format!("\"{name}\" shares the answers to GET {}", shared.path.as_str());
        if let (Some(_), Some(entry)) = (&self.step.undo, self.draft.fields.entry("compensate")) {
            let message = format!("{owner} is a shared read, which does nothing that could be undone");
            let problem = Problem::new(Code::WrongValue, entry.name_span, message).under(&because);
            report.add(problem.note("leave compensate out, or take the path out of shared_reads"));
        }
        if self.side == Some(Side::Pivot) {
            let message = format!("{owner} is the pivot, and a shared read is no point of no return");
            let problem = Problem::new(Code::WrongValue, at, message).under(&because);
            report.add(problem.note("let another step be the pivot, or take the path out of shared_reads"));
        }
        let texts = [call.query.iter().flatten(), call.headers.iter().flatten()].into_iter().flatten();
        let mut texts = texts.map(|(_, text)| text).chain([path]);
        let carries_key = texts
            .any(|text| text.0.iter().any(|part| matches!(part, TextPart::Expr(expr) if expr.mentions(&Var::CallKey))));
        if carries_key {
            let message = format!("{owner} is a shared read and carries the call key, so that no two are equal");
            let problem = Problem::new(Code::WrongValue, call.at, message).under(&because);
            report.add(problem.note("leave ${call.key} out, or take the path out of shared_reads"));
        }
    }

    fn headers(&self, report: &mut Report) {
        for call in self.calls() {
            let Some(participant) = self.participant(call) else { continue };
            let Idempotency::Header { name, .. } = &participant.idempotency else { continue };
            if let Some((_, at)) = call.headers_at.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                let message = format!("the engine sends the call key in \"{name}\"");
                let problem = Problem::new(Code::ReservedHeader, *at, message);
                report.add(problem.note(format!("so says the idempotency of \"{}\"; leave it out", participant.name)));
            }
        }
    }
}

/// Warns if the attempts of the longest chain cannot fit into the transaction's timeout.
pub(crate) fn timeout(
    entry: &Entry,
    timeout: Duration,
    drafts: &[Draft<'_>],
    order: &Order,
    steps: &[Resolved],
    known: &Directory<'_>,
    report: &mut Report,
) {
    // The longest way to the end of each step, and the step before it on that way.
    let mut ways: Vec<(Duration, Option<usize>)> = vec![(Duration::ZERO, None); drafts.len()];
    for &place in &order.sequence {
        let before = order.after[place].iter().map(|b| (ways[*b].0, Some(*b))).max().unwrap_or_default();
        let counts = !drafts[place].optional && matches!(order.sides[place], Some(Side::Before | Side::Pivot));
        let own = if counts { longest(&steps[place], known) } else { Duration::ZERO };
        ways[place] = (before.0.saturating_add(own), before.1);
    }
    let Some((mut at, (length, _))) = ways.iter().copied().enumerate().max_by_key(|(_, (length, _))| *length) else {
        return;
    };
    if length <= timeout {
        return;
    }
    let mut path = vec![at];
    // The order was checked, but a chain is never longer than there are steps.
    while let (Some(before), true) = (ways[at].1, path.len() < drafts.len()) {
        path.push(before);
        at = before;
    }
    let mut notes = Vec::new();
    for place in path.iter().rev() {
        let own = longest(&steps[*place], known);
        let counts = !drafts[*place].optional && matches!(order.sides[*place], Some(Side::Before | Side::Pivot));
        if counts && own > Duration::ZERO {
            notes.push(format!("{} {}", drafts[*place].name.as_deref().unwrap_or("?"), duration_text(own)));
        }
    }
    let message = format!("the attempts of its steps may take {}, longer than this", duration_text(length));
    report.add(
        Problem::new(Code::TimeoutTooShort, entry.value.span, message)
            .note(format!("at most: {}", notes.join(" + ")))
            .note("when the timeout passes, the transaction is aborted although a step could still be tried"),
    );
}

/// How long a step can take while its participant takes every call: all attempts and the waits between them.
fn longest(step: &Resolved, known: &Directory<'_>) -> Duration {
    match &step.wait {
        Some(Wait::Signal { timeout, .. }) => return *timeout,
        Some(Wait::For(duration)) => return *duration,
        Some(Wait::Until(_)) => return Duration::ZERO,
        None => {}
    }
    let name = step.call.as_ref().and_then(|c| c.participant.as_ref()).map(|(n, _)| n);
    let participant = name.and_then(|n| known.known.get(n).copied().flatten());
    let timeout = step.timeout.or_else(|| participant.map(|p| p.timeout)).unwrap_or_default();
    let retry = step.retry.or_else(|| participant.map(|p| p.retry));
    let Some(Retry { attempts, backoff, max_backoff }) = retry else { return timeout };
    let mut total = timeout.saturating_mul(attempts);
    let mut wait = backoff;
    for _ in 1..attempts {
        total = total.saturating_add(wait);
        wait = wait.saturating_mul(2).min(max_backoff);
    }
    total
}

/// Warns of fields that a read or a signal keeps and nothing uses: they would be stored for nobody.
///
/// What a change answers is its record at the other side (a debit's id), kept for people to find it by.
pub(crate) fn unused_results(drafts: &[Draft<'_>], steps: &[Resolved], reads: &Reads, report: &mut Report) {
    for (place, (draft, step)) in drafts.iter().zip(steps).enumerate() {
        let changes = step.call.as_ref().and_then(|c| c.method).is_some_and(|(m, _)| m.changes());
        if changes || reads.contains(&(place, None)) {
            continue;
        }
        for entry in draft.results.iter().flatten() {
            if !reads.contains(&(place, Some(entry.name.clone()))) {
                let message = format!("nothing reads \"{}\", which {} keeps", entry.name, draft.owner);
                let problem = Problem::new(Code::UnusedResult, entry.name_span, message);
                report.add(problem.note("what is kept is stored and shown; leave out what nobody needs"));
            }
        }
    }
}

/// The first participant named, if there was nobody to compare it with.
pub(crate) fn unchecked_participant(steps: &[Resolved], known: &Directory<'_>) -> Option<Span> {
    if known.complete {
        return None;
    }
    let calls = steps.iter().flat_map(|s| s.call.iter().chain(s.undo.iter().map(|u| &u.call)));
    calls.filter_map(|c| c.participant.as_ref()).find(|(n, _)| !known.known.contains_key(n)).map(|(_, at)| *at)
}
