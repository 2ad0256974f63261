//! The journal of a node on its disk.
//!
//! ```text
//! open(settings) ──► Opened ── recovery()      what was found: torn end, damage, ends of the chains
//!                      │    ── batches(starts) what happened behind the snapshots, in order
//!                      └─ start(completion) ──► FileJournal: writer and keeper run
//! ```
//! Left out: the contract (`contract`), the threads' work (`writer`, `keeper`).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::contract::{Completion, Figures, Journal, KeptFile, KeptFiles, Part, Refused, Status};
use crate::disk::{DirDisk, Disk, Guard};
use crate::error::Error;
use crate::inbox::Inbox;
use crate::keeper::Keeper;
use crate::reading::Batches;
use crate::recovered::{Recovery, Starts};
use crate::recovery::{self, Recovered};
use crate::segment::{Names, segment_name, side_name};
use crate::settings::Settings;
use crate::tails::Tails;
use crate::writer::{Counters, Rest, Writer};
use crate::yard::Yard;

/// Opens (or makes) the journal in `settings.dir`. When this returns, all that was found is on disk.
pub fn open(settings: Settings) -> Result<Opened, Error> {
    settings.check()?;
    let dir = settings.dir.clone();
    fs::create_dir_all(&dir).map_err(Error::io(format!("cannot make the folder {}", dir.display())))?;
    open_on(settings, Arc::new(DirDisk::new(dir)))
}

/// As [`open`] on any disk; `settings.dir` only appears in messages.
pub fn open_on(settings: Settings, disk: Arc<dyn Disk>) -> Result<Opened, Error> {
    settings.check()?;
    let recovered = recovery::recover(&settings, &disk)?;
    Ok(Opened { settings, disk, recovered, frozen: BTreeSet::new() })
}

/// A journal that has been secured and can be read; not yet started. Dropping it releases the lock.
#[derive(Debug)]
pub struct Opened {
    settings: Settings,
    disk: Arc<dyn Disk>,
    recovered: Recovered,
    frozen: BTreeSet<u16>,
}

impl Opened {
    /// What was found. Partitions in `damage` are frozen already.
    pub fn recovery(&self) -> &Recovery {
        &self.recovered.recovery
    }

    /// Every batch behind `starts` in the order in which it became durable, per partition in the order of its chain.
    /// Can be called again.
    pub fn batches(&self, starts: &Starts) -> Result<Batches, Error> {
        Batches::new(&self.disk, starts)
    }

    /// Refuses every batch of `partition` from now on: its state could not be rebuilt.
    pub fn freeze(&mut self, partition: u16) {
        self.frozen.insert(partition);
    }

    /// Starts writer and keeper. `completion` is called on the writer's thread: hand over, never wait.
    pub fn start(self, completion: Completion) -> Result<FileJournal, Error> {
        let Self { settings, disk, recovered, mut frozen } = self;
        let Recovered { guard, recovery, yard, active, next_group } = recovered;
        frozen.extend(yard.frozen.iter().copied());
        let inbox = Arc::new(Inbox::new(settings.queue_bytes_max, settings.part_bytes_max()));
        let settings = Arc::new(settings);
        let yard = Arc::new(Yard::new(yard));
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            settings: Arc::clone(&settings),
            disk: Arc::clone(&disk),
            inbox: Arc::clone(&inbox),
            yard: Arc::clone(&yard),
            counters: Arc::clone(&counters),
            completion,
            next_group,
            tails: Tails::new(recovery.tails, frozen),
            active,
            rest: Rest::default(),
        };
        writer.tell_left();
        let keeper = Arc::new(Keeper { yard: Arc::clone(&yard), disk, settings: Arc::clone(&settings) });
        keeper.measure();
        let keeping = Arc::clone(&keeper);
        let keeping = spawn("journal-keeper", move || keeping.run())?;
        let panicked = Arc::clone(&inbox);
        let writing = spawn("journal-writer", move || {
            if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                // What was queued is dropped without a word: its workers learn it from `status`, and the node stops.
                drop(panicked.fail("the journal's writer panicked".into()));
            }
        });
        let writing = match writing {
            Ok(writing) => writing,
            Err(error) => {
                yard.end();
                drop(keeping.join());
                return Err(error);
            }
        };
        let threads = Mutex::new(Some((writing, keeping)));
        Ok(FileJournal { inbox, yard, counters, settings, keeper, threads, guard: Mutex::new(Some(guard)) })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::io(format!("cannot start thread {name}")))
}

/// See the head of this file. Dropping it stops it cleanly.
pub struct FileJournal {
    inbox: Arc<Inbox>,
    yard: Arc<Yard>,
    counters: Arc<Counters>,
    settings: Arc<Settings>,
    keeper: Arc<Keeper>,
    threads: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
    /// Given back when the threads have ended.
    guard: Mutex<Option<Box<dyn Guard>>>,
}

impl FileJournal {
    /// Deletes the reserve, so that a snapshot has room to be written, after which `trimmable` gives segments back.
    /// The bytes that became free; 0 if there was no reserve. It is made again when there is room.
    pub fn give_up_reserve(&self) -> io::Result<u64> {
        self.keeper.give_up_reserve()
    }
}

impl Journal for FileJournal {
    fn submit(&self, worker: usize, part: Part) -> Result<(), Refused> {
        self.inbox.submit(worker, part)
    }

    fn trimmable(&self, partition: u16, seq: u64) {
        self.yard.trimmable(partition, seq);
    }

    fn status(&self) -> Status {
        if let Some(why) = self.inbox.failed() {
            return Status::Failed { why };
        }
        if self.inbox.is_disk_full() {
            return Status::DiskFull;
        }
        let free_bytes = self.yard.free_bytes();
        if free_bytes < self.settings.low_watermark_bytes { Status::DiskLow { free_bytes } } else { Status::Well }
    }

    fn figures(&self) -> Figures {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let queued_bytes = self.inbox.queued_bytes() as u64;
        let free_bytes = self.yard.free_bytes();
        let yard = self.yard.lock();
        Figures {
            groups: count(&self.counters.groups),
            seals: count(&self.counters.seals),
            parts: count(&self.counters.parts),
            batches: count(&self.counters.batches),
            written_bytes: count(&self.counters.written_bytes),
            write_time_us: count(&self.counters.write_time_us),
            sync_time_us: count(&self.counters.sync_time_us),
            segments_prepared: yard.prepared,
            segments_recycled: yard.recycled,
            batches_moved_aside: yard.moved_aside,
            queued_bytes,
            live_segments: yard.closed.len() as u64 + 1,
            side_bytes: yard.sides.values().map(|side| side.end).sum(),
            free_bytes,
        }
    }

    fn keep_files(&self) -> io::Result<KeptFiles> {
        self.yard.keep();
        let yard = Arc::clone(&self.yard);
        let mut kept = KeptFiles { files: Vec::new(), release: Some(Box::new(move || yard.keep_no_more())) };
        // Read before the names: a segment that becomes active after this is left out, with all that is behind it.
        let (active, end) = self.yard.active();
        let disk = &self.keeper.disk;
        let names = Names::read(&**disk)?;
        let segments = names.segments.iter().filter(|&&id| id <= active);
        let segments = segments.map(|&id| (segment_name(id), (id == active).then_some(end)));
        let sides = names.sides.iter().map(|&partition| (side_name(partition), None));
        for (name, end) in segments.chain(sides) {
            let bytes = disk.open_to_read(&name)?.bytes()?;
            kept.files.push(KeptFile { name, end: end.unwrap_or(bytes), bytes });
        }
        Ok(kept)
    }

    fn stop(&self) {
        self.inbox.stop();
        self.yard.stop();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((writing, keeping)) = threads {
            // Panics have been turned into `Failed` by the thread itself.
            drop(writing.join());
            self.yard.end();
            drop(keeping.join());
        }
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for FileJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJournal").field("settings", &self.settings).finish_non_exhaustive()
    }
}
