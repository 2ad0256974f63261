//! Worlds as tests: a few new ones, and every seed that has broken a promise before.

use sim::campaign::{self, Campaign, live_seed};

const REGRESSIONS: &str = include_str!("../regressions/seeds.txt");

fn holds(seed: u64, why: &str) {
    let life = live_seed(seed);
    assert!(life.entries > 0, "seed {seed} lived no life");
    if let Some((checker, violation)) = life.broken {
        panic!("seed {seed} ({why}): {checker}: {violation}\nsee it with: cargo run --release -p sim -- replay {seed}");
    }
}

#[test]
fn seeds_that_broke_a_promise_keep_it() {
    for line in REGRESSIONS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (seed, why) = line.split_once(char::is_whitespace).expect("a seed, and why");
        holds(seed.parse().expect("a seed"), why.trim());
    }
}

#[test]
fn a_campaign_finds_nothing() {
    let outcome = campaign::run(Campaign { from: 1, seeds: 60, jobs: 2, without_checkers: false }, &|_, _| {});
    assert_eq!(outcome.seeds, 60);
    assert!(outcome.entries > 1_000, "{outcome:?}");
    assert!(outcome.first_failures.is_empty(), "{:#?}", outcome.first_failures);
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..12 {
        let (one, other) = (live_seed(seed), live_seed(seed));
        assert_eq!((one.digest, one.entries), (other.digest, other.entries), "seed {seed}");
        assert_ne!(one.digest, live_seed(seed + 1_000).digest);
    }
}

#[test]
fn a_replay_tells_the_story_that_the_seed_has() {
    let told = sim::replay::replay(3, sim::replay::Told::All, false);
    assert_eq!(told.digest, live_seed(3).digest);
    assert!(told.broken.is_none(), "{:?}", told.broken);
    assert!(told.story.iter().any(|line| line.contains("command Begin")), "no command in {} lines", told.story.len());
    assert!(told.story.iter().any(|line| line.contains("starts:")), "no call");
}
