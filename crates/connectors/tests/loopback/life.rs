//! The life of calls and connections: cancelling, bounds, ages, new targets, the end.

use std::{cell::Cell, rc::Rc, time::Duration};

use connectors::{Call, Cancelled, Connector, EndpointIndex, ParticipantIndex, Protocol, Target, TargetError, Token};
use http::{HeaderName, HeaderValue};
use tokio::sync::Notify;

use crate::world::{PATIENCE, World, accept, brief, closed, get, ok, post, read_request, say, serve, server, story};

#[test]
fn cancelling_drops_the_connection_and_stays_silent() {
    story(async {
        let (read, gone) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (tell_read, tell_gone) = (read.clone(), gone.clone());
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            read_request(&mut io).await.expect("a request");
            tell_read.notify_one();
            closed(&mut io).await;
            tell_gone.notify_one();
            let mut next = accept(&listener).await;
            read_request(&mut next).await.expect("a request");
            say(&mut next, &ok("2")).await;
        })
        .await;
        let mut target = Target::new("p", &[&url]);
        target.connections_max = 1;
        let world = World::new(&[target]);
        let token = world.start(post("/"), PATIENCE);
        read.notified().await;
        assert_eq!(world.connector.in_flight(), 1);
        assert_eq!(world.connector.cancel(token), Cancelled::MayHaveLeft);
        assert_eq!(world.connector.cancel(token), Cancelled::NotInFlight);
        assert_eq!(world.connector.in_flight(), 0);
        // Its place is free at once.
        let next = world.start(post("/"), PATIENCE);
        gone.notified().await;
        assert_eq!(brief(&world.answer(next).await.reply), "200 2");
        assert!(!world.has_answer(token));
    });
}

#[test]
fn cancelling_before_the_first_byte_is_proof() {
    story(async {
        let requests = Rc::new(Cell::new(0));
        let counted = requests.clone();
        let url = server(|listener| async move {
            loop {
                let mut io = accept(&listener).await;
                while let Some(_request) = read_request(&mut io).await {
                    counted.set(counted.get() + 1);
                    say(&mut io, &ok("1")).await;
                }
            }
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        // Before the task has run at all, and on an idle connection before it woke.
        let first = world.start(post("/"), PATIENCE);
        assert_eq!(world.connector.cancel(first), Cancelled::NotSent);
        assert_eq!(brief(&world.call(post("/")).await), "200 1");
        let third = world.start(post("/"), PATIENCE);
        assert_eq!(world.connector.cancel(third), Cancelled::NotSent);
        assert_eq!(brief(&world.call(post("/")).await), "200 1");
        assert_eq!(requests.get(), 2, "a withdrawn request was sent");
    });
}

#[test]
fn the_pool_is_bounded() {
    story(async {
        let go = Rc::new(Notify::new());
        let wait = go.clone();
        let url = server(|listener| async move {
            loop {
                let mut io = accept(&listener).await;
                let wait = wait.clone();
                serve(async move {
                    while read_request(&mut io).await.is_some() {
                        wait.notified().await;
                        say(&mut io, &ok("1")).await;
                    }
                });
            }
        })
        .await;
        let mut target = Target::new("p", &[&url]);
        target.connections_max = 2;
        let world = World::new(&[target]);
        let tokens: Vec<_> = (0..4).map(|_| world.start(post("/"), PATIENCE)).collect();
        assert_eq!(brief(&world.answer(tokens[2]).await.reply), "not_sent pool_full");
        assert_eq!(brief(&world.answer(tokens[3]).await.reply), "not_sent pool_full");
        assert_eq!(world.connector.in_flight(), 2);
        for token in &tokens[..2] {
            while !world.has_answer(*token) {
                go.notify_waiters();
                tokio::task::yield_now().await;
            }
            assert_eq!(brief(&world.answer(*token).await.reply), "200 1");
        }
    });
}

/// Answers every request with the number of its connection.
async fn numbered() -> String {
    server(|listener| async move {
        let mut count = 0;
        loop {
            let mut io = accept(&listener).await;
            count += 1;
            serve(async move {
                while read_request(&mut io).await.is_some() {
                    say(&mut io, &ok(&count.to_string())).await;
                }
            });
        }
    })
    .await
}

#[test]
fn old_and_unused_connections_go() {
    story(async {
        let mut target = Target::new("p", &[&numbered().await]);
        target.connection_age_max = Duration::from_millis(50);
        let world = World::new(&[target.clone()]);
        assert_eq!(brief(&world.call(get("/")).await), "200 1");
        tokio::time::sleep(Duration::from_millis(80)).await;
        assert_eq!(brief(&world.call(get("/")).await), "200 2");

        target.connection_age_max = PATIENCE;
        target.idle_timeout = Duration::from_millis(50);
        world.connector.set_participants(&[target]).expect("good");
        assert_eq!(brief(&world.call(get("/")).await), "200 3");
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(brief(&world.call(get("/")).await), "200 4");
    });
}

#[test]
fn new_headers_keep_connections_and_new_addresses_do_not() {
    story(async {
        let url = numbered().await;
        let mut target = Target::new("p", &[&url]);
        let world = World::new(&[target.clone()]);
        assert_eq!(brief(&world.call(get("/")).await), "200 1");
        target.headers = vec![(HeaderName::from_static("authorization"), HeaderValue::from_static("renewed"))];
        world.connector.set_participants(&[target.clone()]).expect("good");
        assert_eq!(brief(&world.call(get("/")).await), "200 1");
        target.endpoints[0].url = format!("{}/", numbered().await);
        world.connector.set_participants(&[target.clone()]).expect("good");
        assert_eq!(brief(&world.call(get("/")).await), "200 1");
        target.endpoints[0].url = url;
        world.connector.set_participants(&[target]).expect("good");
        assert_eq!(brief(&world.call(get("/")).await), "200 2", "a retired connection was used");
    });
}

#[test]
fn bad_targets_are_refused_together_and_change_nothing() {
    story(async {
        let world = World::new(&[Target::new("p", &[&numbered().await])]);
        let mut bad = Target::new("q", &["ftp://x", "http://y?z"]);
        bad.connections_max = 0;
        bad.headers = vec![(HeaderName::from_static("transfer-encoding"), HeaderValue::from_static("chunked"))];
        let mut tls = Target::new("r", &["https://h"]);
        tls.tls.ca_bundle = Some("nothing".into());
        let errors = world.connector.set_participants(&[bad, tls]).expect_err("all bad");
        let texts: Vec<String> = errors.iter().map(TargetError::to_string).collect();
        assert_eq!(
            texts,
            [
                "participant q: connections_max has to be at least 1",
                "participant q: the header transfer-encoding is set by the connector and by nobody else",
                "participant q: endpoint \"ftp://x\" has to begin with http:// or https://",
                "participant q: endpoint \"http://y?z\" has a query or fragment; put them into the calls",
                "participant r: the CA bundle has no certificate in it",
            ]
        );
        assert_eq!(brief(&world.call(get("/")).await), "200 1");
    });
}

#[test]
fn a_target_that_is_not_there() {
    story(async {
        let world = World::new(&[]);
        let token = Token(9);
        let (participant, endpoint) = (ParticipantIndex(3), EndpointIndex(1));
        world.connector.start(Call { token, participant, endpoint, request: get("/"), timeout: PATIENCE });
        assert_eq!(world.connector.in_flight(), 1);
        let answer = world.answer(token).await;
        assert_eq!((answer.participant, answer.endpoint), (participant, endpoint));
        assert_eq!(brief(&answer.reply), "not_sent invalid");
    });
}

#[test]
fn closing_answers_everything() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        story(async move {
            let read = Rc::new(Notify::new());
            let tell = read.clone();
            let url = server(|listener| async move {
                let mut io = accept(&listener).await;
                tokio::io::AsyncReadExt::read_u8(&mut io).await.expect("a byte");
                tell.notify_one();
                closed(&mut io).await;
            })
            .await;
            let mut target = Target::new("p", &[&url]);
            target.protocol = protocol;
            let world = World::new(&[target]);
            let first = world.start(post("/"), PATIENCE);
            read.notified().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let second = world.start(post("/"), PATIENCE);
            world.connector.close();
            let third = world.start(post("/"), PATIENCE);
            assert_eq!(brief(&world.answer(first).await.reply), "cut");
            assert_eq!(brief(&world.answer(second).await.reply), "not_sent withdrawn");
            assert_eq!(brief(&world.answer(third).await.reply), "not_sent closed");
            assert_eq!(world.connector.in_flight(), 0);
        });
    }
}

#[test]
fn the_sink_may_start_the_next_call() {
    use connectors::{Answer, HttpConnector, HttpSettings};
    use std::cell::RefCell;
    story(async {
        let mut target = Target::new("p", &[&numbered().await]);
        target.connections_max = 1;
        let chain: Rc<RefCell<Option<Rc<HttpConnector>>>> = Rc::default();
        let (inside, done) = (chain.clone(), Rc::new(Notify::new()));
        let (finished, seen) = (done.clone(), Rc::new(RefCell::new(Vec::new())));
        let heard = seen.clone();
        let sink = Rc::new(move |answer: Answer| {
            heard.borrow_mut().push(brief(&answer.reply));
            if answer.token.0 == 50 {
                return finished.notify_one();
            }
            let next = inside.borrow().clone().expect("the connector");
            let token = Token(answer.token.0 + 1);
            let (participant, endpoint) = (answer.participant, answer.endpoint);
            next.start(Call { token, participant, endpoint, request: post("/"), timeout: PATIENCE });
        });
        let connector = Rc::new(HttpConnector::new(HttpSettings::default(), sink));
        connector.set_participants(&[target]).expect("good");
        *chain.borrow_mut() = Some(connector.clone());
        let (participant, endpoint) = (ParticipantIndex(0), EndpointIndex(0));
        connector.start(Call { token: Token(1), participant, endpoint, request: post("/"), timeout: PATIENCE });
        done.notified().await;
        // With one connection allowed, its place has to be free when the sink hears of the answer.
        assert_eq!(*seen.borrow(), vec!["200 1"; 50]);
        chain.borrow_mut().take();
    });
}

/// A small generator (SplitMix64, Steele, Lea, Flood 2014), so that a run can be repeated.
fn chance(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Against a server that does anything, the evidence never lies: no request arrives twice, and none of which we said
/// that it was not sent arrives at all.
#[test]
fn evidence_against_a_moody_server() {
    for seed in 0..4_u64 {
        story(async move {
            let arrived: Rc<std::cell::RefCell<Vec<String>>> = Rc::default();
            let note = arrived.clone();
            let url = server(move |listener| async move {
                for connection in 0_u64.. {
                    let mut io = accept(&listener).await;
                    let note = note.clone();
                    serve(async move {
                        for turn in 0_u64.. {
                            let mood = chance(seed << 32 | connection << 16 | turn) % 10;
                            if mood == 0 {
                                return; // closes before reading
                            }
                            let Some(request) = read_request(&mut io).await else { return };
                            note.borrow_mut().push(request.split(' ').nth(1).expect("a path").to_owned());
                            match mood {
                                1 => return,
                                2 => return say(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[1").await,
                                3 => {
                                    let _ = socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO));
                                    return;
                                }
                                // Closed just after the answer, or a little later.
                                4 => return say(&mut io, &ok("4")).await,
                                5 => {
                                    say(&mut io, &ok("5")).await;
                                    return tokio::time::sleep(Duration::from_millis(1)).await;
                                }
                                6 => tokio::time::sleep(Duration::from_millis(60)).await,
                                _ => {}
                            }
                            use tokio::io::AsyncWriteExt;
                            if io.write_all(ok("0").as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            })
            .await;
            let mut target = Target::new("p", &[&url]);
            target.connections_max = 6;
            let world = World::new(&[target]);
            let (mut said, mut withdrawn) = (Vec::new(), Vec::new());
            for wave in 0..25_u64 {
                let tokens: Vec<_> = (0..8)
                    .map(|place| {
                        let path = format!("/{wave}-{place}");
                        (world.start(post(&path), Duration::from_millis(40)), path)
                    })
                    .collect();
                for (token, path) in tokens {
                    if chance(seed ^ token.0 << 7).is_multiple_of(16) {
                        if world.connector.cancel(token) == Cancelled::NotSent {
                            withdrawn.push(path);
                        }
                        continue;
                    }
                    said.push((path, brief(&world.answer(token).await.reply)));
                }
            }
            assert_eq!(world.connector.in_flight(), 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut arrived = arrived.take();
            arrived.sort_unstable();
            let count = arrived.len();
            arrived.dedup();
            assert_eq!(arrived.len(), count, "a request arrived twice");
            let came = |path: &String| arrived.binary_search(path).is_ok();
            for (path, reply) in &said {
                if reply.starts_with("not_sent") || reply == "timed_out sent=false" {
                    assert!(!came(path), "{path} came, yet it was {reply}");
                }
                if reply.starts_with("200") {
                    assert!(came(path), "{path} was answered and never came");
                }
            }
            for path in &withdrawn {
                assert!(!came(path), "{path} came after it was withdrawn");
            }
            let kinds = |what: &str| said.iter().filter(|(_, reply)| reply.starts_with(what)).count();
            assert!(kinds("200") > 0 && kinds("not_sent") > 0 && kinds("cut") > 0, "a dull run: {said:?}");
        });
    }
}
