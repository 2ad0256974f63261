//! Doors that close: down is a refused connection, and the port comes back.

use std::time::Duration;

use stand::{Error, Settings, Stand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Failure, anywhere, ask, counter, started, telecom, until};

#[tokio::test]
async fn down_is_refused_at_the_own_door_and_cut_at_the_common_one() {
    for threads in [1, 2] {
        let mut settings = telecom();
        settings.threads = threads;
        let stand = started(&settings);
        let (own, common) = (stand.own_url("any").unwrap(), stand.url("any").unwrap());
        for _ in 0..3 {
            stand.set("any", "down").await.unwrap();
            for _ in 0..4 {
                assert_eq!(ask("GET", own.clone()).send().await.unwrap_err(), Failure::NotConnected);
                assert_eq!(ask("GET", common.clone()).send().await.unwrap_err(), Failure::NoAnswer);
            }
            let other = ask("POST", stand.own_url("sms").unwrap()).send().await.unwrap();
            assert_eq!(other.status, 404, "the others are not down");
            stand.set("any", "well").await.unwrap();
            assert_eq!(ask("GET", own.clone()).send().await.unwrap().status, 200);
            assert_eq!(ask("GET", common.clone()).send().await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn going_down_resets_what_is_connected_and_passes_by_itself() {
    let stand = started(&telecom());
    let own = stand.own_url("any").unwrap();
    let address = own["http://".len()..].split('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut bytes = [0; 1_024];
    for _ in 0..2 {
        stream.write_all(b"GET /any HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let read = stream.read(&mut bytes).await.unwrap();
        let text = std::str::from_utf8(&bytes[..read]).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(r#"{"ok":true}"#), "{text}");
    }
    stand.set("any", "down for 2s").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "not a polite end");
    until("the door opens again", || async { ask("GET", own.clone()).send().await.is_ok() }).await;
}

#[tokio::test]
async fn a_call_in_work_is_cut_when_its_system_goes_down() {
    let stand = started(&telecom());
    stand.set("any", "slow 10s").await.unwrap();
    let call = tokio::spawn(ask("POST", stand.own_url("any").unwrap()).send());
    until("it is in work", || async { counter(&stand, "any", "working").await == 1 }).await;
    stand.set("any", "down").await.unwrap();
    assert_eq!(call.await.unwrap().unwrap_err(), Failure::NoAnswer);
    assert_eq!(counter(&stand, "any", "effects").await, 0);
}

#[tokio::test]
async fn two_stands_never_share_a_port() {
    let first = started(&telecom());
    let again = Stand::start(&Settings::telecom(first.address()));
    assert!(matches!(again, Err(Error::Listen { at, .. }) if at == first.address()), "{again:?}");
    let address = first.address();
    drop(first);
    assert_eq!(ask("GET", format!("http://{address}/_stand/")).send().await.unwrap_err(), Failure::NotConnected);
}

#[tokio::test]
async fn more_connections_than_seats_are_closed() {
    let mut settings = Settings::telecom(anywhere());
    settings.connections_max = 2;
    let stand = started(&settings);
    let _seats =
        [TcpStream::connect(stand.address()).await.unwrap(), TcpStream::connect(stand.address()).await.unwrap()];
    let third = ask("GET", format!("http://{}/_stand/", stand.address())).send().await;
    assert_eq!(third.unwrap_err(), Failure::NoAnswer);
}

#[tokio::test]
async fn run_ends_when_it_is_told() {
    let (told, shutdown) = tokio::sync::oneshot::channel::<()>();
    let (say, said) = tokio::sync::oneshot::channel();
    let started = move |stand: &Stand| say.send(stand.address()).unwrap();
    let ran =
        tokio::spawn(async move { stand::run(&telecom(), started, async move { shutdown.await.unwrap() }).await });
    let address = said.await.unwrap();
    assert_eq!(ask("GET", format!("http://{address}/any")).send().await.unwrap().status, 200);
    told.send(()).unwrap();
    ran.await.unwrap().unwrap();
    assert_eq!(ask("GET", format!("http://{address}/any")).send().await.unwrap_err(), Failure::NotConnected);
}
