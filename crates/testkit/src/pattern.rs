//! What a value must look like, each part with its place in the file, so that a difference can point at its line.
//!
//! A pattern is JSON in which text may hold `${any}`, `${transaction.id}`, `${call.key}` and
//! `${steps.NAME.call_key}`: names that the engine makes and nobody wants to write down.

use definition::Span;
use model::{Direction, StepIndex, Value};

/// A value as it is wanted.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub span: Span,
    pub kind: Wanted,
}

/// What is wanted at one place.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// There must be something.
    Any,
    Exact(Value),
    /// Text with names in it.
    Text(Vec<Piece>),
    List(Vec<Pattern>),
    Map {
        members: Vec<(String, Pattern)>,
        /// Other members do not matter.
        open: bool,
    },
}

/// A piece of wanted text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Literal(String),
    Name(Name),
}

impl Piece {
    fn written(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Name(Name::TransactionId) => "${transaction.id}".into(),
            Self::Name(Name::CallKey) => "${call.key}".into(),
            Self::Name(Name::StepCallKey(_)) => "${steps.….call_key}".into(),
        }
    }
}

/// What the engine names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    TransactionId,
    CallKey,
    StepCallKey(StepIndex),
}

/// The names of one run, as they are at one call.
#[derive(Clone, Copy, Debug)]
pub struct Names<'r> {
    pub tx: &'r partition::Transaction,
    /// The call whose request it is.
    pub call: Option<model::CallKey>,
}

impl Names<'_> {
    fn text(&self, name: Name) -> String {
        match name {
            Name::TransactionId => self.tx.id.to_string(),
            Name::CallKey => self.call.map_or_else(String::new, |key| key.to_string()),
            Name::StepCallKey(step) => self.tx.call_key(step, Direction::Call).to_string(),
        }
    }
}

/// One place where what came is not what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub span: Span,
    /// `body.amount_minor`.
    pub path: String,
    pub wanted: String,
    pub got: String,
}

/// Differences of one value that are shown.
const DIFFERENCES_MAX: usize = 20;

impl Pattern {
    /// Every place where `got` differs; `path` is what people call the value.
    pub fn differences(&self, got: Option<&Value>, path: &str, names: &Names<'_>) -> Vec<Difference> {
        let mut found = Vec::new();
        self.compare(got, path, names, &mut found);
        found
    }

    fn compare(&self, got: Option<&Value>, path: &str, names: &Names<'_>, found: &mut Vec<Difference>) {
        if found.len() >= DIFFERENCES_MAX {
            return;
        }
        let Some(got) = got else {
            return found.push(self.differs(path, names, "missing".into()));
        };
        match (&self.kind, got) {
            (Wanted::Any, _) => {}
            (Wanted::Exact(wanted), got) if wanted == got => {}
            (Wanted::Text(_), Value::Text(text)) if self.wanted_text(names).as_deref() == Some(text) => {}
            (Wanted::List(wanted), Value::List(items)) => {
                for (place, pattern) in wanted.iter().enumerate() {
                    pattern.compare(items.get(place), &format!("{path}[{place}]"), names, found);
                }
                if items.len() > wanted.len() {
                    let more = items.len() - wanted.len();
                    let what = format!("{more} more item{}: {}", if more == 1 { "" } else { "s" }, one_line(got));
                    found.push(self.differs(path, names, what));
                }
            }
            (Wanted::Map { members, open }, Value::Map(map)) => {
                for (name, pattern) in members {
                    pattern.compare(map.get(name), &format!("{path}.{name}"), names, found);
                }
                for (name, value) in map.iter().filter(|(name, _)| !open && !members.iter().any(|(n, _)| n == name)) {
                    found.push(Difference {
                        span: self.span,
                        path: format!("{path}.{name}"),
                        wanted: "nothing".into(),
                        got: one_line(value),
                    });
                }
            }
            (_, got) => found.push(self.differs(path, names, one_line(got))),
        }
    }

    fn differs(&self, path: &str, names: &Names<'_>, got: String) -> Difference {
        Difference { span: self.span, path: path.to_owned(), wanted: self.shown(names), got }
    }

    fn wanted_text(&self, names: &Names<'_>) -> Option<String> {
        let Wanted::Text(pieces) = &self.kind else { return None };
        Some(
            pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => text.clone(),
                    Piece::Name(name) => names.text(*name),
                })
                .collect(),
        )
    }

    fn shown(&self, names: &Names<'_>) -> String {
        match &self.kind {
            Wanted::Any => "anything".into(),
            Wanted::Exact(value) => one_line(value),
            Wanted::Text(pieces) => {
                let text = self.wanted_text(names).unwrap_or_default();
                let written: String = pieces.iter().map(Piece::written).collect();
                format!("{} ({written})", one_line(&Value::text(text)))
            }
            Wanted::List(items) => {
                let items: Vec<String> = items.iter().map(|i| i.shown(names)).collect();
                format!("[{}]", items.join(", "))
            }
            Wanted::Map { members, open } => {
                let mut shown: Vec<String> =
                    members.iter().map(|(name, p)| format!("\"{name}\": {}", p.shown(names))).collect();
                if *open {
                    shown.push("…".into());
                }
                format!("{{{}}}", shown.join(", "))
            }
        }
    }
}

/// JSON in one line, with a space after each colon and comma.
pub fn one_line(value: &Value) -> String {
    match value {
        Value::List(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let members = map.iter().map(|(name, value)| format!("{}: {}", Value::text(name.clone()), one_line(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => value.to_string(),
    }
}
