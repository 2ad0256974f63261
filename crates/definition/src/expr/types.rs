//! Types: which kinds a value can have, and what is known of its inside.
//!
//! Answers of participants have no schema, so most types are "anything"; a mismatch is reported only where no
//! run could go right.

use model::{Number, Value};
use plan::schema::{Kind, Schema};

pub(crate) const NULL: u8 = 1;
pub(crate) const BOOL: u8 = 2;
pub(crate) const INT: u8 = 4;
pub(crate) const DOUBLE: u8 = 8;
pub(crate) const TEXT: u8 = 16;
pub(crate) const LIST: u8 = 32;
pub(crate) const MAP: u8 = 64;
pub(crate) const NUMBER: u8 = INT | DOUBLE;
pub(crate) const ANY: u8 = 127;

/// A set of kinds, and what is known of lists and objects among them.
#[derive(Clone, Debug)]
pub(crate) struct Type<'s> {
    pub(crate) kinds: u8,
    pub(crate) of: Of<'s>,
}

#[derive(Clone, Debug)]
pub(crate) enum Of<'s> {
    Unknown,
    Schema(&'s Schema),
    Items(Box<Type<'s>>),
}

/// What a member of an object is.
pub(crate) enum Member<'s> {
    /// Always there.
    Required(Type<'s>),
    /// Perhaps there.
    Optional(Type<'s>),
    /// Not in the schema, which names these.
    NotNamed(&'s Schema),
    /// Nothing is known of the object.
    Unknown,
}

impl<'s> Type<'s> {
    pub(crate) const ANYTHING: Self = Self { kinds: ANY, of: Of::Unknown };

    pub(crate) fn of(kinds: u8) -> Self {
        Self { kinds, of: Of::Unknown }
    }

    pub(crate) fn list(items: Type<'s>) -> Self {
        Self { kinds: LIST, of: Of::Items(Box::new(items)) }
    }

    pub(crate) fn of_schema(schema: &'s Schema) -> Self {
        let mut kinds = schema.kinds.iter().fold(0, |all, kind| all | bits(*kind));
        if kinds == 0 {
            kinds = ANY;
        }
        let listed = schema.enumeration.iter().chain(&schema.constant);
        let values = listed.fold(0, |all, constant| all | kind_of(&constant.0));
        if values != 0 && kinds & values != 0 {
            kinds &= values;
        }
        Self { kinds, of: Of::Schema(schema) }
    }

    pub(crate) fn of_value(value: &Value) -> Self {
        Self::of(kind_of(value))
    }

    pub(crate) fn may_be(&self, kinds: u8) -> bool {
        self.kinds & kinds != 0
    }

    pub(crate) fn items(&self) -> Self {
        match &self.of {
            Of::Items(items) => (**items).clone(),
            Of::Schema(schema) => schema.items.as_deref().map_or(Self::ANYTHING, Self::of_schema),
            Of::Unknown => Self::ANYTHING,
        }
    }

    pub(crate) fn member(&self, name: &str) -> Member<'s> {
        let Of::Schema(schema) = self.of else { return Member::Unknown };
        let required = schema.required.iter().any(|r| r == name);
        if let Some((_, property)) = schema.properties.iter().find(|(n, _)| n == name) {
            let inner = Self::of_schema(property);
            return if required { Member::Required(inner) } else { Member::Optional(inner) };
        }
        if let Some(additional) = &schema.additional {
            let inner = Self::of_schema(additional);
            return if required { Member::Required(inner) } else { Member::Optional(inner) };
        }
        if schema.closed || !schema.properties.is_empty() {
            return Member::NotNamed(schema);
        }
        if required { Member::Required(Self::ANYTHING) } else { Member::Optional(Self::ANYTHING) }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        let of = if self.kinds & (LIST | MAP) == 0 {
            other.of
        } else if other.kinds & (LIST | MAP) == 0 {
            self.of
        } else {
            Of::Unknown
        };
        Self { kinds: self.kinds | other.kinds, of }
    }

    /// `text or null`, `a whole number`, `anything`.
    pub(crate) fn describe(&self) -> String {
        if self.kinds == ANY {
            return "anything".into();
        }
        let mut words = Vec::new();
        for (kind, word) in
            [(BOOL, "true or false"), (TEXT, "text"), (LIST, "a list"), (MAP, "an object"), (NULL, "null")]
        {
            if self.kinds & kind != 0 {
                words.push(word);
            }
        }
        match self.kinds & NUMBER {
            0 => {}
            INT => words.insert(0, "a whole number"),
            _ => words.insert(0, "a number"),
        }
        words.join(" or ")
    }
}

fn bits(kind: Kind) -> u8 {
    match kind {
        Kind::Null => NULL,
        Kind::Boolean => BOOL,
        Kind::Integer => INT,
        Kind::Number => NUMBER,
        Kind::String => TEXT,
        Kind::Array => LIST,
        Kind::Object => MAP,
    }
}

fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOL,
        Value::Number(Number::Decimal(_)) => DOUBLE,
        Value::Number(_) => INT,
        Value::Text(_) => TEXT,
        Value::List(_) => LIST,
        Value::Map(_) => MAP,
    }
}
