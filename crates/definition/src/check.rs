//! Checking many files at once: what they say, what is wrong with them, and what `check` prints.

use std::collections::BTreeMap;

use compact_str::CompactString;
use plan::{Participant, PlanHash, Saga};

use crate::diagnostic::{Code, Diagnostic, Problem, Report, Severity};
use crate::names::did_you_mean;
use crate::object::{Fields, Shape};
use crate::saga::{self, Directory};
use crate::source::{Lines, SourceFile, Span};
use crate::yaml::{self, Kind, Node, shown};
use crate::{participants, saga::summary};

/// What is known besides the files.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Participants of the server; those in the files win.
    pub participants: BTreeMap<CompactString, Participant>,
    /// Nobody else exists: a name that is nowhere is an error, also if no file declares any participant. A server
    /// says true; `check` without a server says false.
    pub complete: bool,
}

/// The result of a check. Nothing may be applied if there are errors.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The sagas without error, in file order.
    pub sagas: Vec<CheckedSaga>,
    /// The participants without error, in file order.
    pub participants: Vec<CheckedParticipant>,
    /// Every finding of every file, in file order and by place.
    pub diagnostics: Vec<Diagnostic>,
    /// One line a file, for those without errors.
    lines: Vec<[String; 3]>,
    files: usize,
}

/// A saga that may run.
#[derive(Clone, Debug)]
pub struct CheckedSaga {
    pub plan: Saga,
    pub source_path: String,
    /// The line of `version`, for "set version: 2 in telecom/top-up.yaml:4".
    pub version_line: usize,
    /// The text of `key` as written; it must not change between versions of one name.
    pub key_text: Option<String>,
    /// `3 steps: 2 undone on abort, 1 optional`.
    pub summary: String,
}

impl CheckedSaga {
    /// Names the plan by its content: equal if and only if the canonical bytes are.
    pub fn fingerprint(&self) -> PlanHash {
        Saga::hash_of(&self.plan.to_bytes())
    }

    /// The expression of `key` in canonical form: two versions place alike if these are equal.
    pub fn key_expression_text(&self) -> String {
        self.plan.key.as_ref().map_or_else(String::new, |key| serde_json::to_string(key).unwrap_or_default())
    }
}

/// A participant that may be called.
#[derive(Clone, Debug)]
pub struct CheckedParticipant {
    pub participant: Participant,
    pub source_path: String,
    /// The line of its `name`.
    pub line: usize,
}

impl Checked {
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// One line for each file without errors, in columns, without line ends:
    ///
    /// ```text
    /// participants.yaml      6 participants
    /// top-up.yaml            top-up 1            3 steps: 2 undone on abort, 1 optional
    /// ```
    pub fn summary_lines(&self) -> Vec<String> {
        let first = self.lines.iter().map(|l| l[0].chars().count()).max().unwrap_or(0) + 3;
        let second =
            self.lines.iter().filter(|l| !l[2].is_empty()).map(|l| l[1].chars().count()).max().unwrap_or(0) + 3;
        let line = |[file, what, summary]: &[String; 3]| match summary.is_empty() {
            true => format!("{file:first$}{what}"),
            false => format!("{file:first$}{what:second$}{summary}"),
        };
        self.lines.iter().map(line).collect()
    }

    /// `4 files, no errors` or `4 files, 1 error. Nothing was applied.`, warnings counted if there are any.
    pub fn closing_line(&self) -> String {
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let files = many(self.files, "file");
        let warnings = match self.warnings() {
            0 => String::new(),
            n => format!(", {}", many(n, "warning")),
        };
        match self.errors() {
            0 => format!("{files}, no errors{warnings}"),
            n => format!("{files}, {}{warnings}. Nothing was applied.", many(n, "error")),
        }
    }
}

/// Checks files together: the participants of one are known to the sagas of another.
///
/// Reads only what it is given. Equal input gives equal output, byte for byte.
pub fn check(files: &[SourceFile], known: &Known) -> Checked {
    let mut reports: Vec<Report> = files.iter().map(|_| Report::default()).collect();
    let roots: Vec<Option<Node>> =
        files.iter().zip(&mut reports).map(|(file, report)| yaml::read(&file.text, report)).collect();
    let heads: Vec<Head<'_>> = roots
        .iter()
        .zip(&mut reports)
        .map(|(root, report)| root.as_ref().map_or(Head::Broken, |r| head(r, report)))
        .collect();

    let mut drafts: Vec<Vec<participants::Draft>> = Vec::with_capacity(files.len());
    for ((head, file), report) in heads.iter().zip(files).zip(&mut reports) {
        drafts.push(match head {
            Head::Participants(fields) => {
                fields.entry("participants").map(|e| participants::read(e, &file.text, report)).unwrap_or_default()
            }
            _ => Vec::new(),
        });
    }
    twice(
        drafts
            .iter()
            .enumerate()
            .flat_map(|(f, ds)| ds.iter().filter_map(move |d| Some((f, d.name.clone()?, d.name_span)))),
        "participants are called",
        files,
        &mut reports,
    );
    let declared = heads.iter().any(|h| matches!(h, Head::Participants(_) | Head::Broken));
    let mut directory = Directory {
        known: known.participants.iter().map(|(name, p)| (name.clone(), Some(p))).collect(),
        complete: known.complete,
    };
    for draft in drafts.iter().flatten() {
        if let Some(name) = &draft.name {
            directory.known.insert(name.clone(), draft.participant.as_ref());
        }
    }
    // Offline, a folder that declares participants declares all of them, unless one of its files cannot be read.
    let broken = heads.iter().any(|h| matches!(h, Head::Broken))
        || drafts.iter().flatten().any(|d| d.name.is_none())
        || heads.iter().any(|h| matches!(h, Head::Participants(f) if f.entry("participants").is_none()));
    directory.complete = (known.complete || declared) && !broken;

    let mut checked = Checked { files: files.len(), ..Checked::default() };
    let mut names: Vec<(usize, CompactString, Span)> = Vec::new();
    let mut sagas: Vec<Option<saga::Read>> = Vec::with_capacity(files.len());
    let mut warned = broken;
    for (place, ((head, file), report)) in heads.iter().zip(files).zip(&mut reports).enumerate() {
        let (Head::Saga(fields), Some(root)) = (head, &roots[place]) else {
            sagas.push(None);
            continue;
        };
        let outcome = saga::read(root, fields, &file.text, &directory, report);
        if let Some(named) = outcome.named {
            let version = named.version.map_or(0, u64::from);
            names.push((place, CompactString::new(format!("{} {version}", named.name)), named.span));
        }
        if let (Some(at), false) = (outcome.unchecked_participant, warned) {
            warned = true;
            let message = "no participants are known, so nothing that depends on their promises was checked";
            let problem = Problem::new(Code::ParticipantsNotKnown, at, message);
            report.add(problem.note("check a file of kind Participants together with this one, or ask a server"));
        }
        sagas.push(outcome.read);
    }
    twice(names.into_iter(), "definitions are", files, &mut reports);

    for (place, (file, report)) in files.iter().zip(reports).enumerate() {
        let fine = !report.has_errors();
        checked.diagnostics.extend(report.into_diagnostics(file));
        if !fine {
            continue;
        }
        let lines = Lines::new(&file.text);
        let declared: Vec<CheckedParticipant> = std::mem::take(&mut drafts[place])
            .into_iter()
            .filter_map(|draft| {
                let line = lines.place(draft.name_span.start).line;
                Some(CheckedParticipant { participant: draft.participant?, source_path: file.path.clone(), line })
            })
            .collect();
        if let Head::Participants(_) = heads[place] {
            let count = declared.len();
            let what = format!("{count} participant{}", if count == 1 { "" } else { "s" });
            checked.lines.push([file.file_name().to_owned(), what, String::new()]);
        }
        checked.participants.extend(declared);
        if let Some(read) = sagas[place].take() {
            let summary = summary::of(&read.saga);
            let what = format!("{} {}", read.saga.name, read.saga.version);
            checked.lines.push([file.file_name().to_owned(), what, summary.clone()]);
            checked.sagas.push(CheckedSaga {
                plan: read.saga,
                source_path: file.path.clone(),
                version_line: lines.place(read.version_span.start).line,
                key_text: read.key_text,
                summary,
            });
        }
    }
    checked
}

/// What kind of file it is.
enum Head<'n> {
    Saga(Fields<'n>),
    Participants(Fields<'n>),
    /// Not to be read further; what else it might declare is not known.
    Broken,
}

fn head<'n>(root: &'n Node, report: &mut Report) -> Head<'n> {
    let start = Span::new(root.span.start, root.span.start + 1);
    let Kind::Map(entries) = &root.kind else {
        if !root.is_broken() {
            report.say(Code::WrongType, start, format!("a definition file is an object, this is {}", root.what()));
        }
        return Head::Broken;
    };
    let at = entries.first().map_or(start, |e| e.name_span);
    let text = |name: &str| {
        let entry = entries.iter().find(|e| e.name == name)?;
        let text = match &entry.value.kind {
            Kind::Scalar(scalar) => scalar.text.as_str(),
            _ => "",
        };
        Some((text, crate::object::visible(entry.value.span, entry.name_span)))
    };
    match text("apiVersion") {
        Some(("tidegate/v1", _)) => {}
        Some((other, at)) => {
            let message = format!("\"{}\" is not a version of the language that this program reads", shown(other));
            report.add(Problem::new(Code::WrongValue, at, message).note("write apiVersion: tidegate/v1"));
            return Head::Broken;
        }
        None => {
            let problem = Problem::new(Code::MissingField, at, "the file has no apiVersion");
            report.add(problem.note("write apiVersion: tidegate/v1"));
        }
    }
    let shape: &Shape = match text("kind") {
        Some(("Saga", _)) => &saga::FILE,
        Some(("Participants", _)) => &participants::FILE,
        Some((other, at)) => {
            let later = ["Tcc", "Message", "Workflow", "Schedule"];
            let problem = if other == "Test" {
                let message = "a file of kind Test has no definition, it tests one";
                Problem::new(Code::WrongValue, at, message).note("run it with: tidegate test FILE")
            } else if later.contains(&other) {
                Problem::new(
                    Code::NotYet,
                    at,
                    format!("kind \"{other}\" is not part of this version of the language yet"),
                )
            } else {
                let problem = Problem::new(Code::WrongValue, at, format!("\"{}\" is no kind of file", shown(other)));
                match did_you_mean(other, ["Saga", "Participants"]) {
                    Some(near) => problem.under(format!("did you mean \"{near}\"?")),
                    None => problem,
                }
            };
            report.add(problem.note("kind is one of: Saga, Participants"));
            return Head::Broken;
        }
        None => {
            let problem = Problem::new(Code::MissingField, at, "the file has no kind");
            report.add(problem.note("kind is one of: Saga, Participants"));
            return Head::Broken;
        }
    };
    let is_saga = shape.name == saga::FILE.name;
    let owner = if is_saga { "the saga" } else { "the file" };
    match report.object(root, shape, owner, at) {
        Some(fields) if is_saga => Head::Saga(fields),
        Some(fields) => Head::Participants(fields),
        None => Head::Broken,
    }
}

/// Says that a name stands twice, across files.
fn twice(
    names: impl Iterator<Item = (usize, CompactString, Span)>,
    what: &str,
    files: &[SourceFile],
    reports: &mut [Report],
) {
    let mut seen: BTreeMap<CompactString, (usize, Span)> = BTreeMap::new();
    for (file, name, span) in names {
        match seen.get(&name) {
            None => {
                seen.insert(name, (file, span));
            }
            Some((first_file, first)) => {
                let message = format!("two {what} \"{name}\"");
                let problem = Problem::new(Code::DuplicateName, span, message);
                let problem = if *first_file == file {
                    problem.label(*first, "the first")
                } else {
                    let other = &files[*first_file];
                    let place = Lines::new(&other.text).place(first.start);
                    problem.note(format!("the first stands in {}:{}", other.path, place.line))
                };
                reports[file].add(problem);
            }
        }
    }
}
