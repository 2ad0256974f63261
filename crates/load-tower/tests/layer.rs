//! The layer in front of systems whose capacity is known, in paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use load_tower::{Ask, Class, Downstream, Error, HttpStatus, Judge, ParkReason, Refused, Spec, State};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt};

/// So many workers, each call takes so long; who finds no worker free waits over there.
#[derive(Clone)]
struct System(Arc<Inside>);

struct Inside {
    workers: Semaphore,
    takes: Duration,
    status: AtomicU32,
    calls: AtomicU64,
    here: AtomicU32,
    most: AtomicU32,
}

impl System {
    fn new(workers: usize, takes_ms: u64) -> Self {
        Self(Arc::new(Inside {
            workers: Semaphore::new(workers),
            takes: Duration::from_millis(takes_ms),
            status: AtomicU32::new(200),
            calls: AtomicU64::new(0),
            here: AtomicU32::new(0),
            most: AtomicU32::new(0),
        }))
    }

    fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    fn answers(&self, status: u32) {
        self.0.status.store(status, SeqCst);
    }

    fn most_at_once(&self) -> u32 {
        self.0.most.swap(0, SeqCst)
    }
}

struct Here<'i>(&'i Inside);

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, SeqCst);
    }
}

impl Service<Request<()>> for System {
    type Response = Response<()>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let inside = Arc::clone(&self.0);
        Box::pin(async move {
            inside.calls.fetch_add(1, SeqCst);
            let now_here = inside.here.fetch_add(1, SeqCst) + 1;
            inside.most.fetch_max(now_here, SeqCst);
            let _here = Here(&inside);
            if inside.status.load(SeqCst) == 200 {
                let _worker = inside.workers.acquire().await.expect("never closed");
                sleep(inside.takes).await;
            }
            let status = inside.status.load(SeqCst) as u16;
            Ok(Response::builder().status(status).body(()).expect("an answer"))
        })
    }
}

fn fixed(max_in_flight: u32) -> Spec {
    Spec { max_in_flight, learn: load_tower::Learn::Off, ..Spec::default() }
}

/// `clients` in a closed loop for so long; returns answers with status 200.
async fn closed_loop<S>(service: S, clients: usize, lasts: Duration) -> u64
where
    S: Service<Request<()>, Response = Response<()>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    let until = Instant::now() + lasts;
    let all: Vec<_> = (0..clients)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while Instant::now() < until {
                    match service.call(Request::new(())).await {
                        Ok(answer) if answer.status() == 200 => done += 1,
                        _ => sleep(Duration::from_millis(20)).await,
                    }
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for client in all {
        done += client.await.expect("a client");
    }
    done
}

#[tokio::test(start_paused = true)]
async fn a_declared_limit_holds_and_nobody_is_lost() {
    let system = System::new(100, 10);
    let downstream = Downstream::new(fixed(8));
    let service = ServiceBuilder::new().layer(downstream.layer(HttpStatus)).service(system.clone());
    let done = closed_loop(service, 50, Duration::from_secs(2)).await;
    assert_eq!(system.most_at_once(), 8);
    assert_eq!(done, system.calls());
    assert!((1_500..=1_650).contains(&done), "8 at once, 10 ms each, 2 s: {done}");
    let report = downstream.report();
    assert_eq!((report.in_flight, report.backlog, report.state), (0, 0, State::Well));
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_learned() {
    let system = System::new(10, 20);
    let downstream = Downstream::new(Spec { max_in_flight: 400, ..Spec::default() });
    let service = ServiceBuilder::new().layer(downstream.layer(HttpStatus)).service(system.clone());
    closed_loop(service.clone(), 120, Duration::from_secs(30)).await;
    system.most_at_once();
    let done = closed_loop(service, 120, Duration::from_secs(10)).await;
    let most = system.most_at_once();
    assert!(done > 4_600, "it can do 500/s: {done} in 10 s");
    assert!((10..=30).contains(&most), "ten workers, and {most} at once");
    let learned = downstream.report().learned.expect("it learns");
    assert!((400.0..600.0).contains(&learned.capacity_per_s.expect("the limit was reached")), "{learned:?}");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_refused_and_nothing_is_sent() {
    let system = System::new(1, 1_000);
    let downstream = Downstream::new(fixed(1));
    let held = downstream.admit(Ask::default()).await.expect("there is room");
    let began = Instant::now();
    let in_a_hurry = Ask { time_left: Some(Duration::from_millis(30)), ..Ask::default() };
    assert_eq!(downstream.admit(in_a_hurry).await.expect_err("no room in time"), Refused::TooLate);
    assert!(began.elapsed() <= Duration::from_millis(40), "{:?}", began.elapsed());
    held.end(load_tower::Evidence::Done, None);
    assert_eq!(system.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_seen_though_a_long_one_came_first() {
    let downstream = Downstream::new(fixed(1));
    let held = downstream.admit(Ask::default()).await.expect("there is room");
    let patient = tokio::spawn({
        let downstream = downstream.clone();
        async move { downstream.admit(Ask::default()).await }
    });
    sleep(Duration::from_millis(5)).await;
    let began = Instant::now();
    let in_a_hurry = Ask { time_left: Some(Duration::from_millis(50)), ..Ask::default() };
    assert!(downstream.admit(in_a_hurry).await.is_err());
    assert!(began.elapsed() <= Duration::from_millis(60), "{:?}", began.elapsed());
    drop(held);
    let permit = patient.await.expect("no panic").expect("its turn");
    assert_eq!(downstream.report().in_flight, 1);
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wish_leaves_its_place_and_a_dropped_call_its_slot() {
    let system = System::new(1, 50);
    let downstream = Downstream::new(fixed(1));
    let mut service = ServiceBuilder::new().layer(downstream.layer(HttpStatus)).service(system.clone());
    let under_way = tokio::spawn(service.call(Request::new(())));
    sleep(Duration::from_millis(1)).await;
    assert!(timeout(Duration::from_millis(5), service.call(Request::new(()))).await.is_err(), "it waits");
    assert_eq!(downstream.report().backlog, 0);
    under_way.abort();
    assert!(under_way.await.is_err());
    assert_eq!(downstream.report().in_flight, 0);
    let answer = service.call(Request::new(())).await.expect("there is room again");
    assert_eq!((answer.status().as_u16(), system.calls()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded() {
    let downstream = Downstream::new(fixed(1));
    let _held = downstream.admit(Ask::default()).await.expect("there is room");
    let waiting: Vec<_> = (0..5_000)
        .map(|_| {
            let downstream = downstream.clone();
            tokio::spawn(async move { downstream.admit(Ask::default()).await.map(drop) })
        })
        .collect();
    sleep(Duration::from_millis(10)).await;
    let waits = downstream.report().backlog;
    assert!((3_000..=4_096).contains(&waits), "{waits}");
    let mut refused = 0;
    for one in waiting {
        if one.is_finished() {
            assert_eq!(one.await.expect("no panic"), Err(Refused::Overloaded(ParkReason::BacklogFull)));
            refused += 1;
        } else {
            one.abort();
        }
    }
    assert_eq!(refused, 5_000 - waits);
}

#[tokio::test(start_paused = true)]
async fn a_system_that_is_down_is_probed_and_comes_back() {
    let system = System::new(20, 10);
    let downstream = Downstream::new(fixed(20));
    let service = ServiceBuilder::new().layer(downstream.layer(HttpStatus)).service(system.clone());
    closed_loop(service.clone(), 20, Duration::from_secs(5)).await;
    system.answers(500);
    closed_loop(service.clone(), 20, Duration::from_secs(2)).await;
    let before = system.calls();
    closed_loop(service.clone(), 20, Duration::from_secs(20)).await;
    let probes = system.calls() - before;
    assert!((1..200).contains(&probes), "20 clients, 20 s, each 20 ms without a limit: {probes}");
    assert_ne!(downstream.report().state, State::Well);
    system.answers(200);
    closed_loop(service.clone(), 20, Duration::from_secs(60)).await;
    assert_eq!(downstream.report().state, State::Well);
    let done = closed_loop(service, 20, Duration::from_secs(2)).await;
    assert!(done > 3_600, "all of it is back: {done}");
}

#[tokio::test(start_paused = true)]
async fn endpoints_share_by_what_they_can_take() {
    let (fast, slow, bad) = (System::new(30, 10), System::new(5, 10), System::new(1, 1));
    bad.answers(500);
    let services = vec![fast.clone(), slow.clone(), bad.clone()];
    let spec = Spec { max_in_flight: 200, ..Spec::default() };
    let service = Downstream::balance(spec, services, HttpStatus).expect("three services");
    let done = closed_loop(service.clone(), 60, Duration::from_secs(30)).await;
    let (of_fast, of_slow, of_bad) = (fast.calls(), slow.calls(), bad.calls());
    assert!(of_fast > 2 * of_slow, "{of_fast} and {of_slow}");
    assert!(of_bad * 20 < done, "one that fails at once is no sink: {of_bad} of {done}");
    assert!(Downstream::balance(Spec::default(), Vec::<System>::new(), HttpStatus).is_none());
}

/// One that tells urgent requests from others by their path.
#[derive(Clone)]
struct ByPath;

impl<E> Judge<Request<()>, Response<()>, E> for ByPath {
    fn ask(&self, request: &Request<()>) -> Ask {
        Ask { priority: u8::from(request.uri().path() == "/urgent"), ..Ask::default() }
    }

    fn evidence(&self, ended: &Result<Response<()>, E>) -> (load_tower::Evidence, Option<load_tower::Quota>) {
        Judge::<Request<()>, _, _>::evidence(&HttpStatus, ended)
    }
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first() {
    let system = System::new(1, 10);
    let downstream = Downstream::new(fixed(1));
    let service = ServiceBuilder::new().layer(downstream.layer(ByPath)).service(system);
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut all = Vec::new();
    for (number, path) in ["/first", "/a", "/b", "/c", "/urgent"].into_iter().enumerate() {
        let (service, order) = (service.clone(), Arc::clone(&order));
        all.push(tokio::spawn(async move {
            sleep(Duration::from_millis(number as u64)).await;
            let request = Request::builder().uri(path).body(()).expect("a request");
            service.oneshot(request).await.expect("an answer");
            order.lock().push(path);
        }));
    }
    for one in all {
        one.await.expect("no panic");
    }
    assert_eq!(order.lock()[..2], ["/first", "/urgent"]);
}

#[tokio::test(start_paused = true)]
async fn paused_learned_and_remembered() {
    let system = System::new(10, 20);
    let spec = Spec { name: "billing".into(), max_in_flight: 400, ..Spec::default() };
    let downstream = Downstream::new(spec.clone());
    let mut service = ServiceBuilder::new().layer(downstream.layer(HttpStatus)).service(system);
    closed_loop(service.clone(), 100, Duration::from_secs(20)).await;
    downstream.pause();
    let refused = service.call(Request::new(())).await.expect_err("it is paused");
    assert_eq!(refused, Error::Refused(Refused::Overloaded(ParkReason::Paused)));
    assert_eq!(refused.to_string(), "not sent: no room, and no room to wait: it is paused");
    downstream.resume();
    assert_eq!(service.call(Request::new(())).await.expect("an answer").status(), 200);

    let later = Downstream::new(spec.clone());
    assert_eq!(later.restore(&downstream.snapshot()), Ok(true));
    assert!(later.report().learned.is_some_and(|learned| learned.limit < 60.0), "{:?}", later.report());
    let other = Downstream::new(Spec { name: "courier".into(), ..spec });
    assert_eq!(other.restore(&downstream.snapshot()), Ok(false));
    assert!(other.restore(b"no snapshot").is_err());
    let repeat = Ask { class: Class::Retry, ..Ask::default() };
    drop(other.admit(repeat).await.expect("a first repeat is within its budget"));
}
