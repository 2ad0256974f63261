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
            let why = match error {
                json::Error::TooLarge { .. } | json::Error::NotFinite { .. } => Unusable::BadNumber,
                json::Error::Syntax { .. } | json::Error::TooDeep { .. } | json::Error::Twice { .. } => {
                    Unusable::NotJson
                }
            };
            Body::Unusable { why, detail: shorten(&error.to_string()) }
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
