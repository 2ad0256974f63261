//! From transport errors to a [`Reply`]: the one place where evidence is weighed.
//!
//! The order of the questions is the argument. Did a byte leave? If the counter says no, nothing ran, whatever the
//! error is called. If it says yes, only the peer's own word in HTTP/2 (a refused stream, a last stream id) can still
//! prove that nothing ran. Everything else proves nothing. Leaves out status codes: those are the participant's word.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, ErrorKind},
    net::SocketAddr,
};

use compact_str::CompactString;

use crate::{NotSent, Reply, transport::shorten};

/// A connection that did not come about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DialFailure {
    pub(crate) why: NotSent,
    pub(crate) detail: CompactString,
}

impl From<DialFailure> for Reply {
    fn from(failure: DialFailure) -> Self {
        Self::NotSent { why: failure.why, detail: failure.detail }
    }
}

/// Whether a byte of the request may have left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    No,
    Perhaps,
}

impl Sent {
    /// From a connection's count when the request was handed over, and now. On a connection that carries one request
    /// at a time this is exact; with many it errs to `Perhaps`.
    pub(crate) fn since(before: u64, now: u64) -> Self {
        if now == before { Self::No } else { Self::Perhaps }
    }
}

/// No status line will come: the connection, or the stream, broke with `error`.
pub(crate) fn broken(sent: Sent, error: &(dyn Error + 'static)) -> Reply {
    if sent == Sent::No {
        return Reply::NotSent { why: NotSent::ClosedBefore, detail: chain(error) };
    }
    if stream_refused(error) { Reply::RefusedStream } else { Reply::Cut { detail: chain(error) } }
}

/// RFC 9113, 8.7: `REFUSED_STREAM` and streams above a `GOAWAY`'s last id were not processed. `h2` ends a stream with
/// a remote go-away only in the second case; streams up to the last id live on or end with an I/O error.
fn stream_refused(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(error) = this.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (refused || error.is_go_away());
        }
        cause = this.source();
    }
    false
}

/// TCP said no.
pub(crate) fn connect_failure(to: SocketAddr, error: &io::Error) -> DialFailure {
    let why = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => NotSent::ConnectRefused,
        ErrorKind::TimedOut => NotSent::ConnectTimeout,
        // Network or host unreachable, no local port or descriptor left, forbidden by a firewall.
        _ => NotSent::Unreachable,
    };
    DialFailure { why, detail: compact_str::format_compact!("{to}: {error}") }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> CompactString {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        let more = this.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = this.source();
    }
    shorten(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error around another, as libraries stack them.
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Around<E: Error + 'static>(#[source] E);

    fn brief(reply: &Reply) -> String {
        match reply {
            Reply::NotSent { why, detail } => format!("not_sent {}: {detail}", why.as_str()),
            Reply::RefusedStream => "refused_stream".into(),
            Reply::Cut { detail } => format!("cut: {detail}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn evidence_decides_and_names_do_not() {
        let pipe = || io::Error::new(ErrorKind::BrokenPipe, "pipe");
        // A reason alone is not the peer's word: only a frame that came from there is (the loopback tests send them).
        let reason = |reason: h2::Reason| h2::Error::from(reason);
        let cases: [(Sent, Box<dyn Error>, &str); 8] = [
            (Sent::No, Box::new(pipe()), "not_sent closed_before: pipe"),
            (Sent::Perhaps, Box::new(pipe()), "cut: pipe"),
            (Sent::No, Box::new(Around(pipe())), "not_sent closed_before: outer: pipe"),
            (Sent::Perhaps, Box::new(Around(pipe())), "cut: outer: pipe"),
            (
                Sent::Perhaps,
                Box::new(reason(h2::Reason::REFUSED_STREAM)),
                "cut: protocol error: refused stream before processing any application logic",
            ),
            (
                Sent::Perhaps,
                Box::new(Around(reason(h2::Reason::NO_ERROR))),
                "cut: outer: protocol error: not a result of an error",
            ),
            (Sent::Perhaps, Box::new(io::Error::from(ErrorKind::ConnectionRefused)), "cut: connection refused"),
            (Sent::Perhaps, Box::new(io::Error::from(ErrorKind::NotConnected)), "cut: not connected"),
        ];
        for (sent, error, want) in &cases {
            assert_eq!(brief(&broken(*sent, error.as_ref())), *want, "{sent:?} {error:?}");
        }
    }

    #[test]
    fn a_counter_that_moved_is_no_proof() {
        assert_eq!(Sent::since(7, 7), Sent::No);
        assert_eq!(Sent::since(7, 8), Sent::Perhaps);
    }

    #[test]
    fn connecting_fails_in_these_ways() {
        let to: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        let cases = [
            (ErrorKind::ConnectionRefused, NotSent::ConnectRefused),
            (ErrorKind::ConnectionReset, NotSent::ConnectRefused),
            (ErrorKind::TimedOut, NotSent::ConnectTimeout),
            (ErrorKind::HostUnreachable, NotSent::Unreachable),
            (ErrorKind::NetworkUnreachable, NotSent::Unreachable),
            (ErrorKind::AddrNotAvailable, NotSent::Unreachable),
            (ErrorKind::PermissionDenied, NotSent::Unreachable),
        ];
        for (kind, want) in cases {
            assert_eq!(connect_failure(to, &io::Error::from(kind)).why, want, "{kind:?}");
        }
    }

    #[test]
    fn details_are_short() {
        let long = io::Error::other("é".repeat(500));
        assert!(chain(&long).len() <= 204, "{}", chain(&long).len());
    }
}
