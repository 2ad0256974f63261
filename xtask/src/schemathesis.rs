//! `cargo xtask schemathesis`: the running binary against its own `openapi.json`, by a tool that reads only that.
//!
//! ```text
//! venv (once) ─► stand and server on free ports ─► apply the telecom example ─► schemathesis run, all checks
//! ```
//! What the contract cannot say (an input has the shape its definition asks for, a cursor must be one that a list gave)
//! is allowed by name in `fuzz/schemathesis.toml`, and nothing else; `fuzz/schemathesis_hooks.py` teaches it NDJSON. Left out:
//! how fast it answers.

use crate::child;
use crate::fuzz::target_dir;
use crate::setup::{self, Found};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The version that the configuration was written for.
const PACKAGE: &str = "schemathesis==4.32.5";
const INSTALL: Duration = Duration::from_secs(600);
const START: Duration = Duration::from_secs(60);
/// The stand: one common door, then one for each of its systems, and a few to spare.
const STAND_PORTS: u16 = 10;
const PARTICIPANTS_FIRST_PORT: u16 = 7_420;

/// What it tries, and for how long: the same seed tries the same requests, as far as answers do not steer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    seed: u64,
    /// Requests of each kind for each operation, at most.
    examples: u32,
    /// Repeat what is random until so much time has gone.
    seconds: Option<u64>,
}

impl Asked {
    /// For `test`: about a minute, the same one each time.
    pub(crate) const SHORT: Self = Self { seed: 1, examples: 40, seconds: None };

    /// Reads what stands after `cargo xtask schemathesis`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut asked = Self::SHORT;
        for pair in words.chunks(2) {
            let &[name, number] = pair else { return Err(format!("`{}` needs a number", pair.join(" "))) };
            let read = match name {
                "--seed" => number.parse().map(|seed| asked.seed = seed),
                "--examples" => number.parse::<NonZeroU32>().map(|examples| asked.examples = examples.get()),
                "--seconds" => number.parse::<NonZeroU64>().map(|seconds| asked.seconds = Some(seconds.get())),
                _ => return Err(format!("`schemathesis` does not understand `{}`", words.join(" "))),
            };
            read.map_err(|_| format!("{name} needs a whole number, not `{number}`"))?;
        }
        Ok(asked)
    }

    /// Long enough for what was asked on a slow machine; a run that hangs ends all the same.
    fn limit(self) -> Duration {
        Duration::from_secs(300 + self.seconds.unwrap_or_else(|| u64::from(self.examples) * 15))
    }
}

/// Why there is no clean run.
#[derive(Debug)]
pub(crate) enum NotRight {
    /// The tool is not here, and could not be had: nothing was asked.
    NoTool(String),
    Failed(String),
}

impl From<String> for NotRight {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

pub(crate) fn report(root: &Path, asked: Asked) -> ExitCode {
    match run(root, asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NotRight::NoTool(why) | NotRight::Failed(why)) => {
            eprintln!("xtask schemathesis: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A child that ends with this process's interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(root: &Path, asked: Asked) -> Result<(), NotRight> {
    let tool = tool(root).map_err(NotRight::NoTool)?;
    let built = child::run(setup::cargo(root).args(["build", "--package", "tidegate"]), Duration::from_secs(2_400));
    if !built.passed() {
        return Err(format!("cargo build: {built}").into());
    }
    let tidegate = target_dir(root).join("debug/tidegate");
    let place = target_dir(root).join("schemathesis");
    let _ = fs::remove_dir_all(&place);
    let files = place.join("definitions");
    fs::create_dir_all(&files).map_err(|e| format!("{}: {e}", files.display()))?;
    let (stand_port, port) = (free_ports(STAND_PORTS)?, free_ports(1)?);
    definitions(root, &files, stand_port)?;

    let stand_at = format!("127.0.0.1:{stand_port}");
    let participants = files.join("participants.yaml");
    let _stand = start(&tidegate, &["stand", &text(&participants), "--listen", &stand_at], &place.join("stand.log"))?;
    let at = format!("127.0.0.1:{port}");
    let data = text(&place.join("data"));
    let _server = start(&tidegate, &["serve", "--data", &data, "--listen", &at], &place.join("server.log"))?;
    until_ready(&at)?;
    let server = format!("http://{at}");
    let mut apply = Command::new(&tidegate);
    apply.args(["--server", &server, "apply", "-f", &text(&files)]);
    let applied = child::run(&mut apply, START);
    if !applied.passed() {
        return Err(format!("tidegate apply: {applied}").into());
    }

    let mut schemathesis = Command::new(tool);
    schemathesis.current_dir(&place).args(["--config-file", &text(&root.join("fuzz/schemathesis.toml"))]);
    schemathesis.args(["run", &format!("{server}/openapi.json"), "--checks", "all", "--continue-on-failure"]);
    schemathesis.args(["--suppress-health-check", "all", "--no-color", "--request-timeout", "30"]);
    schemathesis.args(["--seed", &asked.seed.to_string(), "--max-examples", &asked.examples.to_string()]);
    if let Some(seconds) = asked.seconds {
        schemathesis.args(["--max-time", &seconds.to_string()]);
    }
    schemathesis.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", root.join("fuzz"));
    schemathesis.env("PYTHONDONTWRITEBYTECODE", "1");
    let ending = child::run(&mut schemathesis, asked.limit());
    if !answers(&at) {
        let log = place.join("server.log");
        return Err(format!("the server has stopped answering; its log is {}", log.display()).into());
    }
    if ending.passed() { Ok(()) } else { Err(format!("schemathesis: {ending}").into()) }
}

/// The tool in an environment of its own under `target`, made on first use.
fn tool(root: &Path) -> Result<PathBuf, String> {
    let venv = target_dir(root).join("schemathesis-venv");
    let tool = venv.join("bin/schemathesis");
    let wanted = PACKAGE.rsplit('=').next().unwrap_or_default();
    let said = Command::new(&tool).arg("--version").stdin(Stdio::null()).output();
    if said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(wanted)) {
        return Ok(tool);
    }
    match setup::python_venv() {
        Found::Yes => {}
        Found::Without(why) | Found::No(why) => return Err(why),
    }
    println!("schemathesis: into {} (once, for a minute)", venv.display());
    let steps: [(&str, Vec<String>); 2] = [
        ("python3", ["-m", "venv", "--clear", &text(&venv)].map(str::to_owned).to_vec()),
        (&text(&venv.join("bin/pip")), ["install", "--quiet", PACKAGE].map(str::to_owned).to_vec()),
    ];
    for (program, arguments) in steps {
        let ending = child::run(Command::new(program).args(&arguments), INSTALL);
        if !ending.passed() {
            return Err(format!("{program} {}: {ending}", arguments.join(" ")));
        }
    }
    Ok(tool)
}

/// The example's sagas and participants, with the stand's doors where it really listens.
fn definitions(root: &Path, into: &Path, stand_port: u16) -> Result<(), String> {
    let from = root.join("examples/telecom");
    let entries = fs::read_dir(&from).map_err(|e| format!("{}: {e}", from.display()))?;
    for entry in entries.flatten() {
        let Ok(mut content) = fs::read_to_string(entry.path()) else { continue };
        if !content.lines().any(|line| matches!(line.trim_end(), "kind: Saga" | "kind: Participants")) {
            continue;
        }
        for door in (0..STAND_PORTS).rev() {
            let (written, real) = (PARTICIPANTS_FIRST_PORT + door, stand_port + door);
            content = content.replace(&format!("127.0.0.1:{written}/"), &format!("127.0.0.1:{real}/"));
        }
        let to = into.join(entry.file_name());
        fs::write(&to, content).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    Ok(())
}

/// The first of `count` neighbours that nobody uses just now. Somebody else may take one before we do; then what was
/// started says so, and the run fails with its log.
fn free_ports(count: u16) -> Result<u16, String> {
    for _ in 0..100 {
        let Ok(first) = TcpListener::bind("127.0.0.1:0") else { continue };
        let Ok(port) = first.local_addr().map(|at| at.port()) else { continue };
        let Some(end) = port.checked_add(count) else { continue };
        let others: Vec<TcpListener> =
            (port + 1..end).filter_map(|p| TcpListener::bind(("127.0.0.1", p)).ok()).collect();
        if others.len() + 1 == usize::from(count) {
            return Ok(port);
        }
    }
    Err(format!("no {count} neighbouring free ports on 127.0.0.1"))
}

fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Running, String> {
    let out = fs::File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let err = out.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().map(Running).map_err(|e| format!("{}: {e}", program.display()))
}

fn until_ready(at: &str) -> Result<(), String> {
    let started = Instant::now();
    while !answers(at) {
        if started.elapsed() > START {
            return Err(format!("no answer from {at} within {} s", START.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether `/readyz` says 200.
fn answers(at: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let at: SocketAddr = at.parse().map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_words() {
        assert_eq!(Asked::parse(&[]), Ok(Asked::SHORT));
        let all = Asked::parse(&["--seconds", "20", "--seed", "7", "--examples", "100"]);
        assert_eq!(all, Ok(Asked { seed: 7, examples: 100, seconds: Some(20) }));
        for bad in [&["--seconds", "soon"][..], &["20"], &["--seed"], &["--examples", "0"], &["--seeds", "1"]] {
            assert!(Asked::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_example_is_moved_to_the_stand_s_ports() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        definitions(&crate::root(), folder.path(), 40_000).expect("the example");
        let participants = fs::read_to_string(folder.path().join("participants.yaml")).expect("its participants");
        assert!(participants.contains("http://127.0.0.1:40005/payments"), "{participants}");
        assert!(!participants.contains("127.0.0.1:74"), "{participants}");
        assert!(folder.path().join("top-up.yaml").exists());
    }

    #[test]
    fn free_ports_are_neighbours() {
        let first = free_ports(3).expect("three ports");
        for port in first..first + 3 {
            TcpListener::bind(("127.0.0.1", port)).expect("free");
        }
    }
}
