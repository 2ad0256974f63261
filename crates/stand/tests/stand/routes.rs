//! The six systems through their doors.

use serde_json::json;

use crate::caller::{ask, counter, started, telecom};

const M: &str = "491701234567";

#[tokio::test]
async fn a_top_up_by_hand_and_back() {
    let stand = started(&telecom());
    let url = |system: &str| stand.url(system).unwrap();
    let charge = json!({"amount_minor": 1000, "currency": "EUR", "card_token": "tok_1", "reference": "tx_1"});
    let charged = ask("POST", url("payments") + "/charges").with("Idempotency-Key", "c1").json(&charge);
    let charged = charged.send().await.unwrap();
    assert_eq!((charged.status, charged.json), (201, json!({"id": "ch_1"})));
    let credit = |key: &str, amount: u64| {
        let body = json!({"amount_minor": amount, "currency": "EUR"});
        ask("POST", format!("{}/accounts/{M}/credits", url("billing"))).with("X-Request-ID", key).json(&body)
    };
    let credited = credit("k1", 1000).send().await.unwrap();
    assert_eq!((credited.status, credited.json), (200, json!({"balance_minor": 1750})));
    assert!(credited.headers.get("idempotent-replayed").is_none());
    let again = credit("k1", 1000).send().await.unwrap();
    assert_eq!((again.status, again.json), (200, json!({"balance_minor": 1750})));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(credit("k1", 999).send().await.unwrap().status, 422);
    assert_eq!(credit("\"k1\"", 1000).send().await.unwrap().headers["idempotent-replayed"], "true");

    let reversal = ask("POST", format!("{}/accounts/{M}/reversals", url("billing")))
        .with("X-Request-ID", "u1")
        .with("Tidegate-Direction", "compensate")
        .json(&json!({"credit_key": "k1"}));
    assert_eq!(reversal.send().await.unwrap().json, json!({"result": "REVERSED", "balance_minor": 750}));
    let refund = ask("POST", url("payments") + "/refunds").with("Idempotency-Key", "u2");
    assert_eq!(refund.json(&json!({"charge_key": "c1"})).send().await.unwrap().status, 201);
    let sms = ask("POST", url("sms") + "/messages").json(&json!({"to": M, "template": "top-up-done"}));
    assert_eq!(sms.send().await.unwrap().status, 202);
    assert_eq!(counter(&stand, "billing", "effects").await, 2);
    assert_eq!(counter(&stand, "billing", "repeats").await, 2);
}

#[tokio::test]
async fn a_tariff_change_and_a_port_out_by_hand() {
    let stand = started(&telecom());
    let own = |system: &str| stand.own_url(system).unwrap();
    let contract = ask("GET", format!("{}/contracts/{M}", own("crm"))).send().await.unwrap().json;
    assert_eq!((&contract["tariff"], &contract["change_fee_minor"]), (&json!("FLEX_10"), &json!(499)));
    let debit = ask("POST", format!("{}/accounts/{M}/debits", own("billing"))).with("X-Request-ID", "d");
    assert_eq!(debit.json(&json!({"amount_minor": 499, "text": "fee"})).send().await.unwrap().status, 201);
    let profile = ask("PUT", format!("{}/subscribers/{M}/profile", own("hlr"))).json(&json!({"profile": "FLEX_20"}));
    assert_eq!(profile.send().await.unwrap().status, 200);
    let tariff = ask("PUT", format!("{}/contracts/{M}/tariff", own("crm"))).json(&json!({"tariff": "FLEX_20"}));
    assert_eq!(tariff.send().await.unwrap().json["tariff"], "FLEX_20");

    let mnp = |what: &str, body| ask("POST", format!("{}/port-requests/p1/{what}", own("mnp"))).json(&body);
    assert_eq!(mnp("acceptance", json!({"external_id": "a"})).send().await.unwrap().status, 200);
    let subscriber = || ask("DELETE", format!("{}/subscribers/{M}", own("hlr")));
    assert_eq!(subscriber().send().await.unwrap().status, 200);
    assert_eq!(subscriber().send().await.unwrap().status, 404);
    let done = json!({"external_id": "b", "released_to": "DEU01"});
    assert_eq!(mnp("completion", done).send().await.unwrap().status, 200);
    let id = contract["id"].as_str().unwrap();
    let close = ask("PUT", format!("{}/contracts/{id}/state", own("crm"))).json(&json!({"state": "PORTED_OUT"}));
    assert_eq!(close.send().await.unwrap().json["state"], "PORTED_OUT");
}

#[tokio::test]
async fn both_doors_and_both_versions_of_http() {
    let stand = started(&telecom());
    let own = stand.own_url("any").unwrap();
    let bare = own.strip_suffix("/any").unwrap().to_owned();
    for url in [stand.url("any").unwrap(), own, bare + "/x/y?z=1"] {
        for h2 in [false, true] {
            let call = ask("POST", url.clone()).json(&json!({"a": 1}));
            let answer = if h2 { call.send_h2().await } else { call.send().await }.unwrap();
            assert_eq!((answer.status, answer.json), (200, json!({"ok": true})), "{url} {h2}");
        }
    }
    assert_eq!(counter(&stand, "any", "requests").await, 6);
    let lost = ask("GET", format!("http://{}/nobody/x", stand.address())).send().await.unwrap();
    assert_eq!(lost.status, 404);
    assert!(lost.json["systems"].as_array().unwrap().contains(&json!("billing")));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let stand = started(&telecom());
    let call = ask("POST", stand.url("any").unwrap()).text("x".repeat((1 << 20) + 1));
    assert_eq!(call.send().await.unwrap().status, 413);
}
