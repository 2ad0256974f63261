//! What fits a schema, and the words for what does not.

use crate::support::world::json;
use model::Value;
use plan::schema::{Bound, Constant, Kind, Pattern, Schema};

fn kind(kind: Kind) -> Schema {
    Schema { kinds: vec![kind], ..Schema::default() }
}

fn number(text: &str) -> Option<Bound> {
    Some(Bound(json(text)))
}

fn top_up() -> Schema {
    Schema {
        kinds: vec![Kind::Object],
        closed: true,
        required: ["msisdn", "amount_minor", "currency", "card_token"].map(Into::into).to_vec(),
        properties: vec![
            ("amount_minor".into(), Schema { minimum: number("100"), maximum: number("50000"), ..kind(Kind::Integer) }),
            ("card_token".into(), Schema { max_length: Some(64), sensitive: true, ..kind(Kind::String) }),
            (
                "currency".into(),
                Schema {
                    enumeration: vec![Constant(json("\"EUR\"")), Constant(json("\"USD\""))],
                    ..kind(Kind::String)
                },
            ),
            ("msisdn".into(), Schema { pattern: Pattern::new("^[1-9][0-9]{7,14}$").ok(), ..kind(Kind::String) }),
        ],
        ..Schema::default()
    }
}

fn said(schema: &Schema, text: &str) -> Vec<String> {
    schema.validate(&json(text)).into_iter().map(|v| format!("{} {}", v.pointer, v.detail)).collect()
}

#[test]
fn an_input_that_fits() {
    let fits = r#"{"msisdn":"491701234567","amount_minor":1000,"currency":"EUR","card_token":"tok_1"}"#;
    assert_eq!(said(&top_up(), fits), [""; 0]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let wrong = r#"{"msisdn":"0170","amount_minor":50,"currency":"GBP","cardtoken":"tok_1"}"#;
    assert_eq!(
        said(&top_up(), wrong),
        [
            "/card_token is missing",
            "/amount_minor is 50, the minimum is 100",
            "/cardtoken is not a field of the input; it has: amount_minor, card_token, currency, msisdn",
            "/currency is \"GBP\", must be one of: \"EUR\", \"USD\"",
            "/msisdn is \"0170\", must match ^[1-9][0-9]{7,14}$",
        ]
    );
    assert_eq!(said(&top_up(), "[]"), [" is an array, must be an object"]);
    let amount = |text: &str| said(&top_up().properties[0].1, text).join(", ");
    assert_eq!(amount("\"1000\""), " is a string, must be an integer");
    assert_eq!(amount("100.5"), " is a number, must be an integer");
    assert_eq!(amount("1000.0"), "");
    assert_eq!(amount("60000"), " is 60000, the maximum is 50000");
}

#[test]
fn sensitive_values_are_never_said() {
    let secret = "S3CRET".repeat(20);
    let text = format!(r#"{{"msisdn":"491701234567","amount_minor":100,"currency":"EUR","card_token":"{secret}"}}"#);
    assert_eq!(said(&top_up(), &text), ["/card_token is 120 characters long, the maximum is 64"]);
    let hidden = Schema {
        sensitive: true,
        minimum: number("5"),
        maximum: number("7"),
        pattern: Pattern::new("^x$").ok(),
        format: Some("date".into()),
        multiple_of: number("10"),
        enumeration: vec![Constant(json("6"))],
        constant: Some(Constant(json("6"))),
        items: Some(Box::new(Schema { minimum: number("5"), ..Schema::default() })),
        ..Schema::default()
    };
    for text in ["3141", "-3141", "\"3141\"", "[-3141]", "[[-3141]]"] {
        let found = said(&hidden, text);
        assert!(!found.is_empty() && found.iter().all(|v| !v.contains("3141")), "{found:?}");
    }
    assert_eq!(hidden.mask(&json("[3141]")), Value::text("***"));
    let masked = top_up().mask(&json(r#"{"card_token":"tok","amount_minor":1,"x":[1]}"#));
    assert_eq!(masked.to_string(), r#"{"amount_minor":1,"card_token":"***","x":[1]}"#);
    assert!(top_up().is_sensitive_anywhere());
    assert!(!kind(Kind::Object).is_sensitive_anywhere());
    let inside = Schema { items: Some(Box::new(top_up())), ..kind(Kind::Array) };
    assert_eq!(inside.mask(&json(r#"[{"card_token":1},2]"#)).to_string(), r#"[{"card_token":"***"},2]"#);
}

#[test]
fn every_constraint_in_its_words() {
    let cases: Vec<(Schema, &str, &[&str])> = vec![
        (Schema { exclusive_minimum: number("5"), ..Schema::default() }, "5", &[" is 5, must be more than 5"]),
        (Schema { exclusive_maximum: number("5"), ..Schema::default() }, "5.0", &[" is 5, must be less than 5"]),
        (Schema { exclusive_maximum: number("5"), ..Schema::default() }, "4.9999999999999999999", &[]),
        (Schema { minimum: number("0.1"), ..Schema::default() }, "0.10", &[]),
        (
            Schema { minimum: number("0.1"), ..Schema::default() },
            "0.09999999999999999999",
            &[" is 0.09999999999999999999, the minimum is 0.1"],
        ),
        (
            Schema { maximum: number("9007199254740992"), ..Schema::default() },
            "9007199254740993",
            &[" is 9007199254740993, the maximum is 9007199254740992"],
        ),
        (Schema { multiple_of: number("0.01"), ..Schema::default() }, "19.99", &[]),
        (
            Schema { multiple_of: number("0.01"), ..Schema::default() },
            "19.995",
            &[" is 19.995, must be a multiple of 0.01"],
        ),
        (Schema { multiple_of: number("5"), ..Schema::default() }, "7", &[" is 7, must be a multiple of 5"]),
        (Schema { min_length: Some(2), ..Schema::default() }, "\"é\"", &[" is 1 character long, the minimum is 2"]),
        (Schema { max_length: Some(2), ..Schema::default() }, "\"éé\"", &[]),
        (Schema { max_length: Some(2), ..Schema::default() }, "\"ééé\"", &[" is 3 characters long, the maximum is 2"]),
        (Schema { pattern: Pattern::new("b+").ok(), ..Schema::default() }, "\"abba\"", &[]),
        (
            Schema { pattern: Pattern::new("^b").ok(), ..Schema::default() },
            "\"abba\"",
            &[" is \"abba\", must match ^b"],
        ),
        (
            Schema { constant: Some(Constant(json("[1]"))), ..Schema::default() },
            "[2]",
            &[" is a list of 1, must be a list of 1"],
        ),
        (Schema { constant: Some(Constant(json("1.50"))), ..Schema::default() }, "1.5", &[]),
        (Schema { constant: Some(Constant(Value::Null)), ..Schema::default() }, "0", &[" is 0, must be null"]),
        (
            Schema { kinds: vec![Kind::String, Kind::Integer, Kind::Null], ..Schema::default() },
            "true",
            &[" is a boolean, must be a string, an integer or null"],
        ),
        (Schema { min_items: Some(2), ..Schema::default() }, "[1]", &[" has 1 item, the minimum is 2"]),
        (Schema { max_items: Some(2), ..Schema::default() }, "[1,2,3]", &[" has 3 items, the maximum is 2"]),
        (Schema { min_properties: Some(1), ..Schema::default() }, "{}", &[" has 0 members, the minimum is 1"]),
        (
            Schema { max_properties: Some(1), ..Schema::default() },
            r#"{"a":1,"b":2}"#,
            &[" has 2 members, the maximum is 1"],
        ),
        (Schema { unique_items: true, ..Schema::default() }, "[1,\"1\",[1],[1.5],{\"a\":1}]", &[]),
        (
            Schema { unique_items: true, ..Schema::default() },
            "[3,1.50,2,1.5]",
            &[" holds the same item twice, at 1 and at 3"],
        ),
        (
            Schema { unique_items: true, ..Schema::default() },
            r#"[{"a":1,"b":[2]},0,{"b":[2.0],"a":1.0}]"#,
            &[" holds the same item twice, at 0 and at 2"],
        ),
        (
            Schema { items: Some(Box::new(kind(Kind::Integer))), ..Schema::default() },
            "[1,\"2\",3,null]",
            &["/1 is a string, must be an integer", "/3 is null, must be an integer"],
        ),
        (
            Schema { additional: Some(Box::new(kind(Kind::Integer))), ..Schema::default() },
            r#"{"a/b~":"x"}"#,
            &["/a~1b~0 is a string, must be an integer"],
        ),
        (
            Schema {
                properties: vec![("a".into(), Schema { closed: true, ..Schema::default() })],
                ..Schema::default()
            },
            r#"{"a":{"b":1},"c":2}"#,
            &["/a/b is not a field of /a; it has: none"],
        ),
        (Schema::default(), "[1,{\"a\":null}]", &[]),
    ];
    for (schema, text, want) in cases {
        assert_eq!(said(&schema, text), want, "{text}");
    }
}

#[test]
fn no_more_than_twenty() {
    let schema = Schema { items: Some(Box::new(kind(Kind::Integer))), ..Schema::default() };
    let text = format!("[{}]", ["null"; 1000].join(","));
    assert_eq!(said(&schema, &text).len(), 20);
}

#[test]
fn a_long_list_of_unique_items_is_not_its_square() {
    let schema = Schema { unique_items: true, ..Schema::default() };
    let items: Vec<Value> = (0..100_000).map(|n| Value::int(n * 7 % 100_003)).collect();
    assert_eq!(schema.validate(&Value::List(items)), []);
}

#[test]
fn formats() {
    let cases = [
        (
            "date",
            &["2026-11-23", "2024-02-29", "0001-01-01"][..],
            &["2026-02-29", "2026-13-01", "26-11-23", "2026-11-23 ", ""][..],
        ),
        (
            "date-time",
            &[
                "2026-11-23T02:00:00Z",
                "1961-04-12t06:07:00.5+03:00",
                "2016-12-31T23:59:60Z",
                "2017-01-01T00:59:60+01:00",
            ],
            &[
                "2026-11-23T24:00:00Z",
                "2026-11-23T02:00:00",
                "2026-11-23 02:00:00Z",
                "2016-12-31T12:59:60Z",
                "2026-11-23T02:00:00.Z",
                "2026-11-23T02:00:00+0100",
            ],
        ),
        (
            "uuid",
            &["f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"],
            &["f81d4fae7dec11d0a76500a0c91e6bf6", "f81d4fae-7dec-11d0-a765-00a0c91e6bfg", ""],
        ),
        (
            "email",
            &["ada@example.org", "a.b+c@x", "o'neil@a-b.co"],
            &["ada", "@x", "a@", ".a@x", "a..b@x", "a b@x", "a@-x", "a@x..y", "a@b@c"],
        ),
        (
            "uri",
            &["https://example.org/a?b=c#d", "urn:isbn:0", "mailto:a@b"],
            &["example.org", "/a", "https://exa mple", "https://x/%zz", "1a:b", "a:b#c#d", "http://ä"],
        ),
        ("color", &["anything"], &[]),
    ];
    for (name, good, bad) in cases {
        let schema = Schema { format: Some(name.into()), ..Schema::default() };
        for text in good {
            assert_eq!(schema.validate(&Value::text(*text)), [], "{name} {text}");
        }
        for text in bad {
            assert_eq!(schema.validate(&Value::text(*text)).len(), 1, "{name} {text}");
        }
    }
}
