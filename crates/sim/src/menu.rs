//! What is ordered in a world: participants, the telecom sagas of the examples, and random sagas without end.
//!
//! A random saga is written as a definition file and goes through `definition::check`, so every plan here is one that
//! a user could apply. Shape `n` is the same saga for ever; shapes are made when somebody first asks, once a process.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;
use definition::{Known, SourceFile, check};
use partition::plans::PlanSlot;
use plan::{Participant, PlanHash, Saga};

use crate::fixed::Rng;

const OWN: &str = include_str!("menu/participants.yaml");
const TELECOM: &str = include_str!("../../../examples/telecom/participants.yaml");
const SAGAS: [&str; 3] = [
    include_str!("../../../examples/telecom/top-up.yaml"),
    include_str!("../../../examples/telecom/tariff-change.yaml"),
    include_str!("../../../examples/telecom/number-port-out.yaml"),
];
/// Random shapes; the telecom sagas stand before them.
pub const SHAPES: usize = 4_096;

/// A plan as a node has it in its tables.
#[derive(Clone, Debug)]
pub struct Dish {
    pub saga: Arc<Saga>,
    pub bytes: Arc<[u8]>,
    pub hash: PlanHash,
    /// The bytes decoded, as every partition of every life has them.
    pub(crate) slot: Arc<PlanSlot>,
    /// Which input it wants.
    pub input: Input,
}

/// What a submission of it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    TopUp,
    TariffChange,
    PortOut,
    Random,
}

/// All participants, in the order of their places.
pub fn participants() -> &'static [Participant] {
    static CHECKED: OnceLock<Vec<Participant>> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let files = [("telecom.yaml", TELECOM), ("own.yaml", OWN)];
        let files = files.map(|(path, text)| SourceFile { path: path.into(), text: text.into() });
        let checked = check(&files, &Known::default());
        assert!(!checked.has_errors(), "{:#?}", checked.diagnostics);
        checked.participants.into_iter().map(|p| p.participant).collect()
    })
}

/// Dish `n`: 0 to 2 are the telecom sagas, the rest are random shapes.
pub fn dish(n: usize) -> &'static Dish {
    static DISHES: OnceLock<Vec<OnceLock<Dish>>> = OnceLock::new();
    let dishes = DISHES.get_or_init(|| (0..SHAPES + SAGAS.len()).map(|_| OnceLock::new()).collect());
    dishes[n % dishes.len()].get_or_init(|| match SAGAS.get(n) {
        Some(text) => make(text, [Input::TopUp, Input::TariffChange, Input::PortOut][n]),
        None => make(&random(n), Input::Random),
    })
}

fn make(text: &str, input: Input) -> Dish {
    let known = participants().iter().map(|p| (p.name.clone(), p.clone())).collect();
    let file = SourceFile { path: "saga.yaml".into(), text: text.to_owned() };
    let checked = check(&[file], &Known { participants: known, complete: true });
    assert!(!checked.has_errors(), "{text}\n{:#?}", checked.diagnostics);
    let saga = checked.sagas.into_iter().next().expect("one saga").plan;
    dressed(saga, input)
}

fn dressed(saga: Saga, input: Input) -> Dish {
    let bytes: Arc<[u8]> = saga.to_bytes().into();
    let hash = Saga::hash_of(&bytes);
    let slot = PlanSlot::decode(hash, Arc::clone(&bytes)).expect("a plan reads what it wrote");
    Dish { hash, bytes, slot: Arc::new(slot), saga: Arc::new(saga), input }
}

/// The same dish under another name and version.
pub fn renamed(dish: &Dish, name: &str, version: u32) -> Dish {
    if dish.saga.name == name && dish.saga.version == version {
        return dish.clone();
    }
    let saga = Saga { name: CompactString::new(name), version, ..(*dish.saga).clone() };
    dressed(saga, dish.input)
}

/// The text of random shape `n`.
pub fn random(n: usize) -> String {
    let mut rng = Rng::named(n as u64, "shape");
    let count = 1 + rng.below(6) as usize;
    let pivot = rng.chance(1, 2).then(|| rng.below(count as u64) as usize);
    let parallel = rng.chance(1, 2);
    let mut out = format!(
        "apiVersion: tidegate/v1\nkind: Saga\nname: shape-{n}\nversion: 1\ndescription: Random.\nowner: team-sim\n\
         input:\n  type: object\n  required: [x, at, amount, account]\n  properties: {{x: {{type: integer}}, \
         at: {{type: string}}, amount: {{type: integer}}, account: {{type: string}}}}\n"
    );
    if rng.chance(1, 2) {
        let _ = writeln!(out, "timeout: {}", rng.pick(&["5s", "30s", "5m", "2h"]));
    }
    if rng.chance(2, 3) {
        out += "key: account/${input.account}\n";
        if rng.chance(1, 2) {
            let _ = writeln!(out, "lock: {}", rng.pick(&["balance", "contract"]));
        }
    }
    let mut steps = String::new();
    let mut kept = None;
    for place in 0..count {
        let mut step = Step { rng: &mut rng, n: place, pivot, parallel, kept };
        let keeps = step.write(&mut steps);
        if keeps {
            kept = Some(place);
        }
    }
    out += "steps:\n";
    out += &steps;
    if let Some(place) = kept {
        let _ = writeln!(out, "output:\n  v: ${{steps.{}.result.id}}", letter(place));
    }
    out
}

struct Step<'r> {
    rng: &'r mut Rng,
    n: usize,
    pivot: Option<usize>,
    parallel: bool,
    kept: Option<usize>,
}

impl Step<'_> {
    /// Appends it. True if it keeps a field that others may read.
    fn write(&mut self, out: &mut String) -> bool {
        let is_pivot = self.pivot == Some(self.n);
        let before = self.pivot.is_none_or(|p| self.n < p);
        let name = letter(self.n);
        let _ = writeln!(out, "  - name: {name}");
        if self.parallel {
            self.after(out);
        }
        if !is_pivot && self.rng.chance(1, 6) {
            self.wait(out, name);
            return false;
        }
        // Those that remember keys, and those that do not.
        let keyed = self.rng.chance(3, 5);
        let participant = if keyed {
            *self.rng.pick(&["payments", "billing", "wallet", "vault", "mnp"])
        } else {
            *self.rng.pick(&["crm", "hlr", "desk", "sms"])
        };
        let methods: &[&str] =
            if is_pivot { &["POST", "POST", "PUT", "DELETE"] } else { &["POST", "POST", "PUT", "GET"] };
        let method = *self.rng.pick(methods);
        let optional = !is_pivot && self.rng.chance(1, 4);
        let key = if participant == "mnp" { ", external_id: \"${call.key}\"" } else { "" };
        let mut body = format!("{{amount: \"${{input.amount}}\"{key}}}");
        if let Some(kept) = self.kept
            && !self.parallel
            && self.rng.chance(1, 2)
        {
            body = format!("{{amount: \"${{input.amount}}\", v: \"${{steps.{}.result.id}}\"{key}}}", letter(kept));
        }
        let bodiless = method == "GET" || (method == "DELETE" && participant != "mnp");
        let body = if bodiless { String::new() } else { format!(", body: {body}") };
        let _ = writeln!(out, "    call: {{participant: {participant}, method: {method}, path: /{name}{body}}}");
        let mut undoable = false;
        if before && method != "GET" {
            let undos: &[&str] =
                if keyed { &["POST", "POST", "PUT", "gone", "none"] } else { &["PUT", "operator", "none"] };
            let undo = *self.rng.pick(undos);
            undoable = undo != "none";
            let call = |method: &str, more: &str| {
                format!(
                    "{{participant: {participant}, method: {method}, path: /undo/{name}, \
                     body: {{what: \"${{steps.{name}.call_key}}\"{key}}}{more}}}"
                )
            };
            let text = match undo {
                "none" => "none".to_owned(),
                "gone" => call("POST", ", answers: [{when: \"${response.status == 404}\", outcome: nothing_to_undo}]"),
                "operator" => call("POST", ", unknown: operator"),
                method => call(method, ""),
            };
            let _ = writeln!(out, "    compensate: {text}");
        }
        if method == "POST" && !keyed {
            let ways: &[&str] = match (before && undoable, optional) {
                (true, true) => &["compensate", "operator", "ignore"],
                (true, false) => &["compensate", "compensate", "operator"],
                (false, true) => &["operator", "ignore"],
                (false, false) => &["operator"],
            };
            let _ = writeln!(out, "    unknown: {}", self.rng.pick(ways));
        }
        if is_pivot {
            out.push_str("    pivot: true\n");
        }
        if optional {
            out.push_str("    optional: true\n");
        }
        let conditional = self.rng.chance(1, 5);
        if conditional {
            let when = if self.rng.chance(1, 8) { "1 / input.x > 0" } else { "input.x > 0" };
            let _ = writeln!(out, "    when: \"${{{when}}}\"");
        }
        if self.rng.chance(1, 6) {
            let _ = writeln!(out, "    timeout: {}", self.rng.pick(&["500ms", "1s", "4s"]));
        }
        let keeps = !self.parallel && !optional && !conditional && self.rng.chance(1, 3);
        if keeps {
            out.push_str("    result: {id: \"${response.body.id}\"}\n");
        }
        keeps
    }

    fn wait(&mut self, out: &mut String, name: char) {
        match self.rng.below(4) {
            0 => {
                let _ = writeln!(out, "    wait: {{signal: go_{name}, timeout: 10s}}");
                out.push_str("    answers: [{when: \"${signal.body.no}\", outcome: refused, reason: said so}]\n");
                if self.rng.chance(1, 3) {
                    out.push_str("    optional: true\n");
                }
            }
            1 => drop(writeln!(out, "    wait: {{signal: go_{name}, timeout: 2h}}")),
            2 => out.push_str("    wait: {for: 3s}\n"),
            _ => out.push_str("    wait: {until: \"${input.at}\"}\n"),
        }
    }

    /// What it waits for, so that the pivot stays a cut.
    fn after(&mut self, out: &mut String) {
        let places: Vec<usize> = match self.pivot {
            Some(pivot) if self.n == pivot => (0..self.n).collect(),
            Some(pivot) if self.n > pivot => {
                let mut places = vec![pivot];
                places.extend((pivot + 1..self.n).filter(|_| self.rng.chance(1, 2)));
                places
            }
            _ => (0..self.n).filter(|_| self.rng.chance(1, 3)).collect(),
        };
        let names: Vec<String> = places.into_iter().map(|p| letter(p).to_string()).collect();
        let _ = writeln!(out, "    after: [{}]", names.join(", "));
    }
}

fn letter(place: usize) -> char {
    char::from(b'a' + place as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_definition_that_a_user_could_apply() {
        for n in 0..SHAPES + SAGAS.len() {
            assert!(!dish(n).saga.steps.is_empty());
        }
    }
}
