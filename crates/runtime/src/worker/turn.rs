//! One turn: answers, then what must end, then new work, then time; and the hand-over to the journal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use compact_str::CompactString;
use connectors::{Answer, Body, Reply};
use load::{Evidence as LoadEvidence, Sample as LoadSample};
use model::{Seq, Timestamp};
use partition::evidence::Body as EvidenceBody;
use partition::{Begin, CallRef, Command, Effect, Entry, Evidence, Rejected, Sample, Signal, Surroundings};

use super::host::Host;
use super::look::Search;
use super::release::Held;
use super::{BEGINS_PER_TURN, PARTS_UNDER_WAY_MAX, UnderWay, Worker};
use crate::given::GivenAnswer;
use crate::inbox::{Note, Waiter};
use crate::numbers::{add, bump, subtract};
use crate::prepare::Prepared;
use crate::refusal::{Accepted, Refusal};
use crate::tables::Tables;

/// Entries of one partition that are gathered at most before they must be handed over.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes of a part; less than any journal's group holds.
const PART_BYTES_MAX: usize = 3 << 20;
const WAKES_PER_TURN: usize = 1_000;
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
const ADMISSION_EVERY: std::time::Duration = std::time::Duration::from_millis(20);
/// Live transactions of a partition that are looked through once a second.
const COUNTED_LIVE_MAX: usize = 20_000;
const RECOVERED_PER_TURN: usize = 1_000;
/// How long a client is told to stay away when something is full.
pub(crate) const RETRY_SOON: std::time::Duration = std::time::Duration::from_secs(1);

/// What a leader may look up on this worker.
pub(crate) struct Around<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) held: &'a [bool],
}

impl Surroundings for Around<'_> {
    fn participant(&self, name: &str) -> Option<(u32, &plan::Participant)> {
        self.tables.participant(name)
    }

    fn is_held(&self, participant: u32) -> bool {
        self.held.get(participant as usize).copied().unwrap_or(false)
    }
}

impl Worker {
    /// Takes what there is. Gives whether anything was done.
    pub(crate) fn turn(&mut self) -> bool {
        if self.shared.has_failed.load(Ordering::Acquire) {
            return self.turn_of_a_failed_node();
        }
        let now = self.shared.clock.now();
        self.refresh_tables();
        let mut busy = self.take_answers(now);
        let room = if self.gathered_bytes() > BATCH_BYTES_MAX || !self.stuck.is_empty() { 0 } else { BEGINS_PER_TURN };
        let mut rest = std::mem::take(&mut self.rest);
        let mut begins = std::mem::take(&mut self.begins);
        self.inbox.drain(&mut rest, &mut begins, room);
        busy |= !rest.is_empty() || !begins.is_empty();
        for note in rest.drain(..) {
            self.take_note(note, now);
        }
        for note in begins.drain(..) {
            if let Note::Begin(prepared, waiter) = note {
                self.take_begin(*prepared, waiter, now);
            }
        }
        self.rest = rest;
        self.begins = begins;
        busy |= self.take_time(now);
        busy |= self.exchange_with_load(now);
        if let super::Way::Local(local) = &self.way {
            busy |= local.poll() > 0;
        }
        busy |= self.search_on();
        self.retry_stuck();
        if !self.history_waiting.is_empty() {
            self.flush_history();
        }
        self.run_checkpoints();
        if self.gathered_bytes() > BATCH_BYTES_MAX {
            self.submit();
        }
        busy
    }

    fn gathered_bytes(&self) -> usize {
        self.hosts.iter().map(Host::gathered_bytes).max().unwrap_or(0)
    }

    fn take_answers(&mut self, now: Timestamp) -> bool {
        if self.answers.borrow().is_empty() {
            return false;
        }
        let mut answers = std::mem::take(&mut *self.answers.borrow_mut());
        for answer in answers.drain(..) {
            self.take_answer(answer, now);
        }
        // The buffer goes back unless more came meanwhile.
        let mut here = self.answers.borrow_mut();
        if here.is_empty() {
            *here = answers;
        }
        true
    }

    fn take_answer(&mut self, answer: Answer, now: Timestamp) {
        let Some(slot) = self.calls.remove(answer.token.0) else { return };
        let quota = match &answer.reply {
            Reply::Answered { headers, .. } if !headers.is_empty() => crate::targets::quota(headers),
            _ => None,
        };
        let (evidence, for_load) = evidence(answer.reply);
        let took = answer.took;
        let endpoint = answer.endpoint.0;
        let lead = slot.lead.and_then(|lead| GivenAnswer::of(*lead, slot.call, endpoint, &evidence, for_load));
        self.finish(answer.token.0, LoadSample { took, evidence: for_load, quota }, lead.map(Arc::new));
        let started_at = slot.started_at;
        let sample = Sample { endpoint, started_at, took, evidence, shared: None };
        // A late answer changes nothing; whatever else is rejected here has been told to nobody.
        if let Err(Rejected::Illegal(why)) = self.propose(slot.host, Command::Answered { call: slot.call, sample }, now)
        {
            tracing::error!(why, "an answer could not be recorded");
        }
    }

    fn take_note(&mut self, note: Note, now: Timestamp) {
        match note {
            Note::Begin(prepared, waiter) => self.take_begin(*prepared, waiter, now),
            Note::Committed(committed) => self.committed(committed, now),
            Note::Verdicts(verdicts) => self.take_verdicts(verdicts, now),
            Note::Handed(handed) => handed.into_iter().for_each(|one| self.take_handed(one, now)),
            Note::Unpark { participant, count, workers_left } => self.unpark(participant, count, workers_left, now),
            Note::CheckpointDone { partition, seq, result } => self.checkpoint_done(partition, seq, result),
            Note::Look { tx, waiter } => self.look(tx, waiter),
            Note::Operate { tx, verb, who, why, waiter } => self.operate(tx, verb, who, why, waiter, now),
            Note::Resolve { tx, step, order, who, why, waiter } => {
                let found = self.step_of(tx, &step);
                let Some(step) = found else {
                    match self.no_such_step(tx, &step) {
                        Refusal::NoTransaction(_) => self.look(tx, waiter),
                        refusal => waiter.to.send(Err(refusal)),
                    }
                    return;
                };
                let verb = partition::Operator::Resolve {
                    step,
                    direction: order.direction,
                    done: order.done,
                    result: order.result,
                };
                self.operate(tx, verb, who, why, waiter, now);
            }
            Note::Signal { tx, name, idempotency_key, body, waiter } => {
                let signal = Signal { tx: tx.seq(), name, idempotency_key, body };
                self.ask_for(tx, Command::Signal(signal), waiter, now);
            }
            Note::Await { partition, definition, key, signal, to } => {
                let _ = to.send(self.awaiting(partition, &definition, &key, &signal));
            }
            Note::List { filter, before, limit, to } => self.search(Search::list(filter, before, limit, to)),
            Note::Count { filter, group_by, to } => self.search(Search::count(filter, group_by, to)),
            Note::Drain => self.answer_waiters(),
            Note::Stop => self.stop_by(now),
        }
    }

    fn operate(
        &mut self,
        tx: model::TxId,
        verb: partition::Operator,
        who: CompactString,
        why: CompactString,
        waiter: Waiter,
        now: Timestamp,
    ) {
        self.ask_for(tx, Command::Operate { tx: tx.seq(), verb, who, why }, waiter, now);
    }

    /// Proposes on behalf of somebody who waits for the answer.
    fn ask_for(&mut self, tx: model::TxId, command: Command, mut waiter: Waiter, now: Timestamp) {
        let Some(host) = self.host_of(tx.partition()) else {
            waiter.to.send(Err(Refusal::NoTransaction(tx)));
            return;
        };
        let live = |worker: &Self| worker.hosts[host].leader.partition.get(tx.seq()).map(|live| live.id);
        if self.bring_back(host, tx.seq()).is_ok() && live(self).is_some_and(|id| id != tx) {
            waiter.to.send(Err(Refusal::NoTransaction(tx)));
            return;
        }
        match self.propose(host, command, now) {
            // It ended by this: answered with its end, as soon as that is durable.
            Ok(_) if live(self).is_none() => self.hosts[host].waiters.entry(tx.seq()).or_default().push(waiter),
            Ok(_) => self.answer_when_durable(host, tx, waiter, true),
            // The same wish or signal again: answered as before.
            Err(Rejected::Stale) => {
                waiter.replayed = true;
                self.answer_when_durable(host, tx, waiter, true);
            }
            // Ended or unknown: whoever asked looks into history, where it is once its end is durable.
            Err(Rejected::NotLive(_)) => self.answer_when_durable(host, tx, waiter, false),
            Err(rejected) => waiter.to.send(Err(refusal_of(rejected))),
        }
    }

    fn take_begin(&mut self, prepared: Prepared, waiter: Waiter, now: Timestamp) {
        let scope = prepared.scope;
        let refuse = |worker: &Self, waiter: Waiter, refusal: Refusal| {
            worker.shared.keys.refused(scope);
            waiter.to.send(Err(refusal));
        };
        // Somebody may have begun it between this submission's look and its arrival here.
        if let Some(crate::idempotency::Known::Begun { id, digest }) = self.shared.keys.arrived(scope) {
            if digest == prepared.digest {
                self.look(id, Waiter { replayed: true, ..waiter });
            } else {
                waiter.to.send(Err(Refusal::KeyReused { first: id }));
            }
            return;
        }
        let Some(place) = self.host_of(prepared.partition) else {
            return refuse(self, waiter, Refusal::Internal("the partition is led elsewhere".into()));
        };
        if self.stopping || self.shared.draining.load(Ordering::Relaxed) {
            let what = "the node is shutting down".to_owned();
            return refuse(
                self,
                waiter,
                Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted: Accepted::No },
            );
        }
        if let Some(why) = &self.hosts[place].frozen {
            // It may be one that is in the part of the record that cannot be read.
            let what = format!("partition {} is frozen: {why}", prepared.partition.0);
            let accepted = Accepted::Unknown;
            return refuse(self, waiter, Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted });
        }
        let used = self.hosts[place].leader.use_plan(prepared.plan.hash, &prepared.plan.bytes, now);
        let plan = match used {
            Ok((plan, entry)) => {
                if let Some(entry) = entry {
                    self.record(place, &entry);
                }
                plan
            }
            Err(e) => return refuse(self, waiter, Refusal::Internal(e.to_string())),
        };
        let begin = Begin {
            plan,
            idempotency_key: prepared.idempotency_key,
            submission_digest: prepared.digest,
            key: prepared.key,
            input: prepared.input,
            deadline: prepared.timeout.map_or(Timestamp::NEVER, |t| now.after(t)),
            priority: prepared.priority,
            traceparent: prepared.traceparent,
        };
        match self.propose(place, Command::Begin(Box::new(begin)), now) {
            Ok(seq) => {
                let host = &self.hosts[place];
                let id = partition::Transaction::id_at(&host.leader.partition, host.leader.partition.at, seq);
                self.shared.keys.set(scope, id, prepared.digest);
                bump(&self.shared.numbers.begun);
                bump(&self.shared.numbers.live);
                match waiter.until {
                    None => self.answer_when_durable(place, id, waiter, true),
                    Some(_) => self.hosts[place].waiters.entry(seq).or_default().push(waiter),
                }
            }
            Err(rejected) => refuse(self, waiter, refusal_of(rejected)),
        }
    }

    /// Proposes to a partition; what follows from it is held until it is durable.
    pub(crate) fn propose(&mut self, place: usize, command: Command, now: Timestamp) -> Result<Seq, Rejected> {
        if self.hosts[place].frozen.is_some() {
            return Err(Rejected::Illegal("the partition is frozen".into()));
        }
        if let Some(tx) = command.subject() {
            self.bring_back(place, tx)?;
        }
        let around = Around { tables: &self.tables, held: &self.held_participants };
        let mut effects = std::mem::take(&mut self.effects);
        let proposed = self.hosts[place].leader.propose(command, now, &around, &mut effects);
        let result = match proposed {
            Ok(entry) => {
                self.record(place, &entry);
                for effect in effects.drain(..) {
                    self.gathering.push(Held::Effect { host: place, effect });
                }
                Ok(entry.seq)
            }
            Err(rejected) => {
                effects.clear();
                Err(rejected)
            }
        };
        self.effects = effects;
        result
    }

    fn record(&mut self, place: usize, entry: &Entry) {
        let host = &mut self.hosts[place];
        if host.writer.len() > BATCH_BYTES_MAX {
            // A part must fit into a group, however long the disk makes us gather.
            host.seal(self.buffers.pop().unwrap_or_default());
        }
        host.writer.push(entry);
        bump(&self.shared.numbers.entries);
        if entry.puts_aside() {
            bump(&self.shared.numbers.quarantined);
        }
    }

    fn take_time(&mut self, now: Timestamp) -> bool {
        let mut busy = false;
        for place in 0..self.hosts.len() {
            if self.hosts[place].frozen.is_some() {
                continue;
            }
            for _ in 0..RECOVERED_PER_TURN {
                let Some(tx) = self.hosts[place].to_recover.pop_front() else { break };
                if self.propose(place, Command::Recover(tx), now).is_ok() {
                    self.hosts[place].interrupted.insert(tx);
                }
                busy = true;
            }
            let partition = &self.hosts[place].leader.partition;
            if partition.next_wake().is_some_and(|at| at <= now) {
                for tx in partition.due(now, WAKES_PER_TURN) {
                    let _ = self.propose(place, Command::Wake(tx), now);
                }
                busy = true;
            }
        }
        if self.index == 0 && now.0.saturating_sub(self.learned_saved.0) >= crate::steering::SAVE_EVERY_US {
            let is_first = self.learned_saved == Timestamp::ZERO;
            self.learned_saved = now;
            if !is_first {
                let shared = Arc::clone(&self.shared);
                tokio::task::spawn_blocking(move || crate::steering::keep(&shared));
            }
        }
        if now >= self.next_admission {
            self.next_admission = now.after(ADMISSION_EVERY);
            self.tell_resident();
            self.want_checkpoints();
            if self.index == 0 {
                self.shared.renew_admission();
            }
        }
        if now >= self.next_compare {
            self.next_compare = now.after(std::time::Duration::from_secs(1));
            self.every_second(now);
        }
        busy
    }

    fn every_second(&mut self, now: Timestamp) {
        if self.index == 0
            && let Some(ahead_us) = self.shared.clock.compare()
        {
            let ahead_ms = ahead_us / 1_000;
            tracing::warn!(
                ahead_ms,
                "the wall clock jumped; the node keeps its own time, so that nothing expires early"
            );
        }
        if now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP_EVERY);
            self.sweep();
            if self.index == 0 {
                self.drop_old_history(now);
            }
        }
        self.tell_gauges();
    }

    fn drop_old_history(&self, now: Timestamp) {
        let keep = self.shared.settings.history_retention.max(self.shared.settings.idempotency_window);
        let cutoff_us = now.0.saturating_sub(keep.as_micros() as u64);
        let history = self.shared.history.clone();
        tokio::task::spawn_blocking(move || match history.drop_ended_before(cutoff_us) {
            Ok(dropped) if dropped.records > 0 => {
                tracing::info!(records = dropped.records, "history past its retention was dropped");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "history past its retention could not be dropped"),
        });
    }

    /// What only this worker can count, for whoever asks for metrics.
    fn tell_resident(&mut self) {
        let resident: usize = self.hosts.iter().map(|h| h.leader.partition.resident_count()).sum();
        let before = std::mem::replace(&mut self.resident_told, resident as u64);
        if resident as u64 >= before {
            add(&self.shared.numbers.resident, resident as u64 - before);
        } else {
            subtract(&self.shared.numbers.resident, before - resident as u64);
        }
    }

    fn tell_gauges(&mut self) {
        let mut running = std::collections::BTreeMap::new();
        let mut ages = crate::shared::Ages::new();
        for host in &self.hosts {
            let partition = &host.leader.partition;
            for (participant, queue) in &host.parked {
                let first = queue.front().and_then(|call| partition.get(call.tx()));
                if let (Some(tx), Some(declared)) = (first, self.tables.participants.get(*participant as usize)) {
                    older(&mut ages, "participant", &declared.spec.name, tx.began_at);
                }
            }
            // A full count of many live transactions would be felt: then it is only told how many there are.
            if partition.live_count() > COUNTED_LIVE_MAX {
                continue;
            }
            for tx in partition.residents() {
                if let Some(slot) = partition.plans.get(tx.plan) {
                    *running.entry(slot.hash).or_default() += 1;
                    older(&mut ages, "definition", &slot.saga.name, tx.began_at);
                    if tx.attention.is_some() {
                        older(&mut ages, "attention", &slot.saga.name, tx.began_at);
                    }
                    if tx.phase == partition::transaction::Phase::Queued {
                        older(&mut ages, "lock", slot.saga.lock.as_deref().unwrap_or_default(), tx.began_at);
                    }
                }
            }
        }
        self.shared.running.lock().insert(self.index, running);
        self.shared.ages.lock().insert(self.index, ages);
    }

    /// TX-4 in production: what the state calls outstanding must be known here (SEMANTICS 18).
    fn sweep(&mut self) {
        use partition::branch::Branch;
        let mut known: hashbrown::HashSet<(usize, CallRef)> = self.calls.iter().map(|c| (c.host, c.call)).collect();
        for held in self.gathering.iter().chain(self.under_way.iter().flat_map(|u| u.held.iter())) {
            if let Held::Effect { host, effect: Effect::Call(call) } = held {
                known.insert((*host, call.call));
            }
        }
        // Only as many as can be looked at without being felt; the rest has its turn another time.
        for (place, host) in self.hosts.iter().enumerate() {
            // A frozen one stands still as far as it was replayed: nobody is to make its calls.
            let stands_still = host.frozen.is_some() || !host.to_recover.is_empty();
            if host.leader.partition.live_count() > COUNTED_LIVE_MAX || stands_still {
                continue;
            }
            for tx in host.leader.partition.live_seqs() {
                let Some(live) = host.leader.partition.get(tx) else { continue };
                for (step, state) in live.steps.iter().enumerate() {
                    if !matches!(state.branch, Branch::Outstanding { .. }) {
                        continue;
                    }
                    let direction = if state.status == partition::branch::Status::Undoing {
                        model::Direction::Compensate
                    } else {
                        model::Direction::Call
                    };
                    let call =
                        CallRef { tx, step: step as u16, direction, attempt: state.attempts, round: state.round };
                    if !known.contains(&(place, call)) {
                        bump(&self.shared.numbers.stranded_found);
                        tracing::error!(tx = %live.id, step, "TX-4: a call is outstanding that nobody is making");
                    }
                }
            }
        }
    }

    /// Something is gathered and nothing of ours is under way.
    pub(crate) fn wants_to_submit(&self) -> bool {
        self.under_way.len() < PARTS_UNDER_WAY_MAX
            && self.stuck.is_empty()
            && (!self.gathering.is_empty() || self.hosts.iter().any(|h| h.gathered_bytes() > 0))
    }

    /// Hands what is gathered to the journal, one part at a time.
    pub(crate) fn submit(&mut self) {
        if !self.wants_to_submit() {
            return;
        }
        let now = self.shared.clock.now();
        let mut batches = Vec::with_capacity(self.hosts.len());
        for host in &mut self.hosts {
            if host.gathered_bytes() == 0 {
                continue;
            }
            if !host.writer.is_empty() {
                host.seal(self.buffers.pop().unwrap_or_default());
            }
            batches.append(&mut host.sealed);
            if super::checkpoint::is_wanted(host, &self.shared) {
                super::checkpoint::prepare(host, &self.shared, &mut self.row);
            }
        }
        let held = std::mem::take(&mut self.gathering);
        if batches.is_empty() {
            // Nothing of its own to make durable: it waits for what is under way, if anything is.
            match self.under_way.back_mut() {
                Some(last) => last.held.extend(held),
                None => self.release(held, now),
            }
            return;
        }
        let mut parts = in_parts(batches);
        let last = parts.pop();
        for batches in parts {
            self.hand_over_new(batches, Vec::new(), now);
        }
        // What follows from any of it waits for all of it.
        self.hand_over_new(last.unwrap_or_default(), held, now);
    }

    fn hand_over_new(&mut self, batches: Vec<journal::Batch>, held: Vec<Held>, now: Timestamp) {
        let token = self.next_token;
        self.next_token += 1;
        self.under_way.push_back(UnderWay { token, since: now, held });
        bump(&self.shared.numbers.parts);
        let part = journal::Part { batches, token };
        add(&self.shared.numbers.journal_bytes, part.bytes() as u64);
        self.stuck.push_back(part);
        self.retry_stuck();
    }

    /// Hands over what waits for the journal, in order, as far as it is taken.
    fn retry_stuck(&mut self) {
        while let Some(part) = self.stuck.pop_front() {
            let Err(refused) = self.journal.submit(self.index, part) else { continue };
            match refused.why {
                journal::Why::QueueFull { .. } | journal::Why::DiskFull => self.stuck.push_front(refused.part),
                why => self.shared.fail(format!("the journal refused a part: {why}")),
            }
            return;
        }
    }

    fn committed(&mut self, committed: journal::Committed, now: Timestamp) {
        if let Err(fault) = committed.result {
            // Nobody knows what is on disk: nothing of this part leaves, nor of those behind it, and the node stops.
            self.shared.fail(format!("{fault}"));
            return;
        }
        let Some(under_way) = self.under_way.pop_front() else { return };
        if under_way.token != committed.token {
            // What waits for one part must not leave by the word of another.
            let (next, told) = (under_way.token, committed.token);
            self.shared.fail(format!("TX-6: the journal confirmed part {told}, but part {next} is next"));
            self.under_way.push_front(under_way);
            return;
        }
        self.shared.numbers.commit_latency.add(now.since(under_way.since).as_micros() as u64);
        for batch in committed.batches {
            if let Some(place) = self.host_of(model::PartitionId(batch.partition())) {
                self.hosts[place].durable = self.hosts[place].durable.max(batch.last_seq());
            }
            self.buffers.push(batch.into_buffer());
        }
        self.release(under_way.held, now);
    }

    fn finish(&mut self, token: u64, sample: LoadSample, answer: Option<Arc<GivenAnswer>>) {
        let numbers = &self.shared.numbers;
        bump(match sample.evidence {
            LoadEvidence::Done => &numbers.calls_done,
            LoadEvidence::Refused => &numbers.calls_refused,
            LoadEvidence::NotTaken { .. } | LoadEvidence::Throttled { .. } | LoadEvidence::Unauthorized => {
                &numbers.calls_failed
            }
            LoadEvidence::Unknown | LoadEvidence::Cancelled => &numbers.calls_unknown,
        });
        self.finished.push((token, sample, answer));
    }
}

/// Splits batches, in their order, so that each part fits into a group of the journal.
fn in_parts(batches: Vec<journal::Batch>) -> Vec<Vec<journal::Batch>> {
    let mut parts: Vec<Vec<journal::Batch>> = Vec::with_capacity(1);
    let mut bytes = 0;
    for batch in batches {
        let more = batch.bytes().len();
        match parts.last_mut() {
            Some(part) if bytes + more <= PART_BYTES_MAX => {
                bytes += more;
                part.push(batch);
            }
            _ => {
                bytes = more;
                parts.push(vec![batch]);
            }
        }
    }
    parts
}

/// Notes the earlier beginning.
fn older(ages: &mut crate::shared::Ages, kind: &'static str, name: &str, began_at: Timestamp) {
    let slot = ages.entry((kind, name.to_owned())).or_insert(began_at.0);
    *slot = (*slot).min(began_at.0);
}

/// What a reply proves, for the state machine and for the load manager.
fn evidence(reply: Reply) -> (Evidence, LoadEvidence) {
    match reply {
        Reply::NotSent { why, detail } => (
            Evidence::NotSent(compact_str::format_compact!("{}: {detail}", why.as_str())),
            LoadEvidence::NotTaken { retry_after: None },
        ),
        Reply::RefusedStream => {
            (Evidence::NotSent("the stream was refused".into()), LoadEvidence::NotTaken { retry_after: None })
        }
        Reply::TimedOut { sent: false } => {
            (Evidence::NotSent("no connection in time".into()), LoadEvidence::NotTaken { retry_after: None })
        }
        Reply::TimedOut { sent: true } => (Evidence::TimedOut, LoadEvidence::Unknown),
        Reply::Cut { detail } => (Evidence::Cut(detail), LoadEvidence::Unknown),
        Reply::Answered { status, retry_after, body, .. } => {
            let body = match body {
                Body::Empty => EvidenceBody::Empty,
                Body::Json(value) => EvidenceBody::Json(value),
                Body::Unusable { detail, .. } => EvidenceBody::Unusable(detail),
            };
            let for_load = LoadEvidence::of_http_status(status, retry_after);
            (Evidence::Answered { status, has_retry_after: retry_after.is_some(), body }, for_load)
        }
    }
}

fn refusal_of(rejected: Rejected) -> Refusal {
    match rejected {
        Rejected::KeyBusy { .. } => {
            Refusal::Full { what: rejected.to_string(), retry_after: RETRY_SOON, accepted: Accepted::No }
        }
        Rejected::Illegal(what) => Refusal::Internal(what),
        Rejected::NoSuchStep => Refusal::BadRequest(rejected.to_string()),
        Rejected::BadResult => Refusal::BadRequest(rejected.to_string()),
        other => Refusal::Conflict(other.to_string()),
    }
}
