//! The four files of examples/telecom, and the three findings of the manual's first page.

use definition::{Checked, Known, SourceFile, check};
use expect_test::expect;

const FILES: [&str; 4] = ["participants.yaml", "top-up.yaml", "tariff-change.yaml", "number-port-out.yaml"];

fn text(name: &str) -> &'static str {
    match name {
        "participants.yaml" => include_str!("../../../examples/telecom/participants.yaml"),
        "top-up.yaml" => include_str!("../../../examples/telecom/top-up.yaml"),
        "tariff-change.yaml" => include_str!("../../../examples/telecom/tariff-change.yaml"),
        _ => include_str!("../../../examples/telecom/number-port-out.yaml"),
    }
}

/// The folder with one line of one file replaced.
fn folder(change: Option<(&str, usize, &str)>) -> Checked {
    let files: Vec<SourceFile> = FILES
        .iter()
        .map(|name| {
            let mut lines: Vec<&str> = text(name).lines().collect();
            if let Some((file, line, new)) = change
                && file == *name
            {
                lines[line - 1] = new;
            }
            SourceFile { path: format!("telecom/{name}"), text: lines.join("\n") + "\n" }
        })
        .collect();
    check(&files, &Known::default())
}

fn printed(checked: &Checked) -> String {
    let mut out = String::new();
    for diagnostic in &checked.diagnostics {
        out.push_str(&diagnostic.render());
        out.push('\n');
    }
    if !checked.has_errors() {
        for line in checked.summary_lines() {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out + &checked.closing_line() + "\n"
}

#[test]
fn the_folder_is_fine() {
    let checked = folder(None);
    expect![[r#"
        participants.yaml      6 participants
        top-up.yaml            top-up 1            3 steps: 2 undone on abort, 1 optional
        tariff-change.yaml     tariff-change 1     5 steps: 3 undone on abort, 1 optional, 2 in parallel
        number-port-out.yaml   number-port-out 1   7 steps: 1 undone on abort, 2 waits, no way back after "release"
        4 files, no errors
    "#]]
    .assert_eq(&printed(&checked));
    assert_eq!(checked.sagas.len(), 3);
    assert_eq!(checked.participants.len(), 6);
    assert_eq!(checked.sagas[0].version_line, 4);
    assert_eq!(checked.sagas[0].key_text.as_deref(), Some("subscriber/${input.msisdn}"));
}

#[test]
fn a_misspelt_key() {
    let checked = folder(Some(("top-up.yaml", 45, "      particpant: billing")));
    expect![[r#"
        telecom/top-up.yaml:45:7: error[unknown-field]: "particpant" is not a field of call
           |
        45 |       particpant: billing
           |       ^^^^^^^^^^ did you mean "participant"?
           |
           = call has: participant, method, path, query, headers, body
           = step "credit" therefore has no participant

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}

#[test]
fn a_value_that_may_not_exist() {
    let checked = folder(Some(("tariff-change.yaml", 94, "        debit_id: ${steps.fee.result.debit_id}")));
    expect![[r#"
        telecom/tariff-change.yaml:94:21: error[may-not-have-run]: step "fee" may have been skipped
           |
        94 |         debit_id: ${steps.fee.result.debit_id}
           |                     ^^^^^^^^^^^^^^^^^^^^^^^^^
           |
        36 |     when: ${steps.contract.result.fee_minor > 0}
           |           -------------------------------------- skipped when this is false
           |
           = say what to use then, for instance:
             debit_id: '${steps.fee.outcome == "done" ? steps.fee.result.debit_id : ""}'

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}

#[test]
fn yaml_s_own_trap() {
    let line = r#"        fee_minor: ${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}"#;
    let checked = folder(Some(("tariff-change.yaml", 94, line)));
    expect![[r#"
        telecom/tariff-change.yaml:94:20: error[quote-this]: an expression with ": " or " #" needs quotes in YAML
           |
        94 |         fee_minor: ${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}
           |                    ^                                                               ^ YAML ends the value here
           |
           = write it so:
             fee_minor: '${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}'

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}
