//! One external system: who may call it now, who waits, and what was learned.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use load::{
    BadSnapshot, CallRef, Decision, Evidence, LoadManager, ParkReason, ParticipantReport, ParticipantSpec, Quota,
    Released, Sample, Verdict, Which, Withdraw,
};
use model::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::judge::Ask;

/// The number of the only participant that this manager has.
const ONLY: u32 = 0;
/// Of our own clock: late enough that nothing in the past is before its beginning.
const BEGINNING: Timestamp = Timestamp(3_600_000_000);
/// Timers are no finer than this.
const SOON: Duration = Duration::from_millis(1);
/// How long the one that keeps the time sleeps when nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(1);

/// One external system, with everything that is known about it. Clones are handles to the same one.
#[derive(Clone)]
pub struct Downstream(Arc<Shared>);

struct Shared {
    since: Instant,
    gate: Mutex<Gate>,
    /// Held by the one of those that wait who keeps the time for all; passed on when it leaves.
    timekeeper: tokio::sync::Mutex<()>,
    /// Somebody new waits, perhaps not for long: the one who keeps the time looks again.
    waits: tokio::sync::Notify,
}

struct Gate {
    manager: LoadManager,
    next_token: u64,
    /// Bounded by the manager's backlog.
    waiting: HashMap<u64, oneshot::Sender<Verdict>>,
    /// Used again and again.
    verdicts: Vec<Verdict>,
}

/// Why a call was not let through. Nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no room, and no room to wait: the backlog is full, the system is held after an outage, or paused.
    #[error("no room, and no room to wait: {}", reason(*.0))]
    Overloaded(ParkReason),
    /// It would not be done in the time that is left, or its time has passed while it waited.
    #[error("it cannot be done in the time that is left")]
    TooLate,
}

fn reason(reason: ParkReason) -> &'static str {
    match reason {
        ParkReason::BacklogFull => "enough calls wait already",
        ParkReason::Held => "the system is down and being probed",
        ParkReason::Bottleneck => "a system that is needed later has enough to do",
        ParkReason::Paused => "it is paused",
        ParkReason::EndpointGone => "its endpoint is gone",
        ParkReason::Unknown => "the system is not known",
    }
}

impl Downstream {
    /// Clock and learning begin now.
    pub fn new(spec: ParticipantSpec) -> Self {
        let mut manager = LoadManager::new();
        manager.set_participant(ONLY, spec);
        let gate = Gate { manager, next_token: 0, waiting: HashMap::new(), verdicts: Vec::new() };
        Self(Arc::new(Shared {
            since: Instant::now(),
            gate: Mutex::new(gate),
            timekeeper: tokio::sync::Mutex::default(),
            waits: tokio::sync::Notify::new(),
        }))
    }

    /// Changes the declared numbers. What waits, what is under way and what was learned stays.
    pub fn set(&self, spec: ParticipantSpec) {
        self.0.gate.lock().manager.set_participant(ONLY, spec);
    }

    /// Waits until one call may start, at most as long as `ask` has time left. Dropping the future takes the wish back.
    pub async fn admit(&self, ask: Ask) -> Result<Permit, Refused> {
        let (mut place, mut verdict) = match self.ask(ask)? {
            Asked::Start(permit) => return Ok(permit),
            Asked::Wait(place, verdict) => (place, verdict),
        };
        let verdict = tokio::select! {
            biased;
            verdict = &mut verdict => verdict,
            never = self.keep_time() => match never {},
        };
        place.token = None;
        match verdict {
            Ok(Verdict::Start { call, endpoint, .. }) => Ok(self.permit(call.token, endpoint)),
            Ok(Verdict::Park { reason, .. }) => Err(Refused::Overloaded(reason)),
            // The sender is dropped by nobody but the end of all handles, and we hold one.
            // Nothing is released to be shared here.
            Ok(Verdict::Expired { .. } | Verdict::Answered { .. }) | Err(_) => Err(Refused::TooLate),
        }
    }

    fn ask(&self, ask: Ask) -> Result<Asked, Refused> {
        let now = self.now();
        let mut gate = self.0.gate.lock();
        let token = gate.next_token;
        gate.next_token += 1;
        let released = Released {
            call: call(token),
            participant: ONLY,
            priority: ask.priority,
            deadline: ask.time_left.map_or(Timestamp::NEVER, |left| now.after(left)),
            class: ask.class,
            operation: ask.operation,
            flow: ask.flow,
            ..Released::default()
        };
        match gate.manager.release(now, released) {
            Decision::Start { endpoint } => Ok(Asked::Start(self.permit(token, endpoint))),
            Decision::Queued => {
                let (tell, told) = oneshot::channel();
                gate.waiting.insert(token, tell);
                self.0.waits.notify_one();
                Ok(Asked::Wait(Waiting { downstream: self.clone(), token: Some(token) }, told))
            }
            Decision::Park { reason } => Err(Refused::Overloaded(reason)),
            Decision::Expired | Decision::Answered { .. } => Err(Refused::TooLate),
        }
    }

    /// Does what time alone brings, for all that wait: paced starts, probes, passed deadlines. One does it at a time.
    async fn keep_time(&self) -> std::convert::Infallible {
        let _held = self.0.timekeeper.lock().await;
        loop {
            let due = {
                let now = self.now();
                let mut gate = self.0.gate.lock();
                if gate.manager.next_wake(now).is_some_and(|at| at <= now) {
                    gate.tick(now);
                }
                gate.manager.next_wake(now).map_or(NOTHING_DUE, |at| at.since(now))
            };
            tokio::select! {
                () = tokio::time::sleep(due.clamp(SOON, NOTHING_DUE)) => {}
                () = self.0.waits.notified() => {}
            }
        }
    }

    fn permit(&self, token: u64, endpoint: u16) -> Permit {
        Permit { downstream: self.clone(), token, endpoint, started: Instant::now(), is_open: true }
    }

    /// No call starts any more; those that wait are refused, those under way go on.
    pub fn pause(&self) {
        let mut gate = self.0.gate.lock();
        let mut verdicts = std::mem::take(&mut gate.verdicts);
        gate.manager.pause(Which::One(ONLY), &mut verdicts);
        gate.tell(verdicts);
    }

    /// Calls start again, as a ramp. Also ends a hold.
    pub fn resume(&self) {
        self.0.gate.lock().manager.resume(Which::One(ONLY));
    }

    /// How it stands, in numbers and words.
    pub fn report(&self) -> ParticipantReport {
        let reports = self.0.gate.lock().manager.report(self.now());
        reports.into_iter().next().expect("the only participant was set when this was made")
    }

    /// What was learned, for [`Downstream::restore`] in a later life of the process.
    pub fn snapshot(&self) -> Vec<u8> {
        self.0.gate.lock().manager.snapshot(self.now())
    }

    /// Takes what an earlier life learned of a system of the same name: limits begin at half of what they were. False
    /// if the snapshot knows no such system. One that cannot be read changes nothing.
    pub fn restore(&self, bytes: &[u8]) -> Result<bool, BadSnapshot> {
        Ok(self.0.gate.lock().manager.restore(self.now(), bytes)? > 0)
    }

    pub(crate) fn ended(&self, token: u64, took: Duration, evidence: Evidence, quota: Option<Quota>) {
        let now = self.now();
        let mut gate = self.0.gate.lock();
        let mut verdicts = std::mem::take(&mut gate.verdicts);
        gate.manager.finish(now, call(token), Sample { took, evidence, quota }, &mut verdicts);
        gate.tell(verdicts);
    }

    fn now(&self) -> Timestamp {
        BEGINNING.after(self.0.since.elapsed())
    }
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Downstream").field(&self.report()).finish()
    }
}

impl Gate {
    fn tick(&mut self, now: Timestamp) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        // Nothing is parked here, so nothing can be wanted back.
        self.manager.tick(now, &mut verdicts, &mut Vec::new());
        self.tell(verdicts);
    }

    /// Tells those that wait what became of them. One that is gone has been told to the manager by its own end.
    fn tell(&mut self, mut verdicts: Vec<Verdict>) {
        for verdict in verdicts.drain(..) {
            if let Some(waiter) = self.waiting.remove(&verdict.call().token) {
                let _ = waiter.send(verdict);
            }
        }
        self.verdicts = verdicts;
    }
}

fn call(token: u64) -> CallRef {
    CallRef { worker: 0, token }
}

enum Asked {
    Start(Permit),
    Wait(Waiting, oneshot::Receiver<Verdict>),
}

/// A place in the backlog; left when the one that waits is dropped.
struct Waiting {
    downstream: Downstream,
    /// `None` once it has been told.
    token: Option<u64>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(token) = self.token else { return };
        let withdrawn = {
            let mut gate = self.downstream.0.gate.lock();
            gate.waiting.remove(&token);
            gate.manager.withdraw(call(token))
        };
        // Its start was on its way to somebody who is not there any more.
        if withdrawn == Withdraw::InFlight {
            self.downstream.ended(token, Duration::ZERO, Evidence::Cancelled, None);
        }
    }
}

/// One call may be made, now. Ends with [`Permit::end`]; dropped without it, the call counts as cancelled by us and
/// says nothing about the system.
#[derive(Debug)]
#[must_use = "a permit that is dropped is a call that was cancelled"]
pub struct Permit {
    downstream: Downstream,
    token: u64,
    endpoint: u16,
    started: Instant,
    is_open: bool,
}

impl Permit {
    /// Which endpoint is to be called; 0 when there is one.
    pub fn endpoint(&self) -> u16 {
        self.endpoint
    }

    /// The call has ended: what that says.
    pub fn end(mut self, evidence: Evidence, quota: Option<Quota>) {
        self.is_open = false;
        self.downstream.ended(self.token, self.started.elapsed(), evidence, quota);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_open {
            self.downstream.ended(self.token, self.started.elapsed(), Evidence::Cancelled, None);
        }
    }
}
