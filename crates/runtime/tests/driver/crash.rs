//! Kill -9 under load, again and again: nothing acknowledged is lost, nothing is begun twice.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use runtime::view::Detail;
use runtime::{Engine, Filter, Settings, Until};

use crate::world::{self, Bank, Mood, WAIT};

const CHILD: &str = "TIDEGATE_TEST_CHILD_DIR";
const KILLS: usize = 4;
const ACKNOWLEDGED_BEFORE_KILL: usize = 400;

/// Checkpoints, trimming and eviction all the time.
fn settings(dir: &Path) -> Settings {
    let mut settings = world::settings(dir, &Bank::new(Mood::Shaky));
    settings.checkpoint_every_bytes = 16 << 10;
    settings.memory_bytes_max = 4 << 20;
    settings
}

/// Not a test of its own: the process that is killed. Prints every acknowledged key and id, until it dies.
#[test]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = std::path::PathBuf::from(dir);
    tokio.block_on(async {
        let engine = world::start_with(settings(&dir));
        world::apply(&engine).await;
        let round = std::process::id();
        let clients = (0..16).map(|client| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0..100_000 {
                    let key = format!("{round}-{client}-{n}");
                    let order = if n % 5 == 0 {
                        world::order("transfer", &key, &key, &format!("nobody-{key}"))
                    } else {
                        world::transfer(&key)
                    };
                    // Half are acknowledged when they are accepted, half when they have ended.
                    let wait = if n % 2 == 0 { Duration::ZERO } else { WAIT };
                    let (answer, _) = world::insist(&engine, order, wait).await;
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nACK {key} {}", answer.id).expect("written");
                    out.flush().expect("flushed");
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.expect("joined");
        }
    });
}

fn run_and_kill(dir: &Path, acknowledged: &mut HashMap<String, String>) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "crash::the_child_that_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let before = acknowledged.len();
    let mut killed = false;
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The last line may have been cut by the kill.
        if let ["ACK", key, id] = words.as_slice()
            && id.parse::<model::TxId>().is_ok()
        {
            acknowledged.insert((*key).to_owned(), (*id).to_owned());
        }
        if !killed && acknowledged.len() - before >= ACKNOWLEDGED_BEFORE_KILL {
            child.kill().expect("killed");
            killed = true;
        }
    }
    child.wait().expect("its end");
    assert!(killed, "the child ended by itself after {} acknowledgements", acknowledged.len() - before);
}

async fn every_key(engine: &Engine) -> HashMap<String, u32> {
    let mut keys = HashMap::new();
    let mut cursor = None;
    loop {
        let page = engine.list(Filter::default(), 1_000, cursor).await.expect("a page");
        for item in &page.items {
            let line = String::from_utf8_lossy(item);
            let key = line.split_whitespace().next().unwrap_or_default().to_owned();
            *keys.entry(key).or_default() += 1;
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return keys,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_begins_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut acknowledged = HashMap::new();
    for _ in 0..KILLS {
        run_and_kill(dir.path(), &mut acknowledged);
    }
    let engine = world::start_with(settings(dir.path()));
    for (key, id) in &acknowledged {
        let id = id.parse().expect("an id");
        let answer = engine.get(id, WAIT, Until::End, Detail::Answer).await;
        let answer = answer.unwrap_or_else(|e| panic!("{key} was acknowledged as {id} and is gone: {e}"));
        assert!(world::text(&answer).starts_with(&format!("{key} ended/")), "{}", world::text(&answer));
    }
    let keys = every_key(&engine).await;
    assert!(keys.len() >= acknowledged.len());
    let twice: Vec<_> = keys.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "begun twice: {twice:?}");
    // The clients of a dead node ask again: each finds its own.
    for (key, id) in acknowledged.iter().take(50) {
        let n: u32 = key.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a number");
        let to = if n.is_multiple_of(5) { format!("nobody-{key}") } else { key.clone() };
        let (again, _) = world::insist(&engine, world::order("transfer", key, key, &to), WAIT).await;
        assert!(again.replayed && again.id.to_string() == *id, "{key}");
    }
    assert_eq!(world::number(&engine, "tidegate_tx4_stranded_total"), 0);
    world::end(engine);
}
