//! Reading files of other kinds with the same YAML, the same names for what is wrong, and the same places.
//!
//! For rooms that have a file format of their own beside definitions (the cases of `testkit`): [`read`] gives a tree
//! in which everything knows its place, [`Shape`] and [`Report`] check its objects, and [`Report::into_diagnostics`]
//! gives findings that look like all others. The meaning of those files is not known here.

pub use crate::diagnostic::{Problem, Report};
pub use crate::names::{NameRule, did_you_mean};
pub use crate::object::{Fields, Shape, duration_text, visible};
pub use crate::yaml::{Entry, Kind, Node, Resolved, Scalar, read, shown};
