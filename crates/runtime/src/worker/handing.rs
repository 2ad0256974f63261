//! Calls that were not made: another's answer on its way to the step that waits for it.
//!
//! What `load` says is put together with the answer itself while the load manager is held, because what is kept may be
//! dropped as soon as it is not. The partition has the last word: what does not do for a step, that step asks for
//! itself, as if nothing had been offered.

use std::sync::Arc;
use std::time::Duration;

use load::Verdict;
use model::Timestamp;
use partition::{Command, Rejected, Sample, SharedWay};

use super::Worker;
use crate::given::{GivenAnswer, Handed, KeptAnswers};
use crate::inbox::Note;

/// What one exchange with the load manager hands out.
#[derive(Default)]
pub(crate) struct Handing {
    /// Answers that came in this exchange.
    given: Vec<(load::CallRef, Arc<GivenAnswer>)>,
    handed: Vec<(u16, Handed)>,
    /// Calls whose answer is not here after all: they ask for themselves.
    missing: Vec<load::CallRef>,
}

impl Handing {
    pub(crate) fn is_empty(&self) -> bool {
        self.handed.is_empty() && self.missing.is_empty()
    }

    pub(crate) fn given(&mut self, call: load::CallRef, answer: Arc<GivenAnswer>) {
        self.given.push((call, answer));
    }

    /// `call` takes the answer that is kept of `by`.
    pub(crate) fn hand(&mut self, call: load::CallRef, by: load::CallRef, age: Duration, kept: &KeptAnswers) {
        let here = self.given.iter().find(|(given, _)| *given == by).map(|(_, answer)| Arc::clone(answer));
        self.put(call, here.or_else(|| kept.get(by)), SharedWay::Kept, age);
    }

    fn put(&mut self, call: load::CallRef, answer: Option<Arc<GivenAnswer>>, way: SharedWay, age: Duration) {
        match answer {
            Some(answer) => self.handed.push((call.worker, Handed { token: call.token, answer, way, age })),
            None => self.missing.push(call),
        }
    }

    /// Takes out those verdicts that are answers.
    pub(crate) fn take_from(&mut self, verdicts: &mut Vec<Verdict>, kept: &KeptAnswers) {
        verdicts.retain(|verdict| {
            let Verdict::Answered { call, by, age, .. } = verdict else { return true };
            match self.given.iter().find(|(given, _)| given == by) {
                Some((_, answer)) => self.put(*call, Some(Arc::clone(answer)), SharedWay::Joined, *age),
                // It waited for a call in vain, and meanwhile somebody else was answered.
                None => self.put(*call, kept.get(*by), SharedWay::Kept, *age),
            }
            false
        });
    }
}

impl Worker {
    /// Hands out what this exchange gave, here and on other workers.
    pub(crate) fn hand_out(&mut self, handing: Handing, now: Timestamp) {
        let mut elsewhere: Vec<Vec<Handed>> = Vec::new();
        for (worker, handed) in handing.handed {
            let worker = usize::from(worker);
            if worker == self.index {
                self.take_handed(handed, now);
            } else {
                elsewhere.resize_with(self.shared.inboxes.len(), Vec::new);
                elsewhere[worker].push(handed);
            }
        }
        for (worker, handed) in elsewhere.into_iter().enumerate() {
            if !handed.is_empty() {
                self.shared.inboxes[worker].send(Note::Handed(handed));
            }
        }
        for call in handing.missing {
            if usize::from(call.worker) == self.index {
                self.ask_itself(call.token);
            } else {
                let verdict = Verdict::Answered { call, participant: 0, by: call, age: Duration::ZERO };
                self.shared.inboxes[usize::from(call.worker)].send(Note::Verdicts(vec![verdict]));
            }
        }
        if !self.avoided.is_empty() {
            let mut all = self.shared.avoided.lock();
            for (participant, [joined, kept]) in std::mem::take(&mut self.avoided) {
                let sums = all.entry(participant).or_default();
                sums[0] += joined;
                sums[1] += kept;
            }
        }
    }

    /// A call that has not started is handed another's answer.
    pub(crate) fn take_handed(&mut self, handed: Handed, now: Timestamp) {
        let Handed { token, answer, way, age } = handed;
        let Some(slot) = self.calls.get_mut(token) else { return };
        let Some(outgoing) = &slot.outgoing else { return };
        let (host, call, started_at, participant) = (slot.host, slot.call, slot.started_at, outgoing.participant);
        if !answer.answers(participant, &outgoing.request) {
            tracing::error!(tx = call.tx, step = call.step, "another request had the same digest; it asks for itself");
            return self.ask_itself(token);
        }
        let sample = Sample {
            endpoint: answer.endpoint,
            started_at,
            took: now.since(started_at),
            evidence: answer.evidence.clone(),
            shared: Some(answer.mark(way, age)),
        };
        match self.propose(host, Command::Answered { call, sample }, now) {
            Err(Rejected::AskYourself) => return self.ask_itself(token),
            Ok(_) => self.avoided.entry(participant).or_default()[usize::from(way == SharedWay::Kept)] += 1,
            // Nobody waits for it any more; what is wrong with its partition has been told.
            Err(_) => {}
        }
        self.calls.remove(token);
        self.calls.waits_no_more(host, call);
    }

    /// Another's answer does not do: it is released again, and waits for nobody.
    pub(crate) fn ask_itself(&mut self, token: u64) {
        let Some(slot) = self.calls.get_mut(token) else { return };
        let host = slot.host;
        let Some(outgoing) = slot.outgoing.take() else { return };
        let released = self.released(host, &outgoing);
        let share = outgoing.share.map(|share| load::Share {
            identity: outgoing.request.identity(outgoing.participant),
            max_age: share.max_age,
            may_join: false,
        });
        if let Some(slot) = self.calls.get_mut(token) {
            slot.outgoing = Some(outgoing);
        }
        self.asked.push((token, released, share));
    }
}
