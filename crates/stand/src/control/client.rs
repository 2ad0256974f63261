//! The calling side of control, for the command line and for drills.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::audit::{Report, Story};

/// Speaks to one stand. Every request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no stand answers at {authority}: {why}; start one with: tidegate stand")]
    NotReached { authority: String, why: String },
    /// The stand says what was wrong.
    #[error("{0}")]
    Refused(String),
    #[error("the stand at {authority} answered what this client does not understand: {why}")]
    Odd { authority: String, why: String },
}

impl Client {
    /// `http://127.0.0.1:7420`, or only the host and port.
    pub fn new(address: &str) -> Self {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        Self { authority: bare.split('/').next().unwrap_or(bare).to_owned() }
    }

    /// The stand and its systems, as `GET /_stand/` has them.
    pub async fn state(&self) -> Result<Value, ClientError> {
        self.ask(Method::GET, "/_stand/", Bytes::new()).await
    }

    /// Sets the faults of a system, or of `all`; returns how the stand understood them.
    pub async fn set(&self, system: &str, fault: &str) -> Result<String, ClientError> {
        let body = json!({ "fault": fault });
        let said = self.ask(Method::PUT, &format!("/_stand/systems/{system}/fault"), body.to_string().into()).await?;
        Ok(said["fault"].as_str().unwrap_or_default().to_owned())
    }

    /// Sets the capacity of a system, or of `all`; returns how the stand understood it.
    pub async fn set_capacity(&self, system: &str, capacity: &str) -> Result<String, ClientError> {
        let body = json!({ "capacity": capacity });
        let said =
            self.ask(Method::PUT, &format!("/_stand/systems/{system}/capacity"), body.to_string().into()).await?;
        Ok(said["capacity"].as_str().unwrap_or_default().to_owned())
    }

    /// Replaces the schedule by these lines; returns their number.
    pub async fn schedule(&self, lines: &str) -> Result<u64, ClientError> {
        let said = self.ask(Method::PUT, "/_stand/schedule", Bytes::from(lines.to_owned())).await?;
        Ok(said["to_come"].as_u64().unwrap_or_default())
    }

    pub async fn reset_counters(&self) -> Result<(), ClientError> {
        self.ask(Method::DELETE, "/_stand/counters", Bytes::new()).await.map(drop)
    }

    /// Rows of the ledger after seq `after`, at most `limit`, as JSON objects.
    pub async fn effects(&self, after: u64, limit: u64) -> Result<Vec<Value>, ClientError> {
        let path = format!("/_stand/effects?after={after}&limit={limit}");
        let lines = self.send(Method::GET, &path, Bytes::new()).await?;
        let rows = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        rows.map(|line| serde_json::from_slice(line).map_err(|why| self.odd(&why))).collect()
    }

    pub async fn audit(&self, stories: &[Story]) -> Result<Report, ClientError> {
        let mut lines = Vec::new();
        for story in stories {
            serde_json::to_writer(&mut lines, story).map_err(|why| self.odd(&why))?;
            lines.push(b'\n');
        }
        let said = self.send(Method::POST, "/_stand/audit", lines.into()).await?;
        serde_json::from_slice(&said).map_err(|why| self.odd(&why))
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ClientError> {
        let said = self.send(method, path, body).await?;
        serde_json::from_slice(&said).map_err(|why| self.odd(&why))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let unreached = |why: &dyn std::fmt::Display| ClientError::NotReached {
            authority: self.authority.clone(),
            why: why.to_string(),
        };
        let stream = TcpStream::connect(&self.authority).await.map_err(|why| unreached(&why))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| unreached(&why))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.authority)
            .body(Full::new(body))
            .map_err(|why| self.odd(&why))?;
        let talk = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let mut talk = std::pin::pin!(talk);
        // The connection is driven here and ends here; what it had read before it ended still counts.
        let talked = tokio::select! {
            talked = &mut talk => talked,
            _ = connection => talk.await,
        };
        let (status, body) = talked.map_err(|why| unreached(&why))?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(ClientError::Refused(said["error"].as_str().map_or_else(|| status.to_string(), str::to_owned)))
    }

    fn odd(&self, why: &(impl ToString + ?Sized)) -> ClientError {
        ClientError::Odd { authority: self.authority.clone(), why: why.to_string() }
    }
}
