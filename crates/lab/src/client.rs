//! The common client: turns a limiter, a throttle and a balancer into a whole arm.
//!
//! It is what the same durable engine would be with somebody else's control in it: every transaction begins at
//! once, a call that finds no room waits or is rejected as the limiter's authors intend, three attempts with
//! exponential backoff and full jitter. One limiter, throttle and balancer for each participant.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use model::Timestamp;

use crate::arm::{
    Act, Arm, Asking, Backoff, Balancer, Call, CallId, Cx, Ended, EndpointView, Limiter, Moment, Nature, Outcome,
    Permit, Retry, Throttle,
};
use crate::world::ArmSetup;

/// Calls that wait are searched for passed deadlines no more often than this.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);

struct Gate {
    limiter: Box<dyn Limiter>,
    throttle: Box<dyn Throttle>,
    balancer: Box<dyn Balancer>,
    endpoints: Vec<EndpointView>,
    in_flight: u32,
    queue: VecDeque<Call>,
    /// Those that a throttle makes wait, with the time when they are asked again; few.
    delayed: Vec<(Timestamp, Call)>,
    expire_at: Timestamp,
}

/// See the head of this file.
pub(crate) struct Client {
    gates: Vec<Gate>,
    backoff: Backoff,
    tx_expired: Vec<CallId>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("limiters", &self.gates.iter().map(|g| &g.limiter).collect::<Vec<_>>()).finish()
    }
}

impl Client {
    pub(crate) fn new(
        setup: &ArmSetup,
        limiter: &dyn Fn(usize) -> Box<dyn Limiter>,
        throttle: &dyn Fn() -> Box<dyn Throttle>,
        balancer: &dyn Fn() -> Box<dyn Balancer>,
    ) -> Self {
        let gates = setup.participants.iter().enumerate().map(|(n, declared)| Gate {
            limiter: limiter(n),
            throttle: throttle(),
            balancer: balancer(),
            endpoints: vec![EndpointView::default(); usize::from(declared.endpoints)],
            in_flight: 0,
            queue: VecDeque::new(),
            delayed: Vec::new(),
            expire_at: Timestamp::ZERO,
        });
        Self { gates: gates.collect(), backoff: Backoff::USUAL, tx_expired: Vec::new() }
    }
}

impl Gate {
    fn asking(&self, call: &Call, now: Timestamp) -> Asking {
        Asking {
            in_flight: self.in_flight,
            queued: self.queue.len() as u32,
            waited: now.since(call.released),
            priority: call.priority,
            attempt: call.attempt,
        }
    }

    fn start(&mut self, cx: &mut Cx<'_>, call: &Call) {
        let mut at = Moment { now: cx.now, dice: cx.dice };
        let chosen = self.balancer.choose(&mut at, &self.endpoints).min(self.endpoints.len() - 1);
        for endpoint in self.balancer.probes(&mut at, self.endpoints.len()) {
            cx.acts.push(Act::Probe { participant: call.participant, endpoint: endpoint as u16 });
        }
        self.in_flight += 1;
        self.endpoints[chosen].in_flight += 1;
        cx.acts.push(Act::Start { call: call.id, endpoint: chosen as u16 });
    }

    /// Past the throttle: starts, waits or is rejected.
    fn offer(&mut self, cx: &mut Cx<'_>, call: &Call) {
        let nature = self.limiter.nature();
        let asking = self.asking(call, cx.now);
        let mut at = Moment { now: cx.now, dice: cx.dice };
        let is_first = nature == Nature::Reject || self.queue.is_empty();
        if is_first && self.limiter.admit(&mut at, &asking) {
            self.start(cx, call);
        } else if nature == Nature::Reject {
            self.throttle.ended(&mut at, call.attempt, None);
            cx.acts.push(Act::Reject(call.id));
        } else {
            self.queue.push_back(*call);
        }
    }

    fn ask_throttle(&mut self, cx: &mut Cx<'_>, call: &Call) {
        let asking = self.asking(call, cx.now);
        let mut at = Moment { now: cx.now, dice: cx.dice };
        match self.throttle.permit(&mut at, &asking) {
            Permit::Now => self.offer(cx, call),
            Permit::Wait(wait) => {
                let until = cx.now.after(wait.max(Duration::from_micros(1)));
                if until >= call.deadline {
                    cx.acts.push(Act::Expire(call.id));
                } else {
                    self.delayed.push((until, *call));
                }
            }
            Permit::Reject => {
                self.throttle.ended(&mut at, call.attempt, None);
                cx.acts.push(Act::Reject(call.id));
            }
        }
    }

    fn drain(&mut self, cx: &mut Cx<'_>) {
        loop {
            let is_lifo = self.limiter.nature() == Nature::Lifo;
            let next = if is_lifo { self.queue.back() } else { self.queue.front() };
            let Some(call) = next.copied() else { return };
            if call.deadline > cx.now {
                let mut asking = self.asking(&call, cx.now);
                asking.queued -= 1;
                let mut at = Moment { now: cx.now, dice: cx.dice };
                if !self.limiter.admit(&mut at, &asking) {
                    return;
                }
            }
            let _ = if is_lifo { self.queue.pop_back() } else { self.queue.pop_front() };
            if call.deadline <= cx.now {
                cx.acts.push(Act::Expire(call.id));
            } else {
                self.start(cx, &call);
            }
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>, expired: &mut Vec<CallId>) {
        if self.limiter.next_wake().is_some_and(|at| at <= cx.now) {
            self.limiter.wake(&mut Moment { now: cx.now, dice: cx.dice });
        }
        let mut due = Vec::new();
        self.delayed.retain(|(until, call)| {
            if *until <= cx.now {
                due.push(*call);
            }
            *until > cx.now
        });
        for call in &due {
            self.ask_throttle(cx, call);
        }
        if cx.now >= self.expire_at && !self.queue.is_empty() {
            self.expire_at = cx.now.after(EXPIRE_EVERY);
            self.queue.retain(|call| {
                if call.deadline <= cx.now {
                    expired.push(call.id);
                }
                call.deadline > cx.now
            });
            cx.acts.extend(expired.drain(..).map(Act::Expire));
        }
        self.drain(cx);
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let delayed = self.delayed.iter().map(|(until, _)| *until).min();
        let expire = (!self.queue.is_empty()).then_some(self.expire_at);
        [delayed, expire, self.limiter.next_wake()].into_iter().flatten().min()
    }
}

impl Arm for Client {
    fn released(&mut self, cx: &mut Cx<'_>, call: &Call) {
        self.gates[usize::from(call.participant)].ask_throttle(cx, call);
    }

    fn ended(&mut self, cx: &mut Cx<'_>, call: &Call, ended: &Ended) {
        let gate = &mut self.gates[usize::from(call.participant)];
        gate.in_flight -= 1;
        gate.endpoints[usize::from(ended.endpoint)].in_flight -= 1;
        let mut at = Moment { now: cx.now, dice: cx.dice };
        gate.limiter.ended(&mut at, ended);
        gate.balancer.ended(&mut at, ended);
        gate.throttle.ended(&mut at, call.attempt, Some(ended.outcome));
        gate.drain(cx);
    }

    fn retry(&mut self, cx: &mut Cx<'_>, call: &Call, outcome: Option<Outcome>, counted: u16) -> Retry {
        let usual = self.backoff.after(cx.dice, counted, outcome);
        let mut at = Moment { now: cx.now, dice: cx.dice };
        self.gates[usize::from(call.participant)].throttle.retry(&mut at, counted, outcome, usual)
    }

    fn next_wake(&self, _now: Timestamp) -> Option<Timestamp> {
        self.gates.iter().filter_map(Gate::next_wake).min()
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        for gate in &mut self.gates {
            gate.wake(cx, &mut self.tx_expired);
        }
    }

    fn probed(&mut self, cx: &mut Cx<'_>, participant: u16, endpoint: u16, in_flight: u32, latency: Duration) {
        let mut at = Moment { now: cx.now, dice: cx.dice };
        let gate = &mut self.gates[usize::from(participant)];
        gate.balancer.probed(&mut at, usize::from(endpoint), in_flight, latency);
    }

    fn limits(&self, _now: Timestamp, out: &mut Vec<f64>) {
        out.extend(self.gates.iter().map(|gate| gate.limiter.limit()));
    }
}
