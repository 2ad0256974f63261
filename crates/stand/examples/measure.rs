//! How many calls a second one server thread answers: `cargo run --release -p stand --example measure -- [ledger]`.
//!
//! Keep-alive connections over loopback, each with one small call at a time, from one client thread: with two free
//! cores the client is about as busy as the stand, so the figure is a lower bound.

use std::time::{Duration, Instant};

use stand::{LedgerSettings, Settings, Stand, SystemSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;
const LASTS: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings::telecom(([127, 0, 0, 1], 0).into());
    settings.systems.push(SystemSpec::generic("any"));
    let ledger = std::env::args().nth(1);
    settings.ledger = ledger.map(LedgerSettings::at);
    let stand = Stand::start(&settings)?;
    let body = r#"{"amount_minor":1000,"currency":"EUR"}"#;
    let request = format!("POST /any/credits HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let until = Instant::now() + LASTS;
    let calls: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(one_caller(stand.address(), request.clone().into_bytes(), until)))
        .collect();
    let mut done = 0;
    for call in calls {
        done += call.await??;
    }
    println!("{} calls/s over {CONNECTIONS} connections", done as f64 / LASTS.as_secs_f64());
    Ok(())
}

async fn one_caller(at: std::net::SocketAddr, request: Vec<u8>, until: Instant) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let mut answer = [0; 1_024];
    let mut done = 0;
    while Instant::now() < until {
        stream.write_all(&request).await?;
        let mut read = 0;
        while !answer[..read].ends_with(br#"{"ok":true}"#) {
            match stream.read(&mut answer[read..]).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        done += 1;
    }
    Ok(done)
}
