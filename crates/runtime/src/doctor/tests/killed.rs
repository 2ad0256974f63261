//! A node that is killed at any moment leaves a directory that is well: kill -9 of a process of its own, under load.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::{Settings, Severity, examine};
use super::count;
use super::scene::Scene;

const DIR: &str = "TIDEGATE_DOCTOR_TEST_VICTIM";
const STARTED: &str = "started";

/// The process, which never outlives the test.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Not a test by itself: the process that the next one kills runs it.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    Scene::run_in(Path::new(&dir)).for_ever(Path::new(&dir));
}

#[test]
fn killed_at_any_moment() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut ended = 0;
    // Each kill falls on the directory that the one before left.
    for round in 0..6_u64 {
        let started = dir.path().join(STARTED);
        drop(std::fs::remove_file(&started));
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "doctor::tests::killed::victim", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut victim = Victim(child.expect("started"));
        let patience = Instant::now() + Duration::from_secs(60);
        while !started.exists() {
            assert!(Instant::now() < patience, "the node did not start");
            assert!(victim.0.try_wait().expect("asked").is_none(), "the node ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50 + 97 * round));
        victim.0.kill().expect("killed");
        victim.0.wait().expect("ended");
        let report = examine(&dir.path().join("data"), Settings::default(), &mut |_| {}).expect("looked at");
        for finding in report.findings.iter().filter(|f| f.severity == Severity::Wrong).take(5) {
            println!("round {round}: {} at {}: {}", finding.check, finding.place, finding.what);
        }
        assert!(report.is_well(), "round {round}");
        ended = count(&report, "history.once", "ends in the journal").max(ended);
    }
    assert!(ended > 100, "{ended} transactions ended under the knife");
}
