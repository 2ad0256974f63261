//! Settings are numbers that a user tunes; components are parts that the binary injects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::view::Renderer;

/// The numbers of one node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory; made if it is missing. One process at a time.
    pub data: PathBuf,
    /// Only when the directory is made; fixed for its life. More: more cores can share the work.
    pub partitions: u16,
    /// Threads that run transactions. More than the cores only costs.
    pub workers: usize,
    /// Journal bytes of one partition between two checkpoints. More: fewer rows written, longer recovery.
    pub checkpoint_every_bytes: u64,
    /// Memory for live transactions; beyond it rows rest in the checkpoint, then new work is refused.
    pub memory_bytes_max: u64,
    /// Submissions that may wait for one worker. Beyond it: 429.
    pub inbox_max: usize,
    /// How long an ended transaction's idempotency key is remembered, at least.
    pub idempotency_window: Duration,
    /// How long ended transactions can be looked up.
    pub history_retention: Duration,
    /// Where `${secret.x}` finds file `x`.
    pub secrets: Option<PathBuf>,
    /// In-flight calls are waited for this long at a clean stop; calls that have not started are parked.
    pub drain: Duration,
    /// Bytes that the journal's files may have together; at least 64 MiB makes sense. Smaller also makes the files of
    /// journal and history smaller.
    pub journal_disk_bytes_max: u64,
    /// Participants answered inside the process (bench and tests) instead of over HTTP.
    pub local: Option<LocalParticipants>,
    /// What tests do to the node; nothing by default.
    #[cfg(feature = "faults")]
    pub faults: Faults,
}

/// Ways in for tests that make a part of the node fail.
#[cfg(feature = "faults")]
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// In place of the journal's folder.
    pub journal_disk: Option<Arc<dyn journal::disk::Disk>>,
    /// Whoever looks this participant up panics: a transaction that calls it is poison (SEMANTICS 12).
    pub poison: Option<String>,
}

/// Answers every call at once, inside the process.
#[derive(Clone)]
pub struct LocalParticipants(pub Arc<dyn Fn(&connectors::Call) -> connectors::Reply + Send + Sync>);

impl std::fmt::Debug for LocalParticipants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalParticipants")
    }
}

impl Settings {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            partitions: 4,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            checkpoint_every_bytes: 64 << 20,
            memory_bytes_max: 1 << 30,
            inbox_max: 16_384,
            idempotency_window: Duration::from_secs(7 * 86_400),
            history_retention: Duration::from_secs(30 * 86_400),
            secrets: None,
            drain: Duration::from_secs(10),
            journal_disk_bytes_max: 8 << 30,
            local: None,
            #[cfg(feature = "faults")]
            faults: Faults::default(),
        }
    }
}

/// What runs on every worker thread beside the engine, sharing its core: the HTTP front.
///
/// Called once per worker with its number; the future lives on that worker's single-threaded runtime until the
/// engine stops.
pub type Serve = Arc<dyn Fn(usize, crate::Engine) -> std::pin::Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// The parts of one node.
#[derive(Clone)]
pub struct Components {
    pub renderer: Renderer,
    pub serve: Option<Serve>,
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Components").field("serve", &self.serve.is_some()).finish_non_exhaustive()
    }
}
