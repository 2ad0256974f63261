//! Every input that is worth keeping, and every input that ever failed, holds: without libFuzzer, in seconds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fuzz::{TARGETS, storm};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_kept_holds() {
    for target in TARGETS {
        let kept = storm::kept(&root(), target).expect("readable folders");
        assert!(!kept.is_empty(), "{} has nothing to start from: run the binary `seeds`", target.name);
        for (path, bytes) in kept {
            assert!(bytes.len() <= target.bytes_max, "{} is cut before it is read", path.display());
            println!("{}", path.display());
            target.check(&bytes);
        }
    }
}

#[test]
fn every_folder_belongs_to_a_target_and_every_target_to_a_binary() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "names are unique");
    for folder in ["corpus", "regressions"] {
        for entry in fs::read_dir(root().join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!entry.path().is_dir() || names.contains(&name), "{folder}/{name} belongs to no target");
        }
    }
    let binaries: BTreeSet<String> = fs::read_dir(root().join("fuzz_targets"))
        .expect("the binaries")
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(binaries, names);
}

#[test]
fn a_storm_is_the_same_twice_and_finds_what_is_planted() {
    fn planted(data: &[u8]) {
        assert!(!data.windows(2).any(|pair| pair == [b'x', 0xff]), "planted");
    }
    let target = fuzz::Target {
        name: "planted",
        what: "",
        bytes_max: 64,
        heap_bytes: 1 << 20,
        heap_bytes_per_byte: 0,
        run: planted,
    };
    let seeds = vec![b"xxxxxxxx".to_vec()];
    let run = || storm::storm(&target, &seeds, 3, 100_000, Duration::from_secs(60));
    let (first, second) = (run(), run());
    assert!(first.failed.is_some(), "{} executions", first.executions);
    assert_eq!((first.executions, first.failed), (second.executions, second.failed));
}

#[test]
fn a_target_that_takes_too_much_is_found() {
    fn greedy(_: &[u8]) {
        drop(std::hint::black_box(vec![0_u8; 1 << 20]));
    }
    let target = fuzz::Target {
        name: "greedy",
        what: "",
        bytes_max: 64,
        heap_bytes: 1 << 10,
        heap_bytes_per_byte: 1 << 10,
        run: greedy,
    };
    let passed = storm::storm(&target, &[b"a".to_vec()], 1, 1, Duration::from_secs(60));
    assert!(passed.failed.is_some());
}
