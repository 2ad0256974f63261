//! The clients' side of HTTP: connections that are kept, requests that end in time, and no repeats.
//!
//! Repeating is the caller's business, because only it knows what makes a repeat safe. One thread.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connections kept for the next request.
const IDLE_MAX: usize = 64;

/// Speaks to one server.
#[derive(Debug)]
pub(crate) struct Asker {
    authority: String,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

/// Any answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a problem document says, or the start of the body.
    pub(crate) fn problem(&self) -> String {
        let said = self.json();
        match (said["title"].as_str(), said["detail"].as_str()) {
            (Some(title), Some(detail)) => format!("{} {title}: {detail}", self.status),
            _ => format!("{} {}", self.status, String::from_utf8_lossy(&self.body[..self.body.len().min(200)])),
        }
    }

    /// 429 and 503: come again.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'static str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
    /// Until the whole answer is there.
    pub(crate) within: Duration,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, idempotency_key: None, body: None, within: Duration::from_secs(30) }
    }

    pub(crate) fn post(path: &'a str, body: &'a str) -> Self {
        Self { method: "POST", path, idempotency_key: None, body: Some(body), within: Duration::from_secs(30) }
    }

    pub(crate) fn with_key(self, key: &'a str) -> Self {
        Self { idempotency_key: Some(key), ..self }
    }
}

impl Asker {
    pub(crate) fn new(authority: String) -> Self {
        Self { authority, idle: RefCell::default() }
    }

    /// The answer, or why there is none. Without an answer nobody knows whether the request arrived.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Reply, String> {
        match tokio::time::timeout(ask.within, self.talk(ask)).await {
            Ok(talked) => talked,
            Err(_) => Err(format!("no answer within {:?}", ask.within)),
        }
    }

    async fn talk(&self, ask: Ask<'_>) -> Result<Reply, String> {
        let mut connection = self.connection().await?;
        let method = if ask.method == "GET" { Method::GET } else { Method::POST };
        let mut request = Request::builder().method(method).uri(ask.path).header("host", &self.authority);
        request = request.header("tidegate-actor", "demo");
        if let Some(key) = ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if ask.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = Full::new(Bytes::from(ask.body.unwrap_or_default().to_owned()));
        let request = request.body(body).map_err(|why| why.to_string())?;
        let response = connection.send_request(request).await.map_err(|why| why.to_string())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|why| why.to_string())?.to_bytes();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let Some(mut kept) = self.idle.borrow_mut().pop() else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = TcpStream::connect(&self.authority).await.map_err(|why| why.to_string())?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
        // It ends when the sender is dropped; what goes wrong in it is seen by the request.
        tokio::spawn(connection);
        Ok(sender)
    }
}
