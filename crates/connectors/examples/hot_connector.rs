//! What a call costs: the connector against bare hyper, same server, same run.
//!
//! `cargo run --release -p connectors --example hot_connector [rounds] [calls at once]`. The server is a few lines on a thread of
//! its own, pinned nowhere; the figure to look at is CPU time of the calling thread per call, which does not depend on
//! how fast that server is. Rounds alternate between the two, and the median of each is printed.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connectors::{
    Answer, Body, Call, Connector, EndpointIndex, HttpConnector, HttpSettings, ParticipantIndex, Protocol, Reply,
    Request, Target, Token,
};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{sync::Notify, task::LocalSet};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 42\r\n\r\n\
    {\"result\":\"OK\",\"balance_minor\":1250,\"x\":1}";
const BODY: &[u8] = b"{\"account\":\"491701234567\",\"amount_minor\":1000,\"currency\":\"EUR\"}";
const CALLS_PER_ROUND: u64 = 20_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(7, |n| n.parse().expect("rounds: a number"));
    let at_once: u64 = arguments.next().map_or(16, |n| n.parse().expect("calls at once: a number"));
    let only = arguments.next();

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || serve(&listener));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async move {
        let ours = Ours::new(&format!("http://{address}"));
        let bare = Bare::new(&address.to_string(), at_once).await;
        ours.round(at_once, 2_000).await;
        bare.clone().round(2_000).await;
        let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            if only.as_deref() != Some("bare") {
                of_ours.push(measure(ours.round(at_once, CALLS_PER_ROUND)).await);
            }
            if only.as_deref() != Some("ours") {
                of_bare.push(measure(bare.clone().round(CALLS_PER_ROUND)).await);
            }
        }
        println!("{at_once} calls at once, {rounds} rounds of {CALLS_PER_ROUND} calls, medians");
        let a = report("connector", &mut of_ours);
        let b = report("bare hyper", &mut of_bare);
        if let (Some(a), Some(b)) = (a, b) {
            println!("connector / bare hyper, cpu: {:.3}", a / b);
        }
    });
}

struct Cost {
    cpu_us: f64,
    wall_us: f64,
}

async fn measure(round: impl Future<Output = ()>) -> Cost {
    let (cpu, wall) = (thread_cpu(), Instant::now());
    round.await;
    let per_call = |spent: Duration| spent.as_secs_f64() * 1e6 / CALLS_PER_ROUND as f64;
    Cost { cpu_us: per_call(thread_cpu() - cpu), wall_us: per_call(wall.elapsed()) }
}

/// From /proc, in nanoseconds: time this thread has been on a processor.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat of this thread");
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    Duration::from_nanos(nanoseconds)
}

fn report(name: &str, costs: &mut [Cost]) -> Option<f64> {
    costs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    let median = costs.get(costs.len() / 2)?;
    let least = costs.first()?;
    println!(
        "{name:>11}: cpu {:.2} us/call (least {:.2}), wall {:.2} us/call",
        median.cpu_us, least.cpu_us, median.wall_us
    );
    Some(median.cpu_us)
}

/// A thread per connection that reads until a body's length is there and answers: as little as a server can do.
fn serve(listener: &TcpListener) {
    for io in listener.incoming().flatten() {
        std::thread::spawn(move || answer(io));
    }
}

fn answer(mut io: TcpStream) {
    io.set_nodelay(true).expect("nodelay");
    let mut buffer = vec![0; 16 << 10];
    let mut filled = 0;
    while let Ok(count) = io.read(&mut buffer[filled..]) {
        if count == 0 {
            return;
        }
        filled += count;
        if buffer[..filled].ends_with(BODY) {
            filled = 0;
            if io.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

fn headers() -> Vec<(HeaderName, HeaderValue)> {
    [
        ("idempotency-key", "01k8q3v6m2f9r4t7w0x5y8z1bc-1c0"),
        ("tidegate-transaction", "tx_01k8q3v6m2f9r4t7w0x5y8z1bc"),
        ("tidegate-step", "charge"),
        ("tidegate-direction", "call"),
        ("tidegate-attempt", "1"),
        ("tidegate-fence", "17"),
        ("tidegate-deadline", "2026-11-23T15:00:00.000Z"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .collect()
}

struct Ours {
    connector: Rc<HttpConnector>,
    left: Rc<Cell<u64>>,
    waiting: Rc<Cell<u64>>,
    done: Rc<Notify>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Ours {
    fn new(url: &str) -> Self {
        let (left, waiting, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let slot: Rc<RefCell<Option<Rc<HttpConnector>>>> = Rc::default();
        let (inside, to_go, open, finished) = (slot.clone(), left.clone(), waiting.clone(), done.clone());
        let ready = headers();
        let of_sink = ready.clone();
        let connector = Rc::new(HttpConnector::new(
            HttpSettings::default(),
            Rc::new(move |answer: Answer| {
                assert!(
                    matches!(answer.reply, Reply::Answered { status: 200, body: Body::Json(_), .. }),
                    "{:?}",
                    answer.reply
                );
                if to_go.get() > 0 {
                    to_go.set(to_go.get() - 1);
                    let connector = inside.borrow().clone();
                    connector.expect("the connector").start(call(answer.token.0 + 1_000, &of_sink));
                } else {
                    open.set(open.get() - 1);
                    if open.get() == 0 {
                        finished.notify_one();
                    }
                }
            }),
        ));
        *slot.borrow_mut() = Some(connector.clone());
        let mut target = Target::new("p", &[url]);
        target.protocol = Protocol::Http1;
        connector.set_participants(&[target]).expect("a good target");
        Self { connector, left, waiting, done, headers: ready }
    }

    async fn round(&self, at_once: u64, calls: u64) {
        self.left.set(calls - at_once);
        self.waiting.set(at_once);
        for token in 0..at_once {
            self.connector.start(call(token, &self.headers));
        }
        self.done.notified().await;
    }
}

fn call(token: u64, headers: &[(HeaderName, HeaderValue)]) -> Call {
    Call {
        token: Token(token),
        participant: ParticipantIndex(0),
        endpoint: EndpointIndex(0),
        request: Request {
            method: Method::POST,
            path_and_query: "/charges".into(),
            headers: headers.to_vec(),
            body: Some(Bytes::from_static(BODY)),
        },
        timeout: Duration::from_secs(3),
    }
}

/// hyper as its guide has it: a task drives each connection, a task sends one request after the other on it, collects
/// the body and reads it as JSON. No timeout, no pool, no evidence.
#[derive(Clone)]
struct Bare {
    senders: Rc<Vec<RefCell<http1::SendRequest<Full<Bytes>>>>>,
    host: HeaderValue,
    headers: Rc<Vec<(HeaderName, HeaderValue)>>,
}

impl Bare {
    async fn new(address: &str, connections: u64) -> Self {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let io = tokio::net::TcpStream::connect(address).await.expect("connected");
            io.set_nodelay(true).expect("nodelay");
            let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("a handshake");
            tokio::task::spawn_local(connection);
            senders.push(RefCell::new(sender));
        }
        let host = HeaderValue::from_str(address).expect("a host");
        Self { senders: Rc::new(senders), host, headers: Rc::new(headers()) }
    }

    async fn round(self, calls: u64) {
        let count = self.senders.len() as u64;
        let mut tasks = Vec::new();
        for place in 0..self.senders.len() {
            let this = self.clone();
            tasks.push(tokio::task::spawn_local(async move {
                for _ in 0..calls / count {
                    this.one(place).await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("a task");
        }
    }

    #[allow(clippy::await_holding_refcell_ref)]
    async fn one(&self, place: usize) {
        let mut request = http::Request::builder()
            .method(Method::POST)
            .uri("/charges")
            .header("host", self.host.clone())
            .header("accept", "application/json")
            .header("user-agent", "bare")
            .header("content-type", "application/json");
        for (name, value) in self.headers.iter() {
            request = request.header(name, value.clone());
        }
        let request = request.body(Full::new(Bytes::from_static(BODY))).expect("a request");
        let mut sender = self.senders[place].borrow_mut();
        sender.ready().await.expect("ready");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let value = model::json::parse(&body).expect("JSON");
        std::hint::black_box(value);
    }
}
