//! A file of kind `Saga`: read, put in order, resolved, proven, and made a [`plan::Saga`].
//!
//! ```text
//! fields ─step─► drafts ─order─► who comes before whom ─resolve─► expressions ─proof─► plan::Saga
//! ```

pub(crate) mod call;
mod order;
mod proof;
pub(crate) mod resolve;
pub(crate) mod step;
pub(crate) mod summary;

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use plan::{Participant, Saga, TextTemplate};

use crate::diagnostic::{Code, Report};
use crate::expr::facts::Facts;
use crate::expr::lower::{Here, Moment, Reads, Root, World};
use crate::expr::template::Lowering;
use crate::names::NameRule;
use crate::object::{Fields, Shape};
use crate::source::Span;
use crate::yaml::Node;

pub(crate) const FILE: Shape = Shape {
    name: "a saga",
    fields: &[
        "apiVersion",
        "kind",
        "name",
        "version",
        "description",
        "owner",
        "input",
        "key",
        "lock",
        "timeout",
        "steps",
        "output",
    ],
    required: &["name", "version", "input", "steps"],
    later: &[
        ("labels", "labels come with a later version; key finds transactions until then"),
        ("priority", "priorities come with the load manager"),
        ("retain", "history per definition comes with a later version"),
        ("schedule", "schedules come with a later version"),
        ("start_at", "a later start belongs to a submission, in a later version"),
        ("callback_url", "call-backs come with a later version; a client waits or asks"),
    ],
};

/// A definition may have so many steps.
pub(crate) const STEPS_MAX: usize = 128;

/// Who is known, and what they promise.
#[derive(Debug, Default)]
pub(crate) struct Directory<'k> {
    /// `None`: it exists, but its own file is not right.
    pub(crate) known: BTreeMap<CompactString, Option<&'k Participant>>,
    /// Everybody is known: a name that is not there is wrong.
    pub(crate) complete: bool,
}

/// A saga without errors, and what the file says beside the plan.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) saga: Saga,
    pub(crate) version_span: Span,
    pub(crate) key_text: Option<String>,
}

/// The name and its place, even of a file that has errors.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: CompactString,
    pub(crate) span: Span,
    pub(crate) version: Option<u32>,
}

pub(crate) struct Outcome {
    pub(crate) named: Option<Named>,
    pub(crate) read: Option<Read>,
    /// The first participant named, if nobody was known to compare it with.
    pub(crate) unchecked_participant: Option<Span>,
}

/// Reads the fields of a saga.
pub(crate) fn read(
    root: &Node,
    fields: &Fields<'_>,
    file: &str,
    known: &Directory<'_>,
    report: &mut Report,
) -> Outcome {
    let name = fields.entry("name").and_then(|e| report.name(e, "a definition", NameRule::Dashed));
    let version = fields.entry("version").and_then(|e| report.whole(e, 1, u32::MAX));
    let description = fields.entry("description").map(|e| report.prose(e));
    let owner = fields.entry("owner").map(|e| report.prose(e));
    let input = fields.entry("input").and_then(|e| crate::schema::input(e, report));
    let lock = fields.entry("lock").map(|e| report.name(e, "a lock", NameRule::Either));
    if let Some(entry) = fields.entry("lock")
        && !fields.has("key")
    {
        report.say(Code::LockWithoutKey, entry.name_span, "a lock needs a key: one at a time of what?");
    }
    let timeout = fields.entry("timeout").map(|e| report.duration(e, Duration::from_millis(1)));
    let drafts = fields.entry("steps").map(|e| step::drafts(e, report)).unwrap_or_default();
    let order = order::order(&drafts, report);

    let mut reads = Reads::new();
    let mut world = World { input: input.as_ref(), steps: step::infos(&drafts, &order) };
    let key = fields.entry("key").map(|entry| key(&entry.value, &world, file, report));
    let steps = resolve::steps(&drafts, &order, &mut world, file, &mut reads, report);
    let output = fields.entry("output").map(|entry| {
        let roots: &[Root] = &[Root::Input, Root::Steps, Root::Transaction];
        let here = Here { roots, moment: Moment::End, facts: Facts::default() };
        Lowering { world: &world, file, report: &mut *report, reads: &mut reads }.json(&entry.value, &here)
    });
    proof::shape(&drafts, &order, &steps, known, report);
    if let (Some(entry), Some(Some(timeout))) = (fields.entry("timeout"), timeout) {
        proof::timeout(entry, timeout, &drafts, &order, &steps, known, report);
    }
    if !report.has_errors() {
        proof::unused_results(&drafts, &steps, &reads, report);
    }
    let unchecked_participant = proof::unchecked_participant(&steps, known);

    let named =
        name.clone().map(|name| Named { name, span: fields.get("name").map_or(root.span, |n| n.span), version });
    let complete = || {
        Some(Saga {
            name: name?,
            version: version?,
            description: stated(description)?.map(Into::into),
            owner: stated(owner)?,
            input: input.clone()?,
            key: stated(key)?,
            lock: stated(lock)?,
            timeout: stated(timeout)?,
            steps: step::finished(&drafts, &order, steps, &reads)?,
            output: stated(output)?,
        })
    };
    let saga = if report.has_errors() { None } else { complete() };
    let read = saga.map(|saga| Read {
        saga,
        version_span: fields.get("version").map_or(root.span, |n| n.span),
        key_text: fields.get("key").and_then(|n| match &n.kind {
            crate::yaml::Kind::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        }),
    });
    Outcome { named, read, unchecked_participant }
}

/// Not written is fine, written wrongly is not.
fn stated<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
    }
}

/// Evaluated before there is a transaction, so only the input can place it: a resubmission must land alike.
fn key(node: &Node, world: &World<'_>, file: &str, report: &mut Report) -> Option<TextTemplate> {
    let here = Here { roots: &[Root::Input], moment: Moment::Outside, facts: Facts::default() };
    Lowering { world, file, report, reads: &mut Reads::new() }.text(node, &here, "key")
}
