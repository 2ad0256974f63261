//! What leaves once it is durable: calls to the load manager and on to participants, answers to clients, ended
//! transactions to history.

use load::{Class, Decision, Released, Verdict, Withdraw};
use model::mutant::{Mutant, is_planted};
use model::{Direction, Seq, Timestamp, TxId};
use partition::{CallRef, Command, Effect, OutgoingCall, Transaction};

use super::calls::Slot;
use super::handing::{Lead, share_of};
use super::{Held, Node};
use crate::event::Event;
use crate::world::{Outer, tell};

impl Node {
    pub(crate) fn release(&mut self, out: &mut Outer, held: Vec<Held>, now: Timestamp) {
        let mut acks = Vec::new();
        for item in held {
            if self.dies() {
                return;
            }
            match item {
                Held::Effect { host, entry, effect } => self.release_effect(out, host, entry, effect, now),
                Held::Ack { submission, tx, replayed } => acks.push((submission, tx, replayed)),
            }
        }
        for (submission, tx, replayed) in acks {
            if self.dies() {
                return;
            }
            self.release_ack(out, submission, tx, replayed);
        }
    }

    pub(crate) fn release_ack(&mut self, out: &mut Outer, submission: u32, tx: TxId, replayed: bool) {
        crate::world::acknowledge(out, self, submission, tx, replayed);
        if !out.people.wants_outcome(submission) {
            return;
        }
        let place = usize::from(tx.partition().0);
        let partition = &self.hosts[place].leader.partition;
        let live = partition.get(tx.seq()).filter(|live| live.id == tx);
        // What is not durable yet is told when it is.
        let outcome = match live {
            Some(live) if self.hosts[place].is_clean() => live.outcome,
            Some(_) => None,
            None => out.facts.history.get(tx).and_then(|ended| ended.outcome),
        };
        match outcome {
            Some(outcome) => tell(&mut out.watch, &out.facts, Some(self), &Event::OutcomeTold { tx, outcome }),
            None => drop(self.waiters.insert(tx, submission)),
        }
    }

    pub(crate) fn release_effect(&mut self, out: &mut Outer, host: usize, entry: Seq, effect: Effect, now: Timestamp) {
        let event = Event::Released { partition: host as u16, entry, effect: &effect };
        tell(&mut out.watch, &out.facts, Some(self), &event);
        match effect {
            Effect::Call(call) => self.ask_load(out, host, call, now),
            Effect::Withdraw(call) => self.withdraw(out, host, call, now),
            Effect::Parked { call, participant } => {
                self.hosts[host].parked.entry(participant).or_default().push_back(call);
                self.hosts[host].cold.push_back(call.tx);
                self.parked_changed = true;
            }
            Effect::Decided(tx) => self.decided(out, host, tx),
            Effect::Ended(tx) => self.ended(out, host, &tx),
            Effect::Grant(tx) => drop(self.propose(out, host, Command::Grant(tx), now)),
        }
    }

    fn ask_load(&mut self, out: &mut Outer, host: usize, outgoing: Box<OutgoingCall>, now: Timestamp) {
        let participant = outgoing.participant;
        let released = released(&outgoing);
        let share = share_of(&outgoing, true);
        let event = Event::Asked {
            tx: outgoing.key.tx,
            call: outgoing.call,
            participant,
            class: released.class,
            deadline: outgoing.deadline,
            may_join: share.is_some_and(|share| share.may_join),
        };
        tell(&mut out.watch, &out.facts, Some(self), &event);
        let call = outgoing.call;
        let slot = Slot { host, call, participant, started_at: now, outgoing: Some(outgoing), lead: None };
        let token = self.calls.add(slot);
        self.asked.push((token, released, share));
    }

    /// One exchange with the load manager for everything that has gathered.
    pub(crate) fn exchange_with_load(&mut self, out: &mut Outer, now: Timestamp) {
        let mut wants = Vec::new();
        let mut mine = Vec::new();
        let mut parks = Vec::new();
        let mut finished = std::mem::take(&mut self.finished);
        for (token, sample, answer) in finished.drain(..) {
            match answer {
                None => self.load.finish(now, load::CallRef { worker: 0, token }, sample, &mut self.verdicts),
                Some(answer) => self.finish_shared(now, token, sample, &answer),
            }
        }
        self.finished = finished;
        let mut verdicts = std::mem::take(&mut self.verdicts);
        if self.parked_changed {
            self.parked_changed = false;
            for participant in 0..out.facts.participants.len() as u32 {
                let count = self.hosts.iter().filter_map(|h| h.parked.get(&participant)).map(|q| q.len() as u64).sum();
                self.load.set_parked(participant, count, now);
            }
        }
        let mut asked = std::mem::take(&mut self.asked);
        for (token, mut released, share) in asked.drain(..) {
            released.call.token = token;
            let decision = match share {
                None => self.load.release(now, released),
                Some(share) => self.load.release_shared(now, released, share),
            };
            match decision {
                Decision::Start { endpoint } => mine.push((token, endpoint)),
                Decision::Queued => {}
                Decision::Answered { by, age } => self.hand_kept(token, by, age),
                // Past its deadline: provably not started; the deadline's own timer decides.
                Decision::Park { .. } | Decision::Expired => parks.push(token),
            }
        }
        self.asked = asked;
        if self.load.next_wake(now).is_some_and(|at| at <= now) {
            self.load.tick(now, &mut verdicts, &mut wants);
        }
        self.held_participants.clear();
        for participant in 0..out.facts.participants.len() as u32 {
            let held = self.load.would_park(participant);
            self.held_participants.push(held);
        }
        for verdict in verdicts.drain(..) {
            match verdict {
                Verdict::Start { call, endpoint, .. } => mine.push((call.token, endpoint)),
                Verdict::Park { call, .. } | Verdict::Expired { call, .. } => parks.push(call.token),
                Verdict::Answered { call, by, age, .. } => self.hand_kept(call.token, by, age),
            }
        }
        self.verdicts = verdicts;
        for (token, endpoint) in mine {
            if self.dies() {
                return;
            }
            self.start_call(out, token, endpoint, now);
        }
        for token in parks {
            self.park_token(out, token, now);
        }
        self.hand_out(out, now);
        for want in wants {
            self.unpark(out, want.participant, want.count, now);
        }
    }

    fn park_token(&mut self, out: &mut Outer, token: u64, now: Timestamp) {
        let Some(slot) = self.calls.remove(token) else { return };
        if let Some(tx) = self.id_of(slot.host, slot.call.tx) {
            let event = Event::GivenBack { tx, call: slot.call, participant: slot.participant };
            tell(&mut out.watch, &out.facts, Some(self), &event);
        }
        let _ = self.propose(out, slot.host, Command::Park(slot.call), now);
    }

    fn id_of(&self, host: usize, tx: Seq) -> Option<TxId> {
        self.hosts[host].leader.partition.get(tx).map(|tx| tx.id)
    }

    fn start_call(&mut self, out: &mut Outer, token: u64, endpoint: u16, now: Timestamp) {
        let in_flight = |load: &super::Loader, p: u32| load.in_flight(p);
        let Some(slot) = self.calls.get_mut(token) else { return };
        let Some(outgoing) = slot.outgoing.take() else { return };
        slot.started_at = now;
        slot.lead = outgoing.share.is_some().then(|| Lead::of(&outgoing));
        let participant = outgoing.participant;
        let event = Event::Started {
            tx: outgoing.key.tx,
            call: outgoing.call,
            key: outgoing.key,
            participant,
            endpoint,
            epoch: self.epoch,
            outgoing: &outgoing,
            in_flight: in_flight(&self.load, participant),
            limit: out.facts.participants[participant as usize].limits.max_in_flight,
        };
        tell(&mut out.watch, &out.facts, Some(self), &event);
        crate::world::send(out, self, token, &outgoing, endpoint);
    }

    /// Nobody waits for a call: taken back if it has not started; else its answer still counts.
    fn withdraw(&mut self, out: &mut Outer, host: usize, call: CallRef, now: Timestamp) {
        let Some(token) = self.calls.waiting(host, call) else { return };
        if let Some(place) = self.asked.iter().position(|(asked, ..)| *asked == token) {
            self.asked.remove(place);
            return self.park_token(out, token, now);
        }
        match self.load.withdraw(load::CallRef { worker: 0, token }) {
            Withdraw::Withdrawn => self.park_token(out, token, now),
            // Its start, or its end, is on its way to us.
            Withdraw::InFlight | Withdraw::Unheard => {}
        }
    }

    /// Sends parked calls on, oldest first.
    fn unpark(&mut self, out: &mut Outer, participant: u32, count: u32, now: Timestamp) {
        let mut left = count;
        self.unparks = self.unparks.wrapping_add(1);
        let (first, all) = (self.unparks, self.hosts.len());
        for place in (0..all).map(|n| n.wrapping_add(first) % all) {
            while left > 0 && !self.is_dead {
                let Some(queue) = self.hosts[place].parked.get_mut(&participant) else { break };
                let Some(call) = queue.pop_front() else {
                    self.hosts[place].parked.remove(&participant);
                    break;
                };
                self.parked_changed = true;
                if is_planted(Mutant::UnparkLost) {
                    left -= 1;
                    continue;
                }
                if self.propose(out, place, Command::Unpark(call), now).is_ok() {
                    left -= 1;
                }
            }
        }
    }

    fn decided(&mut self, out: &mut Outer, host: usize, tx: Seq) {
        let partition = &self.hosts[host].leader.partition;
        let Some(live) = partition.get(tx) else { return };
        let (id, outcome) = (live.id, live.outcome);
        if is_planted(Mutant::KeyFreedTooEarly) {
            self.keys.retain(|_, known| known.tx != id);
        }
        if self.waiters.remove(&id).is_some()
            && let Some(outcome) = outcome
        {
            tell(&mut out.watch, &out.facts, Some(self), &Event::OutcomeTold { tx: id, outcome });
        }
    }

    fn ended(&mut self, out: &mut Outer, host: usize, tx: &Transaction) {
        let id = tx.id;
        let partition = &self.hosts[host].leader.partition;
        let Some(slot) = partition.plans.get(tx.plan) else { return };
        // History keeps the row's bytes.
        self.row.clear();
        wire::row::write(tx, &slot.hash, &mut self.row);
        let read = wire::row::read(&self.row, |hash| partition.plans.find(hash));
        let family = out.tables.family_of(&slot.saga.name);
        self.hosts[host].touched.remove(&tx.seq());
        self.keys.remove(&(family, tx.idempotency_key.clone()));
        match read {
            Ok(kept) => {
                out.facts.history.add(family, Box::new(kept));
                let partition = &self.hosts[host].leader.partition;
                let Some(slot) = partition.plans.get(tx.plan) else { return };
                if let Some(kept) = out.facts.history.get(id) {
                    let event = Event::Ended { partition: host as u16, tx: kept, plan: &slot.saga };
                    tell(&mut out.watch, &out.facts, Some(self), &event);
                }
            }
            Err(e) => {
                let what = format!("its row cannot be read back: {e}");
                out.watch.found(crate::event::Violation::new("JR-1", id, what));
            }
        }
        if self.waiters.remove(&id).is_some()
            && let Some(outcome) = tx.outcome
        {
            tell(&mut out.watch, &out.facts, Some(self), &Event::OutcomeTold { tx: id, outcome });
        }
    }
}

/// What the load manager hears of a call.
pub(crate) fn released(outgoing: &OutgoingCall) -> Released {
    let class = match (outgoing.call.direction, outgoing.deadline) {
        (Direction::Compensate, _) => Class::Compensate,
        (Direction::Call, Timestamp::NEVER) if outgoing.progress.0 > 0 => Class::AfterPivot,
        _ if outgoing.call.attempt > 1 => Class::Retry,
        _ => Class::First,
    };
    let (done, all) = outgoing.progress;
    Released {
        call: load::CallRef { worker: 0, token: 0 },
        participant: outgoing.participant,
        pinned_endpoint: outgoing.endpoint,
        priority: outgoing.priority,
        deadline: outgoing.deadline,
        class,
        progress: (u32::from(done) * 255 / u32::from(all.max(1))) as u8,
        ..Released::default()
    }
}
