//! The canonical bytes of a saga: what a journal holds today must read for ever, and hash to the same name.

use crate::support::cel;
use crate::support::top_up;
use expect_test::expect_file;
use model::Value;
use plan::{BinaryOp, Expr, Saga, Undo, ValueTemplate};

#[test]
fn the_bytes_of_a_saga_stay_as_they_are() {
    let saga = top_up::saga();
    let bytes = saga.to_bytes();
    expect_file!["golden/top_up.v1.json"].assert_eq(&String::from_utf8_lossy(&bytes));
    let hash: String = Saga::hash_of(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    expect_file!["golden/top_up.v1.hash"].assert_eq(&hash);
}

#[test]
fn recorded_bytes_still_read() {
    let bytes = include_bytes!("golden/top_up.v1.json");
    let saga = Saga::from_bytes(bytes);
    assert_eq!(saga.as_ref(), Ok(&top_up::saga()));
    assert_eq!(saga.map(|s| s.to_bytes()).as_deref(), Ok(&bytes[..]));
}

/// The deepest body and the deepest expression that are accepted, together, must come back from the journal.
#[test]
fn the_deepest_plan_survives_storage() {
    let depth = plan::eval::DEPTH_MAX as usize - 1;
    let expr = (0..depth)
        .fold(cel::cel("true"), |of, _| Expr::Binary(BinaryOp::And, Box::new(of), Box::new(cel::cel("true"))));
    let body = (0..32).fold(ValueTemplate::Expr(expr), |of, _| ValueTemplate::Map(vec![("a".into(), of)]));
    let mut saga = top_up::saga();
    let deep = (0..200).fold(Value::Null, |of, _| Value::List(vec![of]));
    saga.output = Some(ValueTemplate::Literal(deep));
    if let Undo::Call { call, .. } = &mut saga.steps[0].compensate {
        call.body = Some(body);
    }
    assert_eq!(Saga::from_bytes(&saga.to_bytes()), Ok(saga));
    for brackets in [100_000, 10_000_000] {
        assert!(Saga::from_bytes("[".repeat(brackets).as_bytes()).is_err());
    }
}

#[test]
fn bytes_that_are_no_plan_are_an_error() {
    for bytes in [&b""[..], b"{}", b"[]", b"{\"name\":1}", b"\xff"] {
        assert!(Saga::from_bytes(bytes).is_err());
    }
    // A pattern that does not compile any more is an error too, not a panic.
    let text = include_str!("golden/top_up.v1.json").replace("^[1-9][0-9]{7,14}$", "(");
    assert!(Saga::from_bytes(text.as_bytes()).is_err());
}
