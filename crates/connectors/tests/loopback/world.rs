//! One connector, its answers, and servers written line by line.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use connectors::{
    Answer, Call, Connector, EndpointIndex, HttpConnector, HttpSettings, ParticipantIndex, Reply, Request, Target,
    Token,
};
use http::Method;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, LocalSet},
};

/// No wait of a test takes this long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one story on a thread of its own, as a worker would.
pub(crate) fn story(tale: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, tale).await.expect("the story came to no end");
        for server in SERVERS.take() {
            if server.is_finished() {
                server.await.expect("a server was not content");
            }
        }
    });
}

thread_local! {
    static SERVERS: RefCell<Vec<JoinHandle<()>>> = RefCell::default();
}

/// Runs a part of a server; if it panics, the story fails.
pub(crate) fn serve(part: impl Future<Output = ()> + 'static) {
    SERVERS.with_borrow_mut(|servers| servers.push(tokio::task::spawn_local(part)));
}

pub(crate) struct World {
    pub(crate) connector: Rc<HttpConnector>,
    answers: Rc<RefCell<HashMap<u64, Answer>>>,
    came: Rc<Notify>,
    tokens: Cell<u64>,
}

impl World {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let answers: Rc<RefCell<HashMap<u64, Answer>>> = Rc::default();
        let came = Rc::new(Notify::new());
        let (to, note) = (answers.clone(), came.clone());
        let sink = Rc::new(move |answer: Answer| {
            let twice = to.borrow_mut().insert(answer.token.0, answer);
            assert_eq!(twice, None, "a call was answered twice");
            note.notify_waiters();
        });
        let connector = Rc::new(HttpConnector::new(HttpSettings::default(), sink));
        connector.set_participants(targets).expect("good targets");
        Self { connector, answers, came, tokens: Cell::new(0) }
    }

    pub(crate) fn start(&self, request: Request, timeout: Duration) -> Token {
        let token = Token(self.tokens.get() + 1);
        self.tokens.set(token.0);
        let (participant, endpoint) = (ParticipantIndex(0), EndpointIndex(0));
        self.connector.start(Call { token, participant, endpoint, request, timeout });
        token
    }

    pub(crate) async fn answer(&self, token: Token) -> Answer {
        loop {
            let heard = self.came.notified();
            if let Some(answer) = self.answers.borrow_mut().remove(&token.0) {
                return answer;
            }
            heard.await;
        }
    }

    pub(crate) fn has_answer(&self, token: Token) -> bool {
        self.answers.borrow().contains_key(&token.0)
    }

    pub(crate) async fn call(&self, request: Request) -> Reply {
        self.answer(self.start(request, PATIENCE)).await.reply
    }

    pub(crate) async fn call_within(&self, request: Request, timeout: Duration) -> Reply {
        self.answer(self.start(request, timeout)).await.reply
    }
}

pub(crate) fn post(path: &str) -> Request {
    Request {
        method: Method::POST,
        path_and_query: path.into(),
        headers: Vec::new(),
        body: Some(Bytes::from_static(b"{\"n\":1}")),
    }
}

pub(crate) fn get(path: &str) -> Request {
    Request { method: Method::GET, path_and_query: path.into(), headers: Vec::new(), body: None }
}

/// Listens, and runs `script` with the listener as a task of the story.
pub(crate) async fn server<F: Future<Output = ()> + 'static>(script: impl FnOnce(TcpListener) -> F) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    serve(script(listener));
    url
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// Reads one request with its body; what it said, or nothing if the connection ended first.
pub(crate) async fn read_request(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        if let Some(head) = text.windows(4).position(|w| w == b"\r\n\r\n") {
            let said = String::from_utf8_lossy(&text[..head]).to_lowercase();
            let length = said
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().expect("a length"));
            if text.len() >= head + 4 + length {
                return Some(String::from_utf8(text).expect("text"));
            }
        }
        if io.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

pub(crate) async fn say(io: &mut (impl AsyncWrite + Unpin), text: &str) {
    io.write_all(text.as_bytes()).await.expect("written");
    io.flush().await.expect("flushed");
}

/// A whole answer with a JSON body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Waits until the other side has closed.
pub(crate) async fn closed(io: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    while io.read_buf(&mut rest).await.unwrap_or(0) > 0 {}
}

/// `200 {"a":1}`, `not_sent connect_refused`, `cut`, …: a reply in one word or two.
pub(crate) fn brief(reply: &Reply) -> String {
    match reply {
        Reply::NotSent { why, .. } => format!("not_sent {}", why.as_str()),
        Reply::RefusedStream => "refused_stream".into(),
        Reply::TimedOut { sent } => format!("timed_out sent={sent}"),
        Reply::Cut { .. } => "cut".into(),
        Reply::Answered { status, body, .. } => match body {
            connectors::Body::Empty => format!("{status}"),
            connectors::Body::Json(value) => format!("{status} {value}"),
            connectors::Body::Unusable { why, .. } => format!("{status} {why:?}"),
        },
    }
}
