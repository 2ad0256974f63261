//! A scenario file → [`Scenario`], or every problem it has. `docs/lab.md` is the same for people.

use toml::de::DeTable;

pub use super::table::Problem;
use super::table::{Complaints, Table};
use super::{
    Arrivals, Autoscale, Cache, Change, Definition, Discipline, Keys, Mix, Participant, Quota, RatePoint, Rejection,
    Scenario, Server, Set, Shape, State, Step,
};
use crate::series::{self, Series};

/// Longer than any experiment; bounds what a wrong file can cost.
const TIME_MAX_S: f64 = 86_400.0;
const RATE_MAX: f64 = 100_000.0;
/// Events of a run are a small multiple of its calls.
const ARRIVALS_MAX: f64 = 3e6;

/// Reads one file. `open` gives the text of a series by the name that the file says.
///
/// # Errors
/// Every problem, by line.
pub fn read(file: &str, text: &str, open: &dyn Fn(&str) -> Result<String, String>) -> Result<Scenario, Vec<Problem>> {
    let complaints = Complaints::new(file, text);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            complaints.at(e.span().map_or(0, |span| span.start), "", format!("not TOML: {}", e.message()));
            return Err(complaints.take());
        }
    };
    let root = Table::new(table.get_ref(), String::new(), 0, complaints.clone());
    let scenario = scenario(&root, open);
    root.close();
    match scenario {
        Some(scenario) if complaints.is_empty() => Ok(scenario),
        _ => Err(complaints.take()),
    }
}

fn scenario(root: &Table<'_>, open: &dyn Fn(&str) -> Result<String, String>) -> Option<Scenario> {
    let name = required(root, "name", Table::text);
    let about = root.text("about").unwrap_or_default();
    let set = root.word("set", &[("training", Set::Training), ("held-out", Set::HeldOut)]);
    let mix = root.word("mix", &[("healthy", Mix::Healthy), ("stress", Mix::Stress)]);
    let duration_s = required(root, "duration_s", |t, k| t.number(k, 1.0, TIME_MAX_S)).unwrap_or(1.0);
    let measure_from_s = root.number("measure_from_s", 0.0, duration_s).unwrap_or(0.0);
    let drain_s = root.number("drain_s", 0.0, TIME_MAX_S).unwrap_or(60.0);
    let trigger = root.numbers("trigger_s", 0.0, duration_s).and_then(|pair| match pair[..] {
        [from, to] if from < to => Some((from, to)),
        _ => {
            root.wrong("trigger_s", "must be two times, [from, to], the first before the second");
            None
        }
    });
    let is_metastable = root.flag("metastable").unwrap_or(false);
    if is_metastable && trigger.is_none() {
        root.wrong("metastable", "needs trigger_s = [from, to], so that recovery can be timed");
    }
    let participants: Vec<Participant> =
        root.named_tables("participants").into_iter().map(|(name, table)| participant(name, &table, open)).collect();
    if participants.is_empty() {
        root.wrong("participants", "there must be at least one, as [participants.NAME]");
    }
    let default_deadline = root.number("deadline_s", 0.001, TIME_MAX_S);
    let mut operations = vec![Vec::new(); participants.len()];
    let definitions: Vec<Definition> = root
        .named_tables("definitions")
        .into_iter()
        .map(|(name, table)| definition(name, &table, default_deadline, &participants, &mut operations))
        .collect();
    if definitions.is_empty() {
        root.wrong("definitions", "there must be at least one, as [definitions.NAME]");
    }
    let nodes = nodes(root, duration_s);
    let mut scenario = Scenario {
        name: name.unwrap_or_default().to_owned(),
        about: about.to_owned(),
        set: set.unwrap_or(Set::HeldOut),
        mix: mix.unwrap_or(Mix::Stress),
        is_metastable,
        duration_s,
        measure_from_s,
        drain_s,
        trigger,
        participants,
        definitions,
        arrivals: Arrivals { points: Vec::new(), series: None, list: None, shares: Vec::new() },
        nodes,
    };
    if scenario.definitions.is_empty()
        || scenario.participants.is_empty()
        || scenario.definitions.iter().any(|d| d.steps.is_empty())
    {
        return None;
    }
    match root.table("arrivals") {
        Some(table) => arrivals(&table, &mut scenario, open),
        None if !root.has("arrivals") => root.wrong("arrivals", "is missing; for example arrivals = { load = 0.7 }"),
        None => {}
    }
    Some(scenario)
}

fn required<'a, T>(
    table: &Table<'a>,
    key: &'static str,
    read: impl Fn(&Table<'a>, &'static str) -> Option<T>,
) -> Option<T> {
    if !table.has(key) {
        table.wrong(key, "is missing");
        return None;
    }
    read(table, key)
}

fn nodes(root: &Table<'_>, duration_s: f64) -> Vec<(f64, u16)> {
    let mut nodes = Vec::new();
    for table in root.tables("nodes") {
        let at_s = table.number("at_s", 0.0, duration_s).unwrap_or(0.0);
        if let Some(count) = required(&table, "count", |t, k| t.whole(k, 1, 64)) {
            nodes.push((at_s, count as u16));
        }
        table.close();
    }
    nodes.sort_by(|a, b| a.0.total_cmp(&b.0));
    if nodes.first().is_none_or(|first| first.0 > 0.0) {
        nodes.insert(0, (0.0, 1));
    }
    nodes
}

fn participant(name: String, table: &Table<'_>, open: &dyn Fn(&str) -> Result<String, String>) -> Participant {
    let endpoints = table.whole("endpoints", 1, 1_000).unwrap_or(1) as u16;
    let rejections =
        [("429-retry-after", Rejection::WithRetryAfter), ("429", Rejection::TooMany), ("503", Rejection::Unavailable)];
    let ms = |t: &Table<'_>, key, high: f64| t.number(key, 0.0, high).map(|ms| ms / 1_000.0);
    let workers = required(table, "workers", |t, k| t.number(k, 0.1, 1e6)).unwrap_or(1.0);
    let service_s = required(table, "service_ms", |t, k| ms(t, k, 3.6e6)).unwrap_or(0.01).max(1e-6);
    let shape = match table.word("shape", &[("constant", 0), ("exponential", 1), ("lognormal", 2), ("pareto", 3)]) {
        Some(0) => Shape::Constant,
        Some(2) => Shape::Lognormal { sigma: table.number("shape_sigma", 0.01, 3.0).unwrap_or(1.0) },
        Some(3) => Shape::Pareto {
            alpha: table.number("shape_alpha", 1.05, 10.0).unwrap_or(1.5),
            most: table.number("shape_most", 2.0, 1e5).unwrap_or(100.0),
        },
        _ => Shape::Exponential,
    };
    let sigma = table.number("usl_sigma", 0.0, 1.0);
    let kappa = table.number("usl_kappa", 0.0, 1.0);
    let discipline = match table.word("discipline", &[("fifo", false), ("sharing", true)]) {
        Some(true) => Discipline::Sharing { sigma: sigma.unwrap_or(0.0), kappa: kappa.unwrap_or(0.0) },
        _ => {
            if sigma.is_some() || kappa.is_some() {
                table.wrong("usl_kappa", "the scalability law needs discipline = \"sharing\"");
            }
            Discipline::Fifo
        }
    };
    let cache = table.table("cache").map(|t| {
        let cache = Cache {
            hit: required(&t, "hit", |t, k| t.number(k, 0.0, 1.0)).unwrap_or(0.9),
            miss_factor: required(&t, "miss_factor", |t, k| t.number(k, 1.0, 1e4)).unwrap_or(10.0),
            fill: t.number("fill", 1.0, 1e9).unwrap_or(1_000.0),
        };
        t.close();
        cache
    });
    let autoscale = table.table("autoscale").map(|t| {
        let autoscale = Autoscale {
            min: t.number("min", 0.1, 1e6).unwrap_or(1.0),
            max: required(&t, "max", |t, k| t.number(k, 0.1, 1e6)).unwrap_or(workers),
            target: t.number("target", 0.05, 1.0).unwrap_or(0.6),
            every_s: t.number("every_s", 0.1, 3_600.0).unwrap_or(15.0),
            lag_s: t.number("lag_s", 0.0, 3_600.0).unwrap_or(60.0),
        };
        t.close();
        autoscale
    });
    let quota = table.table("quota").map(|t| {
        let per_s = required(&t, "per_s", |t, k| t.number(k, 0.01, RATE_MAX)).unwrap_or(1.0);
        let quota = Quota {
            per_s,
            burst: t.number("burst", 1.0, 1e6).unwrap_or_else(|| (per_s / 10.0).max(1.0)),
            rejection: t.word("answer", &rejections).unwrap_or(Rejection::TooMany),
        };
        t.close();
        quota
    });
    let server = Server {
        workers,
        discipline,
        service_s,
        shape,
        network_s: ms(table, "network_ms", 60_000.0).unwrap_or(0.002),
        gc: table.number("gc", 0.0, 100.0).unwrap_or(0.0),
        gc_max: table.number("gc_max", 1.0, 1e4).unwrap_or(10.0),
        queue_max: table.whole("queue_max", 0, 1_000_000).unwrap_or(100_000),
        when_full: table.word("when_full", &rejections).unwrap_or(Rejection::Unavailable),
        cache,
        autoscale,
    };
    let mut changes: Vec<Change> =
        table.tables("changes").iter().map(|t| change(t, endpoints, quota.is_some())).collect();
    changes.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let capacity_series = table.table("capacity").and_then(|t| capacity(&t, open));
    let participant = Participant {
        name,
        endpoints,
        timeout_s: ms(table, "timeout_ms", 3.6e6).unwrap_or(1.0).max(0.001),
        initial_limit: table.whole("initial_limit", 1, 100_000).unwrap_or(20),
        max_in_flight: table.whole("max_in_flight", 1, 100_000).unwrap_or(1_000),
        min_in_flight: table.whole("min_in_flight", 1, 100_000),
        max_per_second: table.whole("max_per_second", 1, 1_000_000),
        share_for_s: table.number("share_for_s", 0.0, 3_600.0),
        server,
        quota,
        others_per_s: table.number("others_per_s", 0.0, RATE_MAX).unwrap_or(0.0),
        changes,
        capacity_series,
    };
    table.close();
    participant
}

fn change(table: &Table<'_>, endpoints: u16, has_quota: bool) -> Change {
    let ends = table.numbers("endpoints", 0.0, f64::from(endpoints - 1)).unwrap_or_default();
    let change = Change {
        at_s: required(table, "at_s", |t, k| t.number(k, 0.0, TIME_MAX_S)).unwrap_or(0.0),
        over_s: table.number("over_s", 0.0, TIME_MAX_S).unwrap_or(0.0),
        endpoints: ends.into_iter().map(|n| n as u16).collect(),
        capacity: table.number("capacity", 0.0, 100.0),
        slow: table.number("slow", 0.001, 1e4),
        network_s: table.number("network_ms", 0.0, 60_000.0).map(|ms| ms / 1_000.0),
        state: table.word("state", &[("up", State::Up), ("refuse", State::Refuse), ("hang", State::Hang)]),
        fail: table.number("fail", 0.0, 1.0),
        quota_per_s: table.number("quota_per_s", 0.01, RATE_MAX),
        others_per_s: table.number("others_per_s", 0.0, RATE_MAX),
        is_cold: table.flag("cold").unwrap_or(false),
    };
    if change.quota_per_s.is_some() && !has_quota {
        table.wrong("quota_per_s", "this participant has no quota to change; declare quota = { per_s = … }");
    }
    table.close();
    change
}

fn load_series(table: &Table<'_>, open: &dyn Fn(&str) -> Result<String, String>) -> Option<Series> {
    let file = required(table, "file", Table::text)?;
    let read = open(file).and_then(|text| series::read(&text).map_err(|e| format!("{file}, {e}")));
    read.map_err(|why| table.wrong("file", why)).ok()
}

/// The part of a series that is used: `skip` values left out, then `count` of them.
fn part<T: Clone>(table: &Table<'_>, values: &[T]) -> Vec<T> {
    let skip = table.whole("skip", 0, u32::MAX).unwrap_or(0) as usize;
    let count = table.whole("count", 1, u32::MAX).map_or(usize::MAX, |n| n as usize);
    let used: Vec<T> = values.iter().skip(skip).take(count).cloned().collect();
    if used.is_empty() {
        table.wrong("skip", format!("leaves nothing: the series has {} values", values.len()));
    }
    used
}

fn capacity(table: &Table<'_>, open: &dyn Fn(&str) -> Result<String, String>) -> Option<(f64, Vec<f64>)> {
    let every_s = table.number("every_s", 0.05, 3_600.0).unwrap_or(1.0);
    let series = load_series(table, open);
    let read = match series? {
        Series::Capacity(values) => {
            Some((every_s, part(table, &values).into_iter().map(|v| v.clamp(0.0, 100.0)).collect()))
        }
        _ => {
            table.wrong("file", "is a series of arrivals; capacity needs a header with value");
            None
        }
    };
    table.close();
    read
}

fn definition(
    name: String,
    table: &Table<'_>,
    default_deadline: Option<f64>,
    participants: &[Participant],
    operations: &mut [Vec<u64>],
) -> Definition {
    let words: Vec<(&str, u16)> = participants.iter().enumerate().map(|(n, p)| (p.name.as_str(), n as u16)).collect();
    let mut steps = Vec::new();
    for t in table.tables("steps") {
        let participant = required(&t, "call", |t, k| t.word(k, &words)).unwrap_or(0);
        let size = t.number("size", 0.001, 1e4).unwrap_or(1.0);
        let operation = operations.get_mut(usize::from(participant)).map_or(0, |sizes| {
            let known = sizes.iter().position(|s| *s == size.to_bits());
            known.unwrap_or_else(|| {
                sizes.push(size.to_bits());
                sizes.len() - 1
            })
        });
        let keys = t.table("keys").map(|k| {
            let keys = Keys {
                count: required(&k, "count", |t, key| t.whole(key, 1, 1_000_000)).unwrap_or(1),
                zipf: k.number("zipf", 0.0, 5.0).unwrap_or(1.0),
            };
            k.close();
            keys
        });
        steps.push(Step {
            participant,
            operation: operation as u16,
            size,
            refuse: t.number("refuse", 0.0, 1.0).unwrap_or(0.0),
            undo: t.flag("undo").unwrap_or(false),
            undo_size: t.number("undo_size", 0.001, 1e4).unwrap_or(size),
            keys,
        });
        t.close();
    }
    if steps.is_empty() {
        table.wrong("steps", "there must be at least one, for example steps = [{ call = \"charge\" }]");
    } else if steps.len() > 32 {
        table.wrong("steps", "there may be at most 32");
    }
    let deadline_s = table.number("deadline_s", 0.001, TIME_MAX_S).or(default_deadline);
    let definition = Definition {
        name,
        share: table.number("share", 0.0, 1e6).unwrap_or(1.0),
        deadline_s,
        priority: table.whole("priority", 0, 255).unwrap_or(0) as u8,
        labels: table.numbers("labels", 0.0, 1e6).filter(|l| l.iter().sum::<f64>() > 0.0).unwrap_or_else(|| vec![1.0]),
        steps,
    };
    table.close();
    definition
}

fn arrivals(table: &Table<'_>, scenario: &mut Scenario, open: &dyn Fn(&str) -> Result<String, String>) {
    let nominal = scenario.nominal_per_s();
    let rate = |t: &Table<'_>| {
        let load = t.number("load", 0.0, 1_000.0).map(|load| load * nominal);
        let per_s = t.number("per_s", 0.0, RATE_MAX);
        if load.is_some() && per_s.is_some() {
            t.wrong("load", "either load (a share of the nominal capacity) or per_s, not both");
        }
        load.or(per_s).filter(|rate| rate.is_finite())
    };
    let Some(first) = rate(table) else {
        table.wrong("load", "is missing: load (a share of the nominal capacity) or per_s");
        return;
    };
    let mut points = vec![RatePoint { at_s: 0.0, per_s: first, over_s: 0.0 }];
    for t in table.tables("changes") {
        let at_s = required(&t, "at_s", |t, k| t.number(k, 0.0, TIME_MAX_S));
        let over_s = t.number("over_s", 0.0, TIME_MAX_S).unwrap_or(0.0);
        match (at_s, rate(&t)) {
            (Some(at_s), Some(per_s)) => points.push(RatePoint { at_s, per_s, over_s }),
            (_, None) => t.wrong("load", "is missing: load (a share of the nominal capacity) or per_s"),
            (None, _) => {}
        }
        t.close();
    }
    points.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    for t in table.tables("shares") {
        let at_s = t.number("at_s", 0.0, TIME_MAX_S).unwrap_or(0.0);
        match t.numbers("of", 0.0, 1e6) {
            Some(of) if of.len() == scenario.definitions.len() && of.iter().sum::<f64>() > 0.0 => {
                scenario.arrivals.shares.push((at_s, of));
            }
            _ => t.wrong("of", format!("must be {} shares, one for each definition", scenario.definitions.len())),
        }
        t.close();
    }
    if let Some(t) = table.table("series") {
        let every_s = t.number("every_s", 0.01, 3_600.0).unwrap_or(1.0);
        match load_series(&t, open) {
            // The mean becomes 1: the points' rate says how much that is.
            Some(Series::Rates(values)) => {
                let used = part(&t, &values);
                let mean = used.iter().sum::<f64>() / used.len().max(1) as f64;
                scenario.arrivals.series =
                    Some((every_s, used.iter().map(|v| if mean > 0.0 { v / mean } else { 0.0 }).collect()));
            }
            // The clock is compressed or stretched until the mean rate is the points' first.
            Some(Series::Arrivals(list)) => {
                let used = part(&t, &list);
                if let (Some(from), Some(to)) = (used.first(), used.last()) {
                    let span = (to.0 - from.0).max(1e-9);
                    let scale = used.len() as f64 / span / first.max(1e-9);
                    scenario.arrivals.list = Some(used.iter().map(|a| ((a.0 - from.0) * scale, a.1)).collect());
                }
            }
            Some(Series::Capacity(_)) => {
                t.wrong("file", "is a series of capacity; it belongs to a participant: capacity = { file = … }")
            }
            None => {}
        }
        t.close();
    }
    let most = points.iter().map(|p| p.per_s).fold(0.0, f64::max) * scenario.duration_s;
    if most > ARRIVALS_MAX {
        table.wrong("load", format!("means up to {most:.0} transactions; a run may have {ARRIVALS_MAX:.0}: fewer workers, a longer service or a shorter run"));
    }
    scenario.arrivals.points = points;
    table.close();
}
