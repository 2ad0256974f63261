//! A test file: YAML to cases, or every error in it with its line, its column and what would be right.
//!
//! The definition and the participants that it names are compiled by `definition`, as an apply would; their findings
//! are given with the others. Which files those are is the caller's to look up: nothing is read from disk here.

pub(crate) mod answers;
pub(crate) mod events;
pub(crate) mod expect;
mod values;

use std::collections::BTreeMap;

use definition::document::{Entry, Fields, Kind, Node, Problem, Report, Shape, read as read_yaml, visible};
use definition::{Code, Diagnostic, Known, Severity, SourceFile, Span, check};
use model::{Direction, StepIndex, Timestamp, Value};
use plan::{Participant, Saga, Undo};

use crate::script::{At, CallName, Case, Script};

/// A test file that can be run.
#[derive(Clone, Debug)]
pub struct Suite {
    pub file: SourceFile,
    pub plan: Saga,
    pub participants: Vec<Participant>,
    pub cases: Vec<Case>,
    /// Findings that stop nothing.
    pub warnings: Vec<Diagnostic>,
}

/// Gives a file by its path from the folder of the test file, or says why not.
pub type Load<'l> = &'l mut dyn FnMut(&str) -> Result<SourceFile, String>;

pub(crate) const FILE: Shape = Shape {
    name: "a test file",
    fields: &["apiVersion", "kind", "definition", "participants", "starts_at", "input", "answers", "cases"],
    required: &["definition", "cases"],
    later: &[],
};

pub(crate) const CASE: Shape = Shape {
    name: "case",
    fields: &["name", "input", "answers", "events", "starts_at", "until", "expect", "may_stay"],
    required: &["name", "expect"],
    later: &[("lock", "two transactions in one case come with a later version")],
};

const CASES_MAX: usize = 500;
const NAME_CHARS_MAX: usize = 120;

/// Reads a test file and what it names.
///
/// # Errors
/// Every finding of every file, errors and warnings, if there is any error.
pub fn read(file: &SourceFile, load: Load<'_>) -> Result<Suite, Vec<Diagnostic>> {
    let mut report = Report::default();
    let root = read_yaml(&file.text, &mut report);
    let Some((root, fields)) = root.as_ref().and_then(|root| Some((root, head(root, &mut report)?))) else {
        return Err(report.into_diagnostics(file));
    };
    let mut others = Vec::new();
    let compiled = compile(&fields, load, &mut report, &mut others);
    let (plan, participants) = match &compiled {
        Some((plan, participants)) => (Some(plan), participants.as_slice()),
        None => (None, &[][..]),
    };
    let mut reader = Reader { plan, participants, report: &mut report };
    let cases = reader.cases(&fields, root);
    let broken = report.has_errors() || others.iter().any(|d| d.severity == Severity::Error);
    let mut findings = report.into_diagnostics(file);
    findings.extend(others);
    match (compiled, cases) {
        (Some((plan, participants)), Some(cases)) if !broken => {
            Ok(Suite { file: file.clone(), plan, participants, cases, warnings: findings })
        }
        _ => Err(findings),
    }
}

/// Whether a file says that it is a test file, as far as can be told without judging it.
pub fn is_test_file(file: &SourceFile) -> bool {
    let root = read_yaml(&file.text, &mut Report::default());
    let kind = root.as_ref().and_then(|root| root.get("kind")).map(|node| &node.kind);
    matches!(kind, Some(Kind::Scalar(scalar)) if scalar.text == "Test")
}

/// A definition by itself, with one input: for [`crate::failures::every_failure`].
///
/// # Errors
/// Every finding of both files, if there is any error or no definition.
pub fn of_definition(definition: SourceFile, participants: SourceFile, input: Value) -> Result<Suite, Vec<Diagnostic>> {
    let file = definition.clone();
    let files = if definition.path == participants.path { vec![definition] } else { vec![participants, definition] };
    let mut checked = check(&files, &Known::default());
    let mut report = Report::default();
    let (1, Some(saga)) = (checked.sagas.len(), checked.sagas.pop()) else {
        if !checked.has_errors() {
            let message = "the file has no definition: give a test file, or one of kind Saga";
            report.say(Code::WrongValue, Span::new(0, 1), message);
            checked.diagnostics.extend(report.into_diagnostics(&file));
        }
        return Err(checked.diagnostics);
    };
    if checked.has_errors() {
        return Err(checked.diagnostics);
    }
    let case = Case {
        name: "answers made up to fit".into(),
        span: Span::new(0, 1),
        input,
        input_span: Span::new(0, 1),
        script: Script::default(),
        own_answers: Vec::new(),
        expect: crate::script::Expect::default(),
        may_stay: None,
    };
    let participants = checked.participants.into_iter().map(|checked| checked.participant).collect();
    Ok(Suite { file, plan: saga.plan, participants, cases: vec![case], warnings: checked.diagnostics })
}

fn head<'n>(root: &'n Node, report: &mut Report) -> Option<Fields<'n>> {
    let start = Span::new(root.span.start, root.span.start + 1);
    let at = match &root.kind {
        Kind::Map(entries) => entries.first().map_or(start, |entry| entry.name_span),
        _ => start,
    };
    // A file of another kind would only be told that it has none of the fields.
    if let Some(Kind::Scalar(kind)) = root.get("kind").map(|node| &node.kind)
        && matches!(kind.text.as_str(), "Saga" | "Participants")
    {
        let message = format!("this is a file of kind {}, not a test file", kind.text);
        let span = root.get("kind").map_or(at, |node| node.span);
        let note = "a test file has kind: Test and names a definition; this one is for: tidegate check";
        report.add(Problem::new(Code::WrongValue, span, message).note(note));
        return None;
    }
    let fields = report.object(root, &FILE, "the file", at)?;
    for (name, wanted) in [("apiVersion", "tidegate/v1"), ("kind", "Test")] {
        match fields.entry(name) {
            None => {
                let problem = Problem::new(Code::MissingField, at, format!("the file has no {name}"));
                report.add(problem.note(format!("write {name}: {wanted}")));
            }
            Some(entry) => {
                let written = report.plain_text(entry);
                if let Some(other) = written.filter(|text| *text != wanted) {
                    let message = format!("{name} \"{other}\" is not that of a test file");
                    let problem = Problem::new(Code::WrongValue, entry.value.span, message);
                    report.add(problem.note(format!("write {name}: {wanted}")));
                }
            }
        }
    }
    Some(fields)
}

/// The definition and the participants, compiled; findings in them go to `others`.
fn compile(
    fields: &Fields<'_>,
    load: Load<'_>,
    report: &mut Report,
    others: &mut Vec<Diagnostic>,
) -> Option<(Saga, Vec<Participant>)> {
    let entry = fields.entry("definition")?;
    let path = report.plain_text(entry)?.to_owned();
    let from_here = "paths are taken from the folder of the test file";
    let mut open = |path: &str, at: Span, hint: &str, report: &mut Report| match load(path) {
        Ok(file) => Some(file),
        Err(why) => {
            report.add(Problem::new(Code::WrongValue, at, why).note(hint));
            None
        }
    };
    let definition = open(&path, entry.value.span, from_here, report);
    let participants = match fields.entry("participants") {
        Some(entry) => {
            let path = report.plain_text(entry)?.to_owned();
            open(&path, entry.value.span, from_here, report)
        }
        None => {
            let folder = path.rfind(['/', '\\']).map_or("", |at| &path[..=at]);
            let hint = "without \"participants: PATH\", participants.yaml beside the definition is taken";
            open(&format!("{folder}participants.yaml"), entry.value.span, hint, report)
        }
    };
    let (definition, participants) = (definition?, participants?);
    let files = if definition.path == participants.path { vec![definition] } else { vec![participants, definition] };
    let checked = check(&files, &Known::default());
    others.extend(checked.diagnostics);
    let mut sagas = checked.sagas;
    if sagas.len() != 1 {
        if !others.iter().any(|d| d.severity == Severity::Error) {
            let message = format!("{path} has no definition: a file of kind Saga is tested");
            report.say(Code::WrongValue, entry.value.span, message);
        }
        return None;
    }
    let participants = checked.participants.into_iter().map(|checked| checked.participant).collect();
    sagas.pop().map(|saga| (saga.plan, participants))
}

/// Reads cases with what is known of the plan; without one, names cannot be looked up and are let pass.
pub(crate) struct Reader<'r> {
    pub(crate) plan: Option<&'r Saga>,
    pub(crate) participants: &'r [Participant],
    pub(crate) report: &'r mut Report,
}

/// What all cases of a file begin with.
#[derive(Default)]
struct Shared<'n> {
    input: Option<&'n Entry>,
    answers: BTreeMap<CallName, Vec<crate::script::Answer>>,
    starts_at: Option<Timestamp>,
}

impl Reader<'_> {
    fn cases(&mut self, fields: &Fields<'_>, root: &Node) -> Option<Vec<Case>> {
        let shared = Shared {
            input: fields.entry("input"),
            answers: fields.entry("answers").map(|entry| self.answers(entry)).unwrap_or_default(),
            starts_at: fields.entry("starts_at").and_then(|entry| self.time(entry)),
        };
        let entry = fields.entry("cases")?;
        let items = self.report.list(&entry.value, "cases", entry.name_span)?;
        if items.is_empty() {
            self.report.say(Code::WrongValue, entry.name_span, "the list of cases is empty");
        }
        if items.len() > CASES_MAX {
            let message = format!("{} cases, at most {CASES_MAX} stand in one file", items.len());
            self.report.say(Code::TooLarge, entry.name_span, message);
            return None;
        }
        let mut cases: Vec<Case> = Vec::new();
        for item in items {
            let Some(case) = self.case(item, &shared, root.span) else { continue };
            if let Some(first) = cases.iter().find(|first| first.name == case.name) {
                let message = format!("two cases are called \"{}\"", case.name);
                self.report.add(Problem::new(Code::DuplicateName, case.span, message).label(first.span, "the first"));
            }
            cases.push(case);
        }
        Some(cases)
    }

    fn case(&mut self, node: &Node, shared: &Shared<'_>, root: Span) -> Option<Case> {
        let at = match &node.kind {
            Kind::Map(entries) => entries.first().map_or(root, |entry| entry.name_span),
            _ => visible(node.span, root),
        };
        let owner = match node.get("name").map(|name| &name.kind) {
            Some(Kind::Scalar(scalar)) => format!("case \"{}\"", definition::document::shown(&scalar.text)),
            _ => "a case".into(),
        };
        let fields = self.report.object(node, &CASE, &owner, at)?;
        let name = fields.entry("name").and_then(|entry| {
            let text = self.report.plain_text(entry)?;
            if text.trim().is_empty() || text.chars().count() > NAME_CHARS_MAX {
                let message = format!("the name of a case has 1 to {NAME_CHARS_MAX} characters");
                self.report.say(Code::BadName, visible(entry.value.span, entry.name_span), message);
                return None;
            }
            Some(text.to_owned())
        });
        let span = fields.get("name").map_or(at, |name| visible(name.span, at));
        let mut script = Script { answers: shared.answers.clone(), starts_at: shared.starts_at, ..Script::default() };
        let mut own_answers = Vec::new();
        if let Some(entry) = fields.entry("answers") {
            let own = self.answers(entry);
            if let (Kind::Map(calls), Some(plan)) = (&entry.value.kind, self.plan) {
                let place = |name: &CallName| {
                    let word = crate::run::call_word(plan, *name);
                    calls.iter().find(|call| call.name == word).map_or(entry.name_span, |call| call.name_span)
                };
                own_answers.extend(own.keys().map(|name| At { span: place(name), value: *name }));
            }
            script.answers.extend(own);
        }
        if let Some(entry) = fields.entry("events") {
            script.events = self.events(entry);
        }
        if let Some(entry) = fields.entry("starts_at") {
            script.starts_at = self.time(entry);
        }
        if let Some(entry) = fields.entry("until") {
            script.until = self.report.duration(entry, std::time::Duration::ZERO);
        }
        let expect = fields.entry("expect").and_then(|entry| self.expect(entry)).unwrap_or_default();
        let own = fields.entry("input");
        let input = self.input(shared.input, own, expect.input_refused.is_none(), span);
        let may_stay = fields.entry("may_stay").and_then(|entry| {
            let steps = self.steps(entry)?.into_iter().map(|at| at.value).collect();
            Some(At { span: visible(entry.value.span, entry.name_span), value: steps })
        });
        Some(Case {
            name: name?,
            span,
            input: input?,
            input_span: own.or(shared.input).map_or(span, |entry| entry.name_span),
            script,
            own_answers,
            expect,
            may_stay,
        })
    }

    /// The input of the file with what the case gives in place of its members.
    fn input(&mut self, shared: Option<&Entry>, own: Option<&Entry>, must_fit: bool, at: Span) -> Option<Value> {
        let mut input = Value::Map(model::Map::new());
        for entry in [shared, own].into_iter().flatten() {
            let value = self.value(&entry.value)?;
            match (&mut input, value) {
                (Value::Map(all), Value::Map(members)) => {
                    for (name, value) in &members {
                        all.insert(name.clone(), value.clone());
                    }
                }
                (_, other) => input = other,
            }
        }
        let violations = self.plan.map(|plan| plan.input.validate(&input)).unwrap_or_default();
        for violation in violations.iter().filter(|_| must_fit) {
            let nodes =
                [own, shared].into_iter().flatten().map(|entry| (entry, at_pointer(&entry.value, &violation.pointer)));
            let place = nodes.clone().find_map(|(_, node)| node.map(|node| node.span));
            let place = place.or_else(|| nodes.clone().next().map(|(entry, _)| entry.name_span)).unwrap_or(at);
            let name = format!("input{}", violation.pointer.replace('/', "."));
            let problem = Problem::new(Code::WrongValue, visible(place, at), format!("{name} {}", violation.detail));
            let hint =
                "the definition would refuse this input; if that is what is tested: expect: {input_refused: […]}";
            self.report.add(problem.note(hint));
        }
        Some(input)
    }

    /// `charge`, or `undo charge`: a call that the plan has.
    pub(crate) fn call_name(&mut self, text: &str, span: Span) -> Option<CallName> {
        let (direction, name) = match text.strip_prefix("undo ") {
            Some(name) => (Direction::Compensate, name.trim()),
            None => (Direction::Call, text),
        };
        let step = self.step_name(name, span)?;
        let plan = self.plan?;
        let declared = &plan.steps[usize::from(step)];
        if declared.call().is_none() {
            let message = format!("step \"{name}\" waits, it makes no call");
            self.report
                .add(Problem::new(Code::WrongValue, span, message).note("a signal is sent by an event: {signal: …}"));
            return None;
        }
        if direction == Direction::Compensate && declared.compensate == Undo::Nothing {
            let message =
                format!("step \"{name}\" has no undo: its definition says compensate: none, or it changes nothing");
            self.report.say(Code::WrongValue, span, message);
            return None;
        }
        Some((step, direction))
    }

    pub(crate) fn step_name(&mut self, name: &str, span: Span) -> Option<StepIndex> {
        let plan = self.plan?;
        if let Some((step, _)) = plan.step(name) {
            return Some(step);
        }
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        let message = format!("{} has no step \"{}\"", plan.name, definition::document::shown(name));
        let mut problem = Problem::new(Code::UnknownStep, span, message);
        if let Some(near) = definition::document::did_you_mean(name, names.iter().copied()) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        self.report.add(problem.note(format!("its steps are: {}", names.join(", "))));
        None
    }

    pub(crate) fn participant_name(&mut self, name: &str, span: Span) {
        if self.plan.is_none() || self.participants.iter().any(|p| p.name == name) {
            return;
        }
        let names: Vec<&str> = self.participants.iter().map(|p| p.name.as_str()).collect();
        let message = format!("there is no participant \"{}\"", definition::document::shown(name));
        let mut problem = Problem::new(Code::UnknownParticipant, span, message);
        if let Some(near) = definition::document::did_you_mean(name, names.iter().copied()) {
            problem = problem.under(format!("did you mean \"{near}\"?"));
        }
        self.report.add(problem.note(format!("the participants are: {}", names.join(", "))));
    }
}

fn at_pointer<'n>(node: &'n Node, pointer: &str) -> Option<&'n Node> {
    pointer.split('/').skip(1).try_fold(node, |node, part| match &node.kind {
        Kind::List(items) => items.get(part.parse::<usize>().ok()?),
        _ => node.get(&part.replace("~1", "/").replace("~0", "~")),
    })
}
