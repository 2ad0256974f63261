//! A closed loop inside the process: a fixed number of submissions under way, each answer begins the next.
//!
//! What is refused for want of room is submitted again a little later, and counted. Leaves out HTTP (`load` has that)
//! and what is submitted: the caller makes the n-th submission.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use runtime::{Answer, Engine, Refusal, Submission, Until};

use crate::engine::metric;
use crate::figures::{Figures, cpu_time, latencies};

/// A closed loop may be refused so long without one success before it is given up.
const STALLED: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const SHARDS: usize = 8;

/// Makes the n-th submission.
pub(crate) type Make = fn(u64) -> Option<Submission>;

struct Shared {
    engine: Engine,
    make: Make,
    until: Option<Until>,
    next: AtomicU64,
    /// The first number that is not submitted any more.
    end: u64,
    stop: AtomicBool,
    measuring: AtomicBool,
    /// Those under way and those that wait to be submitted again.
    open: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    again: Mutex<Vec<u64>>,
    last_refusal: Mutex<String>,
    latencies: [Mutex<Histogram<u64>>; SHARDS],
}

pub(crate) struct ClosedLoop(Arc<Shared>);

impl ClosedLoop {
    /// Submits the numbers from `from` up to `end`, `in_flight` at a time, each until it is as far as `until` says.
    pub(crate) fn start(
        engine: &Engine,
        make: Make,
        until: Option<Until>,
        in_flight: u64,
        from: u64,
        end: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            make,
            until,
            next: AtomicU64::new(from),
            end,
            stop: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
            open: AtomicU64::new(in_flight),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            again: Mutex::default(),
            last_refusal: Mutex::default(),
            latencies: std::array::from_fn(|_| Mutex::new(latencies())),
        });
        for _ in 0..in_flight {
            follow(&shared);
        }
        Self(shared)
    }

    pub(crate) fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn last_refusal(&self) -> Option<String> {
        self.0.last_refusal.lock().ok().map(|why| why.clone()).filter(|why| !why.is_empty())
    }

    /// Where another loop may go on, once this one has ended.
    pub(crate) fn next(&self) -> u64 {
        self.0.next.load(Ordering::Relaxed).min(self.0.end)
    }

    /// Submits again what was refused. Whoever waits for the loop calls it all the time.
    fn tend(&self) {
        let again = self.0.again.lock().map(|mut again| std::mem::take(&mut *again)).unwrap_or_default();
        for n in again {
            if self.0.stop.load(Ordering::Relaxed) {
                self.0.open.fetch_sub(1, Ordering::Release);
            } else {
                submit(&self.0, n);
            }
        }
    }

    /// Lets it run until `enough` says so; `look` is called every 2 ms.
    ///
    /// # Errors
    /// When nothing has been done for a minute.
    pub(crate) fn run_until(&self, mut enough: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let mut moved = (self.done(), Instant::now());
        while !enough(self) {
            self.tend();
            std::thread::sleep(LOOK_EVERY);
            let done = self.done();
            if done != moved.0 {
                moved = (done, Instant::now());
            } else if moved.1.elapsed() > STALLED {
                let why = self.last_refusal().unwrap_or_default();
                return Err(format!(
                    "nothing was done for {} s; {done} before, last refusal: \"{why}\"",
                    STALLED.as_secs()
                ));
            }
        }
        Ok(())
    }

    /// Everything up to `end` is done.
    pub(crate) fn run_to_end(&self) -> Result<(), String> {
        self.run_until(|l| l.0.open.load(Ordering::Acquire) == 0)
    }

    /// Measures for `time`.
    pub(crate) fn measure(&self, time: Duration) -> Result<Window, String> {
        for one in &self.0.latencies {
            if let Ok(mut one) = one.lock() {
                one.reset();
            }
        }
        let before = Moment::now(self);
        let began = Instant::now();
        self.0.measuring.store(true, Ordering::Release);
        let result = self.run_until(|_| began.elapsed() >= time);
        self.0.measuring.store(false, Ordering::Release);
        let window = before.until(&Moment::now(self), &self.0);
        result.map(|()| window)
    }

    /// Submits no more and waits for what is under way.
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.0.stop.store(true, Ordering::Release);
        self.run_to_end()
    }
}

/// One place of the loop takes the next number, or ends.
fn follow(shared: &Arc<Shared>) {
    if shared.stop.load(Ordering::Relaxed) {
        shared.open.fetch_sub(1, Ordering::Release);
        return;
    }
    let n = shared.next.fetch_add(1, Ordering::Relaxed);
    if n >= shared.end {
        shared.open.fetch_sub(1, Ordering::Release);
    } else {
        submit(shared, n);
    }
}

fn submit(shared: &Arc<Shared>, n: u64) {
    // A submission that cannot be made is a defect of the benchmark; its loop stalls and says so.
    let Some(order) = (shared.make)(n) else { return };
    let began = Instant::now();
    let mine = Arc::clone(shared);
    let done = move |answer: Result<Answer, Refusal>| match answer {
        Ok(_) => {
            mine.done.fetch_add(1, Ordering::Relaxed);
            if mine.measuring.load(Ordering::Relaxed)
                && let Ok(mut latencies) = mine.latencies[n as usize % SHARDS].lock()
            {
                latencies.saturating_record(began.elapsed().as_micros() as u64);
            }
            follow(&mine);
        }
        Err(refusal) => put_back(&mine, n, &refusal),
    };
    if let Err(refusal) = shared.engine.submit_with(order, shared.until, done) {
        put_back(shared, n, &refusal);
    }
}

fn put_back(shared: &Shared, n: u64, refusal: &Refusal) {
    shared.refused.fetch_add(1, Ordering::Relaxed);
    if let Ok(mut last) = shared.last_refusal.lock() {
        *last = refusal.to_string();
    }
    if let Ok(mut again) = shared.again.lock() {
        again.push(n);
    }
}

struct Moment {
    at: Instant,
    done: u64,
    cpu: Duration,
    journal_bytes: f64,
    history_bytes: f64,
    groups: f64,
}

impl Moment {
    fn now(of: &ClosedLoop) -> Self {
        let engine = &of.0.engine;
        Self {
            at: Instant::now(),
            done: of.done(),
            cpu: cpu_time(),
            journal_bytes: metric(engine, "tidegate_journal_written_bytes_total"),
            history_bytes: metric(engine, "tidegate_history_bytes"),
            groups: metric(engine, "tidegate_journal_groups_total"),
        }
    }

    fn until(&self, after: &Self, shared: &Shared) -> Window {
        let seconds = (after.at - self.at).as_secs_f64();
        let done = (after.done - self.done).max(1) as f64;
        let journal_bytes = after.journal_bytes - self.journal_bytes;
        let mut all = latencies();
        for one in &shared.latencies {
            if let Ok(one) = one.lock() {
                // The bounds are the same, so it cannot fail.
                let _ = all.add(&*one);
            }
        }
        Window {
            tx_per_s: done / seconds,
            cpu_us_per_tx: (after.cpu - self.cpu).as_secs_f64() * 1e6 / done,
            bytes_per_tx: (journal_bytes + after.history_bytes - self.history_bytes) / done,
            journal_bytes_per_tx: journal_bytes / done,
            fsyncs_per_s: (after.groups - self.groups) / seconds,
            latencies: all,
        }
    }
}

/// What was seen in a stretch of time. Bytes are those of journal and history, without checkpoints.
pub(crate) struct Window {
    pub(crate) tx_per_s: f64,
    pub(crate) cpu_us_per_tx: f64,
    pub(crate) bytes_per_tx: f64,
    pub(crate) journal_bytes_per_tx: f64,
    pub(crate) fsyncs_per_s: f64,
    pub(crate) latencies: Histogram<u64>,
}

impl Window {
    /// All that every benchmark says.
    pub(crate) fn put(&self, figures: &mut Figures) {
        figures.put("tx_per_s", self.tx_per_s);
        figures.put("cpu_us_per_tx", self.cpu_us_per_tx);
        figures.put("bytes_per_tx", self.bytes_per_tx);
        figures.put("fsyncs_per_s", self.fsyncs_per_s);
        figures.latencies(&self.latencies);
    }
}
