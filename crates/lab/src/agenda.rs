//! What happens next: events by time, and in the order they were planned where times are equal.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::arm::{CallId, TxId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The next transaction of the list arrives.
    Arrive,
    /// A call reaches its endpoint.
    AtServer(CallId),
    /// A worker of a first-come-first-served endpoint is done with a call.
    Served {
        participant: u16,
        endpoint: u16,
        call: CallId,
    },
    /// The first of the calls that share an endpoint is done, unless something has changed since.
    Shared {
        participant: u16,
        endpoint: u16,
        generation: u32,
    },
    /// An answer reaches the client.
    Reply(CallId),
    Timeout(CallId),
    /// The wait before the next attempt is over.
    Again(TxId),
    Wake {
        node: u16,
        generation: u32,
    },
    /// Something that the scenario says happens to a participant.
    Change {
        participant: u16,
        index: u32,
    },
    /// A client that nobody here controls makes a call.
    Other {
        participant: u16,
        generation: u32,
    },
    Scale {
        participant: u16,
    },
    Scaled {
        participant: u16,
        workers_milli: u32,
    },
    ProbeReply {
        node: u16,
        participant: u16,
        endpoint: u16,
    },
    Sample,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Planned {
    at: u64,
    number: u64,
    event: Event,
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.heap.push(Planned { at, number: self.planned, event });
        self.planned += 1;
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order() {
        let mut agenda = Agenda::default();
        for (at, call) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            agenda.at(at, Event::Reply(call));
        }
        let order: Vec<(u64, Event)> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(order, [(3, 2), (3, 4), (5, 1), (5, 3)].map(|(at, call)| (at, Event::Reply(call))));
    }
}
