//! HTTP/2: what a server may do to a stream or a connection, and what it proves.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use connectors::{Cancelled, Connector, Protocol, Target};
use h2::{Reason, server::SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::world::{PATIENCE, World, accept, brief, closed, post, serve, server, story};

fn http2(url: &str) -> Target {
    let mut target = Target::new("p", &[url]);
    target.protocol = Protocol::Http2;
    target
}

type Stream = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// Serves every connection; each stream is given to `answer`.
async fn streams<F: Future<Output = ()> + 'static>(answer: impl Fn(Stream) -> F + Clone + 'static) -> String {
    server(|listener| async move {
        loop {
            let io = accept(&listener).await;
            let answer = answer.clone();
            serve(async move {
                let Ok(mut connection) = h2::server::handshake(io).await else { return };
                while let Some(Ok(stream)) = connection.accept().await {
                    serve(answer(stream));
                }
            });
        }
    })
    .await
}

async fn whole(request: Request<h2::RecvStream>) -> Bytes {
    let mut body = request.into_body();
    let mut text = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        text.extend_from_slice(&piece);
    }
    text.into()
}

fn reply_with(mut stream: SendResponse<Bytes>, status: u16, body: &'static str) {
    let head = Response::builder().status(status).body(()).expect("a head");
    let mut out = stream.send_response(head, body.is_empty()).expect("sent");
    if !body.is_empty() {
        out.send_data(Bytes::from_static(body.as_bytes()), true).expect("sent");
    }
}

#[test]
fn many_calls_on_one_connection() {
    story(async {
        let at_once = Rc::new(Cell::new(0));
        let count = at_once.clone();
        let all = Rc::new(Notify::new());
        let url = streams(move |(request, stream)| {
            let (count, all) = (count.clone(), all.clone());
            async move {
                assert_eq!(request.uri().path(), "/base/a");
                assert_eq!(request.uri().scheme_str(), Some("http"));
                assert!(request.uri().authority().is_some());
                assert_eq!(request.headers()["content-type"], "application/json");
                assert!(!request.headers().contains_key("host"));
                let waiting = all.notified();
                count.set(count.get() + 1);
                assert_eq!(whole(request).await, "{\"n\":1}");
                // Answers only when all thirty are there.
                if count.get() == 30 {
                    all.notify_waiters();
                } else {
                    waiting.await;
                }
                reply_with(stream, 200, "[1]");
            }
        })
        .await;
        let mut target = http2(&format!("{url}/base"));
        target.connections_max = 1;
        let world = World::new(&[target]);
        let tokens: Vec<_> = (0..30).map(|_| world.start(post("/a"), PATIENCE)).collect();
        for token in tokens {
            assert_eq!(brief(&world.answer(token).await.reply), "200 [1]");
        }
        assert_eq!(at_once.get(), 30);
    });
}

#[test]
fn resets_and_what_they_prove() {
    let cases = [
        (Reason::REFUSED_STREAM, "refused_stream"),
        (Reason::CANCEL, "cut"),
        (Reason::INTERNAL_ERROR, "cut"),
        (Reason::NO_ERROR, "cut"),
        (Reason::HTTP_1_1_REQUIRED, "cut"),
        (Reason::ENHANCE_YOUR_CALM, "cut"),
    ];
    for (reason, want) in cases {
        story(async move {
            let url = streams(move |(request, mut stream)| async move {
                whole(request).await;
                stream.send_reset(reason);
            })
            .await;
            let world = World::new(&[http2(&url)]);
            assert_eq!(brief(&world.call(post("/")).await), want, "{reason}");
            assert_eq!(brief(&world.call(post("/")).await), want, "again, {reason}");
        });
    }
}

#[test]
fn a_reset_after_the_head_is_an_answer_without_a_body() {
    story(async {
        let url = streams(|(request, mut stream)| async move {
            whole(request).await;
            let head = Response::builder().status(200).body(()).expect("a head");
            let mut out = stream.send_response(head, false).expect("sent");
            tokio::time::sleep(Duration::from_millis(30)).await;
            out.send_reset(Reason::REFUSED_STREAM);
        })
        .await;
        let world = World::new(&[http2(&url)]);
        assert_eq!(brief(&world.call(post("/")).await), "200 Cut");
    });
}

/// Speaks HTTP/2 by hand, so that it can say what a library would not.
struct ByHand(TcpStream);

impl ByHand {
    async fn open(mut io: TcpStream) -> Self {
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut this = Self(io);
        this.frame(4, 0, 0, &[]).await;
        this
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.0.write_all(&bytes).await.expect("written");
    }

    /// Reads until the end of the next request; its stream.
    async fn request(&mut self) -> u32 {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.expect("a payload");
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if matches!(head[3], 0 | 1) && head[4] & 1 == 1 {
                return stream;
            }
        }
    }

    async fn go_away(&mut self, last: u32, reason: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.to_be_bytes());
        self.frame(7, 0, 0, &payload).await;
    }

    /// `:status: 200` from the static table, and the end.
    async fn ok(&mut self, stream: u32) {
        self.frame(1, 5, stream, &[0x88]).await;
    }
}

#[test]
fn go_away_proves_only_what_is_above_its_last_stream() {
    for reason in [0, 2, 11] {
        story(async move {
            let url = server(move |listener| async move {
                let mut peer = ByHand::open(accept(&listener).await).await;
                let first = peer.request().await;
                let second = peer.request().await;
                assert!(first < second);
                peer.go_away(first, reason).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                // The first stays unanswered: it may have run.
            })
            .await;
            let world = World::new(&[http2(&url)]);
            let (first, second) = (world.start(post("/1"), PATIENCE), world.start(post("/2"), PATIENCE));
            assert_eq!(brief(&world.answer(second).await.reply), "refused_stream", "{reason}");
            assert_eq!(brief(&world.answer(first).await.reply), "cut", "{reason}");
        });
    }
}

#[test]
fn after_go_away_the_rest_is_answered_and_the_next_call_goes_elsewhere() {
    story(async {
        let url = server(|listener| async move {
            let mut old = ByHand::open(accept(&listener).await).await;
            let first = old.request().await;
            old.go_away(first, 0).await;
            let mut new = ByHand::open(accept(&listener).await).await;
            let second = new.request().await;
            new.ok(second).await;
            old.ok(first).await;
            closed(&mut new.0).await;
        })
        .await;
        let world = World::new(&[http2(&url)]);
        let first = world.start(post("/1"), PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let second = world.start(post("/2"), PATIENCE);
        assert_eq!(brief(&world.answer(second).await.reply), "200");
        assert_eq!(brief(&world.answer(first).await.reply), "200");
    });
}

#[test]
fn a_lost_connection_proves_nothing() {
    story(async {
        let url = server(|listener| async move {
            let mut peer = ByHand::open(accept(&listener).await).await;
            peer.request().await;
            peer.request().await;
        })
        .await;
        let world = World::new(&[http2(&url)]);
        let (first, second) = (world.start(post("/1"), PATIENCE), world.start(post("/2"), PATIENCE));
        assert_eq!(brief(&world.answer(first).await.reply), "cut");
        assert_eq!(brief(&world.answer(second).await.reply), "cut");
    });
}

#[test]
fn a_connection_closed_between_two_calls_costs_nothing() {
    story(async {
        let url = server(|listener| async move {
            loop {
                let mut peer = ByHand::open(accept(&listener).await).await;
                let stream = peer.request().await;
                peer.ok(stream).await;
            }
        })
        .await;
        let world = World::new(&[http2(&url)]);
        for _ in 0..3 {
            assert_eq!(brief(&world.call(post("/")).await), "200");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
}

#[test]
fn time_and_cancelling() {
    story(async {
        let resets = Rc::new(Cell::new(0));
        let (seen, came) = (resets.clone(), Rc::new(Notify::new()));
        let arrived = came.clone();
        let url = streams(move |(request, mut stream)| {
            let (seen, arrived) = (seen.clone(), arrived.clone());
            async move {
                let quick = request.uri().path() == "/quick";
                whole(request).await;
                if quick {
                    return reply_with(stream, 200, "");
                }
                arrived.notify_one();
                let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.expect("a reset");
                assert_eq!(reason, Reason::CANCEL);
                seen.set(seen.get() + 1);
            }
        })
        .await;
        let mut target = http2(&url);
        target.connections_max = 1;
        let world = World::new(&[target]);
        assert_eq!(brief(&world.call(post("/quick")).await), "200");
        let slow = world.start(post("/slow"), PATIENCE);
        came.notified().await;
        assert_eq!(world.connector.cancel(slow), Cancelled::MayHaveLeft);
        // The connection lives on for others.
        assert_eq!(brief(&world.call(post("/quick")).await), "200");
        assert_eq!(brief(&world.call_within(post("/slow"), Duration::from_millis(50)).await), "timed_out sent=true");
        while resets.get() < 2 {
            tokio::task::yield_now().await;
        }
        let unsent = world.start(post("/slow"), PATIENCE);
        assert_eq!(world.connector.cancel(unsent), Cancelled::NotSent);
    });
}

#[test]
fn not_a_byte_for_the_whole_timeout_retires_the_connection() {
    story(async {
        let url = server(|listener| async move {
            let mut dead = ByHand::open(accept(&listener).await).await;
            let stream = dead.request().await;
            dead.ok(stream).await;
            dead.request().await;
            let mut new = ByHand::open(accept(&listener).await).await;
            let stream = new.request().await;
            new.ok(stream).await;
            closed(&mut new.0).await;
            drop(dead);
        })
        .await;
        let world = World::new(&[http2(&url)]);
        assert_eq!(brief(&world.call(post("/")).await), "200");
        let first = world.call_within(post("/"), Duration::from_millis(60)).await;
        assert_eq!(brief(&first), "timed_out sent=true");
        assert_eq!(brief(&world.call_within(post("/"), Duration::from_secs(5)).await), "200");
    });
}

#[test]
fn streams_and_connections_are_bounded() {
    story(async {
        let url = streams(|(request, stream)| async move {
            whole(request).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            reply_with(stream, 200, "");
        })
        .await;
        let mut target = http2(&url);
        target.streams_max = 2;
        target.connections_max = 2;
        let world = World::new(&[target]);
        let tokens: Vec<_> = (0..5).map(|_| world.start(post("/"), PATIENCE)).collect();
        let mut replies = Vec::new();
        for token in tokens {
            replies.push(brief(&world.answer(token).await.reply));
        }
        assert_eq!(replies, ["200", "200", "200", "200", "not_sent pool_full"]);
    });
}

#[test]
fn a_server_that_speaks_no_http2() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            let mut some = [0; 24];
            io.read_exact(&mut some).await.expect("the preface");
            io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        })
        .await;
        let world = World::new(&[http2(&url)]);
        let reply = world.call(post("/")).await;
        assert!(brief(&reply) == "cut" || brief(&reply).starts_with("not_sent"), "{reply:?}");
    });
}
