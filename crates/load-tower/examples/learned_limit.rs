//! A client that asks for more than a system can do, with and without the layer. Nothing leaves the process.
//!
//! ```text
//! cargo run --release -p load-tower --example learned_limit
//! ```
//! The system has ten workers of 20 ms: 500 calls a second, and every call beyond ten waits over there. 200 clients
//! ask as fast as they can.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use load_tower::{Downstream, HttpStatus, Spec};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder, service_fn};

#[tokio::main]
async fn main() {
    let workers = Arc::new(Semaphore::new(10));
    let slow = service_fn(move |_: Request<()>| {
        let workers = Arc::clone(&workers);
        async move {
            let _worker = workers.acquire().await;
            sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(Response::new(()))
        }
    });

    println!("bare:");
    drive("", slow.clone()).await;

    let billing = Downstream::new(Spec { name: "billing".into(), max_in_flight: 400, ..Spec::default() });
    let limited = ServiceBuilder::new().layer(billing.layer(HttpStatus)).service(slow);
    println!("with the layer:");
    for round in 1..=3 {
        drive(&format!("round {round}, "), limited.clone()).await;
        println!("    limit {}: {}", billing.report().limit, billing.report().explain);
    }
}

/// 200 clients for five seconds.
async fn drive<S>(name: &str, service: S)
where
    S: Service<Request<()>, Response = Response<()>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(5);
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let (mut service, done) = (service.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while Instant::now() < until {
                    if service.call(Request::new(())).await.is_ok() {
                        done.fetch_add(1, Relaxed);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        let _ = client.await;
    }
    println!("    {name}{} calls a second", done.load(Relaxed) / 5);
}
