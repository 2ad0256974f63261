//! Answers from inside the process: a plain closure in place of a network, for measuring the engine and for tests.
//!
//! Needs no tokio. Leaves out connections, timeouts and everything else that can go wrong by itself.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use crate::{Answer, Call, Cancelled, Connector, NotSent, Reply};

/// When the sink hears of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    /// Inside `start`; the sink must not mind being called there.
    Now,
    /// In the next [`LocalConnector::poll`].
    OnPoll,
}

/// Answers each call with a closure.
pub struct LocalConnector {
    reply: Box<dyn Fn(&Call) -> Reply>,
    sink: Rc<dyn Fn(Answer)>,
    delivery: Delivery,
    waiting: RefCell<VecDeque<Answer>>,
    closed: Cell<bool>,
}

impl std::fmt::Debug for LocalConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalConnector").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl LocalConnector {
    pub fn new(delivery: Delivery, reply: impl Fn(&Call) -> Reply + 'static, sink: Rc<dyn Fn(Answer)>) -> Self {
        Self { reply: Box::new(reply), sink, delivery, waiting: RefCell::default(), closed: Cell::new(false) }
    }

    /// Hands the answers that waited when it was called to the sink; returns how many. Calls that the sink starts
    /// meanwhile wait for the next one.
    pub fn poll(&self) -> usize {
        let count = self.waiting.borrow().len();
        for done in 0..count {
            let Some(answer) = self.waiting.borrow_mut().pop_front() else { return done };
            (self.sink)(answer);
        }
        count
    }
}

impl Connector for LocalConnector {
    fn start(&self, call: Call) {
        let reply = if self.closed.get() {
            Reply::NotSent { why: NotSent::Closed, detail: "the connector is closed".into() }
        } else {
            (self.reply)(&call)
        };
        let Call { token, participant, endpoint, .. } = call;
        let answer = Answer { token, participant, endpoint, took: Duration::ZERO, reply };
        match self.delivery {
            Delivery::Now => (self.sink)(answer),
            Delivery::OnPoll => self.waiting.borrow_mut().push_back(answer),
        }
    }

    fn cancel(&self, token: crate::Token) -> Cancelled {
        let mut waiting = self.waiting.borrow_mut();
        let found = waiting.iter().position(|answer| answer.token == token).and_then(|at| waiting.remove(at));
        match found.map(|answer| answer.reply) {
            None => Cancelled::NotInFlight,
            Some(Reply::NotSent { .. } | Reply::RefusedStream | Reply::TimedOut { sent: false }) => Cancelled::NotSent,
            Some(Reply::Answered { .. } | Reply::TimedOut { sent: true } | Reply::Cut { .. }) => Cancelled::MayHaveLeft,
        }
    }

    fn in_flight(&self) -> usize {
        self.waiting.borrow().len()
    }

    fn close(&self) {
        self.closed.set(true);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{Body, EndpointIndex, ParticipantIndex, Request, Token};

    fn call(token: u64) -> Call {
        let request = Request { method: Method::GET, path_and_query: "/".into(), headers: Vec::new(), body: None };
        let (participant, endpoint) = (ParticipantIndex(1), EndpointIndex(2));
        Call { token: Token(token), participant, endpoint, request, timeout: Duration::from_secs(1) }
    }

    fn ok(call: &Call) -> Reply {
        let status = if call.token.0 == 9 { 500 } else { 200 };
        Reply::Answered { status, retry_after: None, headers: Vec::new(), body: Body::Empty }
    }

    type Heard = Rc<RefCell<Vec<u64>>>;

    fn heard() -> (Heard, Rc<dyn Fn(Answer)>) {
        let heard = Heard::default();
        let to = heard.clone();
        (heard, Rc::new(move |answer: Answer| to.borrow_mut().push(answer.token.0)))
    }

    #[test]
    fn at_once() {
        let (heard, sink) = heard();
        let connector = LocalConnector::new(Delivery::Now, ok, sink);
        connector.start(call(1));
        connector.start(call(2));
        assert_eq!(*heard.borrow(), [1, 2]);
        assert_eq!((connector.in_flight(), connector.poll()), (0, 0));
    }

    #[test]
    fn on_poll_and_cancelled() {
        let (heard, sink) = heard();
        let connector = LocalConnector::new(Delivery::OnPoll, ok, sink);
        for token in 1..=3 {
            connector.start(call(token));
        }
        assert_eq!(connector.in_flight(), 3);
        assert!(heard.borrow().is_empty());
        assert_eq!(connector.cancel(Token(2)), Cancelled::MayHaveLeft);
        assert_eq!(connector.cancel(Token(2)), Cancelled::NotInFlight);
        assert_eq!(connector.poll(), 2);
        assert_eq!(*heard.borrow(), [1, 3]);
        connector.close();
        connector.start(call(4));
        assert_eq!(connector.cancel(Token(4)), Cancelled::NotSent);
    }
}
