//! What the tests need and a fresh machine may lack: found, or installed, or said aloud.
//!
//! cargo-nextest is required. cargo-deny is worth ten minutes and no more. A C compiler is only needed for the
//! bundled C sources, and Python only for schemathesis; without root we say what to install. Tools are built without optimisation: they run for
//! seconds and would be compiled for minutes.

use crate::child;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

const PROBE: Duration = Duration::from_secs(60);
const APT: Duration = Duration::from_secs(600);

/// A cargo subcommand that comes as a crate of its own.
struct Tool {
    subcommand: &'static str,
    package: &'static str,
    install_limit: Duration,
    required: bool,
}

const NEXTEST: Tool =
    Tool { subcommand: "nextest", package: "cargo-nextest", install_limit: Duration::from_secs(1500), required: true };
const DENY: Tool =
    Tool { subcommand: "deny", package: "cargo-deny", install_limit: Duration::from_secs(600), required: false };

/// Whether the thing is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Yes,
    /// Not there, and a change may land without it; the text says why it is not.
    Without(String),
    No(String),
}

pub(crate) fn run(root: &Path) -> ExitCode {
    let mut all = true;
    let chores = [
        ("C compiler", c_compiler()),
        ("python3 venv", python_venv()),
        ("cargo-nextest", nextest(root)),
        ("cargo-deny", deny(root)),
    ];
    for (name, found) in chores {
        match found {
            Found::Yes => println!("{name}: here"),
            Found::Without(why) => println!("{name}: going on without: {why}"),
            Found::No(why) => {
                println!("{name}: missing: {why}");
                all = false;
            }
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn nextest(root: &Path) -> Found {
    tool(root, &NEXTEST)
}

/// Asked once a run, so that an installation that failed is not tried again by the step that wanted it.
pub(crate) fn deny(root: &Path) -> Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| tool(root, &DENY)).clone()
}

/// `cc` compiles the bundled C sources (SQLite, ring, mimalloc).
pub(crate) fn c_compiler() -> Found {
    debian("C compiler `cc`", "build-essential", || child::succeeds(Command::new("cc").arg("--version"), PROBE))
}

/// Python that can make an environment of its own, for schemathesis.
pub(crate) fn python_venv() -> Found {
    debian("`python3 -m venv`", "python3-venv", || {
        child::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]), PROBE)
    })
}

/// What a package of Debian brings: found, or installed where we may.
fn debian(what: &str, package: &str, there: impl Fn() -> bool) -> Found {
    if there() {
        return Found::Yes;
    }
    let advice = format!("install one (Debian: {package})");
    if !child::succeeds(Command::new("sh").args(["-c", "test \"$(id -u)\" = 0 && command -v apt-get"]), PROBE) {
        return Found::No(format!("no {what}: {advice}"));
    }
    println!("no {what}: apt-get install {package}");
    for arguments in [&["update", "-q"][..], &["install", "-y", "-q", package][..]] {
        let ending = child::run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"), APT);
        if !ending.passed() {
            return Found::No(format!("apt-get {}: {ending}; {advice}", arguments[0]));
        }
    }
    if there() { Found::Yes } else { Found::No(format!("{package} brought no {what}: {advice}")) }
}

fn tool(root: &Path, tool: &Tool) -> Found {
    let there = || child::succeeds(cargo(root).args([tool.subcommand, "--version"]), PROBE);
    if there() {
        return Found::Yes;
    }
    println!("no {}: cargo install --locked {} (once, for minutes)", tool.package, tool.package);
    let ending = child::run(
        // From the root of the file system: the workspace's own cargo settings are not the tool's.
        cargo(Path::new("/"))
            .args(["install", "--locked", "--debug", tool.package])
            .env("CARGO_PROFILE_DEV_DEBUG", "0"),
        tool.install_limit,
    );
    match (ending.passed() && there(), tool.required) {
        (true, _) => Found::Yes,
        (false, true) => Found::No(format!("cargo install {} {ending}", tool.package)),
        (false, false) => Found::Without(format!("cargo install {} {ending}", tool.package)),
    }
}

/// The cargo that called us, in `folder`, free of what it set for this process.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" || text == "CARGO_MANIFEST_PATH" {
            command.env_remove(&name);
        }
    }
    command
}
