//! Input from anybody: no panic, bounded work, and every finding points into the file.

use definition::{Checked, Code, Known, SourceFile, check};
use proptest::prelude::*;

const TOP_UP: &str = include_str!("../../../examples/telecom/top-up.yaml");
const TARIFF: &str = include_str!("../../../examples/telecom/tariff-change.yaml");
const PORT: &str = include_str!("../../../examples/telecom/number-port-out.yaml");
const PARTICIPANTS: &str = include_str!("../../../examples/telecom/participants.yaml");

fn checked(text: &str) -> Checked {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
    let files = [file("a.yaml", text), file("participants.yaml", PARTICIPANTS)];
    let checked = check(&files, &Known::default());
    for diagnostic in &checked.diagnostics {
        let source = if diagnostic.path == "a.yaml" { text } else { PARTICIPANTS };
        let lines: Vec<&str> = source.split('\n').collect();
        assert!(source.get(diagnostic.span.start..diagnostic.span.end).is_some(), "{diagnostic:?}");
        for label in &diagnostic.labels {
            assert!(label.line >= 1 && label.line <= lines.len(), "{diagnostic:?}");
            let width = lines[label.line - 1].trim_end_matches('\r').chars().count();
            assert!(label.column >= 1 && label.column <= width + 1, "{diagnostic:?}");
            assert!(label.column + label.length <= width + 2, "{diagnostic:?}");
        }
        assert!(!diagnostic.message.is_empty());
        assert!(diagnostic.render().starts_with(&diagnostic.path));
    }
    for saga in &checked.sagas {
        assert_eq!(
            plan::Saga::from_bytes(&saga.plan.to_bytes()).as_ref(),
            Ok(&saga.plan),
            "what is accepted can be stored"
        );
    }
    checked
}

fn codes(text: &str) -> Vec<Code> {
    checked(text).diagnostics.iter().map(|d| d.code).collect()
}

fn with_expression(expression: &str) -> String {
    let quoted = expression.replace('\'', "''");
    TARIFF.replace("${steps.contract.result.fee_minor > 0}", &format!("'${{{quoted}}}'"))
}

/// Words and signs that mean something to the grammar.
fn soup() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "input",
        "steps",
        "contract",
        "result",
        "fee_minor",
        ".",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "?",
        ":",
        ",",
        "in",
        "has",
        "size",
        "all",
        "map",
        "filter",
        "exists",
        "x",
        "true",
        "null",
        "1",
        "0",
        "1.5",
        "2.0",
        "1e308",
        "0x1F",
        "7u",
        "\"a\"",
        "'b'",
        "r'\\d'",
        "\"\\u00e9\"",
        "matches",
        "outcome",
        "\"done\"",
        "transaction.id",
        "response.status",
        "for",
        "9223372036854775807",
        "é",
        "`a`",
        "@",
        "\\",
        "\"",
        "b'x'",
        " ",
        "\n",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(""))
}

/// A file of ours after an accident.
fn damaged() -> impl Strategy<Value = String> {
    let file = prop::sample::select(vec![TOP_UP, TARIFF, PORT, PARTICIPANTS]);
    let junk = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\t",
        "- ",
        ": ",
        "${",
        "}",
        "$${",
        "'",
        "\"",
        "|",
        ">",
        "&a",
        "*a",
        "<<: ",
        "!!str ",
        "#",
        "[",
        "{",
        "---\n",
        "...\n",
        "? ",
        "é",
        "\u{7f}",
        "\u{feff}",
        "%YAML 1.1\n",
        "null",
        "0123",
        "after: []\n",
        "\r\n",
        "\u{2028}",
    ]);
    let cut = (any::<prop::sample::Index>(), 0..30usize, junk);
    (file, prop::collection::vec(cut, 1..4)).prop_map(|(file, cuts)| {
        let mut chars: Vec<char> = file.chars().collect();
        for (at, length, junk) in cuts {
            let start = at.index(chars.len() + 1);
            let end = (start + length).min(chars.len());
            chars.splice(start..end, junk.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        checked(&SourceFile::from_bytes("a.yaml", &bytes).text);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        checked(&text);
    }

    #[test]
    fn any_yaml_like_text(text in "([ ]{0,6}(- )?[a-z]{1,8}: ?([a-z\\[\\]{}$'\"#&*!|>:,. ]{0,20})\n){0,20}") {
        checked(&text);
    }

    #[test]
    fn files_after_an_accident(text in damaged()) {
        let first = checked(&text);
        let again = checked(&text);
        prop_assert_eq!(&first.diagnostics, &again.diagnostics);
    }

    #[test]
    fn any_expression(expression in "\\PC{0,60}") {
        checked(&with_expression(&expression));
    }

    #[test]
    fn expressions_of_known_words(expression in soup()) {
        checked(&with_expression(&expression));
    }
}

#[test]
fn what_is_too_large_is_said_and_not_tried() {
    let deep_list = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let deep_map: String = (0..200).map(|n| format!("{}a:\n", "  ".repeat(n))).collect();
    let many = format!("a:\n{}", "- 1\n".repeat(30_000));
    let huge = format!("a: {}", "x".repeat(300_000));
    let expressions = format!("{TOP_UP}\n# more\n")
        .replace("currency: ${input.currency}", &format!("currency: {}", "${1}".repeat(40_000)));
    for text in [deep_list, deep_map, many, huge, expressions] {
        assert!(codes(&text).contains(&Code::TooLarge), "{:?}", codes(&text));
    }
}

#[test]
fn expressions_have_bounds() {
    let chain = |sign: &str, count: usize| vec!["1"; count].join(sign);
    let cases = [
        chain("+", 400),
        chain(" ? 1 : ", 100),
        "(".repeat(100) + "1" + &")".repeat(100),
        "[".repeat(100) + &"]".repeat(100),
        "!".repeat(500) + "true",
        "-".repeat(500) + "1",
        format!("input{}", ".a".repeat(400)),
        format!("input.msisdn{}", "[0]".repeat(200)),
        format!("\"{}\"", "x".repeat(3_000)),
        chain("+", 120),
        format!("input{}", ".a".repeat(70)),
    ];
    for expression in cases {
        assert_eq!(codes(&with_expression(&expression)), [Code::TooLarge], "{expression}");
    }
}

/// The deepest body with the deepest expression at its bottom: accepted, and read back from its bytes.
#[test]
fn the_deepest_plan_can_be_stored() {
    // The body's own value is at depth 5 of at most 24.
    let (open, close) = ("[".repeat(19), "]".repeat(19));
    for expression in [vec!["1"; 59].join("+"), "{\"a\": ".repeat(16) + "1" + &"}".repeat(16)] {
        let body = format!("{{deep: {open}'${{{expression}}}'{close}}}");
        let text = TARIFF.replace("      body:\n        profile: ${input.tariff}\n", &format!("      body: {body}\n"));
        assert_ne!(text, TARIFF);
        let found = checked(&text);
        assert_eq!(found.sagas.len(), 1, "{:?}", found.diagnostics);
    }
}

/// As large as bounds allow: still read, on a thread's ordinary stack.
#[test]
fn what_is_just_within_bounds_is_read() {
    let nested = "(".repeat(16) + "1 == 1" + &")".repeat(16);
    let chain = vec!["1"; 55].join("+") + " > 0";
    let ternary = format!("{}true", "true ? true : ".repeat(50));
    let list = format!("1 in [{}]", vec!["1"; 140].join(","));
    for expression in [nested, chain, ternary, list] {
        assert_eq!(codes(&with_expression(&expression)), [] as [Code; 0], "{expression}");
    }
}
