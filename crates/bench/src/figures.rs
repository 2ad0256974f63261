//! What a run is said to have cost, and how runs become a median.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::{Common, Output};

/// The figures of one run, by name, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(pub(crate) Vec<(&'static str, f64)>);

impl Figures {
    pub(crate) fn put(&mut self, name: &'static str, value: f64) {
        self.0.push((name, value));
    }

    /// p50, p99 and p99.9 of latencies in µs.
    pub(crate) fn latencies(&mut self, us: &Histogram<u64>) {
        for (name, quantile) in [("latency_ms_p50", 0.5), ("latency_ms_p99", 0.99), ("latency_ms_p999", 0.999)] {
            self.put(name, us.value_at_quantile(quantile) as f64 / 1e3);
        }
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(n, v)| ((*n).to_owned(), rounded(*v))).collect())
    }
}

fn rounded(value: f64) -> Value {
    let scale = if value.abs() >= 1_000.0 { 1.0 } else { 1_000.0 };
    json!((value * scale).round() / scale)
}

/// Prints runs and their medians.
pub(crate) fn print(bench: &str, settings: &[(&str, String)], runs: &[Figures], common: &Common) {
    let names: Vec<&'static str> = runs.first().map(|r| r.0.iter().map(|(n, _)| *n).collect()).unwrap_or_default();
    let median = |name: &str| {
        let mut values: Vec<f64> = runs.iter().filter_map(|r| r.get(name)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
    };
    if common.output == Output::Json {
        let settings: Map<String, Value> = settings.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
        let medians: Map<String, Value> = names.iter().map(|n| ((*n).to_owned(), rounded(median(n)))).collect();
        let runs: Vec<Value> = runs.iter().map(Figures::json).collect();
        println!("{}", json!({ "bench": bench, "settings": settings, "runs": runs, "median": medians }));
        return;
    }
    println!("bench {bench}");
    for (name, value) in settings {
        println!("  {name:<24} {value}");
    }
    println!("  {:<24} {:>14}   runs", "", "median");
    for name in names {
        let each: Vec<String> = runs.iter().filter_map(|r| r.get(name)).map(shown).collect();
        println!("  {name:<24} {:>14}   {}", shown(median(name)), each.join("  "));
    }
}

fn shown(value: f64) -> String {
    if value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// CPU time of this process so far, all threads, user and system.
pub(crate) fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// The most memory that this process has had, in MiB.
pub(crate) fn rss_peak_mib() -> f64 {
    rss_peak_mib_of("self")
}

/// The same of another process, by its id.
pub(crate) fn rss_peak_mib_of(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A histogram of latencies in µs up to 10 minutes, three digits.
pub(crate) fn latencies() -> Histogram<u64> {
    // The bounds are constants that the crate accepts.
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds")
}
