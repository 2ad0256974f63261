//! Reads that share a call: who waits for whom, how old an answer may be, and that nobody is lost when a call is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use load::{
    CallRef, Class, Decision, Evidence, Learn, LoadManager, ParticipantSpec, Released, Sample, Share, Verdict, Which,
    Withdraw,
};
use model::Timestamp;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn name(token: u64) -> CallRef {
    CallRef { worker: 0, token }
}

fn call(token: u64) -> Released {
    Released { call: name(token), ..Released::default() }
}

fn share(identity: u128, max_age_ms: u32) -> Share {
    Share { identity, max_age: max_age_ms * MS, may_join: true }
}

/// A participant that takes so many calls at once.
fn manager(max_in_flight: u32) -> LoadManager {
    let mut load = LoadManager::new();
    load.set_participant(0, ParticipantSpec { max_in_flight, learn: Learn::Off, ..ParticipantSpec::default() });
    load
}

fn ended(evidence: Evidence) -> Sample {
    Sample { took: 5 * MS, evidence, quota: None }
}

fn answered(verdict: &Verdict) -> Option<(u64, u64, u128)> {
    match verdict {
        Verdict::Answered { call, by, age, .. } => Some((call.token, by.token, age.as_millis())),
        _ => None,
    }
}

#[test]
fn equal_reads_take_one_place_and_one_call() {
    let mut load = manager(1);
    assert_eq!(load.release_shared(at(0), call(1), share(7, 1_000)), Decision::Start { endpoint: 0 });
    for token in 2..=100 {
        assert_eq!(load.release_shared(at(token), call(token), share(7, 1_000)), Decision::Queued);
    }
    assert_eq!((load.in_flight(0), load.joined(), load.report(at(100))[0].backlog), (1, 99, 0));
    let mut out = Vec::new();
    assert!(load.finish_shared(at(110), name(1), ended(Evidence::Done), 200, &mut out));
    let expected: Vec<_> = (2..=100).map(|token| Some((token, 1, u128::from(token)))).collect();
    assert_eq!(out.iter().map(answered).collect::<Vec<_>>(), expected);
    assert_eq!((load.in_flight(0), load.joined()), (0, 0));
    assert_eq!(load.kept().0, 1, "the answer is here for whoever comes later");
}

/// The age of an answer is counted from the start of its call to the asking, kept or not.
#[test]
fn nobody_gets_an_answer_older_than_declared() {
    let mut load = manager(10);
    let mut out = Vec::new();
    assert_eq!(load.release_shared(at(0), call(1), share(7, 100)), Decision::Start { endpoint: 0 });
    assert_eq!(load.release_shared(at(100), call(2), share(7, 100)), Decision::Queued);
    // A millisecond later its start is too long ago, though the answer has not come: another call.
    assert_eq!(load.release_shared(at(101), call(3), share(7, 100)), Decision::Start { endpoint: 0 });
    assert!(!load.finish_shared(at(102), name(1), ended(Evidence::Done), 200, &mut out), "it is too old to be kept");
    assert_eq!(out.drain(..).map(|v| answered(&v)).collect::<Vec<_>>(), [Some((2, 1, 100))]);
    assert!(load.finish_shared(at(150), name(3), ended(Evidence::Refused), 200, &mut out));
    let taken = Decision::Answered { by: name(3), age: 100 * MS };
    assert_eq!(load.release_shared(at(201), call(4), share(7, 100)), taken);
    assert_eq!(load.release_shared(at(202), call(5), share(7, 100)), Decision::Start { endpoint: 0 });
    assert_eq!(load.take_dropped().collect::<Vec<_>>(), [name(3)]);
    assert_eq!(load.kept(), (0, 0));
    // Whoever asks with a shorter age gets less, also of the same call.
    assert!(load.finish_shared(at(210), name(5), ended(Evidence::Done), 200, &mut out));
    assert_eq!(load.release_shared(at(220), call(6), share(7, 10)), Decision::Start { endpoint: 0 });
}

/// With an age of nothing, an answer must be from after the asking: only a call that has not started serves.
#[test]
fn an_age_of_zero_joins_what_has_not_started() {
    let mut load = manager(1);
    let mut out = Vec::new();
    assert_eq!(load.release(at(0), call(1)), Decision::Start { endpoint: 0 });
    assert_eq!(load.release_shared(at(1), call(2), share(7, 0)), Decision::Queued);
    assert_eq!(load.release_shared(at(2), call(3), share(7, 0)), Decision::Queued);
    assert_eq!((load.report(at(2))[0].backlog, load.joined()), (1, 1));
    load.finish(at(3), name(1), ended(Evidence::Done), &mut out);
    assert!(matches!(out[..], [Verdict::Start { call, .. }] if call == name(2)));
    assert_eq!(load.release_shared(at(4), call(4), share(7, 0)), Decision::Queued);
    assert_eq!(load.joined(), 1, "the second has started by now");
    out.clear();
    assert!(!load.finish_shared(at(9), name(2), ended(Evidence::Done), 200, &mut out), "nothing of it is kept");
    // The fourth starts in the place that is free.
    assert!(out.iter().any(|v| matches!(v, Verdict::Start { call, .. } if *call == name(4))));
    assert_eq!(out.iter().filter_map(answered).collect::<Vec<_>>(), [(3, 2, 0)]);
}

/// A call that brings no answer says nothing to those that waited: one of them leads, and after the second time each
/// goes by itself.
#[test]
fn a_call_that_fails_fails_nobody_else() {
    for evidence in [Evidence::Unknown, Evidence::Cancelled, Evidence::Refused] {
        let mut load = manager(100);
        let mut out = Vec::new();
        for token in 1..=4 {
            load.release_shared(at(0), call(token), share(7, 60_000));
        }
        load.finish(at(10), name(1), ended(evidence), &mut out);
        assert!(matches!(out[..], [Verdict::Start { call, .. }] if call == name(2)), "{out:?}");
        assert_eq!((load.in_flight(0), load.joined()), (1, 2));
        out.clear();
        assert!(load.finish_shared(at(20), name(2), ended(Evidence::Done), 9, &mut out));
        assert_eq!(out.iter().map(answered).collect::<Vec<_>>(), [Some((3, 2, 0)), Some((4, 2, 0))]);
    }
    // Ten that waited twice in vain wait for nobody.
    let mut load = manager(100);
    let mut out = Vec::new();
    for token in 1..=12 {
        load.release_shared(at(0), call(token), share(7, 60_000));
    }
    load.finish(at(10), name(1), ended(Evidence::Unknown), &mut out);
    load.finish(at(20), name(2), ended(Evidence::Unknown), &mut out);
    assert_eq!((load.in_flight(0), load.joined()), (10, 0));
}

#[test]
fn a_lead_that_is_taken_back_parked_or_expired_leaves_nobody_behind() {
    // Taken back: the next tick sends the first of the others.
    let mut load = manager(1);
    let (mut out, mut wants) = (Vec::new(), Vec::new());
    load.release(at(0), call(1));
    for token in 2..=4 {
        load.release_shared(at(1), call(token), share(7, 1_000));
    }
    assert_eq!(load.withdraw(name(2)), Withdraw::Withdrawn);
    assert_eq!(load.next_wake(at(1)), Some(at(1)));
    assert_eq!(load.withdraw(name(3)), Withdraw::Withdrawn, "it can be taken back in between");
    load.tick(at(1), &mut out, &mut wants);
    assert_eq!((load.report(at(1))[0].backlog, load.joined()), (1, 0));
    load.finish(at(2), name(1), ended(Evidence::Done), &mut out);
    assert!(matches!(out[..], [Verdict::Start { call, .. }] if call == name(4)), "{out:?}");
    // Paused: all are given back to be written down.
    let mut load = manager(1);
    out.clear();
    load.release(at(0), call(1));
    for token in 2..=4 {
        load.release_shared(at(1), call(token), share(7, 1_000));
    }
    load.pause(Which::One(0), &mut out);
    load.tick(at(1), &mut out, &mut wants);
    let parked: BTreeSet<u64> = out.iter().map(|v| v.call().token).collect();
    assert!(out.iter().all(|v| matches!(v, Verdict::Park { .. })) && parked == BTreeSet::from([2, 3, 4]), "{out:?}");
    // Expired: whoever has more time goes on.
    let mut load = manager(1);
    out.clear();
    load.release(at(0), call(1));
    load.release_shared(at(1), Released { deadline: at(50), ..call(2) }, share(7, 1_000));
    load.release_shared(at(1), Released { deadline: at(900), ..call(3) }, share(7, 1_000));
    assert_eq!(load.joined(), 1);
    load.tick(at(60), &mut out, &mut wants);
    assert!(matches!(out[..], [Verdict::Expired { call, .. }] if call == name(2)), "{out:?}");
    assert_eq!((load.report(at(60))[0].backlog, load.joined()), (1, 0));
}

/// Waiting for a call never means waiting longer than without it.
#[test]
fn nobody_joins_a_call_that_goes_after_it() {
    let waits = Released { deadline: at(1_000), ..call(2) };
    let others = [
        (Released { priority: 1, ..waits }, false),
        (Released { progress: 9, ..waits }, false),
        (Released { deadline: at(999), ..waits }, false),
        (Released { class: Class::AfterPivot, ..waits }, false),
        (Released { deadline: at(1_001), ..waits }, true),
        (Released { class: Class::Retry, ..waits }, true),
        (waits, true),
    ];
    for (other, joins) in others {
        let mut load = manager(1);
        load.release(at(0), call(1));
        load.release_shared(at(1), waits, share(7, 1_000));
        let decision = load.release_shared(at(2), Released { call: name(3), ..other }, share(7, 1_000));
        assert_eq!(decision, Decision::Queued);
        assert_eq!(load.joined() == 1, joins, "{other:?}");
    }
}

#[test]
fn what_may_not_join_asks_for_itself_and_serves_others() {
    let mut load = manager(10);
    let mut out = Vec::new();
    let alone = Share { may_join: false, ..share(7, 1_000) };
    load.release_shared(at(0), call(1), share(7, 1_000));
    assert_eq!(load.release_shared(at(1), call(2), alone), Decision::Start { endpoint: 0 });
    assert_eq!(load.release_shared(at(2), call(3), share(7, 1_000)), Decision::Queued);
    load.finish(at(3), name(1), ended(Evidence::Unknown), &mut out);
    assert!(load.finish_shared(at(4), name(2), ended(Evidence::Done), 9, &mut out));
    assert_eq!(out.iter().filter_map(answered).collect::<Vec<_>>(), [(3, 2, 1)]);
    assert_eq!(load.release_shared(at(5), call(4), alone), Decision::Start { endpoint: 0 });
}

/// What is declared anew may be another system: nothing from before serves.
#[test]
fn a_participant_that_is_declared_again_answers_again() {
    let mut load = manager(10);
    let mut out = Vec::new();
    load.release_shared(at(0), call(1), share(7, 1_000));
    assert!(load.finish_shared(at(1), name(1), ended(Evidence::Done), 9, &mut out));
    load.release_shared(at(1), call(2), share(8, 1_000));
    load.set_participant(0, ParticipantSpec { max_in_flight: 10, learn: Learn::Off, ..ParticipantSpec::default() });
    assert_eq!(load.release_shared(at(2), call(3), share(7, 1_000)), Decision::Start { endpoint: 0 });
    assert_eq!(load.release_shared(at(2), call(4), share(8, 1_000)), Decision::Start { endpoint: 0 });
    assert!(!load.finish_shared(at(3), name(2), ended(Evidence::Done), 9, &mut out), "from before");
}

#[test]
fn a_clock_that_is_set_back_makes_everything_old() {
    let mut load = manager(10);
    let mut out = Vec::new();
    load.release_shared(at(100_000), call(1), share(7, 60_000));
    assert!(load.finish_shared(at(100_001), name(1), ended(Evidence::Done), 9, &mut out));
    assert_eq!(load.release_shared(at(1_000), call(2), share(7, 60_000)), Decision::Start { endpoint: 0 });
    assert_eq!(load.take_dropped().count(), 1);
}

/// Memory ends: of answers by their number and bytes, of those that wait by theirs.
#[test]
fn everything_that_is_kept_has_a_bound() {
    let mut load = manager(100_000);
    let mut out = Vec::new();
    let mut kept = BTreeSet::new();
    for token in 0..6_000u64 {
        load.release_shared(at(token), call(token), share(u128::from(token), 600_000));
        let bytes = if token < 3_000 { 100 } else { 60 << 10 };
        if load.finish_shared(at(token), name(token), ended(Evidence::Done), bytes, &mut out) {
            kept.insert(name(token));
        }
        for dropped in load.take_dropped() {
            assert!(kept.remove(&dropped), "it was not kept, or is dropped twice");
        }
        let (answers, bytes) = load.kept();
        assert_eq!(answers, kept.len());
        assert!(answers <= 4_096 && bytes <= 16 << 20);
    }
    assert!(load.kept().0 > 200);
    load.release_shared(at(7_000), call(9_000), share(1 << 80, 600_000));
    assert!(!load.finish_shared(at(7_000), name(9_000), ended(Evidence::Done), 65 << 10, &mut out), "too large");
    for token in 10_000..30_000u64 {
        load.release_shared(at(7_001), call(token), share(1 << 90, 600_000));
        assert!(load.joined() <= 16_384);
    }
    assert!(load.in_flight(0) >= 15, "a call has a bounded number of others that wait for it");
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Release { identity: u8, age_ms: u32, deadline_ms: Option<u64>, priority: u8, joins: bool, repeats: bool },
    Finish { which: usize, answers: bool },
    Withdraw { which: usize },
    Wait { ms: u64 },
    Pause(bool),
    Declare,
}

fn op() -> impl Strategy<Value = Op> {
    let deadline = proptest::option::of(1u64..500);
    prop_oneof![
        30 => (0u8..3, prop_oneof![Just(0u32), 1u32..300], deadline, 0u8..2, any::<bool>(), any::<bool>()).prop_map(
            |(identity, age_ms, deadline_ms, priority, joins, repeats)|
                Op::Release { identity, age_ms, deadline_ms, priority, joins, repeats }
        ),
        12 => (any::<usize>(), any::<bool>()).prop_map(|(which, answers)| Op::Finish { which, answers }),
        4 => any::<usize>().prop_map(|which| Op::Withdraw { which }),
        12 => (0u64..120).prop_map(|ms| Op::Wait { ms }),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => Just(Op::Declare),
    ]
}

/// A world that keeps its own books: what was asked when, what started when.
#[derive(Default)]
struct World {
    load: LoadManager,
    now: u64,
    asked: BTreeMap<CallRef, (u64, Share)>,
    flying: Vec<CallRef>,
    started: BTreeMap<CallRef, u64>,
    /// Calls that brought an answer.
    given: BTreeSet<CallRef>,
    open: BTreeSet<CallRef>,
}

impl World {
    fn close(&mut self, call: CallRef) {
        assert!(self.open.remove(&call), "{call:?} is told of twice, or was never asked for");
    }

    fn starts(&mut self, call: CallRef) {
        self.close(call);
        self.flying.push(call);
        self.started.insert(call, self.now);
        assert!(self.flying.len() <= 3, "LD-1");
    }

    fn takes(&mut self, call: CallRef, by: CallRef, age: Duration) {
        self.close(call);
        let (asked_at, share) = self.asked[&call];
        let (_, theirs) = self.asked[&by];
        assert!(share.may_join && share.identity == theirs.identity && self.given.contains(&by));
        let real = asked_at.saturating_sub(self.started[&by]);
        assert!(real <= share.max_age.as_millis() as u64, "{call:?} got an answer {real} ms old: {share:?}");
        assert!(age.as_millis() as u64 >= real && age <= share.max_age);
    }

    fn hear(&mut self, out: Vec<Verdict>) {
        for verdict in out {
            match verdict {
                Verdict::Start { call, .. } => self.starts(call),
                Verdict::Park { call, .. } | Verdict::Expired { call, .. } => self.close(call),
                Verdict::Answered { call, by, age, .. } => self.takes(call, by, age),
            }
        }
    }

    fn tick(&mut self) {
        let (mut out, mut wants) = (Vec::new(), Vec::new());
        self.load.tick(at(self.now), &mut out, &mut wants);
        self.hear(out);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Release { identity, age_ms, deadline_ms, priority, joins, repeats } => {
                let token = self.asked.len() as u64;
                let share =
                    Share { may_join: joins || !token.is_multiple_of(4), ..share(u128::from(identity), age_ms) };
                let deadline = deadline_ms.map_or(Timestamp::NEVER, |ms| at(self.now + ms));
                let class = if repeats { Class::Retry } else { Class::First };
                let released = Released { deadline, priority, class, ..call(token) };
                self.asked.insert(name(token), (self.now, share));
                self.open.insert(name(token));
                match self.load.release_shared(at(self.now), released, share) {
                    Decision::Start { .. } => self.starts(name(token)),
                    Decision::Queued => {}
                    Decision::Park { .. } | Decision::Expired => self.close(name(token)),
                    Decision::Answered { by, age } => self.takes(name(token), by, age),
                }
            }
            Op::Finish { which, answers } => {
                if self.flying.is_empty() {
                    return;
                }
                let call = self.flying.swap_remove(which % self.flying.len());
                let mut out = Vec::new();
                if answers {
                    self.given.insert(call);
                    self.load.finish_shared(at(self.now), call, ended(Evidence::Done), 100, &mut out);
                } else {
                    self.load.finish(at(self.now), call, ended(Evidence::Unknown), &mut out);
                }
                self.hear(out);
            }
            Op::Withdraw { which } => {
                let waiting: Vec<CallRef> = self.open.iter().copied().collect();
                if !waiting.is_empty() {
                    let call = waiting[which % waiting.len()];
                    assert_eq!(self.load.withdraw(call), Withdraw::Withdrawn, "{call:?} waits");
                    self.close(call);
                }
            }
            Op::Wait { ms } => {
                self.now += ms;
                self.tick();
            }
            Op::Pause(on) => {
                let mut out = Vec::new();
                if on {
                    self.load.pause(Which::One(0), &mut out)
                } else {
                    self.load.resume(Which::One(0))
                }
                self.hear(out);
            }
            Op::Declare => {
                self.load.set_participant(
                    0,
                    ParticipantSpec { max_in_flight: 3, learn: Learn::Off, ..ParticipantSpec::default() },
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Every read ends in exactly one way, no answer is older than declared, and when everything is answered at
    /// last, nobody is left.
    #[test]
    fn every_read_ends_and_no_answer_is_too_old(ops in proptest::collection::vec(op(), 1..200)) {
        let mut world = World { load: manager(3), ..World::default() };
        for op in ops {
            world.run(op);
        }
        world.run(Op::Pause(false));
        for _ in 0..2_000 {
            world.run(Op::Finish { which: 0, answers: true });
            world.run(Op::Wait { ms: 50 });
        }
        prop_assert!(world.open.is_empty(), "left: {:?}", world.open);
        prop_assert_eq!(world.load.joined(), 0);
    }
}
