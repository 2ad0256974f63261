//! What leaves once it is durable: calls to the load manager and on to the connector, answers to waiters, ended
//! transactions to history.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use connectors::{Call, EndpointIndex, ParticipantIndex, Token};
use load::{Class, Decision, Released, Verdict, Withdraw};
use model::{Direction, Seq, Timestamp, TxId};
use partition::transaction::{Reason, TxOutcome};
use partition::{CallRef, Command, Effect, OutgoingCall, Transaction};
use store::history::Record;

use super::Worker;
use super::calls::CallSlot;
use super::handing::Handing;
use super::host::ParkedCall;
use super::turn::RETRY_SOON;
use crate::answer::{Answer, Until};
use crate::given::Lead;
use crate::idempotency;
use crate::inbox::{Note, Responder, Waiter};
use crate::numbers::{add, bump, subtract};
use crate::prepare::TENANT;
use crate::refusal::{Accepted, Refusal};
use crate::shared::{key_hash, tag};
use crate::view::{Detail, View};

/// Waits for the part that contains what caused it.
pub(crate) enum Held {
    Effect {
        host: usize,
        effect: Effect,
    },
    /// An answer made when it was asked for: what came after that may not be durable yet.
    Answer {
        to: Responder,
        answer: Result<Answer, Refusal>,
    },
    /// It was not live when somebody asked, so by then it is in history or was never here. `taken`: the waiter's own
    /// command was accepted, so that is no refusal.
    Absent {
        tx: TxId,
        waiter: Waiter,
        taken: bool,
    },
    /// A parked call of this participant goes on. Only now does it leave the count of the parked: in the same exchange
    /// the load manager is asked to start it, and never believes in room for others meanwhile.
    Unparked {
        participant: u32,
    },
    /// What was found by looking at everything: told when what it was looked at is durable.
    Found(Box<dyn FnOnce()>),
}

impl Worker {
    pub(crate) fn release(&mut self, held: Vec<Held>, now: Timestamp) {
        // What has ended must be findable in history before anybody is told to look there.
        let mut answers = std::mem::take(&mut self.answers_due);
        for item in held {
            match item {
                Held::Effect { host, effect } => self.release_effect(host, effect, now),
                Held::Unparked { participant } => *self.parked_change.entry(participant).or_default() -= 1,
                answer => answers.push(answer),
            }
        }
        self.hand_over_history();
        for item in answers.drain(..) {
            match item {
                Held::Effect { .. } | Held::Unparked { .. } => {}
                Held::Answer { to, answer } => to.send(answer),
                Held::Absent { tx, waiter, taken } => self.answer_absent(tx, waiter, taken),
                Held::Found(tell) => tell(),
            }
        }
        self.answers_due = answers;
    }

    fn release_effect(&mut self, host: usize, effect: Effect, now: Timestamp) {
        match effect {
            Effect::Call(call) => self.ask_load(host, call, now),
            Effect::Withdraw(call) => self.withdraw(host, call, now),
            Effect::Parked { call, participant } => {
                self.hosts[host].parked.entry(participant).or_default().push_back(ParkedCall::of(call));
                self.hosts[host].may_leave(call.tx);
                let gone = self.hosts[host].tidy_parked(participant);
                add(&self.shared.numbers.parked, 1);
                subtract(&self.shared.numbers.parked, gone);
                *self.parked_change.entry(participant).or_default() += 1 - gone as i64;
            }
            Effect::Decided(tx) => self.decided(host, tx),
            Effect::Ended(tx) => self.ended(host, &tx),
            Effect::Grant(tx) => {
                let _ = self.propose(host, Command::Grant(tx), now);
            }
        }
    }

    fn ask_load(&mut self, host: usize, outgoing: Box<OutgoingCall>, now: Timestamp) {
        let released = self.released(host, &outgoing);
        let share = outgoing.share.map(|share| load::Share {
            identity: outgoing.request.identity(outgoing.participant),
            max_age: share.max_age,
            may_join: share.may_join,
        });
        let call = outgoing.call;
        let slot = CallSlot { host, call, started_at: now, outgoing: Some(outgoing), lead: None };
        let token = self.calls.add(slot);
        self.asked.push((token, released, share));
    }

    /// What the load manager hears of a call.
    pub(crate) fn released(&mut self, host: usize, outgoing: &OutgoingCall) -> Released {
        let class = match (outgoing.call.direction, outgoing.deadline) {
            (Direction::Compensate, _) => Class::Compensate,
            (Direction::Call, Timestamp::NEVER) if outgoing.progress.0 > 0 => Class::AfterPivot,
            _ if outgoing.call.attempt > 1 && !self.hosts[host].interrupted.remove(&outgoing.call.tx) => Class::Retry,
            _ => Class::First,
        };
        let (done, all) = outgoing.progress;
        Released {
            call: load::CallRef { worker: self.index as u16, token: 0 },
            participant: outgoing.participant,
            pinned_endpoint: outgoing.endpoint,
            priority: outgoing.priority,
            deadline: outgoing.deadline,
            class,
            progress: (u32::from(done) * 255 / u32::from(all.max(1))) as u8,
            ..self.whose(host, outgoing)
        }
    }

    /// What kind of call it is, whose, and what its transaction needs after it.
    fn whose(&mut self, host: usize, outgoing: &OutgoingCall) -> Released {
        let call = outgoing.call;
        let partition = &self.hosts[host].leader.partition;
        let Some(live) = partition.get(call.tx) else { return Released::default() };
        let Some(slot) = partition.plans.get(live.plan) else { return Released::default() };
        let undoes = call.direction == Direction::Compensate;
        // Definitions with the same step calling the same participant are told apart by their plan's hash.
        let plan = u16::from_le_bytes([slot.hash[0], slot.hash[1]]);
        let operation = plan.rotate_left(2).wrapping_add(call.step.wrapping_mul(2).wrapping_add(u16::from(undoes)));
        let flow = u32::from_le_bytes([slot.hash[2], slot.hash[3], slot.hash[4], slot.hash[5]]);
        let is_first = outgoing.progress.0 == 0 && !undoes && slot.saga.steps.len() > 1;
        let route = if is_first {
            let key = (slot.hash, call.step);
            match self.routes.get(&key) {
                Some(route) => *route,
                None => {
                    let later = later_participants(&slot.saga, call.step, &self.tables);
                    let route = self.shared.route(key, &later);
                    self.routes.insert(key, route);
                    route
                }
            }
        } else {
            0
        };
        Released { operation, flow, route, ..Released::default() }
    }

    /// One exchange with the load manager for everything that has gathered: one lock.
    pub(crate) fn exchange_with_load(&mut self, now: Timestamp) -> bool {
        let mut busy = !self.finished.is_empty() || !self.asked.is_empty() || !self.parked_change.is_empty();
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let mut wants = Vec::new();
        let mut mine = std::mem::take(&mut self.starting);
        let mut parks = Vec::new();
        let mut handing = Handing::default();
        {
            let mut load = self.shared.load.lock();
            let worker = self.index as u16;
            for (token, sample, answer) in self.finished.drain(..) {
                let call = load::CallRef { worker, token };
                match answer {
                    None => load.finish(now, call, sample, &mut verdicts),
                    Some(answer) => {
                        if load.finish_shared(now, call, sample, answer.bytes, &mut verdicts) {
                            self.shared.kept_answers.keep(call, Arc::clone(&answer));
                        }
                        handing.given(call, answer);
                    }
                }
            }
            if !self.parked_change.is_empty() {
                let mut parked = self.shared.parked_calls.lock();
                for (participant, change) in std::mem::take(&mut self.parked_change) {
                    let count = parked.entry(participant).or_default();
                    *count = count.saturating_add_signed(change);
                    load.set_parked(participant, *count);
                }
            }
            for (token, mut released, share) in self.asked.drain(..) {
                released.call.token = token;
                let decision = match share {
                    None => load.release(now, released),
                    Some(share) => load.release_shared(now, released, share),
                };
                match decision {
                    Decision::Start { endpoint } => mine.push((token, endpoint)),
                    Decision::Queued => self.calls.waits(token),
                    Decision::Answered { by, age } => handing.hand(released.call, by, age, &self.shared.kept_answers),
                    // Past its deadline: provably not started; the deadline's own timer decides.
                    Decision::Park { .. } | Decision::Expired => parks.push(token),
                }
            }
            if load.next_wake(now).is_some_and(|at| at <= now) {
                load.tick(now, &mut verdicts, &mut wants);
            }
            handing.take_from(&mut verdicts, &self.shared.kept_answers);
            self.shared.kept_answers.drop_all(load.take_dropped());
            self.held_participants.clear();
            self.held_participants.extend((0..self.tables.participants.len() as u32).map(|p| load.would_park(p)));
        }
        busy |= !verdicts.is_empty() || !wants.is_empty() || !handing.is_empty();
        let mut elsewhere: Vec<Vec<Verdict>> = Vec::new();
        for verdict in verdicts.drain(..) {
            let worker = usize::from(verdict.call().worker);
            if worker != self.index {
                elsewhere.resize_with(self.shared.inboxes.len(), Vec::new);
                elsewhere[worker].push(verdict);
                continue;
            }
            match verdict {
                Verdict::Start { call, endpoint, .. } => mine.push((call.token, endpoint)),
                Verdict::Park { call, .. } | Verdict::Expired { call, .. } => parks.push(call.token),
                Verdict::Answered { call, .. } => self.ask_itself(call.token),
            }
        }
        self.verdicts = verdicts;
        for (worker, verdicts) in elsewhere.into_iter().enumerate() {
            if !verdicts.is_empty() {
                self.shared.inboxes[worker].send(Note::Verdicts(verdicts));
            }
        }
        for (token, endpoint) in mine.drain(..) {
            self.start_call(token, endpoint, now);
        }
        self.starting = mine;
        for token in parks {
            self.park_token(token, now);
        }
        self.hand_out(handing, now);
        for want in wants {
            let others = self.shared.inboxes.len() - 1;
            self.unpark(want.participant, want.count, others, now);
        }
        busy
    }

    /// What the load manager decided on another worker's turn.
    pub(crate) fn take_verdicts(&mut self, verdicts: Vec<Verdict>, now: Timestamp) {
        for verdict in verdicts {
            match verdict {
                Verdict::Start { call, endpoint, .. } => self.start_call(call.token, endpoint, now),
                Verdict::Park { call, .. } | Verdict::Expired { call, .. } => self.park_token(call.token, now),
                // The answer is not with it.
                Verdict::Answered { call, .. } => self.ask_itself(call.token),
            }
        }
    }

    fn park_token(&mut self, token: u64, now: Timestamp) {
        if let Some(slot) = self.calls.remove(token) {
            self.calls.waits_no_more(slot.host, slot.call);
            let _ = self.propose(slot.host, Command::Park(slot.call), now);
        }
    }

    pub(crate) fn start_call(&mut self, token: u64, endpoint: u16, now: Timestamp) {
        let Some(slot) = self.calls.get_mut(token) else { return };
        let Some(outgoing) = slot.outgoing.take() else { return };
        slot.started_at = now;
        slot.lead = outgoing.share.is_some().then(|| Box::new(Lead::of(&outgoing)));
        if outgoing.deadline <= now {
            bump(&self.shared.numbers.late_starts);
            tracing::error!(tx = outgoing.call.tx, step = outgoing.call.step, "LD-2: a call starts after its deadline");
        }
        let (host, call) = (slot.host, slot.call);
        self.calls.waits_no_more(host, call);
        bump(&self.shared.numbers.calls_started);
        let is_local = matches!(self.way, super::Way::Local(_));
        let partition = &self.hosts[host].leader.partition;
        let live = partition.get(call.tx);
        let traceparent = live.map_or("", |tx| tx.traceparent.as_str());
        let step = live
            .and_then(|tx| partition.plans.get(tx.plan))
            .map_or("", |slot| slot.saga.steps[usize::from(call.step)].name.as_str());
        let participant = outgoing.participant;
        let timeout = outgoing.timeout;
        let request = if is_local {
            crate::targets::bare_request(*outgoing)
        } else {
            let spec = &self.tables.participants[participant as usize].spec;
            crate::targets::request(*outgoing, spec, step, partition.epoch, traceparent)
        };
        self.way.connector().start(Call {
            token: Token(token),
            participant: ParticipantIndex(participant),
            endpoint: EndpointIndex(endpoint),
            request,
            timeout,
        });
    }

    /// Nobody waits for a call: taken back if it has not started; else its answer still counts.
    fn withdraw(&mut self, host: usize, call: CallRef, now: Timestamp) {
        // It may not have reached the load manager yet.
        if let Some(place) = self.asked.iter().position(|(token, ..)| {
            self.calls.get_mut(*token).is_some_and(|slot| slot.host == host && slot.call == call)
        }) {
            let (token, ..) = self.asked.swap_remove(place);
            return self.park_token(token, now);
        }
        let Some(token) = self.calls.waiting(host, call) else { return };
        let name = load::CallRef { worker: self.index as u16, token };
        let withdrawn = self.shared.load.lock().withdraw(name);
        match withdrawn {
            Withdraw::Withdrawn => self.park_token(token, now),
            // Its start, or its end, is on its way to us.
            Withdraw::InFlight | Withdraw::Unheard => {}
        }
    }

    /// Sends parked calls on, oldest first; what this worker does not have, the next one may.
    pub(crate) fn unpark(&mut self, participant: u32, count: u32, workers_left: usize, now: Timestamp) {
        let mut left = count;
        // Another partition is first each time: none waits for ever behind one that parks as fast as it unparks.
        self.unparks = self.unparks.wrapping_add(1);
        let (first, all) = (self.unparks, self.hosts.len());
        for place in (0..all).map(|n| n.wrapping_add(first) % all) {
            while left > 0 {
                let Some(queue) = self.hosts[place].parked.get_mut(&participant) else { break };
                let Some(call) = queue.pop_front() else {
                    self.hosts[place].parked.remove(&participant);
                    break;
                };
                subtract(&self.shared.numbers.parked, 1);
                if self.propose(place, Command::Unpark(call.call()), now).is_ok() {
                    self.gathering.push(Held::Unparked { participant });
                    left -= 1;
                } else {
                    // It has gone on already.
                    *self.parked_change.entry(participant).or_default() -= 1;
                }
            }
        }
        // Every other worker is asked once, whichever heard the wish first.
        if left > 0 && workers_left > 0 {
            let next = (self.index + 1) % self.shared.inboxes.len();
            let note = Note::Unpark { participant, count: left, workers_left: workers_left - 1 };
            self.shared.inboxes[next].send(note);
        }
    }

    fn decided(&mut self, host: usize, tx: Seq) {
        let Some(live) = self.hosts[host].leader.partition.get(tx) else { return };
        let numbers = &self.shared.numbers;
        bump(match live.outcome {
            None | Some(TxOutcome::Completed) => &numbers.completed,
            Some(TxOutcome::Aborted(Reason::Refused)) => &numbers.aborted_refused,
            Some(TxOutcome::Aborted(Reason::Failed)) => &numbers.aborted_failed,
            Some(TxOutcome::Aborted(Reason::Cancelled)) => &numbers.aborted_cancelled,
            Some(TxOutcome::Aborted(Reason::TimedOut)) => &numbers.aborted_timed_out,
        });
        numbers.decision_latency.add(live.decided_at.since(live.began_at).as_micros() as u64);
        let Some(waiters) = self.hosts[host].waiters.get_mut(&tx) else { return };
        let mut ready = Vec::new();
        let mut place = 0;
        while place < waiters.len() {
            if waiters[place].until == Some(Until::Outcome) {
                ready.push(waiters.swap_remove(place));
            } else {
                place += 1;
            }
        }
        if waiters.is_empty() {
            self.hosts[host].waiters.remove(&tx);
        }
        for waiter in ready {
            let answer = self.hosts[host].leader.partition.get(tx).map(|live| self.render(host, live, &waiter));
            waiter.to.send(answer.unwrap_or_else(|| Err(Refusal::Internal("it ended meanwhile".into()))));
        }
    }

    fn ended(&mut self, host: usize, tx: &Transaction) {
        let seq = tx.seq();
        self.hosts[host].interrupted.remove(&seq);
        let numbers = &self.shared.numbers;
        bump(&numbers.ended);
        subtract(&numbers.live, 1);
        let partition = &self.hosts[host].leader.partition;
        let Some(slot) = partition.plans.get(tx.plan).cloned() else { return };
        let given_up = tx.steps.iter().filter(|s| s.status == partition::branch::Status::GivenUp).count();
        add(&numbers.uncompensated, given_up as u64);
        self.row.clear();
        wire::row::write(tx, &slot.hash, &mut self.row);
        let scope = idempotency::scope(TENANT, &slot.saga.name, &tx.idempotency_key);
        push_history(&mut self.history_block, tx, &slot.saga, scope, &self.row);
        self.ended_keys.push(scope);
        if let Some(waiters) = self.hosts[host].waiters.remove(&seq) {
            for waiter in waiters {
                let answer = self.render(host, tx, &waiter);
                waiter.to.send(answer);
            }
        }
    }

    /// Ended transactions become findable in history, and only then leave the live keys.
    pub(crate) fn hand_over_history(&mut self) {
        if !self.history_block.is_empty() {
            let next = self.shared.history.take_block();
            let full = std::mem::replace(&mut self.history_block, next);
            self.history_waiting.push_back((full, std::mem::take(&mut self.ended_keys)));
        }
        self.flush_history();
    }

    pub(crate) fn flush_history(&mut self) {
        while let Some((block, keys)) = self.history_waiting.pop_front() {
            match self.shared.history.append(block) {
                Ok(_) => {
                    for key in keys {
                        self.shared.keys.ended(key);
                    }
                }
                Err(not) => {
                    if let store::history::Refusal::Stopped { reason } = &not.why {
                        self.shared.fail(format!("history has stopped: {reason}"));
                    }
                    self.history_waiting.push_front((not.block, keys));
                    break;
                }
            }
        }
        let behind = self.history_waiting.iter().map(|(block, _)| block.bytes() as u64).sum();
        let before = std::mem::replace(&mut self.history_behind_told, behind);
        if behind != before {
            add(&self.shared.history_behind_bytes, behind.wrapping_sub(before));
        }
    }

    /// Answers as soon as what is known of `tx` is durable. `taken`: because the waiter's own command was accepted.
    pub(crate) fn answer_when_durable(&mut self, host: usize, tx: TxId, waiter: Waiter, taken: bool) {
        if let Some(why) = &self.hosts[host].frozen {
            // What is known of it may be long past: no answer is better than a wrong one (SEMANTICS 34).
            let what = format!("partition {} is frozen: {why}", tx.partition().0);
            let refusal = Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted: Accepted::Unknown };
            waiter.to.send(Err(refusal));
            return;
        }
        if let Err(e) = self.bring_back(host, tx.seq()) {
            waiter.to.send(Err(Refusal::Internal(e.to_string())));
            return;
        }
        let is_durable = self.hosts[host].is_clean() && self.gathering.is_empty();
        let Some(live) = self.hosts[host].leader.partition.get(tx.seq()).filter(|live| live.id == tx) else {
            if is_durable {
                self.answer_absent(tx, waiter, taken);
            } else {
                self.gathering.push(Held::Absent { tx, waiter, taken });
            }
            return;
        };
        let waits_on = match waiter.until {
            None => false,
            Some(Until::Outcome) => live.outcome.is_none(),
            Some(Until::End) => true,
        };
        if waits_on && !self.shared.draining.load(Ordering::Relaxed) {
            let waiters = self.hosts[host].waiters.entry(tx.seq()).or_default();
            if waiters.len().is_power_of_two() {
                // Clients that ask again and again leave their earlier questions behind.
                waiters.retain(|earlier| !earlier.to.is_gone());
            }
            waiters.push(waiter);
            return;
        }
        let answer = self.render(host, live, &waiter);
        if is_durable {
            waiter.to.send(answer);
        } else {
            self.gathering.push(Held::Answer { to: waiter.to, answer });
        }
    }

    fn answer_absent(&self, tx: TxId, waiter: Waiter, taken: bool) {
        if !self.history_waiting.is_empty() {
            let what = "history is behind; ask again".to_owned();
            waiter.to.send(Err(Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted: Accepted::Unknown }));
        } else if taken || waiter.replayed {
            self.answer_from_history(tx, waiter);
        } else {
            waiter.to.send(Err(Refusal::NoTransaction(tx)));
        }
    }

    /// A submission, or a wish, whose transaction has ended meanwhile: read where it holds nobody up.
    fn answer_from_history(&self, tx: TxId, waiter: Waiter) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let answer = shared.ended_answer(tx, waiter.detail);
            let answer = answer.map(|answer| Answer { replayed: waiter.replayed, ..answer });
            waiter.to.send(answer);
        });
    }

    fn render(&self, host: usize, tx: &Transaction, waiter: &Waiter) -> Result<Answer, Refusal> {
        let partition = &self.hosts[host].leader.partition;
        let Some(slot) = partition.plans.get(tx.plan) else {
            return Err(Refusal::Internal(format!("the plan of {} is missing", tx.id)));
        };
        let view = View { tx, plan: &slot.saga, now: self.shared.clock.now(), detail: waiter.detail };
        let body = Bytes::from((self.shared.renderer)(&view));
        Ok(Answer { id: tx.id, decided: tx.outcome.is_some(), replayed: waiter.replayed, body })
    }

    pub(crate) fn render_summary(&self, host: usize, tx: &Transaction) -> Option<Bytes> {
        let slot = self.hosts[host].leader.partition.plans.get(tx.plan)?;
        let view = View { tx, plan: &slot.saga, now: self.shared.clock.now(), detail: Detail::Summary };
        Some(Bytes::from((self.shared.renderer)(&view)))
    }
}

/// The participants that a transaction calls after this step, up to its first wait: what comes after that comes too
/// late to be planned for.
fn later_participants(saga: &plan::Saga, first: model::StepIndex, tables: &crate::tables::Tables) -> Vec<u32> {
    let later = saga.steps.iter().enumerate().filter(|(at, step)| *at != usize::from(first) && !step.after.is_empty());
    let calls = later.map_while(|(_, step)| step.call());
    calls.filter_map(|call| tables.places.get(&call.participant).copied()).collect()
}

/// One ended transaction as history keeps it.
pub(crate) fn push_history(
    block: &mut store::history::Block,
    tx: &Transaction,
    plan: &plan::Saga,
    scope: u128,
    row: &[u8],
) {
    let mut tags = smallvec::SmallVec::<[u32; 16]>::new();
    for step in &plan.steps {
        tags.push(tag("step", &step.name));
        if let Some(call) = step.call() {
            let participant = tag("participant", &call.participant);
            if !tags.contains(&participant) {
                tags.push(participant);
            }
        }
    }
    let (outcome, reason) = match tx.outcome {
        None => (0, 0),
        Some(TxOutcome::Completed) => (1, 0),
        Some(TxOutcome::Aborted(Reason::Refused)) => (2, 1),
        Some(TxOutcome::Aborted(Reason::Failed)) => (2, 2),
        Some(TxOutcome::Aborted(Reason::Cancelled)) => (2, 3),
        Some(TxOutcome::Aborted(Reason::TimedOut)) => (2, 4),
    };
    let record = Record {
        id: tx.id.0,
        idempotency: scope,
        key: key_hash(&plan.name, &tx.key),
        began_at_us: tx.began_at.0,
        ended_at_us: tx.ended_at.0,
        definition: tag("definition", &plan.name),
        state: ENDED,
        outcome,
        reason,
        tags: &tags,
        row,
    };
    if !block.push(&record) {
        tracing::error!(tx = %tx.id, bytes = row.len(), "a transaction is too large for history; its end is in the journal only");
    }
}

/// As [`push_history`], for a transaction that ended in a replay.
pub(crate) fn push_history_of(
    block: &mut store::history::Block,
    tx: &Transaction,
    partition: &partition::Partition,
    row: &mut Vec<u8>,
) {
    let Some(slot) = partition.plans.get(tx.plan) else { return };
    row.clear();
    wire::row::write(tx, &slot.hash, row);
    let scope = idempotency::scope(TENANT, &slot.saga.name, &tx.idempotency_key);
    push_history(block, tx, &slot.saga, scope, row);
}

/// The state of every record of history.
pub(crate) const ENDED: u8 = 5;
