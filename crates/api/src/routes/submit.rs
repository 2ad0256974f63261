//! `POST /v1/transactions`: the hot path. The body is parsed once; the answer's bytes come rendered from the engine.

use std::time::Duration;

use compact_str::CompactString;
use http::StatusCode;
use hyper::body::Incoming;
use model::{Map, Value};
use runtime::view::Detail;
use runtime::{Accepted, Answer, Filter, Submission, Until};

use super::{Ask, locate, transaction};
use crate::body::Response;
use crate::problem::{Code, Problem};
use crate::request::{self, Empty, Fields, Query, WAIT_DEFAULT};
use crate::view::PRIORITIES;

const FIELDS: &[&str] = &["definition", "input", "version", "timeout", "priority"];
const FIELDS_OF_A_LINE: &[&str] = &["definition", "input", "version", "timeout", "priority", "idempotency_key"];

pub(super) async fn submit(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    if ask.front.settings.drain.has_begun() {
        return Err(request::draining());
    }
    let (wait, until) = patience(ask.parts.uri.query())?;
    let headers = &ask.parts.headers;
    let key = request::idempotency_key(headers)?;
    let trace = request::traceparent(headers);
    let map = ask.object(body, ask.front.settings.body_bytes_max, Empty::IsAnError).await?;
    let order = of_body(&map, key, trace)?;
    drop(map);
    let (definition, idempotency_key) = (order.definition.clone(), order.idempotency_key.clone());
    let answer = match ask.front.unless_draining(ask.front.engine.submit(order, wait, until)).await {
        Some(answer) => answer?,
        None => Box::pin(as_it_stands(&ask, definition, idempotency_key)).await?,
    };
    let (id, decided) = (answer.id, answer.decided);
    let mut response = transaction(answer, StatusCode::ACCEPTED);
    if !decided {
        locate(&mut response, id);
    }
    Ok(response)
}

/// The drain began while the client waited: it is told what became of its submission so far.
async fn as_it_stands(
    ask: &Ask<'_>,
    definition: CompactString,
    idempotency_key: CompactString,
) -> Result<Answer, Problem> {
    let filter = Filter { definition: Some(definition), idempotency_key: Some(idempotency_key), ..Filter::default() };
    let page = ask.front.engine.list(filter, 1, None).await?;
    // A page has rendered transactions; their first member is the id.
    let id =
        page.items.first().and_then(|item| item.get(7..36)).and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    match id {
        Some(id) => Ok(ask.front.engine.get(id, Duration::ZERO, Until::Outcome, Detail::Answer).await?),
        None => Err(Problem::new(Code::Unavailable, "the node is draining before a stop")
            .retry(Duration::from_secs(5), Accepted::Unknown)
            .hint("repeat with the same idempotency key: that is always safe")),
    }
}

/// How long the client waits, and for what.
pub(crate) fn patience(query: Option<&str>) -> Result<(Duration, Until), Problem> {
    let query = Query::of(query, &["wait", "until"])?;
    Ok((query.wait(WAIT_DEFAULT)?, query.until()?))
}

pub(crate) fn of_body(map: &Map, key: CompactString, trace: CompactString) -> Result<Submission, Problem> {
    submission(&Fields::of(map, "", FIELDS)?, map, key, trace)
}

/// One line of a batch: the same with its own key.
pub(crate) fn of_line(line: &[u8]) -> Result<Submission, Problem> {
    let map = request::object(line, Empty::IsAnError)?;
    let fields = Fields::of(&map, "", FIELDS_OF_A_LINE)?;
    let key = request::unquote(fields.text("idempotency_key")?)
        .map_err(|_| Problem::field("/idempotency_key", "must be 1 to 255 visible ASCII characters without spaces"))?;
    submission(&fields, &map, key, CompactString::default())
}

fn submission(
    fields: &Fields<'_>,
    map: &Map,
    idempotency_key: CompactString,
    traceparent: CompactString,
) -> Result<Submission, Problem> {
    Ok(Submission {
        definition: CompactString::new(fields.text("definition")?),
        version: fields.maybe_u32("version")?,
        // A schema may allow null; only a member that is not there is the empty object.
        input: map.get("input").cloned().unwrap_or_else(|| Value::Map(Map::new())),
        idempotency_key,
        timeout: fields.maybe_duration("timeout")?,
        priority: fields.maybe_word("priority", &PRIORITIES)?.unwrap_or(1) as u8,
        traceparent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_submission() {
        let line = br#"{"idempotency_key":"k1","definition":"top-up","input":{"a":1},"version":2,"timeout":"30s","priority":"high"}"#;
        let Ok(order) = of_line(line) else { panic!("the line is good") };
        assert_eq!((order.definition.as_str(), order.version, order.priority), ("top-up", Some(2), 2));
        assert_eq!(order.timeout, Some(Duration::from_secs(30)));
        assert_eq!(order.input.to_string(), r#"{"a":1}"#);
        assert_eq!(order.idempotency_key, "k1");
    }

    #[test]
    fn a_bad_line_says_which_field() {
        for (line, words) in [
            (r#"{"definition":"top-up"}"#, "/idempotency_key is missing"),
            (r#"{"definition":"top-up","idempotency_key":"a b"}"#, "/idempotency_key must be"),
            (r#"{"idempotency_key":"k"}"#, "/definition is missing"),
            (r#"{"idempotency_key":"k","definition":7}"#, "/definition is of type integer"),
            (r#"{"idempotency_key":"k","definition":"x","inptu":{}}"#, "/inptu is not a field"),
            (r#"{"idempotency_key":"k","definition":"x","input":99999999999999999999}"#, "does not fit 64 bits"),
            (r#"not json"#, "not valid JSON"),
        ] {
            let Err(problem) = of_line(line.as_bytes()) else { panic!("{line} is bad") };
            assert!(problem.detail.contains(words), "{line}: {}", problem.detail);
        }
    }
}
