//! Every fault, seen from the wire and from the ledger.

use std::time::{Duration, Instant};

use serde_json::json;
use stand::{LedgerSettings, Stand};

use crate::caller::{Answer, Ask, Failure, ask, counter, started, telecom, until};

const M: &str = "491701234567";

fn credit(stand: &Stand, key: &str) -> Ask {
    let url = format!("{}/accounts/{M}/credits", stand.own_url("billing").unwrap());
    ask("POST", url).with("X-Request-ID", key).json(&json!({"amount_minor": 1}))
}

async fn balance(stand: &Stand) -> i64 {
    stand.set("billing", "well").await.unwrap();
    let url = format!("{}/accounts/{M}", stand.own_url("billing").unwrap());
    ask("GET", url).send().await.unwrap().json["balance_minor"].as_i64().unwrap()
}

/// One credit under `fault`; what the caller saw and how much the balance grew by it.
async fn under(fault: &str) -> (Result<Answer, Failure>, i64) {
    let stand = started(&telecom());
    stand.set("billing", fault).await.unwrap();
    let saw = credit(&stand, "k").send().await;
    (saw, balance(&stand).await - 750)
}

#[tokio::test]
async fn faults_that_answer_without_an_effect() {
    for (fault, status, retry_after) in [
        ("errors", 500, None),
        ("errors 503", 503, None),
        ("busy", 503, Some("1")),
        ("busy 429 retry 7s", 429, Some("7")),
        ("unauthorized", 401, None),
    ] {
        let (saw, grew) = under(fault).await;
        let saw = saw.unwrap();
        assert_eq!((saw.status, grew), (status, 0), "{fault}");
        assert_eq!(saw.headers.get("retry-after").map(|v| v.to_str().unwrap()), retry_after, "{fault}");
    }
    let (saw, grew) = under("refuse").await;
    let saw = saw.unwrap();
    assert_eq!((saw.status, saw.json, grew), (200, json!({"result": "BLOCKED"}), 0));
}

#[tokio::test]
async fn each_system_refuses_in_its_own_words() {
    let stand = started(&telecom());
    stand.set("all", "refuse").await.unwrap();
    for (system, method, path, status) in [
        ("payments", "POST", "/charges", 402),
        ("crm", "PUT", "/contracts/491701234567/tariff", 409),
        ("hlr", "PUT", "/subscribers/491701234567/profile", 409),
        ("mnp", "POST", "/port-requests/p/acceptance", 422),
        ("sms", "POST", "/messages", 400),
        ("any", "POST", "/", 409),
    ] {
        let answer = ask(method, stand.url(system).unwrap() + path).send().await.unwrap();
        assert_eq!(answer.status, status, "{system}");
    }
    let undo = ask("POST", stand.url("any").unwrap()).with("Tidegate-Direction", "compensate").send().await.unwrap();
    assert_eq!(undo.status, 200, "an undo is not refused unless it is said");
    stand.set("any", "refuse on undo").await.unwrap();
    let undo = ask("POST", stand.url("any").unwrap()).with("Tidegate-Direction", "compensate").send().await.unwrap();
    assert_eq!(undo.status, 409);
}

#[tokio::test]
async fn faults_that_hide_an_effect() {
    let (saw, grew) = under("gateway").await;
    let saw = saw.unwrap();
    assert_eq!((saw.status, saw.headers.get("retry-after"), grew), (503, None, 1));
    for fault in ["lost", "cut after"] {
        let (saw, grew) = under(fault).await;
        assert_eq!((saw.unwrap_err(), grew), (Failure::NoAnswer, 1), "{fault}");
    }
    let (saw, grew) = under("cut mid").await;
    assert_eq!((saw.unwrap_err(), grew), (Failure::TornBody, 1));
    let (saw, grew) = under("cut before").await;
    assert_eq!((saw.unwrap_err(), grew), (Failure::NoAnswer, 0));
}

#[tokio::test]
async fn the_same_over_http2_resets_only_the_stream() {
    let stand = started(&telecom());
    for (fault, want) in [("lost", Failure::NoAnswer), ("cut mid", Failure::TornBody)] {
        stand.set("billing", fault).await.unwrap();
        assert_eq!(credit(&stand, fault).send_h2().await.unwrap_err(), want, "{fault}");
    }
    assert_eq!(balance(&stand).await, 752);
}

#[tokio::test]
async fn slow_takes_its_time_and_goes_with_other_faults() {
    let stand = started(&telecom());
    stand.set("billing", "slow 150ms + errors 504").await.unwrap();
    let begun = Instant::now();
    assert_eq!(credit(&stand, "k").send().await.unwrap().status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn late_lands_after_the_caller_has_gone() {
    let stand = started(&telecom());
    stand.set("billing", "late 2s").await.unwrap();
    let impatient = tokio::spawn(credit(&stand, "k").send());
    until("it has arrived", || async { counter(&stand, "billing", "in_flight").await == 1 }).await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    assert_eq!(counter(&stand, "billing", "effects").await, 0, "not yet");
    until("the late effect", || async { counter(&stand, "billing", "effects").await == 1 }).await;
    assert_eq!(balance(&stand).await, 751);
}

#[tokio::test]
async fn hang_never_answers_until_the_fault_is_gone() {
    let stand = started(&telecom());
    stand.set("billing", "hang").await.unwrap();
    let impatient = credit(&stand, "k").patient_for(Duration::from_millis(500));
    assert_eq!(impatient.send().await.unwrap_err(), Failure::TimedOut);
    until("the system still works on it", || async { counter(&stand, "billing", "in_flight").await == 1 }).await;
    assert_eq!(balance(&stand).await, 750);
    until("the hung call is let go", || async { counter(&stand, "billing", "in_flight").await == 0 }).await;
}

#[tokio::test]
async fn a_forgetful_system_does_it_twice() {
    let stand = started(&telecom());
    stand.set("billing", "forgetful").await.unwrap();
    for _ in 0..2 {
        let answer = credit(&stand, "k").send().await.unwrap();
        assert!(answer.headers.get("idempotent-replayed").is_none());
    }
    assert_eq!(balance(&stand).await, 752);
    stand.set("billing", "forgetful 1h").await.unwrap();
    assert_eq!(credit(&stand, "k").send().await.unwrap().headers["idempotent-replayed"], "true");
    assert_eq!(balance(&stand).await, 752);
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_is_safe() {
    let stand = started(&telecom());
    stand.set("billing", "lost").await.unwrap();
    assert_eq!(credit(&stand, "k").send().await.unwrap_err(), Failure::NoAnswer);
    stand.set("billing", "well").await.unwrap();
    let again = credit(&stand, "k").send().await.unwrap();
    assert_eq!((again.status, &again.headers["idempotent-replayed"] == "true"), (200, true));
    assert_eq!(balance(&stand).await, 751);
}

#[tokio::test]
async fn shares_and_durations_hold() {
    let stand = started(&telecom());
    stand.set("any", "errors 30% + busy 30%").await.unwrap();
    let mut seen = [0; 3];
    for _ in 0..300 {
        let answer = ask("POST", stand.url("any").unwrap()).send().await.unwrap();
        seen[match answer.status {
            500 => 0,
            503 => 1,
            _ => 2,
        }] += 1;
    }
    assert!(seen.iter().all(|n| (60..160).contains(n)), "{seen:?}");
    stand.set("any", "errors for 30ms").await.unwrap();
    until("the fault passes", || async { ask("POST", stand.url("any").unwrap()).send().await.unwrap().status == 200 })
        .await;
}

#[tokio::test]
async fn one_seed_one_sequence() {
    let mut sequences = Vec::new();
    for seed in [7, 7, 8] {
        let mut settings = telecom();
        settings.seed = seed;
        let stand = started(&settings);
        stand.set("any", "errors 50%").await.unwrap();
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(ask("POST", stand.url("any").unwrap()).send().await.unwrap().status);
        }
        sequences.push(statuses);
    }
    assert_eq!(sequences[0], sequences[1]);
    assert_ne!(sequences[0], sequences[2]);
}

#[tokio::test]
async fn the_ledger_tells_what_the_caller_could_not_see() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = telecom();
    settings.ledger = Some(LedgerSettings::at(dir.path().join("ledger.db")));
    let stand = started(&settings);
    let client = stand.client();
    for (key, fault) in [("a", "well"), ("b", "lost"), ("c", "gateway"), ("d", "errors"), ("e", "refuse")] {
        stand.set("billing", fault).await.unwrap();
        let call = credit(&stand, key)
            .with("Tidegate-Transaction", "tx_1")
            .with("Tidegate-Step", "credit")
            .with("Tidegate-Direction", "call")
            .with("Tidegate-Attempt", "2");
        let _ = call.send().await;
    }
    stand.set("billing", "well").await.unwrap();
    let _ = credit(&stand, "a").send().await;
    let rows = client.effects(0, 100).await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            (text("call_key"), text("came"), row["status_answered"].as_u64().unwrap(), row["answered"] == true)
        })
        .collect();
    let row = |key: &str, came: &str, status, answered| (key.to_owned(), came.to_owned(), status, answered);
    let want = [
        row("a", "effect", 200, true),
        row("b", "effect", 200, false),
        row("c", "effect", 503, true),
        row("a", "repeat", 200, true),
    ];
    assert_eq!(told, want);
    let first = &rows[0];
    assert_eq!(
        (
            &first["tx"],
            &first["step"],
            &first["direction"],
            &first["attempt"],
            &first["amount_minor"],
            &first["account"]
        ),
        (&json!("tx_1"), &json!("credit"), &json!("call"), &json!(2), &json!(1), &json!(M))
    );
    assert_eq!(client.effects(3, 100).await.unwrap().len(), 1);
}
