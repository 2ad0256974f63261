//! What goes wrong on the way, and when: parts of the demo's time, for the stand's own clock.

use std::time::Duration;

/// From when, for how much of the whole, which system, what.
const PLAN: &[(f64, f64, &str, &str)] = &[
    (0.03, 0.12, "sms", "slow 300ms 30%"),
    (0.06, 0.12, "payments", "errors 500 8% + gateway 4% + slow 150ms 20%"),
    (0.14, 0.12, "billing", "lost 8% + late 2s 3%"),
    (0.20, 0.12, "crm", "cut before 5% + cut mid 5% + errors 503 3%"),
    (0.28, 0.07, "hlr", "down"),
    (0.34, 0.05, "mnp", "errors 502 20% + lost 10%"),
    // The engine is killed at about this time: answers that are late meet an engine that has forgotten the call.
    (0.40, 0.10, "all", "slow 100ms 30% + lost 3% + late 1s 2%"),
    (0.52, 0.05, "billing", "busy 429 retry 1s 80%"),
    (0.59, 0.06, "crm", "refuse 40% on do"),
    (0.62, 0.08, "payments", "refuse on undo"),
    (0.70, 0.06, "payments", "down"),
    (0.78, 0.10, "all", "errors 503 3% + cut after 3% + gateway 2% + slow 80ms 20%"),
    (0.90, 0.06, "hlr", "errors 500 70% + late 1s 5%"),
];

/// Until when faults may last, as a part of the whole.
pub(crate) const OVER_AT: f64 = 0.97;
/// When the engine is killed.
pub(crate) const KILL_AT: f64 = 0.44;

/// The schedule's lines, for a demo of this length.
pub(crate) fn schedule(over: Duration) -> String {
    let ms = |part: f64| (over.mul_f64(part).as_millis()).max(1);
    let mut lines = String::new();
    for (from, long, system, faults) in PLAN {
        let lasting: Vec<String> = faults.split(" + ").map(|fault| format!("{fault} for {}ms", ms(*long))).collect();
        lines.push_str(&format!(
            "{{\"at\": \"{}ms\", \"system\": \"{system}\", \"fault\": \"{}\"}}\n",
            ms(*from),
            lasting.join(" + ")
        ));
    }
    lines.push_str(&format!("{{\"at\": \"{}ms\", \"system\": \"all\", \"fault\": \"well\"}}\n", ms(OVER_AT)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood_and_over_in_time() {
        for line in schedule(Duration::from_secs(60)).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let fault = line["fault"].as_str().unwrap_or_default();
            assert!(fault.parse::<stand::Temper>().is_ok(), "{fault}");
            assert!(line["at"].as_str().and_then(model::parse_duration).is_some(), "{line}");
        }
        assert!(PLAN.iter().all(|(from, long, ..)| from + long <= OVER_AT));
        assert!(PLAN.is_sorted_by_key(|(from, ..)| *from), "in order of time");
    }
}
