//! Every arm by name: ours, its mutants, the oracle, and one of each small part that others have published.

mod fixed;
mod oracle;
mod tidegate;

use crate::arm::{Arm, Balancer, Limiter, Setting, Settings, Throttle};
use crate::client::Client;
use crate::world::ArmSetup;
use crate::{balancers, limiters, throttles};
use fixed::{FewestCalls, Fixed, NoThrottle};
use oracle::Oracle;
use tidegate::{Mutant, Tidegate};

/// What all others are measured by.
pub const ORACLE: &str = "oracle";
/// Ours.
pub const OURS: &str = "tidegate";
/// What calls are compared with: the declared limit, three attempts, exponential backoff with full jitter.
pub const BASE: &str = "static";

/// An arm that can be made for any scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct ArmSpec {
    pub name: String,
    pub settings: Settings,
}

/// What an arm is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Ours,
    Mutant,
    Oracle,
    Limiter,
    Throttle,
    Balancer,
}

/// One line of the list of arms.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    pub name: &'static str,
    pub about: &'static str,
    pub family: Family,
    pub settings: &'static [Setting],
}

const MUTANTS: &[(&str, &str, Mutant)] = &[
    ("mutant-frozen", "ours, with the limit nailed to where it began", Mutant::Frozen),
    ("mutant-max", "ours, with the limit nailed to the maximum", Mutant::AlwaysMax),
    ("mutant-min", "ours, with the limit nailed to one call", Mutant::AlwaysMin),
    ("mutant-still", "ours, without the dither: the limit is never moved to see what happens", Mutant::Still),
    ("mutant-shuffled", "ours, told of each call what happened to one of the first 256", Mutant::Shuffled),
    ("mutant-alone", "ours, with a call for every read, also where answers may be shared", Mutant::Alone),
];

/// All of them, ours first.
pub fn all() -> Vec<Known> {
    let mut all = vec![
        Known { name: OURS, about: "the engine's load manager", family: Family::Ours, settings: &[] },
        Known {
            name: ORACLE,
            about: "knows capacity, knee and quota at every instant",
            family: Family::Oracle,
            settings: &[],
        },
        Known {
            name: BASE,
            about: "the declared initial limit, calls wait, 3 attempts, exponential backoff with full jitter",
            family: Family::Limiter,
            settings: &[],
        },
    ];
    let known = |name, about, family, settings| Known { name, about, family, settings };
    all.extend(limiters::KINDS.iter().map(|k| known(k.name, k.about, Family::Limiter, k.settings)));
    all.extend(throttles::KINDS.iter().map(|k| known(k.name, k.about, Family::Throttle, k.settings)));
    all.extend(balancers::KINDS.iter().map(|k| known(k.name, k.about, Family::Balancer, k.settings)));
    all.extend(MUTANTS.iter().map(|(name, about, _)| known(name, about, Family::Mutant, &[])));
    all
}

/// An arm with its authors' settings.
///
/// # Errors
/// Says which names there are.
pub fn named(name: &str) -> Result<ArmSpec, String> {
    match all().iter().find(|known| known.name == name) {
        Some(known) => Ok(ArmSpec { name: name.into(), settings: Settings::defaults(known.settings) }),
        None => {
            let names: Vec<&str> = all().iter().map(|known| known.name).collect();
            Err(format!("there is no arm \"{name}\"; arms are {}", names.join(", ")))
        }
    }
}

/// Several arms by name, each once; `all`, `published`, `mutants` and `quick` stand for several.
///
/// # Errors
/// Says which names there are.
pub fn chosen(names: &[String]) -> Result<Vec<ArmSpec>, String> {
    let all = all();
    let mut found: Vec<&str> = Vec::new();
    for name in names.iter().map(|n| n.trim()).filter(|n| !n.is_empty()) {
        let more: Vec<&str> = match name {
            "all" => all.iter().map(|k| k.name).collect(),
            "published" => all.iter().filter(|k| k.family != Family::Mutant).map(|k| k.name).collect(),
            "mutants" => all.iter().filter(|k| k.family == Family::Mutant).map(|k| k.name).collect(),
            "quick" => QUICK.to_vec(),
            one => vec![one],
        };
        for name in more {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    if found.is_empty() {
        return Err("no arm is left to run".into());
    }
    found.into_iter().map(named).collect()
}

/// Enough to see whether ours is still itself.
pub const QUICK: &[&str] = &[OURS, ORACLE, BASE, "aimd", "gradient2", "envoy"];

/// No throttle and the fewest calls: what stands beside a limiter alone.
#[cfg(test)]
pub(crate) fn plain() -> (impl Fn() -> Box<dyn Throttle>, impl Fn() -> Box<dyn Balancer>) {
    (|| Box::new(NoThrottle) as Box<dyn Throttle>, || Box::new(FewestCalls::default()) as Box<dyn Balancer>)
}

/// Makes the arm of one node. A throttle or a balancer stands beside the declared limit of [`BASE`].
pub(crate) fn make(spec: &ArmSpec, setup: &ArmSetup) -> Box<dyn Arm> {
    let name = spec.name.as_str();
    if name == OURS {
        return Box::new(Tidegate::new(setup, Mutant::None));
    }
    if name == ORACLE {
        return Box::new(Oracle::new(setup));
    }
    if let Some((_, _, mutant)) = MUTANTS.iter().find(|(n, ..)| *n == name) {
        return Box::new(Tidegate::new(setup, *mutant));
    }
    let declared = |n: usize| Box::new(Fixed(f64::from(setup.participants[n].initial_limit))) as Box<dyn Limiter>;
    let none = || Box::new(NoThrottle) as Box<dyn Throttle>;
    let fewest = || Box::new(FewestCalls::default()) as Box<dyn Balancer>;
    if let Some(kind) = limiters::KINDS.iter().find(|k| k.name == name) {
        let limiter = |n: usize| {
            // Everybody begins where the scenario says, if their algorithm has a beginning.
            let mut settings = spec.settings.clone();
            settings.set("initial", f64::from(setup.participants[n].initial_limit));
            (kind.make)(&settings)
        };
        return Box::new(Client::new(setup, &limiter, &none, &fewest));
    }
    if let Some(kind) = throttles::KINDS.iter().find(|k| k.name == name) {
        return Box::new(Client::new(setup, &declared, &|| (kind.make)(&spec.settings), &fewest));
    }
    if let Some(kind) = balancers::KINDS.iter().find(|k| k.name == name) {
        return Box::new(Client::new(setup, &declared, &none, &|| (kind.make)(&spec.settings)));
    }
    Box::new(Client::new(setup, &declared, &none, &fewest))
}
