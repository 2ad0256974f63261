//! A system with a size: how many at once, who waits, who is turned away.

use std::time::{Duration, Instant};

use crate::caller::{ask, counter, started, telecom, until};

#[tokio::test]
async fn servers_work_the_queue_waits_and_the_rest_is_turned_away() {
    let mut settings = telecom();
    let any = settings.systems.last_mut().unwrap();
    any.capacity = "servers 2 queue 3 fixed 10m overload 429 retry 2s".parse().unwrap();
    let stand = started(&settings);
    let url = stand.own_url("any").unwrap();
    let patient: Vec<_> = (0..5).map(|_| tokio::spawn(ask("POST", url.clone()).send())).collect();
    until("two are worked on and three wait", || async {
        counter(&stand, "any", "working").await == 2 && counter(&stand, "any", "waiting").await == 3
    })
    .await;
    for _ in 0..3 {
        let answer = ask("POST", url.clone()).send().await.unwrap();
        assert_eq!((answer.status, &answer.headers["retry-after"]), (429, &"2".parse().unwrap()));
    }
    assert_eq!(counter(&stand, "any", "working_max").await, 2, "never more than its servers");
    assert_eq!(counter(&stand, "any", "turned_away").await, 3);
    assert_eq!(counter(&stand, "any", "in_flight_max").await, 6, "the one that is turned away was there too");
    assert_eq!(counter(&stand, "any", "in_flight").await, 5);
    patient.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn in_flight_is_counted_where_it_arrives() {
    let stand = started(&telecom());
    stand.set("any", "slow 5s").await.unwrap();
    let url = stand.own_url("any").unwrap();
    let calls: Vec<_> = (0..7).map(|_| tokio::spawn(ask("POST", url.clone()).send())).collect();
    until("seven are in flight", || async { counter(&stand, "any", "in_flight").await == 7 }).await;
    assert_eq!(counter(&stand, "any", "in_flight_max").await, 7);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn service_takes_its_time() {
    let mut settings = telecom();
    settings.systems.last_mut().unwrap().capacity = "servers 1 queue 10 fixed 50ms".parse().unwrap();
    let stand = started(&settings);
    let begun = Instant::now();
    let url = stand.own_url("any").unwrap();
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(ask("POST", url.clone()).send())).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "one after the other");
}
