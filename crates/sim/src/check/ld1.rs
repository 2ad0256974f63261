//! LD-1: in-flight calls never exceed the limit that the participant declares, nor its pace; after a restart, whose
//! former calls may still be running over there, it opens as a ramp from half of the limit (SEMANTICS 20); and one
//! that is paused gets none.
//!
//! Counted from starts and ends, not taken from the load manager.

use std::time::Duration;

use model::{Timestamp, TxId};
use partition::{CallRef, Evidence};

use crate::event::{Checker, Event, Fault, View, Violation};
use crate::fixed::Map;

#[derive(Clone, Debug, Default)]
struct Count {
    in_flight: u32,
    /// After a restart: successes since then; none once it may be open.
    ramp: Option<u32>,
    /// The theoretical arrival time of the next start, in nanoseconds of the node's clock (GCRA).
    arrival: u64,
    is_paused: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Limits {
    counts: Vec<Count>,
    calls: Map<(TxId, CallRef), u32>,
    /// The load manager decides by dice: it keeps the limit and nothing else.
    lies: bool,
    /// How far the clock that the node reads may be behind the one that this reads.
    slack: Duration,
}

impl Limits {
    fn count(&mut self, participant: u32) -> &mut Count {
        let place = participant as usize;
        if self.counts.len() <= place {
            self.counts.resize(place + 1, Count::default());
        }
        &mut self.counts[place]
    }

    fn started(
        &mut self,
        tx: TxId,
        call: CallRef,
        participant: u32,
        limit: u32,
        world: &View<'_>,
    ) -> Result<(), Violation> {
        let (lies, slack) = (self.lies, self.slack);
        self.calls.insert((tx, call), participant);
        let count = self.count(participant);
        count.in_flight += 1;
        let broken = |what: String| Err(Violation::new("LD-1", tx, format!("participant {participant}: {what}")));
        if count.in_flight > limit {
            return broken(format!("{} calls in flight, its limit is {limit}", count.in_flight));
        }
        if lies {
            return Ok(());
        }
        if count.is_paused {
            return broken("it is paused, and a call starts".to_owned());
        }
        if let Some(successes) = count.ramp {
            let open = (limit / 2).max(1).saturating_add(successes);
            if open >= limit {
                count.ramp = None;
            } else if count.in_flight > open {
                return broken(format!(
                    "{} calls in flight after a restart and {successes} answers, of a limit of {limit}",
                    count.in_flight
                ));
            }
        }
        let declared = &world.participants[participant as usize];
        if let Some(rate) = declared.limits.max_per_second.map(|rate| u64::from(rate.max(1))) {
            let interval = 1_000_000_000_u64.div_ceil(rate);
            let ahead = interval * (rate / 10).max(1) - interval;
            let now = world.node_now.0.saturating_mul(1_000);
            // A microsecond is as exact as the node's clock.
            if count.arrival > now + ahead + 1_000 + slack.as_nanos() as u64 {
                return broken(format!("starts faster than {rate} a second"));
            }
            count.arrival = count.arrival.max(now).saturating_add(interval);
        }
        Ok(())
    }

    fn heard(&mut self, tx: TxId, call: CallRef, evidence: &Evidence) {
        let Some(participant) = self.calls.remove(&(tx, call)) else { return };
        let count = self.count(participant);
        count.in_flight = count.in_flight.saturating_sub(1);
        // As the load manager is told: done, or refused.
        let taken = match evidence {
            Evidence::Answered { status: 401 | 405 | 407 | 408 | 415 | 421 | 425 | 426 | 429 | 431, .. } => false,
            Evidence::Answered { status, .. } => matches!(status, 200..=299 | 400..=499),
            _ => false,
        };
        if let Some(successes) = &mut count.ramp
            && taken
        {
            *successes += 1;
        }
    }
}

impl Checker for Limits {
    fn name(&self) -> &'static str {
        "LD-1"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Started { tx, call, participant, limit, .. } => {
                return self.started(*tx, *call, *participant, *limit, world);
            }
            Event::WorldBegins { features, .. } => {
                self.lies = features.contains(&"load lies");
                self.slack = super::wobble(features);
            }
            Event::Paused { participant, on } => self.count(*participant).is_paused = *on,
            Event::Heard { tx, call, evidence, .. } => self.heard(*tx, *call, evidence),
            // A process begins with nothing under way. Calls of the one before it may still run over there.
            Event::Opened { epoch, .. } => {
                self.calls.clear();
                for count in &mut self.counts {
                    *count = Count { ramp: (*epoch > 1).then_some(0), ..Count::default() };
                }
            }
            // Somebody may have opened it by hand, or changed what is declared.
            Event::FaultWindow { fault: Fault::Pause | Fault::Definitions, .. } | Event::Changed { .. } => {
                for count in &mut self.counts {
                    count.ramp = None;
                    count.arrival = 0;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
