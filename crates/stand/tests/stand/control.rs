//! Control by HTTP and by its client.

use serde_json::json;
use stand::control::{Client, ClientError};

use crate::caller::{ask, started, telecom, until};

#[tokio::test]
async fn what_is_set_is_shown() {
    let stand = started(&telecom());
    let client = Client::new(&format!("http://{}/_stand/", stand.address()));
    assert_eq!(client.set("billing", "slow 500ms 10% + lost").await.unwrap(), "slow 500ms 10% + lost");
    let size = client.set_capacity("crm", "servers 8 queue 5").await.unwrap();
    assert_eq!(size, "servers 8 queue 5 overload 503 retry 1s");
    let state = client.state().await.unwrap();
    let system = |name: &str| state["systems"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(system("billing")["fault"], "slow 500ms 10% + lost");
    assert_eq!(system("crm")["capacity"], size);
    assert_eq!(system("billing")["own_url"], stand.own_url("billing").unwrap());
    assert_eq!(state["ledger"], json!(null));
    client.set("all", "well").await.unwrap();
    assert_eq!(client.state().await.unwrap()["systems"][0]["fault"], "well");
}

#[tokio::test]
async fn counters_begin_anew() {
    let stand = started(&telecom());
    let client = Client::new(&stand.address().to_string());
    ask("POST", stand.url("any").unwrap()).send().await.unwrap();
    let any = || async { client.state().await.unwrap()["systems"].as_array().unwrap().last().unwrap().clone() };
    let before = any().await;
    assert_eq!((&before["requests"], &before["in_flight_max"]), (&json!(1), &json!(1)));
    client.reset_counters().await.unwrap();
    let after = any().await;
    assert_eq!((&after["requests"], &after["in_flight_max"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_schedule_happens() {
    let stand = started(&telecom());
    let client = Client::new(&stand.address().to_string());
    let lines = "{\"at\":\"0s\",\"system\":\"any\",\"fault\":\"errors 502\"}\n{\"at\":\"1h\",\"system\":\"any\",\"fault\":\"well\"}\n";
    assert_eq!(client.schedule(lines).await.unwrap(), 2);
    until("the first line", || async { ask("POST", stand.url("any").unwrap()).send().await.unwrap().status == 502 })
        .await;
    assert_eq!(client.state().await.unwrap()["scheduled"], 1);
}

#[tokio::test]
async fn mistakes_are_answered_with_what_was_wrong() {
    let stand = started(&telecom());
    let client = Client::new(&stand.address().to_string());
    let refused = |why: Result<String, ClientError>| match why {
        Err(ClientError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(client.set("bilng", "lost").await).contains("no system \"bilng\""));
    assert!(refused(client.set("billing", "angry").await).contains("\"angry\" is not a fault"));
    assert!(refused(client.set_capacity("billing", "servers 0").await).contains("servers must be"));
    let why = client.effects(0, 1).await.unwrap_err().to_string();
    assert!(why.contains("keeps no ledger"), "{why}");
    let stand_url = format!("http://{}/_stand", stand.address());
    assert_eq!(ask("GET", format!("{stand_url}/nothing")).send().await.unwrap().status, 404);
    let odd = ask("PUT", format!("{stand_url}/systems/billing/fault")).json(&json!({"fault": "lost", "x": 1}));
    assert_eq!(odd.send().await.unwrap().status, 400);
    drop(stand);
    let gone = client.state().await.unwrap_err().to_string();
    assert!(gone.contains("no stand answers at"), "{gone}");
}
