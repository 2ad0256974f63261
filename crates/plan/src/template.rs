//! Text and JSON with expressions inside.

use compact_str::CompactString;
use model::Value;
use serde::{Deserialize, Serialize};

use crate::expr::Expr;

/// Text with `${…}` inside (`subscriber/${input.msisdn}`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TextTemplate(pub Vec<TextPart>);

/// A piece of a [`TextTemplate`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPart {
    Literal(CompactString),
    Expr(Expr),
    /// `${secret.NAME}`: only in a participant's headers; resolved at the edge, never journaled.
    Secret(CompactString),
}

/// JSON with `${…}` inside.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueTemplate {
    Literal(#[serde(with = "crate::as_text::value")] Value),
    /// A value that is one expression keeps its JSON type.
    Expr(Expr),
    /// Text with expressions inside is text.
    Text(TextTemplate),
    List(Vec<ValueTemplate>),
    /// Members sorted by the bytes of their names, as in the canonical form.
    Map(Vec<(CompactString, ValueTemplate)>),
}
