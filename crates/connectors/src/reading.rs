//! Reading an answer: its body within a bound, as JSON, and when to come back.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use model::json;

use crate::{Body, Reply, Unusable, transport::shorten, verdict};

/// The longest Retry-After that is passed on. A participant that says more is asked again after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A body on its way in. One piece is kept as it came, without a copy.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    first: Bytes,
    rest: BytesMut,
}

/// Past the bound: stop reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooBig;

impl Gathering {
    pub(crate) fn push(&mut self, piece: Bytes, bytes_max: usize) -> Result<(), TooBig> {
        if self.first.len() + self.rest.len() + piece.len() > bytes_max {
            return Err(TooBig);
        }
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.extend_from_slice(&piece);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        if self.rest.is_empty() {
            return body(&self.first);
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.rest.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        body(&whole)
    }
}

fn body(text: &[u8]) -> Body {
    if text.is_empty() {
        return Body::Empty;
    }
    match json::parse(text) {
        Ok(value) => Body::Json(value),
        Err(error) => {
            // Nothing of the body itself: details are shown and logged, bodies are not.
            let (why, detail) = match &error {
                json::Error::TooLarge { .. } => (Unusable::BadNumber, "a whole number does not fit 64 bits".into()),
                json::Error::NotFinite { .. } => (Unusable::BadNumber, "a number is beyond a double".into()),
                json::Error::Twice { .. } => (Unusable::NotJson, "a member stands twice in one object".into()),
                json::Error::Syntax { .. } | json::Error::TooDeep { .. } => {
                    (Unusable::NotJson, shorten(&error.to_string()))
                }
            };
            Body::Unusable { why, detail }
        }
    }
}

pub(crate) fn too_big(bytes_max: usize) -> Body {
    Body::Unusable { why: Unusable::TooBig, detail: compact_str::format_compact!("longer than {bytes_max} bytes") }
}

pub(crate) fn cut(error: &(dyn std::error::Error + 'static)) -> Body {
    Body::Unusable { why: Unusable::Cut, detail: verdict::chain(error) }
}

pub(crate) fn out_of_time() -> Body {
    Body::Unusable { why: Unusable::TimedOut, detail: "the status line came in time, the body did not".into() }
}

/// The head of an answer as evidence; `body` as it turned out.
pub(crate) fn answered(status: StatusCode, head: &HeaderMap, keep: &[HeaderName], body: Body) -> Reply {
    let headers: Vec<(HeaderName, HeaderValue)> =
        keep.iter().flat_map(|name| head.get_all(name).iter().map(|value| (name.clone(), value.clone()))).collect();
    let retry_after = head.get(header::RETRY_AFTER).and_then(|text| retry_after(text, SystemTime::now()));
    Reply::Answered { status: status.as_u16(), retry_after, headers, body }
}

/// What an answer with this head and body says, as the connector reports it. For feeding it bytes without a connection;
/// on one, the same parts do the same.
pub fn reply_of(
    status: StatusCode,
    head: &HeaderMap,
    keep: &[HeaderName],
    pieces: impl IntoIterator<Item = Bytes>,
    bytes_max: usize,
) -> Reply {
    let mut gathering = Gathering::default();
    for piece in pieces {
        if let Err(TooBig) = gathering.push(piece, bytes_max) {
            return answered(status, head, keep, too_big(bytes_max));
        }
    }
    answered(status, head, keep, gathering.finish())
}

/// RFC 9110, 10.2.3: whole seconds, or a date. A date that has passed is zero; what is neither is nothing.
fn retry_after(text: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = text.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let cases = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("1.5", None),
            ("-1", None),
            ("", None),
            ("tomorrow", None),
        ];
        for (text, want_s) in cases {
            let got = retry_after(&HeaderValue::from_static(text), now);
            assert_eq!(got, want_s.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderValue::from_bytes(b"\xff").expect("a value"), now), None);
    }

    #[test]
    fn pieces_add_up_to_the_bound_and_not_past_it() {
        let gather = |pieces: &[&'static str], bytes_max| {
            let mut gathering = Gathering::default();
            for piece in pieces {
                if gathering.push(Bytes::from_static(piece.as_bytes()), bytes_max).is_err() {
                    return "too big".to_owned();
                }
            }
            match gathering.finish() {
                Body::Empty => "empty".into(),
                Body::Json(value) => value.to_string(),
                Body::Unusable { why, detail } => format!("{why:?}: {detail}"),
            }
        };
        assert_eq!(gather(&[], 0), "empty");
        assert_eq!(gather(&["", "[1", "", ",2", "]"], 5), "[1,2]");
        assert_eq!(gather(&["[1", ",2", "]"], 4), "too big");
        assert_eq!(gather(&["[1]"], 2), "too big");
        // What stood in the body never stands in a detail.
        assert_eq!(gather(&["4111111111111111111111"], 99), "BadNumber: a whole number does not fit 64 bits");
        assert_eq!(gather(&[r#"{"pin":1,"pin":2}"#], 99), "NotJson: a member stands twice in one object");
    }
}
