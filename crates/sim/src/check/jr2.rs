//! JR-2: a gap or damage is never skipped, and what the journal has confirmed is there for ever: after any crash, and
//! after a second one right behind it (SEMANTICS 5, 15, 17).

use model::{Seq, Timestamp};

use crate::event::{Checker, Event, Fault, View, Violation};

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// Confirmed, or read back and built upon.
    durable: Seq,
    applied: Seq,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Whole {
    ends: Vec<Ends>,
    /// Bits have rotted: damage is the right answer.
    has_rotted: bool,
}

impl Whole {
    fn ends(&mut self, partition: u16) -> &mut Ends {
        let place = usize::from(partition);
        if self.ends.len() <= place {
            self.ends.resize(place + 1, Ends::default());
        }
        &mut self.ends[place]
    }
}

impl Checker for Whole {
    fn name(&self) -> &'static str {
        "JR-2"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, _: &View<'_>) -> Result<(), Violation> {
        let broken = |what: String| Err(Violation::new("JR-2", None, what));
        match event {
            Event::FaultWindow { fault: Fault::BitRot, .. } => self.has_rotted = true,
            Event::Durable { partition, first_seq, last_seq, .. } => {
                let ends = self.ends(*partition);
                if *first_seq != ends.durable + 1 {
                    let end = ends.durable;
                    return broken(format!("partition {partition}: {first_seq}..={last_seq} is durable behind {end}"));
                }
                ends.durable = *last_seq;
            }
            Event::Applied { partition, entry, .. } => {
                let ends = self.ends(*partition);
                if entry.seq != ends.applied + 1 {
                    let end = ends.applied;
                    return broken(format!("partition {partition}: entry {} is read behind {end}", entry.seq));
                }
                ends.applied = entry.seq;
            }
            Event::Recovered { partition, restored, checkpoint, tail, replayed } => {
                let ends = self.ends(*partition);
                if *tail < ends.durable {
                    let had = ends.durable;
                    return broken(format!(
                        "partition {partition} ends at {tail}, {had} had been confirmed or built upon"
                    ));
                }
                if restored.seq != *tail {
                    let at = restored.seq;
                    return broken(format!("partition {partition} was rebuilt to {at}, its journal ends at {tail}"));
                }
                if checkpoint + replayed != *tail {
                    let what = format!("{replayed} entries were replayed on the checkpoint of {checkpoint}");
                    return broken(format!("partition {partition} ends at {tail}: {what}"));
                }
                ends.durable = *tail;
            }
            Event::Checkpointed { partition, seq, .. } => {
                let durable = self.ends(*partition).durable;
                if *seq > durable {
                    let what = format!("its checkpoint of {seq} is valid, durable is {durable}");
                    return broken(format!("partition {partition}: {what}"));
                }
            }
            Event::Damaged { partition, what } if !self.has_rotted => {
                return broken(format!("damage where nothing was damaged ({partition:?}): {what}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
