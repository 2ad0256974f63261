//! One turn: answers, then what must end, then new work, then time; and the hand-over to the journal.

use journal::{Batch, Part};
use model::mutant::{Mutant, is_planted};
use model::{Direction, Seq, Timestamp};
use partition::branch::{Branch, Status};
use partition::state::Presence;
use partition::transaction::Transaction;
use partition::{Begin, Command, Effect, Entry, EntryKind, Operator, Rejected, Sample, Signal};
use plan::{Action, Undo, Wait};
use std::sync::Arc;

use super::handing::Given;
use super::{Around, Held, KnownKey, Node, Note, UnderWay, Wish};
use crate::event::{Before, Event, Told};
use crate::world::{Outer, tell};

const WAKES_PER_TURN: usize = 1_000;
const RECOVERED_PER_TURN: usize = 1_000;
const PARTS_UNDER_WAY_MAX: usize = 2;
const ECHOES_MAX: usize = 16;

impl Node {
    /// Takes what there is, decides it, hands it over.
    pub(crate) fn turn(&mut self, out: &mut Outer) {
        let now = self.read_clock(out.facts.now);
        self.take_answers(out, now);
        while let Some(note) = self.notes.pop_front() {
            if self.is_dead {
                return;
            }
            self.take_note(out, note, now);
        }
        if self.is_dead {
            return;
        }
        self.take_time(out, now);
        if !self.is_former {
            self.exchange_with_load(out, now);
        }
        self.retry_stuck(out);
        self.submit(out);
        self.run_checkpoints(out);
        self.evict_all(out);
    }

    /// The next moment, by true time, at which something is due here.
    pub(crate) fn next_due(&self, now: Timestamp) -> Timestamp {
        let clock = self.clock(now);
        let mut next = Timestamp::NEVER;
        for host in &self.hosts {
            if !host.to_recover.is_empty() || !host.to_grant.is_empty() {
                return now;
            }
            next = next.min(host.leader.partition.next_wake().unwrap_or(Timestamp::NEVER));
        }
        if let Some(at) = self.load.next_wake(clock) {
            next = next.min(at.max(Timestamp(clock.0 + 1)));
        }
        self.true_time(next).max(now)
    }

    /// Something is to be done at once, not only when time has passed.
    pub(crate) fn is_busy(&self) -> bool {
        !self.answers.is_empty() || !self.notes.is_empty() || !self.finished.is_empty() || !self.asked.is_empty()
    }

    fn take_answers(&mut self, out: &mut Outer, now: Timestamp) {
        if let Some(rng) = &mut self.echoes
            && rng.chance(1, 4)
            && let Some((host, again)) = self.echoing.pop_front()
        {
            let _ = self.propose(out, host, again, now);
        }
        let mut answers = std::mem::take(&mut self.answers);
        for answer in answers.drain(..) {
            if self.dies() {
                return;
            }
            let Some(slot) = self.calls.remove(answer.token) else { continue };
            let quota = None;
            let lead = slot.lead;
            let given = lead.and_then(|l| Given::of(l, slot.call, answer.endpoint, &answer.evidence, answer.for_load));
            let for_load = load::Sample { took: answer.took, evidence: answer.for_load, quota };
            self.finished.push((answer.token, for_load, given));
            let sample = Sample {
                endpoint: answer.endpoint,
                started_at: slot.started_at,
                took: answer.took,
                evidence: answer.evidence,
                shared: None,
            };
            let answered = Command::Answered { call: slot.call, sample };
            if let Some(rng) = &mut self.echoes
                && self.echoing.len() < ECHOES_MAX
                && rng.chance(1, 8)
            {
                self.echoing.push_back((slot.host, answered.clone()));
            }
            let _ = self.propose(out, slot.host, answered, now);
        }
        self.answers = answers;
    }

    fn take_note(&mut self, out: &mut Outer, note: Note, now: Timestamp) {
        match note {
            Note::Begin(submission) => self.take_begin(out, submission, now),
            Note::Committed { token, failed } => self.committed(out, token, failed, now),
            Note::Fenced => self.fenced(out, now),
            Note::Signal { tx, no } => self.signal(out, tx, no, now),
            Note::Person { tx, wish } => self.person(out, tx, wish, now),
            Note::Pause { participant, on } => {
                let mut verdicts = std::mem::take(&mut self.verdicts);
                if on {
                    self.load.pause(participant, &mut verdicts);
                } else {
                    self.load.resume(participant);
                }
                self.verdicts = verdicts;
                tell(&mut out.watch, &out.facts, Some(self), &Event::Paused { participant, on });
            }
            Note::Tables => self.load.set(&out.facts.participants, out.features.learns),
        }
    }

    fn take_begin(&mut self, out: &mut Outer, submission: u32, now: Timestamp) {
        let order = out.people.order(submission);
        let scope = (order.family, order.idempotency_key.clone());
        let known = self.keys.get(&scope).copied().or_else(|| out.facts.history.by_key(&scope));
        if let Some(known) = known {
            if known.digest == order.digest {
                self.acknowledge(out, submission, known.tx, true);
            } else {
                out.people.orders[submission as usize].is_refused = true;
                crate::world::turn_away(out, Some(self), submission, false);
            }
            return;
        }
        if out.disk.is_full {
            crate::world::turn_away(out, Some(self), submission, false);
            return;
        }
        let place = usize::from(order.partition);
        let dish = out.tables.active(order.family);
        let (plan_hash, plan_bytes, timeout) = (dish.hash, Arc::clone(&dish.bytes), dish.saga.timeout);
        let order = out.people.order(submission);
        let Ok((plan, entry)) = self.hosts[place].leader.use_plan(plan_hash, &plan_bytes, now) else { return };
        if let Some(entry) = entry {
            self.record(place, &entry);
            if !self.is_former {
                let event = Event::Proposed {
                    partition: place as u16,
                    command: &Told::Plan,
                    entry: &entry,
                    effects: &[],
                    before: None,
                    after: None,
                };
                tell(&mut out.watch, &out.facts, Some(self), &event);
            }
        }
        let begin = Begin {
            plan,
            idempotency_key: order.idempotency_key.clone(),
            submission_digest: order.digest,
            key: order.key.clone(),
            input: Arc::clone(&order.input),
            deadline: timeout.map_or(Timestamp::NEVER, |t| now.after(t)),
            priority: order.priority,
            traceparent: compact_str::CompactString::default(),
        };
        let digest = order.digest;
        match self.propose(out, place, Command::Begin(Box::new(begin)), now) {
            Ok(seq) => {
                let partition = &self.hosts[place].leader.partition;
                let tx = Transaction::id_at(partition, partition.at, seq);
                self.keys.insert(scope, KnownKey { tx, digest });
                self.acknowledge(out, submission, tx, false);
            }
            Err(_) if self.is_dead => {}
            Err(_) => crate::world::turn_away(out, Some(self), submission, false),
        }
    }

    /// Told as soon as all that is proposed by now is durable.
    fn acknowledge(&mut self, out: &mut Outer, submission: u32, tx: model::TxId, replayed: bool) {
        let held = Held::Ack { submission, tx, replayed };
        let place = usize::from(tx.partition().0);
        if is_planted(Mutant::AnswerBeforeCommit) || (self.hosts[place].is_clean() && self.gathering.is_empty()) {
            self.release_ack(out, submission, tx, replayed);
        } else {
            self.gathering.push(held);
        }
    }

    fn signal(&mut self, out: &mut Outer, tx: model::TxId, no: bool, now: Timestamp) {
        let place = usize::from(tx.partition().0);
        if !self.bring_back(out, place, tx.seq()) {
            return;
        }
        let partition = &self.hosts[place].leader.partition;
        let Some(live) = partition.get(tx.seq()).filter(|live| live.id == tx) else { return };
        let Some(slot) = partition.plans.get(live.plan) else { return };
        let names = slot.saga.steps.iter().filter_map(|step| match &step.action {
            Action::Wait(Wait::Signal { name, .. }) => Some(name.clone()),
            _ => None,
        });
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            return;
        }
        let body = Arc::new(out.people.signal_body(no, out.facts.now));
        for name in names {
            let signal = Signal {
                tx: tx.seq(),
                name,
                idempotency_key: if no { "n" } else { "y" }.into(),
                body: Arc::clone(&body),
            };
            let result = self.propose(out, place, Command::Signal(signal), now);
            if self.is_dead {
                return;
            }
            let taken = result.as_ref().map(|_| ());
            tell(&mut out.watch, &out.facts, Some(self), &Event::Operated { tx, verb: None, taken });
        }
    }

    /// A person acts on what there is to see, and only says what is true.
    fn person(&mut self, out: &mut Outer, tx: model::TxId, wish: Wish, now: Timestamp) {
        let place = usize::from(tx.partition().0);
        if !self.bring_back(out, place, tx.seq()) {
            return;
        }
        let partition = &self.hosts[place].leader.partition;
        let Some(live) = partition.get(tx.seq()).filter(|live| live.id == tx) else { return };
        let Some(slot) = partition.plans.get(live.plan) else { return };
        let verb = match wish {
            Wish::Cancel => Some(Operator::Cancel),
            Wish::Retry => retry_is_harmless(live, &slot.saga, out).then_some(Operator::Retry),
            Wish::Decide => decision(live, &slot.saga, out),
        };
        let Some(verb) = verb else { return };
        if let Operator::Resolve { step, direction: Direction::Compensate, done: true, .. } = &verb {
            out.undone_by_hand(tx, *step);
        }
        let command =
            Command::Operate { tx: tx.seq(), verb: verb.clone(), who: "anna".into(), why: "as agreed".into() };
        let result = self.propose(out, place, command, now);
        if self.is_dead {
            return;
        }
        let taken = result.as_ref().map(|_| ());
        tell(&mut out.watch, &out.facts, Some(self), &Event::Operated { tx, verb: Some(&verb), taken });
    }

    fn take_time(&mut self, out: &mut Outer, now: Timestamp) {
        for place in 0..self.hosts.len() {
            for tx in std::mem::take(&mut self.hosts[place].to_grant) {
                let _ = self.propose(out, place, Command::Grant(tx), now);
            }
            for _ in 0..RECOVERED_PER_TURN {
                let Some(tx) = self.hosts[place].to_recover.pop_front() else { break };
                let _ = self.propose(out, place, Command::Recover(tx), now);
            }
            let partition = &self.hosts[place].leader.partition;
            if partition.next_wake().is_some_and(|at| at <= now) {
                for tx in partition.due(now, WAKES_PER_TURN) {
                    let _ = self.propose(out, place, Command::Wake(tx), now);
                }
            }
            if self.is_dead {
                return;
            }
        }
    }

    /// Brings an evicted row back. `false` if it cannot be read.
    pub(crate) fn bring_back(&mut self, out: &mut Outer, place: usize, tx: Seq) -> bool {
        let host = &mut self.hosts[place];
        if host.leader.partition.presence(tx) != Presence::Evicted {
            return true;
        }
        let row = out.stores[place].row(tx);
        let plans = &host.leader.partition.plans;
        match row.map(|row| wire::row::read(&row, |hash| plans.find(hash))) {
            Some(Ok(live)) => {
                host.leader.partition.admit(live);
                host.cold.push_back(tx);
                true
            }
            // Whoever has its partitions now may have ended it: a former owner's rows are not its own any more.
            _ if self.is_former => false,
            other => {
                let what = format!(
                    "the row of transaction {tx} of partition {place} cannot be read: {:?}",
                    other.map(|r| r.err())
                );
                out.watch.found(crate::event::Violation::new("JR-2", None, what));
                false
            }
        }
    }

    /// Proposes to a partition; what follows from it is held until it is durable.
    pub(crate) fn propose(
        &mut self,
        out: &mut Outer,
        place: usize,
        command: Command,
        now: Timestamp,
    ) -> Result<Seq, Rejected> {
        if self.dies() {
            return Err(Rejected::Stale);
        }
        let subject = command.subject();
        if let Some(tx) = subject
            && !self.bring_back(out, place, tx)
        {
            return Err(Rejected::NotLive(tx));
        }
        let watched = !self.is_former;
        let host = &mut self.hosts[place];
        let before = subject.filter(|_| watched).and_then(|tx| host.leader.partition.get(tx).map(Before::of));
        let begins = match &command {
            Command::Begin(begin) => Some((begin.idempotency_key.clone(), Arc::clone(&begin.input))),
            _ => None,
        };
        let copy = if begins.is_none() && watched { Some(command.clone()) } else { None };
        let told = match (&begins, &copy) {
            (Some((idempotency_key, input)), _) => Told::Begin { idempotency_key, input },
            (None, Some(command)) => Told::Other(command),
            (None, None) => Told::Epoch,
        };
        let at_once = is_planted(Mutant::EffectBeforeCommit)
            || (is_planted(Mutant::UnparkWithoutEntry) && matches!(command, Command::Unpark(_)));
        let around =
            Around { participants: &out.facts.participants, held: &self.held_participants, panics: &out.panics };
        let mut effects = std::mem::take(&mut self.effects);
        let proposed = host.leader.propose(command, now, &around, &mut effects);
        out.panics.set(false);
        let result = match proposed {
            Ok(entry) => {
                self.record(place, &entry);
                let partition = &self.hosts[place].leader.partition;
                let seq = subject.unwrap_or(entry.seq);
                let ended = effects.iter().find_map(|effect| match effect {
                    Effect::Ended(tx) => Some(&**tx),
                    _ => None,
                });
                let after = partition.get(seq).or(ended);
                if watched {
                    let event = Event::Proposed {
                        partition: place as u16,
                        command: &told,
                        entry: &entry,
                        effects: &effects,
                        before: before.as_ref(),
                        after,
                    };
                    tell(&mut out.watch, &out.facts, Some(self), &event);
                }
                for effect in effects.drain(..) {
                    if at_once {
                        self.release_effect(out, place, entry.seq, effect, now);
                    } else {
                        self.gathering.push(Held::Effect { host: place, entry: entry.seq, effect });
                    }
                }
                Ok(entry.seq)
            }
            Err(rejected) => {
                effects.clear();
                if watched {
                    let event = Event::Rejected { partition: place as u16, command: &told, why: &rejected };
                    tell(&mut out.watch, &out.facts, Some(self), &event);
                }
                Err(rejected)
            }
        };
        self.effects = effects;
        result
    }

    pub(crate) fn record(&mut self, place: usize, entry: &Entry) {
        let host = &mut self.hosts[place];
        host.writer.push(entry);
        host.entries_since_checkpoint += 1;
        match &entry.kind {
            EntryKind::Begin(_) => drop(host.touched.insert(entry.seq, entry.seq)),
            EntryKind::Moves { tx, .. } => drop(host.touched.insert(*tx, entry.seq)),
            EntryKind::Epoch { .. } | EntryKind::Plan { .. } => {}
        }
    }

    fn wants_to_submit(&self) -> bool {
        self.under_way.len() < PARTS_UNDER_WAY_MAX
            && self.stuck.is_empty()
            && (!self.gathering.is_empty() || self.hosts.iter().any(|h| !h.writer.is_empty()))
    }

    /// Hands what is gathered to the journal as one part.
    fn submit(&mut self, out: &mut Outer) {
        if self.is_dead || !self.wants_to_submit() || self.dies() {
            return;
        }
        let mut batches = Vec::with_capacity(self.hosts.len());
        let mut last = smallvec::SmallVec::new();
        for (place, host) in self.hosts.iter_mut().enumerate() {
            if !host.writer.is_empty() {
                let batch = Batch::encode(
                    place as u16,
                    host.leader.partition.epoch,
                    host.writer.first_seq(),
                    host.writer.count(),
                    host.tail,
                    host.durable,
                    host.writer.payload(),
                    self.spare.pop().unwrap_or_default(),
                );
                host.tail = batch.hash();
                host.writer.clear();
                last.push((place as u16, batch.last_seq()));
                batches.push(batch);
            }
            if host.checkpoint.is_none()
                && !host.is_checkpointing
                && host.entries_since_checkpoint >= out.features.checkpoint_every
            {
                super::checkpoint::prepare(host, &mut self.row);
            }
        }
        let held = std::mem::take(&mut self.gathering);
        if batches.is_empty() {
            // Nothing of its own to make durable: it waits for what is under way, if anything is.
            match self.under_way.back_mut() {
                Some(last) => last.held.extend(held),
                None => {
                    let now = self.read_clock(out.facts.now);
                    self.release(out, held, now);
                }
            }
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.under_way.push_back(UnderWay { token, held, last });
        self.stuck.push_back(Part { batches, token });
        self.retry_stuck(out);
    }

    fn retry_stuck(&mut self, out: &mut Outer) {
        while let Some(part) = self.stuck.pop_front() {
            if out.disk.is_full {
                self.stuck.push_front(part);
                return;
            }
            out.submit(self.id, part);
        }
    }

    fn committed(&mut self, out: &mut Outer, token: u64, failed: bool, now: Timestamp) {
        let Some(under_way) = self.under_way.pop_front() else { return };
        debug_assert_eq!(under_way.token, token);
        if failed && !is_planted(Mutant::FailedSyncIsRetried) {
            // Nobody knows what is on disk: nothing of this leaves, and the process stops.
            self.is_dead = true;
            return;
        }
        for (partition, seq) in &under_way.last {
            let host = &mut self.hosts[usize::from(*partition)];
            host.durable = host.durable.max(*seq);
        }
        self.release(out, under_way.held, now);
    }

    fn fenced(&mut self, out: &mut Outer, now: Timestamp) {
        if is_planted(Mutant::FenceSkipped) {
            while let Some(under_way) = self.under_way.pop_front() {
                self.release(out, under_way.held, now);
            }
            self.exchange_with_load(out, now);
        }
        self.is_dead = true;
    }

    pub(crate) fn give_back_buffer(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 8 {
            self.spare.push(buffer);
        }
    }
}

/// Whether trying again repeats no undo that may have executed and would not be recognised: a retry is a person's
/// word that a repeat is harmless.
fn retry_is_harmless(tx: &Transaction, saga: &plan::Saga, out: &Outer) -> bool {
    tx.steps.iter().enumerate().all(|(place, state)| {
        let Undo::Call { call, .. } = &saga.steps[place].compensate else { return true };
        // What is undone already no retry undoes again, however often it was tried.
        let is_over = matches!(state.status, Status::Compensated | Status::GivenUp);
        if is_over || (state.status != Status::Undoing && !state.undo_may_have_executed) {
            return true;
        }
        let deed = out.facts.ledger.deed(tx.id, place as u16);
        let key = tx.call_key(place as u16, Direction::Compensate);
        let on_its_way = out.outside.is_on_its_way(key);
        !on_its_way && (call.method.is_idempotent() || !state.undo_may_have_executed || deed.undos == 0)
    })
}

/// What a person who knows the truth answers, when nothing can arrive any more that would change it.
fn decision(tx: &Transaction, saga: &plan::Saga, out: &Outer) -> Option<Operator> {
    let attention = tx.attention.as_ref()?;
    let Some(step) = attention.step else {
        return if retry_is_harmless(tx, saga, out) { Some(Operator::Retry) } else { undo_known(tx, saga, out) };
    };
    let state = &tx.steps[usize::from(step)];
    if state.branch != Branch::Attention {
        return None;
    }
    let deed = out.facts.ledger.deed(tx.id, step);
    let on_its_way = |direction| out.outside.is_on_its_way(tx.call_key(step, direction));
    if deed.on_their_way > 0 || on_its_way(Direction::Call) || on_its_way(Direction::Compensate) {
        return None;
    }
    let waits = saga.steps[usize::from(step)].call().is_none();
    let reads = saga.steps[usize::from(step)].call().is_some_and(|call| !call.method.changes());
    let (direction, done) = match state.status {
        Status::Active => (Direction::Call, deed.standing > 0 || waits || reads),
        _ => (Direction::Compensate, true),
    };
    let result = (direction == Direction::Call && done).then(|| Arc::new(out.people.result_by_hand()));
    Some(Operator::Resolve { step, direction, done, result })
}

/// An undo that may not be repeated, and that a person knows to have happened.
fn undo_known(tx: &Transaction, saga: &plan::Saga, out: &Outer) -> Option<Operator> {
    let step = tx.steps.iter().enumerate().position(|(place, state)| {
        let undoable = matches!(&saga.steps[place].compensate, Undo::Call { .. });
        let key = tx.call_key(place as u16, Direction::Compensate);
        let waits = !matches!(state.branch, Branch::Outstanding { .. });
        undoable && waits && state.status == Status::Undoing && !out.outside.is_on_its_way(key)
    })?;
    Some(Operator::Resolve { step: step as u16, direction: Direction::Compensate, done: true, result: None })
}
