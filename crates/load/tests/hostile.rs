//! Hostile streams of samples: whatever comes, limits are at least one and at most what is declared, numbers are
//! numbers, nothing is lost, and without evidence nothing moves.

use std::time::Duration;

use load::{CallRef, Class, Decision, Evidence, Learn, LoadManager, ParticipantSpec, Quota, Released, Sample, Verdict};
use model::Timestamp;
use proptest::prelude::*;

const MOST: u32 = 40;

#[derive(Clone, Debug)]
enum Op {
    /// So many calls at once.
    Burst {
        calls: u16,
        class: u8,
        operation: u16,
        route: u32,
        deadline_ms: Option<u32>,
    },
    /// The oldest of those under way end so.
    End {
        calls: u16,
        took_us: u64,
        evidence: u8,
        quota: Option<(u32, u32)>,
    },
    /// Time goes on, or stands still.
    Wait {
        us: u64,
    },
    Remember,
    Forget,
}

fn op() -> impl Strategy<Value = Op> {
    let took =
        prop_oneof![Just(0), 1u64..1_000, 1_000u64..100_000, 1_000_000u64..10_000_000, Just(u64::MAX / 2_000_000)];
    let wait = prop_oneof![
        3 => Just(0),
        3 => 1u64..20_000,
        2 => 20_000u64..500_000,
        1 => 1_000_000u64..10_000_000,
        1 => Just(3_600_000_000),
    ];
    prop_oneof![
        8 => (0u16..120, 0u8..4, 0u16..30, 0u32..3, proptest::option::of(0u32..10_000)).prop_map(
            |(calls, class, operation, route, deadline_ms)| Op::Burst { calls, class, operation, route, deadline_ms }
        ),
        10 => (0u16..120, took, 0u8..8, proptest::option::of((0u32..100, 0u32..100))).prop_map(
            |(calls, took_us, evidence, quota)| Op::End { calls, took_us, evidence, quota }
        ),
        8 => wait.prop_map(|us| Op::Wait { us }),
        1 => Just(Op::Remember),
        1 => Just(Op::Forget),
    ]
}

fn evidence(kind: u8) -> Evidence {
    match kind {
        0..=2 => Evidence::Done,
        3 => Evidence::Refused,
        4 => Evidence::Unknown,
        5 => Evidence::Throttled { retry_after: None },
        6 => Evidence::NotTaken { retry_after: Some(Duration::from_secs(1)) },
        _ => Evidence::Cancelled,
    }
}

fn spec(index: u32) -> ParticipantSpec {
    ParticipantSpec {
        name: format!("p{index}").into(),
        endpoints: 1 + index as u16 * 2,
        max_in_flight: MOST,
        min_in_flight: Some(2),
        learn: if index == 2 { Learn::Observe } else { Learn::On },
        ..ParticipantSpec::default()
    }
}

struct World {
    load: LoadManager,
    now: Timestamp,
    next: u64,
    flying: std::collections::VecDeque<(CallRef, u32)>,
    waiting: std::collections::BTreeSet<CallRef>,
}

impl World {
    fn new() -> Self {
        let mut load = LoadManager::new();
        for index in 0..3 {
            load.set_participant(index, spec(index));
        }
        load.set_route(1, &[1]);
        load.set_route(2, &[2, 1, 7]);
        let now = Timestamp::from_millis(1_000_000);
        Self { load, now, next: 0, flying: Default::default(), waiting: Default::default() }
    }

    fn take(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            assert!(self.waiting.remove(&verdict.call()), "{verdict:?} on a call that does not wait");
            if let Verdict::Start { call, participant, .. } = verdict {
                self.flying.push_back((call, participant));
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        let mut out = Vec::new();
        match *op {
            Op::Burst { calls, class, operation, route, deadline_ms } => {
                for _ in 0..calls {
                    self.next += 1;
                    let call = CallRef { worker: 0, token: self.next };
                    let participant = (self.next % 3) as u32;
                    let class = [Class::First, Class::Retry, Class::Compensate, Class::AfterPivot][usize::from(class)];
                    let deadline =
                        deadline_ms.map_or(Timestamp::NEVER, |ms| self.now.after(Duration::from_millis(ms.into())));
                    let released = Released {
                        call,
                        participant,
                        class,
                        operation,
                        route,
                        deadline,
                        flow: self.next as u32 % 5,
                        ..Released::default()
                    };
                    match self.load.release(self.now, released) {
                        Decision::Start { .. } => {
                            assert!(self.now < deadline);
                            self.flying.push_back((call, participant));
                        }
                        Decision::Queued => assert!(self.waiting.insert(call)),
                        Decision::Park { .. } | Decision::Expired | Decision::Answered { .. } => {}
                    }
                }
            }
            Op::End { calls, took_us, evidence: kind, quota } => {
                for _ in 0..calls {
                    let Some((call, _)) = self.flying.pop_front() else { break };
                    let quota = quota.map(|(remaining, seconds)| Quota {
                        remaining,
                        reset_after: Duration::from_secs(seconds.into()),
                    });
                    let sample = Sample { took: Duration::from_micros(took_us), evidence: evidence(kind), quota };
                    self.load.finish(self.now, call, sample, &mut out);
                }
            }
            Op::Wait { us } => {
                self.now = self.now.after(Duration::from_micros(us));
                self.load.tick(self.now, &mut out, &mut Vec::new());
            }
            Op::Remember => {
                let bytes = self.load.snapshot(self.now);
                assert_eq!(self.load.restore(self.now, &bytes), Ok(3));
            }
            Op::Forget => self.load.forget(1),
        }
        self.take(out);
        for participant in 0..3 {
            let under_way = self.flying.iter().filter(|f| f.1 == participant).count() as u32;
            assert_eq!(self.load.in_flight(participant), under_way);
            assert!(under_way <= MOST, "{under_way} at once");
        }
        for report in self.load.report(self.now) {
            assert!((1..=MOST).contains(&report.limit), "{report:?}");
            let known = report.learned.expect("all learn or observe");
            let numbers = [Some(known.limit), known.capacity_per_s, known.latency_ms, known.quota_per_s];
            assert!(numbers.iter().flatten().all(|n| n.is_finite() && *n > 0.0), "{known:?}");
            assert!((1.0 - 1e-6..=f64::from(MOST) * 5.0 + 1e-3).contains(&known.limit), "{known:?}");
            if let Some((low, high)) = known.knee {
                assert!(low.is_finite() && high.is_finite() && low <= high, "{known:?}");
            }
        }
    }

    /// Everything becomes well; what waits must come to an end, by the manager's own alarm clock alone.
    fn settle(&mut self) {
        for participant in 0..3 {
            self.load.resume(load::Which::One(participant));
        }
        for _ in 0..30_000 {
            if self.flying.is_empty() && self.waiting.is_empty() {
                return;
            }
            let mut out = Vec::new();
            while let Some((call, _)) = self.flying.pop_front() {
                let sample = Sample { took: Duration::from_millis(5), ..Sample::default() };
                self.load.finish(self.now, call, sample, &mut out);
            }
            self.take(std::mem::take(&mut out));
            if let Some(wake) = self.load.next_wake(self.now) {
                self.now = self.now.max(wake);
            } else {
                assert!(
                    !self.flying.is_empty() || self.waiting.is_empty(),
                    "{} wait and nothing will wake them",
                    self.waiting.len()
                );
            }
            self.load.tick(self.now, &mut out, &mut Vec::new());
            self.take(out);
        }
        panic!("{} wait for ever", self.waiting.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_makes_it_wild(ops in proptest::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        world.settle();
    }
}

#[test]
fn one_sample_an_hour_moves_nothing() {
    let mut load = LoadManager::new();
    load.set_participant(0, ParticipantSpec { endpoints: 1, ..spec(0) });
    let limit = load.report(Timestamp::from_millis(1))[0].limit;
    for hour in 1..2_000u64 {
        let now = Timestamp::from_millis(hour * 3_600_000);
        let call = CallRef { worker: 0, token: hour };
        assert!(matches!(load.release(now, Released { call, ..Released::default() }), Decision::Start { .. }));
        let sample = Sample { took: Duration::from_millis(hour % 900), ..Sample::default() };
        load.finish(now.after(Duration::from_millis(hour % 900)), call, sample, &mut Vec::new());
        assert_eq!(load.report(now)[0].limit, limit);
    }
}
