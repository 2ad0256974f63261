//! The learned limit against a participant whose capacity is known: each scene says what must hold.

mod plant;
mod turns;
mod ways;

use load::{Learn, ParticipantSpec};
use plant::{CALM, Phase, Spread, World};
use turns::Node;
use ways::Ways;

fn spec(initial: u32) -> ParticipantSpec {
    ParticipantSpec {
        name: "billing".into(),
        max_in_flight: 2_000,
        initial_in_flight: Some(initial),
        learn: Learn::On,
        ..ParticipantSpec::default()
    }
}

/// Demand is twice what it can do.
const OVER: Phase = Phase { arrivals_per_s: 400.0, workers: 10, service_ms: 50.0, ..CALM };

/// Done over what is possible, and calls at once over the knee.
fn shares(world: &World, phase: Phase, from: usize, to: usize) -> (f64, f64) {
    let (done, in_flight, _) = world.mean(from, to);
    (done / phase.capacity().min(phase.arrivals_per_s), in_flight / phase.knee())
}

fn settles(name: &str, phase: Phase, spread: Spread, initial: u32, at_once: f64) {
    let mut world = World::new(spec(initial), &[phase], spread, 1);
    world.run(70);
    let (done, in_flight) = shares(&world, phase, 30, 70);
    assert!(done > 0.94 && in_flight < at_once, "{name}: {done:.2} done, {in_flight:.2} knees at once");
}

#[test]
fn it_finds_the_knee_from_anywhere() {
    for initial in [1, 20, 500] {
        settles("exponential", OVER, Spread::Exponential, initial, 1.5);
        settles("constant", OVER, Spread::None, initial, 1.5);
    }
}

#[test]
fn a_heavy_tail_is_no_congestion() {
    // Without a variance a single day says little: what is done on one is a tenth more or less by chance alone.
    let days: Vec<(f64, f64)> = (1..=6)
        .map(|seed| {
            let mut world = World::new(spec(20), &[OVER], Spread::Pareto(1.5), seed);
            world.run(70);
            shares(&world, OVER, 30, 70)
        })
        .collect();
    let mean = |part: fn(&(f64, f64)) -> f64| days.iter().map(part).sum::<f64>() / days.len() as f64;
    let (done, in_flight) = (mean(|day| day.0), mean(|day| day.1));
    assert!(done > 0.96 && in_flight < 1.5, "{done:.2} done, {in_flight:.2} knees at once: {days:?}");
}

#[test]
fn half_of_the_capacity_lost() {
    let half = Phase { at_s: 40.0, workers: 5, ..OVER };
    let mut world = World::new(spec(20), &[OVER, half], Spread::Exponential, 2);
    world.run(80);
    let (_, soon) = shares(&world, half, 44, 50);
    let (done, settled) = shares(&world, half, 55, 80);
    assert!(soon < 1.8, "{soon:.2} knees at once, seconds after");
    assert!(done > 0.93 && settled < 1.5, "{done:.2} done, {settled:.2} knees at once");
}

#[test]
fn longer_latency_is_not_less_capacity() {
    // The way there takes longer: the knee is twice as deep, and whoever cuts loses half of the throughput.
    let far = Phase { at_s: 40.0, delay_ms: 50.0, ..OVER };
    let days: Vec<(f64, f64)> = (1..=8)
        .map(|seed| {
            let mut world = World::new(spec(20), &[OVER, far], Spread::Exponential, seed);
            world.run(90);
            shares(&world, far, 60, 90)
        })
        .collect();
    let mean = |part: fn(&(f64, f64)) -> f64| days.iter().map(part).sum::<f64>() / days.len() as f64;
    let (done, in_flight) = (mean(|day| day.0), mean(|day| day.1));
    assert!(done > 0.95 && in_flight < 1.5, "{done:.2} done, {in_flight:.2} knees at once: {days:?}");
}

#[test]
fn a_quota_is_paced_under() {
    let quota = Phase { quota_per_s: Some(120.0), ..OVER };
    let mut world = World::new(spec(20), &[quota], Spread::Exponential, 4);
    world.run(70);
    let (done, _, started) = world.mean(35, 70);
    assert!(done > 0.93 * 120.0, "{done:.0} done per second");
    assert!(started < 1.06 * done, "{started:.0} calls per second for {done:.0} done");
}

#[test]
fn a_pace_does_not_hide_that_the_limit_holds_calls_back() {
    // Seven and a half at once are what the quota is worth; a start has five, and pace and limit hold by turns.
    let quota = Phase { arrivals_per_s: 30.0, workers: 25, service_ms: 418.0, quota_per_s: Some(18.0), ..CALM };
    for seed in 1..=6 {
        let mut world = World::new(spec(64), &[quota], Spread::Exponential, seed);
        world.run(200);
        let (done, ..) = world.mean(60, 200);
        assert!(done > 0.85 * 18.0, "seed {seed}: {done:.1} done per second");
    }
}

#[test]
fn a_storm_of_repeats_does_not_outlast_its_cause() {
    let calm = Phase { arrivals_per_s: 170.0, ..OVER };
    let storm = Phase { at_s: 30.0, workers: 3, ..calm };
    let after = Phase { at_s: 40.0, ..calm };
    let mut world = World::new(spec(20), &[calm, storm, after], Spread::Exponential, 5).timeout_ms(300.0);
    world.run(100);
    let (done, _, _) = world.mean(45, 100);
    assert!(done > 0.95 * 170.0, "{done:.0} done per second after it");
    let (_, _, started) = world.mean(30, 40);
    assert!(started < 2.5 * 60.0, "{started:.0} calls per second to one that can do 60");
}

#[test]
fn without_evidence_the_limit_stays() {
    let calm = Phase { arrivals_per_s: 400.0, ..OVER };
    let lull = Phase { at_s: 40.0, arrivals_per_s: 2.0, ..OVER };
    let mut world = World::new(spec(20), &[calm, lull], Spread::Exponential, 6);
    world.run(140);
    let known = |world: &World| world.load.report(world.timestamp())[0].learned.map(|l| l.limit);
    let later = known(&world);
    world.run(150);
    assert_eq!(later, known(&world));
    assert!(later.is_some_and(|limit| (9.0..16.0).contains(&limit)), "{later:?}");
}

#[test]
fn what_was_learned_survives_a_restart_by_half() {
    let mut world = World::new(spec(20), &[OVER], Spread::Exponential, 7);
    world.run(40);
    let bytes = world.load.snapshot(world.timestamp());
    let before = world.load.report(world.timestamp())[0].learned.expect("it learns");
    let mut next = load::LoadManager::new();
    next.set_participant(0, spec(20));
    assert_eq!(next.restore(world.timestamp(), &bytes), Ok(1));
    let after = next.report(world.timestamp())[0].learned.expect("it learns");
    assert!((after.limit - before.limit / 2.0).abs() < 0.01, "{before:?} {after:?}");
    let capacity = after.capacity_per_s.unwrap_or(0.0) / before.capacity_per_s.unwrap_or(1.0);
    assert!((0.8..1.25).contains(&capacity), "{before:?} {after:?}");
    next.forget(0);
    assert_eq!(next.report(world.timestamp())[0].learned.and_then(|l| l.capacity_per_s), None);
    // Every cut and every changed bit is noticed, and nothing is changed by it.
    for length in 0..bytes.len() {
        assert!(next.restore(world.timestamp(), &bytes[..length]).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(next.restore(world.timestamp(), &changed).is_err(), "{at}");
    }
}

#[test]
fn the_same_day_twice_is_the_same() {
    let day = || {
        let mut world = World::new(spec(20), &[OVER], Spread::Exponential, 8);
        world.run(20);
        world.seconds.iter().map(|s| (s.done, s.started, s.limit)).collect::<Vec<_>>()
    };
    assert_eq!(day(), day());
}

#[test]
fn observing_changes_nothing_and_says_what_it_would_do() {
    let observed = ParticipantSpec { learn: Learn::Observe, max_in_flight: 60, ..spec(20) };
    let mut world = World::new(observed, &[OVER], Spread::Exponential, 9);
    world.run(40);
    assert!(world.seconds.iter().skip(2).all(|second| second.limit == 60));
    let report = &world.load.report(world.timestamp())[0];
    assert!(report.explain.contains("only observed"), "{}", report.explain);
}

/// Done with a learned limit over what is done with none.
fn of_unlimited(name: &str, node: Node, from_s: f64, seconds: f64) -> f64 {
    let off = ParticipantSpec { learn: Learn::Off, max_in_flight: 100_000, ..spec(20) };
    let on = ParticipantSpec { max_in_flight: 100_000, ..spec(20) };
    let (free, learned) = (turns::run(node, off, from_s, seconds), turns::run(node, on, from_s, seconds));
    println!("{name}: {free:?} without a limit, {learned:?} learned");
    learned.per_second / free.per_second
}

#[test]
fn what_is_faster_than_our_own_turns_is_not_held_back() {
    // Answered inside the process: only our own turns take time.
    let local = Node { clients: 3_000, turn_us: 100.0, call_us: 2.0, workers: 0, service_us: 0.0 };
    let share = of_unlimited("at once", local, 1.0, 3.0);
    assert!(share > 0.97, "{share:.3} of what is done without a limit");
    // Beside a node that is busy with other things, and for one that is quick itself.
    let busy = Node { clients: 2_000, turn_us: 1_000.0, call_us: 3.0, workers: 200, service_us: 500.0 };
    let share = of_unlimited("half a millisecond", busy, 1.0, 3.0);
    assert!(share > 0.95, "{share:.3} of what is done without a limit");
    let quick = Node { clients: 200, turn_us: 20.0, call_us: 2.0, workers: 3, service_us: 300.0 };
    let share = of_unlimited("10,000 a second", quick, 1.0, 4.0);
    assert!(share > 0.95, "{share:.3} of what is done without a limit");
}

#[test]
fn our_own_turns_are_no_excuse_to_flood_a_slow_one() {
    // The node is busy for two milliseconds at a time; the participant has ten workers of 50 ms.
    let node = Node { clients: 1_000, turn_us: 2_000.0, call_us: 2.0, workers: 10, service_us: 50_000.0 };
    let on = turns::run(node, ParticipantSpec { max_in_flight: 100_000, ..spec(20) }, 20.0, 60.0);
    assert!(on.per_second > 190.0 && on.inside < 14.0, "{on:?} of 200 a second, with a knee of 10");
}

#[test]
fn those_that_never_come_hold_nobody_back() {
    // It can do 250 a second.
    for (per_second, of_ten) in [(200, 0), (200, 1), (200, 5), (200, 10)] {
        let went = ways::run(Ways { per_second, of_ten, workers: 5, max_per_second: None }, 20);
        assert!(went.share > 0.97, "{of_ten} of ten of {per_second}: {went:?}");
    }
    // What it can do is declared and small, far more pass by, and for longer: whoever counts all of them as coming, or
    // remembers them, shuts the gate before a participant that is busy for two thirds of its time.
    let went = ways::run(Ways { per_second: 800, of_ten: 1, workers: 5, max_per_second: Some(120) }, 60);
    assert!(went.share > 0.97, "one of ten of 800: {went:?}");
}

#[test]
fn no_more_begin_than_the_bottleneck_can_end() {
    // Twice what it can do, and everybody comes: the rest waits before its first call. Some too many begin while
    // nothing is known, a tenth of those that would without a gate.
    for per_second in [180, 200, 220, 240] {
        let went = ways::run(Ways { per_second, of_ten: 10, workers: 2, max_per_second: None }, 20);
        let possible = 100.0 / per_second as f64;
        assert!((0.9 * possible..1.12 * possible).contains(&went.share), "{per_second}: {went:?}");
        assert!(went.most_waiting < 300, "{per_second}: {went:?}");
    }
}
