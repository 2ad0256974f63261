//! LD-4: no class starves. Of the calls that wait for one participant, whoever waits longest is passed over by a
//! bounded number of others.

use std::collections::VecDeque;

use model::{Timestamp, TxId};
use partition::CallRef;

use crate::event::{Checker, Event, View, Violation};
use crate::fixed::Map;

/// Every eighth start is promised to go to the one that waits longest; this leaves room for those that a hold, a
/// pause or their endpoint gave back meanwhile.
const PASSED_OVER_MAX: u32 = 32;
/// Every so manieth start is that of the one that waits longest.
const OLDEST_EVERY: u32 = 8;

#[derive(Debug, Default)]
struct Queue {
    /// By arrival. Those that have left are passed over when they come to the front.
    waiting: VecDeque<(TxId, CallRef, u64)>,
    passed_over: u32,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Turns {
    queues: Vec<Queue>,
    /// Those that wait, with their participant and the number of their arrival: one may come again.
    here: Map<(TxId, CallRef), (u32, u64)>,
    arrivals: u64,
    /// The load manager decides by dice and promises no order, or two of them are asked.
    is_unordered: bool,
}

impl Turns {
    /// A call has left its queue. `started`: it was its turn.
    fn leaves(&mut self, name: (TxId, CallRef), started: bool) -> Result<(), Violation> {
        let Some((participant, arrival)) = self.here.remove(&name) else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(participant as usize) else { return Ok(()) };
        if queue.waiting.front() == Some(&(name.0, name.1, arrival)) {
            queue.waiting.pop_front();
            queue.passed_over = 0;
            let is_here = |(tx, call, arrival): &(TxId, CallRef, u64)| {
                self.here.get(&(*tx, *call)).is_some_and(|(_, number)| number == arrival)
            };
            while queue.waiting.front().is_some_and(|first| !is_here(first)) {
                queue.waiting.pop_front();
            }
        } else if started {
            queue.passed_over += 1;
        }
        if queue.passed_over > PASSED_OVER_MAX
            && !self.is_unordered
            && let Some((tx, call, _)) = queue.waiting.front()
        {
            let what = format!(
                "{call:?} waits longest at participant {participant}, and {} went before it",
                queue.passed_over
            );
            return Err(Violation::new("LD-4", *tx, what));
        }
        Ok(())
    }
}

impl Checker for Turns {
    fn name(&self) -> &'static str {
        "LD-4"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, _: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::WorldBegins { features, .. } => {
                self.is_unordered = features.contains(&"load lies");
                Ok(())
            }
            // Repeats wait for their budget as well: no order is promised between them and the others.
            Event::Asked { class: load::Class::Retry, .. } => Ok(()),
            // It may wait for a call instead of its turn.
            Event::Asked { may_join: true, .. } => Ok(()),
            Event::Asked { tx, call, participant, .. } => {
                let place = *participant as usize;
                if self.queues.len() <= place {
                    self.queues.resize_with(place + 1, Queue::default);
                }
                self.arrivals += 1;
                self.here.insert((*tx, *call), (*participant, self.arrivals));
                self.queues[place].waiting.push_back((*tx, *call, self.arrivals));
                Ok(())
            }
            // A repeat that waited longer still may have had the turn of the one that waits longest.
            Event::Started { tx, call, participant, .. } if !self.here.contains_key(&(*tx, *call)) => {
                if let Some(queue) = self.queues.get_mut(*participant as usize) {
                    queue.passed_over = queue.passed_over.saturating_sub(OLDEST_EVERY);
                }
                Ok(())
            }
            Event::Started { tx, call, .. } => self.leaves((*tx, *call), true),
            Event::GivenBack { tx, call, .. } => self.leaves((*tx, *call), false),
            Event::Opened { former_lives, .. } => {
                // A former owner still asks its own load manager, which starts nothing any more.
                self.is_unordered |= former_lives;
                self.queues.clear();
                self.here.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
