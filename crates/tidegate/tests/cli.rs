//! The command line as its users meet it: help, exit codes, what stands on which stream, and the first five minutes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use expect_test::expect;

/// One run: exit code, standard output, standard error.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(folder).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, args: &[&str]) -> Ran {
    let output = command(folder, args).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{args:?}: {e}"));
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|e| panic!("a folder: {e}"))
}

/// A running verb; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Asks it to end, as a service manager does.
    fn terminate(&mut self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()));
        let begun = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if begun.elapsed() < Duration::from_secs(30) => std::thread::sleep(Duration::from_millis(10)),
                other => panic!("it does not end: {other:?}"),
            }
        }
    }
}

/// Starts a verb and gives the address that follows the words `says http://` in what it says.
fn start(folder: &Path, args: &[&str], says: &str) -> (Running, String) {
    let mut child = command(folder, args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{args:?}: {e}"));
    let (to, lines) = std::sync::mpsc::channel();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] =
        [child.stdout.take().map(|s| Box::new(s) as _), child.stderr.take().map(|s| Box::new(s) as _)];
    for stream in streams.into_iter().flatten() {
        let to = to.clone();
        // Read to the end, so that the child never waits for a full pipe.
        std::thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(to.send(line)))
        });
    }
    drop(to);
    let running = Running(child);
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(30)) {
        if let Some((_, rest)) = line.split_once(says).and_then(|(_, rest)| rest.split_once("http://")) {
            let end = rest.find(['/', ' ']).unwrap_or(rest.len());
            return (running, rest[..end].to_owned());
        }
        said.push_str(&line);
        said.push('\n');
    }
    panic!("{args:?} said no address: {said}");
}

#[test]
fn help_groups_the_verbs() {
    let ran = run(Path::new("."), &["--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    // Which verbs there are is held by a unit test; here, that the groups are where people look.
    let group = |name: &str| -> Vec<&str> {
        let lines = ran.out.lines().skip_while(|line| *line != format!("{name}:")).skip(1);
        lines.map_while(|line| line.strip_prefix("  ").and_then(|rest| rest.split(' ').next())).collect()
    };
    assert_eq!(group("Use"), ["init", "check", "test", "apply", "submit", "get", "list", "watch", "signal"]);
    for (name, verbs) in [
        ("Operate", &["serve", "settings", "cancel", "retry", "resolve", "pause", "resume", "activate"][..]),
        ("Inspect", &["participants"]),
        ("Practise", &["stand"]),
    ] {
        assert!(verbs.iter().all(|verb| group(name).contains(verb)), "{name}: {:?}", group(name));
    }
    assert!(ran.out.contains("4 transaction aborted"), "{}", ran.out);
}

#[test]
fn wrong_usage_is_2_and_no_server_is_3() {
    let here = folder();
    for args in [
        &["nonsense"][..],
        &[],
        &["submit"],
        &["get", "nothing-known"],
        &["signal", "x"],
        &["--server", "https://x", "list"],
    ] {
        let ran = run(here.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let nobody = nobody.map(|a| a.to_string()).unwrap_or_default();
    let ran = run(here.path(), &["--server", &nobody, "list"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(ran.err.starts_with(&format!("error: no server answers at {nobody}: ")), "{}", ran.err);
}

#[test]
fn check_needs_no_server_and_speaks_as_the_manual_shows() {
    let here = folder();
    assert_eq!(run(here.path(), &["init", "telecom"]).code, 0);
    let again = run(here.path(), &["init", "telecom"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("exists; nothing was written"), "{}", again.err);

    let good = run(here.path(), &["check", "telecom"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    expect![[r#"
        participants.yaml      6 participants
        number-port-out.yaml   number-port-out 1   7 steps: 1 undone on abort, 2 waits, no way back after "release"
        tariff-change.yaml     tariff-change 1     5 steps: 3 undone on abort, 1 optional, 2 in parallel
        top-up.yaml            top-up 1            3 steps: 2 undone on abort, 1 optional
        4 files, no errors
    "#]]
    .assert_eq(&good.out);

    let path = here.path().join("telecom/top-up.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(std::fs::write(&path, text.replacen("participant: payments", "particpant: payments", 1)).is_ok());
    let bad = run(here.path(), &["check", "telecom/"]);
    assert_eq!((bad.code, bad.out.as_str()), (1, ""));
    assert!(bad.err.contains("error[unknown-field]: \"particpant\" is not a field of call"), "{}", bad.err);
    assert!(bad.err.ends_with("4 files, 1 error. Nothing was applied.\n"), "{}", bad.err);
    let data = run(here.path(), &["check", "telecom", "-o", "json"]);
    assert_eq!((data.code, data.err.as_str()), (1, ""));
    let document: serde_json::Value = serde_json::from_str(&data.out).unwrap_or_default();
    assert_eq!((&document["errors"], &document["diagnostics"][0]["code"]), (&1.into(), &"unknown-field".into()));
}

#[test]
fn settings_say_where_they_come_from_and_wrong_ones_do_not_start() {
    let here = folder();
    assert!(std::fs::write(here.path().join("t.toml"), "# node\nworkers = 3\n").is_ok());
    let ran = run(here.path(), &["settings", "--settings", "t.toml", "--partitions", "8", "-o", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let all: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
    let of = |name: &str| {
        let found = all.as_array().into_iter().flatten().find(|s| s["name"] == name).cloned().unwrap_or_default();
        format!("{} {}", found["value"].as_str().unwrap_or_default(), found["source"].as_str().unwrap_or_default())
    };
    assert_eq!(
        (of("workers"), of("partitions"), of("drain")),
        ("3 t.toml:2".into(), "8 --partitions".into(), "10s default".into())
    );

    assert!(std::fs::write(here.path().join("t.toml"), "\nworkers = \"many\"\n").is_ok());
    let ran = run(here.path(), &["serve", "--settings", "t.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "error: t.toml:2: workers is \"many\", it must be a whole number from 1 to 1024\n");
    let ran = run(here.path(), &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("not loopback: this version has no TLS and no tokens"), "{}", ran.err);
    assert!(!here.path().join("data").exists(), "a refused start leaves nothing behind");
}

#[test]
fn the_first_five_minutes() {
    let here = folder();
    let at = here.path();
    assert_eq!(run(at, &["init", "telecom"]).code, 0);
    let (_stand, stand) = start(
        at,
        &["stand", "telecom/participants.yaml", "--listen", "127.0.0.1:0", "--ledger", "ledger.db"],
        "answer at",
    );
    let path = at.join("telecom/participants.yaml");
    // The example names the stand's usual ports; this one has others. Its common door serves every system by name.
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let moved: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("http://127.0.0.1:") {
            Some((lead, rest)) => format!("{lead}http://{stand}/{}", rest.split_once('/').map_or("", |(_, name)| name)),
            None => line.to_owned(),
        })
        .collect();
    assert!(std::fs::write(&path, moved.join("\n") + "\n").is_ok());

    let (mut serve, server) = start(at, &["serve", "--data", "data", "--listen", "127.0.0.1:0"], "ready in");
    let ask = |args: &[&str]| {
        let mut all = vec!["--server", server.as_str()];
        all.extend_from_slice(args);
        run(at, &all)
    };
    let applied = ask(&["apply", "-f", "telecom/"]);
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert!(applied.out.starts_with("participant/billing           created\n"), "{}", applied.out);
    assert!(applied.out.ends_with("definition/top-up             version 1 created, active\n"), "{}", applied.out);
    let again = ask(&["apply", "-f", "telecom/"]);
    assert!(again.out.lines().all(|line| line.contains("unchanged")), "{}", again.out);

    let input = r#"{"msisdn":"491701234567","amount_minor":1000,"currency":"EUR","card_token":"tok_1"}"#;
    let done = ask(&["submit", "top-up", "-i", input, "--idempotency-key", "k1"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let (line, output) = done.out.split_once('\n').unwrap_or_default();
    let id = line.split("  ").next().unwrap_or_default().to_owned();
    assert!(id.starts_with("tx_") && line.contains("  completed in "), "{line}");
    assert_eq!(output, "{\"balance_minor\": 1750, \"charge_id\": \"ch_1\"}\n");
    let again = ask(&["submit", "top-up", "-i", input, "--idempotency-key", "k1"]);
    assert!(again.out.starts_with(&id), "the same key gives the same transaction: {}", again.out);

    let got = ask(&["get", &id]);
    assert_eq!(got.code, 0);
    assert!(
        got.out.starts_with("top-up version 1   subscriber/491701234567   completed, decided after "),
        "{}",
        got.out
    );
    assert!(got.out.contains("\nSTEP    PARTICIPANT  ATTEMPT  OUTCOME"), "{}", got.out);
    assert_eq!(ask(&["watch", &id]).code, 0);

    let bad = ask(&["submit", "top-up", "-i", &input.replace("1000", "50")]);
    assert_eq!((bad.code, bad.out.as_str()), (1, ""));
    assert!(
        bad.err.contains("the input does not fit top-up version 1\n  input.amount_minor  is 50, the minimum is 100\n"),
        "{}",
        bad.err
    );

    assert_eq!(run(at, &["stand", "set", "billing", "refuse", "--stand", &stand]).code, 0);
    let refused = ask(&["submit", "top-up", "-i", input]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.out.contains("refused by billing at step credit (account blocked)"), "{}", refused.out);
    let aborted = refused.out.split("  ").next().unwrap_or_default().to_owned();
    assert_eq!(ask(&["watch", &aborted]).code, 4, "watch ends when all is undone");
    assert_eq!(run(at, &["stand", "set", "billing", "well", "--stand", &stand]).code, 0);

    let port = r#"{"msisdn":"491701234560","port_request_id":"p1","recipient":"ABC01"}"#;
    let waits = ask(&["submit", "number-port-out", "-i", port, "--wait", "500ms"]);
    assert_eq!(waits.code, 5, "{}{}", waits.out, waits.err);
    assert!(waits.out.contains("waiting for signal window_set"), "{}", waits.out);
    let key = "subscriber/491701234560";
    let signal = [
        "signal",
        "window_set",
        "--definition",
        "number-port-out",
        "--key",
        key,
        "-b",
        r#"{"decision":"SET","port_at":"2020-01-01T00:00:00Z"}"#,
    ];
    let taken = ask(&signal);
    assert_eq!(taken.code, 0, "{}", taken.err);
    let id = waits.out.split("  ").next().unwrap_or_default().to_owned();
    assert_eq!(ask(&["watch", &id]).code, 0);

    let listed = ask(&["list", "--outcome", "completed", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&listed.out).unwrap_or_default();
    assert_eq!(document["items"].as_array().map(Vec::len), Some(2), "{}", listed.out);
    let audit = ask(&["stand", "audit", "--stand", &stand]);
    assert_eq!(audit.code, 0, "{}{}", audit.out, audit.err);

    assert_eq!(serve.terminate().code(), Some(0), "a wished end is a clean one");
    let (mut serve, server) = start(at, &["serve", "--data", "data", "--listen", "127.0.0.1:0"], "ready in");
    let kept = run(at, &["--server", &server, "get", &id]);
    assert_eq!(kept.code, 0, "{}", kept.err);
    assert_eq!(serve.terminate().code(), Some(0));
}
