//! `tidegate test` as its users meet it: exit codes, what stands on which stream, a planted mistake that must fail.

use std::path::Path;
use std::process::{Command, Stdio};

/// One run: exit code, standard output, standard error.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|e| panic!("{args:?}: {e}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A folder with the example, as `init` writes it.
fn telecom() -> tempfile::TempDir {
    let here = tempfile::tempdir().unwrap_or_else(|e| panic!("a folder: {e}"));
    assert_eq!(run(here.path(), &["init", "telecom"]).code, 0);
    here
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(text.contains(from), "{} has no {from}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

#[test]
fn a_new_user_tests_the_example() {
    let here = telecom();
    let ran = run(here.path(), &["test", "telecom"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("  ok    a declined card costs nothing "), "{}", ran.out);
    assert!(ran.out.contains("25 cases, all passed   in "), "{}", ran.out);
    let one = run(here.path(), &["test", "telecom/top-up.test.yaml", "--filter", "lost answer", "--story"]);
    assert_eq!(one.code, 0);
    assert!(one.out.contains("unknown (no answer in time); but it was executed"), "{}", one.out);
    assert!(one.out.contains("1 case, all passed, 9 left out"), "{}", one.out);
    // The folder's definitions are checked and applied as before.
    assert_eq!(run(here.path(), &["check", "telecom"]).code, 0);
}

#[test]
fn a_planted_mistake_fails_at_its_line() {
    let here = telecom();
    // The definition: a refund of another amount. The case knows better.
    change(&here.path().join("telecom/top-up.yaml"), "      path: /refunds", "      path: /refund");
    let report = here.path().join("results.xml");
    let ran = run(here.path(), &["test", "telecom", "--junit", "results.xml"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    let place = "top-up.test.yaml:64:17: failed: path is \"/refund\", expected \"/refunds\"";
    assert!(ran.out.contains(place), "{}", ran.out);
    assert!(ran.out.contains("25 cases, 1 failed"), "{}", ran.out);
    let xml = std::fs::read_to_string(report).unwrap_or_default();
    assert!(xml.contains("tests=\"25\" failures=\"1\""), "{xml}");
    let json = run(here.path(), &["test", "telecom", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&json.out).unwrap_or_default();
    assert_eq!((json.code, &document["failed"]), (1, &serde_json::json!(1)), "{}", json.out);
}

#[test]
fn an_undo_that_is_taken_away_is_found_by_every_failure() {
    let here = telecom();
    let args = ["test", "--every-failure", "telecom", "--filter", "goes through"];
    let ran = run(here.path(), &args);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("61 failures tried, every promise kept"), "{}", ran.out);
    let path = here.path().join("telecom/top-up.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let begin = text.find("    compensate:\n      participant: payments").unwrap_or_default();
    let end = text.find("  - name: credit").unwrap_or_default();
    let without = format!("{}    compensate: none\n\n{}", &text[..begin], &text[end..]);
    assert!(std::fs::write(&path, without).is_ok());
    // The cases that expect the refund are wrong now, and say so before anything runs.
    let broken = run(here.path(), &args);
    assert_eq!(broken.code, 2, "{}", broken.out);
    assert!(broken.err.contains("step \"charge\" has no undo"), "{}", broken.err);
    // A file with the first case only runs, and fails: what may stay is pinned.
    let cases = here.path().join("telecom/top-up.test.yaml");
    let text = std::fs::read_to_string(&cases).unwrap_or_default();
    let first = text.find("  - name: a declined card").unwrap_or_default();
    assert!(std::fs::write(&cases, &text[..first]).is_ok());
    let pinned = run(here.path(), &args);
    assert_eq!(pinned.code, 1, "{}", pinned.out);
    let what = "what step \"charge\" did stays undone under ";
    assert!(pinned.out.contains(what) && pinned.out.contains("= why: compensate: none"), "{}", pinned.out);
}

#[test]
fn a_definition_by_itself_needs_only_an_input() {
    let here = telecom();
    let input = r#"{"msisdn":"491701234567","port_request_id":"PR-1","recipient":"DEU01"}"#;
    let ran = run(here.path(), &["test", "--every-failure", "telecom/number-port-out.yaml", "-i", input]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("without a failure: completed"), "{}", ran.out);
    assert!(ran.out.contains("window       signal never comes"), "{}", ran.out);
    let wrong = run(here.path(), &["test", "--every-failure", "telecom/top-up.yaml", "-i", r#"{"amount_minor":50}"#]);
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    assert!(wrong.err.contains("the input does not fit top-up version 1"), "{}", wrong.err);
    assert!(wrong.err.contains("input.amount_minor  is 50, the minimum is 100"), "{}", wrong.err);
    let without = run(here.path(), &["test", "telecom/number-port-out.yaml"]);
    assert_eq!(without.code, 2);
    assert!(without.err.contains("is a definition, not a test file"), "{}", without.err);
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_anything_runs() {
    let here = telecom();
    change(&here.path().join("telecom/top-up.test.yaml"), "outcome: completed", "outcome: complete");
    change(&here.path().join("telecom/tariff-change.test.yaml"), "network: refused", "netwrok: refused");
    let ran = run(here.path(), &["test", "telecom"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    assert!(ran.err.contains("top-up.test.yaml:21:16: error[wrong-value]"), "{}", ran.err);
    assert!(ran.err.contains("did you mean \"network\"?"), "{}", ran.err);
    assert!(ran.err.ends_with("2 errors. Nothing was run.\n"), "{}", ran.err);
    for args in [
        &["test"][..],
        &["test", "nowhere.test.yaml"],
        &["test", "telecom/number-port-out.test.yaml", "--filter", "no such name"],
        &["test", "telecom/number-port-out.test.yaml", "--junit", "no/such/folder.xml"],
    ] {
        assert_eq!(run(here.path(), args).code, 2, "{args:?}");
    }
    let check = run(here.path(), &["check", "telecom/number-port-out.test.yaml"]);
    assert!(check.err.contains("run it with: tidegate test FILE"), "{}", check.err);
}
