//! Tells everybody who watches a world what happens: the checkers, the digest, the story.

use std::fmt::Write;

use model::{Seq, Timestamp, TxId};
use partition::EntryKind;

use crate::check;
use crate::event::{Checker, Event, View, Violation};
use crate::fixed::split_mix;

/// Lines that a story keeps at most, the last ones.
const STORY_LINES_MAX: usize = 20_000;

/// See the head of this file.
pub(crate) struct Watch {
    checkers: Vec<Box<dyn Checker>>,
    /// The first broken promise, and who found it.
    pub(crate) broken: Option<(&'static str, Violation)>,
    pub(crate) entries: u64,
    /// Moves outside: calls that reached a participant, clients that were told something, transactions that ended.
    pub(crate) moved: u64,
    digest: u64,
    story: Option<Story>,
}

/// What is written down for a reader.
#[derive(Debug)]
pub(crate) struct Story {
    /// Only this transaction, and what happened to the node; none: everything.
    pub(crate) about: Option<TxId>,
    pub(crate) lines: Vec<String>,
}

impl Watch {
    pub(crate) fn new(checkers: Vec<Box<dyn Checker>>, story: Option<Option<TxId>>) -> Self {
        Self {
            checkers,
            broken: None,
            entries: 0,
            moved: 0,
            digest: 0,
            story: story.map(|about| Story { about, lines: Vec::new() }),
        }
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>, view: &View<'_>) {
        if self.broken.is_some() {
            return;
        }
        self.note(event, view.now);
        if let Some(story) = &mut self.story {
            story.tell(event, view);
        }
        for checker in &mut self.checkers {
            if let Err(violation) = checker.on(view.now, event, view) {
                self.broken = Some((checker.name(), violation));
                return;
            }
        }
    }

    /// Nobody listens, and nothing of it is written down.
    pub(crate) fn is_deaf_to(&self, event: &Event<'_>) -> bool {
        self.story.is_none() && !check::is_heard(event)
    }

    pub(crate) fn at_end(&mut self, view: &View<'_>) {
        for checker in &mut self.checkers {
            if self.broken.is_some() {
                return;
            }
            if let Err(violation) = checker.at_end(view.now, view) {
                self.broken = Some((checker.name(), violation));
            }
        }
    }

    /// Something that the world itself found.
    pub(crate) fn found(&mut self, violation: Violation) {
        self.broken.get_or_insert(("world", violation));
    }

    /// Mixes a number into what names this life.
    pub(crate) fn mix(&mut self, n: u64) {
        let mut state = self.digest ^ n;
        self.digest = split_mix(&mut state);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn take_story(&mut self) -> Option<Story> {
        self.story.take()
    }

    fn note(&mut self, event: &Event<'_>, now: Timestamp) {
        let (kind, what) = match event {
            Event::Proposed { entry, .. } => {
                self.entries += 1;
                (1, entry.at.0 ^ entry.seq.rotate_left(40))
            }
            Event::Started { call, endpoint, .. } => {
                (2, call.tx ^ u64::from(call.step) << 40 ^ u64::from(call.attempt) << 50 ^ u64::from(*endpoint) << 60)
            }
            Event::Worked { key, deed, .. } => {
                self.moved += 1;
                (3, key.tx.0 as u64 ^ u64::from(key.step) << 50 ^ (*deed as u64) << 60)
            }
            Event::Acknowledged { tx, .. } | Event::OutcomeTold { tx, .. } => {
                self.moved += 1;
                (4, tx.0 as u64)
            }
            Event::Ended { .. } => {
                self.moved += 1;
                return;
            }
            Event::Recovered { tail, .. } => (5, *tail),
            Event::Durable { last_seq, .. } => (6, *last_seq),
            _ => return,
        };
        self.mix(what ^ kind << 56 ^ now.0.rotate_left(17));
    }
}

impl Story {
    fn tell(&mut self, event: &Event<'_>, view: &View<'_>) {
        let mut line = String::new();
        if !self.write(event, view, &mut line) || line.is_empty() {
            return;
        }
        if self.lines.len() >= STORY_LINES_MAX {
            self.lines.drain(..STORY_LINES_MAX / 2);
        }
        self.lines.push(format!("{} {line}", view.now));
    }

    fn concerns(&self, tx: TxId) -> bool {
        self.about.is_none_or(|about| about == tx)
    }

    fn concerns_seq(&self, partition: u16, tx: Seq) -> bool {
        self.about.is_none_or(|about| about.partition().0 == partition && about.seq() == tx)
    }

    /// True if it belongs into the story.
    fn write(&self, event: &Event<'_>, view: &View<'_>, out: &mut String) -> bool {
        match event {
            Event::Proposed { partition, command, entry, effects, .. } => {
                let tx = match &entry.kind {
                    EntryKind::Begin(_) => entry.seq,
                    EntryKind::Moves { tx, .. } => *tx,
                    EntryKind::Epoch { .. } => {
                        let _ = write!(out, "p{partition} entry {}: {:?}", entry.seq, entry.kind);
                        return true;
                    }
                    EntryKind::Plan { .. } => return false,
                };
                if !self.concerns_seq(*partition, tx) {
                    return false;
                }
                let _ = write!(
                    out,
                    "p{partition} command {command:?}\n    entry {} at {}: {:?}",
                    entry.seq, entry.at, entry.kind
                );
                for effect in *effects {
                    let _ = write!(out, "\n    effect {effect:?}");
                }
                true
            }
            Event::Rejected { partition, command, why } => {
                let crate::event::Told::Other(command) = command else { return false };
                let _ = write!(out, "p{partition} {command:?} is rejected: {why}");
                command.subject().is_some_and(|tx| self.concerns_seq(*partition, tx))
            }
            Event::Applied { .. } | Event::Pulse | Event::Evicted { .. } => false,
            Event::Durable { partition, first_seq, last_seq, .. } => {
                let _ = write!(out, "p{partition} durable {first_seq}..={last_seq}");
                self.about.is_none_or(|about| about.partition().0 == *partition)
            }
            Event::Released { partition, entry, effect } => {
                let tx = match effect {
                    partition::Effect::Call(call) => call.call.tx,
                    partition::Effect::Withdraw(call) | partition::Effect::Parked { call, .. } => call.tx,
                    partition::Effect::Decided(tx) | partition::Effect::Grant(tx) => *tx,
                    partition::Effect::Ended(tx) => tx.seq(),
                };
                let _ = write!(out, "p{partition} released by entry {entry}: {effect:?}");
                self.concerns_seq(*partition, tx)
            }
            Event::Started { tx, call, participant, endpoint, .. } => {
                let name = &view.participants[*participant as usize].name;
                let _ = write!(
                    out,
                    "call {:?} of step {} starts: {name}@{endpoint}, attempt {}",
                    call.direction, call.step, call.attempt
                );
                self.concerns(*tx)
            }
            Event::Asked { tx, .. }
            | Event::GivenBack { tx, .. }
            | Event::Heard { tx, .. }
            | Event::OutcomeTold { tx, .. } => {
                let _ = write!(out, "{event:?}");
                self.concerns(*tx)
            }
            Event::Acknowledged { tx, .. } | Event::Operated { tx, .. } => {
                let _ = write!(out, "{event:?}");
                self.concerns(*tx)
            }
            Event::Arrived { key, .. } | Event::Worked { key, .. } | Event::Left { key, .. } => {
                let _ = write!(out, "{event:?}");
                self.concerns(key.tx)
            }
            Event::Ended { tx, .. } => {
                let _ = write!(out, "{} has ended: {:?}", tx.id, tx.outcome);
                self.concerns(tx.id)
            }
            Event::Submitted { .. } | Event::TurnedAway { .. } => {
                let _ = write!(out, "{event:?}");
                self.about.is_none()
            }
            Event::Recovered { partition, checkpoint, replayed, tail, .. } => {
                let _ = write!(
                    out,
                    "p{partition} recovered: checkpoint {checkpoint}, {replayed} entries replayed, up to {tail}"
                );
                true
            }
            _ => {
                let _ = write!(out, "{event:?}");
                true
            }
        }
    }
}
