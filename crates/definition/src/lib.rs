//! A definition file to a checked plan, or an error that points at the line.
pub mod diagnostic;
pub mod source;
