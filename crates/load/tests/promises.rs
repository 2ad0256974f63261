//! LD-1, LD-2, LD-4, bounded memory and no lost call, in random worlds.
//!
//! The world plays the callers: it keeps parked calls and unparks what is wanted, answers calls with what the seed
//! says, and counts on its own what is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use load::{
    CallRef, Class, Decision, Evidence, Learn, LoadManager, ParkReason, ParticipantSpec, Released, Sample, Verdict,
    Wants, Which, Withdraw,
};
use model::Timestamp;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Release { participant: u32, class: Class, pinned: Option<u16>, deadline_ms: Option<u64>, progress: u8 },
    Finish { which: usize, evidence: Evidence },
    FinishTwice { which: usize },
    Withdraw { which: usize },
    Wait { ms: u64 },
    Pause(Which),
    Resume(Which),
    Change { participant: u32, max_in_flight: u32, endpoints: u16 },
    NewEpoch,
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        8 => Just(Evidence::Done),
        2 => Just(Evidence::Refused),
        2 => Just(Evidence::NotTaken { retry_after: None }),
        1 => (0u64..9_000).prop_map(|ms| Evidence::NotTaken { retry_after: Some(Duration::from_millis(ms)) }),
        1 => Just(Evidence::Unauthorized),
        3 => Just(Evidence::Unknown),
        1 => Just(Evidence::Cancelled),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let which = prop_oneof![Just(Which::All), (0u32..3).prop_map(Which::One)];
    let class = prop_oneof![
        Just(Class::First),
        Just(Class::First),
        Just(Class::Retry),
        Just(Class::Compensate),
        Just(Class::AfterPivot)
    ];
    let pinned = prop_oneof![5 => Just(None), 1 => (0u16..4).prop_map(Some)];
    prop_oneof![
        30 => (0u32..3, class, pinned, proptest::option::of(0u64..3_000), any::<u8>()).prop_map(
            |(participant, class, pinned, deadline_ms, progress)| Op::Release { participant, class, pinned, deadline_ms, progress }
        ),
        30 => (any::<usize>(), evidence()).prop_map(|(which, evidence)| Op::Finish { which, evidence }),
        1 => any::<usize>().prop_map(|which| Op::FinishTwice { which }),
        3 => any::<usize>().prop_map(|which| Op::Withdraw { which }),
        15 => (0u64..400).prop_map(|ms| Op::Wait { ms }),
        1 => which.clone().prop_map(Op::Pause),
        2 => which.prop_map(Op::Resume),
        1 => (0u32..3, 0u32..9, 0u16..4).prop_map(
            |(participant, max_in_flight, endpoints)| Op::Change { participant, max_in_flight, endpoints }
        ),
        1 => Just(Op::NewEpoch),
    ]
}

fn spec(max_in_flight: u32, endpoints: u16, max_per_second: Option<u32>) -> ParticipantSpec {
    ParticipantSpec {
        name: "billing".into(),
        endpoints,
        max_in_flight,
        max_per_second,
        learn: Learn::Off,
        ..ParticipantSpec::default()
    }
}

#[derive(Default)]
struct World {
    load: LoadManager,
    now: u64,
    limits: [u32; 3],
    /// Under way, in order of start, with the participant.
    flying: Vec<(CallRef, u32)>,
    waiting: BTreeMap<CallRef, Released>,
    parked: Vec<Released>,
    ended: BTreeSet<CallRef>,
    given: u64,
    /// Everything that was decided, for comparing two runs.
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        let mut world = Self { now: 1_000_000, limits: [4, 1, 7], ..Self::default() };
        for (index, (endpoints, per_second)) in [(1, None), (2, Some(20)), (3, Some(1_000))].into_iter().enumerate() {
            world.load.set_participant(index as u32, spec(world.limits[index], endpoints, per_second));
        }
        world
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn started(&mut self, released: &Released) {
        assert!(self.at() < released.deadline, "LD-2: {released:?} started at {:?}", self.at());
        self.flying.push((released.call, released.participant));
        let count = self.flying.iter().filter(|f| f.1 == released.participant).count() as u32;
        assert!(count <= self.limits[released.participant as usize].max(1), "LD-1: {count} of {released:?}");
    }

    fn release(&mut self, released: Released) {
        let decision = self.load.release(self.at(), released);
        self.log.push(format!("{:?} {decision:?}", released.call));
        match decision {
            Decision::Start { .. } => self.started(&released),
            Decision::Queued => assert_eq!(self.waiting.insert(released.call, released), None),
            Decision::Park { reason: ParkReason::EndpointGone } => {
                // A person decides; here it ends.
                assert!(self.ended.insert(released.call));
            }
            Decision::Park { .. } => self.park(released),
            Decision::Expired => assert!(self.ended.insert(released.call)),
            Decision::Answered { .. } => unreachable!("nothing is released to be shared"),
        }
    }

    fn park(&mut self, released: Released) {
        self.parked.push(released);
        self.tell_parked(released.participant);
    }

    fn tell_parked(&mut self, participant: u32) {
        let count = self.parked.iter().filter(|p| p.participant == participant).count();
        self.load.set_parked(participant, count as u64);
    }

    fn take(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            self.log.push(format!("{verdict:?}"));
            let released = self.waiting.remove(&verdict.call()).expect("a verdict on a call that waits");
            match verdict {
                Verdict::Start { participant, .. } => {
                    assert_eq!(participant, released.participant);
                    self.started(&released);
                }
                Verdict::Park { reason: ParkReason::EndpointGone, .. } => {
                    assert!(self.ended.insert(released.call));
                }
                Verdict::Park { .. } => self.park(released),
                Verdict::Expired { call, .. } => {
                    assert!(released.deadline <= self.at());
                    assert!(self.ended.insert(call));
                }
                Verdict::Answered { .. } => unreachable!("nothing is released to be shared"),
            }
        }
    }

    fn tick(&mut self) {
        let (mut out, mut wants) = (Vec::new(), Vec::new());
        self.load.tick(self.at(), &mut out, &mut wants);
        self.take(out);
        for Wants { participant, count } in wants {
            self.log.push(format!("wants {participant} {count}"));
            assert!(count > 0);
            for _ in 0..count {
                let Some(at) = self.parked.iter().position(|p| p.participant == participant) else { break };
                let released = self.parked.remove(at);
                self.tell_parked(participant);
                self.release(released);
            }
        }
    }

    fn apply(&mut self, op: Op) {
        let mut out = Vec::new();
        match op {
            Op::Release { participant, class, pinned, deadline_ms, progress } => {
                self.given += 1;
                let released = Released {
                    call: CallRef { worker: (self.given % 3) as u16, token: self.given },
                    participant,
                    pinned_endpoint: pinned,
                    priority: 0,
                    deadline: deadline_ms.map_or(Timestamp::NEVER, |ms| Timestamp::from_millis(self.now + ms)),
                    class,
                    progress,
                    ..Released::default()
                };
                self.release(released);
            }
            Op::Finish { which, evidence } if !self.flying.is_empty() => {
                let (call, _) = self.flying.remove(which % self.flying.len());
                assert!(self.ended.insert(call));
                let sample = Sample { took: Duration::from_millis(5), evidence, quota: None };
                self.load.finish(self.at(), call, sample, &mut out);
                self.take(out);
            }
            Op::FinishTwice { which } if !self.ended.is_empty() => {
                let call = *self.ended.iter().nth(which % self.ended.len()).expect("one of them");
                let sample = Sample { took: Duration::ZERO, evidence: Evidence::Done, quota: None };
                self.load.finish(self.at(), call, sample, &mut out);
                assert_eq!(out, []);
            }
            Op::Withdraw { which } => {
                let known: Vec<CallRef> = self
                    .waiting
                    .keys()
                    .copied()
                    .chain(self.flying.iter().map(|f| f.0))
                    .chain(self.ended.iter().copied())
                    .collect();
                if known.is_empty() {
                    return;
                }
                let call = known[which % known.len()];
                let want = if self.waiting.remove(&call).is_some() {
                    assert!(self.ended.insert(call));
                    Withdraw::Withdrawn
                } else if self.flying.iter().any(|f| f.0 == call) {
                    Withdraw::InFlight
                } else {
                    Withdraw::Unheard
                };
                assert_eq!(self.load.withdraw(call), want);
            }
            Op::Finish { .. } | Op::FinishTwice { .. } => {}
            Op::Wait { ms } => {
                self.now += ms;
                self.tick();
            }
            Op::Pause(which) => {
                self.load.pause(which, &mut out);
                self.take(out);
            }
            Op::Resume(which) => self.load.resume(which),
            Op::Change { participant, max_in_flight, endpoints } => {
                // The test counts against the larger of both while older calls are under way.
                let under_way = self.flying.iter().filter(|f| f.1 == participant).count() as u32;
                self.limits[participant as usize] = max_in_flight.max(under_way);
                self.load.set_participant(participant, spec(max_in_flight, endpoints, Some(50)));
            }
            Op::NewEpoch => self.load.new_epoch(),
        }
    }

    /// Everything becomes well: all that is left must come to an end.
    fn settle(&mut self) {
        self.load.resume(Which::All);
        for participant in 0..3 {
            self.load.resume(Which::One(participant));
        }
        for _ in 0..20_000 {
            if self.flying.is_empty() && self.waiting.is_empty() && self.parked.is_empty() {
                break;
            }
            for (call, _) in std::mem::take(&mut self.flying) {
                assert!(self.ended.insert(call));
                let mut out = Vec::new();
                let sample = Sample { took: Duration::from_millis(5), evidence: Evidence::Done, quota: None };
                self.load.finish(self.at(), call, sample, &mut out);
                self.take(out);
            }
            // Only the manager's own word says when to come back.
            match self.load.next_wake(self.at()) {
                Some(wake) => self.now = self.now.max(wake.0.div_ceil(1_000)),
                None => assert!(
                    !self.flying.is_empty() || (self.waiting.is_empty() && self.parked.is_empty()),
                    "nothing would wake {:?} {:?}",
                    self.waiting,
                    self.parked
                ),
            }
            self.tick();
        }
        assert_eq!(self.ended.len() as u64, self.given, "waiting {:?} parked {:?}", self.waiting, self.parked);
    }
}

fn run(ops: Vec<Op>) -> Vec<String> {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
        for participant in 0..3 {
            let under_way = world.flying.iter().filter(|f| f.1 == participant).count() as u32;
            assert_eq!(world.load.in_flight(participant), under_way);
        }
        for report in world.load.report(world.at()) {
            assert!(report.backlog <= load::BACKLOG_CALLS_MAX as u64);
            world.log.push(format!("{} {:?} {} {}", report.name, report.state, report.limit, report.why));
        }
    }
    world.settle();
    world.log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_call_is_lost_and_no_limit_is_passed(ops in proptest::collection::vec(op(), 1..250)) {
        let first = run(ops.clone());
        // The same inputs, the same decisions.
        prop_assert_eq!(first, run(ops));
    }
}

fn released(token: u64, class: Class) -> Released {
    Released {
        call: CallRef { worker: 0, token },
        participant: 0,
        pinned_endpoint: None,
        priority: 0,
        deadline: Timestamp::NEVER,
        class,
        progress: 0,
        ..Released::default()
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn ended(evidence: Evidence) -> Sample {
    Sample { took: Duration::from_millis(5), evidence, quota: None }
}

#[test]
fn memory_is_bounded_and_the_last_part_is_for_what_must_happen() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(1, 1, None));
    assert_eq!(load.release(at(0), released(0, Class::First)), Decision::Start { endpoint: 0 });
    let mut queued = 0;
    for token in 1..10_000 {
        match load.release(at(0), released(token, Class::First)) {
            Decision::Queued => queued += 1,
            other => assert_eq!(other, Decision::Park { reason: ParkReason::BacklogFull }),
        }
    }
    assert_eq!(queued, load::BACKLOG_CALLS_MAX - load::BACKLOG_CALLS_MAX / 8);
    for token in 10_000..20_000 {
        queued += usize::from(load.release(at(0), released(token, Class::Compensate)) == Decision::Queued);
    }
    assert_eq!(queued, load::BACKLOG_CALLS_MAX);
}

#[test]
fn no_class_starves() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(1, 1, None));
    load.release(at(0), released(0, Class::First));
    load.release(at(0), released(1, Class::First));
    let mut under_way = CallRef { worker: 0, token: 0 };
    let started = (0..100u64).position(|n| {
        // Compensations come twice as fast as they go.
        load.release(at(n), released(100 + 2 * n, Class::Compensate));
        load.release(at(n), released(101 + 2 * n, Class::Compensate));
        let mut out = Vec::new();
        load.finish(at(n), under_way, ended(Evidence::Done), &mut out);
        under_way = out[0].call();
        under_way.token == 1
    });
    assert!(started.is_some_and(|n| n < 8), "{started:?}");
}

/// Starts in each round of calls, while a round takes `round_ms`.
fn rounds(load: &mut LoadManager, from_ms: u64, round_ms: u64, count: usize, first: &mut Vec<CallRef>) -> Vec<usize> {
    let mut sizes = vec![first.len()];
    for round in 1..=count as u64 {
        let mut out = Vec::new();
        for call in first.drain(..) {
            load.finish(at(from_ms + round * round_ms), call, ended(Evidence::Done), &mut out);
        }
        first.extend(out.iter().map(Verdict::call));
        sizes.push(first.len());
    }
    sizes
}

#[test]
fn recovery_is_a_ramp() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(64, 1, None));
    let mut flying = Vec::new();
    for token in 0..2_000 {
        if load.release(at(0), released(token, Class::First)) != Decision::Queued {
            flying.push(CallRef { worker: 0, token });
        }
    }
    assert_eq!(flying.len(), 64);
    let mut out = Vec::new();
    for call in flying {
        load.finish(at(1), call, ended(Evidence::NotTaken { retry_after: None }), &mut out);
    }
    // Held: nothing started, and what memory should not hold was parked.
    assert!(out.iter().all(|v| matches!(v, Verdict::Park { reason: ParkReason::Held, .. })));
    let parked = out.len() as u64;
    assert_eq!(parked, 2_000 - 64 - load::HELD_CALLS_MAX as u64);
    load.set_parked(0, parked);
    let report = &load.report(at(1))[0];
    assert_eq!(
        (report.state, report.why.as_str()),
        (load::State::Held, "64 calls not taken; 1 probe each 0.2 s, next probe in 0.2 s")
    );

    // One probe at a time, at 0.2, 0.4, 0.8 s.
    let mut now = 1;
    for wait in [200, 400, 800] {
        assert_eq!(load.next_wake(at(now)), Some(at(now + wait)));
        now += wait;
        let (mut starts, mut wants) = (Vec::new(), Vec::new());
        load.tick(at(now), &mut starts, &mut wants);
        assert_eq!((starts.len(), wants.len()), (1, 0));
        load.tick(at(now + 50), &mut starts, &mut wants);
        assert_eq!(starts.len(), 1, "one probe at a time");
        assert_eq!(load.report(at(now))[0].state, load::State::Probing);
        let mut out = Vec::new();
        load.finish(at(now), starts[0].call(), ended(Evidence::NotTaken { retry_after: None }), &mut out);
        assert_eq!(out, []);
    }
    // The fourth is taken: from there on the number of calls doubles, and never jumps.
    now += 1_600;
    let (mut starts, mut wants) = (Vec::new(), Vec::new());
    load.tick(at(now), &mut starts, &mut wants);
    let mut first: Vec<CallRef> = starts.iter().map(Verdict::call).collect();
    let sizes = rounds(&mut load, now, 5, 5, &mut first);
    assert_eq!(sizes, [1, 2, 4, 8, 16, 30], "64 were kept, less 3 probes that failed");
}

#[test]
fn parked_calls_are_asked_for_as_room_opens() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(8, 1, None));
    load.set_parked(0, 100);
    let wants = |load: &mut LoadManager, ms: u64| {
        let mut wants = Vec::new();
        load.tick(at(ms), &mut Vec::new(), &mut wants);
        wants.first().map_or(0, |w| w.count)
    };
    assert_eq!(wants(&mut load, 0), 16, "a round under way and one that waits");
    assert_eq!(wants(&mut load, 10), 0, "asked already");
    assert_eq!(load.next_wake(at(10)), Some(at(1_000)));
    assert_eq!(wants(&mut load, 1_000), 16, "nobody came");
    load.set_parked(0, 84);
    for token in 0..16 {
        load.release(at(1_001), released(token, Class::First));
    }
    assert_eq!(wants(&mut load, 1_002), 0);
    let mut out = Vec::new();
    for token in 0..8 {
        load.finish(at(1_003), CallRef { worker: 0, token }, ended(Evidence::Done), &mut out);
    }
    assert_eq!((out.len(), wants(&mut load, 1_004)), (8, 8));
    load.pause(Which::All, &mut out);
    load.set_parked(0, 76);
    assert_eq!((wants(&mut load, 9_000), load.next_wake(at(9_000))), (0, None));
}

#[test]
fn starts_are_paced() {
    for per_second in [1u32, 3, 40, 300, 25_000] {
        let mut load = LoadManager::new();
        load.set_participant(0, spec(1_000_000, 1, Some(per_second)));
        let burst = u64::from(per_second / 10).max(1);
        let mut starts: Vec<u64> = Vec::new();
        let (mut token, mut waiting) = (0, 0);
        // Always more than enough waits, for two seconds after one of rest.
        for ms in 0..2_000 {
            let mut out = Vec::new();
            load.tick(at(ms), &mut out, &mut Vec::new());
            waiting -= out.len();
            starts.extend(out.iter().map(|_| ms));
            while waiting < 40 {
                token += 1;
                match load.release(at(ms), released(token, Class::First)) {
                    Decision::Start { .. } => starts.push(ms),
                    Decision::Queued => waiting += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        let until = |ms: u64| starts.partition_point(|start| *start < ms) as u64;
        for window_ms in [100u64, 500, 1_000, 1_900] {
            let most = (0..=2_000 - window_ms).map(|from| until(from + window_ms) - until(from)).max();
            let allowed = burst + u64::from(per_second) * window_ms / 1_000 + 1;
            assert!(most.is_some_and(|most| most <= allowed), "{per_second}/s: {most:?} in {window_ms} ms");
        }
        let least = u64::from(per_second) * 2 * 9 / 10;
        assert!(starts.len() as u64 >= least, "{per_second}/s: {}", starts.len());
    }
}

#[test]
fn retry_after_is_waited_for() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(8, 1, None));
    load.release(at(0), released(1, Class::First));
    let wait = Evidence::NotTaken { retry_after: Some(Duration::from_secs(7)) };
    load.finish(at(0), CallRef { worker: 0, token: 1 }, ended(wait), &mut Vec::new());
    assert_eq!(load.release(at(6_999), released(2, Class::First)), Decision::Queued);
    assert_eq!(load.next_wake(at(6_999)), Some(at(7_000)));
    let mut out = Vec::new();
    load.tick(at(7_000), &mut out, &mut Vec::new());
    assert_eq!(out.len(), 1);
}

#[test]
fn one_that_does_not_know_us_is_probed_each_thirty_seconds() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(8, 1, None));
    for token in 0..4 {
        load.release(at(0), released(token, Class::First));
    }
    let mut out = Vec::new();
    for token in 0..4 {
        load.finish(at(0), CallRef { worker: 0, token }, ended(Evidence::Unauthorized), &mut out);
    }
    load.release(at(1), released(10, Class::First));
    let report = &load.report(at(1))[0];
    assert_eq!(report.state, load::State::DoesNotKnowUs);
    assert!(report.alert.as_deref().is_some_and(|a| a.contains("401 or 407")));
    for minute_half in 1..4 {
        let mut out = Vec::new();
        load.tick(at(minute_half * 30_000 - 1), &mut out, &mut Vec::new());
        assert_eq!(out, []);
        load.tick(at(minute_half * 30_000), &mut out, &mut Vec::new());
        assert_eq!(out.len(), 1);
        load.release(at(minute_half * 30_000), released(10 + minute_half, Class::First));
        load.finish(at(minute_half * 30_000), out[0].call(), ended(Evidence::Unauthorized), &mut Vec::new());
    }
}

#[test]
fn a_jump_of_refusals_holds_before_a_mass_of_compensations() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(8, 1, None));
    let mut refused = 0;
    for token in 0..10_000u64 {
        match load.release(at(token), released(token, Class::First)) {
            Decision::Start { .. } => {}
            _ => break,
        }
        let evidence = if token >= 5_000 || token % 100 == 0 { Evidence::Refused } else { Evidence::Done };
        refused += u64::from(token >= 5_000);
        load.finish(at(token), CallRef { worker: 0, token }, ended(evidence), &mut Vec::new());
    }
    assert!(refused <= 24, "{refused}");
    let report = &load.report(at(6_000))[0];
    assert_eq!(report.state, load::State::Held);
    assert!(report.alert.is_some(), "{report:?}");
    load.resume(Which::One(0));
    assert_eq!(load.report(at(6_000))[0].state, load::State::Well);
}

#[test]
fn one_endpoint_that_is_down_does_not_hold_the_others() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(8, 2, None));
    let mut to = [0, 0];
    for token in 0..1_000u64 {
        let now = at(token * 10);
        let Decision::Start { endpoint } = load.release(now, released(token, Class::First)) else {
            panic!("the participant is not held")
        };
        to[usize::from(endpoint)] += 1;
        let evidence = if endpoint == 1 { Evidence::NotTaken { retry_after: None } } else { Evidence::Done };
        load.finish(now, CallRef { worker: 0, token }, ended(evidence), &mut Vec::new());
    }
    // Ten seconds: one call and the probes after 0.2, 0.6, 1.4, 3.0, 6.2 s.
    assert_eq!(to, [994, 6]);
    assert_eq!(load.report(at(9_990))[0].why, "1 of 2 endpoints take no calls, for 9 s");
    // What only that endpoint remembers waits for it, and is parked meanwhile.
    let pinned = Released { pinned_endpoint: Some(1), ..released(5_000, Class::Retry) };
    assert_eq!(load.release(at(10_000), pinned), Decision::Park { reason: ParkReason::Held });
    let gone = Released { pinned_endpoint: Some(2), ..released(5_001, Class::Retry) };
    assert_eq!(load.release(at(10_000), gone), Decision::Park { reason: ParkReason::EndpointGone });
    // When both are down it is the participant.
    for token in 6_000..6_003u64 {
        if load.release(at(10_001), released(token, Class::First)) != Decision::Queued {
            let down = Evidence::NotTaken { retry_after: None };
            load.finish(at(10_001), CallRef { worker: 0, token }, ended(down), &mut Vec::new());
        }
    }
    assert_eq!(load.report(at(10_001))[0].state, load::State::Held);
}

#[test]
fn calls_are_spread_over_endpoints() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(90, 3, None));
    let mut to = [0; 3];
    for token in 0..90 {
        if let Decision::Start { endpoint } = load.release(at(0), released(token, Class::First)) {
            to[usize::from(endpoint)] += 1;
        }
    }
    assert_eq!(to, [30, 30, 30]);
}

#[test]
fn after_a_restart_half_and_a_ramp() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(64, 1, None));
    load.set_participant(1, spec(1, 1, None));
    load.new_epoch();
    let limits: Vec<u32> = load.report(at(0)).iter().map(|r| r.limit).collect();
    assert_eq!(limits, [32, 1]);
    assert_eq!(load.report(at(0))[0].why, "opening: 32 of 64");
    for token in 0..100 {
        load.release(at(0), released(token, Class::First));
    }
    assert_eq!(load.in_flight(0), 32);
    load.finish(at(5), CallRef { worker: 0, token: 0 }, ended(Evidence::Done), &mut Vec::new());
    assert_eq!((load.in_flight(0), load.report(at(5))[0].limit), (33, 33));
}

#[test]
fn a_paused_participant_keeps_nothing() {
    let mut load = LoadManager::new();
    load.set_participant(0, spec(1, 1, None));
    load.set_participant(1, spec(1, 1, None));
    for token in 0..10 {
        load.release(at(0), released(token, Class::First));
    }
    let mut out = Vec::new();
    load.pause(Which::One(0), &mut out);
    assert_eq!(out.len(), 9);
    assert_eq!(load.release(at(1), released(99, Class::Compensate)), Decision::Park { reason: ParkReason::Paused });
    let other = Released { participant: 1, ..released(100, Class::First) };
    assert_eq!(load.release(at(1), other), Decision::Start { endpoint: 0 });
    load.finish(at(1), CallRef { worker: 0, token: 0 }, ended(Evidence::Done), &mut out);
    assert_eq!(out.len(), 9);
    load.resume(Which::All);
    assert_eq!(load.report(at(1))[0].state, load::State::Paused, "it was paused by itself");
    load.resume(Which::One(0));
    assert_eq!(load.release(at(2), released(99, Class::Compensate)), Decision::Start { endpoint: 0 });
    let nowhere = Released { participant: 7, ..released(101, Class::First) };
    assert_eq!(load.release(at(2), nowhere), Decision::Park { reason: ParkReason::Unknown });
}

/// Whoever calls `tick` only when `next_wake` says that its time has come misses nothing, though nothing else happens.
#[test]
fn the_gate_opens_for_whoever_comes_when_told() {
    const FIRST: u32 = 0;
    const SECOND: u32 = 1;
    let mut load = LoadManager::new();
    load.set_participant(FIRST, ParticipantSpec { name: "first".into(), ..ParticipantSpec::default() });
    let slow = ParticipantSpec { max_in_flight: 2, max_per_second: Some(5), ..ParticipantSpec::default() };
    load.set_participant(SECOND, ParticipantSpec { name: "second".into(), ..slow });
    load.set_route(1, &[SECOND]);
    let (mut out, mut started) = (Vec::new(), 0);
    let at = |ms: u64| Timestamp(1_000_000_000 + ms * 1_000);
    for token in 0..20 {
        let call = CallRef { worker: 0, token };
        match load.release(at(0), Released { call, participant: FIRST, route: 1, ..Released::default() }) {
            Decision::Start { .. } => {
                started += 1;
                // Its transaction goes another way, which nobody tells.
                load.finish(at(0), call, Sample::default(), &mut out);
            }
            decision => assert_eq!(decision, Decision::Queued),
        }
    }
    assert!(started < 10, "{started} began at once, for one that does five a second");
    for ms in 1..20_000 {
        if load.next_wake(at(ms)).is_none_or(|wake| wake > at(ms)) {
            continue;
        }
        load.tick(at(ms), &mut out, &mut Vec::new());
        while let Some(verdict) = out.pop() {
            assert!(matches!(verdict, Verdict::Start { .. }), "{verdict:?}");
            started += 1;
            load.finish(at(ms), verdict.call(), Sample::default(), &mut out);
        }
    }
    assert_eq!(started, 20);
}
