//! The checked form of an input's schema, back as the JSON Schema that people and editors read.

use model::{Map, Value};
use plan::schema::{Kind, Schema};

/// JSON Schema 2020-12, only with what constrains.
pub(super) fn of(schema: &Schema) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name, value);
        }
    };
    let text = |text: &String| Value::text(text.as_str());
    let whole = |n: u64| i64::try_from(n).map_or(Value::Null, Value::int);
    put("title", schema.title.as_ref().map(text));
    put("description", schema.description.as_ref().map(text));
    put("type", kinds(&schema.kinds));
    if !schema.properties.is_empty() {
        let members = schema.properties.iter().map(|(name, inner)| (name.clone(), of(inner)));
        put("properties", Map::from_members(members.collect()).map(Value::Map));
    }
    if !schema.required.is_empty() {
        put("required", Some(Value::List(schema.required.iter().map(|n| Value::text(n.clone())).collect())));
    }
    put(
        "additionalProperties",
        match &schema.additional {
            Some(inner) => Some(of(inner)),
            None => schema.closed.then_some(Value::Bool(false)),
        },
    );
    put("items", schema.items.as_deref().map(of));
    put("minItems", schema.min_items.map(whole));
    put("maxItems", schema.max_items.map(whole));
    put("uniqueItems", schema.unique_items.then_some(Value::Bool(true)));
    put("minProperties", schema.min_properties.map(whole));
    put("maxProperties", schema.max_properties.map(whole));
    put("minLength", schema.min_length.map(whole));
    put("maxLength", schema.max_length.map(whole));
    put("pattern", schema.pattern.as_ref().map(|p| Value::text(p.text.clone())));
    put("format", schema.format.as_ref().map(|f| Value::text(f.clone())));
    put("minimum", schema.minimum.as_ref().map(|b| b.0.clone()));
    put("maximum", schema.maximum.as_ref().map(|b| b.0.clone()));
    put("exclusiveMinimum", schema.exclusive_minimum.as_ref().map(|b| b.0.clone()));
    put("exclusiveMaximum", schema.exclusive_maximum.as_ref().map(|b| b.0.clone()));
    put("multipleOf", schema.multiple_of.as_ref().map(|b| b.0.clone()));
    if !schema.enumeration.is_empty() {
        put("enum", Some(Value::List(schema.enumeration.iter().map(|c| c.0.clone()).collect())));
    }
    put("const", schema.constant.as_ref().map(|c| c.0.clone()));
    put("x-sensitive", schema.sensitive.then_some(Value::Bool(true)));
    Value::Map(map)
}

fn kinds(kinds: &[Kind]) -> Option<Value> {
    let word = |kind: &Kind| {
        Value::text(match kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        })
    };
    match kinds {
        [] => None,
        [one] => Some(word(one)),
        many => Some(Value::List(many.iter().map(word).collect())),
    }
}

#[cfg(test)]
mod tests {
    use plan::schema::Bound;

    use super::*;

    #[test]
    fn a_schema_reads_as_it_was_written() {
        let amount = Schema { kinds: vec![Kind::Integer], minimum: Some(Bound(Value::int(100))), ..Schema::default() };
        let token = Schema { kinds: vec![Kind::String], max_length: Some(64), sensitive: true, ..Schema::default() };
        let schema = Schema {
            kinds: vec![Kind::Object],
            closed: true,
            required: vec!["amount_minor".into()],
            properties: vec![("amount_minor".into(), amount), ("card_token".into(), token)],
            ..Schema::default()
        };
        assert_eq!(
            of(&schema).to_string(),
            r#"{"additionalProperties":false,"properties":{"amount_minor":{"minimum":100,"type":"integer"},"card_token":{"maxLength":64,"type":"string","x-sensitive":true}},"required":["amount_minor"],"type":"object"}"#
        );
    }
}
