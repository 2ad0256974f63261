//! The test files of the examples pass, every failure of them keeps every promise, and both print what they should.

use definition::SourceFile;
use expect_test::expect_file;
use testkit::play::{Choice, play_file};
use testkit::report::{Report, Show, text};
use testkit::suite::{self, Suite};

const FILES: &[(&str, &str)] = &[
    ("participants.yaml", include_str!("../../../examples/telecom/participants.yaml")),
    ("top-up.yaml", include_str!("../../../examples/telecom/top-up.yaml")),
    ("tariff-change.yaml", include_str!("../../../examples/telecom/tariff-change.yaml")),
    ("number-port-out.yaml", include_str!("../../../examples/telecom/number-port-out.yaml")),
];

const TESTS: &[(&str, &str)] = &[
    ("top-up.test.yaml", include_str!("../../../examples/telecom/top-up.test.yaml")),
    ("tariff-change.test.yaml", include_str!("../../../examples/telecom/tariff-change.test.yaml")),
    ("number-port-out.test.yaml", include_str!("../../../examples/telecom/number-port-out.test.yaml")),
];

fn load(path: &str) -> Result<SourceFile, String> {
    let found = FILES.iter().find(|(name, _)| *name == path);
    found.map(|(name, text)| file(name, text)).ok_or_else(|| format!("{path}: there is no such file"))
}

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { path: name.into(), text: text.into() }
}

fn suites() -> Vec<Suite> {
    let read = |(name, text): &(&str, &str)| {
        suite::read(&file(name, text), &mut load).unwrap_or_else(|findings| {
            panic!("{}", findings.iter().map(definition::Diagnostic::render).collect::<String>())
        })
    };
    TESTS.iter().map(read).collect()
}

fn report(choice: Choice<'_>) -> Report {
    let mut report = Report { files: Vec::new(), left_out: 0, took: std::time::Duration::ZERO };
    for suite in suites() {
        let (outcome, left_out) = play_file(suite, choice);
        report.files.push(outcome);
        report.left_out += left_out;
    }
    report
}

#[test]
fn the_cases_of_the_examples_pass() {
    let report = report(Choice::default());
    expect_file!["golden/cases.txt"].assert_eq(&text(&report, Show::default()));
    assert_eq!(report.counts().1, 0, "{}", text(&report, Show::default()));
}

#[test]
fn every_failure_of_the_first_cases() {
    let first = "goes through";
    let mut told = String::new();
    for filter in [first, "with a fee", "released at"] {
        let report = report(Choice { filter: Some(filter), every_failure: true, signals_come: false });
        told.push_str(&text(&report, Show::default()));
        told.push('\n');
    }
    expect_file!["golden/every-failure.txt"].assert_eq(&told);
}

#[test]
fn every_failure_of_every_case_keeps_every_promise() {
    let report = report(Choice { every_failure: true, ..Choice::default() });
    assert_eq!(report.counts().1, 0, "{}", text(&report, Show::default()));
}
