//! The processes of a rehearsal: a stand and an engine, children of this one, on ports and in a folder of their own.
//!
//! Nothing outlives its owner: dropping kills, the kernel kills if the owner is killed, and the folder goes too unless
//! it is to be kept. A child is a group of its own, so Ctrl-C reaches it only through us.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::ask::{Ask, Asker};

/// Set for children: the process that must live for them to live.
const OWNER: &str = "TIDEGATE_REHEARSED_BY";
/// From the start of a process until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// From the wish to end until it has ended.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// Below the ports that Linux gives to outgoing connections, so that nobody takes an engine's port while it is dead.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// The telecom systems of the stand, in the order of their doors after the common one.
const SYSTEMS: [&str; 6] = ["billing", "crm", "hlr", "mnp", "payments", "sms"];

/// Called first of all by every process of this binary: a child of a rehearsal ends with its owner.
pub(crate) fn end_with_owner() {
    let Some(owner) = std::env::var(OWNER).ok().and_then(|text| text.parse::<i32>().ok()) else { return };
    let told = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let alive = rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == owner);
    if told.is_err() || !alive {
        eprintln!("the process {owner} that this one was started for is gone");
        std::process::exit(1);
    }
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// `program`: this one if there is none.
    fn start(name: &'static str, program: Option<&Path>, arguments: &[String], log: PathBuf) -> Result<Self, String> {
        let failed = |what: &str, why: std::io::Error| format!("cannot start {name}: {what}: {why}");
        let out = File::options().create(true).append(true).open(&log).map_err(|e| failed("its log", e))?;
        let errors = out.try_clone().map_err(|e| failed("its log", e))?;
        let program = match program {
            Some(program) => program.to_owned(),
            None => match std::env::current_exe().map_err(|e| failed("this program", e))? {
                program if program.exists() => program,
                // It was replaced while it ran; the kernel still has it.
                _ => PathBuf::from("/proc/self/exe"),
            },
        };
        let child = std::os::unix::process::CommandExt::process_group(&mut Command::new(program), 0)
            .args(arguments)
            .env(OWNER, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .map_err(|e| failed("its process", e))?;
        Ok(Self { name, child, log })
    }

    /// SIGKILL, at once and for good.
    fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| format!("cannot kill {}: {e}", self.name))?;
        self.child.wait().map_err(|e| format!("cannot wait for {}: {e}", self.name))?;
        Ok(())
    }

    /// A signal to a process that lives.
    fn signal(&mut self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("{} has no process id", self.name))?;
        if let Some(status) = self.ended()? {
            return Err(format!("{} had ended before it was asked to ({status})\n{}", self.name, self.tail()));
        }
        rustix::process::kill_process(pid, signal).map_err(|e| format!("cannot signal {}: {e}", self.name))
    }

    /// Asks it to end, and waits until it has.
    async fn stop(&mut self, signal: Signal) -> Result<(), String> {
        self.signal(signal)?;
        let begun = Instant::now();
        while begun.elapsed() < STOPPED_WITHIN {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{} did not end cleanly ({status})\n{}", self.name, self.tail())),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Err(format!("{} has not ended within {STOPPED_WITHIN:?}\n{}", self.name, self.tail()))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|e| format!("cannot look after {}: {e}", self.name))
    }

    /// The end of what it said.
    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last: Vec<String> = lines.iter().skip(lines.len().saturating_sub(12)).map(|l| format!("  | {l}")).collect();
        last.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for one that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where everything is.
#[derive(Debug)]
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

/// One of the two processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whom {
    Engine,
    Stand,
}

/// A stand and an engine.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Another build than the one that is running.
    pub(crate) program: Option<PathBuf>,
    /// Names of at most six systems in their order; the telecom ones unless somebody says otherwise.
    pub(crate) systems: &'static [&'static str],
    engine: Option<Process>,
    stand: Option<Process>,
    stand_port: u16,
    engine_port: u16,
    seed: u64,
    /// Settings of the engine that are not its defaults, by name.
    engine_settings: Vec<(&'static str, String)>,
    /// A file system of its own for the engine's data, if it was asked for.
    small_disk: Option<SmallDisk>,
    /// Last: dropped after the processes that write into it.
    folder: Folder,
}

/// A file system in memory at this place; unmounted in the end.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy, so that a last open file does not keep it; there is nobody to tell if it fails.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

impl Stage {
    /// A folder and ports; no process yet. With `keep` the folder is that one, which must be new or empty, and stays.
    pub(crate) fn new(keep: Option<&Path>, seed: u64) -> Result<Self, String> {
        let folder = match keep {
            None => Folder::Temporary(
                tempfile::Builder::new()
                    .prefix("tidegate-")
                    .tempdir()
                    .map_err(|e| format!("cannot make a folder: {e}"))?,
            ),
            Some(path) => {
                let failed = |e| format!("the folder {}: {e}", path.display());
                std::fs::create_dir_all(path).map_err(failed)?;
                if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
                    return Err(format!("the folder {} is not empty: name a new one", path.display()));
                }
                Folder::Kept(path.to_owned())
            }
        };
        let stand_port = free_ports(1 + SYSTEMS.len() as u16, 0)?;
        let engine_port = free_ports(1, stand_port + 1 + SYSTEMS.len() as u16)?;
        Ok(Self {
            program: None,
            systems: &SYSTEMS,
            engine: None,
            stand: None,
            stand_port,
            engine_port,
            seed,
            engine_settings: Vec::new(),
            small_disk: None,
            folder,
        })
    }

    /// A setting for the engine's next start, by its name in `tidegate settings`.
    pub(crate) fn set_engine(&mut self, name: &'static str, value: impl Into<String>) {
        self.engine_settings.retain(|(known, _)| *known != name);
        self.engine_settings.push((name, value.into()));
    }

    /// Puts the engine's data, of which there is none yet, on a file system in memory of this size.
    pub(crate) fn mount_data(&mut self, bytes: u64) -> Result<(), String> {
        let data = self.data();
        std::fs::create_dir_all(&data).map_err(|e| format!("cannot make {}: {e}", data.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tidegate-drill"]).arg(&data).stdin(Stdio::null());
        let done = mount.output().map_err(|e| format!("mount does not start: {e}"))?;
        if !done.status.success() {
            return Err(format!("no file system of its own: {}", String::from_utf8_lossy(&done.stderr).trim()));
        }
        self.small_disk = Some(SmallDisk(data));
        Ok(())
    }

    /// The engine's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    /// The folder stays, also if it was to be temporary.
    pub(crate) fn keep_folder(&mut self) -> PathBuf {
        let path = self.folder().to_owned();
        if let Folder::Temporary(folder) = &mut self.folder {
            folder.disable_cleanup(true);
        }
        path
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder().join("ledger.sqlite")
    }

    /// The engine's API.
    pub(crate) fn asker(&self) -> Asker {
        Asker::new(format!("127.0.0.1:{}", self.engine_port))
    }

    pub(crate) fn stand_client(&self) -> stand::control::Client {
        stand::control::Client::new(&format!("127.0.0.1:{}", self.stand_port))
    }

    /// A participants file with the names of systems in capitals where their doors belong.
    pub(crate) fn with_doors(&self, participants: &str) -> String {
        (1u16..).zip(self.systems).fold(participants.to_owned(), |text, (place, system)| {
            let door = format!("http://127.0.0.1:{}/{system}", self.stand_port + place);
            text.replace(&format!("- {}\n", system.to_uppercase()), &format!("- {door}\n"))
        })
    }

    /// Starts the stand with the systems that this file declares, and waits until it answers.
    pub(crate) async fn start_stand(&mut self, participants: &str) -> Result<(), String> {
        let file = self.folder().join("participants.yaml");
        std::fs::write(&file, participants).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let arguments = [
            "stand".to_owned(),
            file.display().to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{}", self.stand_port),
            "--ledger".to_owned(),
            self.ledger().display().to_string(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ];
        self.stand =
            Some(Process::start("the stand", self.program.as_deref(), &arguments, self.folder().join("stand.log"))?);
        let client = self.stand_client();
        let begun = Instant::now();
        loop {
            if client.state().await.is_ok() {
                return Ok(());
            }
            wait_for(self.stand.as_mut(), begun).await?;
        }
    }

    /// Starts the engine on its data.
    pub(crate) fn spawn_engine(&mut self) -> Result<Instant, String> {
        self.spawn_engine_on(&self.data())
    }

    /// As `spawn_engine`, on another directory.
    pub(crate) fn spawn_engine_on(&mut self, data: &Path) -> Result<Instant, String> {
        let begun = Instant::now();
        let settings = self.folder().join("settings.toml");
        let lines: String =
            self.engine_settings.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
        std::fs::write(&settings, lines).map_err(|e| format!("cannot write {}: {e}", settings.display()))?;
        let arguments = [
            "serve".to_owned(),
            "--data".to_owned(),
            data.display().to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{}", self.engine_port),
            "--settings".to_owned(),
            settings.display().to_string(),
        ];
        self.engine =
            Some(Process::start("the engine", self.program.as_deref(), &arguments, self.folder().join("engine.log"))?);
        Ok(begun)
    }

    /// Starts the engine, and waits until it may take work. Gives how long that took.
    pub(crate) async fn start_engine(&mut self) -> Result<Duration, String> {
        let begun = self.spawn_engine()?;
        self.until_ready(begun).await
    }

    /// Waits until a started engine may take work.
    pub(crate) async fn until_ready(&mut self, begun: Instant) -> Result<Duration, String> {
        let asker = self.asker();
        loop {
            let ready = Ask { within: Duration::from_secs(2), ..Ask::get("/readyz") };
            if asker.ask(ready).await.is_ok_and(|reply| reply.status == 200) {
                return Ok(begun.elapsed());
            }
            wait_for(self.engine.as_mut(), begun).await?;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill_engine(&mut self) -> Result<(), String> {
        match self.engine.take() {
            Some(mut engine) => engine.kill(),
            None => Err("there is no engine to kill".to_owned()),
        }
    }

    /// `kill -9`: answers that were on their way are lost, what was answered is in the ledger.
    pub(crate) fn kill_stand(&mut self) -> Result<(), String> {
        match self.stand.take() {
            Some(mut stand) => stand.kill(),
            None => Err("there is no stand to kill".to_owned()),
        }
    }

    /// SIGSTOP: it stands still with everything open.
    pub(crate) fn pause(&mut self, whom: Whom) -> Result<(), String> {
        self.process(whom)?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self, whom: Whom) -> Result<(), String> {
        self.process(whom)?.signal(Signal::CONT)
    }

    fn process(&mut self, whom: Whom) -> Result<&mut Process, String> {
        let process = match whom {
            Whom::Engine => self.engine.as_mut(),
            Whom::Stand => self.stand.as_mut(),
        };
        process.ok_or_else(|| format!("there is no process of {whom:?}"))
    }

    /// Everything that the engine said in all its lives.
    pub(crate) fn engine_log(&self) -> String {
        std::fs::read_to_string(self.folder().join("engine.log")).unwrap_or_default()
    }

    /// Whether the engine's process has ended, and how.
    pub(crate) fn engine_ended(&mut self) -> Option<ExitStatus> {
        self.engine.as_mut().and_then(|engine| engine.ended().ok().flatten())
    }

    /// Why a process is gone that nobody asked to end.
    pub(crate) fn lost(&mut self) -> Option<String> {
        for process in [self.stand.as_mut(), self.engine.as_mut()].into_iter().flatten() {
            if let Ok(Some(status)) = process.ended() {
                return Some(format!("{} ended by itself ({status})\n{}", process.name, process.tail()));
            }
        }
        None
    }

    /// SIGTERM, and a clean end.
    pub(crate) async fn stop_engine(&mut self) -> Result<(), String> {
        match self.engine.take() {
            Some(mut engine) => engine.stop(Signal::TERM).await,
            None => Err("there is no engine to stop".to_owned()),
        }
    }

    /// Everything that happened is in the ledger's file afterwards.
    pub(crate) async fn stop_stand(&mut self) -> Result<(), String> {
        match self.stand.take() {
            Some(mut stand) => stand.stop(Signal::INT).await,
            None => Err("there is no stand to stop".to_owned()),
        }
    }
}

/// Between two looks at whether a process is ready; an error if it will not be.
async fn wait_for(process: Option<&mut Process>, begun: Instant) -> Result<(), String> {
    let Some(process) = process else { return Err("there is no process to wait for".to_owned()) };
    if let Some(status) = process.ended()? {
        return Err(format!("{} ended before it was ready ({status})\n{}", process.name, process.tail()));
    }
    if begun.elapsed() > READY_WITHIN {
        return Err(format!("{} is not ready after {READY_WITHIN:?}\n{}", process.name, process.tail()));
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(())
}

/// The first of `count` ports in a row on which nobody listens, not below `from`.
///
/// Rehearsals that run side by side begin to look at different places.
fn free_ports(count: u16, from: u16) -> Result<u16, String> {
    let width = u32::from(PORTS.end - PORTS.start - count);
    let begin = if from == 0 {
        std::process::id().wrapping_mul(41) % width
    } else {
        u32::from(from.saturating_sub(PORTS.start))
    };
    let free = |port: u16| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok();
    (0..width)
        .map(|n| PORTS.start + ((begin + n) % width) as u16)
        .find(|first| (*first..first + count).all(free))
        .ok_or_else(|| format!("no {count} ports in a row are free between {} and {}", PORTS.start, PORTS.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_free_and_taken_ones_are_passed_over() {
        let Ok(first) = free_ports(3, 0) else { panic!("ports are free") };
        let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], first)));
        let Ok(other) = free_ports(3, first) else { panic!("more ports are free") };
        assert!(taken.is_err() || other > first, "{other}");
    }

    #[test]
    fn a_temporary_folder_goes_and_a_kept_one_stays() {
        let Ok(mut stage) = Stage::new(None, 1) else { panic!("a stage") };
        let path = stage.folder().to_owned();
        assert!(path.is_dir());
        let kept = stage.keep_folder();
        drop(stage);
        assert!(kept.is_dir() && kept == path);
        assert!(std::fs::write(kept.join("x"), "").is_ok());
        assert!(Stage::new(Some(&kept), 1).is_err(), "it is not empty");
        assert!(std::fs::remove_dir_all(&kept).is_ok());
        let Ok(stage) = Stage::new(None, 1) else { panic!("a stage") };
        let path = stage.folder().to_owned();
        drop(stage);
        assert!(!path.exists());
    }

    #[test]
    fn doors_stand_where_the_names_stood() {
        let Ok(stage) = Stage::new(None, 1) else { panic!("a stage") };
        let text = stage.with_doors(include_str!("participants.yaml"));
        for (place, system) in (1u16..).zip(SYSTEMS) {
            assert!(
                text.contains(&format!("      - http://127.0.0.1:{}/{system}\n", stage.stand_port + place)),
                "{text}"
            );
        }
    }
}
