//! A call and its endpoint → the head of an HTTP request.
//!
//! What frames a message (length, encoding, connection) is ours alone: a header of a call or target that could move
//! the border between two requests is refused before anything is sent.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery};

use crate::{NotSent, Reply, Request, pool::Endpoint};

/// A head and a body, before either protocol has made it its own.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Whether a header is ours to set and nobody else's.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "proxy-connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "http2-settings"
    )
}

/// `headers` is a map to reuse; what is in it goes.
pub(crate) fn compose(endpoint: &Endpoint, request: Request, mut headers: HeaderMap) -> Result<Composed, Reply> {
    let path = path(&endpoint.pool.route.address.base_path, &request.path_and_query)?;
    headers.clear();
    headers.reserve(endpoint.headers.len() + request.headers.len() + 3);
    for (name, value) in &endpoint.headers {
        headers.append(name, value.clone());
    }
    let has_body = request.body.is_some();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in request.headers {
        if is_framing(&name) {
            return Err(invalid(compact_str::format_compact!("the header {name} cannot be set by a call")));
        }
        headers.insert(name, value);
    }
    let body = request.body.unwrap_or_default();
    // RFC 9110, 8.6: a method that could have a body says so even if there is none.
    if has_body || matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Ok(Composed { method: request.method, path, headers, body })
}

fn invalid(detail: compact_str::CompactString) -> Reply {
    Reply::NotSent { why: NotSent::Invalid, detail }
}

fn path(base: &str, path: &str) -> Result<PathAndQuery, Reply> {
    let wrong = |what: &str| invalid(compact_str::format_compact!("the path of the request {what}"));
    let slash = match path.as_bytes().first() {
        Some(b'/') => false,
        Some(b'?') | None => base.is_empty(),
        Some(_) => return Err(wrong("does not begin with /")),
    };
    // `http` would cut a fragment off in silence, and take bytes that no URL may have.
    if path.bytes().any(|b| b == b'#' || !b.is_ascii_graphic()) {
        return Err(wrong("has a character that has to be percent-encoded"));
    }
    let mut whole = BytesMut::with_capacity(base.len() + path.len() + 1);
    whole.put_slice(base.as_bytes());
    if slash {
        whole.put_u8(b'/');
    }
    whole.put_slice(path.as_bytes());
    PathAndQuery::from_maybe_shared(whole.freeze()).map_err(|e| wrong(&e.to_string()))
}

/// Origin form, as HTTP/1.1 writes it.
pub(crate) fn origin_form(path: PathAndQuery) -> Uri {
    Uri::from(path)
}

#[cfg(test)]
mod tests {
    use super::{Reply, path};

    #[test]
    fn paths_are_joined_or_refused() {
        let cases = [
            ("", "/a", "/a"),
            ("", "", "/"),
            ("", "?q=1", "/?q=1"),
            ("/base", "/a?b=%20c", "/base/a?b=%20c"),
            ("/base", "", "/base"),
            ("/base", "?q", "/base?q"),
            ("/base", "a", "the path of the request does not begin with /"),
            ("", "/a#b", "the path of the request has a character that has to be percent-encoded"),
            ("", "/a b", "the path of the request has a character that has to be percent-encoded"),
            ("", "/a\r\nx: y", "the path of the request has a character that has to be percent-encoded"),
            ("", "/é", "the path of the request has a character that has to be percent-encoded"),
        ];
        for (base, rest, want) in cases {
            let got = match path(base, rest) {
                Ok(path) => path.to_string(),
                Err(Reply::NotSent { detail, .. }) => detail.to_string(),
                Err(other) => format!("{other:?}"),
            };
            assert_eq!(got, want, "{base} + {rest}");
        }
    }
}
