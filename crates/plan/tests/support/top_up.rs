//! The saga of LANGUAGE.md A.1, built by hand.

use std::time::Duration;

use compact_str::CompactString;
use model::Value;
use plan::schema::{Bound, Constant, Kind, Pattern, Schema};
use plan::{Action, Call, Expr, Method, OnUnknown, Saga, Side, Step, TextPart, TextTemplate, Undo, ValueTemplate};

use super::cel::cel;

fn schema(kind: Kind) -> Schema {
    Schema { kinds: vec![kind], ..Schema::default() }
}

pub(crate) fn input() -> Schema {
    let number = |n: i64| Some(Bound(Value::int(n)));
    let constant = |text: &str| Constant(Value::text(text));
    Schema {
        kinds: vec![Kind::Object],
        closed: true,
        required: ["msisdn", "amount_minor", "currency", "card_token"].map(Into::into).to_vec(),
        properties: vec![
            ("amount_minor".into(), Schema { minimum: number(100), maximum: number(50_000), ..schema(Kind::Integer) }),
            ("card_token".into(), Schema { max_length: Some(64), sensitive: true, ..schema(Kind::String) }),
            ("currency".into(), Schema { enumeration: vec![constant("EUR"), constant("USD")], ..schema(Kind::String) }),
            ("msisdn".into(), Schema { pattern: Pattern::new("^[1-9][0-9]{7,14}$").ok(), ..schema(Kind::String) }),
        ],
        ..Schema::default()
    }
}

/// `a${…}b`, as text with CEL inside.
pub(crate) fn text(template: &str) -> TextTemplate {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        let end = start + rest[start..].find('}').expect("the end of an expression");
        if start > 0 {
            parts.push(TextPart::Literal(rest[..start].into()));
        }
        parts.push(match rest[start + 2..end].strip_prefix("secret.") {
            Some(name) => TextPart::Secret(name.into()),
            None => TextPart::Expr(cel(&rest[start + 2..end])),
        });
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(TextPart::Literal(rest.into()));
    }
    TextTemplate(parts)
}

pub(crate) fn value(members: &[(&str, &str)]) -> ValueTemplate {
    let mut members: Vec<(CompactString, ValueTemplate)> = members
        .iter()
        .map(|(name, template)| {
            let mut parts = text(template).0;
            let value = match (parts.len(), parts.pop()) {
                (1, Some(TextPart::Expr(expr))) => ValueTemplate::Expr(expr),
                (1, Some(TextPart::Literal(text))) => ValueTemplate::Literal(Value::Text(text)),
                _ => ValueTemplate::Text(text(template)),
            };
            (CompactString::new(name), value)
        })
        .collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    ValueTemplate::Map(members)
}

pub(crate) fn post(participant: &str, path: &str, body: &[(&str, &str)]) -> Call {
    Call {
        participant: participant.into(),
        method: Method::Post,
        path: text(path),
        query: vec![],
        headers: vec![],
        body: Some(value(body)),
    }
}

fn step(name: &str, after: Vec<u16>, call: Call, result: &[(&str, &str)], undo: Option<Call>) -> Step {
    let result: Vec<(CompactString, Expr)> = result.iter().map(|(n, e)| (CompactString::new(n), cel(e))).collect();
    let undo = undo.map(|call| Undo::Call { call, timeout: None, answers: vec![], unknown: None });
    Step {
        name: name.into(),
        after,
        when: None,
        optional: false,
        side: Side::Before,
        action: Action::Call(call),
        unknown: None,
        timeout: None,
        retry: None,
        answers: vec![],
        result_is_read: !result.is_empty(),
        result,
        compensate: undo.unwrap_or(Undo::Nothing),
    }
}

pub(crate) fn saga() -> Saga {
    let charge = step(
        "charge",
        vec![],
        post(
            "payments",
            "/charges",
            &[
                ("amount_minor", "${input.amount_minor}"),
                ("currency", "${input.currency}"),
                ("card_token", "${input.card_token}"),
                ("reference", "${transaction.id}"),
            ],
        ),
        &[("charge_id", "response.body.id")],
        Some(post(
            "payments",
            "/refunds",
            &[("charge_key", "${steps.s0.call_key}"), ("amount_minor", "${input.amount_minor}")],
        )),
    );
    let mut credit = step(
        "credit",
        vec![0],
        post(
            "billing",
            "/accounts/${input.msisdn}/credits",
            &[("amount_minor", "${input.amount_minor}"), ("currency", "${input.currency}")],
        ),
        &[("balance_minor", "response.body.balance_minor")],
        Some(post("billing", "/accounts/${input.msisdn}/reversals", &[("credit_key", "${steps.s1.call_key}")])),
    );
    credit.timeout = Some(Duration::from_millis(1500));
    let mut notify = step(
        "notify",
        vec![1],
        post(
            "sms",
            "/messages",
            &[
                ("to", "${input.msisdn}"),
                ("template", "top-up-done"),
                ("balance_minor", "${steps.s1.result.balance_minor}"),
            ],
        ),
        &[],
        None,
    );
    notify.optional = true;
    notify.unknown = Some(OnUnknown::Ignore);
    Saga {
        name: "top-up".into(),
        version: 1,
        description: Some("Take a card payment and credit a prepaid balance.".into()),
        owner: Some("team-charging".into()),
        input: input(),
        key: Some(text("subscriber/${input.msisdn}")),
        lock: Some("balance".into()),
        timeout: Some(Duration::from_secs(30)),
        steps: vec![charge, credit, notify],
        output: Some(value(&[
            ("charge_id", "${steps.s0.result.charge_id}"),
            ("balance_minor", "${steps.s1.result.balance_minor}"),
        ])),
    }
}
