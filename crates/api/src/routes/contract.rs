//! The contract itself: the OpenAPI document, the editor schema, the pages behind problem types.

use http::StatusCode;

use super::Ask;
use crate::body::{Response, json, text};
use crate::problem::{Code, Problem};

/// Written by hand; `tests` compare it with the router and the list of problems.
pub(crate) const OPENAPI: &str = include_str!("contract/openapi.json");

pub(super) fn openapi(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    Ok(json(StatusCode::OK, OPENAPI.as_bytes()))
}

/// JSON Schema of definition files, for editors.
pub(super) fn schema(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    Ok(text("application/schema+json", ask.front.settings.definition_schema.as_bytes()))
}

pub(super) fn problem(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    match Code::by_name(ask.params[0]) {
        Some(code) => Ok(text("text/html; charset=utf-8", code.page())),
        None => {
            let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
            Err(Problem::new(Code::NotFound, format!("there is no problem type \"{}\"", ask.params[0]))
                .hint(format!("there are: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::router::ROUTES;

    fn document() -> Value {
        serde_json::from_str(OPENAPI).unwrap_or_else(|e| panic!("openapi.json: {e}"))
    }

    #[test]
    fn the_contract_and_the_router_have_the_same_operations() {
        let document = document();
        let mut written = BTreeSet::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten().filter(|(m, _)| *m != "parameters") {
                let id = operation["operationId"].as_str().unwrap_or_default();
                written.insert((path.clone(), method.clone(), id.to_owned()));
            }
        }
        let served: BTreeSet<_> = ROUTES
            .iter()
            .flat_map(|route| [("get", route.get), ("post", route.post)].map(|(method, op)| (route.path, method, op)))
            .filter_map(|(path, method, op)| op.map(|op| (path, method, op)))
            .filter(|(_, _, op)| *op != crate::router::Op::Later)
            .map(|(path, method, op)| (path.to_owned(), method.to_owned(), op.as_str().to_owned()))
            .collect();
        assert_eq!(written, served);
    }

    #[test]
    fn every_reference_of_the_contract_points_at_something_and_everything_is_pointed_at() {
        let document = document();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for reference in &used {
            let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(target.is_some(), "{reference} points at nothing");
        }
        for (group, members) in document["components"].as_object().into_iter().flatten() {
            for name in members.as_object().into_iter().flatten().map(|(name, _)| name) {
                assert!(used.contains(&format!("#/components/{group}/{name}")), "{group}/{name} is not used");
            }
        }
    }

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(target)) => drop(into.insert(target.clone())),
                        _ => references(member, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn path_parameters_are_declared() {
        for (path, item) in document()["paths"].as_object().into_iter().flatten() {
            let mut declared = BTreeSet::new();
            for parameter in item["parameters"].as_array().into_iter().flatten() {
                declared.insert(parameter["name"].as_str().unwrap_or_default().to_owned());
            }
            let wanted: BTreeSet<String> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}')))
                .map(str::to_owned)
                .collect();
            assert_eq!(declared, wanted, "{path}");
        }
    }

    #[test]
    fn the_contract_lists_every_problem() {
        let document = document();
        let words = |pointer: &str| -> Vec<String> {
            let list = document.pointer(pointer).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let types: Vec<String> = Code::ALL.iter().map(|code| format!("/problems/{}", code.as_str())).collect();
        assert_eq!(words("/components/schemas/Problem/properties/type/enum"), types);
        let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words("/paths/~1problems~1{code}/parameters/0/schema/enum"), names);
    }

    #[test]
    fn links_lead_to_operations_and_fill_what_these_take() {
        let document = document();
        let mut takes = std::collections::BTreeMap::new();
        let mut links = Vec::new();
        for (_, item) in document["paths"].as_object().into_iter().flatten() {
            let of_path = item["parameters"].as_array().into_iter().flatten();
            let of_path: BTreeSet<&str> = of_path.filter_map(|p| p["name"].as_str()).collect();
            for (_, operation) in item.as_object().into_iter().flatten().filter(|(m, _)| *m != "parameters") {
                takes.insert(operation["operationId"].as_str().unwrap_or_default(), of_path.clone());
                for (_, response) in operation["responses"].as_object().into_iter().flatten() {
                    links.extend(response["links"].as_object().into_iter().flatten());
                }
            }
        }
        assert!(!links.is_empty());
        for (name, link) in links {
            let fills: BTreeSet<&str> =
                link["parameters"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let to = link["operationId"].as_str().unwrap_or_default();
            assert_eq!(takes.get(to), Some(&fills), "{name} leads to {to}");
        }
    }
}
