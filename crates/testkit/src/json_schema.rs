//! The schema for editors: docs/schema/tidegate-test-v1.json, held to the code by tests.

/// JSON Schema, draft 2020-12, of test files.
pub const JSON_SCHEMA: &str = include_str!("../../../docs/schema/tidegate-test-v1.json");

#[cfg(test)]
mod tests {
    use definition::document::{Kind, Node, Report, Shape, read};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::suite::{self, answers, events, expect};

    fn schema() -> Value {
        serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON")
    }

    fn as_json(node: &Node) -> Value {
        match &node.kind {
            Kind::Broken => Value::Null,
            Kind::Scalar(scalar) => {
                serde_json::from_str(&scalar.value().unwrap_or_default().to_string()).expect("a value is JSON")
            }
            Kind::List(items) => items.iter().map(as_json).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.name.clone(), as_json(&e.value))).collect::<Map<_, _>>())
            }
        }
    }

    fn parsed(text: &str) -> Value {
        as_json(&read(text, &mut Report::default()).expect("the file is YAML"))
    }

    #[test]
    fn the_examples_are_valid_and_mistakes_are_not() {
        let validator = jsonschema::draft202012::new(&schema()).expect("the schema is a schema");
        for text in [
            include_str!("../../../examples/telecom/top-up.test.yaml"),
            include_str!("../../../examples/telecom/tariff-change.test.yaml"),
            include_str!("../../../examples/telecom/number-port-out.test.yaml"),
        ] {
            let errors: Vec<String> = validator.iter_errors(&parsed(text)).map(|e| e.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
        }
        let file = |case: &str| {
            let head = "apiVersion: tidegate/v1\nkind: Test\ndefinition: a.yaml\ncases:\n  - name: one\n    ";
            parsed(&format!("{head}{case}\n"))
        };
        assert!(validator.is_valid(&file("expect: {outcome: completed}")));
        for wrong in [
            "expect: {outcome: complete}",
            "expect: {}",
            "answers: {charge: tiemout}\n    expect: {outcome: completed}",
            "answers: {Charge: 200}\n    expect: {outcome: completed}",
            "events: [{at: 5s}]\n    expect: {outcome: completed}",
            "events: [{at: 5s, retry: true, cancel: no}]\n    expect: {outcome: completed}",
            "until: 5\n    expect: {outcome: completed}",
            "expect: {calls: [{call: charge, body: {}, body_has: {}}]}",
        ] {
            assert!(!validator.is_valid(&file(wrong)), "{wrong}");
        }
    }

    #[test]
    fn every_object_has_the_fields_of_the_code() {
        let schema = schema();
        let names = |value: &Value| -> Vec<String> {
            let mut names: Vec<String> = match value {
                Value::Object(map) => map.keys().cloned().collect(),
                Value::Array(items) => items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect(),
                _ => Vec::new(),
            };
            names.sort();
            names
        };
        let shapes: [(&str, &Shape); 8] = [
            ("file", &suite::FILE),
            ("case", &suite::CASE),
            ("answer", &answers::ANSWER),
            ("event", &events::EVENT),
            ("expect", &expect::EXPECT),
            ("cause", &expect::CAUSE),
            ("call", &expect::CALL),
            ("attention", &expect::ATTENTION),
        ];
        for (name, shape) in shapes {
            let object = &schema["$defs"][name];
            assert_eq!(names(&object["properties"]), names(&json!(shape.fields)), "the fields of {name}");
            let mut required = names(&object["required"]);
            required.retain(|r| r != "apiVersion" && r != "kind");
            assert_eq!(required, names(&json!(shape.required)), "what {name} must have");
        }
        let expected = &schema["$defs"]["expect"]["properties"];
        for (words, place) in [
            (expect::OUTCOMES, &expected["outcome"]["enum"]),
            (expect::REASONS, &expected["reason"]["enum"]),
            (expect::STATES, &expected["state"]["enum"]),
            (expect::STEP_STATES, &expected["steps"]["additionalProperties"]["enum"]),
            (expect::ATTENTIONS, &schema["$defs"]["attention_cause"]["enum"]),
            (expect::WAITS, &schema["$defs"]["waits_kind"]["enum"]),
            (answers::WORDS, &schema["$defs"]["answer_word"]["enum"]),
        ] {
            assert_eq!(names(place), names(&json!(words)));
        }
        let verbs = schema["$defs"]["event"]["oneOf"].as_array().expect("a list");
        let verbs: Vec<&str> = verbs.iter().filter_map(|verb| verb["required"][0].as_str()).collect();
        assert_eq!(verbs, events::VERBS);
    }
}
