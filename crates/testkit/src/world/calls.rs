//! Calls: how one leaves, what comes of it and when, and what the engine took the answer for.

use std::time::Duration;

use model::{Direction, Outcome, Value};
use partition::{Body, CallRef, Command, Evidence, Move, OutgoingCall, Sample};
use plan::Idempotency;

use super::{Due, Flying, HELD_FIRST, HELD_MAX, World};
use crate::ledger::{Fate, Told};
use crate::pattern::one_line;
use crate::run::Made;
use crate::script::{Answer, CallName, Comes, When};

impl World<'_> {
    pub(super) fn start(&mut self, out: &OutgoingCall) {
        let name = (out.call.step, out.call.direction);
        let participant = &self.setting.participants[out.participant as usize];
        let first = !self.served.contains_key(&name);
        let served = self.served.entry(name).or_default();
        *served += 1;
        let answer = match self.script.answers.get(&name).map(Vec::as_slice) {
            Some([]) | None => Answer::of(Comes::Done),
            Some(list) => list[(*served as usize - 1).min(list.len() - 1)].clone(),
        };
        let in_flight: Vec<CallName> = self.flying.iter().map(|f| (f.call.step, f.call.direction)).collect();
        if let Some(tx) = self.leader.partition.get(self.tx) {
            let tx = tx.clone();
            self.ledger.released(&tx, self.setting.plan, out, participant, &in_flight, self.now);
        }
        let body = out.request.body.as_ref().map_or_else(String::new, |body| {
            let value = model::json::parse(body).unwrap_or_default();
            format!(" {}", one_line(&value))
        });
        let (method, path) = (out.request.method.as_str(), &out.request.path_and_query);
        let again = if *served > 1 { format!(" (attempt {served})") } else { String::new() };
        let text = format!("{method} {}{path}{body}{again}", participant.name);
        let word = self.word(name);
        self.tell(word, text);
        self.calls.push(Made {
            call: name,
            at: self.since(),
            participant: participant.name.to_string(),
            key: out.key,
            request: out.request.clone(),
            key_header: match &participant.idempotency {
                Idempotency::Header { name, .. } => Some(name.to_string()),
                Idempotency::None | Idempotency::Body { .. } => None,
            },
        });
        let makes_up = match answer.comes {
            Comes::Done => true,
            Comes::Status { status, body: None, .. } => (200..300).contains(&status),
            _ => false,
        };
        if makes_up && name.1 == Direction::Call {
            self.made_up_used.insert(name.0);
        }
        let flying = self.answer(out, &answer);
        self.flying.push(flying);
        if first {
            let events = self.script.events.iter().enumerate();
            let during = events.filter(|(place, event)| !self.fired[*place] && event.when == When::During(name));
            let during: Vec<usize> = during.map(|(place, _)| place).collect();
            for place in during {
                self.fired[place] = true;
                self.due.push_back(Due::Event(place));
            }
        }
    }

    /// What comes of an attempt, and when.
    pub(super) fn answer(&self, out: &OutgoingCall, answer: &Answer) -> Flying {
        let down = self.holds[out.participant as usize].down;
        let comes = if down { &Comes::NotSent } else { &answer.comes };
        let answered = |status, retry_after, body| Evidence::Answered { status, has_retry_after: retry_after, body };
        let made_up = || match self.setting.made_up.get(&out.call.step) {
            Some(body) if out.call.direction == Direction::Call => Body::Json(body.clone()),
            _ => Body::Json(Value::Map(model::Map::new())),
        };
        let evidence = match comes {
            Comes::Done => Some(answered(200, false, made_up())),
            Comes::Status { status, retry_after, body } => {
                let body = match body {
                    None if (200..300).contains(status) => made_up(),
                    None | Some(Value::Null) => Body::Empty,
                    Some(body) => Body::Json(body.clone()),
                };
                Some(answered(*status, *retry_after, body))
            }
            Comes::Garbled => Some(answered(200, false, Body::Unusable("its body is not JSON".into()))),
            Comes::Timeout => Some(Evidence::TimedOut),
            Comes::Cut => Some(Evidence::Cut("the connection was cut".into())),
            Comes::NotSent => Some(Evidence::NotSent("connection refused".into())),
            Comes::Crash => None,
        };
        let good = matches!(evidence, Some(Evidence::Answered { status: 200..=299, .. }));
        let late = answer.after >= out.timeout && matches!(evidence, Some(Evidence::Answered { .. }));
        let (evidence, takes) = match evidence {
            Some(Evidence::TimedOut) => (Some(Evidence::TimedOut), out.timeout),
            Some(_) if late => (Some(Evidence::TimedOut), out.timeout),
            other => (other, answer.after.min(out.timeout)),
        };
        let does = |executed| match (executed, late) {
            (false, _) => Fate::Never,
            (true, true) => Fate::At(self.now.after(answer.after)),
            (true, false) => Fate::Now,
        };
        let fate = match (comes, answer.executed) {
            (Comes::NotSent, _) => Some(Fate::Never),
            (_, Some(executed)) => Some(does(executed)),
            (Comes::Timeout | Comes::Cut | Comes::Crash, None) => Some(Fate::Never),
            (_, None) => late.then(|| does(good)),
        };
        Flying {
            call: out.call,
            participant: out.participant,
            started_at: self.now,
            answers_at: self.now.after(takes),
            evidence,
            fate,
        }
    }

    pub(super) fn answered(&mut self, flown: Flying) {
        let Some(evidence) = flown.evidence.clone() else {
            let word = self.word((flown.call.step, flown.call.direction));
            let executed = if flown.fate == Some(Fate::Never) { "" } else { "; it was executed" };
            self.tell(word, format!("the engine crashes here{executed}"));
            self.flying.push(flown);
            return self.restart();
        };
        let sample = Sample {
            endpoint: 0,
            started_at: flown.started_at,
            took: self.now.since(flown.started_at),
            evidence,
            shared: None,
        };
        let call = flown.call;
        self.flying.push(flown);
        if let Err(rejected) = self.propose(Command::Answered { call, sample }) {
            self.flying.retain(|f| f.call != call);
            self.ledger.note("TX-4", format!("an answer was not taken: {rejected}"));
        }
    }

    /// What the answer to this attempt was taken for, in the ledger.
    pub(super) fn judged(&mut self, call: CallRef, moves: &[Move]) {
        let Some(place) = self.flying.iter().position(|f| f.call == call) else { return };
        let flown = self.flying.remove(place);
        let found = moves.iter().find_map(|made| match made {
            Move::Answer { attempt, proves_not_executed, .. } if attempt.step == call.step => {
                Some((attempt.outcome, *proves_not_executed, attempt.status, attempt.detail.clone()))
            }
            _ => None,
        });
        let Some((outcome, proof, status, detail)) = found else { return };
        let told = match outcome {
            Outcome::Done => Told::Done,
            Outcome::Unknown => Told::Unknown,
            Outcome::Refused | Outcome::Failed if proof => Told::Proof,
            Outcome::Refused | Outcome::Failed => Told::Nothing,
        };
        let fate = flown.fate.unwrap_or(if told == Told::Done { Fate::Now } else { Fate::Never });
        let participant = &self.setting.participants[flown.participant as usize];
        let name = (call.step, call.direction);
        self.ledger.answered(name, participant, told, fate, self.now);
        let parked = moves.iter().any(|made| matches!(made, Move::Park { step, .. } if *step == call.step));
        self.taken.insert(name, !parked);
        let hold = &mut self.holds[flown.participant as usize];
        if parked || (outcome == Outcome::Failed && status == 0) {
            hold.wait = if hold.wait.is_zero() { HELD_FIRST } else { (hold.wait * 2).min(HELD_MAX) };
            hold.until = Some(self.now.after(hold.wait));
            self.around.held[flown.participant as usize] = parked;
        } else {
            hold.wait = Duration::ZERO;
        }
        let mut text = match &flown.evidence {
            Some(Evidence::Answered { status, body, .. }) => {
                let body = match body {
                    Body::Empty => String::new(),
                    Body::Json(value) => format!(" {}", one_line(value)),
                    Body::Unusable(why) => format!(" ({why})"),
                };
                format!("{status}{body}: {}", outcome.as_str())
            }
            _ => outcome.as_str().to_owned(),
        };
        // The engine's own words for a status begin with it: it has been said.
        let said = format!("{status} ");
        let detail = detail
            .strip_prefix(&said)
            .filter(|rest| *rest != outcome.as_str())
            .or_else(|| (!detail.starts_with(&said)).then_some(detail.as_str()));
        if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
            text.push_str(&format!(" ({detail})"));
        }
        if parked {
            text.push_str("; the participant is held, no attempt is spent");
        }
        if fate != Fate::Never && told != Told::Done {
            text.push_str("; but it was executed");
        }
        let word = self.word(name);
        self.tell(word, text);
    }
}
