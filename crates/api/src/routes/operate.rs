//! What a person does to a transaction: cancel, retry, resolve. Each goes into its history with who and why.

use compact_str::CompactString;
use http::StatusCode;
use hyper::body::Incoming;
use model::{Direction, Map};
use runtime::Verb;

use super::{Ask, transaction};
use crate::body::Response;
use crate::problem::Problem;
use crate::request::Fields;

/// A wish: 202, also a second time. 409 once the outcome is decided or the pivot is done.
pub(super) async fn cancel(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    wish(ask, body, Verb::Cancel).await
}

/// Tries at once what is waiting or needs attention.
pub(super) async fn retry(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    wish(ask, body, Verb::Retry).await
}

async fn wish(ask: Ask<'_>, body: Incoming, verb: Verb) -> Result<Response, Problem> {
    let id = ask.id()?;
    ask.no_query()?;
    let map = ask.small(body).await?;
    let why = reason(&map)?;
    let answer = ask.front.engine.operate(id, verb, ask.actor()?, why).await.map_err(|e| Problem::from(e).about(id))?;
    let mut response = transaction(answer, StatusCode::ACCEPTED);
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

pub(crate) fn reason(map: &Map) -> Result<CompactString, Problem> {
    Ok(Fields::of(map, "", &["reason"])?.maybe_reason()?.map(CompactString::new).unwrap_or_default())
}

/// A person's verdict on a call or an undo that nobody else can give.
pub(super) async fn resolve(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    let id = ask.id()?;
    ask.no_query()?;
    let step = CompactString::from(ask.param(1)?);
    let map = ask.small(body).await?;
    let (verb, why) = verdict(&map, step)?;
    let answer = ask.front.engine.operate(id, verb, ask.actor()?, why).await.map_err(|e| Problem::from(e).about(id))?;
    Ok(transaction(answer, StatusCode::OK))
}

/// What a person says became of `step`, and why.
pub(crate) fn verdict(map: &Map, step: CompactString) -> Result<(Verb, CompactString), Problem> {
    let fields = Fields::of(map, "", &["direction", "outcome", "result", "reason"])?;
    fields.text("direction")?;
    let direction = match fields.maybe_word("direction", &["call", "compensate"])? {
        Some(1) => Direction::Compensate,
        _ => Direction::Call,
    };
    fields.text("outcome")?;
    let done = fields.maybe_word("outcome", &["done", "refused"])? == Some(0);
    let result = fields.value("result").cloned();
    if result.as_ref().is_some_and(|r| r.as_map().is_none()) {
        return Err(Problem::field("/result", "must be an object with the fields that the step keeps"));
    }
    let verb = Verb::Resolve { step, direction, done, result };
    Ok((verb, CompactString::new(fields.reason()?)))
}
