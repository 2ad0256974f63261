//! The input's schema: from YAML to [`plan::schema::Schema`], and nothing that it cannot hold.
//!
//! A word of JSON Schema that would not be obeyed is an error here, with the reason; silence would be a promise.

use compact_str::CompactString;
use model::{Map, Number, Value};
use plan::schema::{Bound, Constant, Kind as SchemaKind, Pattern, Schema};

use crate::diagnostic::{Code, Problem, Report};
use crate::expr::template::ambiguous;
use crate::names::did_you_mean;
use crate::object::visible;
use crate::yaml::{Entry, Kind, Node, Resolved, shown};

pub(crate) const WORDS: [&str; 25] = [
    "type",
    "title",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "enum",
    "const",
    "x-sensitive",
    "examples",
];

/// Words of JSON Schema that are refused, each with its reason.
const REFUSED: [(&str, &str); 30] = [
    ("default", "it would not be applied: what is missing stays missing"),
    ("$ref", "a schema stands in one piece; write it out"),
    ("$defs", "a schema stands in one piece; write it out"),
    ("definitions", "a schema stands in one piece; write it out"),
    ("$id", "a schema has no address of its own here"),
    ("$schema", "the dialect is always 2020-12"),
    ("$anchor", "a schema stands in one piece; write it out"),
    ("$dynamicRef", "a schema stands in one piece; write it out"),
    ("$dynamicAnchor", "a schema stands in one piece; write it out"),
    ("$vocabulary", "the dialect is always 2020-12"),
    ("$comment", "write a YAML comment"),
    ("allOf", "one type for one field; write the constraints side by side"),
    ("anyOf", "one type for one field; a list of types is written type: [string, \"null\"]"),
    ("oneOf", "one type for one field; a list of types is written type: [string, \"null\"]"),
    ("not", "say what the value is"),
    ("if", "a condition between fields belongs in a step's when"),
    ("then", "a condition between fields belongs in a step's when"),
    ("else", "a condition between fields belongs in a step's when"),
    ("dependentRequired", "a condition between fields belongs in a step's when"),
    ("dependentSchemas", "a condition between fields belongs in a step's when"),
    ("patternProperties", "name the fields, or say additionalProperties: {…}"),
    ("propertyNames", "name the fields, or say additionalProperties: {…}"),
    ("unevaluatedProperties", "say additionalProperties: false"),
    ("unevaluatedItems", "say items: {…}"),
    ("prefixItems", "an object names what a place in a list only counts"),
    ("contains", "only items: {…} is checked in a list"),
    ("contentEncoding", "it would not be checked"),
    ("contentMediaType", "it would not be checked"),
    ("readOnly", "it would not be checked"),
    ("nullable", "write type: [string, \"null\"]"),
];

const FORMATS: [&str; 5] = ["date-time", "date", "uuid", "email", "uri"];

/// Reads the schema of an input, whose outermost type is an object.
pub(crate) fn input(entry: &Entry, report: &mut Report) -> Option<Schema> {
    let before = report.has_errors();
    let schema = Reader { report }.schema(&entry.value, "input", &entry.value)?;
    if schema.kinds != [SchemaKind::Object] {
        if !before || !report.has_errors() {
            let at = entry.value.get("type").map_or(entry.name_span, |n| n.span);
            report.add(Problem::new(Code::WrongType, at, "the input is an object: write type: object"));
        }
        return None;
    }
    Some(schema)
}

struct Reader<'r> {
    report: &'r mut Report,
}

impl Reader<'_> {
    /// `path` is how its place is called: `input.amount_minor`.
    fn schema(&mut self, node: &Node, path: &str, owner: &Node) -> Option<Schema> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Broken => return None,
            Kind::Scalar(_) | Kind::List(_) => {
                let at = visible(node.span, owner.span);
                self.report.say(
                    Code::WrongType,
                    at,
                    format!("the schema of {path} is an object, this is {}", node.what()),
                );
                return None;
            }
        };
        let mut schema = Schema::default();
        let mut fine = true;
        for entry in entries {
            fine &= self.word(entry, &mut schema, path).is_some();
        }
        if !fine {
            return None;
        }
        self.consistent(&schema, entries, path)?;
        schema.properties.sort_by(|a, b| a.0.cmp(&b.0));
        Some(schema)
    }

    fn word(&mut self, entry: &Entry, schema: &mut Schema, path: &str) -> Option<()> {
        let node = &entry.value;
        match entry.name.as_str() {
            "type" => schema.kinds = self.kinds(entry)?,
            "title" => schema.title = Some(self.text(entry)?),
            "description" => schema.description = Some(self.text(entry)?),
            "properties" => schema.properties = self.properties(entry, path)?,
            "required" => schema.required = self.names(entry)?,
            "additionalProperties" => match &node.kind {
                Kind::Scalar(scalar) => match scalar.resolve() {
                    Resolved::Bool(allowed) => schema.closed = !allowed,
                    _ => return self.wrong(entry, "true, false or a schema"),
                },
                _ => schema.additional = Some(Box::new(self.schema(node, &format!("{path}.*"), node)?)),
            },
            "items" => schema.items = Some(Box::new(self.schema(node, &format!("{path}[]"), node)?)),
            "minItems" => schema.min_items = Some(self.count(entry)?),
            "maxItems" => schema.max_items = Some(self.count(entry)?),
            "uniqueItems" => schema.unique_items = self.boolean(entry)?,
            "minProperties" => schema.min_properties = Some(self.count(entry)?),
            "maxProperties" => schema.max_properties = Some(self.count(entry)?),
            "minLength" => schema.min_length = Some(self.count(entry)?),
            "maxLength" => schema.max_length = Some(self.count(entry)?),
            "pattern" => schema.pattern = Some(self.pattern(entry)?),
            "format" => schema.format = Some(self.format(entry)?),
            "minimum" => schema.minimum = Some(self.bound(entry)?),
            "maximum" => schema.maximum = Some(self.bound(entry)?),
            "exclusiveMinimum" => schema.exclusive_minimum = Some(self.bound(entry)?),
            "exclusiveMaximum" => schema.exclusive_maximum = Some(self.bound(entry)?),
            "multipleOf" => schema.multiple_of = Some(self.bound(entry)?),
            "enum" => schema.enumeration = self.constants(entry)?,
            "const" => schema.constant = Some(Constant(self.json(node)?)),
            "x-sensitive" => schema.sensitive = self.boolean(entry)?,
            // For readers only.
            "examples" => {
                self.report.list(node, "examples", entry.name_span)?;
            }
            _ => return self.unknown(entry, path),
        }
        Some(())
    }

    fn unknown(&mut self, entry: &Entry, path: &str) -> Option<()> {
        let name = shown(&entry.name);
        if let Some((_, why)) = REFUSED.iter().find(|(n, _)| *n == entry.name) {
            let message = format!("\"{name}\" cannot be used in the schema of an input");
            self.report.add(Problem::new(Code::UnsupportedSchema, entry.name_span, message).note(*why));
            return None;
        }
        let message = format!("\"{name}\" is not a word of the schema of {path}");
        let mut problem = Problem::new(Code::UnsupportedSchema, entry.name_span, message);
        if let Some(near) = did_you_mean(&entry.name, WORDS) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        self.report.add(problem.note(format!("a schema has: {}", WORDS.join(", "))));
        None
    }

    fn consistent(&mut self, schema: &Schema, entries: &[Entry], path: &str) -> Option<()> {
        let mut fine = true;
        let span_of =
            |name: &str| entries.iter().find(|e| e.name == name).map_or(entries[0].name_span, |e| e.name_span);
        for name in &schema.required {
            let named = schema.properties.iter().any(|(n, _)| n == name);
            if !named && schema.closed {
                let message = format!("{path} requires \"{name}\", which its properties do not have");
                let mut problem = Problem::new(Code::UnknownInput, span_of("required"), message);
                if let Some(near) = did_you_mean(name, schema.properties.iter().map(|(n, _)| n.as_str())) {
                    problem = problem.under(format!("did you mean \"{near}\"?"));
                }
                self.report.add(problem);
                fine = false;
            }
        }
        let number = |bound: &Option<Bound>| match bound {
            Some(Bound(Value::Number(Number::Int(n)))) => Some(*n),
            _ => None,
        };
        let swapped = [
            ("maxLength", schema.min_length > schema.max_length && schema.max_length.is_some()),
            ("maxItems", schema.min_items > schema.max_items && schema.max_items.is_some()),
            ("maxProperties", schema.min_properties > schema.max_properties && schema.max_properties.is_some()),
            ("maximum", matches!((number(&schema.minimum), number(&schema.maximum)), (Some(a), Some(b)) if a > b)),
        ];
        for (word, wrong) in swapped {
            if wrong {
                self.report.say(Code::WrongValue, span_of(word), format!("{word} of {path} is below its minimum"));
                fine = false;
            }
        }
        fine.then_some(())
    }

    fn kinds(&mut self, entry: &Entry) -> Option<Vec<SchemaKind>> {
        let nodes = match &entry.value.kind {
            Kind::List(items) if !items.is_empty() => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        let mut kinds = Vec::new();
        for node in nodes {
            let text = match &node.kind {
                // An unquoted null is the word, here as in JSON Schema's own habit of quoting it.
                Kind::Scalar(scalar) if scalar.text.is_empty() => "",
                Kind::Scalar(scalar) => scalar.text.as_str(),
                Kind::Broken => return None,
                Kind::List(_) | Kind::Map(_) => "",
            };
            let kind = match text {
                "null" => SchemaKind::Null,
                "boolean" => SchemaKind::Boolean,
                "integer" => SchemaKind::Integer,
                "number" => SchemaKind::Number,
                "string" => SchemaKind::String,
                "array" => SchemaKind::Array,
                "object" => SchemaKind::Object,
                other => {
                    let words = ["null", "boolean", "integer", "number", "string", "array", "object"];
                    let at = visible(node.span, entry.name_span);
                    let mut problem = Problem::new(Code::WrongValue, at, format!("\"{}\" is no type", shown(other)));
                    if let Some(near) = did_you_mean(other, words) {
                        problem = problem.under(format!("did you mean \"{near}\"?"));
                    }
                    self.report.add(problem.note(format!("the types are: {}", words.join(", "))));
                    return None;
                }
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Some(kinds)
    }

    fn properties(&mut self, entry: &Entry, path: &str) -> Option<Vec<(CompactString, Schema)>> {
        let members = self.report.members(&entry.value, "properties", entry.name_span)?;
        let mut properties = Vec::with_capacity(members.len());
        let mut fine = true;
        for member in members {
            match self.schema(&member.value, &format!("{path}.{}", shown(&member.name)), &member.value) {
                Some(schema) => properties.push((CompactString::new(&member.name), schema)),
                None => fine = false,
            }
        }
        fine.then_some(properties)
    }

    fn names(&mut self, entry: &Entry) -> Option<Vec<CompactString>> {
        let items = self.report.list(&entry.value, "required", entry.name_span)?;
        let mut names: Vec<CompactString> = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                Kind::Scalar(scalar) if scalar.resolve() == Resolved::Text => {
                    if names.iter().any(|n| *n == scalar.text.as_str()) {
                        self.report.say(Code::DuplicateName, item.span, format!("\"{}\" stands twice", scalar.text));
                        return None;
                    }
                    names.push(CompactString::new(&scalar.text));
                }
                Kind::Broken => return None,
                _ => {
                    let at = visible(item.span, entry.name_span);
                    self.report.say(Code::WrongType, at, format!("required lists names, this is {}", item.what()));
                    return None;
                }
            }
        }
        Some(names)
    }

    fn text(&mut self, entry: &Entry) -> Option<String> {
        match &entry.value.kind {
            Kind::Scalar(scalar) if scalar.resolve() == Resolved::Text => Some(scalar.text.clone()),
            Kind::Broken => None,
            _ => self.wrong(entry, "text"),
        }
    }

    fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        self.report.boolean(entry)
    }

    fn count(&mut self, entry: &Entry) -> Option<u64> {
        self.report.whole(entry, 0, u32::MAX).map(u64::from)
    }

    fn bound(&mut self, entry: &Entry) -> Option<Bound> {
        match self.json(&entry.value)? {
            value @ Value::Number(_) => {
                let positive = match &value {
                    Value::Number(Number::Int(n)) => *n > 0,
                    Value::Number(Number::Decimal(text)) => !text.starts_with('-'),
                    _ => true,
                };
                if entry.name == "multipleOf" && !positive {
                    self.report.say(Code::WrongValue, entry.value.span, "multipleOf is greater than 0");
                    return None;
                }
                Some(Bound(value))
            }
            _ => self.wrong(entry, "a number"),
        }
    }

    fn pattern(&mut self, entry: &Entry) -> Option<Pattern> {
        let text = self.text(entry)?;
        match Pattern::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned();
                let problem =
                    Problem::new(Code::WrongValue, entry.value.span, format!("this pattern cannot be used: {reason}"));
                self.report
                    .add(problem.note("patterns have no look-around and no back-references, so that they are linear"));
                None
            }
        }
    }

    fn format(&mut self, entry: &Entry) -> Option<CompactString> {
        let text = self.text(entry)?;
        if FORMATS.contains(&text.as_str()) {
            return Some(CompactString::new(&text));
        }
        let message = format!("\"{}\" is no format that is checked", shown(&text));
        let mut problem = Problem::new(Code::UnsupportedSchema, entry.value.span, message);
        if let Some(near) = did_you_mean(&text, FORMATS) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        self.report.add(problem.note(format!("the formats are: {}", FORMATS.join(", "))));
        None
    }

    fn constants(&mut self, entry: &Entry) -> Option<Vec<Constant>> {
        let items = self.report.list(&entry.value, "enum", entry.name_span)?;
        if items.is_empty() {
            self.report.say(Code::WrongValue, entry.name_span, "an empty enum allows nothing");
            return None;
        }
        items.iter().map(|item| self.json(item).map(Constant)).collect()
    }

    /// A value as it stands, expressions not being read in a schema.
    fn json(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Broken => None,
            Kind::Scalar(scalar) => match scalar.resolve() {
                Resolved::Ambiguous(why) => {
                    self.report.add(ambiguous(node, scalar, &why));
                    None
                }
                _ => scalar.value(),
            },
            Kind::List(items) => items.iter().map(|i| self.json(i)).collect::<Option<_>>().map(Value::List),
            Kind::Map(entries) => {
                let members = entries.iter().map(|e| Some((CompactString::new(&e.name), self.json(&e.value)?)));
                Map::from_members(members.collect::<Option<_>>()?).map(Value::Map)
            }
        }
    }

    fn wrong<T>(&mut self, entry: &Entry, wanted: &str) -> Option<T> {
        let message = format!("{} is {wanted}, this is {}", entry.name, entry.value.what());
        self.report.say(Code::WrongType, visible(entry.value.span, entry.name_span), message);
        None
    }
}
