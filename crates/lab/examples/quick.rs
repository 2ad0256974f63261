//! The laboratory without the rest of the product, for work on `load`: builds in a fraction of the time.
//!
//! `cargo run --release -p lab --example quick -- [--seeds N] [--first-seed N] [--arms a,b] [--tuned] [--html FILE] [--json FILE] [--tune TRIES] [FILE.toml…]`

use std::path::Path;

use lab::scenario::{Scenario, Set};
use lab::{arms, library, page, report::Report, suite, tune};

fn main() -> Result<(), String> {
    let (mut seeds, mut first, mut names) = (2u64, 1u64, "quick".to_owned());
    let (mut html, mut json, mut tries, mut is_tuned, mut files) = (None, None, None, false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--seeds" => seeds = value()?.parse().map_err(|e| format!("--seeds: {e}"))?,
            "--first-seed" => first = value()?.parse().map_err(|e| format!("--first-seed: {e}"))?,
            "--arms" => names = value()?,
            "--html" => html = Some(value()?),
            "--json" => json = Some(value()?),
            "--tune" => tries = Some(value()?.parse::<u32>().map_err(|e| format!("--tune: {e}"))?),
            "--tuned" => is_tuned = true,
            _ => files.push(arg),
        }
    }
    let mut specs = arms::chosen(&names.split(',').map(str::to_owned).collect::<Vec<_>>())?;
    if is_tuned {
        specs = specs.into_iter().map(tune::tuned).collect();
    }
    let lines = |wrong: library::Wrong| wrong.join("\n");
    let scenarios: Vec<Scenario> = match files.len() {
        0 => library::own().map_err(lines)?,
        _ => files.iter().map(|f| library::file(Path::new(f)).map_err(lines)).collect::<Result<_, _>>()?,
    };
    let seeds: Vec<u64> = (first..first + seeds).collect();
    let began = std::time::Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    if let Some(tries) = tries {
        let training: Vec<Scenario> = scenarios.into_iter().filter(|s| s.set == Set::Training).collect();
        let budget = tune::Budget { tries, seeds: 1, threads: cores };
        let found: Vec<tune::Found> = specs.iter().filter_map(|spec| tune::search(spec, &training, &budget)).collect();
        println!("{}", tune::to_toml(&found));
        return Ok(());
    }
    let runs = suite::run(&scenarios, &specs, &seeds, cores, &|_, _| {});
    let events: u64 = runs.iter().flat_map(|s| &s.arms).flat_map(|a| &a.scores).map(|s| s.events).sum();
    let report = Report::of(&runs);
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
    if let Some(file) = html {
        write(&file, page::html(&report))?;
    }
    if let Some(file) = json {
        write(&file, serde_json::to_string_pretty(&report.to_json()).unwrap_or_default())?;
    }
    println!("{}", report.to_text());
    eprintln!("{events} events in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
