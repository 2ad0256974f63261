//! The definitions that a history is recorded on: what is appended or moved at two systems under one lock, and reads
//! of all of it under the same lock. To whoever looks through the engine each is one transaction.

/// Accounts by their number in a history: the system that has them, and their name there. The last one is blocked, so
/// that what was taken for it must be given back.
pub(super) const ACCOUNTS: [(usize, &str); 7] = [
    (0, "491700000001"),
    (0, "491700000002"),
    (0, "491700000003"),
    (1, "491700000004"),
    (1, "491700000005"),
    (1, "491700000006"),
    (1, "491700009907"),
];

const HEAD: &str = "apiVersion: tidegate/v1\nkind: Saga\nversion: 1\ntimeout: 10m\n";

/// Files by path, for systems with these two names.
pub(super) fn appends([one, two]: [&str; 2]) -> Vec<(String, String)> {
    let list = r#"{type: string, pattern: "^[0-9]{1,9}$"}"#;
    let place = "key: list/${input.list}\nlock: list\n";
    let input = |required: &str, more: &str| {
        format!(
            "input:\n  type: object\n  additionalProperties: false\n  required: [{required}]\n  properties:\n    \
             list: {list}\n{more}"
        )
    };
    let step = |name: &str, system: &str| {
        format!(
            r#"  - name: {name}
    call: {{participant: {system}, method: POST, path: "/lists/${{input.list}}/elements", body: {{element: "${{input.element}}"}}}}
    compensate: {{participant: {system}, method: POST, path: "/lists/${{input.list}}/removals", body: {{undoes: "${{steps.{name}.call_key}}"}}}}
"#
        )
    };
    let reads: String = [("read_here", one), ("read_there", two)]
        .iter()
        .map(|(name, system)| {
            format!(
                r#"  - name: {name}
    call: {{participant: {system}, method: GET, path: "/lists/${{input.list}}"}}
    result: {{elements: "${{response.body.elements}}"}}
"#
            )
        })
        .collect();
    let output = "output:\n  here: ${steps.read_here.result.elements}\n  there: ${steps.read_there.result.elements}\n";
    let append = format!(
        "{HEAD}name: append\n{}{place}steps:\n{}{}{reads}{output}",
        input("list, element", "    element: {type: integer}\n"),
        step("here", one),
        step("there", two)
    );
    let look = format!("{HEAD}name: look\n{}{place}steps:\n{reads}{output}", input("list", ""));
    vec![("append.yaml".to_owned(), append), ("look.yaml".to_owned(), look)]
}

/// Files by path: transfers from the first system to the second, back, and the balances of all.
pub(super) fn bank(systems: [&str; 2]) -> Vec<(String, String)> {
    let bank = r#"    bank: {type: string, pattern: "^[0-9]$"}"#;
    let account = r#"{type: string, pattern: "^[0-9]{8,15}$"}"#;
    let place = "key: bank/${input.bank}\nlock: bank\n";
    let transfer = |name: &str, from: &str, to: &str| {
        let book = |step: &str, system: &str, whose: &str, what: &str| {
            format!(
                r#"  - name: {step}
    call: {{participant: {system}, method: POST, path: "/accounts/${{input.{whose}}}/{what}", body: {{amount_minor: "${{input.amount}}"}}}}
    compensate: {{participant: {system}, method: POST, path: "/accounts/${{input.{whose}}}/reversals", body: {{{step}_key: "${{steps.{step}.call_key}}"}}}}
"#
            )
        };
        format!(
            "{HEAD}name: {name}\ninput:\n  type: object\n  additionalProperties: false\n  required: [bank, from, to, \
             amount]\n  properties:\n{bank}\n    from: {account}\n    to: {account}\n    amount: {{type: integer, \
             minimum: 1}}\n{place}steps:\n{}{}",
            book("debit", from, "from", "debits"),
            book("credit", to, "to", "credits")
        )
    };
    let reads: String = ACCOUNTS
        .iter()
        .enumerate()
        .map(|(n, (system, name))| {
            format!(
                r#"  - name: read_{n}
    call: {{participant: {}, method: GET, path: /accounts/{name}}}
    result: {{balance: "${{response.body.balance_minor}}"}}
"#,
                systems[*system]
            )
        })
        .collect();
    let output: String = (0..ACCOUNTS.len()).map(|n| format!("  a{n}: ${{steps.read_{n}.result.balance}}\n")).collect();
    let balances = format!(
        "{HEAD}name: balances\ninput:\n  type: object\n  additionalProperties: false\n  required: [bank]\n  \
         properties:\n{bank}\n{place}steps:\n{reads}output:\n{output}"
    );
    vec![
        ("transfer-there.yaml".to_owned(), transfer("transfer-there", systems[0], systems[1])),
        ("transfer-back.yaml".to_owned(), transfer("transfer-back", systems[1], systems[0])),
        ("balances.yaml".to_owned(), balances),
    ]
}

/// The participants' file with the names of these systems and, in capitals, of their doors.
pub(super) fn participants([one, two]: [&str; 2]) -> String {
    let text = include_str!("participants.yaml");
    text.replace("ONE-DOOR", &one.to_uppercase())
        .replace("TWO-DOOR", &two.to_uppercase())
        .replace("name: ONE", &format!("name: {one}"))
        .replace("name: TWO", &format!("name: {two}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_have_no_errors() {
        for (systems, files) in [
            (["lists-a", "lists-b"], appends(["lists-a", "lists-b"])),
            (["accounts-a", "accounts-b"], bank(["accounts-a", "accounts-b"])),
        ] {
            let doors = systems.iter().fold(participants(systems), |text, name| {
                text.replace(&format!("- {}\n", name.to_uppercase()), &format!("- http://127.0.0.1:1/{name}\n"))
            });
            let files: Vec<definition::SourceFile> = std::iter::once(("participants.yaml".to_owned(), doors))
                .chain(files)
                .map(|(path, text)| definition::SourceFile { path, text })
                .collect();
            let checked = definition::check(&files, &definition::Known::default());
            let errors: Vec<String> = checked.diagnostics.iter().map(|d| d.render()).collect();
            assert!(!checked.has_errors(), "{}", errors.join("\n"));
        }
    }
}
