//! A saga in one line: `3 steps: 2 undone on abort, 1 optional`.

use plan::{Action, Saga, Side, Undo};

/// What a reader of `check` wants to see at once.
pub(crate) fn of(saga: &Saga) -> String {
    let count = |what: usize, words: &str| (what > 0).then(|| format!("{what} {words}"));
    let steps = saga.steps.len();
    let undone = saga.steps.iter().filter(|s| matches!(s.compensate, Undo::Call { .. })).count();
    let optional = saga.steps.iter().filter(|s| s.optional).count();
    let waits = saga.steps.iter().filter(|s| matches!(s.action, Action::Wait(_))).count();
    let parallel = widest(saga);
    let pivot = saga.steps.iter().find(|s| s.side == Side::Pivot);
    let parts: Vec<String> = [
        count(undone, "undone on abort"),
        count(optional, "optional"),
        (parallel > 1).then(|| format!("{parallel} in parallel")),
        count(waits, if waits == 1 { "wait" } else { "waits" }),
        pivot.map(|s| format!("no way back after \"{}\"", s.name)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let steps = format!("{steps} step{}", if steps == 1 { "" } else { "s" });
    if parts.is_empty() { steps } else { format!("{steps}: {}", parts.join(", ")) }
}

/// How many steps can run at the same time: the largest set with no order inside.
///
/// By Dilworth's theorem that is the least number of chains that cover all steps, found as the number of steps
/// less a maximum matching in the transitive order (König; augmenting paths).
fn widest(saga: &Saga) -> usize {
    let count = saga.steps.len();
    let mut later = vec![vec![false; count]; count];
    for (step, s) in saga.steps.iter().enumerate() {
        for before in &s.after {
            later[usize::from(*before)][step] = true;
        }
    }
    // Warshall's closure.
    for middle in 0..count {
        let beyond = later[middle].clone();
        for row in later.iter_mut().filter(|row| row[middle]) {
            row.iter_mut().zip(&beyond).for_each(|(known, also)| *known |= also);
        }
    }
    let mut chained: Vec<Option<usize>> = vec![None; count];
    let matched = (0..count).filter(|step| augment(*step, &later, &mut vec![false; count], &mut chained)).count();
    count - matched
}

fn augment(step: usize, later: &[Vec<bool>], seen: &mut [bool], chained: &mut [Option<usize>]) -> bool {
    for next in 0..later.len() {
        if !later[step][next] || seen[next] {
            continue;
        }
        seen[next] = true;
        if chained[next].is_none_or(|other| augment(other, later, seen, chained)) {
            chained[next] = Some(step);
            return true;
        }
    }
    false
}
