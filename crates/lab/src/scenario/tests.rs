//! Wrong files say file, line, key and what would be right; none makes the reader panic.

use super::read;

const GOOD: &str = r#"name = "t"
duration_s = 60
deadline_s = 5
trigger_s = [10, 20]

[participants.p]
workers = 4
service_ms = 50
shape = "lognormal"
quota = { per_s = 50 }
changes = [{ at_s = 10, capacity = 0.5 }]

[definitions.d]
steps = [{ call = "p" }]

[arrivals]
load = 0.7
"#;

fn said(text: &str) -> String {
    match read("f.toml", text, &|name| Err(format!("no {name}"))) {
        Ok(_) => "good".into(),
        Err(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    said(&GOOD.replace(from, to))
}

#[test]
fn every_complaint_names_its_place_and_what_would_be_right() {
    assert_eq!(said(GOOD), "good");
    assert_eq!(
        with("workers = 4", "workers = 0"),
        "f.toml:7: participants.p.workers: 0 is out of range; it must be from 0.1 to 1000000"
    );
    assert_eq!(
        with("workers = 4", "workers = \"4\""),
        "f.toml:7: participants.p.workers: must be a number from 0.1 to 1000000, and is a text"
    );
    assert_eq!(with("workers = 4\n", ""), "f.toml:6: participants.p.workers: is missing");
    assert!(
        with("workers", "worker")
            .contains("f.toml:7: participants.p.worker: is not a key here; keys are autoscale, cache,")
    );
    assert_eq!(
        with("\"lognormal\"", "\"normal\""),
        "f.toml:9: participants.p.shape: \"normal\" is not known here; it is one of \"constant\", \"exponential\", \"lognormal\", \"pareto\""
    );
    assert_eq!(
        with("call = \"p\"", "call = \"q\""),
        "f.toml:14: definitions.d.steps[0].call: \"q\" is not known here; it is one of \"p\""
    );
    assert_eq!(
        with("capacity = 0.5", "capacity = -1"),
        "f.toml:11: participants.p.changes[0].capacity: -1 is out of range; it must be from 0 to 100"
    );
    assert_eq!(
        with(
            "quota = { per_s = 50 }\nchanges = [{ at_s = 10, capacity = 0.5 }]",
            "changes = [{ at_s = 10, quota_per_s = 5 }]"
        ),
        "f.toml:10: participants.p.changes[0].quota_per_s: this participant has no quota to change; declare quota = { per_s = … }"
    );
    assert_eq!(
        with("[10, 20]", "[20, 10]"),
        "f.toml:4: trigger_s: must be two times, [from, to], the first before the second"
    );
    assert_eq!(with("load = 0.7", "load = 0.7\nseries = { file = \"s\" }"), "f.toml:18: arrivals.series.file: no s");
    assert!(
        with("load = 0.7", "per_s = 90000\nchanges = [{ at_s = 1, per_s = 100000 }]")
            .contains("transactions; a run may have")
    );
    assert!(with("name = \"t\"", "name = ").starts_with("f.toml:1: not TOML: "));
    assert!(
        said("").contains("f.toml:1: name: is missing")
            && said("").contains("participants: there must be at least one")
    );
}

#[test]
fn several_mistakes_are_all_said() {
    let both = GOOD.replace("workers = 4", "workers = -4").replace("load = 0.7", "load = -1");
    assert_eq!(said(&both).lines().count(), 3, "{}", said(&both));
}

#[test]
fn nothing_makes_the_reader_panic() {
    let odd = [
        "nan",
        "inf",
        "-inf",
        "1e308",
        "-1",
        "0",
        "true",
        "\"\"",
        "[]",
        "{}",
        "[[1]]",
        "1979-05-27",
        "0x7fffffffffffffff",
    ];
    for cut in 0..GOOD.len() {
        said(&GOOD[..cut]);
    }
    for (at, line) in GOOD.lines().enumerate() {
        let without: Vec<&str> = GOOD.lines().enumerate().filter(|(n, _)| *n != at).map(|(_, l)| l).collect();
        said(&without.join("\n"));
        let Some((key, _)) = line.split_once('=') else { continue };
        for value in odd {
            let lines: Vec<String> = GOOD
                .lines()
                .enumerate()
                .map(|(n, l)| if n == at { format!("{key}= {value}") } else { l.to_owned() })
                .collect();
            let said = said(&lines.join("\n"));
            assert!(said == "good" || said.lines().all(|l| l.starts_with("f.toml:")), "{key}= {value}: {said}");
        }
    }
}
