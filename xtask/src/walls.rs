//! The walls: compares the code with ARCHITECTURE.md and says, for every difference, where it is and what to do.
//!
//! `map` reads the tables of the page, `graph` the crates as cargo resolved them, `tree` the files. Each check is a
//! plain function from what was read to violations, and has a test in which it fails: a check that cannot fail
//! is a defect. What the compiler and clippy can hold (types, lints) is left to them.

mod graph;
mod map;
mod tree;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// One difference between the building and its drawing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// A file, a file and a line, or a room.
    pub(crate) place: String,
    /// What is wrong and what to do about it.
    pub(crate) what: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Violation {
        Violation { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Checks everything under `root`. The error is for what could not be read at all.
pub(crate) fn check(root: &Path) -> Result<Vec<Violation>, String> {
    let page = std::fs::read_to_string(root.join(map::PAGE)).map_err(|error| format!("{}: {error}", map::PAGE))?;
    let map = map::Map::parse(&page)?;
    let graph = graph::Graph::of_workspace(root)?;
    let mut violations = map.check();
    violations.extend(graph.check(&map));
    violations.extend(tree::check(root, &map, &page)?);
    violations.sort();
    violations.dedup();
    Ok(violations)
}

pub(crate) fn print(violations: &[Violation]) {
    for violation in violations {
        println!("{violation}");
    }
}

pub(crate) fn report(root: &Path) -> ExitCode {
    match check(root) {
        Ok(violations) if violations.is_empty() => {
            println!("the walls stand");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            print(&violations);
            eprintln!("{} violations", violations.len());
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("xtask walls: {problem}");
            ExitCode::FAILURE
        }
    }
}
