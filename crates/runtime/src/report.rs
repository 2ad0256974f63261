//! How the node is: readiness, participants, and the numbers behind `/v1/node` and `/metrics`.

pub use load::Learned;
use model::Timestamp;

/// May the node take work?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Starting, draining, disk full, failed: with the reason.
    NotReady(String),
}

/// A participant as the node sees it.
#[derive(Clone, Debug)]
pub struct ParticipantReport {
    pub name: String,
    pub owner: Option<String>,
    pub endpoints: Vec<String>,
    /// `well`, `held`, `probing`, `paused`, `does_not_know_us`.
    pub state: &'static str,
    pub limit: u32,
    pub max_per_second: Option<u32>,
    pub in_flight: u32,
    pub backlog: u64,
    pub parked: u64,
    pub done_per_s: f64,
    pub p99_ms: Option<f64>,
    pub why: String,
    pub paused: Option<crate::catalog::PauseReport>,
    /// Transactions that wait for it before their first call.
    pub gated: u64,
    /// `off`, `observe`, `on`.
    pub learn: &'static str,
    pub pinned: Option<crate::catalog::PinReport>,
    /// Unless `learn` is off.
    pub learned: Option<Learned>,
    /// Calls that were not made since the start, because a call that was on its way answered them, and because an
    /// answer had been kept.
    pub avoided_joined: u64,
    pub avoided_kept: u64,
    /// Why the limit is where it is, in words and numbers.
    pub explain: String,
}

/// `/v1/node`.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub version: &'static str,
    pub formats: Vec<(&'static str, u32)>,
    pub started_at: Timestamp,
    pub partitions: u16,
    pub workers: usize,
    pub live: u64,
    pub history_records: u64,
    pub idempotency_window_days: u32,
    pub disk_free_bytes: u64,
    pub journal_bytes: u64,
    pub memory_ceiling_bytes: u64,
    /// Name, value, where it came from.
    pub settings: Vec<(String, String, String)>,
    pub readiness: Readiness,
}

/// One family of numbers for Prometheus.
#[derive(Clone, Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: FamilyKind,
    /// Label pairs and the value.
    pub samples: Vec<(Vec<(&'static str, String)>, SampleValue)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug)]
pub enum SampleValue {
    Number(f64),
    /// Upper bounds in the family's unit with cumulative counts, then sum and count.
    Histogram {
        buckets: Vec<(f64, u64)>,
        sum: f64,
        count: u64,
    },
}
