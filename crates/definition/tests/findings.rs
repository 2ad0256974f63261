//! Every code: a file that has it, and what is printed. The manual's list of codes is made of the same files.

use std::path::PathBuf;

use definition::{Code, Known, SourceFile, check};
use expect_test::expect_file;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/findings")
}

/// What is printed for the file of a code, with the participants of the telecom example beside it.
fn printed(code: Code) -> String {
    let text = std::fs::read_to_string(folder().join(format!("{}.yaml", code.as_str())));
    let Ok(text) = text else { panic!("no file for the code {}", code.as_str()) };
    let mut files = vec![SourceFile { path: "top-up.yaml".into(), text }];
    if code != Code::ParticipantsNotKnown {
        let text = include_str!("../../../examples/telecom/participants.yaml").to_owned();
        files.push(SourceFile { path: "participants.yaml".into(), text });
    }
    let checked = check(&files, &Known::default());
    let codes: Vec<Code> = checked.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [code], "the file of {} has this finding and no other", code.as_str());
    assert_eq!(checked.diagnostics[0].severity, code.severity());
    checked.diagnostics[0].render()
}

#[test]
fn every_code_has_its_file_and_its_words() {
    for code in Code::ALL {
        expect_file![folder().join(format!("{}.txt", code.as_str()))].assert_eq(&printed(*code));
    }
}

/// The end of docs/language.md is made here; `UPDATE_EXPECT=1` writes it.
#[test]
fn the_manual_has_every_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let manual = std::fs::read_to_string(&path).expect("the manual is there");
    let marker = "(Made from the crate's own test files.)\n";
    let (written, _) = manual.split_once(marker).expect("the manual says where its codes begin");
    let mut made = format!("{written}{marker}");
    for code in Code::ALL {
        made.push_str(&format!("\n### {}\n\n```text\n{}```\n", code.as_str(), printed(*code)));
    }
    expect_file![path].assert_eq(&made);
}
