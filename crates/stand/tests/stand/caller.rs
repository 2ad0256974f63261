//! The other end of the wire: one HTTP call on a connection of its own, and what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use stand::{Settings, Stand, SystemSpec};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// Nothing was sent.
    NotConnected,
    /// It was sent, and the connection ended without the head of an answer.
    NoAnswer,
    /// The head came, the body ended early.
    TornBody,
    /// No answer within the patience of the caller.
    TimedOut,
}

/// A call in the making.
pub(crate) struct Ask {
    url: String,
    method: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    patience: Duration,
}

pub(crate) fn ask(method: &'static str, url: impl Into<String>) -> Ask {
    Ask { url: url.into(), method, headers: Vec::new(), body: String::new(), patience: Duration::from_secs(20) }
}

impl Ask {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self
    }

    pub(crate) fn text(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) async fn send(self) -> Result<Answer, Failure> {
        self.over(false).await
    }

    pub(crate) async fn send_h2(self) -> Result<Answer, Failure> {
        self.over(true).await
    }

    async fn over(self, h2: bool) -> Result<Answer, Failure> {
        let patience = self.patience;
        tokio::time::timeout(patience, self.talk(h2)).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn talk(self, h2: bool) -> Result<Answer, Failure> {
        let address: SocketAddr = self.url["http://".len()..].split('/').next().unwrap().parse().unwrap();
        let stream = TcpStream::connect(address).await.map_err(|_| Failure::NotConnected)?;
        let path = &self.url["http://".len() + address.to_string().len()..];
        let uri = if h2 { self.url.as_str() } else { path };
        let mut request = Request::builder().method(self.method).uri(uri);
        if !h2 {
            request = request.header("host", address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body))).unwrap();
        let response = if h2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let (head, body) = response.map_err(|_| Failure::NoAnswer)?.into_parts();
        let body = body.collect().await.map_err(|_| Failure::TornBody)?.to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, json })
    }
}

pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The telecom systems and a generic one named `any`, without a ledger.
pub(crate) fn telecom() -> Settings {
    let mut settings = Settings::telecom(anywhere());
    settings.systems.push(SystemSpec::generic("any"));
    settings
}

pub(crate) fn started(settings: &Settings) -> Stand {
    Stand::start(settings).unwrap()
}

/// A counter of one system, from the state page.
pub(crate) async fn counter(stand: &Stand, system: &str, name: &str) -> u64 {
    let state = ask("GET", format!("http://{}/_stand/", stand.address())).send().await.unwrap().json;
    let systems = state["systems"].as_array().unwrap();
    systems.iter().find(|s| s["name"] == system).unwrap()[name].as_u64().unwrap()
}

/// Asks again until it is so; gives up after ten seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
