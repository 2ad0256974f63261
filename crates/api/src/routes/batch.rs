//! `POST /v1/transactions/batch`: NDJSON in, NDJSON out, in input order, each line durable when it is written.
//!
//! Reading, submitting and writing overlap, and each is bounded: lines outstanding at the engine, answers not yet
//! taken by the client, bytes of a line, bytes of the whole. A bad line costs only itself.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use runtime::{Accepted, Until};
use tokio::sync::mpsc;

use super::{Ask, submit};
use crate::body::{Body, Response};
use crate::front::Front;
use crate::json::Object;
use crate::problem::{Code, Problem};
use crate::request;

/// Submissions of one batch at the engine at the same time. More fills a group commit better, up to a point.
const OUTSTANDING_MAX: usize = 256;
/// Chunks of answers that the client has not taken yet.
const CHUNKS_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 1 << 20;

pub(super) fn batch(ask: &Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    if ask.front.settings.drain.has_begun() {
        return Err(request::draining());
    }
    ask.no_query()?;
    request::check_content_type(&ask.parts.headers, request::NDJSON)?;
    let (to_client, chunks) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_local(run(Rc::clone(ask.front), body, to_client));
    let mut response = http::Response::new(Body::Stream(chunks));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

async fn run(front: Rc<Front>, mut body: Incoming, to_client: mpsc::Sender<Bytes>) {
    let _open = front.open();
    let mut lines = Lines::new(front.settings.batch_bytes_max);
    let mut outstanding = FuturesOrdered::new();
    loop {
        while outstanding.len() < OUTSTANDING_MAX
            && let Some((number, line)) = lines.next()
        {
            let engine = front.engine.clone();
            let draining = front.settings.drain.has_begun();
            outstanding.push_back(async move {
                let order = match line {
                    Ok(_) if draining => Err(request::draining()),
                    Ok(line) => submit::of_line(&line),
                    Err(problem) => Err(problem),
                };
                let answer = match order {
                    Ok(order) => engine.submit(order, Duration::ZERO, Until::Outcome).await.map_err(Problem::from),
                    Err(problem) => Err(problem),
                };
                let mut out = Vec::with_capacity(96);
                let mut o = Object::begin(&mut out);
                o.number("line", number);
                match answer {
                    Ok(answer) => drop(o.id("id", answer.id).flag("replayed", answer.replayed)),
                    Err(problem) => drop(o.raw("problem", &problem.render())),
                }
                o.end();
                out.push(b'\n');
                out
            });
        }
        let read = !lines.ended && outstanding.len() < OUTSTANDING_MAX;
        tokio::select! {
            biased;
            Some(first) = outstanding.next(), if !outstanding.is_empty() => {
                let mut chunk = first;
                // What is ready as well goes out in the same chunk.
                while chunk.len() < 32 << 10
                    && let Some(Some(more)) = futures_util::FutureExt::now_or_never(outstanding.next())
                {
                    chunk.extend_from_slice(&more);
                }
                if to_client.send(chunk.into()).await.is_err() {
                    // Nobody reads any more. What is at the engine stays accepted; the rest was never taken.
                    return;
                }
            }
            frame = tokio::time::timeout(front.settings.body_timeout, body.frame()), if read => match frame {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        lines.push(&data);
                    }
                }
                Ok(None) => lines.end(),
                Ok(Some(Err(why))) => lines.break_off(Problem::new(Code::BadRequest, format!("the body broke off: {why}"))),
                Err(_) => lines.break_off(
                    Problem::new(Code::RequestTimeout, "no further line arrived in time")
                        .retry(Duration::from_secs(1), Accepted::No),
                ),
            },
            else => return,
        }
    }
}

/// Cuts a stream of bytes into numbered lines. Blank lines count and are skipped.
pub(crate) struct Lines {
    ready: VecDeque<(u64, Result<Bytes, Problem>)>,
    partial: BytesMut,
    /// The present line is too long: dropped up to its end.
    skipping: bool,
    number: u64,
    bytes_left: usize,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            partial: BytesMut::new(),
            skipping: false,
            number: 1,
            bytes_left: bytes_max,
            ended: false,
        }
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Result<Bytes, Problem>)> {
        self.ready.pop_front()
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        if self.ended {
            return;
        }
        if data.len() > self.bytes_left {
            let why = "the batch is larger than it may be: this line and those after it were not accepted; send them in another";
            self.break_off(Problem::new(Code::BodyTooLarge, why));
            return;
        }
        self.bytes_left -= data.len();
        let mut rest = data;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.extend(&rest[..end]);
            self.finish_line();
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.partial.len() + piece.len() > LINE_BYTES_MAX {
            self.partial.clear();
            self.skipping = true;
            self.ready.push_back((self.number, Err(request::too_large(LINE_BYTES_MAX))));
            return;
        }
        self.partial.extend_from_slice(piece);
    }

    fn finish_line(&mut self) {
        let line = self.partial.split().freeze();
        if !self.skipping && !line.iter().all(u8::is_ascii_whitespace) {
            self.ready.push_back((self.number, Ok(line)));
        }
        self.skipping = false;
        self.number += 1;
    }

    pub(crate) fn end(&mut self) {
        if !self.ended {
            self.finish_line();
            self.ended = true;
        }
    }

    /// No more will be read; the line under way is answered with why.
    fn break_off(&mut self, problem: Problem) {
        self.ended = true;
        self.ready.push_back((self.number, Err(problem)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]], bytes_max: usize) -> Vec<String> {
        let mut lines = Lines::new(bytes_max);
        for chunk in chunks {
            lines.push(chunk);
        }
        lines.end();
        std::iter::from_fn(|| lines.next())
            .map(|(number, line)| match line {
                Ok(line) => format!("{number}:{}", String::from_utf8_lossy(&line)),
                Err(problem) => format!("{number}!{}", problem.code.status()),
            })
            .collect()
    }

    #[test]
    fn lines_across_chunks_keep_their_numbers() {
        assert_eq!(cut(&[b"a\nb", b"c\n\n  \nd"], 100), ["1:a", "2:bc", "5:d"]);
        assert_eq!(cut(&[b"a\n"], 100), ["1:a"]);
        assert_eq!(cut(&[], 100), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(cut(&[b"a\n", &long, b"yz\nb\n"], 4 << 20), ["1:a", "2!413", "3:b"]);
    }

    #[test]
    fn a_batch_that_is_too_large_says_from_where() {
        assert_eq!(cut(&[b"a\nb\n", b"c\nd\n"], 5), ["1:a", "2:b", "3!413"]);
    }
}
