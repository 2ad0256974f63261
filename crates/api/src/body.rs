//! What an answer is made of: whole bodies, streamed ones, and the headers that many answers share.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use model::TxId;
use tokio::sync::mpsc;

pub(crate) type Response = http::Response<Body>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Body {
    /// Taken when it is sent.
    Whole(Option<Bytes>),
    /// Chunks as they come; bounded by the channel.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TRANSACTION: HeaderName = HeaderName::from_static("tidegate-transaction");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

pub(crate) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// `Tidegate-Transaction: tx_…`.
pub(crate) fn name_transaction(headers: &mut HeaderMap, id: TxId) {
    let mut text = [0u8; 29];
    text[..3].copy_from_slice(b"tx_");
    text[3..].copy_from_slice(&id.text());
    // Base 32 is visible ASCII: always a header value.
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRANSACTION, value);
    }
}
