//! The body of an answer: whole, or torn in the middle.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// Between the first half and the end of a torn body, so that the half leaves the machine.
const TEAR_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) enum Reply {
    Whole(Option<Bytes>),
    Torn { half: Option<Bytes>, whole_len: u64, tear: Pin<Box<Sleep>> },
}

/// The connection ends here on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
pub(crate) struct Cut;

impl Reply {
    pub(crate) fn torn(whole: &Bytes) -> Self {
        let half = whole.slice(..whole.len() / 2);
        // At least one byte is promised and never sent, also for an empty body.
        let whole_len = (whole.len() as u64).max(1);
        Self::Torn { half: Some(half), whole_len, tear: Box::pin(tokio::time::sleep(TEAR_AFTER)) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Self::Torn { half, tear, .. } => match half.take().filter(|half| !half.is_empty()) {
                Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
                None => tear.as_mut().poll(cx).map(|()| Some(Err(Cut))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Torn { whole_len, .. } => SizeHint::with_exact(*whole_len),
        }
    }
}
