//! Processes of a benchmark: the same binary, started again with another part to play, ended by its id.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The variable that tells a process which part it plays.
pub(crate) const ROLE: &str = "TIDEGATE_BENCH_ROLE";

/// A child that ends with its guard.
pub(crate) struct Role {
    child: Child,
    /// The first line that it printed: usually where it listens.
    pub(crate) said: String,
}

impl Role {
    /// Starts this binary as `role` and waits for its first line.
    pub(crate) fn start(role: &str, arguments: &[(&str, String)]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        for (name, value) in arguments {
            command.env(format!("{ROLE}_{name}"), value);
        }
        let mut child = command.spawn().map_err(|e| format!("cannot start {role}: {e}"))?;
        let mut said = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut said).map_err(|e| e.to_string())?;
        let said = said.trim().to_owned();
        if said.is_empty() {
            let status = child.wait().map_err(|e| e.to_string())?;
            return Err(format!("{role} ended at once ({status})"));
        }
        Ok(Self { child, said })
    }

    /// CPU time of the child so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Fields 14 and 15, counted behind the name, which may hold anything.
        let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Kills it where it stands, as a crash would.
    pub(crate) fn kill(mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map(|_| ()).map_err(|e| e.to_string())
    }

    pub(crate) fn rss_peak_mib(&self) -> f64 {
        crate::figures::rss_peak_mib_of(&self.child.id().to_string())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Closing its input asks it to end; a child that does not listen is killed.
        drop(self.child.stdin.take());
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the parent said under `name`.
pub(crate) fn told(name: &str) -> Result<String, String> {
    std::env::var(format!("{ROLE}_{name}")).map_err(|_| format!("{ROLE}_{name} is not set"))
}

pub(crate) fn told_number(name: &str) -> Result<u64, String> {
    told(name)?.parse().map_err(|e| format!("{ROLE}_{name}: {e}"))
}

/// Returns when the parent closes our input.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    while matches!(std::io::stdin().read_line(&mut line), Ok(n) if n > 0) {
        line.clear();
    }
}
