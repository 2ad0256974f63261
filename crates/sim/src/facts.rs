//! What checkers may see of a world besides its process: followers, ledger, history, what is declared; and how a view
//! is made of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{Seq, Timestamp, TxId};
use partition::{CallRef, Partition, Transaction};
use plan::Participant;

use crate::event::{Event, PartitionView, Probe, Sizes, View};
use crate::fixed::Map;
use crate::ledger::Ledger;
use crate::node::{KnownKey, Node, Scope};
use crate::watch::Watch;

/// See the head of this file.
pub(crate) struct Facts {
    pub(crate) seed: u64,
    pub(crate) now: Timestamp,
    pub(crate) is_calm: bool,
    /// Exactly the durable entries, applied from their bytes.
    pub(crate) followers: Vec<Partition>,
    pub(crate) ledger: Ledger,
    pub(crate) participants: Vec<Participant>,
    pub(crate) history: History,
}

/// What has ended: found by id, and by the key under which it was submitted.
#[derive(Default)]
pub(crate) struct History {
    ended: Map<TxId, (u32, Box<Transaction>)>,
    keys: Map<Scope, KnownKey>,
    order: Vec<TxId>,
    flushed: usize,
}

impl History {
    /// Adds what is not there yet.
    pub(crate) fn add(&mut self, family: u32, tx: Box<Transaction>) {
        if self.ended.contains_key(&tx.id) {
            return;
        }
        let known = KnownKey { tx: tx.id, digest: tx.submission_digest };
        self.keys.insert((family, tx.idempotency_key.clone()), known);
        self.order.push(tx.id);
        self.ended.insert(tx.id, (family, tx));
    }

    pub(crate) fn get(&self, tx: TxId) -> Option<&Transaction> {
        self.ended.get(&tx).map(|(_, tx)| &**tx)
    }

    pub(crate) fn by_key(&self, scope: &Scope) -> Option<KnownKey> {
        self.keys.get(scope).copied()
    }

    /// All of it is on disk.
    pub(crate) fn flush(&mut self, _partition: u16) {
        self.flushed = self.order.len();
    }

    /// Loses what was not on disk, from a place on.
    pub(crate) fn cut(&mut self, spared: impl FnOnce(u64) -> u64) {
        let keep = self.flushed + spared((self.order.len() - self.flushed) as u64 + 1) as usize;
        for id in self.order.split_off(keep) {
            if let Some((family, tx)) = self.ended.remove(&id) {
                self.keys.remove(&(family, tx.idempotency_key.clone()));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ended.len()
    }
}

/// Looks into the process for a checker.
struct Eyes<'a> {
    node: Option<&'a Node>,
    facts: &'a Facts,
}

impl Probe for Eyes<'_> {
    fn partition_count(&self) -> usize {
        self.facts.followers.len()
    }

    fn partition(&self, place: usize) -> PartitionView<'_> {
        let host = self.node.and_then(|node| node.hosts.get(place));
        let follower = &self.facts.followers[place];
        PartitionView {
            id: place as u16,
            leader: host.map(|host| &host.leader.partition),
            follower,
            durable: follower.seq,
            is_clean: self.node.is_some_and(|node| host.is_some() && node.is_clean(place)),
            to_recover: host.map_or(0, |host| host.to_recover.len()),
            parked: host.map_or(&NOTHING_PARKED, |host| &host.parked),
        }
    }

    fn is_known(&self, partition: u16, call: CallRef) -> bool {
        self.node.is_some_and(|node| node.knows(usize::from(partition), call))
    }

    fn last_touch(&self, partition: u16, tx: Seq) -> Seq {
        let host = self.node.and_then(|node| node.hosts.get(usize::from(partition)));
        host.and_then(|host| host.touched.get(&tx).copied()).unwrap_or(0)
    }

    fn sizes(&self) -> Sizes {
        let Some(node) = self.node else { return Sizes::default() };
        let now = node.clock(self.facts.now);
        let (backlog_max, held_backlog_max) = node.load.backlogs_max(now);
        Sizes {
            calls: node.calls.len(),
            held: node.gathering.len() + node.under_way.iter().map(|u| u.held.len()).sum::<usize>(),
            parked: node.hosts.iter().flat_map(|h| h.parked.values()).map(VecDeque::len).sum(),
            parts_under_way: node.under_way.len(),
            live: node.hosts.iter().map(|h| h.leader.partition.live_count()).sum(),
            resident: node.hosts.iter().map(|h| h.leader.partition.resident_count()).sum(),
            backlog_max,
            held_backlog_max,
            timers_due: node.hosts.iter().map(|h| h.leader.partition.due(now, 10_000).len()).sum(),
        }
    }

    fn in_history(&self, tx: TxId) -> Option<&Transaction> {
        self.facts.history.get(tx)
    }
}

static NOTHING_PARKED: BTreeMap<u32, VecDeque<CallRef>> = BTreeMap::new();

/// Longer than any timer of a world in its calm time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40 * 86_400);

fn with_view<T>(facts: &Facts, node: Option<&Node>, then: impl FnOnce(&View<'_>) -> T) -> T {
    let eyes = Eyes { node, facts };
    let view = View {
        seed: facts.seed,
        now: facts.now,
        node_now: node.map_or(facts.now, |node| node.clock(facts.now)),
        is_calm: facts.is_calm,
        patience: PATIENCE,
        participants: &facts.participants,
        ledger: &facts.ledger,
        probe: &eyes,
    };
    then(&view)
}

/// Tells everybody who watches.
pub(crate) fn tell(watch: &mut Watch, facts: &Facts, node: Option<&Node>, event: &Event<'_>) {
    if watch.is_deaf_to(event) {
        return;
    }
    with_view(facts, node, |view| watch.tell(event, view));
}

/// The last word.
pub(crate) fn tell_end(watch: &mut Watch, facts: &Facts, node: Option<&Node>) {
    with_view(facts, node, |view| watch.at_end(view));
}
