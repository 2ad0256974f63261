//! `POST /v1/signals`: to a transaction by its id, or to the one of a definition and key.

use compact_str::CompactString;
use http::StatusCode;
use hyper::body::Incoming;
use model::{Map, Value};
use runtime::{SignalOrder, SignalTo};

use super::Ask;
use crate::body::{REPLAYED, Response, json, name_transaction};
use crate::json::Object;
use crate::problem::Problem;
use crate::request::{self, Empty, Fields};

pub(super) async fn signal(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    if ask.front.settings.drain.has_begun() {
        return Err(request::draining());
    }
    ask.no_query()?;
    let idempotency_key = request::idempotency_key(&ask.parts.headers)?;
    let map = ask.object(body, ask.front.settings.body_bytes_max, Empty::IsAnError).await?;
    let order = of_body(&map, idempotency_key)?;
    let answer = ask.front.engine.signal(order).await?;
    let mut out = Vec::with_capacity(64);
    Object::begin(&mut out).id("transaction", answer.id).flag("accepted", true).end();
    let mut response = json(StatusCode::ACCEPTED, out);
    name_transaction(response.headers_mut(), answer.id);
    if answer.replayed {
        response.headers_mut().insert(REPLAYED, http::HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whom it is for, and what it says.
pub(crate) fn of_body(map: &Map, idempotency_key: CompactString) -> Result<SignalOrder, Problem> {
    let fields = Fields::of(map, "", &["transaction", "definition", "key", "signal", "body"])?;
    let to = match fields.maybe_text("transaction")? {
        Some(id) => {
            if fields.value("definition").is_some() || fields.value("key").is_some() {
                return Err(Problem::field("/transaction", "stands beside definition or key: say one or the other"));
            }
            SignalTo::Transaction(id.parse().map_err(|why| Problem::field("/transaction", format!("is {why}")))?)
        }
        None => SignalTo::Key {
            definition: CompactString::new(fields.text("definition")?),
            key: CompactString::new(fields.text("key")?),
        },
    };
    Ok(SignalOrder {
        to,
        signal: CompactString::new(fields.text("signal")?),
        body: map.get("body").cloned().unwrap_or(Value::Null),
        idempotency_key,
    })
}
