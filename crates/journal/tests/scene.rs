//! What the tests play with: chains that make batches, a desk that collects completions, small disks.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use journal::disk::Disk;
use journal::disk::sim::SimDisk;
use journal::inspect::Inspection;
use journal::{
    Batch, BatchHash, Committed, Completion, Error, FileJournal, Journal, Opened, Part, Recovered, RecoveredBatch,
    Settings, Starts, open_on,
};

/// Long enough that reaching it is a fault and not a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const SEGMENT_BYTES: u64 = 16 << 10;

pub(crate) fn settings() -> Settings {
    Settings {
        segment_bytes: SEGMENT_BYTES,
        group_bytes_max: 8 << 10,
        queue_bytes_max: 64 << 10,
        disk_bytes_max: 64 << 20,
        keep_free_bytes: 0,
        low_watermark_bytes: 0,
        // Only a clean stop seals, so that tests decide.
        seal_after: Duration::from_secs(3600),
        retry_every: Duration::from_millis(2),
        ..Settings::new("sim")
    }
}

pub(crate) fn sim(seed: u64) -> SimDisk {
    SimDisk::new(seed, 1 << 30)
}

pub(crate) fn try_open(disk: &SimDisk, settings: Settings) -> Result<Opened, Error> {
    open_on(settings, Arc::new(disk.clone()) as Arc<dyn Disk>)
}

pub(crate) fn open(disk: &SimDisk) -> Opened {
    try_open(disk, settings()).expect("the journal opens")
}

pub(crate) fn start(disk: &SimDisk, settings: Settings) -> (FileJournal, Desk) {
    let desk = Desk::default();
    let journal = try_open(disk, settings).expect("the journal opens").start(desk.completion()).expect("it starts");
    (journal, desk)
}

pub(crate) fn inspect(disk: &SimDisk) -> Inspection {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    journal::inspect::inspect_on(&disk).expect("the doctor reads on")
}

/// All batches, or the first error; damage of partitions apart.
pub(crate) fn read(opened: &Opened, starts: &Starts) -> (Vec<RecoveredBatch>, Vec<journal::Damage>) {
    split(opened.batches(starts).expect("the journal is read"))
}

pub(crate) fn split(
    items: impl Iterator<Item = Result<Recovered, Error>>,
) -> (Vec<RecoveredBatch>, Vec<journal::Damage>) {
    let (mut batches, mut damage) = (Vec::new(), Vec::new());
    for item in items {
        match item.expect("reading goes on") {
            Recovered::Batch(batch) => batches.push(batch),
            Recovered::Damaged(found) => damage.push(found),
        }
    }
    (batches, damage)
}

/// Makes the batches of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) partition: u16,
    pub(crate) next_seq: u64,
    pub(crate) hash: BatchHash,
}

impl Chain {
    pub(crate) fn new(partition: u16) -> Self {
        Self { partition, next_seq: 1, hash: BatchHash::NONE }
    }

    pub(crate) fn batch(&mut self, count: u32, entries: &[u8]) -> Batch {
        let through = self.next_seq.saturating_sub(1);
        let batch = Batch::encode(self.partition, 7, self.next_seq, count, self.hash, through, entries, Vec::new());
        self.next_seq += u64::from(count);
        self.hash = batch.hash();
        batch
    }

    /// A part of one batch of one entry, whose token is the entry's seq.
    pub(crate) fn part(&mut self, entries: &[u8]) -> Part {
        let token = self.next_seq;
        Part { batches: vec![self.batch(1, entries)], token }
    }
}

/// Collects completions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk {
    inner: Arc<(Mutex<Ended>, Condvar)>,
}

type Ended = Vec<(usize, Committed)>;

impl Desk {
    pub(crate) fn completion(&self) -> Completion {
        let inner = Arc::clone(&self.inner);
        Box::new(move |worker, committed| {
            inner.0.lock().expect("no test panics here").push((worker, committed));
            inner.1.notify_all();
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.0.lock().expect("no test panics here").len()
    }

    /// Waits until `count` completions are there, and takes all.
    pub(crate) fn wait(&self, count: usize) -> Vec<(usize, Committed)> {
        let ended = self.inner.0.lock().expect("no test panics here");
        let (mut ended, time) =
            self.inner.1.wait_timeout_while(ended, PATIENCE, |ended| ended.len() < count).expect("no test panics here");
        assert!(!time.timed_out(), "{} completions of {count} arrived", ended.len());
        std::mem::take(&mut ended)
    }

    /// Waits for `count` completions, all of which must be good.
    pub(crate) fn wait_good(&self, count: usize) {
        for (_, committed) in self.wait(count) {
            committed.result.expect("the part is durable");
        }
    }
}

/// Waits until `holds`, which must come true by itself.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} has not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Submits and waits, one part per group.
pub(crate) fn commit(journal: &dyn Journal, desk: &Desk, part: Part) {
    journal.submit(0, part).expect("the part is accepted");
    desk.wait_good(1);
}

/// `(partition, last_seq, entries)` of every batch.
pub(crate) fn lines(batches: &[RecoveredBatch]) -> Vec<(u16, u64, String)> {
    let line = |batch: &RecoveredBatch| {
        (batch.partition, batch.last_seq, String::from_utf8_lossy(batch.entries()).into_owned())
    };
    batches.iter().map(line).collect()
}

pub(crate) fn by_partition(batches: &[RecoveredBatch]) -> BTreeMap<u16, Vec<u64>> {
    let mut found: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for batch in batches {
        found.entry(batch.partition).or_default().push(batch.last_seq);
    }
    found
}
