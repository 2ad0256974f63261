//! The schema for editors: docs/schema/tidegate-v1.json, held to the code by tests.
//!
//! It describes fields, kinds and words, so that an editor completes and underlines while one writes. What needs
//! more than one place of a file (names, order, types in expressions, promises) is `check`'s.

/// JSON Schema, draft 2020-12, of both kinds of files.
pub const JSON_SCHEMA: &str = include_str!("../../../docs/schema/tidegate-v1.json");

#[cfg(test)]
mod tests {
    use jsonschema::Validator;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::diagnostic::Report;
    use crate::object::Shape;
    use crate::yaml::{Kind, Node, read};
    use crate::{participants, saga};

    fn validator() -> Validator {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON");
        jsonschema::draft202012::new(&schema).expect("the schema is a schema")
    }

    fn as_json(node: &Node) -> Value {
        match &node.kind {
            Kind::Broken => Value::Null,
            Kind::Scalar(scalar) => {
                let text = scalar.value().unwrap_or_default().to_string();
                serde_json::from_str(&text).expect("a value is JSON")
            }
            Kind::List(items) => items.iter().map(as_json).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.name.clone(), as_json(&e.value))).collect::<Map<_, _>>())
            }
        }
    }

    fn parsed(text: &str) -> Value {
        let node = read(text, &mut Report::default());
        as_json(&node.expect("the file is YAML"))
    }

    #[test]
    fn the_examples_are_valid() {
        let validator = validator();
        for text in [
            include_str!("../../../examples/telecom/participants.yaml"),
            include_str!("../../../examples/telecom/top-up.yaml"),
            include_str!("../../../examples/telecom/tariff-change.yaml"),
            include_str!("../../../examples/telecom/number-port-out.yaml"),
        ] {
            let errors: Vec<String> = validator.iter_errors(&parsed(text)).map(|e| e.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
        }
    }

    /// The files of these codes are wrong in a way that a schema can see.
    #[test]
    fn what_a_schema_can_see_is_invalid() {
        let validator = validator();
        for text in [
            include_str!("../tests/findings/unknown-field.yaml"),
            include_str!("../tests/findings/not-yet.yaml"),
            include_str!("../tests/findings/missing-field.yaml"),
            include_str!("../tests/findings/wrong-type.yaml"),
            include_str!("../tests/findings/wrong-value.yaml"),
            include_str!("../tests/findings/bad-name.yaml"),
            include_str!("../tests/findings/bad-duration.yaml"),
            include_str!("../tests/findings/unsupported-schema.yaml"),
            include_str!("../tests/findings/lock-without-key.yaml"),
        ] {
            assert!(!validator.is_valid(&parsed(text)), "{text}");
        }
    }

    #[test]
    fn every_object_has_the_fields_of_the_code() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON");
        let names = |value: &Value| -> Vec<String> {
            let mut names: Vec<String> = match value {
                Value::Object(map) => map.keys().cloned().collect(),
                Value::Array(items) => items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect(),
                _ => Vec::new(),
            };
            names.sort();
            names
        };
        let shapes: [(&str, &Shape); 12] = [
            ("saga", &saga::FILE),
            ("step", &saga::step::STEP),
            ("call", &saga::call::CALL),
            ("compensate", &saga::call::COMPENSATE),
            ("wait", &saga::resolve::WAIT),
            ("answer", &participants::ANSWER),
            ("participants_file", &participants::FILE),
            ("participant", &participants::PARTICIPANT),
            ("retry", &participants::RETRY),
            ("idempotency", &participants::IDEMPOTENCY),
            ("limits", &participants::LIMITS),
            ("shared_read", &participants::SHARED_READ),
        ];
        for (name, shape) in shapes {
            let object = &schema["$defs"][name];
            assert_eq!(names(&object["properties"]), names(&json!(shape.fields)), "the fields of {name}");
            let mut required = names(&object["required"]);
            required.retain(|r| r != "apiVersion" && r != "kind");
            assert_eq!(required, names(&json!(shape.required)), "what {name} must have");
        }
        assert_eq!(names(&schema["$defs"]["input_schema"]["properties"]), names(&json!(crate::schema::WORDS)));
    }
}
