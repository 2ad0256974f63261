//! What a case cost: wall time, CPU of the process and of the calling thread, bytes, memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

pub struct Clock {
    began: Instant,
    process: Duration,
    thread: Duration,
    written: u64,
}

#[derive(Default)]
pub struct Figures {
    pub items: u64,
    wall: Duration,
    process: Duration,
    thread: Duration,
    written_bytes: u64,
    disk_bytes: u64,
    rss_bytes: u64,
    /// Mean of one lookup or read, in nanoseconds, measured around runs of them.
    pub lookup_ns: f64,
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("a file of /proc");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
    line.trim_start_matches(':').split_whitespace().next().expect("a value").parse().expect("a number")
}

impl Clock {
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            process: cpu(ClockId::ProcessCPUTime),
            thread: cpu(ClockId::ThreadCPUTime),
            written: field("/proc/self/io", "write_bytes"),
        }
    }

    pub fn stop(self, items: u64, lookups: Duration, lookup_count: u64, dir: &std::path::Path) -> Figures {
        Figures {
            items,
            wall: self.began.elapsed(),
            process: cpu(ClockId::ProcessCPUTime) - self.process,
            thread: cpu(ClockId::ThreadCPUTime) - self.thread,
            written_bytes: field("/proc/self/io", "write_bytes") - self.written,
            disk_bytes: store::disk::bytes_under(dir).expect("the directory"),
            rss_bytes: field("/proc/self/status", "VmHWM") * 1024,
            lookup_ns: lookups.as_nanos() as f64 / lookup_count.max(1) as f64,
        }
    }
}

impl Figures {
    pub const HEADER: &str = "case                       items/s   CPU us/item  (caller)  written B/item  on disk B/item  \
                              peak RSS MiB  lookup ns";

    pub fn line(&self, case: &str) -> String {
        let items = self.items as f64;
        format!(
            "{case:<24} {:>9.0} {:>13.3} {:>9.3} {:>15.0} {:>15.0} {:>13} {:>10.0}",
            items / self.wall.as_secs_f64(),
            self.process.as_secs_f64() * 1e6 / items,
            self.thread.as_secs_f64() * 1e6 / items,
            self.written_bytes as f64 / items,
            self.disk_bytes as f64 / items,
            self.rss_bytes >> 20,
            self.lookup_ns,
        )
    }
}

/// CPU of each thread of the process so far, user and system, in microseconds per item.
pub fn threads(items: u64) -> String {
    let mut out = String::new();
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let fields: Vec<&str> = stat[close + 2..].split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap_or(0.0) * 10_000.0 / items as f64;
        out += &format!(" {} {:.2}+{:.2}", &stat[open + 1..close], ticks(11), ticks(12));
    }
    out
}
