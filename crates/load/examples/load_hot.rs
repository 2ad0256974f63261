//! What one call costs in this crate, in nanoseconds: released and ended, with room and without.
//!
//! `cargo run --release -p load --example load_hot`
#![allow(clippy::disallowed_types, reason = "an example may look at the clock; the crate may not")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use load::{CallRef, Class, Evidence, Learn, LoadManager, ParticipantSpec, Released, Sample, Verdict};
use model::Timestamp;

const ROUNDS: u64 = 2_000_000;

fn manager(max_in_flight: u32, endpoints: u16, max_per_second: Option<u32>, learn: Learn) -> LoadManager {
    let mut load = LoadManager::new();
    for index in 0..6 {
        load.set_participant(
            index,
            ParticipantSpec {
                name: "p".into(),
                endpoints,
                max_in_flight,
                max_per_second,
                learn,
                ..ParticipantSpec::default()
            },
        );
    }
    load
}

fn call(token: u64) -> Released {
    Released {
        call: CallRef { worker: (token & 1) as u16, token },
        participant: (token % 6) as u32,
        pinned_endpoint: None,
        priority: 0,
        deadline: Timestamp(u64::MAX - token % 1_000),
        class: if token.is_multiple_of(10) { Class::Compensate } else { Class::First },
        progress: 0,
        ..Released::default()
    }
}

const DONE: Sample = Sample { took: Duration::from_millis(5), evidence: Evidence::Done, quota: None };

fn timed(name: &str, mut load: LoadManager, ahead: u64) {
    let mut out: Vec<Verdict> = Vec::with_capacity(64);
    // `ahead` calls are always here; the oldest of those under way ends.
    let mut under_way = std::collections::VecDeque::new();
    let mut token = 0;
    let mut round = |measure: bool| {
        token += 1;
        let now = Timestamp::from_millis(1_000_000).after(Duration::from_micros(token * 20));
        let released = call(token);
        if let load::Decision::Start { .. } = load.release(now, black_box(released)) {
            under_way.push_back(released.call);
        }
        if measure || token > ahead {
            if let Some(first) = under_way.pop_front() {
                load.finish(now, first, black_box(DONE), &mut out);
            }
            under_way.extend(out.drain(..).map(|v| v.call()));
        }
    };
    (0..ahead).for_each(|_| round(false));
    (0..100_000).for_each(|_| round(true));
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| round(true));
    println!("{name:<48} {:>5} ns for a release and an end", start.elapsed().as_nanos() as u64 / ROUNDS);
}

fn main() {
    for learn in [Learn::Off, Learn::On] {
        let word = learn.as_str();
        timed(&format!("learn {word}: with room"), manager(200, 1, None, learn), 100);
        timed(&format!("learn {word}: with room, paced, 2 endpoints"), manager(200, 2, Some(1_000_000), learn), 100);
        timed(&format!("learn {word}: at the limit, about 3,000 wait"), manager(64, 1, None, learn), 18_000);
    }
}
