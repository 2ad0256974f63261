//! The job that every peer runs, and the way it calls a participant.
//!
//! A client hands in `{id, msisdn, amount}`; three participants are called one after the other. The peers written here
//! use this client for their calls, so that they differ in how they remember, not in how they speak HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// The calls of one transaction, in order: what a participant's path is called.
pub const STEPS: [&str; 3] = ["reserve", "charge", "notify"];
/// The undo of a step, where there is one.
pub const UNDO: [Option<&str>; 3] = [Some("release"), Some("refund"), None];
/// Fills a call up to about 150 bytes.
pub const MEMO: &str = "top-up of a prepaid account, bought in the web shop";

/// What a client hands in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub msisdn: String,
    pub amount: u64,
}

/// The body of one call, about 150 bytes.
pub fn call_body(job: &Job, step: &str) -> String {
    serde_json::json!({"id": job.id, "msisdn": job.msisdn, "amount": job.amount, "step": step, "memo": MEMO})
        .to_string()
}

/// Calls participants over kept-alive HTTP/1.1 connections.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Caller {
    /// `base` is the participants' address, for instance `http://127.0.0.1:9000`.
    pub fn new(base: &str) -> Caller {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector);
        Caller { client, base: base.trim_end_matches('/').to_owned() }
    }

    /// One call; `Ok` holds the status, `Err` says why there is none.
    pub async fn call(&self, job: &Job, step: &str) -> Result<u16, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/{step}", self.base))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(call_body(job, step))))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(status)
    }
}

/// `--name value` pairs of the command line.
#[derive(Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    pub fn of_process() -> Arguments {
        Arguments(std::env::args().skip(1).collect())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    /// The value of `name`, or the end of the program with a sentence about it.
    pub fn required(&self, name: &str) -> &str {
        self.text(name).unwrap_or_else(|| {
            eprintln!("{name} is missing");
            std::process::exit(2)
        })
    }

    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        match self.text(name) {
            None => otherwise,
            Some(text) => text.parse().unwrap_or_else(|_| {
                eprintln!("{name} must be a whole number, not {text}");
                std::process::exit(2)
            }),
        }
    }

    /// Every value of a repeated `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].as_str()).collect()
    }
}
