//! Calls between the process and the participants: sent, worked on, answered, delivered twice.

use partition::OutgoingCall;

use super::{Outer, World};
use crate::event::Event;
use crate::facts::tell;
use crate::node::{Answer, Node};
use crate::outside::FlightId;
use crate::queue::Happening;

/// A call leaves the process.
pub(crate) fn send(out: &mut Outer, node: &Node, token: u64, outgoing: &OutgoingCall, endpoint: u16) {
    let now = out.facts.now;
    let place = outgoing.participant as usize;
    let executions = out.facts.ledger.deed(outgoing.key.tx, outgoing.key.step).executions;
    let course = out.outside.start(node.id, token, outgoing, endpoint, &out.facts.participants[place], now, executions);
    if course.arrives_now {
        let running = out.outside.moods[place].running;
        let event = Event::Arrived { key: outgoing.key, participant: outgoing.participant, endpoint, running };
        tell(&mut out.watch, &out.facts, Some(node), &event);
    }
    if let Some(at) = course.effect_at
        && at != course.reply_at
    {
        out.queue.plan(at, Happening::Effect(course.id));
    }
    out.queue.plan(course.reply_at, Happening::Reply(course.id));
    if let Some(at) = course.again_at
        && let Some(copy) = out.outside.copy_of(course.id)
    {
        out.copies.push(copy);
        out.facts.ledger.sets_out(outgoing.key);
        out.queue.plan(at, Happening::Again { copy: out.copies.len() as u32 - 1 });
    }
}

impl World {
    pub(super) fn effect(&mut self, id: FlightId) {
        let now = self.out.facts.now;
        let Some(flight) = self.out.outside.copy_of(id) else { return };
        let place = flight.participant as usize;
        let Outer { outside, facts, .. } = &mut self.out;
        let Some(worked) = outside.work(id, &facts.participants[place], &mut facts.ledger, now) else { return };
        self.worked(worked);
    }

    pub(super) fn worked(&mut self, worked: crate::outside::Worked) {
        let crate::outside::Worked { key, participant, endpoint, deed, amount, arrived_late } = worked;
        let running = self.out.outside.moods[participant as usize].running;
        if arrived_late {
            self.say(&Event::Arrived { key, participant, endpoint, running: running + 1 });
        }
        self.say(&Event::Worked { key, participant, endpoint, deed, amount });
        if arrived_late {
            self.say(&Event::Left { key, participant, running });
        }
    }

    pub(super) fn again(&mut self, copy: u32) {
        let now = self.out.facts.now;
        let flight = self.out.copies[copy as usize].clone();
        let place = flight.participant as usize;
        let Outer { outside, facts, .. } = &mut self.out;
        facts.ledger.comes_in(flight.key);
        let worked = outside.work_again(&flight, &facts.participants[place], &mut facts.ledger, now);
        self.worked(worked);
    }

    pub(super) fn reply(&mut self, id: FlightId) {
        let now = self.out.facts.now;
        self.effect(id);
        let Outer { outside, facts, .. } = &mut self.out;
        let Some(told) = outside.reply(id, &mut facts.ledger, now) else { return };
        let flight = &told.flight;
        let running = self.out.outside.moods[flight.participant as usize].running;
        if flight.was_running() {
            self.say(&Event::Left { key: flight.key, participant: flight.participant, running });
        }
        let is_current = self.node.as_ref().is_some_and(|node| node.id == flight.node);
        let answer = Answer {
            token: flight.token,
            endpoint: flight.endpoint,
            evidence: told.evidence,
            for_load: told.for_load,
            took: told.took,
        };
        if is_current {
            self.say(&Event::Heard {
                tx: flight.key.tx,
                call: flight.call,
                key: flight.key,
                participant: flight.participant,
                evidence: &answer.evidence,
                took: answer.took,
            });
            if let Some(node) = &mut self.node {
                node.answers.push(answer);
            }
            self.wake();
        } else if let Some(former) = self.former.as_mut().filter(|node| node.id == flight.node) {
            former.answers.push(answer);
        }
    }
}
