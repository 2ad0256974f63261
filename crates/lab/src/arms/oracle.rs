//! The arm that knows: capacity, knee and quota at every instant. What it reaches is what the others are measured by.
//!
//! It keeps calls in flight exactly at the knee of each endpoint; begins a transaction only when every participant
//! on its path will have room when it gets there; takes the urgent first, then the earliest deadline; and turns
//! away at once what cannot be done in time. Randomness of single calls it does not know.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use model::Timestamp;

use crate::arm::{Act, Arm, Backoff, Call, CallId, Class, Cx, Definition, Ended, Outcome, Retry, Truth, Tx, TxId};
use crate::world::ArmSetup;

const TICK: Duration = Duration::from_millis(10);
/// A transaction is begun only if this many times its uncongested path still fits before its deadline: service
/// times scatter, and a call that comes late was for nothing.
const MARGIN: f64 = 2.5;
/// So much more than a path's worth of work may be on its way to a participant.
const SLACK: f64 = 1.25;

type Urgency = (u8, Reverse<Timestamp>, Reverse<u64>);

/// Must it happen, how far, how urgent, by when, in which order.
type Turn = (u8, u8, u8, Reverse<Timestamp>, Reverse<u32>);

#[derive(Debug, Default)]
struct Line {
    /// Of calls: what must happen first, then the furthest, the urgent, the earliest deadline.
    waiting: BinaryHeap<Turn>,
    in_flight: Vec<u32>,
    /// Begun transactions that have still to be served here.
    coming: f64,
    /// The participant's own token bucket, mirrored: what may start now, and as of when (seconds).
    tokens: f64,
    tokens_at_s: f64,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    definitions: Vec<Definition>,
    lines: Vec<Line>,
    calls: BTreeMap<CallId, Call>,
    /// By definition: those that have not begun.
    entry: Vec<BinaryHeap<(Urgency, TxId)>>,
    txs: BTreeMap<TxId, Tx>,
    /// The next step that a begun transaction has to be served at.
    at_step: BTreeMap<TxId, usize>,
    arrivals: u64,
    limits: Vec<f64>,
    /// By participant: for how long answers may be shared.
    share_for: Vec<Option<Duration>>,
    /// By question: the call whose answer serves, when it started, and whether it has come.
    asked: BTreeMap<u64, (CallId, Timestamp, bool)>,
    /// Calls that wait for the answer to a question of theirs.
    sharing: BTreeMap<u64, Vec<Call>>,
}

impl Oracle {
    pub(crate) fn new(setup: &ArmSetup) -> Self {
        let line = |d: &crate::arm::Declared| Line { in_flight: vec![0; usize::from(d.endpoints)], ..Line::default() };
        Self {
            lines: setup.participants.iter().map(line).collect(),
            limits: vec![0.0; setup.participants.len()],
            entry: setup.definitions.iter().map(|_| BinaryHeap::new()).collect(),
            definitions: setup.definitions.clone(),
            calls: BTreeMap::new(),
            txs: BTreeMap::new(),
            at_step: BTreeMap::new(),
            arrivals: 0,
            share_for: setup.participants.iter().map(|p| p.share_for).collect(),
            asked: BTreeMap::new(),
            sharing: BTreeMap::new(),
        }
    }

    /// The answer to this question is here, young enough, or is on its way: no call is made.
    fn shares(&mut self, cx: &mut Cx<'_>, call: &Call) -> bool {
        let (Some(key), Some(for_)) = (call.key, self.share_for[usize::from(call.participant)]) else { return false };
        match self.asked.get(&key) {
            Some((from, started, true)) if cx.now.since(*started) <= for_ => {
                cx.acts.push(Act::Answer { call: call.id, from: *from });
                self.served(call);
                true
            }
            Some((_, _, false)) => {
                self.sharing.entry(key).or_default().push(*call);
                true
            }
            _ => {
                self.asked.insert(key, (call.id, cx.now, false));
                false
            }
        }
    }

    /// A step is over without a call of its own.
    fn served(&mut self, call: &Call) {
        let step = usize::from(call.step);
        self.leave(call.tx, call.definition, step, step + 1);
    }

    /// A call is over: those that wait for its answer have it, or the first of them asks.
    fn tell(&mut self, cx: &mut Cx<'_>, call: &Call, started: Option<Timestamp>) {
        let Some(key) = call.key else { return };
        if !matches!(self.asked.get(&key), Some((from, _, false)) if *from == call.id) {
            return;
        }
        self.asked.remove(&key);
        let waiting = self.sharing.remove(&key).unwrap_or_default();
        match started {
            Some(started) => {
                self.asked.insert(key, (call.id, started, true));
                for other in waiting {
                    cx.acts.push(Act::Answer { call: other.id, from: call.id });
                    self.served(&other);
                }
            }
            None => {
                for other in waiting {
                    self.line_up(cx, &other);
                }
            }
        }
    }

    fn line_up(&mut self, cx: &mut Cx<'_>, call: &Call) {
        if self.shares(cx, call) {
            return;
        }
        let must = u8::from(call.class == Class::Compensate);
        let line = &mut self.lines[usize::from(call.participant)];
        line.waiting.push((must, call.progress, call.priority, Reverse(call.deadline), Reverse(call.id)));
        self.calls.insert(call.id, *call);
    }

    /// Begins what there is room for.
    fn admit(&mut self, cx: &mut Cx<'_>, truth: &Truth) {
        // The most urgent head first; a definition whose head finds no room does not stop the others.
        let mut open: Vec<usize> = (0..self.entry.len()).filter(|d| !self.entry[*d].is_empty()).collect();
        while let Some((at, definition)) =
            open.iter().copied().enumerate().max_by_key(|(_, d)| self.entry[*d].peek().map(|head| head.0))
        {
            let Some((_, tx)) = self.entry[definition].peek().copied() else {
                open.swap_remove(at);
                continue;
            };
            let path = &self.definitions[definition].participants;
            let deadline = self.txs.get(&tx).map_or(Timestamp::NEVER, |tx| tx.deadline);
            let whole_s: f64 = path.iter().map(|p| truth.participants[usize::from(*p)].w0_s).sum();
            if cx.now.after(Duration::from_secs_f64((whole_s * MARGIN).min(1e6))) > deadline
                && whole_s * MARGIN < deadline_span(&self.txs, tx)
            {
                self.entry[definition].pop();
                self.txs.remove(&tx);
                cx.acts.push(Act::Turn(tx));
                continue;
            }
            let mut so_far_s = 0.0;
            let has_room = path.iter().all(|p| {
                let p = usize::from(*p);
                so_far_s += truth.participants[p].w0_s;
                let truth = &truth.participants[p];
                truth.mu > 0.0 && self.lines[p].coming < truth.mu * so_far_s * SLACK + 1.0
            });
            if !has_room {
                open.swap_remove(at);
                continue;
            }
            for p in path {
                self.lines[usize::from(*p)].coming += 1.0;
            }
            self.entry[definition].pop();
            self.at_step.insert(tx, 0);
            cx.acts.push(Act::Begin(tx));
        }
    }

    fn drain(&mut self, cx: &mut Cx<'_>, truth: &Truth) {
        let now_s = cx.now.0 as f64 / 1e6;
        let mut expired = Vec::new();
        for (p, line) in self.lines.iter_mut().enumerate() {
            let truth = &truth.participants[p];
            self.limits[p] = truth.knee_all;
            if truth.quota_per_s.is_finite() {
                let passed_s = now_s - line.tokens_at_s;
                line.tokens = (line.tokens + passed_s * truth.quota_per_s).min(truth.quota_burst);
                line.tokens_at_s = now_s;
            }
            while let Some((_, _, _, Reverse(deadline), Reverse(id))) = line.waiting.peek().copied() {
                if deadline <= cx.now {
                    line.waiting.pop();
                    expired.extend(self.calls.remove(&id));
                    cx.acts.push(Act::Expire(id));
                    continue;
                }
                if truth.quota_per_s.is_finite() && line.tokens < 1.0 {
                    break;
                }
                let room = |n: usize| (truth.knee[n] - 1e-9).ceil() - f64::from(line.in_flight[n]);
                let share = |n: usize| room(n) / truth.knee[n].max(1e-9);
                let best =
                    (0..line.in_flight.len()).filter(|n| room(*n) > 0.0).max_by(|a, b| share(*a).total_cmp(&share(*b)));
                let Some(endpoint) = best else { break };
                line.waiting.pop();
                line.in_flight[endpoint] += 1;
                line.tokens -= 1.0;
                cx.acts.push(Act::Start { call: id, endpoint: endpoint as u16 });
            }
        }
        for call in expired {
            self.tell(cx, &call, None);
        }
    }

    fn turn(&mut self, cx: &mut Cx<'_>) {
        let Some(truth) = cx.truth else { return };
        self.admit(cx, truth);
        self.drain(cx, truth);
    }

    /// The transaction needs nothing more of the steps from `from` on.
    fn leave(&mut self, tx: TxId, definition: u16, from: usize, to: usize) {
        let path = &self.definitions[usize::from(definition)].participants;
        for p in &path[from.min(path.len())..to.min(path.len())] {
            self.lines[usize::from(*p)].coming -= 1.0;
        }
        if let Some(at) = self.at_step.get_mut(&tx) {
            *at = to;
        }
    }
}

fn deadline_span(txs: &BTreeMap<TxId, Tx>, tx: TxId) -> f64 {
    txs.get(&tx).map_or(f64::INFINITY, |tx| {
        if tx.deadline == Timestamp::NEVER { f64::INFINITY } else { tx.deadline.since(tx.arrived).as_secs_f64() }
    })
}

impl Arm for Oracle {
    fn arrived(&mut self, cx: &mut Cx<'_>, tx: &Tx) {
        self.arrivals += 1;
        let urgency = (tx.priority, Reverse(tx.deadline), Reverse(self.arrivals));
        self.entry[usize::from(tx.definition)].push((urgency, tx.id));
        self.txs.insert(tx.id, *tx);
        self.turn(cx);
    }

    fn released(&mut self, cx: &mut Cx<'_>, call: &Call) {
        self.line_up(cx, call);
        self.turn(cx);
    }

    fn ended(&mut self, cx: &mut Cx<'_>, call: &Call, ended: &Ended) {
        self.calls.remove(&call.id);
        self.lines[usize::from(call.participant)].in_flight[usize::from(ended.endpoint)] -= 1;
        if ended.outcome == Outcome::Done && call.class != Class::Compensate {
            let step = usize::from(call.step);
            self.leave(call.tx, call.definition, step, step + 1);
        }
        self.tell(cx, call, (ended.outcome == Outcome::Done).then_some(ended.started));
        self.turn(cx);
    }

    fn retry(&mut self, cx: &mut Cx<'_>, _call: &Call, outcome: Option<Outcome>, counted: u16) -> Retry {
        Backoff::USUAL.after(cx.dice, counted, outcome)
    }

    fn over(&mut self, _cx: &mut Cx<'_>, tx: &Tx, _committed: bool) {
        if let Some(at) = self.at_step.remove(&tx.id) {
            self.leave(tx.id, tx.definition, at, usize::MAX);
        }
        self.txs.remove(&tx.id);
    }

    fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = self.entry.iter().any(|e| !e.is_empty()) || self.lines.iter().any(|l| !l.waiting.is_empty());
        waits.then(|| Timestamp((now.0 / TICK.as_micros() as u64 + 1) * TICK.as_micros() as u64))
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        self.turn(cx);
    }

    fn limits(&self, _now: Timestamp, out: &mut Vec<f64>) {
        out.extend(&self.limits);
    }

    fn is_oracle(&self) -> bool {
        true
    }
}
