//! What a scenario file says: participants with their true capacity, transactions, arrivals, and what changes when.
//!
//! `read.rs` turns a file into this; `docs/lab.md` is the format for people. Times are seconds from the start of
//! the run, rates are per second.

mod read;
mod table;
#[cfg(test)]
mod tests;

pub use read::{Problem, read};

/// One experiment.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    pub set: Set,
    pub mix: Mix,
    /// A system without control stays down here after the trigger is gone.
    pub is_metastable: bool,
    /// Arrivals end here.
    pub duration_s: f64,
    /// Only transactions that arrive from here on count.
    pub measure_from_s: f64,
    /// How long the backlog may take to empty after the last arrival.
    pub drain_s: f64,
    /// From when to when something is wrong; calls are counted from its begin on, recovery from its end.
    pub trigger: Option<(f64, f64)>,
    pub participants: Vec<Participant>,
    pub definitions: Vec<Definition>,
    pub arrivals: Arrivals,
    /// From when on so many nodes share the arrivals; the first is at 0.
    pub nodes: Vec<(f64, u16)>,
}

/// Whether tuning may look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    Training,
    HeldOut,
}

/// Which published sum of calls it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    Healthy,
    Stress,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Participant {
    pub name: String,
    pub endpoints: u16,
    pub timeout_s: f64,
    pub initial_limit: u32,
    pub max_in_flight: u32,
    pub min_in_flight: Option<u32>,
    pub max_per_second: Option<u32>,
    /// Reads may be shared for so long; only then may an arm join or remember them.
    pub share_for_s: Option<f64>,
    pub server: Server,
    pub quota: Option<Quota>,
    /// Calls per second of clients that nobody here controls.
    pub others_per_s: f64,
    /// By time.
    pub changes: Vec<Change>,
    /// Capacity as a factor, one value each so many seconds, times the factor that changes set.
    pub capacity_series: Option<(f64, Vec<f64>)>,
}

/// What one endpoint is.
#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    /// Calls that are worked on at once, each at full speed.
    pub workers: f64,
    pub discipline: Discipline,
    pub service_s: f64,
    pub shape: Shape,
    /// There and back.
    pub network_s: f64,
    /// Service takes (1 + gc × calls that wait) times as long, up to `gc_max` times.
    pub gc: f64,
    pub gc_max: f64,
    /// Calls that may wait at the server.
    pub queue_max: u32,
    pub when_full: Rejection,
    pub cache: Option<Cache>,
    pub autoscale: Option<Autoscale>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Discipline {
    /// First come first served by the workers.
    Fifo,
    /// All calls share the workers; with n calls each goes at 1/(1 + sigma(n−1) + kappa n(n−1)) of its speed besides
    /// (Gunther's universal scalability law).
    Sharing { sigma: f64, kappa: f64 },
}

/// Of a service time with mean 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shape {
    Constant,
    Exponential,
    Lognormal {
        sigma: f64,
    },
    /// Bounded at `most` times the mean.
    Pareto {
        alpha: f64,
        most: f64,
    },
}

/// How a call that is not taken is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// 429 or 503 with `Retry-After`, rounded up to seconds.
    WithRetryAfter,
    /// 429 without `Retry-After`.
    TooMany,
    /// 503 without `Retry-After`: proves nothing.
    Unavailable,
}

/// A token bucket in front of all endpoints.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quota {
    pub per_s: f64,
    pub burst: f64,
    pub rejection: Rejection,
}

/// A look-aside cache that answered calls fill.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cache {
    /// Share of hits once warm.
    pub hit: f64,
    /// A miss takes so many times the service time.
    pub miss_factor: f64,
    /// Answers until it is 63 % warm.
    pub fill: f64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Autoscale {
    pub min: f64,
    pub max: f64,
    /// Wanted share of busy workers.
    pub target: f64,
    pub every_s: f64,
    pub lag_s: f64,
}

/// From `at_s` on something is different.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Change {
    pub at_s: f64,
    /// Capacity and slowness get there in a straight line of this length.
    pub over_s: f64,
    /// Which; all if empty.
    pub endpoints: Vec<u16>,
    /// Workers, as a factor.
    pub capacity: Option<f64>,
    /// Service time, as a factor.
    pub slow: Option<f64>,
    pub network_s: Option<f64>,
    pub state: Option<State>,
    /// Share of calls that get a 500 after a millisecond.
    pub fail: Option<f64>,
    pub quota_per_s: Option<f64>,
    pub others_per_s: Option<f64>,
    /// The cache forgets everything.
    pub is_cold: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    #[default]
    Up,
    /// Connections are refused.
    Refuse,
    /// Calls are taken and never answered.
    Hang,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Definition {
    pub name: String,
    pub share: f64,
    pub deadline_s: Option<f64>,
    pub priority: u8,
    /// Shares of the labels; one label if there is nothing to tell apart.
    pub labels: Vec<f64>,
    pub steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    pub participant: u16,
    /// Steps with the same participant and size are the same operation of it.
    pub operation: u16,
    /// Service time, as a factor.
    pub size: f64,
    /// Share that the participant's business refuses.
    pub refuse: f64,
    /// Undone by a call of `undo_size` if the transaction is aborted later.
    pub undo: bool,
    pub undo_size: f64,
    pub keys: Option<Keys>,
}

/// What reads ask for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Keys {
    pub count: u32,
    pub zipf: f64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Arrivals {
    /// By time; the rate goes to `per_s` in a straight line of `over_s`.
    pub points: Vec<RatePoint>,
    /// Rates per second, one value each so many seconds; multiplied with the points' rate.
    pub series: Option<(f64, Vec<f64>)>,
    /// Given one by one: seconds and size, instead of all the above.
    pub list: Option<Vec<(f64, f64)>>,
    /// From when on definitions have other shares.
    pub shares: Vec<(f64, Vec<f64>)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RatePoint {
    pub at_s: f64,
    pub per_s: f64,
    pub over_s: f64,
}

impl Server {
    /// The mean factor by which cold or warm caches stretch service.
    pub fn cache_factor(&self, warmth: f64) -> f64 {
        self.cache.map_or(1.0, |cache| {
            let hit = cache.hit * warmth;
            hit + (1.0 - hit) * cache.miss_factor
        })
    }

    /// Completions per second and calls in flight at the knee, of one endpoint with calls of `service_s` seconds
    /// (network apart) on `workers` workers.
    pub fn knee(&self, workers: f64, service_s: f64, network_s: f64) -> (f64, f64) {
        if workers <= 0.0 || service_s <= 0.0 {
            return (0.0, 0.0);
        }
        match self.discipline {
            Discipline::Fifo => {
                let mu = workers / service_s;
                (mu, mu * (service_s + network_s))
            }
            Discipline::Sharing { sigma, kappa } => {
                let rate = |n: f64| {
                    n.min(workers) / service_s / (1.0 + sigma * (n - 1.0).max(0.0) + kappa * n * (n - 1.0).max(0.0))
                };
                if kappa <= 0.0 {
                    let mu = rate(workers);
                    return (mu, mu * (service_s + network_s));
                }
                // The peak of the scalability law, unless the workers end first.
                let peak = (((1.0 - sigma).max(0.0) / kappa).sqrt()).clamp(1.0, workers.max(1.0));
                let mu = rate(peak);
                (mu, peak + mu * network_s)
            }
        }
    }
}

impl Scenario {
    /// The shares of the definitions at a time, adding up to 1.
    pub fn shares_at(&self, at_s: f64) -> Vec<f64> {
        let own = || self.definitions.iter().map(|d| d.share).collect();
        let shares: Vec<f64> =
            self.arrivals.shares.iter().rfind(|(from, _)| *from <= at_s).map_or_else(own, |(_, s)| s.clone());
        let sum: f64 = shares.iter().sum();
        shares.iter().map(|share| share / sum).collect()
    }

    /// For each participant: calls per transaction and the mean size of a call, at a time.
    pub fn demand_at(&self, at_s: f64) -> Vec<(f64, f64)> {
        let mut demand = vec![(0.0, 0.0); self.participants.len()];
        for (share, definition) in self.shares_at(at_s).iter().zip(&self.definitions) {
            for step in &definition.steps {
                let (calls, work) = &mut demand[usize::from(step.participant)];
                *calls += share;
                *work += share * step.size;
            }
        }
        demand.into_iter().map(|(calls, work)| (calls, if calls > 0.0 { work / calls } else { 1.0 })).collect()
    }

    /// Transactions per second that the tightest participant can do when nothing is wrong.
    pub fn nominal_per_s(&self) -> f64 {
        let demand = self.demand_at(0.0);
        let each =
            self.participants.iter().zip(&demand).filter(|(_, (calls, _))| *calls > 0.0).map(|(p, (calls, size))| {
                let service_s = p.server.service_s * size * p.server.cache_factor(1.0);
                let (mu, _) = p.server.knee(p.server.workers, service_s, p.server.network_s);
                let free = mu * f64::from(p.endpoints) - p.others_per_s;
                free.min(p.quota.map_or(f64::INFINITY, |q| q.per_s)) / calls
            });
        each.fold(f64::INFINITY, f64::min)
    }
}
