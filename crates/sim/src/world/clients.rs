//! Clients and people at work: submissions, answers to them, signals, verbs.

use std::time::Duration;

use model::TxId;
use partition::branch::Branch;

use super::{Outer, World};
use crate::event::Event;
use crate::facts::tell;
use crate::node::{Node, Note, Wish};
use crate::queue::Happening;

/// A client is told that it is accepted.
pub(crate) fn acknowledge(out: &mut Outer, node: &Node, submission: u32, tx: TxId, replayed: bool) {
    let order = &mut out.people.orders[submission as usize];
    let first = order.accepted.is_none();
    order.accepted = Some(tx);
    let (key, digest, family) = (order.idempotency_key.clone(), order.digest, order.family);
    let definition = out.tables.families[family as usize].name.clone();
    let event = Event::Acknowledged {
        client: submission,
        definition: &definition,
        idempotency_key: &key,
        digest,
        tx,
        replayed,
    };
    tell(&mut out.watch, &out.facts, Some(node), &event);
    if first {
        out.expect_signals(submission);
    }
}

/// A client is told no.
pub(crate) fn turn_away(out: &mut Outer, node: Option<&Node>, submission: u32, accepted_unknown: bool) {
    let order = &out.people.orders[submission as usize];
    let (key, family) = (order.idempotency_key.clone(), order.family);
    let definition = out.tables.families[family as usize].name.clone();
    let event =
        Event::TurnedAway { client: submission, definition: &definition, idempotency_key: &key, accepted_unknown };
    tell(&mut out.watch, &out.facts, node, &event);
}

impl World {
    pub(super) fn client(&mut self, submission: u32) {
        let now = self.out.facts.now;
        let order = &mut self.out.people.orders[submission as usize];
        if order.is_over {
            return;
        }
        let again = order.sent > 0;
        order.sent += 1;
        if order.is_answered() && again {
            let resends = self.out.people.rng.chance(u64::from(self.out.features.duplicates), 10_000);
            let order = &mut self.out.people.orders[submission as usize];
            if !resends || order.sent > 20 || self.out.facts.is_calm {
                order.is_over = true;
                return;
            }
        }
        let order = &self.out.people.orders[submission as usize];
        let (family, key, digest, partition) =
            (order.family, order.idempotency_key.clone(), order.digest, order.partition);
        let definition = self.out.tables.families[family as usize].name.clone();
        let event = Event::Submitted {
            client: submission,
            partition,
            definition: &definition,
            idempotency_key: &key,
            digest,
            again,
        };
        self.say(&event);
        if self.node.is_some() {
            self.tell_node(Note::Begin(submission));
        } else {
            turn_away(&mut self.out, None, submission, true);
        }
        // Whoever gets no answer asks less and less often.
        let longer = self.out.people.order(submission).sent.saturating_sub(2).min(9);
        let patience = self.out.people.rng.between(1_000_000, 6_000_000) << longer;
        self.out.queue.plan(now.after(Duration::from_micros(patience)), Happening::Client { submission });
    }

    pub(super) fn signal(&mut self, submission: u32, no: bool) {
        if let Some(tx) = self.out.people.order(submission).accepted {
            self.tell_node(Note::Signal { tx, no });
        }
    }

    pub(super) fn send_all_signals(&mut self) {
        let accepted: Vec<TxId> = self.out.people.orders.iter().filter_map(|o| o.accepted).collect();
        for tx in accepted {
            if self.is_live(tx) {
                self.tell_node(Note::Signal { tx, no: false });
            }
        }
    }

    /// People answer what is asked, with what they know.
    pub(super) fn ask_people(&mut self, round: u32) {
        let Some(node) = &self.node else { return };
        let mut all = Vec::new();
        for (place, host) in node.hosts.iter().enumerate() {
            for seq in host.leader.partition.live_seqs() {
                // What left memory is the same in the follower.
                if let Some(tx) = host.leader.partition.get(seq).or_else(|| self.out.facts.followers[place].get(seq)) {
                    let asks = tx.attention.is_some();
                    let waits = tx.steps.iter().any(|s| matches!(s.branch, Branch::Signal { .. }));
                    all.push((tx.id, asks, waits));
                }
            }
        }
        for (tx, asks, waits) in all {
            if waits {
                self.tell_node(Note::Signal { tx, no: false });
            }
            if asks {
                let wish = if round.is_multiple_of(3) { Wish::Retry } else { Wish::Decide };
                self.tell_node(Note::Person { tx, wish });
            }
        }
        for n in 0..self.out.people.orders.len() {
            if !self.out.people.orders[n].is_answered() {
                self.client(n as u32);
            }
        }
        self.wake();
    }
}

impl Outer {
    /// Somebody will send the signals that this transaction may wait for.
    fn expect_signals(&mut self, submission: u32) {
        let order = self.people.order(submission);
        let waits = self
            .tables
            .active(order.family)
            .saga
            .steps
            .iter()
            .any(|step| matches!(step.action, ::plan::Action::Wait(::plan::Wait::Signal { .. })));
        if !waits {
            return;
        }
        let times = self.people.rng.below(3);
        for _ in 0..times {
            let after = self.people.rng.below(2 * self.features.gap_us.max(1_000_000) * 4);
            let no = self.people.rng.chance(1, 6);
            let at = self.facts.now.after(Duration::from_micros(after));
            self.queue.plan(at, Happening::Signal { submission, no });
        }
    }
}
