//! Lists and counts while transactions begin and end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::{Filter, GroupBy};

use crate::world::{self, Bank, Mood, WAIT};

const ROUNDS: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_under_writes_have_everything_acknowledged_before_exactly_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let mut settings = world::settings(dir.path(), &bank);
    settings.checkpoint_every_bytes = 32 << 10;
    let engine = world::start_with(settings);
    world::apply(&engine).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (engine, stop) = (engine.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) && n < 150 {
                    let wait = if n % 2 == 0 { Duration::ZERO } else { WAIT };
                    world::insist(&engine, world::transfer(&format!("w{writer}-{n}")), wait).await;
                    n += 1;
                }
                n
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let known = 40;
        for n in 0..known {
            world::insist(
                &engine,
                world::transfer(&format!("r{round}-{n}")),
                if n % 2 == 0 { Duration::ZERO } else { WAIT },
            )
            .await;
        }
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut cursor = None;
        loop {
            let page = engine.list(Filter::default(), 37, cursor).await.expect("a page");
            assert!(page.items.len() <= 37);
            for item in &page.items {
                let line = String::from_utf8_lossy(item);
                *seen.entry(line.split_whitespace().next().unwrap_or_default().to_owned()).or_default() += 1;
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        for n in 0..known {
            assert_eq!(seen.get(&format!("r{round}-{n}")), Some(&1), "r{round}-{n} of {}", seen.len());
        }
        assert!(seen.values().all(|count| *count == 1));
        let counted: u64 = engine
            .count(Filter::default(), vec![GroupBy::Definition])
            .await
            .expect("counted")
            .iter()
            .map(|c| c.count)
            .sum();
        assert!(counted >= seen.len() as u64, "{counted} counted after {} were listed", seen.len());
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = ROUNDS * 40;
    for writer in writers {
        written += writer.await.expect("joined");
    }
    world::until("all end", || world::number(&engine, "tidegate_transactions_live") == 0).await;
    let counted: u64 =
        engine.count(Filter::default(), vec![GroupBy::State]).await.expect("counted").iter().map(|c| c.count).sum();
    assert_eq!(counted, written);
    world::end(engine);
}
