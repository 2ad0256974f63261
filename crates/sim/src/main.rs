//! `sim campaign | mutants | replay`: arguments in, one JSON or a few lines out. Exit code 1 on a broken promise,
//! 2 on arguments that mean nothing.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use model::mutant::Mutant;
use sim::campaign::{self, Campaign};
use sim::{mutants, replay};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const HELP: &str = "\
sim campaign --seeds N [--from S] [--jobs J] [--without-checkers] [-o json]
sim mutants [--max-seeds 5000] [--from S] [--jobs J] [--only NAME,NAME] [--promises-only] [-o json]
sim replay SEED [--mutant NAME] [--story TX | --all] [--shrink]
";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    match run(&mut words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            eprintln!("{what}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &mut Vec<String>) -> Result<bool, String> {
    if words.is_empty() {
        return Err("what is to be done?".to_owned());
    }
    let verb = words.remove(0);
    let json = option(words, "-o")?.is_some_and(|format| format == "json");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let result = match verb.as_str() {
        "campaign" => {
            let campaign = Campaign {
                seeds: number(words, "--seeds")?.unwrap_or(1_000),
                from: number(words, "--from")?.unwrap_or(0),
                jobs: number(words, "--jobs")?.map_or(cores, |n| n as usize),
                without_checkers: flag(words, "--without-checkers"),
            };
            no_more(words)?;
            told(campaign, json)
        }
        "mutants" => hunt(words, json, cores)?,
        "replay" => again(words)?,
        other => return Err(format!("there is no {other}")),
    };
    Ok(result)
}

fn told(campaign: Campaign, json: bool) -> bool {
    let outcome = campaign::run(campaign, &|done, of| eprint!("\r{done} of {of} seeds "));
    eprintln!("\r{} of {} seeds ", outcome.seeds, outcome.seeds);
    if json {
        println!("{}", outcome.to_json());
    } else {
        println!(
            "{} seeds, {} violations, {} entries, {:.0} entries/s a core, {:.0} seeds/min, {:.1} s ({:.1} s of processor)",
            outcome.seeds,
            outcome.violations,
            outcome.entries,
            outcome.entries_per_s(),
            outcome.seeds_per_minute(),
            outcome.seconds,
            outcome.cpu_seconds
        );
        println!("{:?}", outcome.by_checker);
        for failure in &outcome.first_failures {
            println!("seed {}: {}: {}", failure.seed, failure.checker, failure.violation);
        }
    }
    outcome.violations == 0
}

fn hunt(words: &mut Vec<String>, json: bool, cores: usize) -> Result<bool, String> {
    let most = number(words, "--max-seeds")?.unwrap_or(5_000);
    let from = number(words, "--from")?.unwrap_or(1);
    let jobs = number(words, "--jobs")?.map_or(cores, |n| n as usize);
    let run = if flag(words, "--promises-only") { mutants::run_seed_by_promises } else { mutants::run_seed };
    let planted = match option(words, "--only")? {
        None => Mutant::ALL.to_vec(),
        Some(names) => names.split(',').map(mutant_named).collect::<Result<_, _>>()?,
    };
    no_more(words)?;
    // A planted bug that panics is found by that; nobody wants to read thousands of backtraces.
    std::panic::set_hook(Box::new(|_| {}));
    let table = mutants::campaign(&planted, from, most, jobs, &run, &|row| {
        let by = row.found.as_ref().map_or("nobody", |found| found.checker);
        eprintln!("{}: {} seeds, found by {by}", row.mutant.name(), row.seeds);
    });
    let survivors: Vec<&str> = table.rows.iter().filter(|r| r.found.is_none()).map(|r| r.mutant.name()).collect();
    if json {
        let rows: Vec<serde_json::Value> = table
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "name": row.mutant.name(),
                    "hazard": row.mutant.hazard(),
                    "rule": row.found.as_ref().map(|found| found.violation.rule),
                    "found_by": row.found.as_ref().map(|found| found.checker),
                    "seed": row.found.as_ref().map(|found| found.seed),
                    "seeds": row.seeds,
                    "reached": row.reached,
                })
            })
            .collect();
        let told = serde_json::json!({
            "planted": table.rows.len(),
            "found": table.found(),
            "survivors": survivors,
            "median_seeds": table.median_seeds(),
            "max_seeds": table.max_seeds(),
            "mutants": rows,
        });
        println!("{told}");
    } else {
        print!("{}", table.markdown(None));
        println!("{} of {} found, survivors: {survivors:?}", table.found(), table.rows.len());
    }
    Ok(survivors.is_empty())
}

fn mutant_named(name: &str) -> Result<Mutant, String> {
    Mutant::by_name(name).ok_or_else(|| format!("there is no mutant {name}"))
}

fn again(words: &mut Vec<String>) -> Result<bool, String> {
    let shrinks = flag(words, "--shrink");
    let all = flag(words, "--all");
    let mutant = match option(words, "--mutant")? {
        None => None,
        Some(name) => Some(mutant_named(&name)?),
    };
    let about = match option(words, "--story")? {
        None if all => replay::Told::All,
        None => replay::Told::Concerned,
        Some(text) => replay::Told::Only(text.parse().map_err(|e| format!("{text}: {e}"))?),
    };
    if words.len() != 1 {
        return Err("replay takes one seed".to_owned());
    }
    let seed = words[0].parse().map_err(|_| format!("{} is no seed", words[0]))?;
    let _planted = mutant.map(model::mutant::plant);
    let told = replay::replay(seed, about, shrinks);
    println!("seed {seed}: digest {:016x}, {} entries, {} submissions", told.digest, told.entries, told.submissions);
    println!("features: {}", told.features.join(", "));
    println!("faults: {:?}", told.faults);
    if about != replay::Told::Concerned || told.broken.is_some() {
        for line in &told.story {
            println!("{line}");
        }
    }
    match &told.broken {
        Some((checker, violation)) => println!("BROKEN, found by {checker}: {violation}"),
        None => println!("nothing is broken"),
    }
    Ok(told.broken.is_none())
}

fn flag(words: &mut Vec<String>, name: &str) -> bool {
    let place = words.iter().position(|word| word == name);
    place.map(|place| words.remove(place)).is_some()
}

fn option(words: &mut Vec<String>, name: &str) -> Result<Option<String>, String> {
    let Some(place) = words.iter().position(|word| word == name) else { return Ok(None) };
    if place + 1 == words.len() {
        return Err(format!("{name} wants a value"));
    }
    words.remove(place);
    Ok(Some(words.remove(place)))
}

fn number(words: &mut Vec<String>, name: &str) -> Result<Option<u64>, String> {
    match option(words, name)? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| format!("{name} wants a number, not {text}")),
    }
}

fn no_more(words: &[String]) -> Result<(), String> {
    match words.first() {
        None => Ok(()),
        Some(word) => Err(format!("what is {word}?")),
    }
}
