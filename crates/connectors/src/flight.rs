//! Calls in flight: who carries each, how to stop it, and the one place where answers leave.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    hash::{BuildHasherDefault, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use tokio::{task::AbortHandle, time::Instant};

use crate::{
    Answer, EndpointIndex, ParticipantIndex, Reply, Request, Token, pool::Endpoint, pool::Seat, transport::Evidence,
    verdict::Sent,
};

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) token: Token,
    pub(crate) participant: ParticipantIndex,
    pub(crate) at: EndpointIndex,
    pub(crate) endpoint: Rc<Endpoint>,
    pub(crate) request: Request,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
}

/// The task that carries a call, and where on its connection the call began.
#[derive(Debug, Default)]
pub(crate) struct Ride {
    task: RefCell<Option<AbortHandle>>,
    evidence: RefCell<Option<Rc<Evidence>>>,
    begun_at: Cell<u64>,
    /// The call it carries, or carried last.
    token: Cell<Option<Token>>,
    /// Given back as soon as nobody needs it, not when the task comes to be dropped.
    pub(crate) seat: RefCell<Option<Seat>>,
}

impl Ride {
    pub(crate) fn set_task(&self, task: AbortHandle) {
        *self.task.borrow_mut() = Some(task);
    }

    /// The request is handed to a connection now; whatever is written from here on may be part of it.
    pub(crate) fn begin(&self, evidence: &Rc<Evidence>) {
        self.begun_at.set(evidence.written());
        let mut mine = self.evidence.borrow_mut();
        if !mine.as_ref().is_some_and(|old| Rc::ptr_eq(old, evidence)) {
            *mine = Some(evidence.clone());
        }
    }

    /// The request is with no connection (any more).
    pub(crate) fn leave(&self) {
        *self.evidence.borrow_mut() = None;
    }

    pub(crate) fn sent(&self) -> Sent {
        match &*self.evidence.borrow() {
            None => Sent::No,
            Some(evidence) => Sent::since(self.begun_at.get(), evidence.written()),
        }
    }

    /// Its task has ended, and carries nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.task.borrow().as_ref().is_none_or(AbortHandle::is_finished)
    }

    /// After this not one more byte is written: an aborted task is never polled again, only dropped.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
        *self.seat.borrow_mut() = None;
    }
}

/// Runs a task that carries calls for `ride`. Should it panic (a fault of ours), its call is still answered, as badly as
/// is known: otherwise it would be in flight for ever.
pub(crate) async fn watched(flight: Rc<Flight>, ride: Rc<Ride>, task: impl Future<Output = ()>) {
    let fault = {
        let mut task = pin!(task);
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(poll) => poll.map(|()| false),
            Err(_) => Poll::Ready(true),
        })
        .await
    };
    if fault {
        ride.seat.borrow_mut().take();
        if let Some(token) = ride.token.get() {
            tracing::error!(token = token.0, "a task of the connector panicked");
            flight.answer(token, Reply::Cut { detail: "the connector failed while it carried this call".into() });
        }
    }
}

/// Tokens are counted up by their owner, so one multiplication spreads them well enough (Fibonacci hashing, Knuth,
/// The Art of Computer Programming, volume 3, 6.4).
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A call in flight, as the list knows it.
struct Listed {
    participant: ParticipantIndex,
    at: EndpointIndex,
    started: Instant,
    ride: Rc<Ride>,
}

/// The list of calls in flight, and the way out.
pub(crate) struct Flight {
    calls: RefCell<HashMap<Token, Listed, BuildHasherDefault<Spread>>>,
    sink: Rc<dyn Fn(Answer)>,
}

impl Flight {
    pub(crate) fn new(sink: Rc<dyn Fn(Answer)>) -> Self {
        Self { calls: RefCell::default(), sink }
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Lists `job` as carried by `ride`; a call that changes over is listed anew.
    pub(crate) fn board(&self, job: &Job, ride: Rc<Ride>) {
        let Job { token, participant, at, started, .. } = *job;
        ride.token.set(Some(token));
        let old = self.calls.borrow_mut().insert(token, Listed { participant, at, started, ride });
        // The same token twice in flight would leave one of them without an answer.
        debug_assert!(old.is_none_or(|old| old.started == started), "token {} is in flight already", token.0);
    }

    /// Lists a call that names no endpoint, until it is told so.
    pub(crate) fn board_refused(
        &self,
        token: Token,
        participant: ParticipantIndex,
        at: EndpointIndex,
        started: Instant,
    ) {
        self.calls.borrow_mut().insert(token, Listed { participant, at, started, ride: Rc::default() });
    }

    /// Takes a call off the list without an answer.
    pub(crate) fn take(&self, token: Token) -> Option<Rc<Ride>> {
        self.calls.borrow_mut().remove(&token).map(|listed| listed.ride)
    }

    /// Answers a call, unless nobody waits for it any more.
    pub(crate) fn answer(&self, token: Token, reply: Reply) {
        let listed = self.calls.borrow_mut().remove(&token);
        if let Some(Listed { participant, at, started, .. }) = listed {
            (self.sink)(Answer { token, participant, endpoint: at, took: started.elapsed(), reply });
        }
    }

    /// Stops everything; what each call had done so far, in the order of their tokens.
    pub(crate) fn stop_all(&self) -> Vec<(Token, Sent)> {
        let mut stopped: Vec<_> = self
            .calls
            .borrow()
            .iter()
            .map(|(token, listed)| {
                let sent = listed.ride.sent();
                listed.ride.stop();
                (*token, sent)
            })
            .collect();
        stopped.sort_unstable_by_key(|(token, _)| *token);
        stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_strands_no_call() {
        let heard: Rc<RefCell<Vec<Answer>>> = Rc::default();
        let to = heard.clone();
        let flight = Rc::new(Flight::new(Rc::new(move |answer| to.borrow_mut().push(answer))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let token = Token(7);
            flight.board_refused(token, ParticipantIndex(1), EndpointIndex(2), Instant::now());
            let ride = Rc::new(Ride::default());
            ride.token.set(Some(token));
            tokio::task::spawn_local(watched(flight.clone(), ride, async {
                tokio::task::yield_now().await;
                panic!("on purpose");
            }))
            .await
            .expect("caught");
        });
        assert_eq!(flight.len(), 0);
        let heard = heard.take();
        assert_eq!(heard.len(), 1);
        assert!(matches!(heard[0].reply, Reply::Cut { .. }), "{:?}", heard[0]);
    }
}
