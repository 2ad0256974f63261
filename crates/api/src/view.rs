//! A transaction as clients see it: the shape of LANGUAGE's tenth answer, written by hand into bytes.
//!
//! [`render`] is the `Renderer` component: it runs on the transaction's own worker, inside the path that answers a
//! client, so it allocates once and builds no tree. What the words mean is in `state`; nothing here decides anything.

mod state;

use model::Direction;
use partition::TxOutcome;
use partition::branch::{Branch, Status};
use partition::transaction::{Attempt, Attention, ENDPOINT_UNKNOWN};
use plan::Action;
use runtime::View;
use runtime::view::Detail;

use crate::json::{Object, write_ms, write_u64};

/// Renders a transaction as one JSON object without white space.
///
/// `Summary` is a line of a list, `Answer` adds the output, `Full` adds the input (masked), steps, attempts and
/// what people did. A member never disappears: what is not known yet is null.
pub fn render(view: &View<'_>) -> Vec<u8> {
    let View { tx, plan, detail, .. } = *view;
    let mut out = Vec::with_capacity(if detail == Detail::Full { 4_096 } else { 768 });
    let mut o = Object::begin(&mut out);
    o.id("id", tx.id);
    o.text("definition", &plan.name).number("version", u64::from(plan.version));
    o.maybe_text("key", tx.key.as_deref()).text("idempotency_key", &tx.idempotency_key);

    let waits_for = state::waits_for(tx, plan);
    o.word("state", state::of(tx, waits_for.is_some()));
    let (outcome, reason) = match tx.outcome {
        None => (None, None),
        Some(TxOutcome::Completed) => (Some("completed"), None),
        Some(TxOutcome::Aborted(reason)) => (Some("aborted"), Some(reason.as_str())),
    };
    o.maybe_word("outcome", outcome).maybe_word("reason", reason);
    cause(view, &mut o);
    match waits_for {
        None => drop(o.null("waits_for")),
        Some(waits) => {
            let mut w = Object::begin(o.name("waits_for"));
            w.word("kind", waits.kind).text("name", waits.name).time("since", waits.since).end();
        }
    }
    match &tx.attention {
        None => drop(o.null("attention")),
        Some(asked) => attention(asked, view, o.name("attention")),
    }
    o.time("began_at", tx.began_at).time("decided_at", tx.decided_at).time("ended_at", tx.ended_at);
    if detail != Detail::Summary {
        match &tx.output {
            None => drop(o.null("output")),
            Some(output) => drop(o.value("output", output)),
        }
    }
    let given_up = tx.steps.iter().zip(&plan.steps).filter(|(step, _)| step.status == Status::GivenUp);
    o.list("uncompensated", given_up, |(_, step), out| model::json::write_text(&step.name, out));
    if detail == Detail::Full {
        full(view, &mut o);
    }
    o.end();
    out
}

/// What decided against the transaction: null while nothing did.
fn cause(view: &View<'_>, o: &mut Object<'_>) {
    let cause = &view.tx.cause;
    if cause.step.is_none() && cause.detail.is_empty() {
        o.null("cause");
        return;
    }
    let step = cause.step.and_then(|place| view.plan.steps.get(usize::from(place)));
    let mut c = Object::begin(o.name("cause"));
    c.maybe_text("step", step.map(|s| s.name.as_str()));
    c.maybe_text("participant", step.and_then(plan::saga::Step::call).map(|call| call.participant.as_str()));
    c.text("detail", &cause.detail).end();
}

fn attention(asked: &Attention, view: &View<'_>, out: &mut Vec<u8>) {
    let place = asked.step.map(usize::from);
    let name = place.and_then(|place| view.plan.steps.get(place)).map(|step| step.name.as_str());
    let branch = place.and_then(|place| view.tx.steps.get(place));
    let next_at = branch.map_or(model::Timestamp::NEVER, |step| step.branch.wakes_at());
    let mut a = Object::begin(out);
    a.word("cause", asked.cause.as_str()).maybe_text("step", name).word("direction", asked.direction.as_str());
    a.flag("still_trying", branch.is_some_and(|step| step.still_trying)).time("next_at", next_at);
    a.text("detail", &asked.detail).time("since", asked.since).end();
}

/// What only the full view shows.
fn full(view: &View<'_>, o: &mut Object<'_>) {
    let View { tx, plan, .. } = *view;
    o.time("deadline", tx.deadline);
    o.word("priority", PRIORITIES[usize::from(tx.priority).min(PRIORITIES.len() - 1)]);
    o.maybe_text("lock", plan.lock.as_deref());
    o.flag("cancel_wish", tx.cancel_wish);
    o.value("input", &plan.input.mask(&tx.input));
    o.list("steps", 0..plan.steps.len(), |place, out| step(view, place, out));
    o.number("attempts_not_kept", u64::from(tx.attempts_dropped));
    o.list("signals", &tx.signals, |signal, out| model::json::write_text(&signal.name, out));
    o.list("acts", &tx.acts, |act, out| {
        Object::begin(out).time("at", act.at).text("verb", &act.verb).text("who", &act.who).text("why", &act.why).end();
    });
}

/// The words for `Submission::priority`, lowest first.
pub(crate) const PRIORITIES: [&str; 3] = ["low", "normal", "high"];

fn step(view: &View<'_>, place: usize, out: &mut Vec<u8>) {
    let View { tx, plan, .. } = *view;
    let declared = &plan.steps[place];
    let mut o = Object::begin(out);
    o.text("name", &declared.name);
    // A transaction has as many steps as its plan; a shorter one is a defect that must not take the view with it.
    let Some(step) = tx.steps.get(place) else {
        o.word("state", "pending").end();
        return;
    };
    o.word("state", step_state(step.status, step.branch));
    match &declared.action {
        Action::Call(call) => {
            o.text("participant", &call.participant);
            let key = o.name("call_key");
            key.push(b'"');
            key.extend_from_slice(&tx.id.text());
            key.push(b'-');
            write_u64(place as u64, key);
            key.push(b'c');
            write_u64(u64::from(step.round), key);
            key.push(b'"');
        }
        Action::Wait(_) => drop(o.null("participant").null("call_key")),
    }
    o.flag("optional", declared.optional);
    o.flag("may_have_executed", step.may_have_executed).flag("by_hand", step.by_hand);
    match &step.result {
        None => drop(o.null("result")),
        Some(result) => drop(o.value("result", result)),
    }
    o.list("attempts", tx.attempts.iter().filter(|a| usize::from(a.step) == place), attempt).end();
}

fn attempt(attempt: &Attempt, out: &mut Vec<u8>) {
    let mut o = Object::begin(out);
    o.number("n", u64::from(attempt.n)).word("direction", attempt.direction.as_str());
    let endpoint = (attempt.endpoint != ENDPOINT_UNKNOWN).then_some(u64::from(attempt.endpoint));
    o.maybe_number("endpoint", endpoint).time("started_at", attempt.started_at);
    write_ms(u64::from(attempt.took_us), o.name("took_ms"));
    o.word("outcome", attempt.outcome.as_str());
    o.maybe_number("status", (attempt.status != 0).then_some(u64::from(attempt.status)));
    o.flag("counted", attempt.counted).text("detail", &attempt.detail);
    match attempt.shared.as_deref() {
        None => drop(o.null("answered_by")),
        Some(shared) => {
            let mut by = Object::begin(o.name("answered_by"));
            by.word("way", shared.way.as_str()).id("transaction", shared.tx).number("step", u64::from(shared.step));
            by.number("attempt", u64::from(shared.attempt));
            write_ms(shared.age_us, by.name("age_ms"));
            by.end();
        }
    }
    o.end();
}

/// The word of a step.
fn step_state(status: Status, branch: Branch) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Active if matches!(branch, Branch::Outstanding { .. }) => "calling",
        Status::Active => "waiting",
        Status::Done => "done",
        Status::Refused => "refused",
        Status::Failed => "failed",
        Status::Unknown => "unknown",
        Status::Skipped => "skipped",
        Status::Undoing => "compensating",
        Status::Compensated => "compensated",
        Status::GivenUp => "given_up",
    }
}

/// The direction of a step's present branch.
fn direction_of(status: Status) -> Direction {
    if status == Status::Undoing { Direction::Compensate } else { Direction::Call }
}

#[cfg(test)]
mod tests;
