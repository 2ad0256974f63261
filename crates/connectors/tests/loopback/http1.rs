//! HTTP/1.1: what each way of breaking proves.

use std::{cell::RefCell, rc::Rc, time::Duration};

use connectors::{NotSent, Reply, Target};
use http::{HeaderName, HeaderValue};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::world::{PATIENCE, World, accept, brief, closed, get, ok, post, read_request, say, server, story};

/// One connection: read one request, say `answer`, close.
async fn one_answer(answer: &'static str) -> String {
    server(move |listener| async move {
        let mut io = accept(&listener).await;
        read_request(&mut io).await.expect("a request");
        say(&mut io, answer).await;
        drop(io);
        // Whoever comes again would be a hidden retry.
        let again = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(again.is_err(), "the request was repeated");
    })
    .await
}

#[test]
fn answers_and_broken_answers() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}", r#"200 {"a":1}"#),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200"),
        ("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n", "201 [1,2]"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[true]", "200 [true]"),
        ("HTTP/1.0 200 OK\r\n\r\n[true]", "200 [true]"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy", "503 NotJson"),
        ("HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n", "302"),
        ("HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n", "299"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "200",
        ),
        // The status line is the participant's word; what became of the body is told beside it.
        ("HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n{\"a\":1}", "200 Cut"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n", "200 Cut"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "200 Cut"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{\"a\":", "200 NotJson"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n18446744073709551616", "200 BadNumber"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"a\":1,\"a\":2}", "200 NotJson"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{", "200 TooBig"),
        // No status line, no word: the request had left.
        ("", "cut"),
        ("HTTP/1.1 20", "cut"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "cut"),
        ("\u{1}\u{2}garbage\r\n\r\n", "cut"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "cut"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "cut"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n[]", "cut"),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n[]", "cut"),
    ];
    for (answer, want) in cases {
        story(async move {
            let world = World::new(&[Target::new("p", &[&one_answer(answer).await])]);
            let reply = world.call(post("/")).await;
            assert_eq!(brief(&reply), want, "after {answer:?}: {reply:?}");
            assert_eq!(connectors::Connector::in_flight(&*world.connector), 0);
        });
    }
}

#[test]
fn nobody_listens() {
    story(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let world = World::new(&[Target::new("p", &[&url])]);
        assert_eq!(brief(&world.call(post("/")).await), "not_sent connect_refused");
        assert_eq!(brief(&world.call(post("/")).await), "not_sent connect_refused");
    });
}

#[test]
fn a_name_that_is_none() {
    story(async {
        let world = World::new(&[Target::new("p", &["http://no-such-host.invalid"])]);
        assert_eq!(brief(&world.call(post("/")).await), "not_sent dns");
    });
}

#[test]
fn closed_right_after_accept() {
    story(async {
        // Our bytes may be in the kernel of either side: no proof.
        let url = server(|listener| async move {
            let io = accept(&listener).await;
            drop(io);
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        let reply = world.call(post("/")).await;
        assert!(
            matches!(reply, Reply::Cut { .. } | Reply::NotSent { why: NotSent::ClosedBefore, .. }),
            "neither a guess nor an answer: {reply:?}"
        );
    });
}

#[test]
fn reset_after_the_request_was_read() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            read_request(&mut io).await.expect("a request");
            socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO)).expect("linger");
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        assert_eq!(brief(&world.call(post("/")).await), "cut");
    });
}

#[test]
fn what_goes_over_the_wire() {
    story(async {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let to = seen.clone();
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            while let Some(request) = read_request(&mut io).await {
                to.borrow_mut().push(request);
                say(&mut io, &ok("1")).await;
            }
        })
        .await;
        let mut target = Target::new("p", &[&format!("{url}/base/")]);
        target.headers = vec![
            (HeaderName::from_static("x-api-key"), HeaderValue::from_static("k")),
            (HeaderName::from_static("x-both"), HeaderValue::from_static("target")),
        ];
        let world = World::new(&[target]);
        let mut request = post("/pay?x=1");
        request.headers = vec![
            (HeaderName::from_static("idempotency-key"), HeaderValue::from_static("t-1c0")),
            (HeaderName::from_static("x-both"), HeaderValue::from_static("call")),
        ];
        assert_eq!(brief(&world.call(request.clone()).await), "200 1");
        assert_eq!(brief(&world.call(get("")).await), "200 1");
        let mut empty = post("/e");
        empty.body = None;
        assert_eq!(brief(&world.call(empty).await), "200 1");

        let seen = seen.take();
        let host = url.trim_start_matches("http://");
        let lines = |at: usize| {
            let mut lines: Vec<&str> = seen[at].split("\r\n").filter(|line| !line.is_empty()).collect();
            lines[1..].sort_unstable();
            lines
        };
        let host = format!("host: {host}");
        let agent = concat!("user-agent: tidegate/", env!("CARGO_PKG_VERSION"));
        let mut want = vec![
            "POST /base/pay?x=1 HTTP/1.1",
            "accept: application/json",
            "content-length: 7",
            "content-type: application/json",
            &host,
            "idempotency-key: t-1c0",
            agent,
            "x-api-key: k",
            "x-both: call",
            "{\"n\":1}",
        ];
        want[1..].sort_unstable();
        assert_eq!(lines(0), want);
        // Nothing of the call before is left in a reused table.
        let mut want =
            vec!["GET /base HTTP/1.1", "accept: application/json", &host, agent, "x-api-key: k", "x-both: target"];
        want[1..].sort_unstable();
        assert_eq!(lines(1), want);
        assert!(lines(2).contains(&"content-length: 0"), "{:?}", lines(2));

        request.headers = vec![(HeaderName::from_static("content-length"), HeaderValue::from_static("1"))];
        assert_eq!(brief(&world.call(request.clone()).await), "not_sent invalid");
        request.headers.clear();
        request.path_and_query = "/a\r\nx: y".into();
        assert_eq!(brief(&world.call(request).await), "not_sent invalid");
    });
}

#[test]
fn a_connection_is_used_again() {
    story(async {
        // One accept only: a second connection would wait for ever.
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            let mut count = 0;
            while read_request(&mut io).await.is_some() {
                count += 1;
                say(&mut io, &ok(&count.to_string())).await;
            }
        })
        .await;
        let mut target = Target::new("p", &[&url]);
        target.connections_max = 1;
        let world = World::new(&[target]);
        for count in 1..=20 {
            assert_eq!(brief(&world.call(post("/")).await), format!("200 {count}"));
        }
    });
}

#[test]
fn a_server_that_closes_between_two_requests_costs_nothing() {
    // The close is known or not when the second call starts: neither may become a cut, nor a repeat.
    for pause_ms in [0, 1, 40] {
        story(async move {
            let url = server(move |listener| async move {
                for count in 1..=3 {
                    let mut io = accept(&listener).await;
                    read_request(&mut io).await.expect("a request");
                    say(&mut io, &ok(&count.to_string())).await;
                    io.shutdown().await.expect("closed");
                }
            })
            .await;
            let world = World::new(&[Target::new("p", &[&url])]);
            for count in 1..=3 {
                assert_eq!(brief(&world.call(post("/")).await), format!("200 {count}"));
                if pause_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
}

#[test]
fn a_close_that_the_runtime_has_not_noticed_is_still_seen() {
    story(async {
        let (close, told) = std::sync::mpsc::channel::<()>();
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        // A server on a thread of its own, so that it can close while this thread is held up.
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            for answer in 1..=2 {
                let (mut io, _) = listener.accept().expect("a connection");
                let mut buffer = [0; 4096];
                let count = io.read(&mut buffer).expect("a request");
                assert!(count > 0);
                io.write_all(ok(&answer.to_string()).as_bytes()).expect("written");
                if answer == 1 {
                    told.recv().expect("told to close");
                    drop(io);
                    done.send(()).expect("heard");
                }
            }
        });
        let world = World::new(&[Target::new("p", &[&url])]);
        assert_eq!(brief(&world.call(post("/")).await), "200 1");
        std::thread::sleep(Duration::from_millis(30));
        close.send(()).expect("told");
        finished.recv().expect("closed");
        // From the close until now this thread has not looked at epoll once.
        assert_eq!(brief(&world.call(post("/")).await), "200 2");
        drop(world);
        server.join().expect("the server");
    });
}

#[test]
fn bytes_nobody_asked_for_never_become_an_answer() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            read_request(&mut io).await.expect("a request");
            say(&mut io, &format!("{}{}", ok("1"), ok("\"stolen\""))).await;
            let mut second = accept(&listener).await;
            read_request(&mut second).await.expect("a request");
            say(&mut second, &ok("2")).await;
            closed(&mut io).await;
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        assert_eq!(brief(&world.call(post("/")).await), "200 1");
        assert_eq!(brief(&world.call(post("/")).await), "200 2");
    });
}

#[test]
fn time_runs_out() {
    story(async {
        let url = server(|listener| async move {
            let mut silent = accept(&listener).await;
            read_request(&mut silent).await.expect("a request");
            // The connection of a call that timed out is gone.
            closed(&mut silent).await;
            let mut halfway = accept(&listener).await;
            read_request(&mut halfway).await.expect("a request");
            say(&mut halfway, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await;
            closed(&mut halfway).await;
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        let wait = Duration::from_millis(60);
        let answer = world.answer(world.start(post("/"), wait)).await;
        assert_eq!(brief(&answer.reply), "timed_out sent=true");
        assert!(answer.took >= wait, "{:?}", answer.took);
        // The status line is evidence, also if the body never ends.
        assert_eq!(brief(&world.call_within(post("/"), wait).await), "200 TimedOut");
    });
}

#[test]
fn time_runs_out_while_dialling() {
    story(async {
        // A listener whose queue is full answers no SYN: connecting hangs without a word.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("bound");
        socket.listen(0).expect("listening");
        let address = socket.local_addr().expect("an address").as_socket().expect("of IP");
        let mut held = Vec::new();
        for _ in 0..4 {
            let connecting = tokio::net::TcpStream::connect(address);
            if let Ok(Ok(io)) = tokio::time::timeout(Duration::from_millis(50), connecting).await {
                held.push(io);
            }
        }
        let mut target = Target::new("p", &[&format!("http://{address}")]);
        let world = World::new(std::slice::from_ref(&target));
        let wait = Duration::from_millis(50);
        assert_eq!(brief(&world.call_within(post("/"), wait).await), "timed_out sent=false");
        target.connect_timeout = wait;
        world.connector.set_participants(&[target]).expect("good");
        assert_eq!(brief(&world.call_within(post("/"), PATIENCE).await), "not_sent connect_timeout");
        drop((socket, held));
    });
}

#[test]
fn huge_bodies_are_not_read() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            read_request(&mut io).await.expect("a request");
            say(&mut io, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            // Without end: stops only because the other side hangs up.
            while io.write_all(chunk.as_bytes()).await.is_ok() {}
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        assert_eq!(brief(&world.call(post("/")).await), "200 TooBig");
    });
}

#[test]
fn large_bodies_within_the_bound_are_read_whole() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            while let Some(request) = read_request(&mut io).await {
                assert!(request.len() > 600_000);
                say(&mut io, &ok(&format!("\"{}\"", "x".repeat(700_000)))).await;
            }
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        let mut request = post("/");
        request.body = Some(format!("\"{}\"", "y".repeat(600_000)).into());
        for _ in 0..2 {
            match world.call(request.clone()).await {
                Reply::Answered { status: 200, body: connectors::Body::Json(model::Value::Text(text)), .. } => {
                    assert_eq!(text.len(), 700_000);
                }
                other => panic!("{}", brief(&other)),
            }
        }
    });
}

#[test]
fn when_to_come_back_and_what_to_keep() {
    let cases =
        [("7", Some(7)), ("0", Some(0)), ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)), ("soon", None), ("-1", None)];
    for (text, want_s) in cases {
        story(async move {
            let url = server(move |listener| async move {
                let mut io = accept(&listener).await;
                read_request(&mut io).await.expect("a request");
                let answer = format!("HTTP/1.1 503 S\r\nretry-after: {text}\r\nx-id: 5\r\ncontent-length: 0\r\n\r\n");
                say(&mut io, &answer).await;
            })
            .await;
            let mut target = Target::new("p", &[&url]);
            target.keep_headers = vec![HeaderName::from_static("x-id"), HeaderName::from_static("x-none")];
            let world = World::new(&[target]);
            let Reply::Answered { retry_after, headers, .. } = world.call(get("/")).await else { panic!("no answer") };
            assert_eq!(retry_after, want_s.map(Duration::from_secs), "{text}");
            assert_eq!(headers, [(HeaderName::from_static("x-id"), HeaderValue::from_static("5"))]);
        });
    }
}

#[test]
fn an_answer_before_the_request_was_read() {
    story(async {
        let url = server(|listener| async move {
            let mut io = accept(&listener).await;
            // Reads a little of a large request, answers, and hangs up its side.
            let mut little = [0; 64];
            tokio::io::AsyncReadExt::read_exact(&mut io, &mut little).await.expect("a little");
            say(&mut io, "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").await;
            io.shutdown().await.expect("half closed");
            closed(&mut io).await;
        })
        .await;
        let world = World::new(&[Target::new("p", &[&url])]);
        let mut request = post("/");
        request.body = Some(format!("\"{}\"", "y".repeat(8_000_000)).into());
        assert_eq!(brief(&world.call(request).await), "413 {}");
    });
}
