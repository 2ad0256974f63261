//! What callers and people are told: in words, in statuses, in snapshots; and what becomes of calls that wait at a gate.

use std::collections::VecDeque;
use std::time::Duration;

use load::{
    BACKLOG_CALLS_MAX, BadSnapshot, CallRef, Class, Decision, Evidence, HELD_CALLS_MAX, Learn, LoadManager, ParkReason,
    ParticipantReport, ParticipantSpec, Quota, Released, Sample, State, Verdict, Which, Withdraw,
};
use model::Timestamp;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn spec(max_in_flight: u32) -> ParticipantSpec {
    ParticipantSpec { name: "billing".into(), max_in_flight, learn: Learn::Off, ..ParticipantSpec::default() }
}

fn call(token: u64) -> CallRef {
    CallRef { worker: 0, token }
}

fn released(token: u64) -> Released {
    Released { call: call(token), ..Released::default() }
}

fn with(spec: ParticipantSpec) -> LoadManager {
    let mut load = LoadManager::new();
    load.set_participant(0, spec);
    load
}

/// Ends a call that took 20 ms.
fn end(load: &mut LoadManager, ms: u64, token: u64, evidence: Evidence) -> Vec<Verdict> {
    end_after(load, ms, token, 20, evidence)
}

fn end_after(load: &mut LoadManager, ms: u64, token: u64, took_ms: u64, evidence: Evidence) -> Vec<Verdict> {
    let mut out = Vec::new();
    let sample = Sample { took: Duration::from_millis(took_ms), evidence, quota: None };
    load.finish(at(ms), call(token), sample, &mut out);
    out
}

fn report(load: &LoadManager, ms: u64) -> ParticipantReport {
    load.report(at(ms)).remove(0)
}

/// A participant that has shown what it can do: it works on 10 calls at once, 20 ms on each, and was given all it
/// would take for so many seconds from 0 on. Gives the number of the next call.
fn learned(load: &mut LoadManager, seconds: u64) -> u64 {
    const WAIT: u64 = 200;
    let mut next = 0;
    // When it is done, when it was sent, and its number, in order of the first.
    let mut flying = VecDeque::new();
    for ms in 0..seconds * 1_000 {
        let mut starts = Vec::new();
        while let Some((due, sent, token)) = flying.front().copied()
            && due <= ms
        {
            flying.pop_front();
            starts.extend(end_after(load, ms, token, due - sent, Evidence::Done));
        }
        load.tick(at(ms), &mut starts, &mut Vec::new());
        let mut starts: Vec<u64> = starts.iter().map(|verdict| verdict.call().token).collect();
        while report(load, ms).backlog < WAIT {
            if let Decision::Start { .. } = load.release(at(ms), released(next)) {
                starts.push(next);
            }
            next += 1;
        }
        for token in starts {
            // Beyond ten it waits for a place over there.
            let place = flying.len().checked_sub(10).map_or(ms, |at| flying[at].0);
            flying.push_back((place.max(ms) + 20, ms, token));
        }
    }
    // Nothing is left that waits or is under way.
    let mut left: VecDeque<u64> = flying.into_iter().map(|(_, _, token)| token).collect();
    while let Some(token) = left.pop_front() {
        left.extend(end(load, seconds * 1_000, token, Evidence::Done).iter().map(|verdict| verdict.call().token));
    }
    next
}

#[test]
fn every_status_says_what_it_proves() {
    use Evidence::{Cancelled, Done, NotTaken, Refused, Throttled, Unauthorized, Unknown};
    let wait = Some(Duration::from_secs(3));
    let table = [
        (&[200, 201, 204, 299][..], None, Done),
        (&[300, 302, 399, 405, 415, 421, 426, 431], None, Cancelled),
        (&[400, 403, 404, 409, 418, 422, 499], None, Refused),
        (&[401, 407], None, Unauthorized),
        (&[408, 425, 500, 502, 503, 504, 599, 999], None, Unknown),
        (&[429], None, Throttled { retry_after: None }),
        (&[429], wait, Throttled { retry_after: wait }),
        (&[503], wait, NotTaken { retry_after: wait }),
        (&[500, 502], wait, Unknown),
    ];
    for (statuses, retry_after, evidence) in table {
        for status in statuses {
            assert_eq!(Evidence::of_http_status(*status, retry_after), evidence, "{status} {retry_after:?}");
        }
    }
}

#[test]
fn words_for_states_are_told_apart() {
    let states = [State::Well, State::Held, State::Probing, State::Paused, State::DoesNotKnowUs];
    assert_eq!(states.map(State::as_str), ["well", "held", "probing", "paused", "does not know us"]);
    assert_eq!([Learn::Off, Learn::Observe, Learn::On].map(Learn::as_str), ["off", "observe", "on"]);
}

#[test]
fn it_says_what_holds_calls_back() {
    let explained = |load: &LoadManager, ms| report(load, ms).explain;
    let mut load = with(spec(3));
    assert_eq!(explained(&load, 0), "nothing waits");
    for token in 0..5 {
        load.release(at(0), released(token));
    }
    assert_eq!(explained(&load, 0), "held back by max_in_flight 3");

    // A person says two; what is under way stays.
    load.set_participant(0, ParticipantSpec { pinned_in_flight: Some(2), ..spec(3) });
    assert_eq!(explained(&load, 0), "held back by the limit of 2, pinned by a person");
    assert!(report(&load, 0).is_pinned);
    assert_eq!(end(&mut load, 20, 0, Evidence::Done), [], "two are enough");
    assert_eq!(end(&mut load, 20, 1, Evidence::Done).len(), 1);
    // Not even a person passes what is declared.
    load.set_participant(0, ParticipantSpec { pinned_in_flight: Some(900), ..spec(3) });
    assert_eq!(report(&load, 20).limit, 3);

    let mut load = with(ParticipantSpec { max_per_second: Some(2), ..spec(3) });
    load.release(at(0), released(0));
    load.release(at(0), released(1));
    assert_eq!(explained(&load, 0), "held back by max_per_second 2");

    let mut load = with(spec(8));
    load.new_epoch();
    for token in 0..6 {
        load.release(at(0), released(token));
    }
    assert_eq!(explained(&load, 0), "held back by the ramp, at 4");

    let mut load = with(spec(8));
    load.set_parked(0, 1);
    assert_eq!(explained(&load, 0), "about to start");
    load.pause(Which::One(0), &mut Vec::new());
    assert_eq!(
        (explained(&load, 0).as_str(), report(&load, 0).why.as_str()),
        ("no calls: it is paused", "paused by an operator")
    );
    load.pause(Which::All, &mut Vec::new());
    assert!(load.is_paused());
    assert_eq!(report(&load, 0).why, "all outgoing calls are paused");

    let mut load = with(spec(8));
    load.release(at(0), released(0));
    end(&mut load, 5, 0, Evidence::NotTaken { retry_after: None });
    assert_eq!(explained(&load, 5), "no calls but probes: it is held");

    // It announced that nothing is left for ten seconds.
    let mut load = with(spec(8));
    load.release(at(0), released(0));
    let quota = Some(Quota { remaining: 0, reset_after: Duration::from_secs(10) });
    load.finish(at(5), call(0), Sample { quota, ..Sample::default() }, &mut Vec::new());
    load.release(at(6), released(1));
    load.release(at(6), released(2));
    assert_eq!(explained(&load, 6), "held back by its quota, about 0.0/s");
}

/// One that refuses more than ten at once has no quota, though its starts are paced a little.
#[test]
fn too_many_at_once_is_told_as_that() {
    let mut load = with(ParticipantSpec { learn: Learn::On, ..spec(100) });
    let (mut under_way, mut refused, mut waiting, mut next) = (Vec::<(u64, u64)>::new(), Vec::new(), 0, 0);
    for ms in 0..20_000 {
        let mut out = Vec::new();
        for token in std::mem::take(&mut refused) {
            out.extend(end_after(&mut load, ms, token, 1, Evidence::Throttled { retry_after: None }));
        }
        let (over, left): (Vec<_>, Vec<_>) = under_way.into_iter().partition(|(until, _)| *until <= ms);
        under_way = left;
        for (_, token) in over {
            out.extend(end_after(&mut load, ms, token, 50, Evidence::Done));
        }
        load.tick(at(ms), &mut out, &mut Vec::new());
        let mut starts: Vec<u64> = Vec::new();
        for verdict in out {
            if let Verdict::Start { call, .. } = verdict {
                waiting -= 1;
                starts.push(call.token);
            }
        }
        while waiting < 20 {
            next += 1;
            match load.release(at(ms), released(next)) {
                Decision::Start { .. } => starts.push(next),
                Decision::Queued => waiting += 1,
                other => panic!("{other:?} at {ms} ms"),
            }
        }
        for token in starts {
            // From 40 to 60 ms, so that not all come at once.
            if under_way.len() < 10 { under_way.push((ms + 40 + token % 21, token)) } else { refused.push(token) }
        }
    }
    let report = report(&load, 20_000);
    assert!((9..=13).contains(&report.limit), "{report:?}");
    assert!(report.explain.contains("it refuses more than 1") && report.explain.contains(" at once"), "{report:?}");
    assert!(!report.explain.contains("quota") && !report.explain.contains("/s; it refuses"), "{}", report.explain);
    assert_eq!(report.learned.and_then(|learned| learned.quota_per_s), None);
}

#[test]
fn what_was_learned_is_told_and_survives() {
    let learning = ParticipantSpec { learn: Learn::On, ..spec(500) };
    let mut load = with(learning.clone());
    learned(&mut load, 60);
    let known = report(&load, 60_000).learned.expect("it learns");
    let capacity = known.capacity_per_s.expect("its limit was reached");
    assert!((400.0..600.0).contains(&capacity), "10 places of 20 ms: {capacity}/s");
    let latency = known.latency_ms.expect("its limit was reached");
    assert!((15.0..26.0).contains(&latency), "{latency} ms");
    let (low, high) = known.knee.expect("its limit was reached");
    assert!(low < 10.5 && 9.0 < high && high < 20.0, "{low} to {high}");
    assert!(report(&load, 60_000).explain.contains(" at once do not help"), "{}", report(&load, 60_000).explain);

    // Half of the limit, to begin with, and all that is known; nothing for a name that is not there.
    let bytes = load.snapshot(at(60_000));
    let mut next = with(learning.clone());
    next.set_participant(1, ParticipantSpec { name: "other".into(), ..learning });
    assert_eq!(next.restore(at(61_000), &bytes), Ok(1));
    let again = report(&next, 61_000);
    assert!(
        (again.limit as i64 - i64::from((known.limit / 2.0).round() as u32)).abs() <= 1,
        "{} of {known:?}",
        again.limit
    );
    let kept = again.learned.and_then(|l| l.capacity_per_s).expect("it is known at once");
    assert!((kept / capacity - 1.0).abs() < 0.1, "{kept} of {capacity}");
    assert_eq!(next.report(at(61_000))[1].learned.and_then(|l| l.capacity_per_s), None);

    // A lower declared limit holds for what is learned too, and a person may have it all forgotten.
    next.set_participant(0, ParticipantSpec { max_in_flight: 3, ..learning.clone() });
    assert_eq!(report(&next, 61_000).limit, 3);
    assert!(report(&next, 61_000).learned.is_some_and(|l| l.limit <= 3.0));
    next.forget(0);
    assert_eq!(report(&next, 61_000).learned.map(|l| (l.capacity_per_s, l.looks)), Some((None, 0)));

    // What is too old is worth nothing; what is damaged is refused, wherever it is.
    let fortnight = 15 * 86_400_000;
    let mut late = with(learning.clone());
    assert_eq!(late.restore(at(fortnight), &bytes), Ok(0));
    assert_eq!(report(&late, fortnight).learned.and_then(|l| l.capacity_per_s), None);
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 0x10;
        let said = with(learning.clone()).restore(at(61_000), &bad).expect_err("one bit is wrong");
        let wants = if place == 4 { BadSnapshot::Version(0x11) } else { BadSnapshot::Damaged };
        assert_eq!(said, wants, "byte {place}");
        assert!(with(learning.clone()).restore(at(61_000), &bytes[..place]).is_err(), "cut at {place}");
    }
    assert_eq!(
        BadSnapshot::Version(9).to_string(),
        "what was learned of participants is in version 9, and this one reads 1"
    );
    assert!(BadSnapshot::Damaged.to_string().contains("cut or damaged"));
    // Who does not learn has nothing to give.
    let nothing = with(spec(5)).snapshot(at(0));
    assert_eq!(late.restore(at(1), &nothing), Ok(0));
    assert!(nothing.len() < bytes.len());
}

#[test]
fn where_it_is_only_observed_the_declared_limit_rules() {
    let mut load = with(ParticipantSpec { learn: Learn::Observe, ..spec(40) });
    learned(&mut load, 60);
    let report = report(&load, 60_000);
    assert_eq!(report.limit, 40);
    let would = report.learned.expect("it is observed").limit;
    assert!(
        report.explain.contains(&format!("only observed: the learner would allow {would:.0}")),
        "{}",
        report.explain
    );
}

#[test]
fn a_repeat_is_let_go_by_the_budget_and_by_nobody_else() {
    let mut load = with(spec(8));
    let repeat = |token| Released { class: Class::Retry, ..released(token) };
    assert_eq!(load.release(at(0), repeat(0)), Decision::Start { endpoint: 0 }, "one is there from the beginning");
    assert_eq!(load.release(at(0), repeat(1)), Decision::Queued);
    assert_eq!(load.next_wake(at(0)), Some(Timestamp(at(100).0 + 1)), "a tenth of a second for one");
    assert!(load.next_wake(at(200)).is_some_and(|wake| wake <= at(200)), "it may go");
    let mut out = Vec::new();
    load.tick(at(200), &mut out, &mut Vec::new());
    assert_eq!(out, [Verdict::Start { call: call(1), participant: 0, endpoint: 0 }]);
}

#[test]
fn a_call_that_waits_too_long_expires_when_its_turn_comes() {
    let mut load = with(spec(1));
    load.release(at(0), released(0));
    let soon = Released { deadline: at(10), ..released(1) };
    assert_eq!(load.release(at(0), soon), Decision::Queued);
    assert_eq!(load.release(at(0), released(2)), Decision::Queued);
    let out = end(&mut load, 10, 0, Evidence::Done);
    let expired = Verdict::Expired { call: call(1), participant: 0 };
    assert_eq!(out, [expired, Verdict::Start { call: call(2), participant: 0, endpoint: 0 }]);
    assert_eq!(load.release(at(11), Released { deadline: at(11), ..released(3) }), Decision::Expired);
}

#[test]
fn whoever_releases_may_ask_first() {
    let mut load = with(spec(1));
    assert!(!load.would_park(0) && !load.would_park(9), "nobody knows 9, and its release says so");
    assert_eq!(load.report_state(0), Some(State::Well));
    assert_eq!(load.report_state(9), None);
    for token in 0..=(BACKLOG_CALLS_MAX - BACKLOG_CALLS_MAX / 8) as u64 {
        assert!(!load.would_park(0), "call {token} has room");
        load.release(at(0), released(token));
    }
    assert!(load.would_park(0));
    assert_eq!(load.release(at(0), released(9_999)), Decision::Park { reason: ParkReason::BacklogFull });

    // Held: so many stay in memory, and when one of them was a probe there is room for one.
    let mut load = with(spec(1));
    load.release(at(0), released(0));
    end(&mut load, 1, 0, Evidence::NotTaken { retry_after: None });
    assert_eq!(load.report_state(0), Some(State::Held));
    for token in 1..=HELD_CALLS_MAX as u64 {
        assert!(!load.would_park(0), "call {token} has room");
        assert_eq!(load.release(at(2), released(token)), Decision::Queued);
    }
    assert!(load.would_park(0));
    assert_eq!(load.release(at(2), released(999)), Decision::Park { reason: ParkReason::Held });

    let mut load = with(spec(1));
    load.pause(Which::All, &mut Vec::new());
    assert!(load.would_park(0) && load.is_paused());
}

#[test]
fn a_parked_call_is_asked_for_when_a_probe_is_due() {
    let mut load = with(spec(4));
    load.release(at(0), released(0));
    end(&mut load, 0, 0, Evidence::NotTaken { retry_after: None });
    load.set_parked(0, 3);
    assert_eq!(load.next_wake(at(1)), Some(at(200)), "the first probe");
    let mut wants = Vec::new();
    load.tick(at(199), &mut Vec::new(), &mut wants);
    assert_eq!(wants, []);
    load.tick(at(200), &mut Vec::new(), &mut wants);
    assert_eq!(wants.iter().map(|w| w.count).collect::<Vec<_>>(), [1], "one tells as much as three");
}

/// One whose transactions need participant 1 later, which does ten at once of 20 ms each and is known to.
fn with_a_bottleneck() -> (LoadManager, u64) {
    let mut load = LoadManager::new();
    load.set_participant(0, ParticipantSpec { name: "later".into(), learn: Learn::On, ..spec(500) });
    let next = learned(&mut load, 60);
    load.set_participant(1, ParticipantSpec { name: "first".into(), ..spec(10_000) });
    load.set_route(7, &[1, 0]);
    (load, next)
}

fn first_call(token: u64) -> Released {
    Released { participant: 1, route: 7, deadline: at(200_000), ..released(token) }
}

#[test]
fn no_more_begin_than_the_bottleneck_can_end() {
    let (mut load, next) = with_a_bottleneck();
    let mut out = Vec::new();
    let mut decisions = (next..next + 1_000).map(|token| load.release(at(60_001), first_call(token)));
    let started = decisions.by_ref().take_while(|d| matches!(d, Decision::Start { .. })).count();
    assert!((1..200).contains(&started), "{started}");
    assert!(decisions.all(|decision| decision == Decision::Queued));
    let gated = report(&load, 60_001).gated;
    assert_eq!(gated, 1_000 - started as u64);
    let words = format!("{gated} transactions wait for it before their first call");
    assert!(report(&load, 60_001).explain.ends_with(&words), "{}", report(&load, 60_001).explain);
    assert!(load.next_wake(at(60_001)).is_some_and(|wake| wake <= at(60_051)), "what is expected fades");

    // One of those at the gate is taken back: it is nowhere then.
    let last = next + 999;
    assert_eq!(load.withdraw(call(last)), Withdraw::Withdrawn);
    assert_eq!((load.withdraw(call(last)), report(&load, 60_001).gated), (Withdraw::Unheard, gated - 1));
    assert_eq!(load.withdraw(call(next)), Withdraw::InFlight);

    // Refused at their first call, they will never come: as many others may begin.
    for token in next..next + started as u64 {
        load.finish(
            at(60_010),
            call(token),
            Sample { took: Duration::from_millis(9), evidence: Evidence::Refused, quota: None },
            &mut out,
        );
    }
    load.tick(at(60_011), &mut out, &mut Vec::new());
    let let_go = out.iter().filter(|v| matches!(v, Verdict::Start { participant: 1, .. })).count();
    assert!(let_go * 2 >= started, "{let_go} of {started}");

    // Everything is paused: whoever stands at a gate is parked.
    out.clear();
    let gated = report(&load, 60_011).gated;
    load.pause(Which::All, &mut out);
    let parked = |v: &&Verdict| matches!(v, Verdict::Park { participant: 1, reason: ParkReason::Paused, .. });
    assert_eq!(out.iter().filter(parked).count() as u64, gated);
    assert_eq!(report(&load, 60_011).gated, 0);
}

#[test]
fn nobody_stands_at_a_gate_beyond_his_deadline() {
    let (mut load, next) = with_a_bottleneck();
    let mut gated = Vec::new();
    for token in next..next + 400 {
        let released = Released { deadline: at(62_000), ..first_call(token) };
        if load.release(at(60_001), released) == Decision::Queued {
            gated.push(call(token));
        }
    }
    assert!(!gated.is_empty());
    load.pause(Which::One(0), &mut Vec::new());
    let mut out = Vec::new();
    load.tick(at(62_000), &mut out, &mut Vec::new());
    let expired: Vec<CallRef> =
        out.iter().filter(|v| matches!(v, Verdict::Expired { .. })).map(Verdict::call).collect();
    assert!(gated.iter().all(|call| expired.contains(call) || out.iter().any(|v| v.call() == *call)), "{out:?}");
    assert!(!expired.is_empty());
    assert!(gated.iter().all(|call| load.withdraw(*call) != Withdraw::Withdrawn));
}

#[test]
fn a_gate_holds_so_many_and_what_is_down_is_parked_for() {
    let (mut load, mut next) = with_a_bottleneck();
    // The bottleneck does not take calls any more.
    load.release(at(60_001), released(next));
    end(&mut load, 60_002, next, Evidence::NotTaken { retry_after: Some(Duration::from_secs(100)) });
    for n in 1..100 {
        if let Decision::Start { .. } = load.release(at(60_002), released(next + n)) {
            end(&mut load, 60_002, next + n, Evidence::NotTaken { retry_after: Some(Duration::from_secs(100)) });
        }
    }
    next += 100;
    assert_eq!(load.report_state(0), Some(State::Held));
    let decisions: Vec<Decision> =
        (0..2 * BACKLOG_CALLS_MAX as u64).map(|n| load.release(at(60_003), first_call(next + n))).collect();
    let queued = decisions.iter().filter(|d| **d == Decision::Queued).count();
    assert!(queued <= BACKLOG_CALLS_MAX, "{queued}");
    let parked = Decision::Park { reason: ParkReason::Bottleneck };
    assert_eq!(decisions.last(), Some(&parked));
    assert_eq!(decisions.iter().filter(|d| **d == parked).count() + queued, decisions.len());
}

#[test]
fn routes_have_numbers_within_bounds() {
    let (mut load, next) = with_a_bottleneck();
    load.set_route(0, &[1, 0]);
    load.set_route(65_536, &[1, 0]);
    for (n, route) in [0, 65_536, u32::MAX].into_iter().enumerate() {
        for k in 0..200 {
            let token = next + n as u64 * 200 + k;
            let decision = load.release(at(60_001), Released { route, ..first_call(token) });
            assert_eq!(decision, Decision::Start { endpoint: 0 }, "route {route} is none, so nobody waits for it");
        }
    }
    assert_eq!(report(&load, 60_001).gated, 0);
}

#[test]
fn a_call_that_is_here_is_not_taken_twice() {
    let mut load = with(spec(1));
    assert_eq!(load.release(at(0), released(0)), Decision::Start { endpoint: 0 });
    assert_eq!(load.release(at(0), released(0)), Decision::Queued, "it is here already");
    assert_eq!(load.release(at(0), released(1)), Decision::Queued);
    assert_eq!(load.release(at(0), released(1)), Decision::Queued);
    assert_eq!((load.in_flight(0), load.in_flight(9), report(&load, 0).backlog), (1, 0, 1));
    let nobody = Released { participant: 9, ..released(2) };
    assert_eq!(load.release(at(0), nobody), Decision::Park { reason: ParkReason::Unknown });
}
