//! Many lives, on as many threads as are given, and what came of them. Each life runs on one thread from its own seed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::event::Violation;
use crate::features::Features;
use crate::world::{Life, Orders, live};

/// Every so many seeds is lived twice, and must be the same both times.
const TWICE_EVERY: u64 = 200;
const FAILURES_KEPT: usize = 20;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    pub from: u64,
    pub seeds: u64,
    pub jobs: usize,
    pub without_checkers: bool,
}

/// One life that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub checker: &'static str,
    pub violation: Violation,
    pub features: Vec<&'static str>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub seeds: u64,
    pub violations: u64,
    pub entries: u64,
    pub submissions: u64,
    pub seconds: f64,
    /// Processor time of all threads together: another program on the machine does not count.
    pub cpu_seconds: f64,
    pub lived_twice: u64,
    /// How near any life came to the bound of what may happen without a move outside, in percent.
    pub still_percent_max: u64,
    /// How many seeds had each feature or fault.
    pub features: BTreeMap<&'static str, u64>,
    /// How many seeds each checker ended.
    pub by_checker: BTreeMap<&'static str, u64>,
    pub first_failures: Vec<Failure>,
    /// Mixes the digests of all lives.
    pub digest: u64,
}

/// Lives one seed, as a test would.
pub fn live_seed(seed: u64) -> Life {
    live(&Features::of(seed), &Orders::default())
}

/// Runs a campaign. `progress` is told now and then how many seeds are done.
pub fn run(campaign: Campaign, progress: &(dyn Fn(u64, u64) + Sync)) -> Outcome {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Outcome::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..campaign.jobs.max(1) {
            scope.spawn(|| {
                let mut mine = Outcome::default();
                let began = thread_seconds();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= campaign.seeds {
                        break;
                    }
                    one(campaign, campaign.from + n, &mut mine);
                    if n.is_multiple_of(1_000) {
                        progress(n, campaign.seeds);
                    }
                }
                mine.cpu_seconds = thread_seconds() - began;
                if let Ok(mut total) = total.lock() {
                    total.add(mine);
                }
            });
        }
    });
    let mut outcome = total.into_inner().unwrap_or_default();
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome.first_failures.sort_by_key(|f| f.seed);
    outcome.first_failures.truncate(FAILURES_KEPT);
    outcome
}

/// Processor time of this thread.
fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn one(campaign: Campaign, seed: u64, mine: &mut Outcome) {
    let orders = Orders { without_checkers: campaign.without_checkers, ..Orders::default() };
    let features = Features::of(seed);
    // A panic is somebody's defect too, and must not end the others.
    let lived = catch_unwind(AssertUnwindSafe(|| live(&features, &orders)));
    mine.seeds += 1;
    let Ok(life) = lived else {
        let violation = Violation::new("panic", None, "the life ended in a panic; replay shows where");
        return mine.fail(seed, "panic", violation, features.names().to_vec());
    };
    mine.entries += life.entries;
    mine.submissions += u64::from(life.submissions);
    mine.still_percent_max = mine.still_percent_max.max(life.still_percent_max);
    mine.digest ^= life.digest.rotate_left((seed % 64) as u32);
    for name in &life.features {
        *mine.features.entry(name).or_default() += 1;
    }
    let digest = life.digest;
    let mut broken = life.broken;
    if seed.is_multiple_of(TWICE_EVERY) {
        mine.lived_twice += 1;
        if live(&features, &orders).digest != digest {
            broken = Some(("world", Violation::new("same seed, same bytes", None, "the second life was another one")));
        }
    }
    if let Some((checker, violation)) = broken {
        mine.fail(seed, checker, violation, life.features);
    }
}

impl Outcome {
    fn fail(&mut self, seed: u64, checker: &'static str, violation: Violation, features: Vec<&'static str>) {
        self.violations += 1;
        *self.by_checker.entry(checker).or_default() += 1;
        if self.first_failures.len() < FAILURES_KEPT {
            self.first_failures.push(Failure { seed, checker, violation, features });
        }
    }

    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.violations += other.violations;
        self.entries += other.entries;
        self.submissions += other.submissions;
        self.cpu_seconds += other.cpu_seconds;
        self.lived_twice += other.lived_twice;
        self.still_percent_max = self.still_percent_max.max(other.still_percent_max);
        self.digest ^= other.digest;
        for (name, count) in other.features {
            *self.features.entry(name).or_default() += count;
        }
        for (name, count) in other.by_checker {
            *self.by_checker.entry(name).or_default() += count;
        }
        self.first_failures.extend(other.first_failures);
    }

    /// On one core.
    pub fn entries_per_s(&self) -> f64 {
        self.entries as f64 / self.cpu_seconds.max(1e-9)
    }

    pub fn seeds_per_minute(&self) -> f64 {
        self.seeds as f64 * 60.0 / self.seconds.max(1e-9)
    }

    pub fn to_json(&self) -> Value {
        let failures: Vec<Value> = self
            .first_failures
            .iter()
            .map(|f| {
                json!({
                    "seed": f.seed,
                    "checker": f.checker,
                    "rule": f.violation.rule,
                    "tx": f.violation.tx.map(|tx| tx.to_string()),
                    "what": f.violation.what,
                    "features": f.features,
                })
            })
            .collect();
        json!({
            "seeds": self.seeds,
            "violations": self.violations,
            "entries": self.entries,
            "transactions": self.submissions,
            "entries_per_s": self.entries_per_s().round(),
            "seeds_per_minute": self.seeds_per_minute().round(),
            "seeds_per_minute_of_a_core": (self.seeds as f64 * 60.0 / self.cpu_seconds.max(1e-9)).round(),
            "seconds": (self.seconds * 100.0).round() / 100.0,
            "lived_twice": self.lived_twice,
            "still_percent_max": self.still_percent_max,
            "digest": format!("{:016x}", self.digest),
            "features": self.features,
            "by_checker": self.by_checker,
            "first_failures": failures,
        })
    }
}
