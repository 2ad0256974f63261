//! Any saga, any answers, any order of events: what must hold whatever happens.
//!
//! A case is a tape of choices. It makes a saga, then a life for one or more of its transactions: answers true and
//! late, time, held participants, cancels, retries, signals, panics, restarts, checkpoints, evictions. `world` checks
//! JR-1, TX-4 and the locks after every entry, `ledger` checks every call that leaves. At the end the faults stop:
//! what is left must end, or ask a person; the person answers truthfully; then TX-2 and TX-3 are judged by what
//! really happened at the participants. Shrinking shortens the tape.

use std::sync::Arc;
use std::time::Duration;

use crate::support::ledger::{Fate, Tells};
use crate::support::saga;
use crate::support::tape::Tape;
use crate::support::world::{Flying, World, json};
use model::{Direction, Seq, Timestamp};
use partition::branch::{Branch, Status};
use partition::{Body, CallRef, Command, Evidence, Operator, Sample, Signal, Transaction};
use plan::{Action, Wait};
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Enough to find each of the planted bugs that were tried, in a few seconds.
const CASES: u32 = 800;

#[test]
fn whatever_happens() {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    // The same cases every time: a test that fails by chance is not believed.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tapes = proptest::collection::vec(any::<u16>(), 20..260);
    let result = runner.run(&tapes, |choices| {
        live(&mut Tape::new(choices), false);
        Ok(())
    });
    if let Err(TestError::Fail(why, choices)) = result {
        eprintln!("{why}\nThe shortest life that ends so:");
        live(&mut Tape::new(choices), true);
        panic!("it fails only sometimes");
    }
}

fn live(tape: &mut Tape, loud: bool) {
    let text = tape.saga();
    let mut world = World::new(vec![saga::saga(&text)], saga::participants());
    world.loud = loud;
    if loud {
        eprintln!("{text}");
    }
    let mut life = Life { world: &mut world, begun: 0 };
    life.begin(tape);
    while !tape.is_empty() {
        life.happen(tape);
        life.world.take_said();
    }
    life.calm_down();
    life.ask_people();
    for tx in world.ended.values() {
        world.ledger.judge(tx, &world.plans[0]);
    }
    assert_eq!(world.ended.len(), world.names.len(), "begun and never ended");
}

struct Life<'w> {
    world: &'w mut World,
    begun: usize,
}

impl Life<'_> {
    fn begin(&mut self, tape: &mut Tape) {
        if self.begun == 3 {
            return;
        }
        self.begun += 1;
        let key = self.world.plans[0].lock.is_some().then_some(["k", "l"][tape.pick(5) / 4]);
        let at = ["2026-11-23T00:00:00Z", "2031-01-01T00:00:00Z", "soon"][[0, 0, 0, 2][tape.pick(4)]];
        let input = format!(r#"{{"x":{},"at":"{at}"}}"#, tape.pick(3));
        self.world.begin(&format!("t{}", self.begun), 0, key, &input).expect("begins");
    }

    fn happen(&mut self, tape: &mut Tape) {
        let choice = tape.pick(40);
        match choice {
            0..=15 => self.answer(tape),
            16..=19 => self.world.pass(Duration::from_millis([300, 1_000, 4_000, 11_000][tape.pick(4)])),
            20 => self.world.pass(Duration::from_secs([60, 4_000, 100_000][tape.pick(3)])),
            21 => {
                let place = tape.pick(5);
                self.world.around.held[place] = true;
            }
            22 | 23 => self.world.free(tape.pick(5)),
            24 | 25 => self.park(tape),
            26 => self.operate(tape, Operator::Cancel),
            27 => self.operate(tape, Operator::Retry),
            28 => self.world.restart(tape.pick(2) == 0),
            29 => self.world.checkpoint(tape.pick(3) == 0),
            30 => self.begin(tape),
            31 | 32 => self.signal(tape),
            33 => self.disturb(tape),
            34 | 35 => {
                if let Some(tx) = self.any(tape) {
                    self.decide(tx);
                }
            }
            36 => self.world.takes_back = !self.world.takes_back,
            37 => {
                self.world.prompt = !self.world.prompt;
                if self.world.prompt {
                    self.world.follow_up();
                }
            }
            38 => self.panic_once(tape),
            _ => self.world.follow_up(),
        }
    }

    fn any(&self, tape: &mut Tape) -> Option<Seq> {
        let live = self.world.leader.partition.live_seqs();
        (!live.is_empty()).then(|| live[tape.pick(live.len())])
    }

    fn answer(&mut self, tape: &mut Tape) {
        if self.world.flying.is_empty() {
            return;
        }
        let flown = self.world.flying.remove(tape.pick(self.world.flying.len()));
        let deed = self.world.ledger.deed(flown.call.tx, flown.call.step);
        let participant = self.world.around.participants[flown.participant as usize].clone();
        let late = Fate::ArrivesLater(participant.settles_within / [1, 2, 5][tape.pick(3)]);
        let undo = flown.call.direction == Direction::Compensate;
        let (status, fate) = match tape.pick(16) {
            0..=4 => (200, Fate::Executes),
            5 => (409, Fate::Never),
            6 => (0, Fate::Never),
            7 => (0, Fate::Executes),
            8 if !undo => (0, late),
            9 => (500, Fate::Executes),
            10 => (429, Fate::Never),
            11 => (401, Fate::Never),
            12 if !undo && tape.pick(4) == 0 => (405, Fate::Never),
            13 if !undo && deed.executions == 0 => (418, Fate::Never),
            // Nothing is there, and where an undo blocks a later do, this one does too.
            14 if undo && !deed.stands => (404, Fate::Executes),
            15 if !undo && tape.pick(4) == 0 => (299, Fate::Executes),
            _ => (200, Fate::Executes),
        };
        self.answer_with(&flown, status, fate);
    }

    /// Status 0 is no answer; 299 is one that lacks what was to be kept.
    fn answer_with(&mut self, flown: &Flying, status: u16, fate: Fate) {
        let tells = match status {
            // What cannot be judged may have executed.
            _ if self.world.around.panics.get() => Tells::Unknown,
            200..=299 => Tells::Done,
            0 | 500 => Tells::Unknown,
            418 => Tells::Proof,
            _ => Tells::No,
        };
        let body = if status == 299 { Body::Unusable("cut".into()) } else { Body::Json(json(r#"{"id":7}"#)) };
        let evidence = match status {
            0 => Evidence::TimedOut,
            status => Evidence::Answered { status, has_retry_after: false, body },
        };
        let participant = self.world.around.participants[flown.participant as usize].clone();
        self.world.ledger.answered(flown, &participant, tells, fate, self.world.now);
        let sample = Sample {
            endpoint: flown.endpoint,
            started_at: self.world.now,
            took: Duration::from_millis(3),
            evidence,
            shared: None,
        };
        let answered = self.world.propose(Command::Answered { call: flown.call, sample: sample.clone() });
        assert!(answered.is_ok(), "a current answer is taken: {answered:?}");
        // The same once more is late, and decides nothing.
        let before = self.world.live(flown.call.tx);
        if self.world.propose(Command::Answered { call: flown.call, sample }).is_ok() {
            assert_eq!(before.map(|tx| tx.outcome), self.world.live(flown.call.tx).map(|tx| tx.outcome));
        }
    }

    fn park(&mut self, tape: &mut Tape) {
        if self.world.flying.is_empty() {
            return;
        }
        let flown = self.world.flying.remove(tape.pick(self.world.flying.len()));
        let _ = self.world.propose(Command::Park(flown.call)).expect("an outstanding call is parked");
    }

    fn operate(&mut self, tape: &mut Tape, verb: Operator) {
        let Some(tx) = self.any(tape) else { return };
        self.world.bring_back(tx);
        let _ = self.world.propose(Command::Operate { tx, verb, who: "anna".into(), why: "why".into() });
    }

    fn signal(&mut self, tape: &mut Tape) {
        let Some(tx) = self.any(tape) else { return };
        self.send_signals(tx, tape.pick(4) == 0);
    }

    fn send_signals(&mut self, tx: Seq, no: bool) {
        let names = self.world.plans[0].steps.iter().filter_map(|s| match &s.action {
            Action::Wait(Wait::Signal { name, .. }) => Some(name.clone()),
            _ => None,
        });
        let names: Vec<_> = names.collect();
        for name in names {
            let body = Arc::new(json(if no { r#"{"no":true,"id":3}"# } else { r#"{"no":false,"id":3}"# }));
            let _ = self.world.propose(Command::Signal(Signal { tx, name, idempotency_key: "s".into(), body }));
        }
    }

    /// Commands that nobody should send: they change nothing, or only what is due anyway.
    fn disturb(&mut self, tape: &mut Tape) {
        let Some(tx) = self.any(tape) else { return };
        let (step, attempt) = (tape.pick(6) as u16, tape.pick(4) as u32);
        let direction = [Direction::Call, Direction::Compensate][tape.pick(2)];
        let call = CallRef { tx, step, direction, attempt, round: tape.pick(2) as u16 };
        let sample = |status| Sample {
            endpoint: 0,
            started_at: self.world.now,
            took: Duration::ZERO,
            evidence: Evidence::Answered { status, has_retry_after: false, body: Body::Empty },
            shared: None,
        };
        let flies = self.world.flying.iter().any(|f| f.call == call);
        let command = match tape.pick(5) {
            0 => Command::Grant(tx),
            1 => Command::Wake(tx),
            2 => Command::Recover(tx),
            3 if !flies => Command::Answered { call, sample: sample(409) },
            _ if !flies => Command::Park(call),
            _ => Command::Wake(tx),
        };
        let grants = matches!(command, Command::Grant(_));
        // What is quarantined is not woken by the clock, but may have something due.
        let asks = |live: &Transaction| live.attention.is_some();
        let due = self.world.live(tx).is_some_and(|live| live.wakes_at() <= self.world.now || asks(&live));
        let told = self.world.propose(command);
        assert!(told.is_err() || grants || due, "nothing was due");
    }

    fn panic_once(&mut self, tape: &mut Tape) {
        self.world.around.panics.set(true);
        if tape.pick(2) == 0 {
            self.answer(tape)
        } else {
            self.world.pass(Duration::from_secs(5))
        }
        self.world.around.panics.set(false);
    }

    /// A person who knows the truth decides what is asked, when nothing can arrive any more.
    fn decide(&mut self, tx: Seq) {
        let Some(live) = self.world.live(tx) else { return };
        let Some(attention) = &live.attention else { return };
        let Some(step) = attention.step else { return };
        let deed = self.world.ledger.deed(tx, step);
        let state = &live.steps[usize::from(step)];
        if self.world.ledger.next_arrival().is_some() || state.branch != Branch::Attention {
            return;
        }
        let waits = self.world.plans[0].steps[usize::from(step)].call().is_none();
        let (direction, done) = match state.status {
            Status::Active => (Direction::Call, deed.stands || waits),
            _ => {
                self.world.ledger.undone_by_hand(tx, step);
                (Direction::Compensate, true)
            }
        };
        let result = (direction == Direction::Call).then(|| Arc::new(json(r#"{"id":7}"#)));
        let verb = Operator::Resolve { step, direction, done, result };
        let decided = self.world.propose(Command::Operate { tx, verb, who: "anna".into(), why: "known".into() });
        assert!(decided.is_ok(), "what needs attention can be decided: {decided:?} {live:#?}");
    }

    /// Faults stop, everybody answers, time runs on: what is live then asks a person.
    fn calm_down(&mut self) {
        self.world.takes_back = false;
        self.world.prompt = true;
        self.world.follow_up();
        for _ in 0..40 {
            for place in 0..5 {
                self.world.free(place);
            }
            for tx in self.world.leader.partition.live_seqs() {
                self.send_signals(tx, false);
            }
            while !self.world.flying.is_empty() {
                let flown = self.world.flying.remove(0);
                self.answer_with(&flown, 200, Fate::Executes);
            }
            self.world.pass(Duration::from_secs(21_600));
        }
        for tx in self.world.leader.partition.live_seqs() {
            let live = self.world.live(tx).expect("live");
            let asks_or_waits = live.attention.is_some() || self.waits_for_another(&live);
            assert!(asks_or_waits, "neither ended nor asking: {live:#?}");
        }
    }

    fn waits_for_another(&self, tx: &Transaction) -> bool {
        tx.phase == partition::transaction::Phase::Queued && tx.wakes_at() == Timestamp::NEVER
    }

    fn ask_people(&mut self) {
        for round in 0..30 {
            for tx in self.world.leader.partition.live_seqs() {
                let retry = self.world.live(tx).is_some_and(|live| live.attention.is_some()) && round % 2 == 0;
                if retry {
                    let verb = Operator::Retry;
                    let _ = self.world.propose(Command::Operate { tx, verb, who: "a".into(), why: "b".into() });
                } else {
                    self.decide(tx);
                }
            }
            self.calm_down();
            if self.world.leader.partition.live_count() == 0 {
                return;
            }
        }
        let tx = self.world.leader.partition.live_seqs()[0];
        panic!("no person can end {:#?}", self.world.live(tx));
    }
}
