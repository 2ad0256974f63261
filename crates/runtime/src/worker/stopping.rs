//! How a worker ends: drained, stopped, or because the node has failed. Whoever waits is told in each case.

use std::sync::atomic::Ordering;

use model::Timestamp;

use super::{Host, Worker};
use crate::inbox::{Note, Waiter};

impl Worker {
    /// Answers whoever waits for an outcome as it stands, once that is durable.
    pub(crate) fn answer_waiters(&mut self) {
        for host in 0..self.hosts.len() {
            for (seq, waiters) in std::mem::take(&mut self.hosts[host].waiters) {
                let brought = self.bring_back(host, seq).is_ok();
                let tx = self.hosts[host].leader.partition.get(seq).filter(|_| brought).map(|live| live.id);
                match tx {
                    Some(tx) => {
                        for waiter in waiters {
                            self.answer_when_durable(host, tx, Waiter { until: None, ..waiter }, true);
                        }
                    }
                    // Its end is on its way to the disk and answers them.
                    None => drop(self.hosts[host].waiters.insert(seq, waiters)),
                }
            }
        }
    }

    pub(crate) fn stop_by(&mut self, now: Timestamp) {
        self.stopping = true;
        self.stop_at = now.after(self.shared.settings.drain);
        self.answer_waiters();
    }

    /// Nothing is left to wait for, or it has been waited for long enough.
    pub(crate) fn may_end(&self) -> bool {
        self.is_quiet() || self.shared.has_failed.load(Ordering::Acquire) || self.shared.clock.now() >= self.stop_at
    }

    fn is_quiet(&self) -> bool {
        self.calls.len() == 0
            && self.under_way.is_empty()
            && self.gathering.is_empty()
            && self.stuck.is_empty()
            && self.history_waiting.is_empty()
            && self.hosts.iter().all(Host::is_clean)
    }

    /// Nobody knows what is on disk, or a part of the node is gone: nothing more is decided, started or released, and
    /// whoever waits hears that nobody knows.
    pub(crate) fn turn_of_a_failed_node(&mut self) -> bool {
        let (mut rest, mut begins) = (Vec::new(), Vec::new());
        self.inbox.drain(&mut rest, &mut begins, usize::MAX);
        self.stopping |= rest.iter().any(|note| matches!(note, Note::Stop));
        // Dropping them tells those who wait.
        drop((rest, begins));
        self.gathering.clear();
        self.under_way.clear();
        self.searches.clear();
        self.answers.borrow_mut().clear();
        for host in &mut self.hosts {
            host.waiters.clear();
        }
        false
    }
}
