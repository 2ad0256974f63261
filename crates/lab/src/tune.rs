//! Settings for every arm by the same random search, on training scenarios only.
//!
//! What was found is frozen in `tuned.toml` and used where a run asks for tuned arms; nothing is searched then.
//! An arm's `initial` limit is no setting here: the scenario says where everybody begins.

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use crate::arm::Setting;
use crate::arms::{self, ArmSpec};
use crate::dice::Dice;
use crate::scenario::Scenario;
use crate::suite;

const FROZEN: &str = include_str!("../tuned.toml");

/// What each arm may spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Settings tried, the authors' own among them.
    pub tries: u32,
    /// Days for each try in each scenario.
    pub seeds: u64,
    pub threads: usize,
}

/// The best settings that the budget found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Found {
    pub arm: String,
    /// The mean logarithm of goodput over the oracle's: 0 is the oracle.
    pub by_default: f64,
    pub tuned: f64,
    pub settings: Vec<(String, f64)>,
}

/// Goodput below this share of the oracle's counts as this: one collapse must not be all that a search sees.
const FLOOR: f64 = 0.02;

fn searched(name: &str) -> Vec<Setting> {
    let known = arms::all().into_iter().find(|k| k.name == name);
    known.map_or_else(Vec::new, |k| k.settings.iter().copied().filter(|s| s.name != "initial").collect())
}

/// Searches for one arm; `None` if it has nothing to set.
pub fn search(spec: &ArmSpec, training: &[Scenario], budget: &Budget) -> Option<Found> {
    let settings = searched(&spec.name);
    if settings.is_empty() {
        return None;
    }
    // Far from the seeds of any evaluation.
    let seeds: Vec<u64> = (0..budget.seeds).map(|n| 900_000 + n).collect();
    let tried: Vec<ArmSpec> = (0..budget.tries.max(1))
        .map(|n| {
            let mut dice = Dice::named(77, [u64::from(n), 0, 0]);
            let mut one = spec.clone();
            for setting in settings.iter().filter(|_| n > 0) {
                one.settings.set(setting.name, draw(setting, &mut dice));
            }
            one
        })
        .collect();
    let runs = suite::run(training, &tried, &seeds, budget.threads, &|_, _| {});
    let worth = |n: usize| -> f64 {
        let scores = runs.iter().flat_map(|scenario| &scenario.arms[n].scores);
        let logs: Vec<f64> = scores.map(|s| s.figures.goodput_over_oracle.max(FLOOR).ln()).collect();
        logs.iter().sum::<f64>() / logs.len().max(1) as f64
    };
    // The first of equals, so that the authors' settings win a tie.
    let best = (0..tried.len()).rev().max_by(|a, b| worth(*a).total_cmp(&worth(*b)))?;
    let chosen = &tried[best].settings;
    Some(Found {
        arm: spec.name.clone(),
        by_default: worth(0),
        tuned: worth(best),
        settings: settings.iter().map(|s| (s.name.to_owned(), chosen.get(s.name))).collect(),
    })
}

fn draw(setting: &Setting, dice: &mut Dice) -> f64 {
    if setting.is_log && setting.low > 0.0 {
        (setting.low.ln() + dice.unit() * (setting.high / setting.low).ln()).exp()
    } else {
        setting.low + dice.unit() * (setting.high - setting.low)
    }
}

/// As `tuned.toml` keeps it.
pub fn to_toml(found: &[Found]) -> String {
    let mut text =
        String::from("# Found by `tidegate lab tune` on the training scenarios; the same budget for every arm.\n");
    for one in found {
        text.push_str(&format!(
            "\n# {:.4} by the authors' settings, {:.4} tuned\n[{}]\n",
            one.by_default, one.tuned, one.arm
        ));
        for (name, value) in &one.settings {
            text.push_str(&format!("{name} = {value:.6}\n"));
        }
    }
    text
}

/// The arm with what was found for it, if anything was.
pub fn tuned(mut spec: ArmSpec) -> ArmSpec {
    let Ok(file) = DeTable::parse(FROZEN) else { return spec };
    let Some(DeValue::Table(own)) = file.get_ref().get(spec.name.as_str()).map(|v| v.get_ref()) else { return spec };
    for (name, value) in own {
        if let DeValue::Float(value) = value.get_ref()
            && let Ok(value) = value.as_str().parse()
        {
            spec.settings.set(name.get_ref(), value);
        }
    }
    spec
}

/// Whether a frozen setting is one of the arm's: a test holds the file.
#[cfg(test)]
fn is_setting(of: &crate::arm::Settings, name: &str) -> bool {
    of.0.iter().any(|(n, _)| *n == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_fits_the_arms() {
        let file = DeTable::parse(FROZEN).unwrap_or_else(|e| panic!("{e}"));
        for (arm, table) in file.get_ref() {
            let spec = arms::named(arm.get_ref()).unwrap_or_else(|e| panic!("{e}"));
            let DeValue::Table(table) = table.get_ref() else { panic!("{} is no table", arm.get_ref()) };
            for (name, _) in table {
                assert!(is_setting(&spec.settings, name.get_ref()), "{} has no {}", arm.get_ref(), name.get_ref());
            }
        }
    }
}
