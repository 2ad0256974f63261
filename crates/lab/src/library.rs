//! The scenarios of this repository, inside the binary, and those that come from outside.

use std::path::Path;

use crate::scenario::{self, Problem, Scenario};
use crate::series::{self, Series};

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name)))),*]
    };
}

/// File name and text, numbered as in `docs/load-manager.md`.
pub const SCENARIOS: &[(&str, &str)] = files!("scenarios":
    "01-steady.toml"
    "02-overload-step.toml"
    "03-capacity-halving.toml"
    "04-slow-drift.toml"
    "05-latency-shift.toml"
    "06-retry-storm.toml"
    "07-gc-amplifier.toml"
    "08-cold-cache.toml"
    "09-retrograde.toml"
    "10-quota.toml"
    "10b-quota-retry-after.toml"
    "11-stable-timeout.toml"
    "12-sustained-degradation.toml"
    "13-mixed-classes.toml"
    "14-low-rate.toml"
    "15-lull-then-burst.toml"
    "16-heavy-tail.toml"
    "17-fail-fast-replica.toml"
    "18-grey-replica.toml"
    "19-shared-dependency.toml"
    "20-nodes.toml"
    "21-chain-bottleneck.toml"
    "22-doomed-work.toml"
    "23-priority-inversion.toml"
    "24-duplicate-reads.toml"
    "25-cascade.toml"
    "26-cold-start.toml"
    "27-backlog-drain.toml"
    "28-two-loops.toml"
    "29-trace-bursty.toml"
    "30-trace-diurnal.toml"
    "31-trace-noisy.toml"
    "32-trace-llm.toml"
    "33-trace-capacity-b8ms.toml"
    "34-trace-capacity-d8sv5.toml"
    "35-fast.toml"
    "36-tight-timeout.toml"
    "37-quota-503.toml"
    "38-unequal-chain.toml"
    "39-constant-gc.toml"
    "40-quota-few.toml"
    "41-busy.toml"
    "42-busy-503.toml"
);

/// The traces that they use.
pub const TRACES: &[(&str, &str)] = files!("scenarios/traces":
    "autothrottle-bursty.txt"
    "autothrottle-diurnal.txt"
    "autothrottle-noisy.txt"
    "azure-llm-conv.csv"
    "azure-postgres-tps-b8ms.csv"
    "azure-postgres-tps-d8sv5.csv"
);

/// Why something from outside could not be used; one line for each thing that is wrong.
pub type Wrong = Vec<String>;

fn lines(problems: &[Problem]) -> Wrong {
    problems.iter().map(ToString::to_string).collect()
}

fn own_trace(name: &str) -> Result<String, String> {
    let known = TRACES.iter().find(|(n, _)| name.strip_prefix("traces/").unwrap_or(name) == *n);
    known.map(|(_, text)| (*text).to_owned()).ok_or_else(|| format!("there is no series {name} among our own"))
}

/// All of our own.
///
/// # Errors
/// Never, as a test holds.
pub fn own() -> Result<Vec<Scenario>, Wrong> {
    let read = |(file, text): &(&str, &str)| scenario::read(file, text, &own_trace).map_err(|e| lines(&e));
    SCENARIOS.iter().map(read).collect()
}

/// Every `*.toml` of a folder, by name. Series that they name are looked for there, then among our own.
pub fn folder(dir: &Path) -> Result<Vec<Scenario>, Wrong> {
    let said = |e: std::io::Error, what: &Path| vec![format!("{}: {e}", what.display())];
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map_err(|e| said(e, dir))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(vec![format!("{}: no file here ends in .toml", dir.display())]);
    }
    let (mut scenarios, mut wrong) = (Vec::new(), Vec::new());
    for path in files {
        match file(&path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(all) => wrong.extend(all),
        }
    }
    if wrong.is_empty() { Ok(scenarios) } else { Err(wrong) }
}

/// One scenario file.
pub fn file(path: &Path) -> Result<Scenario, Wrong> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| vec![format!("{name}: {e}")])?;
    let beside = |series: &str| {
        let found = path.parent().map_or_else(|| Path::new(series).to_path_buf(), |dir| dir.join(series));
        match std::fs::read_to_string(&found) {
            Ok(text) => Ok(text),
            Err(e) => own_trace(series).map_err(|_| format!("{}: {e}", found.display())),
        }
    };
    scenario::read(&name, &text, &beside).map_err(|e| lines(&e))
}

/// A scenario made of a series alone: arrivals at a participant of ordinary size, or its capacity.
pub fn of_series(path: &Path) -> Result<Scenario, Wrong> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| vec![format!("{shown}: {e}")])?;
    let series = series::read(&text).map_err(|e| vec![format!("{shown}: {e}")])?;
    let stem: String = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    let plant = |workers: u32, service_ms: u32, more: &str| {
        format!(
            "[participants.charge]\nworkers = {workers}\nservice_ms = {service_ms}\nshape = \"lognormal\"\nshape_sigma = 0.8\n\
             network_ms = 4\ntimeout_ms = {}\n{more}\n[definitions.top-up]\nsteps = [{{ call = \"charge\" }}]\n",
            service_ms * 30
        )
    };
    let head = |duration_s: f64, deadline_s: u32, what: &str| {
        format!(
            "name = \"{name}\"\nabout = \"{what}\"\nset = \"held-out\"\nmix = \"stress\"\nduration_s = {duration_s}\n\
             measure_from_s = {}\ndeadline_s = {deadline_s}\n",
            (duration_s / 20.0).min(20.0)
        )
    };
    let toml = match &series {
        Series::Rates(values) => {
            let duration_s = (values.len() as f64).clamp(1.0, 1_200.0);
            let head = head(duration_s, 5, "arrivals of a series, 0.75 of capacity in the mean");
            format!("{head}{}[arrivals]\nload = 0.75\nseries = {{ file = \"it\" }}\n", plant(16, 50, ""))
        }
        Series::Arrivals(list) => {
            // 4 workers of 200 ms do 20 a second.
            let duration_s = (list.len() as f64 / 16.0).clamp(1.0, 1_200.0);
            let head = head(duration_s, 10, "arrivals with sizes of a series, 0.8 of capacity in the mean");
            format!("{head}{}[arrivals]\nload = 0.8\nseries = {{ file = \"it\" }}\n", plant(4, 200, ""))
        }
        Series::Capacity(values) => {
            let duration_s = (values.len() as f64).clamp(1.0, 600.0);
            let head = head(duration_s, 5, "capacity of a series, arrivals 0.9 of its median");
            format!("{head}{}[arrivals]\nload = 0.9\n", plant(40, 125, "capacity = { file = \"it\" }"))
        }
    };
    scenario::read(&shown, &toml, &|_| Ok(text.clone())).map_err(|e| lines(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_can_be_read_and_have_different_names() {
        let all = own().unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
        let mut names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
        let in_folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).map(|dir| {
            dir.filter_map(Result::ok).filter(|e| e.path().extension().is_some_and(|e| e == "toml")).count()
        });
        assert_eq!(in_folder.ok(), Some(SCENARIOS.len()), "every file of the folder is in the binary");
    }
}
