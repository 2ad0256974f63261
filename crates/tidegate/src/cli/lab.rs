//! `lab`: the load manager and its rivals against systems whose true capacity is known.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use lab::arms::{self, Family};
use lab::report::Report;
use lab::scenario::{Scenario, Set};
use lab::{library, page, suite, tune};
use serde_json::json;

use super::show::{note, say};
use super::{Ended, Exit, Failed, Global, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Lab {
    /// Run scenarios × arms × seeds and say who did best, and where we lose
    Run(RunArgs),
    /// Show the scenarios and the arms
    List,
    /// Search settings for an arm on the training scenarios, each arm with the same budget
    Tune(TuneArgs),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Names of scenarios, or files ending in .toml; all of our own if absent
    scenarios: Vec<String>,
    /// Names of arms, by comma; "all", "mutants", "published" and "quick" stand for several
    #[arg(long, value_delimiter = ',', default_value = "published")]
    arms: Vec<String>,
    /// How many days each arm is given; the same for all
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// The first of the seeds
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Take every scenario file of this folder as well
    #[arg(long, value_name = "DIR")]
    scenario_dir: Vec<PathBuf>,
    /// Make a scenario of this series of arrivals or capacity as well
    #[arg(long, value_name = "FILE")]
    series: Vec<PathBuf>,
    /// Only scenarios that tuning may see, or only the others
    #[arg(long, value_enum)]
    set: Option<OfSet>,
    /// Use settings found by tuning instead of the authors' own
    #[arg(long)]
    tuned: bool,
    /// All cores if absent
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum OfSet {
    Training,
    HeldOut,
}

#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Names of arms, by comma; each gets the same budget
    #[arg(long, value_delimiter = ',', default_value = "published")]
    arms: Vec<String>,
    /// How many settings each arm may try
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tries: u32,
    /// How many days each try is given
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// All cores if absent
    #[arg(long)]
    threads: Option<usize>,
}

pub(super) fn lab(what: &Lab, global: &Global) -> Ended {
    match what {
        Lab::Run(args) => run(args, global.output),
        Lab::List => list(global),
        Lab::Tune(args) => search(args, global),
    }
}

fn wrong(lines: &[String]) -> Failed {
    Failed::new(Exit::Refused, lines.join("\n       "))
}

fn cores(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).clamp(1, 1_024)
}

/// What is to be run: names, files, folders and series, in the order given.
fn chosen(args: &RunArgs) -> Result<Vec<Scenario>, Failed> {
    let own = library::own().map_err(|all| wrong(&all))?;
    let mut found = Vec::new();
    for name in &args.scenarios {
        if name.ends_with(".toml") {
            found.push(library::file(Path::new(name)).map_err(|all| wrong(&all))?);
            continue;
        }
        match own.iter().find(|s| s.name == *name) {
            Some(scenario) => found.push(scenario.clone()),
            None => {
                let names: Vec<&str> = own.iter().map(|s| s.name.as_str()).collect();
                return Err(Failed::usage(format!("there is no scenario \"{name}\"; ours are {}", names.join(", "))));
            }
        }
    }
    for dir in &args.scenario_dir {
        found.extend(library::folder(dir).map_err(|all| wrong(&all))?);
    }
    for file in &args.series {
        found.push(library::of_series(file).map_err(|all| wrong(&all))?);
    }
    if args.scenarios.is_empty() && args.scenario_dir.is_empty() && args.series.is_empty() {
        found = own;
    }
    found.retain(|s| match args.set {
        None => true,
        Some(OfSet::Training) => s.set == Set::Training,
        Some(OfSet::HeldOut) => s.set == Set::HeldOut,
    });
    if found.is_empty() {
        return Err(Failed::usage("no scenario is left to run"));
    }
    Ok(found)
}

fn run(args: &RunArgs, output: Output) -> Ended {
    let scenarios = chosen(args)?;
    let mut specs = arms::chosen(&args.arms).map_err(Failed::usage)?;
    if args.tuned {
        specs = specs.into_iter().map(tune::tuned).collect();
    }
    let seeds: Vec<u64> = (0..args.seeds).map(|n| args.first_seed.wrapping_add(n)).collect();
    let days = scenarios.len() * seeds.len();
    note(&format!(
        "{} scenarios, {} arms, {} seeds: {} runs",
        scenarios.len(),
        specs.len(),
        seeds.len(),
        days * specs.len()
    ));
    let step = days.div_ceil(10).max(1);
    let progress = |done: usize, all: usize| {
        if done.is_multiple_of(step) && done < all {
            note(&format!("{} %", done * 100 / all));
        }
    };
    let runs = suite::run(&scenarios, &specs, &seeds, cores(args.threads), &progress);
    let report = Report::of(&runs);
    match output {
        Output::Json => say(&serde_json::to_string_pretty(&report.to_json()).unwrap_or_default()),
        Output::Html => say(page::html(&report).trim_end()),
        Output::Table => say(report.to_text().trim_end()),
    }
    Ok(Exit::Done)
}

fn list(global: &Global) -> Ended {
    let own = library::own().map_err(|all| wrong(&all))?;
    let set = |s: &Scenario| if s.set == Set::Training { "training" } else { "held-out" };
    if global.is_json() {
        let scenarios: Vec<_> = own.iter().map(|s| json!({"name": s.name, "about": s.about, "set": set(s)})).collect();
        let arms: Vec<_> = arms::all().iter().map(|a| json!({"name": a.name, "about": a.about})).collect();
        say(&serde_json::to_string_pretty(&json!({"scenarios": scenarios, "arms": arms})).unwrap_or_default());
        return Ok(Exit::Done);
    }
    for scenario in &own {
        say(&format!("{:24}{:10}{}", scenario.name, set(scenario), scenario.about));
    }
    say("");
    for arm in arms::all() {
        let family = match arm.family {
            Family::Ours => "ours",
            Family::Mutant => "mutant",
            Family::Oracle => "oracle",
            Family::Limiter => "limiter",
            Family::Throttle => "throttle",
            Family::Balancer => "balancer",
        };
        say(&format!("{:24}{family:10}{}", arm.name, arm.about));
    }
    Ok(Exit::Done)
}

fn search(args: &TuneArgs, global: &Global) -> Ended {
    let own = library::own().map_err(|all| wrong(&all))?;
    let training: Vec<Scenario> = own.into_iter().filter(|s| s.set == Set::Training).collect();
    let specs = arms::chosen(&args.arms).map_err(Failed::usage)?;
    let budget = tune::Budget { tries: args.tries, seeds: args.seeds, threads: cores(args.threads) };
    let mut found = Vec::new();
    for spec in specs {
        if let Some(best) = tune::search(&spec, &training, &budget) {
            note(&format!("{}: {:.4} by the authors' settings, {:.4} tuned", best.arm, best.by_default, best.tuned));
            found.push(best);
        }
    }
    if global.is_json() {
        say(&serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        say(tune::to_toml(&found).trim_end());
    }
    Ok(Exit::Done)
}
