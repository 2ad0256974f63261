//! The three participants: answers every POST at once with 200 `{"ok":true}` and counts it by its path.
//!
//! `GET /counts` tells the counts, which is how a run proves that every step of every transaction was really called.
//! One thread on purpose: it is never the bottleneck, and it leaves the second core to the engine.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::net::TcpListener;

type Counts = Rc<RefCell<BTreeMap<String, u64>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = rig::Arguments::of_process();
    let listener = TcpListener::bind(arguments.text("--listen").unwrap_or("127.0.0.1:0")).await?;
    println!("listening on {}", listener.local_addr()?);
    let counts = Counts::default();
    tokio::task::LocalSet::new()
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let counts = counts.clone();
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| answer(request, counts.clone()));
                    // A peer that closes its connection is no error of ours.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

async fn answer(request: Request<Incoming>, counts: Counts) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let text = if request.method() == Method::GET {
        Bytes::from(serde_json::to_string(&*counts.borrow()).unwrap_or_default())
    } else {
        let whole = request.into_body().collect().await.is_ok();
        if whole {
            *counts.borrow_mut().entry(path).or_default() += 1;
        }
        Bytes::from_static(b"{\"ok\":true}")
    };
    let response = Response::builder().header("content-type", "application/json").body(Full::new(text));
    Ok(response.unwrap_or_default())
}
