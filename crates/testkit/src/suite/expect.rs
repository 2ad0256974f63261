//! What must have come of a case.

use std::time::Duration;

use definition::Code;
use definition::document::{Entry, Kind, Node, Problem, Shape, visible};
use model::StepIndex;

use super::Reader;
use crate::script::{At, CallWanted, Expect};

pub(crate) const EXPECT: Shape = Shape {
    name: "expect",
    fields: &[
        "outcome",
        "reason",
        "state",
        "cause",
        "output",
        "calls",
        "undone",
        "stays_undone",
        "steps",
        "attention",
        "waits_for",
        "decided_within",
        "input_refused",
    ],
    required: &[],
    later: &[],
};

pub(crate) const CAUSE: Shape = Shape { name: "cause", fields: &["step", "detail"], required: &[], later: &[] };

pub(crate) const CALL: Shape = Shape {
    name: "a call",
    fields: &["call", "method", "path", "headers", "body", "body_has"],
    required: &["call"],
    later: &[],
};

pub(crate) const ATTENTION: Shape = Shape { name: "attention", fields: &["cause", "step"], required: &[], later: &[] };

pub(crate) const WAITS_FOR: Shape = Shape { name: "waits_for", fields: &["kind", "name"], required: &[], later: &[] };

pub(crate) const OUTCOMES: &[&str] = &["completed", "aborted", "undecided"];
pub(crate) const REASONS: &[&str] = &["refused", "failed", "cancelled", "timed_out", "none"];
pub(crate) const STATES: &[&str] = &["running", "waiting", "compensating", "needs_attention", "ended"];
pub(crate) const STEP_STATES: &[&str] = &[
    "pending",
    "waiting",
    "calling",
    "done",
    "refused",
    "failed",
    "unknown",
    "skipped",
    "compensating",
    "compensated",
    "given_up",
];
pub(crate) const ATTENTIONS: &[&str] = &[
    "none",
    "unknown",
    "refused_after_pivot",
    "undo_fails",
    "result_missing",
    "our_mistake",
    "request_changed",
    "expression",
    "promise_expired",
    "timed_out_after_pivot",
    "quarantined",
    "participant_gone",
];
pub(crate) const WAITS: &[&str] = &["nothing", "participant", "lock", "signal", "time", "backoff", "quiet"];

impl Reader<'_> {
    pub(crate) fn expect(&mut self, entry: &Entry) -> Option<Expect> {
        let fields = self.report.object(&entry.value, &EXPECT, "expect", entry.name_span)?;
        let mut expect = Expect::default();
        if let Kind::Map(entries) = &entry.value.kind
            && entries.is_empty()
        {
            let problem = Problem::new(Code::WrongValue, entry.name_span, "a case that expects nothing cannot fail");
            self.report.add(problem.note("say at least outcome: completed, or outcome: aborted"));
        }
        expect.outcome = fields.entry("outcome").and_then(|e| self.one_of(e, OUTCOMES));
        expect.reason = fields.entry("reason").and_then(|e| self.one_of(e, REASONS));
        expect.state = fields.entry("state").and_then(|e| self.one_of(e, STATES));
        if let Some(entry) = fields.entry("cause")
            && let Some(cause) = self.report.object(&entry.value, &CAUSE, "cause", entry.name_span)
        {
            expect.cause_step = cause.entry("step").and_then(|e| self.one_step(e));
            expect.cause_detail = cause.entry("detail").and_then(|e| self.text(e));
        }
        expect.output = fields.entry("output").and_then(|e| self.pattern(&e.value, e.name_span, false));
        expect.calls = fields.entry("calls").and_then(|e| self.calls(e));
        expect.undone = fields.entry("undone").and_then(|e| self.place_of_steps(e));
        expect.stays_undone = fields.entry("stays_undone").and_then(|e| self.place_of_steps(e));
        if let Some(entry) = fields.entry("steps") {
            for step in self.report.members(&entry.value, "steps", entry.name_span).unwrap_or_default() {
                let place = self.step_name(&step.name, step.name_span);
                let state = self.one_of(step, STEP_STATES);
                if let (Some(place), Some(state)) = (place, state) {
                    expect.steps.push((place, state));
                }
            }
        }
        if let Some(entry) = fields.entry("attention") {
            self.attention(entry, &mut expect);
        }
        if let Some(entry) = fields.entry("waits_for") {
            match &entry.value.kind {
                Kind::Map(_) => {
                    if let Some(waits) = self.report.object(&entry.value, &WAITS_FOR, "waits_for", entry.name_span) {
                        expect.waits_for = waits.entry("kind").and_then(|e| self.one_of(e, WAITS));
                        expect.waits_for_name = waits.entry("name").and_then(|e| self.text(e));
                    }
                }
                _ => expect.waits_for = self.one_of(entry, WAITS),
            }
        }
        expect.decided_within = fields.entry("decided_within").and_then(|entry| {
            let value = self.report.duration(entry, Duration::ZERO)?;
            Some(At { span: entry.value.span, value })
        });
        expect.input_refused = fields.entry("input_refused").and_then(|entry| self.pointers(entry));
        Some(expect)
    }

    fn one_of(&mut self, entry: &Entry, words: &[&'static str]) -> Option<At<&'static str>> {
        let pairs: Vec<(&str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
        let value = self.report.word(entry, &pairs)?;
        Some(At { span: entry.value.span, value })
    }

    fn one_step(&mut self, entry: &Entry) -> Option<At<StepIndex>> {
        let text = self.report.plain_text(entry)?.to_owned();
        let value = self.step_name(&text, entry.value.span)?;
        Some(At { span: entry.value.span, value })
    }

    /// `[charge, credit]`.
    pub(crate) fn steps(&mut self, entry: &Entry) -> Option<Vec<At<StepIndex>>> {
        let items = self.report.list(&entry.value, &entry.name, entry.name_span)?;
        items
            .iter()
            .map(|item| {
                let Kind::Scalar(scalar) = &item.kind else {
                    let message = format!("{} is a list of steps, this is {}", entry.name, item.what());
                    self.report.say(Code::WrongType, visible(item.span, entry.name_span), message);
                    return None;
                };
                let value = self.step_name(&scalar.text, item.span)?;
                Some(At { span: item.span, value })
            })
            .collect()
    }

    fn place_of_steps(&mut self, entry: &Entry) -> Option<At<Vec<At<StepIndex>>>> {
        let value = self.steps(entry)?;
        Some(At { span: visible(entry.value.span, entry.name_span), value })
    }

    /// `[amount_minor, items.0.sku]`: members of the input.
    fn pointers(&mut self, entry: &Entry) -> Option<At<Vec<String>>> {
        let items = self.report.list(&entry.value, "input_refused", entry.name_span)?;
        let names = items.iter().filter_map(|item| match &item.kind {
            Kind::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        });
        Some(At { span: visible(entry.value.span, entry.name_span), value: names.collect() })
    }

    fn attention(&mut self, entry: &Entry, expect: &mut Expect) {
        let as_cause =
            |at: At<&'static str>| At { span: at.span, value: (at.value != "none").then(|| at.value.to_owned()) };
        match &entry.value.kind {
            Kind::Map(_) => {
                let fields = self.report.object(&entry.value, &ATTENTION, "attention", entry.name_span);
                let Some(fields) = fields else { return };
                expect.attention = fields.entry("cause").and_then(|e| self.one_of(e, ATTENTIONS)).map(as_cause);
                expect.attention_step = fields.entry("step").and_then(|e| self.one_step(e));
            }
            _ => expect.attention = self.one_of(entry, ATTENTIONS).map(as_cause),
        }
    }

    fn calls(&mut self, entry: &Entry) -> Option<At<Vec<CallWanted>>> {
        let items = self.report.list(&entry.value, "calls", entry.name_span)?;
        let calls = items.iter().filter_map(|item| self.call(item, entry)).collect();
        Some(At { span: entry.name_span, value: calls })
    }

    fn call(&mut self, node: &Node, list: &Entry) -> Option<CallWanted> {
        let at = visible(node.span, list.name_span);
        if let Kind::Scalar(scalar) = &node.kind {
            let call = self.call_name(&scalar.text, at)?;
            return Some(CallWanted { span: at, call, method: None, path: None, body: None, headers: Vec::new() });
        }
        let at = match &node.kind {
            Kind::Map(entries) => entries.first().map_or(at, |entry| entry.name_span),
            _ => at,
        };
        let fields = self.report.object(node, &CALL, "the call", at)?;
        let call = fields.entry("call").and_then(|entry| {
            let text = self.report.plain_text(entry)?.to_owned();
            self.call_name(&text, entry.value.span)
        });
        let span = fields.get("call").map_or(at, |node| visible(node.span, at));
        if let (Some(_), Some(second)) = (fields.entry("body"), fields.entry("body_has")) {
            let message = "body is the whole body, body_has a part of it: say one";
            self.report.say(Code::WrongValue, second.name_span, message);
        }
        let body = match (fields.entry("body"), fields.entry("body_has")) {
            (Some(entry), _) => self.pattern(&entry.value, entry.name_span, false),
            (None, Some(entry)) => self.pattern(&entry.value, entry.name_span, true),
            (None, None) => None,
        };
        let mut headers = Vec::new();
        if let Some(entry) = fields.entry("headers") {
            for header in self.report.members(&entry.value, "headers", entry.name_span).unwrap_or_default() {
                if let Some(pattern) = self.pattern(&header.value, header.name_span, false) {
                    headers.push((header.name.clone(), pattern));
                }
            }
        }
        Some(CallWanted {
            span,
            call: call?,
            method: fields.entry("method").and_then(|e| self.text(e)),
            path: fields.entry("path").and_then(|e| self.pattern(&e.value, e.name_span, false)),
            body,
            headers,
        })
    }
}
