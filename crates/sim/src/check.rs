//! The promises, one checker a file, and the list of all of them.
//!
//! A checker believes nobody: what it needs it keeps itself, from events, and holds the engine's state against it.
//! Where a promise can be judged at the participants, it is judged there (`conservation`, `tx3`); where a rule of
//! SEMANTICS says how it is kept, the rule is held too (`path`, `evidence`, `effects`), because a broken rule shows
//! long before anybody loses money by it.

pub mod bounds;
pub mod conservation;
pub mod effects;
pub mod evidence;
pub mod jr1;
pub mod jr2;
pub mod ld1;
pub mod ld2;
pub mod ld3;
pub mod ld4;
pub mod liveness;
pub mod path;
pub mod shared;
pub mod tx1;
pub mod tx2;
pub mod tx3;
pub mod tx4;
pub mod tx5;
pub mod tx6;

use std::time::Duration;

use model::{Timestamp, TxId};
use partition::entry::Moves;
use partition::{Entry, Transaction};
use plan::{Participant, Retry, Saga, Step};

use crate::event::{Before, Checker, Event, Told, View, Violation};

/// Every checker, fresh.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![Box::new(Checkers::default())]
}

/// Without those that hold the rules (`path`, `evidence`, `effects`): what is left sees a broken rule only when a
/// promise breaks by it. For the campaign over planted bugs, to learn whether it would.
pub fn promises() -> Vec<Box<dyn Checker>> {
    vec![Box::new(Checkers { without_rules: true, ..Checkers::default() })]
}

/// All of them as one, each told only what it listens to: most events concern few, and there are millions.
#[derive(Debug, Default)]
pub struct Checkers {
    path: path::Path,
    evidence: evidence::Judged,
    effects: effects::Effects,
    tx1: tx1::Acknowledged,
    tx2: tx2::Outcomes,
    tx3: tx3::Undone,
    tx4: tx4::Awake,
    tx5: tx5::Locks,
    tx6: tx6::Current,
    jr1: jr1::Replays,
    jr2: jr2::Whole,
    ld1: ld1::Limits,
    ld2: ld2::Deadlines,
    ld3: ld3::Attempts,
    ld4: ld4::Turns,
    liveness: liveness::Ends,
    conservation: conservation::Money,
    bounds: bounds::Bounds,
    shared: shared::Answers,
    without_rules: bool,
    /// The one that found what was found.
    found_by: Option<&'static str>,
}

/// Whether any of them listens to such an event: see [`Checkers`].
pub(crate) fn is_heard(event: &Event<'_>) -> bool {
    !matches!(
        event,
        Event::Calm
            | Event::Submitted { .. }
            | Event::TurnedAway { .. }
            | Event::Operated { .. }
            | Event::Arrived { .. }
            | Event::Left { .. }
            | Event::Crashed { .. }
            | Event::Evicted { .. }
    )
}

/// Tells these checkers, and stops at the first that objects.
macro_rules! tell {
    ($self:ident, $method:ident, $arguments:tt, $($checker:ident)*) => {{
        $(
            if let Err(violation) = $self.$checker.$method $arguments {
                $self.found_by = Some($self.$checker.name());
                return Err(violation);
            }
        )*
        Ok(())
    }};
}

impl Checker for Checkers {
    /// Of the one that objected, after it has.
    fn name(&self) -> &'static str {
        self.found_by.unwrap_or("checkers")
    }

    fn on(&mut self, at: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::WorldBegins { .. } => tell!(self, on, (at, event, world), ld1 ld2 ld3 ld4 shared),
            Event::Calm => Ok(()),
            Event::FaultWindow { .. } => tell!(self, on, (at, event, world), path jr2 ld1 ld3 conservation),
            Event::Quiescent => tell!(self, on, (at, event, world), tx4 liveness bounds),
            Event::Submitted { .. } | Event::TurnedAway { .. } | Event::Operated { .. } => Ok(()),
            Event::Acknowledged { .. } => tell!(self, on, (at, event, world), tx1),
            Event::OutcomeTold { .. } => tell!(self, on, (at, event, world), tx2),
            Event::Proposed { .. } if self.without_rules => tell!(self, on, (at, event, world), ld2 ld3 bounds shared),
            Event::Proposed { .. } => tell!(self, on, (at, event, world), path evidence effects ld2 ld3 bounds shared),
            Event::Rejected { .. } => tell!(self, on, (at, event, world), tx4),
            Event::Durable { .. } => tell!(self, on, (at, event, world), tx6 jr2),
            Event::Applied { .. } => tell!(self, on, (at, event, world), jr2 jr1 tx1 tx2 tx5),
            Event::Fenced { .. } => tell!(self, on, (at, event, world), tx6),
            Event::Released { .. } => tell!(self, on, (at, event, world), tx6 shared),
            Event::Opened { .. } => tell!(self, on, (at, event, world), tx6 ld1 ld3 ld4),
            Event::Asked { .. } | Event::GivenBack { .. } => tell!(self, on, (at, event, world), ld3 ld4),
            Event::Started { .. } => tell!(self, on, (at, event, world), tx6 ld1 ld2 ld3 ld4 shared),
            Event::Arrived { .. } | Event::Left { .. } => Ok(()),
            Event::Worked { .. } => tell!(self, on, (at, event, world), tx3 conservation),
            Event::Heard { .. } => tell!(self, on, (at, event, world), ld1 ld3 shared),
            Event::Paused { .. } => tell!(self, on, (at, event, world), ld1),
            Event::Crashed { .. } => Ok(()),
            Event::Recovered { .. } => tell!(self, on, (at, event, world), jr2 jr1 tx1 tx6 evidence),
            Event::Damaged { .. } | Event::Checkpointed { .. } => tell!(self, on, (at, event, world), jr2),
            Event::Evicted { .. } => Ok(()),
            Event::Ended { .. } => tell!(self, on, (at, event, world), tx2 tx3 jr1 conservation),
            Event::Changed { .. } => tell!(self, on, (at, event, world), ld1 ld3),
            Event::Pulse => tell!(self, on, (at, event, world), tx4 bounds),
        }
    }

    fn at_end(&mut self, at: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        tell!(self, at_end, (at, world), tx1 tx2 tx3 tx4 liveness conservation bounds)
    }
}

/// One entry about a transaction, as it was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) partition: u16,
    pub(crate) command: &'a Told<'a>,
    pub(crate) entry: &'a Entry,
    pub(crate) moves: &'a Moves,
    pub(crate) before: Option<&'a Before>,
    pub(crate) after: &'a Transaction,
    pub(crate) plan: &'a Saga,
}

impl<'a> Decision<'a> {
    /// What was decided, if the event is a decision about a transaction.
    pub(crate) fn of(event: &'a Event<'a>, world: &'a View<'a>) -> Option<Self> {
        let Event::Proposed { partition, command, entry, before, after: Some(after), .. } = event else { return None };
        let plans = &world.partition(*partition).leader?.plans;
        let plan = &plans.get(after.plan)?.saga;
        Some(Self { partition: *partition, command, entry, moves: entry.moves()?, before: *before, after, plan })
    }

    pub(crate) fn tx(&self) -> TxId {
        self.after.id
    }
}

/// How far behind the node's clock one reading of it may be.
pub(crate) fn wobble(features: &[&str]) -> Duration {
    if features.contains(&"clock wobbles") { Duration::from_millis(5) } else { Duration::ZERO }
}

/// The participant that a step calls, as it is declared now.
pub(crate) fn called<'w>(step: &Step, world: &View<'w>) -> Option<&'w Participant> {
    let name = &step.call()?.participant;
    world.participants.iter().find(|p| p.name == *name)
}

/// How often a step may be tried, and how long it waits between.
pub(crate) fn retry_of(step: &Step, participant: &Participant) -> Retry {
    step.retry.unwrap_or(participant.retry)
}
