//! What happens besides answers: signals, cancels, restarts, participants that go down, and what people do.

use std::time::Duration;

use compact_str::CompactString;
use definition::Code;
use definition::document::{Entry, Fields, Kind, Node, Problem, Shape, did_you_mean, shown, visible};
use plan::{Action, Wait};

use super::Reader;
use crate::script::{Event, What, When};

pub(crate) const EVENT: Shape = Shape {
    name: "an event",
    fields: &[
        "at", "during", "signal", "body", "cancel", "restart", "down", "up", "retry", "resolve", "outcome", "result",
    ],
    required: &[],
    later: &[],
};

/// What an event can be; exactly one of them.
pub(crate) const VERBS: &[&str] = &["signal", "cancel", "restart", "down", "up", "retry", "resolve"];

const EVENTS_MAX: usize = 200;

impl Reader<'_> {
    pub(crate) fn events(&mut self, entry: &Entry) -> Vec<Event> {
        let items = self.report.list(&entry.value, "events", entry.name_span).unwrap_or_default();
        if items.len() > EVENTS_MAX {
            self.report.say(Code::TooLarge, entry.name_span, format!("at most {EVENTS_MAX} events in one case"));
        }
        items.iter().filter_map(|item| self.event(item, entry)).collect()
    }

    fn event(&mut self, node: &Node, list: &Entry) -> Option<Event> {
        let at = match &node.kind {
            Kind::Map(entries) => entries.first().map_or(list.name_span, |entry| entry.name_span),
            _ => list.name_span,
        };
        let fields = self.report.object(node, &EVENT, "the event", at)?;
        let verbs: Vec<&Entry> = VERBS.iter().filter_map(|verb| fields.entry(verb)).collect();
        let [verb] = verbs.as_slice() else {
            let message = match verbs.len() {
                0 => "nothing happens in this event",
                _ => "two things in one event; write two events",
            };
            let place = verbs.get(1).map_or(at, |second| second.name_span);
            let problem = Problem::new(Code::WrongValue, place, message);
            self.report.add(problem.note(format!("an event has one of: {}", VERBS.join(", "))));
            return None;
        };
        let when = self.when(&fields, verb);
        let what = self.what(verb, &fields);
        for (field, of) in [("body", "signal"), ("outcome", "resolve"), ("result", "resolve")] {
            if let Some(entry) = fields.entry(field).filter(|_| verb.name != of) {
                self.report.say(Code::WrongValue, entry.name_span, format!("{field} goes with {of}"));
            }
        }
        Some(Event { when: when?, what: what?, span: verb.name_span })
    }

    fn when(&mut self, fields: &Fields<'_>, verb: &Entry) -> Option<When> {
        match (fields.entry("at"), fields.entry("during")) {
            (Some(at), None) => self.report.duration(at, Duration::ZERO).map(When::At),
            (None, Some(during)) => {
                let text = self.report.plain_text(during)?.to_owned();
                self.call_name(&text, during.value.span).map(When::During)
            }
            (None, None) if verb.name == "signal" => Some(When::Awaited),
            (None, None) => {
                let message = format!("when does {} happen?", verb.name);
                let problem = Problem::new(Code::MissingField, verb.name_span, message);
                self.report
                    .add(problem.note("say at: 5s (from the submission), or during: charge (its call is outstanding)"));
                None
            }
            (Some(_), Some(during)) => {
                self.report.say(Code::WrongValue, during.name_span, "an event has at or during, not both");
                None
            }
        }
    }

    fn what(&mut self, verb: &Entry, fields: &Fields<'_>) -> Option<What> {
        Some(match verb.name.as_str() {
            "signal" => {
                let name = CompactString::new(self.report.plain_text(verb)?);
                self.signal_name(&name, verb);
                let body = match fields.entry("body") {
                    Some(entry) => self.value(&entry.value)?,
                    None => model::Value::Map(model::Map::new()),
                };
                What::Signal { name, body }
            }
            "cancel" => {
                let reason = match &verb.value.kind {
                    Kind::Scalar(scalar) if scalar.text != "true" => self.report.plain_text(verb)?,
                    _ => "cancelled",
                };
                What::Cancel(reason.into())
            }
            "restart" => self.just(verb, What::Restart)?,
            "retry" => self.just(verb, What::Retry)?,
            "down" | "up" => {
                let name = CompactString::new(self.report.plain_text(verb)?);
                self.participant_name(&name, visible(verb.value.span, verb.name_span));
                if verb.name == "down" { What::Down(name) } else { What::Up(name) }
            }
            _ => {
                let text = self.report.plain_text(verb)?.to_owned();
                let call = self.call_name(&text, verb.value.span);
                let done = match fields.entry("outcome") {
                    Some(entry) => self.report.word(entry, &[("done", true), ("refused", false)]),
                    None => {
                        let message = "as what is it resolved?";
                        let problem = Problem::new(Code::MissingField, verb.name_span, message);
                        self.report.add(problem.note("say outcome: done, or outcome: refused"));
                        None
                    }
                };
                let result = fields.entry("result").and_then(|entry| self.value(&entry.value));
                What::Resolve { call: call?, done: done?, result }
            }
        })
    }

    /// `restart: true`.
    fn just(&mut self, verb: &Entry, what: What) -> Option<What> {
        match self.report.boolean(verb)? {
            true => Some(what),
            false => {
                let message = format!("{}: false is nothing; leave the event out", verb.name);
                self.report.say(Code::WrongValue, verb.value.span, message);
                None
            }
        }
    }

    fn signal_name(&mut self, name: &str, verb: &Entry) {
        let Some(plan) = self.plan else { return };
        let names: Vec<&str> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Wait(Wait::Signal { name, .. }) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if names.contains(&name) {
            return;
        }
        let message = format!("no step of {} waits for a signal \"{}\"", plan.name, shown(name));
        let mut problem = Problem::new(Code::WrongValue, visible(verb.value.span, verb.name_span), message);
        if let Some(near) = did_you_mean(name, names.iter().copied()) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        let all = if names.is_empty() {
            "it waits for no signal".into()
        } else {
            format!("its signals are: {}", names.join(", "))
        };
        self.report.add(problem.note(all));
    }
}
