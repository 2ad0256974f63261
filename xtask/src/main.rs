//! The project's own chores: set-up, walls, tests. Nothing of the product is linked here.
//!
//! `cargo xtask test` is the one command that says whether a change may land; `.ci/run` calls exactly it.
//! This file reads the arguments; the steps are in `steps`, the checks of ARCHITECTURE.md in `walls`.

#![forbid(unsafe_code)]

mod child;
mod coverage;
mod fuzz;
mod schemathesis;
mod setup;
mod steps;
mod walls;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <chore>

  test                  everything a change must pass, in order of speed
    --only NAME,NAME    these steps alone, in the order of the list
    --list              the steps, without running them
  fuzz                  what is kept, then changed inputs, against every reader
    --seconds N         for each target (5)
    --executions N      inputs for each target, at most
    --libfuzzer         led by coverage, with cargo-fuzz
    TARGET …            these alone
  schemathesis          the running server against its openapi.json
    --seed N            of what is random (1)
    --examples N        requests of each kind for each operation (40)
    --seconds N         repeat what is random for so long
  coverage              which lines of partition, load and wire no test reaches
  walls                 compare the code with ARCHITECTURE.md
  setup                 install the tools that `test` needs and this machine lacks
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => match steps::Selection::parse(rest) {
            Ok(selection) => steps::run(&root(), &selection),
            Err(problem) => usage(&problem),
        },
        ["fuzz", rest @ ..] => match fuzz::Asked::parse(rest) {
            Ok(asked) => fuzz::run(&root(), &asked),
            Err(problem) => usage(&problem),
        },
        ["schemathesis", rest @ ..] => match schemathesis::Asked::parse(rest) {
            Ok(asked) => schemathesis::report(&root(), asked),
            Err(problem) => usage(&problem),
        },
        ["coverage"] => coverage::report(&root()),
        ["walls"] => walls::report(&root()),
        ["setup"] => setup::run(&root()),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [unknown, ..] => usage(&format!("there is no chore `{unknown}`, or it takes no such argument")),
    }
}

fn usage(problem: &str) -> ExitCode {
    eprint!("xtask: {problem}\n\n{HELP}");
    ExitCode::from(2)
}

/// The workspace's root, wherever cargo was called from.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
