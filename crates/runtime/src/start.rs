//! Starting a node and stopping it: what is opened in which order, and the threads that run it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

use load::LoadManager;
use model::{PartitionId, Timestamp};
use parking_lot::{Mutex, RwLock};
use store::history::History;
use store::statelog::Checkpointer;

use crate::clock::Clock;
use crate::engine::{Engine, StartError};
use crate::idempotency::LiveKeys;
use crate::inbox::{Inbox, Note};
use crate::numbers::Numbers;
use crate::recovery;
use crate::settings::{Serve, Settings};
use crate::shared::Shared;
use crate::view::Renderer;
use crate::worker::{Host, RESIDENT_BYTES, Worker, partitions_of};

/// The threads of a node.
#[derive(Default)]
pub(crate) struct Threads {
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Ends the workers, then the journal. What is under way becomes durable first.
    pub(crate) fn stop(&self, shared: &Shared) {
        let workers = std::mem::take(&mut *self.workers.lock());
        if workers.is_empty() {
            return;
        }
        // No more calls start: those that wait are parked, provably not started, and go on after the next start.
        let mut verdicts = Vec::new();
        shared.load.lock().pause(load::Which::All, &mut verdicts);
        shared.deliver(verdicts);
        for inbox in &shared.inboxes {
            inbox.send(Note::Stop);
        }
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        crate::steering::keep(shared);
        let journal = shared.journal.write().take();
        if let Some(journal) = journal {
            journal.stop();
        }
        // Whoever opens the directory next must not meet the end of this one's history.
        if let Err(error) = shared.history.flush_to_disk(shared.history.position()) {
            tracing::warn!(%error, "history was not written to its end; the next start completes it from the journal");
        }
    }
}

fn failed(what: &str, e: impl std::fmt::Display) -> StartError {
    StartError(format!("{what}: {e}"))
}

pub(crate) fn start(settings: Settings, renderer: Renderer, serve: Option<&Serve>) -> Result<Engine, StartError> {
    if settings.workers == 0 || settings.partitions == 0 || settings.partitions > model::id::PARTITIONS_MAX {
        return Err(StartError(format!(
            "workers is {} and partitions is {}; both must be at least 1, partitions at most {}",
            settings.workers,
            settings.partitions,
            model::id::PARTITIONS_MAX
        )));
    }
    std::fs::create_dir_all(&settings.data)
        .map_err(|e| failed(&format!("the data directory {}", settings.data.display()), e))?;
    // The journal's lock comes first: everything else in the directory is behind it.
    let mut opened = open_journal(&settings).map_err(|e| failed("the journal", e))?;
    let wall = Clock::start(Timestamp::ZERO).now();
    let (catalog, identity, is_new) = recovery::open_catalog(&settings, wall)?;
    #[cfg_attr(not(feature = "faults"), expect(unused_mut, reason = "only poison is put into it"))]
    let mut tables = recovery::tables(&catalog)?;
    #[cfg(feature = "faults")]
    tables.poison.clone_from(&settings.faults.poison);
    let (history, found) =
        History::open(&settings.data.join("history"), history_settings(&settings)).map_err(|e| failed("history", e))?;
    for warning in &found.warnings {
        tracing::warn!(warning, "history was repaired");
    }
    let recovery = opened.recovery();
    if let Some(torn) = &recovery.torn {
        tracing::warn!(place = %torn.place, bytes = torn.bytes, "the last write was cut short by a crash; nothing of it had been acknowledged");
    }
    let keys = LiveKeys::new();
    let resident_max = (settings.memory_bytes_max / 2 / RESIDENT_BYTES) as usize / usize::from(identity.partitions);
    let mut restored = restore_all(&settings.data.join("state"), identity.partitions, resident_max, &keys, &tables)?;
    let (frozen, tails, entries) = recovery::replay(&mut opened, &mut restored, &history, &keys)?;
    let last = restored.iter().map(|r| r.partition.at).max().unwrap_or(Timestamp::ZERO);
    let clock = Clock::start(last);
    let now = clock.now();
    let statelogs: Vec<_> = restored.iter().map(|r| r.log.clone()).collect();
    let rebuilt: Vec<_> = restored.into_iter().zip(tails).zip(frozen).map(|((r, tail), why)| (r, tail, why)).collect();
    let hosts = on_all_cores(rebuilt, |(r, tail, why)| recovery::host(r, tail, why, &identity, &tables, now))?;
    let live: u64 = hosts.iter().map(|h| h.leader.partition.live_count() as u64).sum();
    if !is_new {
        tracing::info!(entries, live, "replayed");
    }
    let workers = settings.workers.min(usize::from(identity.partitions));
    let inboxes: Vec<Arc<Inbox>> = (0..workers).map(|_| Arc::new(Inbox::new(settings.inbox_max))).collect();
    let shared = Arc::new(Shared {
        partitions: identity.partitions,
        clock,
        renderer,
        inboxes: inboxes.clone(),
        journal: RwLock::new(None),
        load: Mutex::new(LoadManager::new()),
        kept_answers: crate::given::KeptAnswers::default(),
        avoided: Mutex::default(),
        routes: Mutex::default(),
        history,
        statelogs,
        checkpointer: Checkpointer::start(usize::from(identity.partitions)).map_err(|e| failed("checkpoints", e))?,
        catalog: Mutex::new(catalog),
        tables: RwLock::new(Arc::default()),
        generation: AtomicU64::new(0),
        keys,
        numbers: Numbers::default(),
        started_at: now,
        draining: AtomicBool::new(false),
        admits: AtomicBool::new(true),
        disk_is_low: AtomicBool::new(false),
        history_behind_bytes: AtomicU64::new(0),
        failed: Mutex::new(None),
        has_failed: AtomicBool::new(false),
        parked_calls: Mutex::default(),
        running: Mutex::default(),
        ages: Mutex::default(),
        settings,
    });
    shared.numbers.live.store(live, std::sync::atomic::Ordering::Relaxed);
    let parked: usize = hosts.iter().map(Host::parked_count).sum();
    shared.numbers.parked.store(parked as u64, std::sync::atomic::Ordering::Relaxed);
    for host in &hosts {
        for (participant, queue) in &host.parked {
            *shared.parked_calls.lock().entry(*participant).or_default() += queue.len() as u64;
        }
    }
    shared.declare(&tables);
    {
        crate::steering::recall(&shared, now);
        let mut load = shared.load.lock();
        load.new_epoch();
        for (participant, count) in shared.parked_calls.lock().iter() {
            load.set_parked(*participant, *count);
        }
    }
    shared.publish(tables);
    let notify = inboxes;
    let journal = opened
        .start(Box::new(move |worker, committed| notify[worker].send(Note::Committed(committed))))
        .map_err(|e| failed("the journal", e))?;
    let journal: Arc<dyn journal::Journal> = Arc::new(journal);
    *shared.journal.write() = Some(Arc::clone(&journal));
    // Every life leaves segments behind that the next start reads whole, however little is in them. They count as written,
    // so that a node that dies young again and again makes checkpoints all the same.
    let left = journal.figures().live_segments * journal_settings(&shared.settings).segment_bytes;
    shared.numbers.journal_bytes.store(left, std::sync::atomic::Ordering::Relaxed);
    let engine = Engine { shared: Arc::clone(&shared), threads: Arc::new(Threads::default()) };
    let mut hosts: Vec<Option<Host>> = hosts.into_iter().map(Some).collect();
    for index in 0..workers {
        let mine: Vec<Host> =
            partitions_of(index, workers, identity.partitions).filter_map(|p| hosts[usize::from(p)].take()).collect();
        let thread = spawn(index, &engine, Arc::clone(&journal), mine, serve.cloned())?;
        engine.threads.workers.lock().push(thread);
    }
    Ok(engine)
}

fn restore_all(
    dir: &Path,
    partitions: u16,
    resident_max: usize,
    keys: &LiveKeys,
    tables: &crate::tables::Tables,
) -> Result<Vec<recovery::Restored>, StartError> {
    let all: Vec<u16> = (0..partitions).collect();
    on_all_cores(all, |id| recovery::restore(dir, PartitionId(id), resident_max, keys, tables))
}

/// Does the same for every partition on as many threads as there are cores; the results stand in order.
fn on_all_cores<T: Send, U: Send>(
    work: Vec<T>,
    act: impl Fn(T) -> Result<U, StartError> + Sync,
) -> Result<Vec<U>, StartError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(work.into_iter().enumerate().collect::<std::collections::VecDeque<_>>());
    let found: Mutex<Vec<(usize, Result<U, StartError>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((place, one)) = waiting.lock().pop_front() else { return };
                    let done = act(one);
                    found.lock().push((place, done));
                }
            });
        }
    });
    let mut found = found.into_inner();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, done)| done).collect()
}

fn open_journal(settings: &Settings) -> Result<journal::Opened, journal::Error> {
    #[cfg(feature = "faults")]
    if let Some(disk) = &settings.faults.journal_disk {
        return journal::open_on(journal_settings(settings), Arc::clone(disk));
    }
    journal::open(journal_settings(settings))
}

fn journal_settings(settings: &Settings) -> journal::Settings {
    let mut journal = journal::Settings::new(settings.data.join("journal"));
    let max = settings.journal_disk_bytes_max;
    journal.disk_bytes_max = max;
    // On a small disk segments are small, so that trimming still frees one of many.
    journal.segment_bytes = (max / 16).next_multiple_of(4_096).clamp(4 << 20, journal.segment_bytes);
    journal.low_watermark_bytes = journal.low_watermark_bytes.min(4 * journal.segment_bytes);
    journal.keep_free_bytes = journal.keep_free_bytes.min(max / 8);
    journal
}

fn history_settings(settings: &Settings) -> store::history::Settings {
    let usual = store::history::Settings::default();
    let segment_bytes = (settings.journal_disk_bytes_max / 32).clamp(4 << 20, usual.segment_bytes);
    store::history::Settings { segment_bytes, ..usual }
}

fn spawn(
    index: usize,
    engine: &Engine,
    journal: Arc<dyn journal::Journal>,
    hosts: Vec<Host>,
    serve: Option<Serve>,
) -> Result<JoinHandle<()>, StartError> {
    let engine = engine.clone();
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(e) => return engine.shared.fail(format!("worker {index} has no runtime: {e}")),
            };
            let local = tokio::task::LocalSet::new();
            let shared = Arc::clone(&engine.shared);
            if let Some(serve) = serve {
                local.spawn_local(serve(index, engine));
            }
            let worker = Worker::new(index, Arc::clone(&shared), journal, hosts);
            let run = std::panic::AssertUnwindSafe(|| local.block_on(&runtime, worker.run()));
            if let Err(panic) = std::panic::catch_unwind(run) {
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic without words");
                shared.fail(format!("worker {index} panicked: {what}"));
            }
            shared.inboxes[index].close();
            // What the HTTP front still owes its clients goes out before the core ends.
            runtime.block_on(async { drop(tokio::time::timeout(std::time::Duration::from_millis(200), local).await) });
        })
        .map_err(|e| failed("a worker thread", e))
}
