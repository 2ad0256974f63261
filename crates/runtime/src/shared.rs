//! What all threads of a node share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use compact_str::CompactString;
use journal::Journal;
use load::LoadManager;
use model::{PartitionId, Timestamp, TxId};
use parking_lot::{Mutex, RwLock};
use plan::PlanHash;
use store::catalog::Catalog;
use store::history::History;
use store::statelog::{Checkpointer, StateLog};

use crate::clock::Clock;
use crate::idempotency::LiveKeys;
use crate::inbox::Inbox;
use crate::numbers::Numbers;
use crate::settings::Settings;
use crate::tables::Tables;
use crate::view::Renderer;

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) partitions: u16,
    pub(crate) clock: Clock,
    pub(crate) renderer: Renderer,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) journal: RwLock<Option<Arc<dyn Journal>>>,
    pub(crate) load: Mutex<LoadManager>,
    /// Bodies of the answers that the load manager keeps.
    pub(crate) kept_answers: crate::given::KeptAnswers,
    pub(crate) avoided: Mutex<crate::given::Avoided>,
    /// Numbers of routes that the load manager knows, by plan and step.
    pub(crate) routes: Mutex<BTreeMap<(PlanHash, model::StepIndex), u32>>,
    pub(crate) history: History,
    pub(crate) statelogs: Vec<StateLog>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) tables: RwLock<Arc<Tables>>,
    /// The generation of `tables`, to be compared without a lock.
    pub(crate) generation: AtomicU64,
    pub(crate) keys: LiveKeys,
    pub(crate) numbers: Numbers,
    pub(crate) started_at: Timestamp,
    /// No new work.
    pub(crate) draining: AtomicBool,
    /// New work may come in: renewed many times a second.
    pub(crate) admits: AtomicBool,
    /// The journal's disk is nearly full: whoever can make room does.
    pub(crate) disk_is_low: AtomicBool,
    /// Bytes of ended transactions that history could not take yet, of all workers.
    pub(crate) history_behind_bytes: AtomicU64,
    /// Why the node takes no more work for good: a failed journal, a broken partition.
    pub(crate) failed: Mutex<Option<String>>,
    pub(crate) has_failed: AtomicBool,
    /// Parked calls of the node, by participant.
    pub(crate) parked_calls: Mutex<BTreeMap<u32, u64>>,
    /// By worker: live transactions by plan, and the oldest by what it waits for.
    pub(crate) running: Mutex<BTreeMap<usize, BTreeMap<PlanHash, u64>>>,
    pub(crate) ages: Mutex<BTreeMap<usize, Ages>>,
}

/// When the oldest live transaction began, in µs since 1970, by what it waits for and its name.
pub(crate) type Ages = BTreeMap<(&'static str, String), u64>;

impl Shared {
    pub(crate) fn worker_of(&self, partition: PartitionId) -> &Arc<Inbox> {
        &self.inboxes[usize::from(partition.0) % self.inboxes.len()]
    }

    pub(crate) fn inbox_of(&self, tx: TxId) -> Option<&Arc<Inbox>> {
        (tx.partition().0 < self.partitions).then(|| self.worker_of(tx.partition()))
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read())
    }

    pub(crate) fn journal_status(&self) -> journal::Status {
        self.journal.read().as_ref().map_or(journal::Status::Well, |j| j.status())
    }

    /// The node stops taking work, for good.
    pub(crate) fn fail(&self, why: String) {
        tracing::error!(why, "the node has failed and takes no more work");
        self.failed.lock().get_or_insert(why);
        self.has_failed.store(true, Ordering::Release);
        self.admits.store(false, Ordering::Release);
        for inbox in &self.inboxes {
            inbox.tell();
        }
    }

    /// Tells the load manager of participants as they are declared now.
    pub(crate) fn declare(&self, tables: &Tables) {
        let mut load = self.load.lock();
        let mut verdicts = Vec::new();
        for (place, declared) in tables.participants.iter().enumerate() {
            let spec = &declared.spec;
            load.set_participant(
                place as u32,
                load::ParticipantSpec {
                    name: spec.name.clone(),
                    endpoints: spec.endpoints.len() as u16,
                    max_in_flight: spec.limits.max_in_flight,
                    max_per_second: spec.limits.max_per_second,
                    min_in_flight: spec.limits.min_in_flight,
                    learn: match spec.limits.learn {
                        plan::Learn::Off => load::Learn::Off,
                        plan::Learn::Observe => load::Learn::Observe,
                        plan::Learn::On => load::Learn::On,
                    },
                    initial_in_flight: None,
                    pinned_in_flight: declared.pinned.as_ref().map(|pin| pin.in_flight),
                },
            );
            match &declared.paused {
                Some(_) => load.pause(load::Which::One(place as u32), &mut verdicts),
                None if load.report_state(place as u32) == Some(load::State::Paused) => {
                    load.resume(load::Which::One(place as u32));
                }
                None => {}
            }
        }
        match &tables.paused {
            Some(_) => load.pause(load::Which::All, &mut verdicts),
            // A node that stops has paused them for good.
            None if load.is_paused() && !self.draining.load(Ordering::Acquire) => load.resume(load::Which::All),
            None => {}
        }
        drop(load);
        self.deliver(verdicts);
    }

    /// The number of what comes after a step of a plan; told to the load manager when it is new.
    pub(crate) fn route(&self, step: (PlanHash, model::StepIndex), later: &[u32]) -> u32 {
        let mut routes = self.routes.lock();
        let next = routes.len() as u32 + 1;
        let number = *routes.entry(step).or_insert(next);
        if number == next {
            self.load.lock().set_route(number, later);
        }
        number
    }

    /// Tells each worker what was decided about its calls.
    pub(crate) fn deliver(&self, verdicts: Vec<load::Verdict>) {
        let mut by_worker: BTreeMap<u16, Vec<load::Verdict>> = BTreeMap::new();
        for verdict in verdicts {
            by_worker.entry(verdict.call().worker).or_default().push(verdict);
        }
        for (worker, verdicts) in by_worker {
            self.inboxes[usize::from(worker)].send(crate::inbox::Note::Verdicts(verdicts));
        }
    }

    /// Replaces what is in force, and lets every worker know.
    pub(crate) fn publish(&self, mut tables: Tables) {
        tables.generation = self.generation.load(Ordering::Relaxed) + 1;
        let generation = tables.generation;
        *self.tables.write() = Arc::new(tables);
        self.generation.store(generation, Ordering::Release);
        for inbox in &self.inboxes {
            inbox.tell();
        }
    }
}

/// A 32-bit name for a filter of history: definitions, participants and steps by their words.
pub(crate) fn tag(kind: &str, name: &str) -> u32 {
    let kind = xxhash_rust::xxh3::xxh3_64(kind.as_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), kind) as u32
}

/// The hash by which history finds (definition, key).
pub(crate) fn key_hash(definition: &str, key: &Option<CompactString>) -> u64 {
    match key {
        None => 0,
        Some(key) => {
            let seed = xxhash_rust::xxh3::xxh3_64(definition.as_bytes());
            xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), seed) | 1
        }
    }
}
