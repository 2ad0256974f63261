//! What expressions mean: cases after the CEL specification, and where JSON's exact numbers make us differ.
//!
//! Each case is an expression and its value as canonical JSON, or the kind of its error.

use crate::support::cel::cel;
use crate::support::world::{self, World};
use plan::EvalError;

const INPUT: &str = r#"{"n":7,"zero":0,"price":1.10,"two":2.0,"big":18446744073709551615,"name":"Ada","none":null,
    "yes":true,"list":[1,2,3],"mixed":[1,"a",null,1.5],"map":{"a":1,"b":2},"wide":9007199254740993,
    "long":1234567890123456.78}"#;

fn outcome(text: &str) -> String {
    let world = World::new(INPUT, r#"{"id":"x1","items":[{"price":1},{"price":5}]}"#);
    match cel(text).eval(&world.scope()) {
        Ok(value) => value.to_string(),
        Err(EvalError::Missing(_)) => "missing".into(),
        Err(EvalError::WrongType(_)) => "type".into(),
        Err(EvalError::Overflow) => "overflow".into(),
        Err(EvalError::DivisionByZero) => "division".into(),
        Err(EvalError::TooCostly) => "cost".into(),
        Err(other) => panic!("{text}: {other}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, want)| {
            let found = outcome(text);
            (found != *want).then(|| format!("{text}\n  is   {found}\n  not  {want}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn integers() {
    check(&[
        ("40 + 2", "42"),
        ("42 - 50", "-8"),
        ("6 * 7", "42"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("7 % -3", "1"),
        ("1 / 0", "division"),
        ("1 % 0", "division"),
        ("input.n / input.zero", "division"),
        ("9223372036854775807 + 1", "overflow"),
        ("-9223372036854775808 - 1", "overflow"),
        ("9223372036854775807 * 2", "overflow"),
        ("-9223372036854775808 / -1", "overflow"),
        ("-9223372036854775808 % -1", "overflow"),
        ("-(-9223372036854775807)", "9223372036854775807"),
        ("-(-9223372036854775808)", "overflow"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("10 - 3 - 2", "5"),
        ("input.two + 1", "3"),
        ("input.big", "18446744073709551615"),
        ("input.big + 1", "overflow"),
        ("input.big - 1", "18446744073709551614"),
        ("input.big - input.big", "0"),
        ("input.big / 2", "9223372036854775807"),
        ("input.big % 10", "5"),
        ("-input.big", "overflow"),
        ("-input.n", "-7"),
        ("input.wide + 0", "9007199254740993"),
    ]);
}

#[test]
fn doubles() {
    check(&[
        ("1.5 + 1.5", "3"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("4.5 / 2.0", "2.25"),
        ("3.0 / 2.0", "1.5"),
        ("-1.5", "-1.5"),
        ("-(1.5)", "-1.5"),
        ("1.0 / 0.0", "division"),
        ("0.0 / 0.0", "division"),
        ("5.5 % 2.0", "type"),
        ("1e300 * 1e300", "overflow"),
        ("1e19 * 10.0", "overflow"),
        ("1e-7 * 0.5", "5e-8"),
        ("1.5 * input.n", "10.5"),
        ("input.price * 2", "2.2"),
        ("input.wide * 1.5", "type"),
        ("double(input.n) / 2.0", "3.5"),
        ("double(3) / double(2)", "1.5"),
        ("input.price", "1.10"),
        ("[2.0, 0.5]", "[2,0.5]"),
        ("2.0", "2"),
        ("0.0 * -1.0", "0"),
    ]);
}

#[test]
fn comparing_numbers() {
    check(&[
        ("1 == 1.0", "true"),
        ("1 == 1.5", "false"),
        ("1 < 1.5", "true"),
        ("2 > 1.5", "true"),
        ("2.0 <= 2", "true"),
        ("-1 < -0.5", "true"),
        ("-1 > -1.5", "true"),
        ("input.wide == 9007199254740992.0", "false"),
        ("input.wide > 9007199254740992.0", "true"),
        ("9007199254740992.0 < input.wide", "true"),
        ("input.big == 18446744073709551615", "true"),
        ("input.big > 9223372036854775807", "true"),
        ("input.big < 1e20", "true"),
        ("-1e20 < input.n", "true"),
        ("input.price == 1.1", "true"),
        ("input.price < 2", "true"),
        ("input.price > 1", "true"),
        ("input.long < 1234567890123457", "true"),
        ("input.long > 1234567890123456", "true"),
        ("input.price * 1.0 == 1.1", "true"),
        ("0.1 + 0.2 == 0.3", "false"),
        ("0.1 + 0.2 > 0.3", "true"),
        ("1e-300 > 0", "true"),
        ("1.5 == \"1.5\"", "false"),
        ("1 < \"2\"", "type"),
    ]);
}

#[test]
fn equality_and_order() {
    check(&[
        ("\"a\" == \"a\"", "true"),
        ("\"a\" == 'b'", "false"),
        ("\"a\" == 1", "false"),
        ("null == null", "true"),
        ("null == false", "false"),
        ("null == 0", "false"),
        ("true != false", "true"),
        ("[1, 2] == [1, 2.0]", "true"),
        ("[1, 2] == [2, 1]", "false"),
        ("[1] == [1, 2]", "false"),
        ("{\"a\": 1, \"b\": 2} == {\"b\": 2, \"a\": 1.0}", "true"),
        ("{\"a\": 1} == {\"a\": 2}", "false"),
        ("{\"a\": 1} == {\"b\": 1}", "false"),
        ("{\"a\": null} == {}", "false"),
        ("[1, \"a\"] != [1, \"b\"]", "true"),
        ("input.map == {\"a\": 1, \"b\": 2}", "true"),
        ("\"a\" < \"b\"", "true"),
        ("\"Z\" < \"a\"", "true"),
        ("\"a\" < \"aa\"", "true"),
        ("\"é\" > \"z\"", "true"),
        ("\"\u{ffff}\" < \"\u{10000}\"", "true"),
        ("false < true", "true"),
        ("true <= true", "true"),
        ("null < null", "type"),
        ("[1] < [2]", "type"),
        ("\"a\" < 1", "type"),
        ("true < 1", "type"),
    ]);
}

#[test]
fn deciding() {
    check(&[
        ("true && true", "true"),
        ("true && false", "false"),
        ("false || true", "true"),
        ("false || false", "false"),
        ("!true", "false"),
        ("!!true", "true"),
        ("!1", "type"),
        ("false && 1 / 0 == 0", "false"),
        ("1 / 0 == 0 && false", "false"),
        ("1 / 0 == 0 && true", "division"),
        ("true && 1 / 0 == 0", "division"),
        ("true || 1 / 0 == 0", "true"),
        ("1 / 0 == 0 || true", "true"),
        ("1 / 0 == 0 || false", "division"),
        ("1 / 0 == 0 || input.nothing", "division"),
        ("1 && false", "false"),
        ("1 && true", "type"),
        ("\"x\" || true", "true"),
        ("\"x\" || false", "type"),
        ("null && false", "false"),
        ("false || true && false", "false"),
        ("true ? 1 : 2", "1"),
        ("false ? 1 : 2", "2"),
        ("true ? 1 : 1 / 0", "1"),
        ("false ? 1 / 0 : 2", "2"),
        ("1 ? 1 : 2", "type"),
        ("1 / 0 == 0 ? 1 : 2", "division"),
        ("true ? false ? 1 : 2 : 3", "2"),
        ("has(input.n) && input.n > 5", "true"),
        ("has(input.m) && input.m > 5", "false"),
    ]);
}

#[test]
fn reading() {
    check(&[
        ("input.n", "7"),
        ("input.map.b", "2"),
        ("input.map[\"a\"]", "1"),
        ("input.m", "missing"),
        ("input.m.n", "missing"),
        ("input.n.m", "type"),
        ("input.none.m", "type"),
        ("input.name.size", "type"),
        ("input.list[0]", "1"),
        ("input.list[2]", "3"),
        ("input.list[3]", "missing"),
        ("input.list[-1]", "missing"),
        ("input.list[1.0]", "2"),
        ("input.list[1.5]", "type"),
        ("input.list[\"0\"]", "type"),
        ("input.map[0]", "type"),
        ("input.map[\"c\"]", "missing"),
        ("input.n[0]", "type"),
        ("[4, 5, 6][1]", "5"),
        ("{\"a\": {\"b\": 3}}.a.b", "3"),
        ("{\"a\": 1}[\"a\"]", "1"),
        ("has(input.none)", "true"),
        ("has(input.map.a)", "true"),
        ("has(input.map.c)", "false"),
        ("has(input.m.n)", "missing"),
        ("has(input.n.m)", "type"),
        ("has({\"a\": 1}.a)", "true"),
        ("response.status", "200"),
        ("response.status == 200 && response.body.id == \"x1\"", "true"),
        ("steps.s0.result.balance_minor", "1500"),
        ("steps.s0.outcome", "\"done\""),
        ("steps.s1.result.x", "missing"),
        ("steps.s1.outcome == \"done\" ? steps.s1.result.x : 0", "0"),
        ("signal.body.decision", "\"SET\""),
    ]);
    let id = world::tx().to_string();
    check(&[
        ("transaction.id", &format!("\"{id}\"")),
        ("call.key", &format!("\"{}-0c0\"", &id[3..])),
        ("steps.s1.call_key", &format!("\"{}-1c0\"", &id[3..])),
    ]);
}

#[test]
fn texts() {
    check(&[
        ("\"a\" + \"b\"", "\"ab\""),
        ("\"a\" + 1", "type"),
        ("\"n=\" + string(input.n)", "\"n=7\""),
        ("size(\"\")", "0"),
        ("size(\"héllo\")", "5"),
        ("size(\"👍🏽\")", "2"),
        ("\"abc\".size()", "3"),
        ("size(1)", "type"),
        ("size(null)", "type"),
        ("\"foobar\".contains(\"oba\")", "true"),
        ("\"foobar\".contains(\"\")", "true"),
        ("\"foobar\".contains(\"x\")", "false"),
        ("\"foobar\".startsWith(\"foo\")", "true"),
        ("\"foobar\".startsWith(\"bar\")", "false"),
        ("\"foobar\".endsWith(\"bar\")", "true"),
        ("\"\".endsWith(\"bar\")", "false"),
        ("input.n.contains(\"7\")", "type"),
        ("\"7\".contains(input.n)", "type"),
        ("\"hubba\".matches(\"ubb\")", "true"),
        ("\"hubba\".matches(\"^ubb\")", "false"),
        ("\"cows\".matches(\"\")", "true"),
        ("\"abcd\".matches(\"bc\")", "true"),
        ("\"grey\".matches(\"gr(a|e)y\")", "true"),
        ("\"мама\".matches(\"^м.+а$\")", "true"),
        ("\"a\".matches(\"(\")", "type"),
        ("\"a\".matches(input.name)", "false"),
        ("\"Ada L\".matches(input.name)", "true"),
        ("input.n.matches(\"7\")", "type"),
        ("\"TacoCat\".lowerAscii()", "\"tacocat\""),
        ("\"TacoCÆt\".lowerAscii()", "\"tacocÆt\""),
        ("\"TacoCat\".upperAscii()", "\"TACOCAT\""),
        ("1.lowerAscii()", "type"),
    ]);
}

#[test]
fn converting() {
    check(&[
        ("string(1)", "\"1\""),
        ("string(-5)", "\"-5\""),
        ("string(true)", "\"true\""),
        ("string(\"x\")", "\"x\""),
        ("string(1.5)", "\"1.5\""),
        ("string(input.price)", "\"1.10\""),
        ("string(2.0)", "\"2\""),
        ("string(input.big)", "\"18446744073709551615\""),
        ("string(null)", "type"),
        ("string([1])", "type"),
        ("int(42)", "42"),
        ("int(1.9)", "1"),
        ("int(-1.9)", "-1"),
        ("int(7.0)", "7"),
        ("int(input.price)", "1"),
        ("int(input.long)", "1234567890123456"),
        ("int(\"42\")", "42"),
        ("int(\"-9223372036854775808\")", "-9223372036854775808"),
        ("int(\"9223372036854775808\")", "type"),
        ("int(\"1.5\")", "type"),
        ("int(\"\")", "type"),
        ("int(\" 1\")", "type"),
        ("int(double(\"1e99\"))", "overflow"),
        ("int(input.big)", "overflow"),
        ("int(true)", "type"),
        ("int(null)", "type"),
        ("double(1) / 4.0", "0.25"),
        ("double(\"1.5\")", "1.5"),
        ("double(\"NaN\")", "type"),
        ("double(\"inf\")", "type"),
        ("double(\"x\")", "type"),
        ("double(true)", "type"),
        ("double(\"1e400\")", "type"),
        ("double(\"1e300\")", "overflow"),
    ]);
}

#[test]
fn lists_and_maps() {
    check(&[
        ("[]", "[]"),
        ("{}", "{}"),
        ("[1, \"a\", true, null]", "[1,\"a\",true,null]"),
        ("{\"b\": 1, \"a\": 2}", "{\"a\":2,\"b\":1}"),
        ("{\"a\": 1, \"a\": 2}", "type"),
        ("{1: 2}", "type"),
        ("[1 / 0]", "division"),
        ("[1] + [2, 3]", "[1,2,3]"),
        ("input.list + [4]", "[1,2,3,4]"),
        ("[1] + 2", "type"),
        ("{} + {}", "type"),
        ("size([1, 2])", "2"),
        ("size(input.map)", "2"),
        ("2 in input.list", "true"),
        ("4 in input.list", "false"),
        ("2.0 in input.list", "true"),
        ("\"a\" in [1, 2]", "false"),
        ("null in input.mixed", "true"),
        ("\"a\" in input.map", "true"),
        ("\"c\" in input.map", "false"),
        ("1 in input.map", "false"),
        ("1 in 1", "type"),
        ("\"a\" in \"abc\"", "type"),
        ("[1] in [[1], [2]]", "true"),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("input.list.all(x, x > 0)", "true"),
        ("input.list.all(x, x > 1)", "false"),
        ("[].all(x, x > 1)", "true"),
        ("input.mixed.all(x, x == 1)", "false"),
        ("[1, \"a\"].all(x, x < 0)", "false"),
        ("[\"a\", 1].all(x, x < 0)", "false"),
        ("[\"a\", 1].all(x, x > 0)", "type"),
        ("[1, 2].all(x, x)", "type"),
        ("input.list.exists(x, x > 2)", "true"),
        ("input.list.exists(x, x > 3)", "false"),
        ("[].exists(x, true)", "false"),
        ("[\"a\", 1].exists(x, x > 0)", "true"),
        ("[\"a\", 1].exists(x, x < 0)", "type"),
        ("input.list.exists_one(x, x > 2)", "true"),
        ("input.list.exists_one(x, x > 1)", "false"),
        ("[].exists_one(x, true)", "false"),
        ("[1, \"a\"].exists_one(x, x > 0)", "type"),
        ("input.list.map(x, x * x)", "[1,4,9]"),
        ("[].map(x, x)", "[]"),
        ("[1, 0].map(x, 1 / x)", "division"),
        ("input.list.filter(x, x % 2 == 1)", "[1,3]"),
        ("input.mixed.filter(x, x != null)", "[1,\"a\",1.5]"),
        ("[1, 2].filter(x, x)", "type"),
        ("input.map.all(k, size(k) == 1)", "true"),
        ("input.map.exists(k, input.map[k] == 2)", "true"),
        ("input.map.map(k, k + \"!\")", "[\"a!\",\"b!\"]"),
        ("input.n.all(x, true)", "type"),
        ("[[1, 2], [3]].map(l, l.map(x, x + size(l)))", "[[3,4],[4]]"),
        ("[1, 2].exists(x, [2, 3].exists(y, x == y))", "true"),
        ("[1, 2].map(x, [x].map(x, x * 10))", "[[10],[20]]"),
        ("response.body.items.filter(i, i.price > 2).map(i, i.price)", "[5]"),
        ("response.body.items.exists(i, i.cost > 2)", "missing"),
    ]);
}

/// Where the specification's own conformance cases say otherwise, and why.
#[test]
fn differing_on_purpose() {
    check(&[
        // Comparison across int and double loses no digit; the specification allows a cast.
        ("9223372036854775807 < 9223372036854775808.0", "true"),
        ("9223372036854775807 >= 9223372036854775808.0", "false"),
        ("9223372036854775808.0 > 9223372036854775807", "true"),
        // NaN and infinity are errors where they arise, not values.
        ("0.0 / 0.0 == 0.0 / 0.0", "division"),
        // JSON has text names only.
        ("{true: 5}[true]", "type"),
        // A number is said as it was written.
        ("string(-4.5e-3)", "\"-4.5e-3\""),
        // -2^63 is exact as a double, so it converts.
        ("int(-9223372036854775808.0)", "-9223372036854775808"),
        // A whole number past 64 bits is no number of ours.
        ("string(6.02214e23)", "overflow"),
        // Arithmetic across int and double, where that loses no digit.
        ("1 + 0.5", "1.5"),
    ]);
}

#[test]
fn what_costs_too_much_is_refused() {
    let twelve = "[1,2,3,4,5,6,7,8,9,10,11,12]";
    let nested = format!(
        "{twelve}.map(a, {twelve}.map(b, {twelve}.map(c, {twelve}.map(d, {twelve}.map(e, a + b + c + d + e)))))"
    );
    assert_eq!(outcome(&nested), "cost");
    // Running out is final: it does not yield to the other side.
    assert_eq!(outcome(&format!("size({nested}) > 0 || true")), "cost");
    let deep = format!("{}true{}", "!(".repeat(70), ")".repeat(70));
    assert_eq!(outcome(&deep), "cost");
    let doubling = "[\"0123456789012345678901234567890123456789012345678901234567890123\"]";
    let doublings = (0..30).fold(doubling.to_owned(), |of, _| format!("{of}.map(x, x + x)"));
    assert_eq!(outcome(&doublings), "cost");
}

#[test]
fn messages_say_what_was_wrong() {
    let world = World::new(INPUT, "null");
    let said = |text: &str| cel(text).eval(&world.scope()).map_or_else(|e| e.to_string(), |v| v.to_string());
    assert_eq!(said("response.body.id"), "\"id\" is read from a map, not null");
    assert_eq!(said("input.map.c"), "there is no \"input.map.c\"");
    assert_eq!(said("steps.s0.result.nope"), "there is no \"nope in the result of step 0\"");
    assert_eq!(said("\"a\" + 1"), "+ does not join a string with an integer");
    assert_eq!(said("input.list[9]"), "there is no \"place 9 of a list of 3\"");
    let verdict = cel("input.n").eval_bool(&world.scope());
    assert_eq!(verdict.map_err(|e| e.to_string()), Err("is an integer, must be a boolean".into()));
}
