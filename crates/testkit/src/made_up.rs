//! Answers for calls that nobody scripted: bodies that have the fields a plan keeps, and let it go on.
//!
//! Which kind of value a field must be stands nowhere in a definition; how it is used does. So the kinds are tried:
//! field by field, the one under which most steps are done is kept. The same plan and input give the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Direction, Map, StepIndex, Value};
use partition::transaction::TxOutcome;
use plan::{Expr, Participant, Saga, Var};

use crate::script::{Answer, Comes, Script, What};
use crate::world::{STARTS_AT, Setting, run};
use partition::branch::Status;

/// A field of an answer, from the body inwards.
type Path = Vec<String>;

/// Fields that are looked at; a plan that keeps more gets text for the rest.
const FIELDS_MAX: usize = 40;
/// Fields that are tried two at a time as well.
const PAIRED_MAX: usize = 6;

/// Bodies under which the way forward works, by step: of answers, and of signals.
pub fn bodies(
    plan: &Saga,
    participants: &[Participant],
    input: &Value,
    script: &Script,
    signals_come: bool,
) -> BTreeMap<StepIndex, Value> {
    let mut fields: Vec<(StepIndex, Path)> = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        let place = place as StepIndex;
        let mut paths = BTreeSet::new();
        for (_, expr) in &step.result {
            collect(expr, &mut paths);
        }
        // Every good answer of the script has its own body: nothing is to be made up.
        let scripted = script.answers.get(&(place, Direction::Call)).map(|list| list.iter().filter(|a| is_good(a)));
        if scripted.is_some_and(|mut good| good.clone().next().is_some() && good.all(has_body)) {
            continue;
        }
        if step.call().is_none() {
            let told = |what: &What| matches!(what, What::Signal { name, .. } if is_signal(step, name));
            if !signals_come || script.events.iter().any(|event| told(&event.what)) {
                continue;
            }
        }
        fields.extend(paths.into_iter().map(|path| (place, path)));
    }
    fields.truncate(FIELDS_MAX);
    let script = happy(script);
    let now = script.starts_at.unwrap_or(STARTS_AT);
    let mut choice: Vec<usize> = vec![0; fields.len()];
    let candidates: Vec<Vec<Value>> = fields
        .iter()
        .map(|(_, path)| candidates(path.last().map_or("value", String::as_str), &now.after(HOUR).to_string()))
        .collect();
    let built = |choice: &[usize]| build(&fields, &candidates, choice);
    let score = |choice: &[usize]| {
        let made_up = built(choice);
        let setting = Setting { plan, participants, input, made_up: &made_up, signals_come };
        run(setting, &script).map_or(-1, |run| {
            let value = |status| match status {
                Status::Done => 2,
                Status::Skipped => 1,
                _ => 0,
            };
            let done: i64 = run.tx.steps.iter().map(|step| value(step.status)).sum();
            let completed = run.tx.outcome == Some(TxOutcome::Completed) && run.tx.cause.detail.is_empty();
            done + i64::from(completed) * 1_000 - i64::from(run.tx.attention.is_some())
        })
    };
    // The first choice is nearly always good.
    let all_done = 1_000 + 2 * plan.steps.len() as i64;
    if score(&choice) == all_done {
        return built(&choice);
    }
    let mut search = Search { best: score(&choice), choice: &mut choice, candidates: &candidates, score: &score };
    search.one_by_one();
    if fields.len() <= PAIRED_MAX && search.best < all_done {
        search.two_by_two(all_done);
        search.one_by_one();
    }
    built(&choice)
}

/// Climbing from choice to choice: a place in `candidates` for each field.
struct Search<'s> {
    best: i64,
    choice: &'s mut Vec<usize>,
    candidates: &'s [Vec<Value>],
    score: &'s dyn Fn(&[usize]) -> i64,
}

impl Search<'_> {
    /// Keeps the change if it is better.
    fn weigh(&mut self, changes: &[(usize, usize)]) {
        let was = self.choice.clone();
        for (field, candidate) in changes {
            self.choice[*field] = *candidate;
        }
        let score = (self.score)(self.choice);
        if score > self.best {
            self.best = score;
        } else {
            *self.choice = was;
        }
    }

    fn one_by_one(&mut self) {
        for field in (0..self.choice.len()).cycle().take(2 * self.choice.len()) {
            for candidate in 0..self.candidates[field].len() {
                if self.choice[field] != candidate {
                    self.weigh(&[(field, candidate)]);
                }
            }
        }
    }

    /// For what is read together: `a > 0 && b`.
    fn two_by_two(&mut self, enough: i64) {
        for first in 0..self.choice.len() {
            for second in first + 1..self.choice.len() {
                for one in 0..self.candidates[first].len() {
                    for other in 0..self.candidates[second].len() {
                        if self.best < enough {
                            self.weigh(&[(first, one), (second, other)]);
                        }
                    }
                }
            }
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn is_signal(step: &plan::Step, name: &str) -> bool {
    matches!(&step.action, plan::Action::Wait(plan::Wait::Signal { name: awaited, .. }) if awaited == name)
}

fn is_good(answer: &Answer) -> bool {
    match &answer.comes {
        Comes::Status { status, .. } => (200..300).contains(status),
        Comes::Done => true,
        _ => false,
    }
}

fn has_body(answer: &Answer) -> bool {
    matches!(&answer.comes, Comes::Status { body: Some(_), .. })
}

/// The script without what goes wrong in it.
fn happy(script: &Script) -> Script {
    let mut answers = script.answers.clone();
    answers.retain(|_, list| {
        list.retain(is_good);
        !list.is_empty()
    });
    let mut events = script.events.clone();
    events.retain(|event| matches!(event.what, What::Signal { .. }));
    Script { answers, events, until: None, starts_at: script.starts_at }
}

/// The fields of the answer, or of the signal, that an expression reads.
fn collect(expr: &Expr, paths: &mut BTreeSet<Path>) {
    if let Some(path) = path_of(expr) {
        if !path.is_empty() {
            paths.insert(path);
        }
        return;
    }
    match expr {
        Expr::Const(_) | Expr::Var(_) => {}
        Expr::Select(of, _) | Expr::Has(of, _) | Expr::Unary(_, of) | Expr::Matches(of, _) => collect(of, paths),
        Expr::Index(of, with) | Expr::Binary(_, of, with) | Expr::Macro(_, of, with) => {
            collect(of, paths);
            collect(with, paths);
        }
        Expr::Ternary(a, b, c) => [a, b, c].into_iter().for_each(|e| collect(e, paths)),
        Expr::List(items) | Expr::Call(_, items) => items.iter().for_each(|e| collect(e, paths)),
        Expr::Map(members) => members.iter().for_each(|(name, value)| {
            collect(name, paths);
            collect(value, paths);
        }),
    }
}

fn path_of(expr: &Expr) -> Option<Path> {
    match expr {
        Expr::Var(Var::ResponseBody | Var::SignalBody) => Some(Vec::new()),
        Expr::Select(of, field) => {
            let mut path = path_of(of)?;
            path.push(field.to_string());
            Some(path)
        }
        Expr::Index(of, with) => match &**with {
            Expr::Const(Value::Text(field)) => {
                let mut path = path_of(of)?;
                path.push(field.to_string());
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a field of that name may be, the likeliest first.
fn candidates(name: &str, in_an_hour: &str) -> Vec<Value> {
    let text = Value::text(format!("{}-1", name.replace('_', "-")));
    let time = Value::text(in_an_hour);
    let mut all = vec![text, Value::int(1_000), Value::int(0), Value::Bool(true), time];
    let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
    let first = if ends(&["_minor", "_cents", "amount", "count", "total", "balance", "fee", "price", "quantity"]) {
        1
    } else if ends(&["_at", "_time", "_until", "expires"]) {
        4
    } else {
        0
    };
    all.swap(0, first);
    all
}

fn build(fields: &[(StepIndex, Path)], candidates: &[Vec<Value>], choice: &[usize]) -> BTreeMap<StepIndex, Value> {
    let mut bodies = BTreeMap::new();
    for ((step, path), (values, choice)) in fields.iter().zip(candidates.iter().zip(choice)) {
        let body = bodies.entry(*step).or_insert_with(|| Value::Map(Map::new()));
        put(body, path, values[*choice].clone());
    }
    bodies
}

fn put(into: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *into = value;
        return;
    };
    let Value::Map(map) = into else {
        // A field that is read as text and looked into as well: what is inside it wins.
        *into = Value::Map(Map::new());
        return put(into, path, value);
    };
    let mut member = map.get(first).cloned().unwrap_or_default();
    put(&mut member, rest, value);
    map.insert(first.as_str(), member);
}

#[cfg(test)]
mod tests {
    use definition::{Known, SourceFile, check};

    use super::*;

    /// Names that tell nothing: only how they are used does.
    const PLAIN: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: plain
version: 1
input: {type: object}
steps:
  - name: look
    call: {participant: crm, method: GET, path: /a}
    result: {n: "${response.body.n}", ok: "${response.body.deep.ok}", b: "${response.body.b}"}
  - name: act
    when: ${steps.look.result.n * 2 > 6 && steps.look.result.ok}
    call: {participant: crm, method: PUT, path: "/b/${steps.look.result.b}"}
    compensate: none
  - name: later
    wait: {until: "${steps.look.result.b}"}
"#;

    #[test]
    fn the_kinds_that_let_it_go_on_are_found() {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let files = [
            file("participants.yaml", include_str!("../../../examples/telecom/participants.yaml")),
            file("port-out.yaml", include_str!("../../../examples/telecom/number-port-out.yaml")),
            file("tariff-change.yaml", include_str!("../../../examples/telecom/tariff-change.yaml")),
            file("plain.yaml", PLAIN),
        ];
        let checked = check(&files, &Known::default());
        let participants: Vec<Participant> = checked.participants.into_iter().map(|p| p.participant).collect();
        let made_up = |name: &str, input: &str| {
            let plan = &checked.sagas.iter().find(|saga| saga.plan.name == name).expect("a definition").plan;
            let input = model::json::parse(input.as_bytes()).expect("JSON");
            let bodies = bodies(plan, &participants, &input, &Script::default(), true);
            bodies
                .iter()
                .map(|(step, body)| format!("{} {body}", plan.steps[usize::from(*step)].name))
                .collect::<Vec<_>>()
        };
        // A time, since a later step waits until it; a number, since it is compared with one.
        assert_eq!(
            made_up("number-port-out", r#"{"msisdn":"491701234567","port_request_id":"P","recipient":"DEU01"}"#),
            [r#"contract {"id":"id-1"}"#, r#"window {"port_at":"2026-01-01T01:00:00.000Z"}"#]
        );
        assert_eq!(
            made_up("tariff-change", r#"{"msisdn":"491701234567","tariff":"FLEX_20"}"#),
            [r#"contract {"change_fee_minor":1000,"tariff":"tariff-1"}"#, r#"fee {"id":"id-1"}"#]
        );
        assert_eq!(made_up("plain", "{}"), [r#"look {"b":"2026-01-01T01:00:00.000Z","deep":{"ok":true},"n":1000}"#]);
    }
}
