//! From an operation to its answer. One file per group of routes; the submission is the hot path and stands first.

pub(crate) mod batch;
mod contract;
pub(crate) mod definitions;
pub(crate) mod find;
mod node;
pub(crate) mod operate;
mod participants;
pub(crate) mod signal;
pub(crate) mod submit;

use std::net::IpAddr;
use std::rc::Rc;

use http::StatusCode;
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;
use model::TxId;
use runtime::Answer;

use crate::body::{REPLAYED, Response, json, name_transaction};
use crate::front::Front;
use crate::problem::{At, Code, Problem};
use crate::request::{self, Empty};
use crate::router::{Op, Params};

/// One request on its way to an answer.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) front: &'a Rc<Front>,
    pub(crate) peer: IpAddr,
    pub(crate) parts: &'a Parts,
    pub(crate) params: Params<'a>,
}

impl Ask<'_> {
    /// The JSON object of the body.
    async fn object(&self, body: Incoming, max: usize, empty: Empty) -> Result<model::Map, Problem> {
        if !body.is_end_stream() {
            request::check_content_type(&self.parts.headers, request::JSON)?;
        }
        let bytes = request::read(body, max, self.front.settings.body_timeout).await?;
        request::object(&bytes, empty)
    }

    /// A small body whose fields may all be absent.
    async fn small(&self, body: Incoming) -> Result<model::Map, Problem> {
        self.object(body, self.front.settings.body_bytes_max, Empty::IsNoFields).await
    }

    fn no_query(&self) -> Result<(), Problem> {
        request::Query::of(self.parts.uri.query(), &[]).map(drop)
    }

    fn actor(&self) -> Result<compact_str::CompactString, Problem> {
        request::actor(&self.parts.headers, self.peer)
    }

    /// A variable part of the path, decoded.
    fn param(&self, place: usize) -> Result<String, Problem> {
        percent_encoding::percent_decode_str(self.params[place])
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Problem::new(Code::BadRequest, format!("\"{}\" in the path is not UTF-8", self.params[place])))
    }

    /// The transaction that the path names.
    fn id(&self) -> Result<TxId, Problem> {
        self.params[0].parse().map_err(|why| {
            let place = At::Parameter("id".to_owned());
            Problem::new(Code::BadRequest, format!("\"{}\" is {why}", self.params[0])).at(place, format!("{why}"))
        })
    }
}

/// Does what is asked for.
pub(crate) async fn answer(op: Op, ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    match op {
        Op::Submit => submit::submit(ask, body).await,
        Op::Get => find::get(ask).await,
        // The rest is rare: in a box, so that the hot path's future stays small.
        op => Box::pin(seldom(op, ask, body)).await,
    }
}

async fn seldom(op: Op, ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    match op {
        Op::Submit => submit::submit(ask, body).await,
        Op::Get => find::get(ask).await,
        Op::Batch => batch::batch(&ask, body),
        Op::List => find::list(ask).await,
        Op::Count => find::count(ask).await,
        Op::Cancel => operate::cancel(ask, body).await,
        Op::Retry => operate::retry(ask, body).await,
        Op::Resolve => operate::resolve(ask, body).await,
        Op::Signal => signal::signal(ask, body).await,
        Op::Apply => definitions::apply(ask, body).await,
        Op::Definitions => definitions::list(&ask),
        Op::Definition => definitions::one(&ask),
        Op::DefinitionVersion => definitions::version(&ask),
        Op::Activate => definitions::activate(ask, body).await,
        Op::PauseDefinition => definitions::pause(ask, body).await,
        Op::ResumeDefinition => definitions::resume(ask, body).await,
        Op::Participants => participants::list(&ask),
        Op::Participant => participants::one(&ask),
        Op::PauseParticipant => participants::pause(ask, body).await,
        Op::ResumeParticipant => participants::resume(ask, body).await,
        Op::PinParticipant => participants::pin(ask, body).await,
        Op::ForgetParticipant => participants::forget(ask, body).await,
        Op::Node => node::node(&ask),
        Op::PauseCalls => node::pause(ask, body).await,
        Op::ResumeCalls => node::resume(ask, body).await,
        Op::BackUp => node::back_up(ask, body).await,
        Op::Alive => node::alive(&ask),
        Op::Ready => node::ready(&ask),
        Op::Metrics => node::metrics(&ask),
        Op::ProblemPage => contract::problem(&ask),
        Op::Contract => contract::openapi(&ask),
        Op::Schema => contract::schema(&ask),
        Op::Later => Err(Problem::new(Code::NotYet, format!("{} is not part of this version", ask.parts.uri.path()))),
    }
}

/// A transaction as an answer: 200 once the outcome is known, else `pending`.
fn transaction(answer: Answer, pending: StatusCode) -> Response {
    let mut response = json(if answer.decided { StatusCode::OK } else { pending }, answer.body);
    let headers = response.headers_mut();
    name_transaction(headers, answer.id);
    if answer.replayed {
        headers.insert(REPLAYED, http::HeaderValue::from_static("true"));
    }
    response
}

/// `Location: /v1/transactions/tx_…`.
fn locate(response: &mut Response, id: TxId) {
    let mut path = [0u8; 46];
    path[..20].copy_from_slice(b"/v1/transactions/tx_");
    path[20..].copy_from_slice(&id.text());
    if let Ok(value) = http::HeaderValue::from_bytes(&path) {
        response.headers_mut().insert(http::header::LOCATION, value);
    }
}
