//! Stories: what happens, a line each; beside it, what the partition asked of the world.
//!
//! ```text
//! begin [NAME] [key=K] [x=N] [at=TIME]
//! [NAME.]STEP: ANSWER        the outstanding call of a step is answered
//! undo [NAME.]STEP: ANSWER   the outstanding undo is
//! late [NAME.]STEP#N: ANSWER the attempt N is, again or too late
//! shared STEP: ANSWER        it is handed the answer of another call
//! pass 5s                    time passes; what is due happens at its time
//! sleep 5s                   time passes and nobody looks; what is due happens at the next `pass`
//! hold P, free P, gone P, back P    a participant is held, has room, is not declared, is declared again
//! endpoints P N              of a participant only the first N endpoints are declared
//! park [undo] STEP           the load manager gives an outstanding call back
//! grants wait, grants go     a freed lock is handed on later, at once
//! takes back                 from here on it takes withdrawn calls back
//! cancel, retry, resolve [undo] STEP done|refused [JSON], signal NAME KEY JSON    [of NAME]
//! poison, heal               looking anything up panics, or no longer
//! restart, restore, checkpoint, evict, state
//! ```
//! An answer is a status with an optional body (`done` is 200), `503r` (with Retry-After), `not_sent`, `timeout`,
//! `cut`, `unusable`. After `timeout`, `cut` or a status, `!` says that it was executed, `+5s` that it will be then.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use expect_test::Expect;
use model::{Direction, Seq, TxId};
use partition::branch::{Branch, Status};
use partition::transaction::{Phase, TxOutcome};
use partition::{Body, CallRef, Command, Evidence, Operator, Sample, Shared, SharedWay, Signal, Transaction};

use super::ledger::{Fate, Tells};
use super::saga::{participants, saga};
use super::world::{World, json, outcome_words};

/// Tells a story of one saga and compares it with what is expected.
#[allow(clippy::needless_pass_by_value, reason = "reads as expect_test is read everywhere")]
pub(crate) fn check(text: &str, script: &str, expected: Expect) {
    let mut world = World::new(vec![saga(text)], participants());
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let result = tell(&mut world, line);
        let mut said = world.take_said();
        if let Err(rejected) = result {
            said.push(format!("rejected: {rejected}"));
        }
        if line.starts_with("state") {
            said = states(&world);
        }
        let _ = writeln!(told, "{line:<28} {}", said.join("; "));
    }
    let told: String = told.lines().map(|l| format!("{}\n", l.trim_end())).collect();
    expected.assert_eq(&told);
    // What may still arrive does, and then what is said of the ended ones must be true.
    world.pass(Duration::from_secs(60));
    for tx in world.ended.values() {
        world.ledger.judge(tx, &world.plans[tx.plan as usize]);
    }
}

fn tell(world: &mut World, line: &str) -> Result<(), partition::Rejected> {
    if let Some((what, answer)) = line.split_once(": ") {
        return answered(world, what, answer);
    }
    let (line, of) = line.split_once(" of ").map_or((line, None), |(line, of)| (line, Some(of)));
    let words: Vec<&str> = line.split_whitespace().collect();
    let tx = || match of {
        Some(name) => seq_of(world, name),
        None => world.names.keys().next().copied().expect("a transaction has begun"),
    };
    let operate = |tx, verb| Command::Operate { tx, verb, who: "anna".into(), why: "because".into() };
    match words.as_slice() {
        ["begin", rest @ ..] => begin(world, rest),
        ["pass", by] => {
            world.pass(model::time::parse_duration(by).expect("a duration"));
            Ok(())
        }
        ["sleep", by] => {
            world.now = world.now.after(model::time::parse_duration(by).expect("a duration"));
            Ok(())
        }
        [verb @ ("hold" | "free" | "gone" | "back"), p] => {
            let place = place(world, p);
            match *verb {
                "hold" => world.around.held[place] = true,
                "free" => world.free(place),
                verb => world.around.gone[place] = verb == "gone",
            }
            Ok(())
        }
        ["endpoints", p, most] => {
            let place = place(world, p);
            let declared = &participants()[place].endpoints;
            world.around.participants[place].endpoints = declared[..most.parse::<usize>().expect("a number")].to_vec();
            Ok(())
        }
        ["park", rest @ ..] => {
            let call = outstanding(world, &rest.join(" "));
            world.flying.retain(|f| f.call != call);
            world.propose(Command::Park(call)).map(|_| ())
        }
        ["grants", how] => {
            world.prompt = *how == "go";
            if world.prompt {
                world.follow_up();
            }
            Ok(())
        }
        ["takes", "back"] => {
            world.takes_back = true;
            Ok(())
        }
        ["cancel"] => world.propose(operate(tx(), Operator::Cancel)).map(|_| ()),
        ["retry"] => world.propose(operate(tx(), Operator::Retry)).map(|_| ()),
        ["resolve", "undo", step, how, ..] => {
            let (tx, step) = (tx(), step_of(world, step));
            if *how == "done" {
                world.ledger.undone_by_hand(tx, step);
            }
            let done = *how == "done";
            let verb = Operator::Resolve { step, direction: Direction::Compensate, done, result: None };
            world.propose(operate(tx, verb)).map(|_| ())
        }
        ["resolve", step, how, result @ ..] => {
            let result = result.first().map(|text| Arc::new(json(text)));
            let step = step_of(world, step);
            let verb = Operator::Resolve { step, direction: Direction::Call, done: *how == "done", result };
            world.propose(operate(tx(), verb)).map(|_| ())
        }
        ["signal", name, key, body] => {
            let body = Arc::new(json(body));
            let signal = Signal { tx: tx(), name: (*name).into(), idempotency_key: (*key).into(), body };
            world.propose(Command::Signal(signal)).map(|_| ())
        }
        ["wake"] => world.propose(Command::Wake(tx())).map(|_| ()),
        ["recover"] => world.propose(Command::Recover(tx())).map(|_| ()),
        ["grant"] => world.propose(Command::Grant(tx())).map(|_| ()),
        ["unpark", step] => {
            let call =
                CallRef { tx: tx(), step: step_of(world, step), direction: Direction::Call, attempt: 1, round: 0 };
            world.propose(Command::Unpark(call)).map(|_| ())
        }
        [verb @ ("poison" | "heal")] => {
            world.around.panics.set(*verb == "poison");
            Ok(())
        }
        ["restart"] => {
            world.restart(true);
            Ok(())
        }
        ["restore"] => {
            world.restore();
            Ok(())
        }
        ["checkpoint"] => {
            world.checkpoint(false);
            Ok(())
        }
        ["evict"] => {
            world.checkpoint(true);
            Ok(())
        }
        ["state"] => Ok(()),
        _ => panic!("what is \"{line}\"?"),
    }
}

fn begin(world: &mut World, words: &[&str]) -> Result<(), partition::Rejected> {
    let (mut name, mut key, mut x, mut at) = ("t1", None, "1", "");
    for word in words {
        match word.split_once('=') {
            None => name = word,
            Some(("key", value)) => key = Some(value),
            Some(("x", value)) => x = value,
            Some(("at", value)) => at = value,
            _ => panic!("what is {word}?"),
        }
    }
    let key = key.or_else(|| world.plans[0].lock.is_some().then_some("k"));
    world.begin(name, 0, key, &format!(r#"{{"x":{x},"at":"{at}"}}"#)).map(|_| ())
}

fn place(world: &World, name: &str) -> usize {
    world.around.participants.iter().position(|p| p.name == name).expect("a participant")
}

fn seq_of(world: &World, name: &str) -> Seq {
    world.names.iter().find(|(_, n)| *n == name).map(|(seq, _)| *seq).expect("a name")
}

fn step_of(world: &World, name: &str) -> u16 {
    world.plans[0].step(name).unwrap_or_else(|| panic!("step {name}?")).0
}

/// `[undo ][NAME.]STEP` as the call that is in flight.
fn outstanding(world: &World, what: &str) -> CallRef {
    let (direction, rest) = match what.strip_prefix("undo ") {
        Some(rest) => (Direction::Compensate, rest),
        None => (Direction::Call, what),
    };
    let (name, step) = rest.split_once('.').map_or((None, rest), |(name, step)| (Some(name), step));
    let step = step_of(world, step);
    let fits = |call: &CallRef| {
        call.step == step && call.direction == direction && name.is_none_or(|name| world.names[&call.tx] == name)
    };
    let found = world.flying.iter().find(|f| fits(&f.call));
    found.unwrap_or_else(|| panic!("{what} is not outstanding: {:?}", world.flying)).call
}

fn answered(world: &mut World, what: &str, answer: &str) -> Result<(), partition::Rejected> {
    let (answer, fate) = split_fate(answer);
    let (evidence, tells) = read(answer);
    let fate = if tells == Tells::Done && fate == Fate::Never { Fate::Executes } else { fate };
    let sample = |endpoint| Sample {
        endpoint,
        started_at: world.now,
        took: Duration::from_millis(5),
        evidence: evidence.clone(),
        shared: None,
    };
    if let Some(step) = what.strip_prefix("shared ") {
        let call = outstanding(world, step);
        let shared = Some(Shared { way: SharedWay::Joined, tx: TxId(7), step: 1, attempt: 2, age_us: 300 });
        let sample = Sample { shared, ..sample(1) };
        let place = world.flying.iter().position(|f| f.call == call).expect("flying");
        let flown = world.flying.remove(place);
        let result = world.propose(Command::Answered { call, sample });
        if result.is_err() {
            world.flying.insert(place, flown);
        }
        return result.map(|_| ());
    }
    if let Some(late) = what.strip_prefix("late ") {
        let (step, attempt) = late.split_once('#').expect("STEP#N");
        let tx = *world.names.keys().next().expect("a transaction");
        let attempt = attempt.parse().expect("a number");
        let call = CallRef { tx, step: step_of(world, step), direction: Direction::Call, attempt, round: 0 };
        let flown = super::world::Flying { call, participant: 0, endpoint: 0 };
        let participant = world.around.participants[0].clone();
        world.ledger.answered(&flown, &participant, tells, fate, world.now);
        let sample = sample(0);
        return world.propose(Command::Answered { call, sample }).map(|_| ());
    }
    let call = outstanding(world, what);
    let place = world.flying.iter().position(|f| f.call == call).expect("flying");
    let flown = world.flying.remove(place);
    let sample = sample(flown.endpoint);
    let participant = world.around.participants[flown.participant as usize].clone();
    world.ledger.answered(&flown, &participant, tells, fate, world.now);
    world.propose(Command::Answered { call, sample }).map(|_| ())
}

fn split_fate(answer: &str) -> (&str, Fate) {
    if let Some(answer) = answer.strip_suffix('!') {
        return (answer, Fate::Executes);
    }
    match answer.rsplit_once('+') {
        Some((answer, after)) => (answer, Fate::ArrivesLater(model::time::parse_duration(after).expect("a duration"))),
        None => (answer, Fate::Never),
    }
}

/// The evidence, and what it tells by the table of LANGUAGE, written down here a second time.
fn read(answer: &str) -> (Evidence, Tells) {
    let (word, body) = answer.split_once(' ').map_or((answer, None), |(word, body)| (word, Some(body)));
    let body = body.map_or(Body::Json(json(r#"{"id":1}"#)), |text| match text {
        "empty" => Body::Empty,
        "unusable" => Body::Unusable("it is cut".into()),
        text => Body::Json(json(text)),
    });
    match word {
        "not_sent" => (Evidence::NotSent("connection refused".into()), Tells::No),
        "timeout" => (Evidence::TimedOut, Tells::Unknown),
        "cut" => (Evidence::Cut("reset".into()), Tells::Unknown),
        "503r" => (Evidence::Answered { status: 503, has_retry_after: true, body }, Tells::No),
        "done" => (Evidence::Answered { status: 200, has_retry_after: false, body }, Tells::Done),
        status => {
            let status: u16 = status.parse().unwrap_or_else(|_| panic!("what is {answer}?"));
            let tells = match status {
                200..=299 => Tells::Done,
                418 => Tells::Proof,
                408 | 425 | 500..=599 => Tells::Unknown,
                _ => Tells::No,
            };
            (Evidence::Answered { status, has_retry_after: false, body }, tells)
        }
    }
}

fn states(world: &World) -> Vec<String> {
    let live = world.leader.partition.live_seqs();
    let mut all: Vec<Transaction> = live.iter().filter_map(|seq| world.live(*seq)).collect();
    all.extend(world.ended.values().cloned());
    all.sort_by_key(Transaction::seq);
    all.iter().map(|tx| state(world, tx)).collect()
}

fn state(world: &World, tx: &Transaction) -> String {
    let mut words = Vec::new();
    for (step, state) in world.plans[tx.plan as usize].steps.iter().zip(&tx.steps) {
        let status = match state.status {
            Status::Undoing => "undoing".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let branch = match state.branch {
            Branch::Idle => String::new(),
            Branch::Outstanding { .. } => "/outstanding".into(),
            Branch::Parked => "/parked".into(),
            Branch::Backoff { .. } => "/backoff".into(),
            Branch::Signal { .. } => "/signal".into(),
            Branch::Sleeping { .. } => "/sleeping".into(),
            Branch::Quiet { until } => format!("/quiet {}ms", until.since(world.now).as_millis()),
            Branch::Attention => "/attention".into(),
        };
        let may = match state.status {
            Status::Done if !state.may_have_executed => " (by another's)",
            Status::Done => "",
            _ if state.may_have_executed => " (may)",
            _ => "",
        };
        let hand = if state.by_hand { " by hand" } else { "" };
        words.push(format!("{} {status}{branch}{may}{hand}", step.name));
    }
    let phase = match tx.phase {
        Phase::Stopping(reason) => format!("stopping {}", reason.as_str()),
        other => format!("{other:?}").to_lowercase(),
    };
    let outcome = tx.outcome.map_or_else(String::new, |o| format!(", {}", outcome_words(o)));
    let ask = tx.attention.as_ref().map_or_else(String::new, |a| format!(", asks {}", a.cause.as_str()));
    let output = tx.output.as_ref().map_or_else(String::new, |o| format!(", output {o}"));
    let cause = match &tx.cause.detail {
        detail if detail.is_empty() || !matches!(tx.outcome, Some(TxOutcome::Completed)) => String::new(),
        detail => format!(", {detail}"),
    };
    format!("{phase}{outcome}{ask}{output}{cause} [{}]", words.join(", "))
}
