//! Order: who comes before whom, loops, and the two sides of the pivot.

use plan::Side;

use super::step::Draft;
use crate::diagnostic::{Code, Problem, Report};
use crate::names::did_you_mean;
use crate::object::visible;
use crate::source::Span;
use crate::yaml::{Kind, shown};

/// The partial order of the steps, all by their places in the file.
#[derive(Debug)]
pub(crate) struct Order {
    /// The steps named in `after`, or the one before if nobody says `after`.
    pub(crate) after: Vec<Vec<usize>>,
    /// `earlier[a][b]`: b has ended before a starts.
    pub(crate) earlier: Vec<Vec<bool>>,
    /// `None`: not known, because the order is wrong.
    pub(crate) sides: Vec<Option<Side>>,
    /// A sequence in which every step comes after those it waits for.
    pub(crate) sequence: Vec<usize>,
}

/// Finds the order, and says what is wrong with it.
pub(crate) fn order(drafts: &[Draft<'_>], report: &mut Report) -> Order {
    let count = drafts.len();
    let mut sound = true;
    let after = after(drafts, report, &mut sound);
    let sequence = match sequence(&after) {
        Ok(sequence) => sequence,
        Err(cycle) => {
            say_cycle(drafts, &cycle, report);
            sound = false;
            (0..count).collect()
        }
    };
    // In an order that is wrong everything counts as earlier, so that no other finding follows from it.
    let mut earlier = vec![vec![!sound; count]; count];
    if sound {
        for &step in &sequence {
            for &before in &after[step] {
                let more = earlier[before].clone();
                earlier[step].iter_mut().zip(more).for_each(|(known, also)| *known |= also);
                earlier[step][before] = true;
            }
        }
    }
    let sides = sides(drafts, &earlier, sound, report);
    Order { after, earlier, sides, sequence }
}

fn after(drafts: &[Draft<'_>], report: &mut Report, sound: &mut bool) -> Vec<Vec<usize>> {
    let first_said = drafts.iter().find_map(|d| d.fields.entry("after"));
    let Some(first_said) = first_said else {
        return (0..drafts.len()).map(|place| place.checked_sub(1).into_iter().collect()).collect();
    };
    let mut all = Vec::with_capacity(drafts.len());
    for (place, draft) in drafts.iter().enumerate() {
        let mut after = Vec::new();
        match draft.fields.entry("after") {
            None if place == 0 => {}
            None => {
                *sound = false;
                let message = format!("{} does not say `after`, another step does", draft.owner);
                let previous = place.checked_sub(1).and_then(|p| drafts[p].name.as_deref()).unwrap_or("…");
                let problem = Problem::new(Code::MixedAfter, draft.name_span, message)
                    .label(first_said.name_span, "the order is said from here on")
                    .note(format!(
                        "write `after: [{previous}]` to follow the step above, `after: []` to start at once"
                    ));
                report.add(problem);
            }
            Some(entry) => {
                let Some(items) = report.list(&entry.value, "after", entry.name_span) else {
                    *sound = false;
                    all.push(after);
                    continue;
                };
                for item in items {
                    let at = visible(item.span, entry.name_span);
                    let name = match &item.kind {
                        Kind::Scalar(scalar) => scalar.text.as_str(),
                        Kind::Broken => {
                            *sound = false;
                            continue;
                        }
                        Kind::List(_) | Kind::Map(_) => "",
                    };
                    match named(drafts, name, place, at, report) {
                        Some(step) if after.contains(&step) => {
                            report.say(Code::DuplicateName, at, format!("\"{name}\" stands twice"));
                        }
                        Some(step) => after.push(step),
                        None => *sound = false,
                    }
                }
            }
        }
        all.push(after);
    }
    all
}

fn named(drafts: &[Draft<'_>], name: &str, own: usize, at: Span, report: &mut Report) -> Option<usize> {
    let found = drafts.iter().position(|d| d.name.as_deref() == Some(name));
    match found {
        Some(step) if step == own => {
            report.say(Code::Cycle, at, format!("step \"{name}\" waits for itself"));
            None
        }
        Some(step) => Some(step),
        None => {
            let names: Vec<&str> = drafts.iter().filter_map(|d| d.name.as_deref()).collect();
            let mut problem = Problem::new(Code::UnknownStep, at, format!("there is no step \"{}\"", shown(name)));
            if let Some(near) = did_you_mean(name, names.iter().copied()) {
                problem = problem.under(format!("did you mean \"{near}\"?"));
            }
            report.add(problem.note(format!("the steps are: {}", names.join(", "))));
            None
        }
    }
}

/// A sequence that respects `after`, in written order where there is a choice; or the steps of a loop.
fn sequence(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut done = vec![false; after.len()];
    let mut sequence = Vec::with_capacity(after.len());
    while sequence.len() < after.len() {
        let ready = (0..after.len()).find(|step| !done[*step] && after[*step].iter().all(|b| done[*b]));
        match ready {
            Some(step) => {
                done[step] = true;
                sequence.push(step);
            }
            None => return Err(loop_among(after, &done)),
        }
    }
    Ok(sequence)
}

/// Every step left waits for another one that is left: following them must come back.
fn loop_among(after: &[Vec<usize>], done: &[bool]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = (0..after.len()).find(|s| !done[*s]).unwrap_or(0);
    loop {
        if let Some(start) = path.iter().position(|s| *s == at) {
            path.drain(..start);
            path.reverse();
            return path;
        }
        path.push(at);
        match after[at].iter().find(|b| !done[**b]) {
            Some(next) => at = *next,
            None => return path,
        }
    }
}

fn say_cycle(drafts: &[Draft<'_>], cycle: &[usize], report: &mut Report) {
    let name = |step: usize| drafts[step].name.as_deref().unwrap_or("?");
    // Told from the step that stands first in the file.
    let start = cycle.iter().enumerate().min_by_key(|(_, s)| **s).map_or(0, |(at, _)| at);
    let turned: Vec<usize> = cycle[start..].iter().chain(&cycle[..start]).copied().collect();
    let Some(&first) = turned.first() else { return };
    let path: Vec<&str> = turned.iter().chain([&first]).map(|s| name(*s)).collect();
    let at =
        drafts[first].fields.entry("after").map_or(drafts[first].name_span, |e| visible(e.value.span, e.name_span));
    let mut problem = Problem::new(Code::Cycle, at, format!("these steps wait for each other: {}", path.join(" → ")));
    for step in turned.iter().skip(1) {
        if let Some(entry) = drafts[*step].fields.entry("after") {
            problem = problem.label(visible(entry.value.span, entry.name_span), format!("of step \"{}\"", name(*step)));
        }
    }
    report.add(problem.note("none of them can ever start"));
}

fn sides(drafts: &[Draft<'_>], earlier: &[Vec<bool>], sound: bool, report: &mut Report) -> Vec<Option<Side>> {
    let mut pivots = drafts.iter().enumerate().filter(|(_, d)| d.pivot);
    let Some((pivot, draft)) = pivots.next() else {
        return vec![Some(Side::Before); drafts.len()];
    };
    let mut known = sound;
    for (_, other) in pivots {
        known = false;
        let at = other.pivot_span().unwrap_or(other.name_span);
        let problem = Problem::new(Code::TwoPivots, at, "a second pivot; a saga has at most one point of no return");
        report.add(problem.label(draft.pivot_span().unwrap_or(draft.name_span), "the first"));
    }
    if draft.optional {
        let at = draft.pivot_span().unwrap_or(draft.name_span);
        let problem = Problem::new(Code::OptionalPivot, at, "the pivot cannot be optional");
        let problem = problem.label(draft.optional_span().unwrap_or(draft.name_span), "may fail without consequence");
        report.add(problem.note("what may fail is no point of no return"));
    }
    if !known {
        return vec![None; drafts.len()];
    }
    let mut sides = Vec::with_capacity(drafts.len());
    for (place, other) in drafts.iter().enumerate() {
        sides.push(if place == pivot {
            Some(Side::Pivot)
        } else if earlier[place][pivot] {
            Some(Side::After)
        } else if earlier[pivot][place] {
            Some(Side::Before)
        } else {
            let pivot_name = draft.name.as_deref().unwrap_or("?");
            let message = format!("{} runs beside the pivot \"{pivot_name}\"", other.owner);
            let problem = Problem::new(Code::BesidePivot, other.name_span, message)
                .label(draft.pivot_span().unwrap_or(draft.name_span), "the point of no return");
            let own = other.name.as_deref().unwrap_or("?");
            report.add(problem.note(format!(
                "whether it is undone would be chance: let \"{pivot_name}\" come after \"{own}\", or \"{own}\" after \"{pivot_name}\""
            )));
            None
        });
    }
    sides
}
