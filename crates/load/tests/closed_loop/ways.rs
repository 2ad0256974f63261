//! Transactions that begin at one participant and go on to another, or do not: what the gate in front of the first
//! call does to them. Time moves in tenths of a millisecond.

use std::time::Duration;

use load::{CallRef, Decision, LoadManager, ParticipantSpec, Released, Sample, Verdict};
use model::Timestamp;

const FIRST: u32 = 0;
const SECOND: u32 = 1;
const ROUTE: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    /// New transactions a second; each begins with a call of 5 ms.
    pub(crate) per_second: u64,
    /// Of ten transactions so many go on to the second participant.
    pub(crate) of_ten: u64,
    /// The second one: so many workers, 20 ms a call.
    pub(crate) workers: usize,
    /// Declared for the second one; else nothing is known of it but what is learned.
    pub(crate) max_per_second: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Went {
    /// Transactions that ended, of those that came.
    pub(crate) share: f64,
    /// The most calls that waited for the second participant, in memory.
    pub(crate) most_waiting: u64,
}

/// Runs so many seconds; everything counts.
pub(crate) fn run(ways: Ways, seconds: u64) -> Went {
    let mut load = LoadManager::new();
    for (index, name) in [(FIRST, "first"), (SECOND, "second")] {
        let mut spec = ParticipantSpec { name: name.into(), initial_in_flight: Some(5), ..ParticipantSpec::default() };
        if index == SECOND {
            spec.max_per_second = ways.max_per_second;
        }
        load.set_participant(index, spec);
    }
    load.set_route(ROUTE, &[SECOND]);
    let mut verdicts = Vec::new();
    // Under way: when it ends, its token, what it took.
    let mut under_way: Vec<(u64, u64, u64)> = Vec::new();
    let mut free = vec![0u64; ways.workers];
    let (mut came, mut ended, mut most_waiting) = (0u64, 0u64, 0);
    let begin = 1_000_000_000;
    for tick in 0..seconds * 10_000 {
        let us = begin + tick * 100;
        let now = Timestamp(us);
        let mut starting = Vec::new();
        let release = |load: &mut LoadManager, token: u64, starting: &mut Vec<u64>| {
            let second = token % 2;
            let released = Released {
                call: CallRef { worker: 0, token },
                participant: second as u32,
                progress: second as u8 * 128,
                route: if second == 0 { ROUTE } else { 0 },
                ..Released::default()
            };
            match load.release(now, released) {
                Decision::Start { .. } => starting.push(token),
                Decision::Queued => {}
                other => panic!("{other:?} for a call that may wait"),
            }
        };
        for (_, token, took) in under_way.extract_if(.., |(ends, ..)| *ends <= us) {
            let sample = Sample { took: Duration::from_micros(took), ..Sample::default() };
            load.finish(now, CallRef { worker: 0, token }, sample, &mut verdicts);
            let goes_on = token % 2 == 0 && (token / 2) % 10 < ways.of_ten;
            if goes_on {
                release(&mut load, token + 1, &mut starting);
            } else {
                ended += 1;
            }
        }
        while came * 1_000_000 < (us - begin) * ways.per_second {
            release(&mut load, came * 2, &mut starting);
            came += 1;
        }
        if load.next_wake(now).is_some_and(|at| at <= now) {
            load.tick(now, &mut verdicts, &mut Vec::new());
        }
        starting.extend(verdicts.drain(..).map(|verdict| match verdict {
            Verdict::Start { call, .. } => call.token,
            other => panic!("{other:?} for a call that may wait"),
        }));
        for token in starting {
            let ends = if token % 2 == 0 {
                us + 5_000
            } else {
                let worker = free.iter_mut().min().expect("a worker");
                *worker = us.max(*worker) + 20_000;
                *worker
            };
            under_way.push((ends, token, ends - us));
        }
        most_waiting = most_waiting.max(load.report(now)[SECOND as usize].backlog * u64::from(tick % 1_000 == 0));
    }
    Went { share: ended as f64 / came as f64, most_waiting }
}
