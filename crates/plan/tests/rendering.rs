//! What a call becomes on the wire.

use crate::support::top_up;
use crate::support::world::{World, tx};
use expect_test::{Expect, expect};
use model::Value;
use plan::render::{render_call, render_text, render_value, resolve_secrets};
use plan::{Call, EvalError, Method, Request, Undo, ValueTemplate};

const INPUT: &str = r#"{"msisdn":"491701234567","amount_minor":1000,"currency":"EUR","card_token":"tok_\"1\"",
    "odd":"a/b ?&é%","dots":"..","dot":".","empty":"","line":"a\r\nX-Evil: 1","null":null,"list":[1],"big":18446744073709551615,"price":1.10,"yes":true}"#;

fn shown(request: &Request) -> String {
    let mut out = format!("{} {}\n", request.method.as_str(), request.path_and_query);
    for (name, value) in &request.headers {
        out += &format!("{name}: {value}\n");
    }
    if let Some(body) = &request.body {
        out += &format!("\n{}\n", String::from_utf8_lossy(body));
    }
    // Ids differ from their neighbours only by length here.
    out.replace(&tx().to_string()[3..], "<id>")
}

fn check(call: &Call, want: &Expect) {
    let world = World::new(INPUT, "null");
    let found = render_call(call, &world.scope(), 128);
    want.assert_eq(&found.map_or_else(|e| format!("error: {e}\n"), |r| shown(&r)));
}

fn get(path: &str) -> Call {
    Call { method: Method::Get, body: None, ..top_up::post("p", path, &[]) }
}

#[test]
fn the_calls_of_a_top_up() {
    let saga = top_up::saga();
    let call = |place: usize| saga.steps[place].call().expect("a call");
    check(
        call(0),
        &expect![[r#"
            POST /charges

            {"amount_minor":1000,"card_token":"tok_\"1\"","currency":"EUR","reference":"tx_<id>"}
        "#]],
    );
    check(
        call(1),
        &expect![[r#"
            POST /accounts/491701234567/credits

            {"amount_minor":1000,"currency":"EUR"}
        "#]],
    );
    let Undo::Call { call: undo, .. } = &saga.steps[1].compensate else { panic!("credit has an undo") };
    check(
        undo,
        &expect![[r#"
            POST /accounts/491701234567/reversals

            {"credit_key":"<id>-1c0"}
        "#]],
    );
    // The second step of the test world never ran: no field is left out silently.
    check(
        call(2),
        &expect![[r#"
        error: there is no "result of step 1"
    "#]],
    );
}

#[test]
fn a_value_stays_one_piece_of_a_path() {
    check(
        &get("/a/${input.odd}/b"),
        &expect![[r#"
        GET /a/a%2Fb%20%3F%26%C3%A9%25/b
    "#]],
    );
    check(
        &get("/a/${input.dots}/b"),
        &expect![[r#"
        error: a part of the path would be ".."
    "#]],
    );
    check(
        &get("/a/${input.dot}${input.dot}"),
        &expect![[r#"
        error: a part of the path would be ".."
    "#]],
    );
    check(
        &get("/a/${input.empty}"),
        &expect![[r#"
        error: a part of the path would be ""
    "#]],
    );
    check(
        &get("/a/x${input.empty}/${input.dots}.json"),
        &expect![[r#"
        GET /a/x/...json
    "#]],
    );
    check(
        &get("/a/${input.null}"),
        &expect![[r#"
        error: null has no place inside text
    "#]],
    );
    check(
        &get("/a/${input.list}"),
        &expect![[r#"
        error: a list has no place inside text
    "#]],
    );
    check(
        &get("/a b/${input.big}/${input.price}/${input.yes}/%2F"),
        &expect![[r#"
        GET /a%20b/18446744073709551615/1.10/true/%2F
    "#]],
    );
    check(
        &get("/${secret.x}"),
        &expect![[r#"
        error: secret.x may stand only in a participant's headers
    "#]],
    );
}

#[test]
fn queries_and_headers() {
    let mut call = get("/search");
    call.query =
        vec![("q q".into(), top_up::text("x ${input.odd}")), ("n".into(), top_up::text("${input.amount_minor}"))];
    call.headers = vec![("X-Who".into(), top_up::text("for ${input.msisdn}, ${call.key}"))];
    check(
        &call,
        &expect![[r#"
        GET /search?q%20q=x%20a%2Fb%20%3F%26%C3%A9%25&n=1000
        X-Who: for 491701234567, <id>-0c0
    "#]],
    );
    call.headers = vec![("X-Who".into(), top_up::text("${input.line}"))];
    check(
        &call,
        &expect![[r#"
        error: the header X-Who would hold a control character
    "#]],
    );
}

#[test]
fn text_and_values() {
    let world = World::new(INPUT, "null");
    let scope = world.scope();
    let text = |template: &str| render_text(&top_up::text(template), &scope).map_err(|e| e.to_string());
    assert_eq!(text("subscriber/${input.msisdn}").as_deref(), Ok("subscriber/491701234567"));
    assert_eq!(text("${input.amount_minor}-${input.yes}-${input.price}").as_deref(), Ok("1000-true-1.10"));
    assert_eq!(text("${input.amount_minor / 8.0}").as_deref(), Ok("125"));
    assert_eq!(text("${transaction.id}"), Ok(tx().to_string().into()));
    assert_eq!(text("${input.nope}"), Err("there is no \"input.nope\"".into()));

    let template = top_up::value(&[("b", "${input.list}"), ("a", "n ${input.amount_minor}"), ("c", "x")]);
    let value = render_value(&template, &scope).map(|v| v.to_string());
    assert_eq!(value.as_deref(), Ok(r#"{"a":"n 1000","b":[1],"c":"x"}"#));
    let list = ValueTemplate::List(vec![ValueTemplate::Literal(Value::Null), template]);
    assert_eq!(
        render_value(&list, &scope).map(|v| v.to_string()),
        Ok(r#"[null,{"a":"n 1000","b":[1],"c":"x"}]"#.into())
    );
    let missing = top_up::value(&[("a", "${input.nope}")]);
    assert_eq!(render_value(&missing, &scope), Err(EvalError::Missing("input.nope".into())));
}

#[test]
fn secrets_are_resolved_only_in_a_participants_headers() {
    let secret = |name: &str| match name {
        "token" => Some("t0k".to_owned()),
        "broken" => Some("t0k\n".to_owned()),
        _ => None,
    };
    let resolved = |template: &str| resolve_secrets(&top_up::text(template), &secret).map_err(|e| e.to_string());
    assert_eq!(resolved("Bearer ${secret.token}").as_deref(), Ok("Bearer t0k"));
    assert_eq!(resolved("Bearer ${secret.none}"), Err("there is no \"secret.none\"".into()));
    assert!(resolved("Bearer ${secret.broken}").is_err_and(|e| !e.contains("t0k")));
    assert!(resolved("${input.n}").is_err());
}

#[test]
fn a_digest_names_what_is_sent() {
    let request = Request {
        method: Method::Post,
        path_and_query: "/charges".into(),
        headers: vec![("X-A".into(), "1".into())],
        body: Some(b"{}".to_vec()),
    };
    assert_eq!(format!("{:016x}", request.digest()), GOLDEN_DIGEST);
    let others = [
        Request { method: Method::Put, ..request.clone() },
        Request { path_and_query: "/charge".into(), ..request.clone() },
        Request { path_and_query: "/chargesX-A".into(), headers: vec![("".into(), "1".into())], ..request.clone() },
        Request { headers: vec![("X-A".into(), "2".into())], ..request.clone() },
        Request { headers: vec![("X-B".into(), "1".into())], ..request.clone() },
        Request { headers: vec![], ..request.clone() },
        Request { body: Some(b"{ }".to_vec()), ..request.clone() },
        Request { body: Some(vec![]), ..request.clone() },
        Request { body: None, ..request.clone() },
    ];
    let mut digests: Vec<u64> = others.iter().chain([&request]).map(Request::digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), others.len() + 1);
}

const GOLDEN_DIGEST: &str = "fb01375b3b06d77d";
