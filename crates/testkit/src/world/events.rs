//! What happens besides answers: signals, people, participants that go down, restarts.

use std::sync::Arc;

use compact_str::CompactString;
use model::{Direction, StepIndex, Value};
use partition::branch::Branch;
use partition::{Command, Operator, Signal};

use super::{Due, Hold, World};
use crate::pattern::one_line;
use crate::script::{Event, What, When};

impl World<'_> {
    /// Signals that come as soon as they are waited for.
    pub(super) fn awaited(&mut self) {
        let Some(tx) = self.leader.partition.get(self.tx) else { return };
        let mut due = Vec::new();
        for (place, (step, state)) in self.setting.plan.steps.iter().zip(&tx.steps).enumerate() {
            let plan::Action::Wait(plan::Wait::Signal { name, .. }) = &step.action else { continue };
            if !matches!(state.branch, Branch::Signal { .. }) {
                continue;
            }
            let sends = |event: &Event| matches!(&event.what, What::Signal { name: sent, .. } if sent == name);
            let here = When::Awaiting(place as StepIndex);
            let events = self.script.events.iter().enumerate();
            let awaited = events.filter(|(_, e)| e.when == here || (e.when == When::Awaited && sends(e)));
            let mut all: Vec<usize> = awaited.map(|(event, _)| event).filter(|event| !self.fired[*event]).collect();
            // What happens while it waits comes before what ends the wait.
            all.sort_by_key(|event| self.script.events[*event].when != here);
            for event in all {
                self.fired[event] = true;
                due.push(Due::Event(event));
            }
            if self.setting.signals_come
                && !self.script.events.iter().any(sends)
                && self.made_up_sent.insert(name.clone())
            {
                let made_up = self.setting.made_up.get(&(place as StepIndex)).cloned();
                due.push(Due::Signal(
                    place as StepIndex,
                    name.clone(),
                    made_up.unwrap_or_else(|| Value::Map(model::Map::new())),
                ));
            }
        }
        self.due.extend(due);
    }

    pub(super) fn send(&mut self, idempotency_key: CompactString, name: CompactString, body: Value) {
        self.tell("", format!("signal {name} {}", one_line(&body)));
        let signal = Signal { tx: self.tx, idempotency_key, name, body: Arc::new(body) };
        if let Err(rejected) = self.propose(Command::Signal(signal)) {
            self.tell("", format!("… answered 409: {rejected}"));
        }
    }

    /// An event of the script.
    pub(super) fn happen(&mut self, place: usize) {
        let event = &self.script.events[place];
        let operate = |tx, verb| Command::Operate { tx, verb, who: "test".into(), why: "the case says so".into() };
        let result = match &event.what {
            What::Signal { name, body } => {
                let key = compact_str::format_compact!("event-{place}");
                let (name, body) = (name.clone(), body.clone());
                self.send(key, name, body);
                Ok(())
            }
            What::Cancel(why) => {
                self.tell("", format!("cancel ({why})"));
                let (tx, verb, who) = (self.tx, Operator::Cancel, "test".into());
                self.propose(Command::Operate { tx, verb, who, why: why.clone() })
            }
            What::Restart => {
                self.tell("", "the engine crashes here");
                self.restart();
                Ok(())
            }
            What::Down(name) | What::Up(name) => {
                let down = matches!(event.what, What::Down(_));
                if let Some(p) = self.setting.participants.iter().position(|p| p.name == *name) {
                    self.tell("", format!("{name} is {}", if down { "down" } else { "up again" }));
                    self.holds[p].down = down;
                    if !down && self.holds[p].until.is_some() {
                        self.holds[p] = Hold::default();
                        self.free(p);
                    }
                }
                Ok(())
            }
            What::Retry => {
                self.tell("", "a person retries");
                self.propose(operate(self.tx, Operator::Retry))
            }
            What::Resolve { call, done, result } => {
                let (step, direction) = *call;
                let word = self.word(*call);
                let how = if *done { "done" } else { "refused" };
                self.tell(word, format!("a person resolves it as {how}"));
                let live = self.live().is_some_and(|tx| tx.steps[usize::from(step)].branch == Branch::Attention);
                if live && *done && direction == Direction::Compensate {
                    self.ledger.undone_by_hand(step);
                }
                let result = result.clone().map(Arc::new);
                self.propose(operate(self.tx, Operator::Resolve { step, direction, done: *done, result }))
            }
        };
        if let Err(rejected) = result {
            self.tell("", format!("… answered 409: {rejected}"));
        }
    }
}
