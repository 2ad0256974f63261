//! The saga that a team would write by hand: a row per transaction in PostgreSQL, a commit before the first call and one
//! after each step (four a transaction), 32 connections.
//!
//! It is the cost floor of "a row per step" and weaker than an engine: it has no recovery scan, no retries, no timers and
//! no idempotency key; nothing resumes a transaction whose process died. A step that fails is undone in reverse.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rig::{Caller, Job, STEPS, UNDO};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls, Statement};

/// One connection with its prepared statements.
struct Connection {
    client: Client,
    begin: Statement,
    advance: Statement,
}

/// The connections that are free; a permit of `free` is the right to take one.
struct Pool {
    free: Semaphore,
    connections: Mutex<Vec<Connection>>,
}

struct Saga {
    pool: Pool,
    caller: Caller,
}

const TABLE: &str = "create table if not exists saga (
    id text primary key, msisdn text not null, amount bigint not null, state text not null,
    began_at timestamptz not null default now(), changed_at timestamptz not null default now())";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = rig::Arguments::of_process();
    let database = arguments.required("--database");
    let size = usize::try_from(arguments.number("--connections", 32))?;
    let mut connections = Vec::new();
    for number in 0..size {
        let (client, driver) = tokio_postgres::connect(database, NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                eprintln!("a database connection ended: {error}");
            }
        });
        if number == 0 {
            client.batch_execute(TABLE).await?;
        }
        let begin = client.prepare("insert into saga (id, msisdn, amount, state) values ($1, $2, $3, 'began')").await?;
        let advance = client.prepare("update saga set state = $2, changed_at = now() where id = $1").await?;
        connections.push(Connection { client, begin, advance });
    }
    let pool = Pool { free: Semaphore::new(size), connections: Mutex::new(connections) };
    let saga = Arc::new(Saga { pool, caller: Caller::new(arguments.required("--participants")) });
    let listener = TcpListener::bind(arguments.text("--listen").unwrap_or("127.0.0.1:0")).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let saga = saga.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, saga.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, saga: Arc<Saga>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match take(request, &saga).await {
        Ok(state) => (200, serde_json::json!({"state": state}).to_string()),
        Err(why) => (500, serde_json::json!({"error": why}).to_string()),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(text))).unwrap_or_default())
}

async fn take(request: Request<Incoming>, saga: &Saga) -> Result<&'static str, String> {
    let body = request.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let job: Job = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    saga.run(&job).await
}

impl Saga {
    async fn run(&self, job: &Job) -> Result<&'static str, String> {
        let amount = i64::try_from(job.amount).map_err(|error| error.to_string())?;
        self.pool
            .with(async |connection| {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&job.id, &job.msisdn, &amount];
                connection.client.execute(&connection.begin, &parameters).await
            })
            .await?;
        for (index, step) in STEPS.iter().enumerate() {
            if self.caller.call(job, step).await != Ok(200) {
                return self.undo(job, index).await;
            }
            let state = if index + 1 == STEPS.len() { "completed" } else { step };
            self.advance(job, state).await?;
        }
        Ok("completed")
    }

    /// Undoes the failed step, which may have happened, and those before it.
    async fn undo(&self, job: &Job, failed: usize) -> Result<&'static str, String> {
        self.advance(job, "undoing").await?;
        for undo in UNDO[..=failed].iter().rev().flatten() {
            if self.caller.call(job, undo).await != Ok(200) {
                self.advance(job, "stuck").await?;
                return Ok("stuck");
            }
        }
        self.advance(job, "aborted").await?;
        Ok("aborted")
    }

    async fn advance(&self, job: &Job, state: &str) -> Result<(), String> {
        let changed = self
            .pool
            .with(async |connection| {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&job.id, &state];
                connection.client.execute(&connection.advance, &parameters).await
            })
            .await?;
        if changed == 1 { Ok(()) } else { Err(format!("{changed} rows for {}", job.id)) }
    }
}

/// A connection that goes back to the pool also when its user is dropped half-way.
struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.lock().extend(self.connection.take());
    }
}

impl Pool {
    /// One statement, committed by itself, on a free connection.
    async fn with(
        &self,
        work: impl AsyncFnOnce(&Connection) -> Result<u64, tokio_postgres::Error>,
    ) -> Result<u64, String> {
        let permit = self.free.acquire().await.map_err(|error| error.to_string())?;
        let connection = self.lock().pop();
        let lease = Lease { pool: self, connection, _permit: permit };
        let connection = lease.connection.as_ref().ok_or("no free connection behind a permit")?;
        work(connection).await.map_err(|error| error.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
