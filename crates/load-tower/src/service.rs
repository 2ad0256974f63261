//! The same for `tower`: a layer, and the service that it makes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use load::ParticipantSpec;
use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::downstream::{Downstream, Refused};
use crate::judge::Judge;

/// Puts a [`Downstream`] in front of a service.
#[derive(Clone, Debug)]
pub struct LoadLayer<J> {
    downstream: Downstream,
    judge: J,
}

/// A service that calls when its [`Downstream`] lets it. Always ready: waiting is part of the call, because who goes
/// first depends on the request.
#[derive(Debug)]
pub struct Limited<S, J> {
    downstream: Downstream,
    judge: J,
    /// Locked only to clone one of them, so that services need not be `Sync`.
    endpoints: Arc<Mutex<Vec<S>>>,
}

impl<S, J: Clone> Clone for Limited<S, J> {
    fn clone(&self) -> Self {
        Self { downstream: self.downstream.clone(), judge: self.judge.clone(), endpoints: Arc::clone(&self.endpoints) }
    }
}

/// A call that was not made, or that was made and failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error<E> {
    #[error("not sent: {0}")]
    Refused(Refused),
    #[error(transparent)]
    Inner(E),
}

impl Downstream {
    /// A layer for the one service that calls this system. Layers of one `Downstream` share its limit.
    pub fn layer<J>(&self, judge: J) -> LoadLayer<J> {
        LoadLayer { downstream: self.clone(), judge }
    }

    /// One service out of several that call the endpoints of one system: each call goes to the endpoint that has the
    /// most room by what was learned of it; one that fails is left out and probed. `spec.endpoints` becomes their
    /// number. None without a service, or with more than 65,535.
    pub fn balance<S, J>(spec: ParticipantSpec, services: Vec<S>, judge: J) -> Option<Limited<S, J>> {
        let endpoints = u16::try_from(services.len()).ok().filter(|n| *n > 0)?;
        let downstream = Self::new(ParticipantSpec { endpoints, ..spec });
        Some(Limited { downstream, judge, endpoints: Arc::new(Mutex::new(services)) })
    }
}

impl<S, J: Clone> Layer<S> for LoadLayer<J> {
    type Service = Limited<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited {
            downstream: self.downstream.clone(),
            judge: self.judge.clone(),
            endpoints: Arc::new(Mutex::new(vec![inner])),
        }
    }
}

impl<S, J> Limited<S, J> {
    /// The system that it calls.
    pub fn downstream(&self) -> &Downstream {
        &self.downstream
    }
}

impl<S, J, Request> Service<Request> for Limited<S, J>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    J: Judge<Request, S::Response, S::Error> + Clone + Send + Sync + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { downstream, judge, endpoints } = self.clone();
        Box::pin(async move {
            let permit = downstream.admit(judge.ask(&request)).await.map_err(Error::Refused)?;
            // A system whose number of endpoints somebody changed meanwhile still gets its call.
            let mut inner = {
                let endpoints = endpoints.lock();
                endpoints[usize::from(permit.endpoint()) % endpoints.len()].clone()
            };
            let ended = match poll_fn(|cx| inner.poll_ready(cx)).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            let (evidence, quota) = judge.evidence(&ended);
            permit.end(evidence, quota);
            ended.map_err(Error::Inner)
        })
    }
}
