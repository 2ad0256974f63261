//! One child process with a time limit, ended together with everything it started.
//!
//! A step that hangs must fail with its name instead of hanging CI. The child leads its own process group, and
//! the group is what gets the signal, so that a test's servers do not outlive it. At a terminal it stays in ours,
//! because there the person's Ctrl-C must reach it. Output goes straight through.

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running child is looked at. Steps take seconds, so this costs nothing and adds nothing.
const LOOK: Duration = Duration::from_millis(20);
/// Time between asking the group to end and making it.
const GRACE: Duration = Duration::from_secs(5);

/// How a child ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Passed,
    /// It ran and said no; the text says how.
    Failed(String),
    /// It could not be started at all, for instance because there is no such program.
    Absent(String),
    /// It was still running at its limit and was ended.
    TimedOut(Duration),
}

impl Ending {
    pub(crate) fn passed(&self) -> bool {
        matches!(self, Ending::Passed)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Passed => write!(f, "passed"),
            Ending::Failed(how) => write!(f, "failed: {how}"),
            Ending::Absent(what) => write!(f, "failed: could not be started: {what}"),
            Ending::TimedOut(limit) => write!(f, "failed: still running after {} s, ended", limit.as_secs()),
        }
    }
}

/// Runs `command` without standard input for at most `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Ending {
    let own_group = !std::io::stdin().is_terminal();
    command.stdin(Stdio::null());
    if own_group {
        command.process_group(0);
    }
    let started = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ending::Absent(format!("{}: {error}", command.get_program().to_string_lossy())),
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return of(status),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => {
                let asked = Instant::now();
                let whom = if own_group { format!("-{}", child.id()) } else { child.id().to_string() };
                signal(&whom, "TERM");
                while asked.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
                    std::thread::sleep(LOOK);
                }
                signal(&whom, "KILL");
                let _ = child.wait();
                return Ending::TimedOut(limit);
            }
            Err(error) => return Ending::Failed(format!("cannot be waited for: {error}")),
        }
    }
}

/// Whether `command` can be started and succeeds, without showing its output.
pub(crate) fn succeeds(command: &mut Command, limit: Duration) -> bool {
    run(command.stdout(Stdio::null()).stderr(Stdio::null()), limit).passed()
}

fn of(status: ExitStatus) -> Ending {
    match (status.success(), status.code(), status.signal()) {
        (true, ..) => Ending::Passed,
        (_, Some(code), _) => Ending::Failed(format!("exit code {code}")),
        (_, None, Some(signal)) => Ending::Failed(format!("ended by signal {signal}")),
        (_, None, None) => Ending::Failed("ended without a code".to_owned()),
    }
}

/// Signals a process, or with a minus in front the group it leads. One that is already gone is what we want.
fn signal(whom: &str, name: &str) {
    let _ = Command::new("kill").args(["-s", name, "--", whom]).stdin(Stdio::null()).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn tells_success_failure_and_absence_apart() {
        assert!(run(&mut shell("exit 0"), LONG).passed());
        assert!(matches!(run(&mut shell("exit 3"), LONG), Ending::Failed(how) if how == "exit code 3"));
        assert!(matches!(run(&mut shell("kill -9 $$"), LONG), Ending::Failed(how) if how == "ended by signal 9"));
        assert!(matches!(run(&mut Command::new("tidegate-no-such-program"), LONG), Ending::Absent(_)));
    }

    #[test]
    fn has_no_standard_input() {
        assert!(run(&mut shell("! read line"), LONG).passed());
    }

    #[test]
    fn a_child_past_its_limit_ends_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let note = folder.path().join("grandchild");
        let script = format!("sleep 600 & echo $! > '{}'; wait", note.display());
        assert!(matches!(run(&mut shell(&script), Duration::from_secs(1)), Ending::TimedOut(_)));
        let grandchild = std::fs::read_to_string(&note).expect("the grandchild's number");
        // Gone, or a zombie nobody has collected yet: in neither case is it still sleeping.
        let state = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).unwrap_or_default();
        let state = state.rsplit(')').next().unwrap_or_default().trim_start();
        assert!(state.is_empty() || state.starts_with(['Z', 'X']), "grandchild still there: {state}");
    }
}
