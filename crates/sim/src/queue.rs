//! What is to happen, in order of time; what is due at one moment happens in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::Timestamp;

use crate::outside::FlightId;

/// One thing to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// This node has something to do.
    Turn {
        node: u32,
    },
    /// The write under way is on disk.
    DiskDone {
        write: u64,
    },
    /// A call takes effect at its participant.
    Effect(FlightId),
    /// Somebody hears how it went; it takes effect at that moment if it has not.
    Reply(FlightId),
    /// The request comes again: a copy taken when it was sent.
    Again {
        copy: u32,
    },
    /// A client looks after its submission.
    Client {
        submission: u32,
    },
    /// A signal that somebody sends to a transaction.
    Signal {
        submission: u32,
        no: bool,
    },
    /// The schedule's next fault begins, or ends.
    FaultBegins {
        n: u32,
    },
    FaultEnds {
        n: u32,
    },
    CheckpointDone {
        partition: u16,
        node: u32,
    },
    Restart,
    /// The former owner wakes up.
    FormerOwner,
    CalmBegins,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Item>>,
    order: u32,
}

#[derive(Debug)]
struct Item {
    at: Timestamp,
    order: u32,
    what: Happening,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Queue {
    pub(crate) fn plan(&mut self, at: Timestamp, what: Happening) {
        self.order += 1;
        self.heap.push(Reverse(Item { at, order: self.order, what }));
    }

    pub(crate) fn next(&mut self) -> Option<(Timestamp, Happening)> {
        self.heap.pop().map(|Reverse(item)| (item.at, item.what))
    }
}
