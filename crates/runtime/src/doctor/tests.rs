//! A directory is made by a node that really runs; the doctor finds it well, and each damage where it was done.

mod damage;
mod killed;
mod scene;

use model::TxId;

use super::{CannotLook, Report, Settings, examine};
use scene::Scene;

/// Examines and gives the report, printed if the test fails.
fn look(scene: &Scene) -> Report {
    let report = examine(scene.data(), Settings::default(), &mut |_| {}).expect("the directory can be looked at");
    for check in &report.checks {
        println!("{} {:?} wrong {} {:?}", check.name, check.looked_at, check.wrong, check.not_done);
    }
    for finding in &report.findings {
        println!("  {:?} {} at {}: {}", finding.severity, finding.check, finding.place, finding.what);
    }
    report
}

/// How much a check looked at, of one kind.
fn count(report: &Report, check: &str, what: &str) -> u64 {
    let check = report.checks.iter().find(|c| c.name == check).expect("a check of that name");
    check.looked_at.iter().find(|(known, _)| *known == what).map_or(0, |(_, count)| *count)
}

/// Nothing passed because nothing was looked at.
fn assert_thorough(report: &Report, scene: &Scene) {
    let ended = scene.ended.len() as u64;
    let live = scene.live.len() as u64;
    assert_eq!(count(report, "history.once", "records"), ended);
    assert_eq!(count(report, "history.records", "index entries recomputed"), 3 * ended);
    assert_eq!(count(report, "live.branches", "live transactions"), live);
    assert_eq!(count(report, "live.keys", "live transactions"), live);
    assert_eq!(count(report, "state.replay", "partitions"), 4);
    assert_eq!(count(report, "state.checkpoints", "checkpoints"), 8);
    assert!(count(report, "state.replay", "states compared") >= 4);
    assert!(count(report, "state.replay", "rows compared") >= live);
    assert!(count(report, "history.undone", "aborted") >= ended / 4);
    assert!(count(report, "history.undone", "steps compensated") >= ended / 4);
    assert!(count(report, "history.undone", "steps with nothing to undo") >= ended / 4);
    assert!(count(report, "live.indexes", "timers") > 0 && count(report, "live.indexes", "locks") > 0);
    assert!(count(report, "live.indexes", "keys for signals") > 0);
    assert!(count(report, "journal.chains", "batches") > 8 && count(report, "journal.files", "groups") > 4);
    assert!(count(report, "catalog.plans", "plans in use") > 0);
}

#[test]
fn a_directory_after_a_clean_stop_is_well() {
    let mut scene = Scene::run();
    scene.stop();
    let before = scene.fingerprint();
    let report = look(&scene);
    assert!(report.is_well());
    assert_thorough(&report, &scene);
    assert_eq!(scene.fingerprint(), before, "the doctor changes nothing");
}

#[test]
fn in_small_lots_it_finds_the_same() {
    let mut scene = Scene::run();
    scene.stop();
    let whole = look(&scene);
    let small = examine(scene.data(), Settings { rows_at_once: 1 }, &mut |_| {}).expect("looked at");
    assert!(small.is_well());
    assert_eq!(small.checks, whole.checks);
}

#[test]
fn a_copy_taken_from_under_a_running_node_is_well_and_starts() {
    let scene = Scene::run();
    let pid = std::process::id();
    match examine(scene.data(), Settings::default(), &mut |_| {}) {
        Err(CannotLook::InUse { pid: Some(found), .. }) => assert_eq!(found, pid),
        other => panic!("a directory in use was looked at: {other:?}"),
    }
    let mut copy = scene.copy();
    let report = look(&copy);
    assert!(report.is_well());
    // History is flushed on its own time: what it lacks, the journal still has.
    let known = count(&report, "history.once", "records");
    let to_come: u64 = report.findings.iter().filter(|f| f.check == "history.once").count() as u64;
    assert!(known == copy.ended.len() as u64 || to_come > 0, "{known} of {}", copy.ended.len());
    copy.start();
    for id in scene.ended.clone() {
        assert!(copy.knows(id), "{id}");
    }
    copy.stop();
    let report = look(&copy);
    assert!(report.is_well());
    assert_eq!(count(&report, "history.once", "records"), copy.ended.len() as u64);
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let found = examine(dir.path(), Settings::default(), &mut |_| {});
    assert!(matches!(found, Err(CannotLook::NoDirectory { missing: "journal", .. })), "{found:?}");
}

/// The one finding of a check that says what is wrong.
fn wrong<'a>(report: &'a Report, check: &str) -> &'a super::Finding {
    assert!(!report.is_well());
    let mut found = report.findings.iter().filter(|f| f.check == check && f.severity == super::Severity::Wrong);
    found.next().unwrap_or_else(|| panic!("no finding of {check}"))
}

fn name(id: TxId) -> String {
    id.to_string()
}
