//! Who holds a lock and who waits for it, in order of acceptance. Derived from the transactions, never stored.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use model::Seq;
use model::mutant::{Mutant, is_planted};

/// The most transactions that may wait for one lock of one key.
pub const WAITERS_MAX: usize = 1_000;

type Name = (CompactString, CompactString);

/// All locks of a partition, by (lock, key).
#[derive(Debug, Default)]
pub struct Locks {
    queues: BTreeMap<Name, Queue>,
}

/// One lock of one key.
#[derive(Debug, Default, Clone)]
pub struct Queue {
    pub holder: Option<Seq>,
    /// Ordered by acceptance, which is the order of seq.
    pub waiting: BTreeSet<Seq>,
}

impl Locks {
    pub fn queue(&self, lock: &str, key: &str) -> Option<&Queue> {
        self.queues.get(&(CompactString::new(lock), CompactString::new(key)))
    }

    pub fn take(&mut self, lock: &str, key: &str, tx: Seq) {
        let queue = self.queues.entry((lock.into(), key.into())).or_default();
        queue.waiting.remove(&tx);
        queue.holder = Some(tx);
    }

    pub fn wait(&mut self, lock: &str, key: &str, tx: Seq) {
        self.queues.entry((lock.into(), key.into())).or_default().waiting.insert(tx);
    }

    /// `tx` holds or awaits it no longer. Gives the one whose turn it is now.
    pub fn free(&mut self, lock: &str, key: &str, tx: Seq) -> Option<Seq> {
        let name = (CompactString::new(lock), CompactString::new(key));
        let queue = self.queues.get_mut(&name)?;
        queue.waiting.remove(&tx);
        if queue.holder == Some(tx) {
            queue.holder = None;
        }
        if queue.holder.is_none() && queue.waiting.is_empty() {
            self.queues.remove(&name);
            return None;
        }
        queue.next()
    }

    /// Those whose turn it is although nobody has told them: after a restart.
    pub fn overdue(&self) -> Vec<Seq> {
        self.queues.values().filter_map(Queue::next).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&CompactString, &CompactString, &Queue)> {
        self.queues.iter().map(|((lock, key), queue)| (lock, key, queue))
    }
}

impl Queue {
    /// Whose turn it is, if the lock is free.
    pub(crate) fn next(&self) -> Option<Seq> {
        if is_planted(Mutant::LatestGetsTheLock) && self.holder.is_none() {
            return self.waiting.last().copied();
        }
        if self.holder.is_some() { None } else { self.waiting.first().copied() }
    }
}
