//! Reads that take another's answer, as `runtime/src/worker/handing.rs` has it: what is kept, who is handed what, and
//! who asks for himself after all.

use std::rc::Rc;

use load::Verdict;
use model::mutant::{Mutant, is_planted};
use model::{Timestamp, TxId};
use partition::evidence::Body;
use partition::{CallRef, Command, Evidence, OutgoingCall, Rejected, Sample, Shared, SharedWay};
use plan::render::Request;

use super::Node;
use crate::event::Event;
use crate::world::{Outer, tell};

/// What a call asks, whose answer may serve others.
#[derive(Debug)]
pub(crate) struct Lead {
    tx: TxId,
    participant: u32,
    request: Request,
}

/// An answer that says yes or no.
#[derive(Debug)]
pub(crate) struct Given {
    lead: Lead,
    call: CallRef,
    endpoint: u16,
    evidence: Evidence,
}

/// One call is handed another's answer.
pub(crate) struct Handed {
    token: u64,
    answer: Option<Rc<Given>>,
    way: SharedWay,
    age: std::time::Duration,
}

impl Lead {
    pub(crate) fn of(outgoing: &OutgoingCall) -> Self {
        Self { tx: outgoing.key.tx, participant: outgoing.participant, request: outgoing.request.clone() }
    }
}

impl Given {
    pub(crate) fn of(
        lead: Lead,
        call: CallRef,
        endpoint: u16,
        evidence: &Evidence,
        for_load: load::Evidence,
    ) -> Option<Rc<Self>> {
        let is_answer = matches!(for_load, load::Evidence::Done | load::Evidence::Refused)
            && !matches!(evidence, Evidence::Answered { body: Body::Unusable(_), .. });
        let is_answer = is_answer || is_planted(Mutant::LeadFailsJoiners);
        is_answer.then(|| Rc::new(Self { lead, call, endpoint, evidence: evidence.clone() }))
    }
}

/// The name of a read, for the load manager.
pub(crate) fn share_of(outgoing: &OutgoingCall, may_join: bool) -> Option<load::Share> {
    let share = outgoing.share?;
    let identity = if is_planted(Mutant::AnswerOfAnotherRequest) {
        u128::from(outgoing.participant)
    } else {
        outgoing.request.identity(outgoing.participant)
    };
    Some(load::Share { identity, max_age: share.max_age, may_join: share.may_join && may_join })
}

impl Node {
    /// The answer to a call that may serve others, and whoever waits for it.
    pub(crate) fn finish_shared(&mut self, now: Timestamp, token: u64, sample: load::Sample, answer: &Rc<Given>) {
        let call = load::CallRef { worker: 0, token };
        let from = self.verdicts.len();
        if self.load.finish_shared(now, call, sample, 100, &mut self.verdicts) {
            self.kept.insert(token, Rc::clone(answer));
        }
        let mut verdicts = self.verdicts.split_off(from);
        verdicts.retain(|verdict| {
            let Verdict::Answered { call: to, by, age, .. } = verdict else { return true };
            if *by != call {
                return true;
            }
            let handed = Handed { token: to.token, answer: Some(Rc::clone(answer)), way: SharedWay::Joined, age: *age };
            self.handed.push(handed);
            false
        });
        self.verdicts.append(&mut verdicts);
    }

    pub(crate) fn hand_kept(&mut self, token: u64, by: load::CallRef, age: std::time::Duration) {
        let answer = self.kept.get(&by.token).cloned();
        self.handed.push(Handed { token, answer, way: SharedWay::Kept, age });
    }

    /// Those that are told to take an answer take it, or ask for themselves.
    pub(crate) fn hand_out(&mut self, out: &mut Outer, now: Timestamp) {
        for dropped in self.load.take_dropped() {
            self.kept.remove(&dropped.token);
        }
        for handed in std::mem::take(&mut self.handed) {
            if self.dies() {
                return;
            }
            self.take_handed(out, &handed, now);
        }
    }

    fn take_handed(&mut self, out: &mut Outer, handed: &Handed, now: Timestamp) {
        let token = handed.token;
        let Some(slot) = self.calls.get_mut(token) else { return };
        let Some(outgoing) = &slot.outgoing else { return };
        let (host, call, participant, started_at) = (slot.host, slot.call, slot.participant, slot.started_at);
        let tx = outgoing.key.tx;
        let fits = |answer: &&Rc<Given>| {
            (answer.lead.participant == participant && answer.lead.request == outgoing.request)
                || is_planted(Mutant::AnswerOfAnotherRequest)
        };
        let Some(answer) = handed.answer.as_ref().filter(fits) else { return self.ask_itself(token) };
        let sample = Sample {
            endpoint: answer.endpoint,
            started_at,
            took: now.since(started_at),
            evidence: answer.evidence.clone(),
            shared: Some(Shared {
                way: handed.way,
                tx: answer.lead.tx,
                step: answer.call.step,
                attempt: answer.call.attempt,
                age_us: u64::try_from(handed.age.as_micros()).unwrap_or(u64::MAX),
            }),
        };
        if let Err(Rejected::AskYourself) = self.propose(out, host, Command::Answered { call, sample }, now) {
            return self.ask_itself(token);
        }
        tell(&mut out.watch, &out.facts, Some(self), &Event::GivenBack { tx, call, participant });
        self.calls.remove(token);
    }

    fn ask_itself(&mut self, token: u64) {
        let Some(outgoing) = self.calls.get_mut(token).and_then(|slot| slot.outgoing.as_deref()) else { return };
        let (released, share) = (super::release::released(outgoing), share_of(outgoing, false));
        self.asked.push((token, released, share));
    }
}
