//! The laboratory against what can be computed: queues with known means, Little's law, the scalability law, the
//! arithmetic of a bottleneck, and its own promise that equal seeds give equal bytes.

use crate::arm::{Ended, Limiter, Moment, Nature};
use crate::arms::{self, ArmSpec};
use crate::client::Client;
use crate::report::Report;
use crate::scenario::{self, Scenario};
use crate::tally::Tally;
use crate::{dist, suite, world};

fn read(text: &str) -> Scenario {
    let none = |name: &str| Err(format!("no {name} here"));
    scenario::read("test", text, &none)
        .unwrap_or_else(|all| panic!("{}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

fn one(participant: &str, arrivals: &str, duration_s: u32) -> Scenario {
    read(&format!(
        "name = \"t\"\nduration_s = {duration_s}\nmeasure_from_s = 20\ndrain_s = 10\n[participants.p]\ntimeout_ms = 600000\nnetwork_ms = 0\n{participant}\n\
         [definitions.d]\nsteps = [{{ call = \"p\" }}]\n[arrivals]\n{arrivals}\n"
    ))
}

fn spec(name: &str) -> ArmSpec {
    arms::named(name).unwrap_or_else(|e| panic!("{e}"))
}

fn run(scenario: &Scenario, arm: &ArmSpec, seed: u64) -> Tally {
    world::run(scenario, &dist::arrivals(scenario, seed), seed, &|setup| arms::make(arm, setup))
}

fn mean_s(tally: &Tally) -> f64 {
    tally.latencies_us.iter().map(|us| *us as f64 / 1e6).sum::<f64>() / tally.latencies_us.len() as f64
}

fn fixed(limit: f64) -> ArmSpec {
    let mut spec = spec("fixed-500");
    assert!(spec.settings.set("limit", limit));
    spec
}

fn near(found: f64, wanted: f64, share: f64) {
    assert!((found / wanted - 1.0).abs() < share, "{found} instead of {wanted}");
}

/// Mean time in an M/M/c queue (Erlang C).
fn mmc_s(lambda: f64, service_s: f64, c: u32) -> f64 {
    let a = lambda * service_s;
    let mut term = 1.0;
    let mut sum = 0.0;
    for n in 0..c {
        sum += term;
        term *= a / f64::from(n + 1);
    }
    let last = term * f64::from(c) / (f64::from(c) - a);
    let waits = last / (sum + last);
    service_s + waits * service_s / (f64::from(c) - a)
}

#[test]
fn queues_with_several_workers_wait_as_erlang_said() {
    for (workers, load) in [(1, 0.6), (4, 0.8)] {
        let scenario = one(
            &format!("workers = {workers}\nservice_ms = 20\nshape = \"exponential\""),
            &format!("load = {load}"),
            if workers == 1 { 2_000 } else { 800 },
        );
        let lambda = load * f64::from(workers) / 0.02;
        near(mean_s(&run(&scenario, &fixed(500.0), 3)), mmc_s(lambda, 0.02, workers), 0.04);
    }
}

#[test]
fn sharing_forgets_the_shape_of_service() {
    // M/G/1-PS: E[S]/(1-rho), whatever the distribution.
    for shape in ["constant", "exponential", "lognormal"] {
        let scenario = one(
            &format!("workers = 1\ndiscipline = \"sharing\"\nservice_ms = 20\nshape = \"{shape}\""),
            "load = 0.6",
            2_000,
        );
        near(mean_s(&run(&scenario, &fixed(500.0), 5)), 0.02 / 0.4, 0.05);
    }
}

#[test]
fn as_many_are_inside_as_come_times_how_long_they_stay() {
    let scenario = one("workers = 3\nservice_ms = 40\nshape = \"lognormal\"", "load = 0.8", 1_500);
    let tally = run(&scenario, &fixed(500.0), 8);
    let measured = &tally.samples[0][200..15_000];
    let inside = measured.iter().map(|s| f64::from(s.inside)).sum::<f64>() / measured.len() as f64;
    let lambda = tally.arrived as f64 / 1_480.0;
    // Samples are 0.1 s apart, so the mean of inside has an error of its own.
    near(inside, lambda * mean_s(&tally), 0.02);
}

#[test]
fn throughput_follows_the_scalability_law_at_every_limit() {
    let (sigma, kappa, service_s) = (0.02, 0.000_6, 0.05);
    for limit in [5.0, 20.0, 40.0, 100.0] {
        let scenario = one(
            "workers = 1000\ndiscipline = \"sharing\"\nusl_sigma = 0.02\nusl_kappa = 0.0006\nservice_ms = 50\nshape = \"exponential\"",
            "per_s = 700",
            60,
        );
        let tally = run(&scenario, &fixed(limit), 2);
        let done = tally.commits_per_s[20..60].iter().map(|n| f64::from(*n)).sum::<f64>() / 40.0;
        let law = limit / service_s / (1.0 + sigma * (limit - 1.0) + kappa * limit * (limit - 1.0));
        near(done, law, 0.03);
    }
}

/// Exactly at the knee, newest first: what waits too long is never called.
#[derive(Debug)]
struct NewestFirst(f64);

impl Limiter for NewestFirst {
    fn limit(&self) -> f64 {
        self.0
    }

    fn nature(&self) -> Nature {
        Nature::Lifo
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _ended: &Ended) {}
}

#[test]
fn a_bottleneck_at_the_end_costs_what_arithmetic_says() {
    // n steps, the last does a share rho of the demand: ((n-1) + rho)/rho calls for each commit without control of
    // entry, n with it (docs/load-manager.md).
    for rho in [0.3, 0.5, 0.7] {
        let scenario = read(&format!(
            "name = \"t\"\nduration_s = 200\nmeasure_from_s = 30\ndrain_s = 30\ndeadline_s = 3\n\
             [participants.a]\nworkers = 100\nservice_ms = 20\nnetwork_ms = 0\n[participants.b]\nworkers = 100\nservice_ms = 20\nnetwork_ms = 0\n\
             [participants.last]\nworkers = {}\nservice_ms = 50\nshape = \"constant\"\nnetwork_ms = 0\n\
             [definitions.d]\nsteps = [{{ call = \"a\" }}, {{ call = \"b\" }}, {{ call = \"last\" }}]\n[arrivals]\nper_s = 200\n",
            (rho * 10.0) as u32
        ));
        let limits = [500.0, 500.0, rho * 10.0];
        let arrivals = dist::arrivals(&scenario, 4);
        let open = world::run(&scenario, &arrivals, 4, &|setup| {
            let (throttle, balancer) = arms::plain();
            Box::new(Client::new(setup, &|n| Box::new(NewestFirst(limits[n])), &throttle, &balancer))
        });
        near(open.calls as f64 / open.in_time as f64, (2.0 + rho) / rho, 0.03);
        let controlled = run(&scenario, &spec(arms::ORACLE), 4);
        near(controlled.calls as f64 / controlled.in_time as f64, 3.0, 0.04);
        assert!(controlled.in_time as f64 > 0.97 * open.in_time as f64, "{} of {}", controlled.in_time, open.in_time);
    }
}

#[test]
fn equal_seeds_give_equal_bytes_whatever_the_threads() {
    let scenarios = [
        one("workers = 4\nservice_ms = 50\nchanges = [{ at_s = 30, capacity = 0.5 }]", "load = 0.9", 60),
        one(
            "workers = 3\nendpoints = 3\nservice_ms = 50\nchanges = [{ at_s = 30, endpoints = [1], slow = 8 }]",
            "load = 0.7",
            60,
        ),
    ];
    let names: Vec<String> = ["quick", "mutants", "failsafe-go", "brpc", "dagor", "aws-adaptive", "prequal", "c3"]
        .map(str::to_owned)
        .to_vec();
    let specs = arms::chosen(&names).unwrap_or_else(|e| panic!("{e}"));
    let bytes = |threads: usize| {
        let runs = suite::run(&scenarios, &specs, &[1, 2], threads, &|_, _| {});
        let report = Report::of(&runs);
        (report.to_json().to_string(), crate::page::html(&report))
    };
    let first = bytes(1);
    assert!(first == bytes(2), "two runs with the same seeds differ");
    assert!(first.0.contains("\"mean_rank\"") && first.1.ends_with("</html>\n"));
}

#[test]
fn no_arm_shifts_what_another_meets() {
    // Far below every limit, all limits are alike: the same calls with the same service times.
    let scenario = one("workers = 50\nservice_ms = 50", "load = 0.2", 60);
    let (a, b) = (run(&scenario, &fixed(400.0), 6), run(&scenario, &fixed(500.0), 6));
    assert_eq!(a.latencies_us, b.latencies_us);
    let other = run(&scenario, &fixed(500.0), 7);
    assert_ne!(b.latencies_us, other.latencies_us);
}

#[test]
fn every_transaction_ends_once_under_every_arm() {
    let scenario = read(
        "name = \"t\"\nduration_s = 60\ndrain_s = 120\ndeadline_s = 4\n\
         [participants.a]\nworkers = 4\nservice_ms = 50\nchanges = [{ at_s = 20, state = \"hang\" }, { at_s = 30, state = \"refuse\" }, { at_s = 40, state = \"up\" }]\n\
         [participants.b]\nworkers = 4\nservice_ms = 50\nqueue_max = 3\nquota = { per_s = 60, answer = \"429-retry-after\" }\n\
         [definitions.d]\nsteps = [{ call = \"b\", undo = true }, { call = \"a\", refuse = 0.1, undo = true }, { call = \"b\" }]\n[arrivals]\nper_s = 50\n",
    );
    for known in arms::all() {
        let tally = run(&scenario, &spec(known.name), 9);
        let arrived: u32 = tally.cohorts.iter().map(|c| c.arrived).sum();
        assert_eq!(u64::from(arrived), tally.arrived, "{}", known.name);
        assert!(!tally.is_cut_short, "{} never comes to an end", known.name);
        let over = tally.in_time + tally.late + tally.aborted;
        assert_eq!(over + tally.unfinished, tally.arrived, "{}", known.name);
        // What is left are undo calls that the second participant has no room for.
        assert!(
            tally.unfinished < tally.arrived / 2,
            "{}: {} of {} are not over",
            known.name,
            tally.unfinished,
            tally.arrived
        );
    }
}
