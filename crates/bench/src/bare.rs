//! The bare orchestrator: the same kind of front (hyper, one accept loop per thread on a shared port) and the same
//! connector, making the same three calls one after another. No journal, no state, no limits: what the network
//! stack allows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use connectors::{
    Answer, Call, Connector, EndpointIndex, HttpConnector, HttpSettings, ParticipantIndex, Reply, Target, Token,
};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::Value;
use tokio::sync::oneshot;

use crate::children::wait_for_parent;

const STEPS: [(&str, &str); 3] = [
    ("/reservations", "reserve the amount on the subscriber's balance for an order"),
    ("/charges", "charge the reserved amount and keep the number of the charge"),
    ("/messages", "tell the subscriber that the order has been charged and booked"),
];

struct Bare {
    connector: HttpConnector,
    waiting: Rc<RefCell<HashMap<u64, oneshot::Sender<Reply>>>>,
    next: std::cell::Cell<u64>,
}

pub(crate) fn play(stand: &str, workers: usize) -> Result<(), String> {
    let probe = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(|e| e.to_string())?;
    let address = probe.local_addr().map_err(|e| e.to_string())?;
    drop(probe);
    for worker in 0..workers.max(1) {
        let stand = stand.to_owned();
        std::thread::Builder::new()
            .name(format!("bare-{worker}"))
            .spawn(move || {
                if let Err(why) = serve(address, &stand) {
                    eprintln!("error: {why}");
                    std::process::exit(1);
                }
            })
            .map_err(|e| e.to_string())?;
    }
    // The listeners are bound within moments; the first connection may wait for them.
    for _ in 0..200 {
        if std::net::TcpStream::connect(address).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{address}");
    wait_for_parent();
    Ok(())
}

fn serve(address: SocketAddr, stand: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let waiting: Rc<RefCell<HashMap<u64, oneshot::Sender<Reply>>>> = Rc::default();
        let heard = Rc::clone(&waiting);
        let sink = move |answer: Answer| {
            if let Some(to) = heard.borrow_mut().remove(&answer.token.0) {
                let _ = to.send(answer.reply);
            }
        };
        let connector = HttpConnector::new(HttpSettings::default(), Rc::new(sink));
        let targets: Vec<Target> = ["stock", "payments", "sms"]
            .iter()
            .map(|name| {
                let mut target = Target::new(name, &[&format!("{stand}/{name}")]);
                target.connections_max = 4_096;
                target
            })
            .collect();
        connector.set_participants(&targets).map_err(|e| format!("{e:?}"))?;
        let bare = Rc::new(Bare { connector, waiting, next: std::cell::Cell::new(0) });
        let socket = tokio::net::TcpSocket::new_v4().map_err(|e| e.to_string())?;
        socket.set_reuseport(true).map_err(|e| e.to_string())?;
        socket.bind(address).map_err(|e| e.to_string())?;
        let listener = socket.listen(4_096).map_err(|e| e.to_string())?;
        loop {
            let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
            let _ = stream.set_nodelay(true);
            let bare = Rc::clone(&bare);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| transaction(Rc::clone(&bare), request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn transaction(bare: Rc<Bare>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let key = request.headers().get("idempotency-key").cloned();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = match model::json::parse(&body) {
        Ok(order) => bare.orchestrate(&order, key).await,
        Err(e) => Err(e.to_string()),
    };
    let (status, text) = match answer {
        Ok(text) => (200, text),
        Err(why) => (500, why),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Bare {
    async fn orchestrate(&self, order: &Value, key: Option<HeaderValue>) -> Result<String, String> {
        let input = order.get("input").ok_or("no input")?;
        let (msisdn, amount) = (input.get("msisdn").ok_or("no msisdn")?, input.get("amount").ok_or("no amount")?);
        for (place, (path, note)) in STEPS.iter().enumerate() {
            let body = format!(r#"{{"amount":{amount},"msisdn":{msisdn},"note":"{note}"}}"#);
            let token = self.next.get();
            self.next.set(token + 1);
            let (to, answer) = oneshot::channel();
            self.waiting.borrow_mut().insert(token, to);
            let headers = key.iter().map(|key| (HeaderName::from_static("idempotency-key"), key.clone())).collect();
            self.connector.start(Call {
                token: Token(token),
                participant: ParticipantIndex(place as u32),
                endpoint: EndpointIndex(0),
                request: connectors::Request {
                    method: Method::POST,
                    path_and_query: (*path).into(),
                    headers,
                    body: Some(Bytes::from(body)),
                },
                timeout: Duration::from_secs(10),
            });
            match answer.await {
                Ok(Reply::Answered { status: 200..=299, .. }) => {}
                other => return Err(format!("step {place}: {other:?}")),
            }
        }
        Ok(r#"{"id":"tx_00000000000000000000000000","definition":"order","version":1,"state":"ended","outcome":"completed","reason":null,"output":{"charged":true}}"#.into())
    }
}
