//! A journal in memory, for tests and the simulator: the same contract, no disk.
//!
//! [`MemoryStore`] plays the disk: it outlives a journal that is dropped, and is opened again like one. With
//! [`MemoryOpened::start`] a thread commits what is queued; with [`MemoryOpened::start_manual`] nothing is committed
//! until [`MemoryJournal::commit`] is called, on the caller's thread, so that a simulation stays deterministic.
//! Dropping a journal without `stop` is a crash: what was queued is lost, and nobody is told.
//!
//! Left out: segments, seals, full disks, damage. Those are properties of files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::batch::Batch;
use crate::contract::{Committed, Completion, Durable, Figures, Journal, KeptFiles, Part, Refused, Status, Why};
use crate::error::{Damage, Error, Place};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader};
use crate::recovered::{Gate, Recovered, RecoveredBatch, Recovery, Starts, Tail, Verdict};
use crate::tails::Tails;

const QUEUE_BYTES_MAX: usize = 64 << 20;
const PART_BYTES_MAX: usize = 4 << 20;

/// What survives a journal: committed batches, in order.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    in_use: bool,
    last_group: u64,
    batches: VecDeque<Kept>,
    trimmable: BTreeMap<u16, u64>,
}

#[derive(Debug)]
struct Kept {
    group: u64,
    partition: u16,
    last_seq: u64,
    bytes: Arc<[u8]>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// As opening a folder: one journal at a time.
    pub fn open(&self) -> Result<MemoryOpened, Error> {
        let mut record = locked(&self.record);
        if record.in_use {
            return Err(Error::Locked { dir: "memory".to_owned(), pid: Some(std::process::id()) });
        }
        record.in_use = true;
        let mut recovery = Recovery { last_group: record.last_group, ..Recovery::default() };
        let mut groups = BTreeSet::new();
        for kept in &record.batches {
            if let Some(header) = BatchHeader::decode(&kept.bytes) {
                recovery.tails.insert(kept.partition, Tail { seq: kept.last_seq, hash: header.hash });
            }
            groups.insert(kept.group);
            recovery.batches += 1;
        }
        recovery.groups = groups.len() as u64;
        drop(record);
        Ok(MemoryOpened { lease: Lease(self.clone()), recovery, frozen: BTreeSet::new() })
    }
}

/// The right to be the store's only journal.
#[derive(Debug)]
struct Lease(MemoryStore);

impl Drop for Lease {
    fn drop(&mut self) {
        locked(&self.0.record).in_use = false;
    }
}

/// An opened store, not yet started.
#[derive(Debug)]
pub struct MemoryOpened {
    lease: Lease,
    recovery: Recovery,
    frozen: BTreeSet<u16>,
}

impl MemoryOpened {
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Refuses every batch of `partition` from now on.
    pub fn freeze(&mut self, partition: u16) {
        self.frozen.insert(partition);
    }

    /// All batches behind `starts`, in the order in which they were committed.
    pub fn batches(&self, starts: &Starts) -> Result<impl Iterator<Item = Result<Recovered, Error>> + use<>, Error> {
        let mut gate = Gate::new(starts);
        let mut found = Vec::new();
        for (at, kept) in locked(&self.lease.0.record).batches.iter().enumerate() {
            let Some(header) = BatchHeader::decode(&kept.bytes) else { continue };
            let place = Place::Segment { segment: kept.group, offset: at as u64 };
            match gate.admit(&header) {
                Verdict::Skip => {}
                Verdict::Deliver => {
                    let entries = BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + header.length as usize;
                    let bytes = kept.bytes.clone();
                    found.push(Recovered::Batch(RecoveredBatch::new(&header, kept.group, place, bytes, entries)));
                }
                Verdict::Damaged(kind) => {
                    let partition = Some(kept.partition);
                    found.push(Recovered::Damaged(Damage { place, group: kept.group, batch: None, partition, kind }));
                }
            }
        }
        for (partition, kind) in gate.finish() {
            let place = Place::Segment { segment: self.recovery.last_group, offset: 0 };
            let group = self.recovery.last_group;
            found.push(Recovered::Damaged(Damage { place, group, batch: None, partition: Some(partition), kind }));
        }
        Ok(found.into_iter().map(Ok))
    }

    /// Commits on a thread of its own, as a file journal does.
    pub fn start(self, completion: Completion) -> MemoryJournal {
        let mut journal = self.start_manual(completion);
        let shared = Arc::clone(&journal.shared);
        journal.thread = Mutex::new(Some(std::thread::spawn(move || {
            while shared.wait() {
                shared.commit();
            }
        })));
        journal
    }

    /// Commits only when [`MemoryJournal::commit`] is called.
    pub fn start_manual(self, completion: Completion) -> MemoryJournal {
        let shared = Shared {
            store: self.lease.0.clone(),
            lease: Mutex::new(Some(self.lease)),
            queue: Mutex::new(Queue::default()),
            arrived: Condvar::new(),
            bench: Mutex::new(Bench { tails: Tails::new(self.recovery.tails, self.frozen), completion }),
            figures: Mutex::new(Figures::default()),
        };
        MemoryJournal { shared: Arc::new(shared), thread: Mutex::new(None) }
    }
}

/// See the head of this file.
pub struct MemoryJournal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: MemoryStore,
    lease: Mutex<Option<Lease>>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    bench: Mutex<Bench>,
    figures: Mutex<Figures>,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<(usize, Part)>,
    bytes: usize,
    stopping: bool,
}

struct Bench {
    tails: Tails,
    completion: Completion,
}

impl MemoryJournal {
    /// Makes durable what is queued, as one group, and tells the workers. True if there was anything.
    pub fn commit(&self) -> bool {
        self.shared.commit()
    }
}

impl Shared {
    /// False when there is nothing to come any more.
    fn wait(&self) -> bool {
        let mut queue = locked(&self.queue);
        while queue.parts.is_empty() && !queue.stopping {
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        !queue.parts.is_empty()
    }

    fn commit(&self) -> bool {
        // One group at a time, in order: taken before the queue, so that two callers cannot overtake each other.
        let mut bench = locked(&self.bench);
        let parts = {
            let mut queue = locked(&self.queue);
            queue.bytes = 0;
            std::mem::take(&mut queue.parts)
        };
        if parts.is_empty() {
            return false;
        }
        let mut ended = Vec::with_capacity(parts.len());
        {
            let mut record = locked(&self.store.record);
            let mut figures = locked(&self.figures);
            let group = record.last_group + 1;
            for (worker, part) in parts {
                let result = bench.tails.advance(&part).map(|()| Durable { group });
                if result.is_ok() {
                    record.last_group = group;
                    figures.parts += 1;
                    figures.batches += part.batches.len() as u64;
                    figures.written_bytes += part.bytes() as u64;
                    record.batches.extend(part.batches.iter().map(|batch| Kept::new(group, batch)));
                }
                ended.push((worker, Committed { token: part.token, result, batches: part.batches }));
            }
            figures.groups += u64::from(record.last_group == group);
        }
        for (worker, committed) in ended {
            (bench.completion)(worker, committed);
        }
        true
    }
}

impl Kept {
    fn new(group: u64, batch: &Batch) -> Self {
        Self { group, partition: batch.partition(), last_seq: batch.last_seq(), bytes: batch.bytes().into() }
    }
}

impl Journal for MemoryJournal {
    fn submit(&self, worker: usize, part: Part) -> Result<(), Refused> {
        let part_bytes = part.bytes();
        let mut queue = locked(&self.shared.queue);
        let why = if queue.stopping {
            Some(Why::Stopped)
        } else if part.batches.is_empty() {
            Some(Why::Empty)
        } else if part_bytes > PART_BYTES_MAX {
            Some(Why::TooLarge { part_bytes, part_bytes_max: PART_BYTES_MAX })
        } else if queue.bytes + part_bytes > QUEUE_BYTES_MAX {
            Some(Why::QueueFull { queued_bytes: queue.bytes, queue_bytes_max: QUEUE_BYTES_MAX })
        } else {
            None
        };
        if let Some(why) = why {
            return Err(Refused { why, part });
        }
        queue.bytes += part_bytes;
        queue.parts.push_back((worker, part));
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(())
    }

    fn trimmable(&self, partition: u16, seq: u64) {
        let mut record = locked(&self.shared.store.record);
        let known = record.trimmable.entry(partition).or_default();
        *known = (*known).max(seq);
        while let Some(head) = record.batches.front()
            && record.trimmable.get(&head.partition).is_some_and(|&seq| head.last_seq <= seq)
        {
            record.batches.pop_front();
        }
    }

    fn status(&self) -> Status {
        Status::Well
    }

    fn figures(&self) -> Figures {
        let queued_bytes = locked(&self.shared.queue).bytes as u64;
        Figures { queued_bytes, free_bytes: u64::MAX, ..*locked(&self.shared.figures) }
    }

    fn keep_files(&self) -> std::io::Result<KeptFiles> {
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "a journal in memory has no files"))
    }

    fn stop(&self) {
        locked(&self.shared.queue).stopping = true;
        self.shared.arrived.notify_all();
        match locked(&self.thread).take() {
            // A completion that panicked has been reported by its own thread; there is nothing to add here.
            Some(thread) => drop(thread.join()),
            None => drop(self.shared.commit()),
        }
        drop(locked(&self.shared.lease).take());
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        {
            let mut queue = locked(&self.shared.queue);
            queue.stopping = true;
            queue.parts.clear();
        }
        self.shared.arrived.notify_all();
        if let Some(thread) = locked(&self.thread).take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJournal").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
