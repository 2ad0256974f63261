//! The steps of `cargo xtask test`: a table, in order of speed, and the loop that runs it.
//!
//! A step passes, fails, or is not run and says so; there is no silent skip. The last line counts the steps.

use crate::child::{self, Ending};
use crate::fuzz;
use crate::schemathesis::{self, NotRight};
use crate::setup::{self, Found};
use crate::walls;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One thing that must hold. Turn a step on when its command exists; from then on its absence is a failure.
struct Step {
    name: &'static str,
    what: &'static str,
    enabled: bool,
    /// For the step's command; set-up has a limit for each tool, and the walls start nothing that could hang.
    limit_minutes: u64,
    action: Action,
}

enum Action {
    /// Finds or installs the tools.
    Setup,
    Walls,
    /// Kept and changed inputs against every reader.
    Fuzz,
    /// The running server against its contract.
    Schemathesis,
    /// `cargo` with these arguments.
    Cargo(&'static [&'static str]),
    /// cargo-deny, as far as it works without a network.
    Deny,
}

const STEPS: &[Step] = &[
    Step {
        name: "setup",
        what: "the tools are here, or are installed now",
        enabled: true,
        limit_minutes: 40,
        action: Action::Setup,
    },
    Step {
        name: "fmt",
        what: "formatting is rustfmt's",
        enabled: true,
        limit_minutes: 2,
        action: Action::Cargo(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "walls",
        what: "the code is the building that ARCHITECTURE.md draws",
        enabled: true,
        limit_minutes: 2,
        action: Action::Walls,
    },
    Step {
        name: "clippy",
        what: "no warning anywhere",
        enabled: true,
        limit_minutes: 25,
        action: Action::Cargo(&["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"]),
    },
    Step {
        name: "nextest",
        what: "every test of every room",
        enabled: true,
        limit_minutes: 30,
        action: Action::Cargo(&["nextest", "run", "--workspace", "--profile", "ci"]),
    },
    Step {
        name: "fuzz",
        what: "every reader holds against what failed once, and against a storm of changed inputs",
        enabled: true,
        limit_minutes: 45,
        action: Action::Fuzz,
    },
    Step {
        name: "doctests",
        what: "every example in the documentation runs",
        enabled: true,
        limit_minutes: 15,
        action: Action::Cargo(&["test", "--workspace", "--doc", "--quiet"]),
    },
    Step {
        name: "deny",
        what: "licences, bans and sources of everything that is linked",
        enabled: true,
        limit_minutes: 5,
        action: Action::Deny,
    },
    Step {
        name: "demo",
        what: "a short demo, audited against the participants' ledgers",
        enabled: true,
        limit_minutes: 20,
        action: Action::Cargo(&["run", "--quiet", "--package", "tidegate", "--", "demo", "--quick"]),
    },
    Step {
        name: "kill",
        what: "ten rounds of kill -9 and restart, nothing lost and nothing done twice",
        enabled: true,
        limit_minutes: 10,
        action: Action::Cargo(&["run", "--quiet", "--package", "tidegate", "--", "drill", "kill", "--rounds", "10"]),
    },
    Step {
        name: "schemathesis",
        what: "the running server does what its openapi.json says, asked by a tool that reads only that",
        enabled: true,
        limit_minutes: 60,
        action: Action::Schemathesis,
    },
];

/// Which steps to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    List,
    Only(Vec<&'static str>),
}

impl Selection {
    /// Reads what stands after `cargo xtask test`; an unknown word is an error that names the known ones.
    pub(crate) fn parse(words: &[&str]) -> Result<Selection, String> {
        match words {
            [] => Ok(Selection::All),
            ["--list"] => Ok(Selection::List),
            ["--only", names] => {
                let mut wanted = Vec::new();
                for name in names.split(',') {
                    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
                        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
                        return Err(format!("there is no step `{name}`; the steps are {}", known.join(", ")));
                    };
                    wanted.push(step.name);
                }
                Ok(Selection::Only(wanted))
            }
            _ => Err(format!("`test` does not understand `{}`", words.join(" "))),
        }
    }

    fn wants(&self, step: &Step) -> bool {
        match self {
            Selection::All | Selection::List => true,
            Selection::Only(names) => names.contains(&step.name),
        }
    }
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed(String),
    /// Not run, on purpose, for the reason given.
    Without(String),
}

pub(crate) fn run(root: &Path, selection: &Selection) -> ExitCode {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| selection.wants(step)).collect();
    if *selection == Selection::List {
        for step in steps {
            println!("{:<12} {}{}", step.name, step.what, if step.enabled { "" } else { " (off)" });
        }
        return ExitCode::SUCCESS;
    }
    let mut verdicts = Vec::new();
    for step in steps {
        println!("==> {}: {}", step.name, step.what);
        let started = Instant::now();
        let verdict = verdict_of(step, root, matches!(selection, Selection::Only(_)));
        let seconds = started.elapsed().as_secs_f64();
        match &verdict {
            Verdict::Passed => println!("<== {} passed in {seconds:.1} s\n", step.name),
            Verdict::Failed(why) => println!("<== {} FAILED in {seconds:.1} s: {why}\n", step.name),
            Verdict::Without(why) => println!("<== {} NOT RUN: {why}\n", step.name),
        }
        verdicts.push((step.name, seconds, verdict));
    }
    print!("{}", summary(&verdicts));
    if verdicts.iter().any(|(.., verdict)| matches!(verdict, Verdict::Failed(_))) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs one step. A step that is off is run all the same when it was asked for by name.
fn verdict_of(step: &Step, root: &Path, by_name: bool) -> Verdict {
    if !step.enabled && !by_name {
        return Verdict::Without("it is off in xtask/src/steps.rs until its command exists".to_owned());
    }
    let limit = Duration::from_secs(step.limit_minutes * 60);
    match &step.action {
        Action::Setup => setup_verdict(root),
        Action::Walls => match walls::check(root) {
            Ok(violations) if violations.is_empty() => Verdict::Passed,
            Ok(violations) => {
                walls::print(&violations);
                Verdict::Failed(format!("{} violations", violations.len()))
            }
            Err(problem) => Verdict::Failed(problem),
        },
        // Both bound their own children.
        Action::Fuzz => said(fuzz::short(root)),
        Action::Schemathesis => match schemathesis::run(root, schemathesis::Asked::SHORT) {
            Ok(()) => Verdict::Passed,
            // As with advisories: what only a network can bring is not a fault of the change.
            Err(NotRight::NoTool(why)) => Verdict::Without(why),
            Err(NotRight::Failed(why)) => Verdict::Failed(why),
        },
        Action::Cargo(arguments) => of(&child::run(setup::cargo(root).args(*arguments), limit)),
        Action::Deny => deny_verdict(root, limit),
    }
}

fn said(done: Result<(), String>) -> Verdict {
    done.map_or_else(Verdict::Failed, |()| Verdict::Passed)
}

fn setup_verdict(root: &Path) -> Verdict {
    for found in [setup::c_compiler(), setup::python_venv(), setup::nextest(root), setup::deny(root)] {
        match found {
            Found::Yes => {}
            Found::Without(why) => println!("going on without: {why}"),
            Found::No(why) => return Verdict::Failed(why),
        }
    }
    Verdict::Passed
}

/// Advisories need a database that only a network can bring, so they are checked where one already lies.
fn deny_verdict(root: &Path, limit: Duration) -> Verdict {
    match setup::deny(root) {
        Found::Yes => {}
        Found::Without(why) => return Verdict::Without(why),
        Found::No(why) => return Verdict::Failed(why),
    }
    let ending = child::run(setup::cargo(root).args(["deny", "check", "licenses", "bans", "sources"]), limit);
    if !ending.passed() {
        return of(&ending);
    }
    if !advisory_database() {
        println!("no advisory database on this machine: advisories not checked (`cargo deny fetch` brings one)");
        return Verdict::Passed;
    }
    of(&child::run(setup::cargo(root).args(["deny", "check", "--disable-fetch", "advisories"]), limit))
}

fn advisory_database() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders = home.map(|home| home.join("advisory-dbs")).and_then(|folder| std::fs::read_dir(folder).ok());
    folders.is_some_and(|mut folders| folders.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())))
}

fn of(ending: &Ending) -> Verdict {
    if ending.passed() { Verdict::Passed } else { Verdict::Failed(ending.to_string()) }
}

/// A line a step, then the one line that scripts read: `N passed, N failed`.
fn summary(verdicts: &[(&str, f64, Verdict)]) -> String {
    let mut text = String::new();
    let (mut passed, mut failed) = (0, 0);
    for (name, seconds, verdict) in verdicts {
        let word = match verdict {
            Verdict::Passed => {
                passed += 1;
                "passed"
            }
            Verdict::Failed(_) => {
                failed += 1;
                "FAILED"
            }
            Verdict::Without(_) => "not run",
        };
        text.push_str(&format!("{name:<12} {word:<8} {seconds:>7.1} s\n"));
    }
    text.push_str(&format!("{passed} passed, {failed} failed\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_by_name_and_refuses_what_it_does_not_know() {
        assert_eq!(Selection::parse(&[]), Ok(Selection::All));
        assert_eq!(Selection::parse(&["--only", "walls,fmt"]), Ok(Selection::Only(vec!["walls", "fmt"])));
        let problem = Selection::parse(&["--only", "walls,typo"]).expect_err("there is no such step");
        assert!(problem.contains("`typo`") && problem.contains("nextest"), "{problem}");
        assert!(Selection::parse(&["--olny", "walls"]).is_err());
    }

    #[test]
    fn the_last_line_counts_passed_and_failed() {
        let verdicts = [
            ("fmt", 0.1, Verdict::Passed),
            ("walls", 0.2, Verdict::Failed("2 violations".to_owned())),
            ("demo", 0.0, Verdict::Without("off".to_owned())),
        ];
        assert_eq!(summary(&verdicts).lines().last(), Some("1 passed, 1 failed"));
    }

    #[test]
    fn a_step_without_its_command_fails() {
        let step = Step {
            name: "gone",
            what: "",
            enabled: true,
            limit_minutes: 1,
            action: Action::Cargo(&["no-such-subcommand-of-cargo"]),
        };
        assert!(matches!(verdict_of(&step, &crate::root(), false), Verdict::Failed(_)));
        let off = Step { enabled: false, ..step };
        assert!(matches!(verdict_of(&off, &crate::root(), false), Verdict::Without(_)));
        assert!(matches!(verdict_of(&off, &crate::root(), true), Verdict::Failed(_)));
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
    }
}
