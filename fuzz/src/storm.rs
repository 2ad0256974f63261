//! A storm of changed inputs on a plain toolchain: seeded, repeatable, without coverage.
//!
//! libFuzzer finds what it takes patience and coverage to find; a storm holds on every machine, within seconds, that
//! the shallow rest stays found. The same seed gives the same inputs. Left out: anything clever.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Target;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The inputs kept for a target under `fuzz/`: what is worth starting from, and what has failed once.
///
/// # Errors
/// If a folder that is there cannot be read.
pub fn kept(root: &Path, target: &Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for folder in ["corpus", "regressions"] {
        let folder = root.join(folder).join(target.name);
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            inputs.push((path, bytes));
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// What a storm came to.
#[derive(Debug)]
pub struct Passed {
    pub executions: u64,
    /// The input that failed.
    pub failed: Option<Vec<u8>>,
}

/// Changes the inputs of `seeds` and runs the target on them, until `executions` or the time is spent.
///
/// A panic of the target is caught and its input given back.
pub fn storm(target: &Target, seeds: &[Vec<u8>], seed: u64, executions: u64, within: Duration) -> Passed {
    let mut random = Random::new(seed);
    let started = Instant::now();
    let mut done = 0;
    while done < executions && started.elapsed() < within {
        // The clock is asked once for many: it costs as much as a small input.
        for _ in 0..64.min(executions - done) {
            let input = changed(seeds, target.bytes_max, &mut random);
            done += 1;
            if catch_unwind(AssertUnwindSafe(|| target.check(&input))).is_err() {
                return Passed { executions: done, failed: Some(input) };
            }
        }
    }
    Passed { executions: done, failed: None }
}

/// Numbers at which counts and lengths turn over.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 53, i64::MAX as u64, u64::MAX];

fn changed(seeds: &[Vec<u8>], bytes_max: usize, random: &mut Random) -> Vec<u8> {
    let mut input = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let span = random.below(16) + 1;
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => drop(input.drain(at..(at + span).min(input.len()))),
            3 => {
                let some: Vec<u8> = (0..span).map(|_| random.next() as u8).collect();
                drop(input.splice(at..at, some));
            }
            4 => {
                let again = input[at..(at + span * 4).min(input.len())].to_vec();
                drop(input.splice(at..at, again));
            }
            5 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                let width = 1 << random.below(4);
                let end = (at + width).min(input.len());
                drop(input.splice(at..end, edge[..width].iter().copied()));
            }
            6 => {
                let other = seeds.get(random.below(seeds.len())).map_or(&[][..], Vec::as_slice);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => input.truncate(at),
            _ => {
                let other = random.below(input.len() + 1);
                let piece = input[other..(other + span).min(input.len())].to_vec();
                let end = (at + piece.len()).min(input.len());
                drop(input.splice(at..end, piece));
            }
        }
    }
    input.truncate(bytes_max);
    input
}
