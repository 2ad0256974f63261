//! What may be shown of a value: sensitive parts become `***`.

use model::{Map, Value};

use super::Schema;

impl Schema {
    /// A copy in which everything sensitive is `"***"`, whatever its kind; also of values that do not fit.
    #[must_use]
    pub fn mask(&self, value: &Value) -> Value {
        if self.sensitive {
            return Value::text("***");
        }
        match value {
            Value::List(items) => match &self.items {
                Some(inner) => Value::List(items.iter().map(|item| inner.mask(item)).collect()),
                None => value.clone(),
            },
            Value::Map(map) => {
                let members = map.iter().map(|(name, member)| {
                    let known = self.properties.iter().find(|(n, _)| n == name).map(|(_, inner)| inner);
                    let shown = match known.or(self.additional.as_deref()) {
                        Some(inner) => inner.mask(member),
                        None => member.clone(),
                    };
                    (name.clone(), shown)
                });
                Map::from_members(members.collect()).map_or(Value::Null, Value::Map)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => value.clone(),
        }
    }

    /// Whether anything in it is sensitive.
    pub fn is_sensitive_anywhere(&self) -> bool {
        self.sensitive
            || self.properties.iter().any(|(_, inner)| inner.is_sensitive_anywhere())
            || self.additional.as_deref().is_some_and(Self::is_sensitive_anywhere)
            || self.items.as_deref().is_some_and(Self::is_sensitive_anywhere)
    }
}
