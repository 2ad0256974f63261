//! The codes of diagnostics: stable names that editors, scripts and the manual use.

use serde::{Serialize, Serializer};

use super::Severity;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $severity:ident,)*) => {
        /// What kind of finding it is. docs/language.md has an example of each.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// The file is not YAML, or YAML that the language does not take (anchors, tags, tabs, several documents).
    YamlSyntax = "yaml-syntax" Error,
    /// YAML would read the value otherwise than it looks.
    QuoteThis = "quote-this" Error,
    DuplicateField = "duplicate-field" Error,
    UnknownField = "unknown-field" Error,
    /// A word that a later version of the language has.
    NotYet = "not-yet" Error,
    MissingField = "missing-field" Error,
    WrongType = "wrong-type" Error,
    /// Of the right type, but not one that may stand here.
    WrongValue = "wrong-value" Error,
    BadName = "bad-name" Error,
    DuplicateName = "duplicate-name" Error,
    BadDuration = "bad-duration" Error,
    /// A word of JSON Schema that an input cannot use.
    UnsupportedSchema = "unsupported-schema" Error,
    /// Not CEL, or CEL that the language does not have.
    BadExpression = "bad-expression" Error,
    /// A root of an expression that is none, or none at this place.
    NotHere = "not-here" Error,
    UnknownFunction = "unknown-function" Error,
    UnknownStep = "unknown-step" Error,
    UnknownParticipant = "unknown-participant" Error,
    UnknownResult = "unknown-result" Error,
    UnknownInput = "unknown-input" Error,
    InputNotRequired = "input-not-required" Error,
    MayNotHaveRun = "may-not-have-run" Error,
    TypeMismatch = "type-mismatch" Error,
    MixedAfter = "mixed-after" Error,
    Cycle = "cycle" Error,
    NotCompensated = "not-compensated" Error,
    UnknownNotSaid = "unknown-not-said" Error,
    CallKeyNotSent = "call-key-not-sent" Error,
    /// A header that the engine itself sends.
    ReservedHeader = "reserved-header" Error,
    TwoPivots = "two-pivots" Error,
    OptionalPivot = "optional-pivot" Error,
    /// A step neither before nor after the pivot.
    BesidePivot = "beside-pivot" Error,
    CompensateAfterPivot = "compensate-after-pivot" Error,
    LockWithoutKey = "lock-without-key" Error,
    TooLarge = "too-large" Error,
    CompensationNeedsAnswer = "compensation-needs-answer" Warning,
    TimeoutTooShort = "timeout-too-short" Warning,
    UnusedResult = "unused-result" Warning,
    /// No participant is known, so nothing that depends on their promises was checked.
    ParticipantsNotKnown = "participants-not-known" Warning,
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
