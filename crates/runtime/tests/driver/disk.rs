//! Too little disk: new work is refused, what is under way is finished, and the node goes on by itself.

use std::path::Path;
use std::time::Duration;

use runtime::{Engine, Readiness};

use crate::world::{self, Bank, Mood, WAIT};

async fn large(engine: &Engine, key: &str) -> u32 {
    let input = format!(r#"{{"from":"{key}","to":"{key}","note":"{}"}}"#, "x".repeat(100_000));
    world::insist(engine, world::order_noting("transfer", key, &input), WAIT).await.1
}

/// More is written than the journal may hold, and no partition writes enough for a checkpoint of its own accord: only
/// the low disk makes them, and only they make room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_journal_makes_room_for_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = Bank::new(Mood::Well);
    let mut settings = world::settings(dir.path(), &bank);
    settings.journal_disk_bytes_max = 64 << 20;
    settings.checkpoint_every_bytes = 1 << 40;
    let engine = world::start_with(settings);
    world::apply(&engine).await;
    let clients: Vec<_> = (0..32)
        .map(|client| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for n in 0..32 {
                    large(&engine, &format!("c{client}-{n}")).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("joined");
    }
    assert!(world::number(&engine, "tidegate_journal_written_bytes_total") > 90 << 20);
    assert!(world::number(&engine, "tidegate_checkpoints_total") > 0);
    let done = bank.done();
    assert_eq!(done.len(), 2_048);
    assert!(done.values().all(|count| *count == 1));
    world::end(engine);
}

/// A filesystem of its own, in memory; unmounted in the end.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                eprintln!("SKIPPED: no mount here: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: no mount here: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(self.0.path()).output());
    }
}

/// Somebody else fills the disk and clears it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_filesystem_refuses_new_work_and_goes_on_when_there_is_room() {
    let Some(small) = Small::mount(200 << 20) else { return };
    let bank = Bank::new(Mood::Well);
    let mut settings = world::settings(&small.path().join("data"), &bank);
    settings.journal_disk_bytes_max = 64 << 20;
    settings.checkpoint_every_bytes = 1 << 20;
    let engine = world::start_with(settings);
    world::apply(&engine).await;
    large(&engine, "before").await;
    let ballast = small.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 1 << 16]).is_ok() {}
    // What is accepted until the node notices is finished; then it refuses, and says why.
    let mut n = 0;
    let why = loop {
        assert!(n < 2_000, "a full disk was never noticed");
        if let Readiness::NotReady(why) = engine.readiness() {
            break why;
        }
        let input = format!(r#"{{"from":"f{n}","to":"f{n}","note":"{}"}}"#, "x".repeat(100_000));
        drop(
            engine
                .submit(
                    world::order_noting("transfer", &format!("f{n}"), &input),
                    Duration::from_millis(200),
                    runtime::Until::End,
                )
                .await,
        );
        n += 1;
    };
    assert!(why.contains("disk"), "{why}");
    assert_eq!(engine.failure(), None);
    drop(file);
    std::fs::remove_file(&ballast).expect("removed");
    large(&engine, "after").await;
    for n in 0..n {
        let input = format!(r#"{{"from":"f{n}","to":"f{n}","note":"{}"}}"#, "x".repeat(100_000));
        let (answer, _) = world::insist(&engine, world::order_noting("transfer", &format!("f{n}"), &input), WAIT).await;
        assert_eq!(world::text(&answer), format!("f{n} ended/completed/"));
    }
    assert!(bank.done().values().all(|count| *count == 1));
    world::end(engine);
}
