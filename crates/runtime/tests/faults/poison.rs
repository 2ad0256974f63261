//! A transaction whose decision panics is put aside, and nothing else is: the node lives, others end, a restart
//! finds it where it was, and a person can go on with it once the cause is gone (SEMANTICS 12).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::{SourceText, Until, Verb};

use crate::bank::Bank;
use crate::campaign::doctor;
use crate::disk::Shadow;
use crate::life::{self, Life, Line, WAIT};

/// The second participant is the same bank; looking it up is what panics.
const CURSED: &str = r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: cursed
    connector: http
    endpoints: ["http://127.0.0.1:1"]
    idempotency: {body: external_id, for: 24h}
    settles_within: 0s
    timeout: 2s
    retry: {attempts: 4, backoff: 2ms, max_backoff: 10ms}
    limits: {max_in_flight: 64}
"#;

fn poisonous() -> Vec<SourceText> {
    let mut files = life::files();
    let transfer = files.iter().find(|file| file.text.contains("name: transfer")).expect("a definition").text.clone();
    let late = transfer.replace("name: transfer", "name: late-poison");
    // The second call goes to the cursed participant; then the first as well.
    let (head, tail) = late.split_at(late.find("- name: credit").expect("a second step"));
    let late = format!("{head}{}", tail.replace("participant: bank", "participant: cursed"));
    let early = late.replace("late-poison", "early-poison").replace("participant: bank", "participant: cursed");
    for (n, text) in [CURSED.to_owned(), late, early].into_iter().enumerate() {
        files.push(SourceText { path: format!("poison-{n}.yaml"), text });
    }
    files
}

fn begin(data: &Path, shadow: &Arc<Shadow>, bank: &Arc<Bank>, is_poisoned: bool) -> Life {
    Life::begin(data, shadow, bank, |settings| {
        settings.faults.poison = is_poisoned.then(|| "cursed".to_owned());
    })
    .expect("the node starts")
}

async fn state_of(node: &Life, key: &str) -> Line {
    let lines = life::everything(&node.engine).await;
    lines.into_iter().find(|line| line.key == key).unwrap_or_else(|| panic!("{key} is unknown"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_one_transaction_its_peace_and_nobody_else_anything() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, shadow, bank) = (dir.path().join("data"), Shadow::new(1), Bank::new(1));
    std::fs::create_dir(&data).expect("a folder");
    bank.recover();
    let node = begin(&data, &shadow, &bank, false);
    node.engine.apply(poisonous(), false, "test").await.expect("applied");
    node.end();

    let node = begin(&data, &shadow, &bank, true);
    let poisoned = ["late-poison", "early-poison"];
    for definition in poisoned {
        let order = life::order(definition, "a1", definition, 0);
        let answer = node.engine.submit(order, Duration::from_millis(300), Until::End).await.expect("accepted");
        assert!(!answer.decided, "{}", String::from_utf8_lossy(&answer.body));
    }
    for n in 0..20 {
        // The same account, so the same partition as the poisoned ones.
        let order = life::order("transfer", "a1", &format!("t{n}"), 0);
        let answer = node.engine.submit(order, WAIT, Until::End).await.expect("accepted");
        assert_eq!(Line::read(&answer.body).outcome, "completed");
    }
    assert_eq!(node.engine.failure(), None);
    for key in poisoned {
        assert_eq!(state_of(&node, key).await.state, "needs_attention", "{key}");
    }
    node.die();

    // The same poison once more: it is not a crash loop.
    let node = begin(&data, &shadow, &bank, true);
    for key in poisoned {
        assert_eq!(state_of(&node, key).await.state, "needs_attention", "{key}");
    }
    assert_eq!(node.engine.failure(), None);
    assert_eq!(node.die(), 0, "TX-4: nothing is stranded");

    let node = begin(&data, &shadow, &bank, false);
    for key in poisoned {
        let id = state_of(&node, key).await.id;
        node.engine.operate(id, Verb::Retry, "person".into(), "mended".into()).await.expect("taken");
    }
    let live = || life::number(&node.engine, "tidegate_transactions_live");
    assert!(life::until(|| live() == 0).await, "{live} are left", live = live());
    for key in poisoned {
        let line = state_of(&node, key).await;
        assert_eq!((line.state.as_str(), line.outcome.as_str()), ("ended", "completed"), "{key}");
    }
    assert_eq!(node.end(), 0, "TX-4: nothing is stranded");
    let (standing, wrong) = bank.standing();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(standing.len(), 22);
    assert!(standing.values().all(|steps| steps.values().all(|count| *count == 1)), "{standing:?}");
    assert_eq!(doctor(&data), Vec::<String>::new());
}
