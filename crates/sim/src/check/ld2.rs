//! LD-2: no call starts after its deadline. Deadlines bind forward calls only: an undo, and what follows the point of
//! no return, have none (SEMANTICS 14).

use std::time::Duration;

use model::{Direction, Timestamp};
use partition::Effect;
use plan::Side;

use super::Decision;
use crate::event::{Checker, Event, View, Violation};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// How far the clock that the node reads may be behind the one that this reads.
    slack: Duration,
}

impl Checker for Deadlines {
    fn name(&self) -> &'static str {
        "LD-2"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::WorldBegins { features, .. } => {
                self.slack = super::wobble(features);
                Ok(())
            }
            Event::Started { tx, call, outgoing, .. } if outgoing.deadline.after(self.slack) <= world.node_now => {
                let what = format!("{call:?} starts at {}, its deadline was {}", world.node_now, outgoing.deadline);
                Err(Violation::new("LD-2", *tx, what))
            }
            Event::Proposed { effects, .. } => {
                let Some(d) = Decision::of(event, world) else { return Ok(()) };
                for effect in *effects {
                    let Effect::Call(out) = effect else { continue };
                    let side = d.plan.steps[usize::from(out.call.step)].side;
                    let is_bound = out.call.direction == Direction::Call && side != Side::After;
                    if !is_bound && out.deadline != Timestamp::NEVER {
                        let what = format!("{:?} must happen, and has a deadline", out.call);
                        return Err(Violation::new("LD-2", d.tx(), what));
                    }
                    if out.deadline != Timestamp::NEVER && out.deadline != d.after.deadline {
                        let what = format!(
                            "{:?} has the deadline {}, its transaction {}",
                            out.call, out.deadline, d.after.deadline
                        );
                        return Err(Violation::new("LD-2", d.tx(), what));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
