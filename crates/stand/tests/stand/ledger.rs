//! What was answered is in the ledger, and a new life goes on from it.

use std::path::Path;

use serde_json::json;
use stand::audit::{Story, Verdict, audit};
use stand::{Durability, Error, LedgerSettings, Settings, Stand};

use crate::caller::{Ask, anywhere, ask, started};

const M: &str = "491701234567";

fn with_ledger(path: &Path, durability: Durability) -> Settings {
    let mut settings = Settings::telecom(anywhere());
    settings.ledger = Some(LedgerSettings { path: path.to_owned(), durability });
    settings
}

fn step(call: Ask, tx: &str, step: &str, direction: &str) -> Ask {
    call.with("Tidegate-Transaction", tx).with("Tidegate-Step", step).with("Tidegate-Direction", direction)
}

fn charge(stand: &Stand, tx: &str) -> Ask {
    let call = ask("POST", stand.url("payments").unwrap() + "/charges").with("Idempotency-Key", format!("{tx}-0c0"));
    step(call.json(&json!({"amount_minor": 1000, "card_token": "tok_1"})), tx, "charge", "call")
}

fn credit(stand: &Stand, tx: &str) -> Ask {
    let url = format!("{}/accounts/{M}/credits", stand.url("billing").unwrap());
    let call = ask("POST", url).with("X-Request-ID", format!("{tx}-1c0"));
    step(call.json(&json!({"amount_minor": 1000})), tx, "credit", "call")
}

fn refund(stand: &Stand, tx: &str) -> Ask {
    let call = ask("POST", stand.url("payments").unwrap() + "/refunds").with("Idempotency-Key", format!("{tx}-0u0"));
    step(call.json(&json!({"charge_key": format!("{tx}-0c0")})), tx, "charge", "compensate")
}

/// What a killed process would leave behind: the files as they are at this moment.
fn image(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        if Path::new(&name(from)).exists() {
            std::fs::copy(name(from), name(to)).unwrap();
        }
    }
}

#[tokio::test]
async fn every_answered_effect_survives_a_kill_and_the_next_life_goes_on() {
    for durability in [Durability::Kill, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let (path, killed) = (dir.path().join("ledger.db"), dir.path().join("killed.db"));
        let stand = started(&with_ledger(&path, durability));
        for n in 0..20 {
            assert_eq!(charge(&stand, &format!("tx_{n}")).send().await.unwrap().status, 201);
            assert_eq!(credit(&stand, &format!("tx_{n}")).send().await.unwrap().status, 200);
        }
        image(&path, &killed);
        drop(stand);
        let stories: Vec<_> = (0..20).map(|n| Story::new(format!("tx_{n}"), "top-up", Verdict::Completed)).collect();
        let report = audit(&killed, stories).unwrap();
        assert!(report.passed(), "{report}");
        assert_eq!((report.counted.effects, report.counted.completed), (40, 20));

        let next = started(&with_ledger(&killed, durability));
        let again = credit(&next, "tx_7").send().await.unwrap();
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.json, json!({"balance_minor": 8750}));
        let new = credit(&next, "tx_20").send().await.unwrap();
        assert_eq!(new.json, json!({"balance_minor": 750 + 21_000}));
        assert_eq!(charge(&next, "tx_20").send().await.unwrap().json, json!({"id": "ch_21"}));
    }
}

#[tokio::test]
async fn a_clean_end_loses_nothing_even_when_answers_do_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let stand = started(&with_ledger(&path, Durability::Later));
    for n in 0..10 {
        charge(&stand, &format!("tx_{n}")).send().await.unwrap();
    }
    drop(stand);
    let next = started(&with_ledger(&path, Durability::Later));
    assert_eq!(charge(&next, "new").send().await.unwrap().json, json!({"id": "ch_11"}));
}

#[tokio::test]
async fn another_stands_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let stand = started(&with_ledger(&path, Durability::Kill));
    charge(&stand, "tx_1").send().await.unwrap();
    drop(stand);
    let mut other = with_ledger(&path, Durability::Kill);
    other.systems.retain(|spec| spec.name != "payments");
    let why = Stand::start(&other).unwrap_err();
    assert!(matches!(&why, Error::OtherLedger { seq: 1, system } if system == "payments"), "{why}");
}

#[tokio::test]
async fn the_running_stand_audits_itself() {
    let dir = tempfile::tempdir().unwrap();
    let stand = started(&with_ledger(&dir.path().join("ledger.db"), Durability::Kill));
    let client = stand.client();
    let story = |tx: &str, verdict| Story::new(tx, "top-up", verdict);

    charge(&stand, "good").send().await.unwrap();
    credit(&stand, "good").send().await.unwrap();
    charge(&stand, "back").send().await.unwrap();
    refund(&stand, "back").send().await.unwrap();
    let honest = [story("good", Verdict::Completed), story("back", Verdict::Aborted)];
    let report = client.audit(&honest).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.money["payments"].completed_minor, 1000);
    assert_eq!(report.money["payments"].aborted_minor, 0);

    // The same effects and an engine that says something else.
    let liar = [story("good", Verdict::Aborted), story("back", Verdict::Completed)];
    let report = client.audit(&liar).await.unwrap();
    let rules: Vec<&str> = report.violations_count.keys().map(|rule| rule.as_str()).collect();
    assert_eq!(rules, ["lost", "undone", "kept", "money"], "{report}");
    let nothing = client.audit(&[]).await.unwrap();
    assert!(!nothing.passed() && nothing.is_empty());

    // A system that forgets does it twice, and the audit sees that.
    stand.set("payments", "forgetful").await.unwrap();
    charge(&stand, "good").send().await.unwrap();
    let report = client.audit(&honest).await.unwrap();
    assert!(report.violations.iter().any(|v| v.rule.as_str() == "doubled" && v.tx == "good"), "{report}");
}

#[tokio::test]
async fn an_undo_before_its_do_is_kept_unless_the_system_blocks_it() {
    for blocks in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = with_ledger(&dir.path().join("ledger.db"), Durability::Kill);
        for spec in &mut settings.systems {
            spec.undo_blocks_do = blocks;
        }
        let stand = started(&settings);
        let client = stand.client();
        assert_eq!(refund(&stand, "t").send().await.unwrap().json, json!({"result": "NOTHING_TO_REFUND"}));
        assert_eq!(charge(&stand, "t").send().await.unwrap().status, if blocks { 409 } else { 201 });
        let report = client.audit(&[Story::new("t", "top-up", Verdict::Aborted)]).await.unwrap();
        let kept = report.violations.iter().any(|v| v.rule.as_str() == "kept" && v.step == "charge");
        assert_eq!(kept, !blocks, "{report}");
    }
}
