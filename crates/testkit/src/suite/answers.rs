//! Scripted answers: `charge: 402`, `credit: [timeout, {status: 200, after: 3s}]`, `undo charge: {status: 500, times: 2}`.

use std::collections::BTreeMap;
use std::time::Duration;

use definition::Code;
use definition::document::{Entry, Kind, Node, Problem, Resolved, Shape, did_you_mean, shown, visible};
use model::Number;

use super::Reader;
use crate::script::{Answer, CallName, Comes, TAKES};

pub(crate) const ANSWER: Shape = Shape {
    name: "an answer",
    fields: &["answer", "status", "body", "retry_after", "after", "executed", "times"],
    required: &[],
    later: &[("headers", "only Retry-After means anything to the engine: retry_after: true")],
};

/// The words for an answer.
pub(crate) const WORDS: &[&str] = &["done", "refused", "timeout", "lost", "cut", "not_sent", "garbled", "crash"];

const HINT: &str = "an answer is a status (402), a word (done, refused, timeout, lost, cut, not_sent, garbled, crash), \
                    or an object: {status: 200, body: {…}, after: 3s, executed: true, times: 2}";
const ANSWERS_MAX: usize = 100;

impl Reader<'_> {
    pub(crate) fn answers(&mut self, entry: &Entry) -> BTreeMap<CallName, Vec<Answer>> {
        let mut answers = BTreeMap::new();
        for call in self.report.members(&entry.value, "answers", entry.name_span).unwrap_or_default() {
            let name = self.call_name(&call.name, call.name_span);
            let mut list = Vec::new();
            match &call.value.kind {
                Kind::List(items) => {
                    if items.is_empty() {
                        self.report.say(Code::WrongValue, call.name_span, "the list of answers is empty");
                    }
                    items.iter().for_each(|item| self.answer(item, call, &mut list));
                }
                _ => self.answer(&call.value, call, &mut list),
            }
            if list.len() > ANSWERS_MAX {
                let message = format!("at most {ANSWERS_MAX} answers to one call; the last repeats");
                self.report.say(Code::TooLarge, call.name_span, message);
            }
            if let Some(name) = name {
                answers.insert(name, list);
            }
        }
        answers
    }

    /// One answer, as often as it says.
    fn answer(&mut self, node: &Node, call: &Entry, list: &mut Vec<Answer>) {
        let span = visible(node.span, call.name_span);
        match &node.kind {
            Kind::Broken => {}
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Number(Number::Int(status)) => {
                    if let Some(status) = self.status(status, span) {
                        list.push(Answer::status(status));
                    }
                }
                Resolved::Text => list.extend(self.word(&scalar.text, span)),
                _ => {
                    let message = format!("this is no answer: {}", node.what());
                    self.report.add(Problem::new(Code::WrongType, span, message).note(HINT));
                }
            },
            Kind::List(_) => {
                let message = "a list in a list; the answers to a call are one list";
                self.report.add(Problem::new(Code::WrongType, span, message).note(HINT));
            }
            Kind::Map(_) => self.answer_object(node, call, list),
        }
    }

    fn status(&mut self, status: i64, span: definition::Span) -> Option<u16> {
        let fits = u16::try_from(status).ok().filter(|status| (100..600).contains(status));
        if fits.is_none() {
            let message = format!("{status} is no HTTP status (100 to 599)");
            self.report.add(Problem::new(Code::WrongValue, span, message).note(HINT));
        }
        fits
    }

    fn word(&mut self, word: &str, span: definition::Span) -> Option<Answer> {
        Some(match word {
            "done" => Answer::of(Comes::Done),
            "refused" => Answer::status(422),
            "timeout" => Answer::of(Comes::Timeout),
            "lost" => Answer::of(Comes::Timeout).executed(true),
            "cut" => Answer::of(Comes::Cut),
            "not_sent" => Answer::of(Comes::NotSent),
            "garbled" => Answer::of(Comes::Garbled),
            "crash" => Answer::of(Comes::Crash),
            other => {
                let message = format!("\"{}\" is no answer", shown(other));
                let mut problem = Problem::new(Code::WrongValue, span, message);
                if let Some(near) = did_you_mean(other, WORDS.iter().copied()) {
                    problem = problem.under(format!("did you mean \"{near}\"?"));
                }
                self.report.add(problem.note(HINT));
                return None;
            }
        })
    }

    fn answer_object(&mut self, node: &Node, call: &Entry, list: &mut Vec<Answer>) {
        let Some(fields) = self.report.object(node, &ANSWER, "the answer", call.name_span) else { return };
        let mut answer = match (fields.entry("answer"), fields.entry("status")) {
            (Some(word), None) => {
                let text = self.report.plain_text(word).map(str::to_owned);
                text.and_then(|text| self.word(&text, word.value.span))
            }
            (None, status) => {
                let status = match status {
                    Some(entry) => self.report.whole(entry, 100, 599).map(|status| status as u16),
                    None => Some(200),
                };
                status.map(Answer::status)
            }
            (Some(word), Some(_)) => {
                let message = "an answer is a word or a status, not both";
                self.report.add(Problem::new(Code::WrongValue, word.name_span, message).note(HINT));
                None
            }
        };
        if let Some(entry) = fields.entry("retry_after") {
            let given = self.report.boolean(entry);
            match (given, answer.as_mut().map(|a| &mut a.comes)) {
                (Some(given), Some(Comes::Status { retry_after, .. })) => *retry_after = given,
                (_, Some(_)) => self.report.say(Code::WrongValue, entry.name_span, "retry_after goes with a status"),
                _ => {}
            }
        }
        if let Some(entry) = fields.entry("body") {
            let given = self.value(&entry.value);
            match (given, answer.as_mut().map(|a| &mut a.comes)) {
                (Some(given), Some(Comes::Status { body, .. })) => *body = Some(given),
                (Some(given), Some(comes @ Comes::Done)) => {
                    *comes = Comes::Status { status: 200, retry_after: false, body: Some(given) };
                }
                (_, Some(_)) => self.report.say(Code::WrongValue, entry.name_span, "a body goes with a status"),
                _ => {}
            }
        }
        let after = fields.entry("after").and_then(|entry| self.report.duration(entry, Duration::ZERO));
        let executed = fields.entry("executed").and_then(|entry| self.report.boolean(entry));
        let times = match fields.entry("times") {
            Some(entry) => self.report.whole(entry, 1, ANSWERS_MAX as u32).unwrap_or(1),
            None => 1,
        };
        let Some(mut answer) = answer else { return };
        answer.after = after.unwrap_or(TAKES);
        if executed.is_some() {
            if answer.comes == Comes::NotSent {
                self.report.say(Code::WrongValue, call.name_span, "what was not sent cannot have been executed");
            }
            answer.executed = executed;
        }
        list.extend(std::iter::repeat_n(answer, times as usize));
    }
}
