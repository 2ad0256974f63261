//! `test`: the cases of test files, or every failure of them, on the real state machine in virtual time.
//!
//! Everything that is tested and judged is in `testkit`; here are files, arguments and exit codes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use definition::{Diagnostic, SourceFile};
use testkit::play::{Choice, play_file};
use testkit::report::{Report, Show, json, junit, text};
use testkit::suite::{self, Suite};

use super::show::{note, say};
use super::submit::json_argument;
use super::{Ended, Exit, Failed, Global, files};

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Test files, or folders whose *.test.yaml are taken; with --every-failure also a definition
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Try refusal, failure, unknown and crash at every call, in both directions, and show what would stay undone
    #[arg(long)]
    every_failure: bool,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show the story of every case, not only of those that failed
    #[arg(long)]
    story: bool,
    /// Write the results as JUnit XML, for CI
    #[arg(long, value_name = "PATH")]
    junit: Option<PathBuf>,
    /// The input for a definition: JSON, @file, or - for standard input
    #[arg(short, long, value_name = "JSON", requires = "every_failure")]
    input: Option<String>,
    /// The participants of a definition; participants.yaml beside it if absent
    #[arg(long, value_name = "PATH", requires = "input")]
    participants: Option<PathBuf>,
}

pub(super) fn test(args: &TestArgs, global: &Global) -> Ended {
    let began = Instant::now();
    let mut suites = Vec::new();
    let mut findings: Vec<Diagnostic> = Vec::new();
    for file in test_files(&args.paths)? {
        let read = if suite::is_test_file(&file) || args.input.is_none() {
            by_itself(&file, args)?;
            read_suite(&file)
        } else {
            of_definition(file, args)?
        };
        match read {
            Ok(suite) => suites.push(suite),
            Err(found) => findings.extend(found),
        }
    }
    if !findings.is_empty() {
        return Ok(bad_files(&findings, global));
    }
    let choice = Choice {
        filter: args.filter.as_deref(),
        every_failure: args.every_failure,
        signals_come: args.input.is_some(),
    };
    let mut report = Report { files: Vec::new(), left_out: 0, took: std::time::Duration::ZERO };
    for suite in suites {
        for warning in &suite.warnings {
            note(&warning.render());
        }
        let (outcome, left_out) = play_file(suite, choice);
        report.files.push(outcome);
        report.left_out += left_out;
    }
    report.took = began.elapsed();
    let (passed, failed) = report.counts();
    if let Some(path) = &args.junit {
        std::fs::write(path, junit(&report))
            .map_err(|e| Failed::usage(format!("{} cannot be written: {e}", path.display())))?;
    }
    if global.is_json() {
        say(&serde_json::to_string_pretty(&json(&report)).unwrap_or_default());
    } else {
        say(&text(&report, Show { stories: args.story }));
    }
    if passed + failed == 0 {
        let filter = args.filter.as_deref().unwrap_or_default();
        return Err(Failed::usage(format!("no case has \"{filter}\" in its name; a test that tests nothing is none")));
    }
    Ok(if failed > 0 { Exit::Refused } else { Exit::Done })
}

/// A definition without an input cannot be tested: say so before its shape is complained about.
fn by_itself(file: &SourceFile, args: &TestArgs) -> Result<(), Failed> {
    if suite::is_test_file(file) || !file.text.lines().any(|line| line.trim_end() == "kind: Saga") {
        return Ok(());
    }
    let path = &file.path;
    Err(Failed::usage(if args.every_failure {
        format!("{path} is a definition: give it an input\n  tidegate test --every-failure {path} -i '{{…}}'")
    } else {
        format!(
            "{path} is a definition, not a test file\n  every failure of it: tidegate test --every-failure {path} -i \
             '{{…}}'\n  how a test file looks: docs/testing.md"
        )
    }))
}

fn bad_files(findings: &[Diagnostic], global: &Global) -> Exit {
    if global.is_json() {
        let document = serde_json::json!({"errors": findings.len(), "diagnostics": findings});
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        for finding in findings {
            note(&finding.render());
        }
        let errors = findings.iter().filter(|f| f.severity == definition::Severity::Error).count();
        note(&format!("{errors} error{}. Nothing was run.", if errors == 1 { "" } else { "s" }));
    }
    Exit::Usage
}

/// The files that were named, and the test files of the folders that were, in order of their paths.
fn test_files(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failed> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(read(path)?);
            continue;
        }
        let entries =
            std::fs::read_dir(path).map_err(|e| Failed::usage(format!("{} cannot be read: {e}", path.display())))?;
        let mut inside: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|p| files::is_test_file(p))
            .collect();
        if inside.is_empty() {
            return Err(Failed::usage(format!("{} has no *.test.yaml file", path.display())));
        }
        inside.sort();
        for path in inside {
            all.push(read(&path)?);
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<SourceFile, Failed> {
    files::read_one(path).map_err(|failed| Failed { exit: Exit::Usage, ..failed })
}

fn read_suite(file: &SourceFile) -> Result<Suite, Vec<Diagnostic>> {
    let folder = Path::new(&file.path).parent().map(Path::to_path_buf).unwrap_or_default();
    suite::read(file, &mut |path| read(&folder.join(path)).map_err(|failed| failed.message))
}

fn of_definition(file: SourceFile, args: &TestArgs) -> Result<Result<Suite, Vec<Diagnostic>>, Failed> {
    let input = json_argument(args.input.as_deref().unwrap_or("{}"), "input")
        .map_err(|failed| Failed { exit: Exit::Usage, ..failed })?;
    let beside = Path::new(&file.path).with_file_name("participants.yaml");
    let path = args.participants.as_deref().unwrap_or(&beside);
    let participants = read(path).map_err(|failed| {
        let hint = if args.participants.is_none() { "\n  say where they are: --participants PATH" } else { "" };
        Failed { message: format!("{}{hint}", failed.message), ..failed }
    })?;
    let suite = suite::of_definition(file, participants, input);
    let misfits: Vec<plan::schema::Violation> = suite.as_ref().map_or_else(
        |_| Vec::new(),
        |suite| suite.cases.iter().flat_map(|case| suite.plan.input.validate(&case.input)).collect(),
    );
    if let (Ok(suite), false) = (&suite, misfits.is_empty()) {
        let mut message = format!("the input does not fit {} version {}", suite.plan.name, suite.plan.version);
        for misfit in misfits {
            message.push_str(&format!("\n  input{}  {}", misfit.pointer.replace('/', "."), misfit.detail));
        }
        return Err(Failed::usage(message));
    }
    Ok(suite)
}
