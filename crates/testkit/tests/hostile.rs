//! Files that nobody would write: whatever stands in them, there is an answer, and it points into the file.

use definition::SourceFile;
use testkit::play::{Choice, play_file};
use testkit::report::{Report, Show, json, junit, text};
use testkit::suite;

const CASES: &str = include_str!("../../../examples/telecom/top-up.test.yaml");

fn load(path: &str) -> Result<SourceFile, String> {
    let text = match path {
        "top-up.yaml" => include_str!("../../../examples/telecom/top-up.yaml"),
        "participants.yaml" => include_str!("../../../examples/telecom/participants.yaml"),
        _ => return Err(format!("{path}: there is no such file")),
    };
    Ok(SourceFile { path: path.into(), text: text.into() })
}

/// Gives whether it could be run.
fn take(written: &str) -> bool {
    let file = SourceFile { path: "a.test.yaml".into(), text: written.into() };
    let lines = written.lines().count().max(1);
    match suite::read(&file, &mut load) {
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a word:\n{written}");
            for found in &findings {
                assert!(found.path != "a.test.yaml" || (1..=lines).contains(&found.line), "{}", found.render());
            }
            false
        }
        Ok(suite) => {
            let (outcome, left_out) = play_file(suite, Choice::default());
            let report = Report { files: vec![outcome], left_out, took: std::time::Duration::ZERO };
            assert!(!text(&report, Show { stories: true }).is_empty());
            assert!(json(&report)["files"].is_array());
            assert!(junit(&report).ends_with("</testsuites>\n"));
            true
        }
    }
}

#[test]
fn lines_that_are_lost_doubled_or_cut() {
    let lines: Vec<&str> = CASES.lines().collect();
    let mut ran = 0;
    for place in (0..lines.len()).step_by(3) {
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, line)| *line).collect();
        let mut doubled = lines.clone();
        doubled.insert(place, lines[place]);
        let cut = &lines[..=place];
        for changed in [without.as_slice(), doubled.as_slice(), cut] {
            ran += usize::from(take(&changed.join("\n")));
        }
    }
    assert!(ran > 10, "{ran}");
}

#[test]
fn characters_that_are_replaced() {
    for (place, _) in CASES.char_indices().step_by(197) {
        for other in ["\"", "{", "]", ":", "-", "${", "\u{7}", "é", "9"] {
            let mut end = place + 1;
            while !CASES.is_char_boundary(end) {
                end += 1;
            }
            // Only read: a case with another number in it is run above.
            let written = format!("{}{other}{}", &CASES[..place], &CASES[end..]);
            let file = SourceFile { path: "a.test.yaml".into(), text: written };
            if let Err(findings) = suite::read(&file, &mut load) {
                assert!(!findings.is_empty());
            }
        }
    }
}

#[test]
fn numbers_that_are_too_large() {
    let head = "apiVersion: tidegate/v1\nkind: Test\ndefinition: top-up.yaml\ninput: {msisdn: \"491701234567\", amount_minor: 100, currency: EUR, card_token: t}\ncases:\n  - name: a\n    expect: {outcome: completed}\n";
    for (what, runs) in [
        ("    answers: {charge: {status: 201, after: 3660d}}\n", true),
        ("    answers: {charge: {answer: not_sent, times: 100}}\n", true),
        ("    answers: {charge: {answer: not_sent, times: 101}}\n", false),
        ("    answers: {charge: {status: 99999999999999999999}}\n", false),
        ("    until: 3660d\n", true),
        ("    until: 99999999999999999999d\n", false),
        ("    starts_at: 9999-12-31T23:59:59Z\n", true),
        ("    starts_at: 1970-01-01T00:00:00Z\n", true),
        ("    events: [{at: 3660d, retry: true}]\n", true),
    ] {
        assert_eq!(take(&format!("{head}{what}")), runs, "{what}");
    }
}
