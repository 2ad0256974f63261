//! Expressions and values that nobody would write: they may be errors, never a panic, and never a long wait.

use crate::support::world::World;
use model::{Map, Number, Value};
use plan::schema::{Bound, Kind, Pattern, Schema};
use plan::{BinaryOp, Expr, Function, Macro, TextPart, TextTemplate, UnaryOp, ValueTemplate, Var, render};
use proptest::prelude::*;

fn any_number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::Int),
        Just(Number::Int(i64::MIN)),
        Just(Number::Int(-1)),
        Just(Number::Int(0)),
        (i64::MAX as u64 + 1..).prop_map(Number::Uint),
        any::<f64>().prop_filter_map("finite with a fraction", |f| {
            plan::number::from_double(f).filter(|n| matches!(n, Number::Decimal(_)))
        }),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any_number().prop_map(Value::Number),
        "[a-c/.%\u{0}-\u{ff}]{0,12}".prop_map(Value::text),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| {
                let members = members.into_iter().map(|(n, v)| (n.into(), v)).collect();
                Value::Map(Map::from_members(members).unwrap_or_default())
            }),
        ]
    })
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let var = prop_oneof![
        Just(Var::Input),
        Just(Var::TransactionId),
        (0u16..3).prop_map(Var::StepResult),
        (0u16..3).prop_map(Var::StepOutcome),
        (0u16..3).prop_map(Var::StepCallKey),
        Just(Var::ResponseStatus),
        Just(Var::ResponseBody),
        Just(Var::SignalBody),
        Just(Var::CallKey),
        (0u8..3).prop_map(Var::Bound),
    ];
    let leaf = prop_oneof![any_value().prop_map(Expr::Const), var.prop_map(Expr::Var)];
    let op = prop_oneof![
        Just(BinaryOp::And),
        Just(BinaryOp::Or),
        Just(BinaryOp::Equal),
        Just(BinaryOp::NotEqual),
        Just(BinaryOp::Less),
        Just(BinaryOp::GreaterEqual),
        Just(BinaryOp::Add),
        Just(BinaryOp::Subtract),
        Just(BinaryOp::Multiply),
        Just(BinaryOp::Divide),
        Just(BinaryOp::Remainder),
        Just(BinaryOp::In),
    ];
    let function = prop_oneof![
        Just(Function::Size),
        Just(Function::Contains),
        Just(Function::StartsWith),
        Just(Function::EndsWith),
        Just(Function::Matches),
        Just(Function::ToText),
        Just(Function::ToInt),
        Just(Function::ToDouble),
        Just(Function::LowerAscii),
        Just(Function::UpperAscii),
    ];
    let kind = prop_oneof![
        Just(Macro::All),
        Just(Macro::Exists),
        Just(Macro::ExistsOne),
        Just(Macro::Map),
        Just(Macro::Filter),
    ];
    leaf.prop_recursive(6, 48, 3, move |inner| {
        let one = inner.clone().prop_map(Box::new);
        prop_oneof![
            (one.clone(), "[a-c]").prop_map(|(of, name)| Expr::Select(of, name.into())),
            (one.clone(), "[a-c]").prop_map(|(of, name)| Expr::Has(of, name.into())),
            (one.clone(), one.clone()).prop_map(|(of, at)| Expr::Index(of, at)),
            one.clone().prop_map(|of| Expr::Unary(UnaryOp::Not, of)),
            one.clone().prop_map(|of| Expr::Unary(UnaryOp::Negate, of)),
            (op.clone(), one.clone(), one.clone()).prop_map(|(op, a, b)| Expr::Binary(op, a, b)),
            (one.clone(), one.clone(), one.clone()).prop_map(|(a, b, c)| Expr::Ternary(a, b, c)),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Expr::List),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Expr::Map),
            (function.clone(), proptest::collection::vec(inner, 0..3)).prop_map(|(f, args)| Expr::Call(f, args)),
            (kind.clone(), one.clone(), one).prop_map(|(kind, of, body)| Expr::Macro(kind, of, body)),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Schema> {
    let kinds = prop_oneof![
        Just(vec![]),
        Just(vec![Kind::Object]),
        Just(vec![Kind::Integer, Kind::Null]),
        Just(vec![Kind::Array]),
        Just(vec![Kind::Number, Kind::String]),
    ];
    let bound = || proptest::option::of(any_number().prop_map(|n| Bound(Value::Number(n))));
    let leaf = (kinds, bound(), bound(), bound(), proptest::option::of(0u64..4), any::<[bool; 3]>()).prop_map(
        |(kinds, minimum, exclusive_maximum, multiple_of, count, [closed, unique_items, sensitive])| Schema {
            kinds,
            minimum,
            exclusive_maximum,
            multiple_of,
            min_length: count,
            max_items: count,
            max_properties: count,
            pattern: count.and_then(|_| Pattern::new("^[a-c]+$").ok()),
            format: count.map(|n| ["date", "date-time", "uri", "email"][n as usize % 4].into()),
            required: count.map(|_| "b".into()).into_iter().collect(),
            closed,
            unique_items,
            sensitive,
            ..Schema::default()
        },
    );
    leaf.prop_recursive(3, 12, 3, |inner| {
        (inner.clone(), inner.clone(), inner.clone(), inner).prop_map(|(mut of, a, b, c)| {
            of.properties = vec![("a".into(), a), ("b".into(), b)];
            of.items = Some(Box::new(c.clone()));
            of.additional = Some(Box::new(c));
            of
        })
    })
}

fn world(input: &Value, body: &Value) -> World {
    let mut world = World::new("null", "null");
    world.input = input.clone();
    world.body = body.clone();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_over_any_value(expr in any_expr(), input in any_value(), body in any_value()) {
        let world = world(&input, &body);
        let scope = world.scope();
        let first = expr.eval(&scope).map(std::borrow::Cow::into_owned);
        prop_assert_eq!(&first, &expr.eval(&scope).map(std::borrow::Cow::into_owned));
        if let Ok(value) = first {
            // Whatever an expression gives is JSON that we would take.
            let text = value.to_string();
            prop_assert_eq!(model::json::parse_within(text.as_bytes(), 200), Ok(value));
        }
    }

    #[test]
    fn an_expression_survives_storage(expr in any_expr()) {
        let stored = TextTemplate(vec![TextPart::Expr(expr.clone())]);
        let saga = plan::Saga {
            name: "x".into(), version: 1, description: None, owner: None, input: Schema::default(),
            key: Some(stored), lock: None, timeout: None, steps: vec![], output: Some(ValueTemplate::Expr(expr)),
        };
        let bytes = saga.to_bytes();
        prop_assert_eq!(&plan::Saga::from_bytes(&bytes), &Ok(saga));
        prop_assert_eq!(plan::Saga::from_bytes(&bytes).map(|s| s.to_bytes()), Ok(bytes));
    }

    #[test]
    fn rendering_gives_json_and_paths_stay_in_place(expr in any_expr(), input in any_value()) {
        let world = world(&input, &Value::Null);
        let scope = world.scope();
        let call = plan::Call {
            participant: "p".into(),
            method: plan::Method::Post,
            path: TextTemplate(vec![
                TextPart::Literal("/a/".into()), TextPart::Expr(expr.clone()), TextPart::Literal("/b".into()),
            ]),
            query: vec![("q".into(), TextTemplate(vec![TextPart::Expr(expr.clone())]))],
            headers: vec![("X-A".into(), TextTemplate(vec![TextPart::Expr(expr.clone())]))],
            body: Some(ValueTemplate::Map(vec![("v".into(), ValueTemplate::Expr(expr.clone()))])),
        };
        if let Ok(request) = render::render_call(&call, &scope, 64) {
            let (path, query) = request.path_and_query.split_once('?').unwrap_or_default();
            prop_assert_eq!(path.split('/').count(), 4);
            prop_assert!(path.split('/').skip(1).all(|s| !matches!(s, "" | "." | "..")), "{}", path);
            prop_assert!(!query.contains(['?', '&', '#', '/', ' ']));
            prop_assert!(request.path_and_query.bytes().all(|b| b.is_ascii_graphic()));
            let value = expr.eval(&scope).map(std::borrow::Cow::into_owned);
            let body = model::json::parse_within(request.body.as_deref().unwrap_or_default(), 200);
            prop_assert_eq!(body.ok().and_then(|b| b.get("v").cloned()), value.ok());
        }
    }

    #[test]
    fn any_schema_over_any_value(schema in any_schema(), value in any_value()) {
        let found = schema.validate(&value);
        prop_assert!(found.len() <= plan::schema::VIOLATIONS_MAX);
        let masked = schema.mask(&value);
        prop_assert!(!schema.sensitive || masked == Value::text("***"));
        let bytes = serde_json::to_vec(&schema).unwrap_or_default();
        let back: Schema = serde_json::from_slice(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(back, schema);
    }
}
