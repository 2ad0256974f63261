//! What really happens at the participants of one run, whatever they answer: the truth that the engine is judged by.
//!
//! Every rule that the engine promises is looked at where it would be broken, and named. A participant behaves as its
//! file declares: it recognises a call key for as long as it says, and an undo blocks a later do if it says so.

use std::collections::BTreeMap;

use model::{CallKey, Direction, StepIndex, Timestamp};
use partition::branch::Status;
use partition::transaction::{Phase, Reason, TxOutcome};
use partition::{OutgoingCall, Transaction};
use plan::{OnUnknown, Participant, Saga, Undo};

use crate::script::CallName;

/// A promise of the engine that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name that the manual and the engine's counters use: `TX-3`.
    pub rule: &'static str,
    pub what: String,
}

/// One step, at its participant.
#[derive(Clone, Debug, Default)]
struct Deed {
    /// The effect is there now.
    stands: bool,
    /// An undo came to a participant that remembers it.
    blocked: bool,
    executions: u32,
    /// Attempts on their way that take effect when they arrive.
    arrivals: Vec<Timestamp>,
    /// An attempt may have executed, as far as the engine can know.
    may: bool,
    first_start: Option<Timestamp>,
    undo_may: bool,
    undo_first_start: Option<Timestamp>,
    /// By then whatever may have executed has, if the participant keeps its word.
    settles_at: Timestamp,
    /// Place in the order in which attempts ended as done or unknown.
    completed: u32,
    undo_begun_alone: bool,
    /// Attempts that the participant took, as far as the engine can know, and when the last of them was given up.
    counted: u32,
    unknown_at: Option<Timestamp>,
    changes: bool,
    repeats_execute: bool,
    /// The participant did not keep its word: it did what it denied, or did it later than it says.
    broke_its_word: bool,
}

/// The steps of one transaction, as they really are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    deeds: BTreeMap<StepIndex, Deed>,
    last_completed: u32,
    /// What each call key has carried.
    requests: BTreeMap<CallKey, u64>,
    keys: BTreeMap<CallName, CallKey>,
    pub(crate) violations: Vec<Violation>,
}

/// What one attempt really does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Never,
    Now,
    At(Timestamp),
}

/// What the engine was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    /// This attempt did nothing.
    Nothing,
    /// Nothing was done for this call key.
    Proof,
    Unknown,
}

impl Ledger {
    fn broken(&mut self, rule: &'static str, what: String) {
        let violation = Violation { rule, what };
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// A call leaves: may it? `in_flight` are the calls of this transaction that are outstanding.
    pub(crate) fn released(
        &mut self,
        tx: &Transaction,
        saga: &Saga,
        out: &OutgoingCall,
        participant: &Participant,
        in_flight: &[CallName],
        now: Timestamp,
    ) {
        let place = out.call.step;
        let step = &saga.steps[usize::from(place)];
        let name = &step.name;
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        let call = (place, out.call.direction);
        if in_flight.iter().any(|other| other.0 == place) {
            broken.push(("TX-3", format!("two calls of step \"{name}\" at once")));
        }
        let digest = out.request.digest();
        if *self.requests.entry(out.key).or_insert(digest) != digest {
            broken.push(("call key", format!("step \"{name}\" sends another request under a known call key")));
        }
        if *self.keys.entry(call).or_insert(out.key) != out.key {
            broken.push(("call key", format!("step \"{name}\" is called again under another call key")));
        }
        let others: Vec<(StepIndex, Deed)> = self.deeds.iter().map(|(s, d)| (*s, d.clone())).collect();
        let deed = self.deeds.entry(place).or_default();
        let promise = participant.idempotency.remembers();
        let remembered = |first: Option<Timestamp>| promise.zip(first).is_some_and(|(p, first)| now < first.after(p));
        match (out.call.direction, step.call(), &step.compensate) {
            (Direction::Call, Some(made), _) => {
                deed.changes = made.method.changes();
                deed.repeats_execute = promise.is_none() && !made.method.is_idempotent();
                if deed.may && !made.method.is_idempotent() && !remembered(deed.first_start) {
                    broken.push(("TX-3", format!("step \"{name}\" is repeated, and nothing recognises the repeat")));
                }
                let retry = step.retry.unwrap_or(participant.retry);
                if step.side == plan::Side::Before && deed.counted >= retry.attempts {
                    let what = format!("step \"{name}\" is tried once more than its {} attempts", retry.attempts);
                    broken.push(("attempts", what));
                }
                if deed.unknown_at == Some(now) && !retry.backoff.is_zero() {
                    broken.push(("attempts", format!("step \"{name}\" is repeated at once, without backoff")));
                }
                if matches!(tx.outcome, Some(TxOutcome::Aborted(_))) {
                    broken.push(("TX-2", format!("step \"{name}\" is called although all is to be undone")));
                }
                deed.first_start.get_or_insert(now);
            }
            (Direction::Compensate, _, Undo::Call { call: made, .. }) => {
                if deed.undo_may && !made.method.is_idempotent() && !remembered(deed.undo_first_start) {
                    broken.push(("TX-3", format!("the undo of \"{name}\" is repeated unrecognised")));
                }
                if !deed.may {
                    broken.push(("TX-3", format!("step \"{name}\" is undone although it cannot have been done")));
                }
                if now < deed.settles_at && !participant.undo_blocks_do {
                    broken.push(("TX-3", format!("step \"{name}\" is undone before it has settled")));
                }
                if out.deadline != Timestamp::NEVER {
                    broken.push(("LD-2", format!("the undo of \"{name}\" has a deadline, and could be left undone")));
                }
                deed.undo_first_start.get_or_insert(now);
                if tx.phase != Phase::Undoing {
                    deed.undo_begun_alone = true;
                } else if !deed.undo_begun_alone && !step.optional {
                    broken.extend(out_of_order(tx, saga, place, deed.completed, &others, in_flight));
                }
            }
            _ => broken.push(("TX-2", format!("step \"{name}\" makes a call that the plan does not have"))),
        }
        for (rule, what) in broken {
            self.broken(rule, what);
        }
    }

    /// An attempt has ended for the engine.
    pub(crate) fn answered(
        &mut self,
        call: CallName,
        participant: &Participant,
        told: Told,
        fate: Fate,
        now: Timestamp,
    ) {
        self.last_completed += 1;
        let completed = self.last_completed;
        let deed = self.deeds.entry(call.0).or_default();
        match (call.1, told) {
            (Direction::Call, Told::Done) => {
                deed.may = true;
                deed.completed = completed;
            }
            (Direction::Call, Told::Unknown) => {
                deed.may = true;
                deed.counted += 1;
                deed.unknown_at = Some(now);
                deed.completed = completed;
                deed.settles_at = deed.settles_at.max(now.after(participant.settles_within));
            }
            (Direction::Call, Told::Proof) if deed.settles_at <= now && !participant.undo_blocks_do => {
                deed.may = false;
            }
            (Direction::Compensate, Told::Unknown) => deed.undo_may = true,
            _ => {}
        }
        let denied = matches!(told, Told::Nothing | Told::Proof) && fate != Fate::Never;
        let late = matches!(fate, Fate::At(at) if at > now.after(participant.settles_within));
        deed.broke_its_word |= call.1 == Direction::Call && (denied || late);
        match (call.1, fate) {
            (_, Fate::Never) => {}
            (Direction::Call, Fate::Now) => deed.execute(),
            (Direction::Call, Fate::At(at)) => deed.arrivals.push(at),
            (Direction::Compensate, Fate::Now | Fate::At(_)) => {
                deed.stands = false;
                deed.blocked |= participant.undo_blocks_do;
            }
        }
    }

    /// A person did the undo, outside.
    pub(crate) fn undone_by_hand(&mut self, step: StepIndex) {
        self.deeds.entry(step).or_default().stands = false;
    }

    /// A person has it tried again: the attempts count afresh, and a repeat of the undo is harmless, they say.
    pub(crate) fn tried_afresh(&mut self, step: StepIndex) {
        let deed = self.deeds.entry(step).or_default();
        deed.counted = 0;
        deed.unknown_at = None;
        deed.undo_may = false;
        deed.undo_first_start = None;
    }

    pub(crate) fn next_arrival(&self) -> Option<Timestamp> {
        self.deeds.values().flat_map(|d| d.arrivals.iter().copied()).min()
    }

    pub(crate) fn arrive(&mut self, now: Timestamp) {
        for deed in self.deeds.values_mut() {
            let due = deed.arrivals.iter().filter(|at| **at <= now).count();
            deed.arrivals.retain(|at| *at > now);
            for _ in 0..due {
                deed.execute();
            }
        }
    }

    /// The steps that changed something which is there now.
    pub(crate) fn standing(&self) -> impl Iterator<Item = StepIndex> {
        self.deeds.iter().filter(|(_, deed)| deed.stands && deed.changes).map(|(step, _)| *step)
    }

    pub(crate) fn broke_its_word(&self, step: StepIndex) -> bool {
        self.deeds.get(&step).is_some_and(|deed| deed.broke_its_word)
    }

    /// TX-2 and TX-3, when it has ended: what it says is what happened.
    pub(crate) fn judge(&mut self, tx: &Transaction, saga: &Saga) {
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        let cause = tx.cause.step.and_then(|step| saga.steps.get(usize::from(step)));
        if let (Some(TxOutcome::Aborted(Reason::Refused | Reason::Failed)), Some(step)) = (tx.outcome, cause)
            && step.optional
        {
            broken.push(("TX-2", format!("the optional step \"{}\" has aborted it", step.name)));
        }
        for (place, (step, state)) in saga.steps.iter().zip(&tx.steps).enumerate() {
            let Some(deed) = self.deeds.get(&(place as StepIndex)).filter(|deed| deed.changes) else { continue };
            let name = &step.name;
            if deed.repeats_execute && deed.executions > 1 {
                broken.push(("TX-1", format!("step \"{name}\" was executed {} times", deed.executions)));
            }
            let excepted = state.by_hand || state.status == Status::GivenUp || deed.broke_its_word;
            let undoable = matches!(step.compensate, Undo::Call { .. });
            match tx.outcome {
                Some(TxOutcome::Completed) if state.status == Status::Done => {
                    if !deed.stands && !excepted {
                        broken.push(("TX-3", format!("it completed, but what step \"{name}\" did is not there")));
                    }
                }
                Some(TxOutcome::Completed) => {
                    if undoable && step.unknown != Some(OnUnknown::Ignore) && deed.stands && !excepted {
                        broken.push(("TX-3", format!("step \"{name}\" is not done, but its effect stands")));
                    }
                }
                Some(TxOutcome::Aborted(_)) => {
                    if undoable && deed.stands && !excepted {
                        broken.push(("TX-3", format!("it is aborted, but the effect of step \"{name}\" stands")));
                    }
                }
                None => broken.push(("TX-2", "it ended without an outcome".into())),
            }
        }
        for (rule, what) in broken {
            self.broken(rule, what);
        }
    }

    pub(crate) fn note(&mut self, rule: &'static str, what: impl Into<String>) {
        self.broken(rule, what.into());
    }
}

/// One after the other, in reverse order of completion; what an optional step undoes by itself stands apart.
fn out_of_order(
    tx: &Transaction,
    saga: &Saga,
    place: StepIndex,
    completed: u32,
    others: &[(StepIndex, Deed)],
    in_flight: &[CallName],
) -> Option<(&'static str, String)> {
    let name = &saga.steps[usize::from(place)].name;
    if in_flight.iter().any(|(step, _)| !saga.steps[usize::from(*step)].optional) {
        return Some(("TX-3", format!("step \"{name}\" is undone while another call is outstanding")));
    }
    let later = others.iter().find(|(other, deed)| {
        let state = &tx.steps[usize::from(*other)];
        let undoable = matches!(saga.steps[usize::from(*other)].compensate, Undo::Call { .. });
        let left = undoable && deed.may && state.has_effect() && state.status != Status::GivenUp;
        left && *other != place && deed.completed > completed
    })?;
    let other = &saga.steps[usize::from(later.0)].name;
    Some(("TX-3", format!("step \"{name}\" is undone before \"{other}\", which completed later")))
}

impl Deed {
    fn execute(&mut self) {
        if self.blocked || (self.executions > 0 && !self.repeats_execute) {
            return;
        }
        self.executions += 1;
        self.stands = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use definition::{Known, SourceFile, check};
    use partition::CallRef;
    use plan::Request;

    use super::*;
    use crate::script::{Answer, Comes, Script};
    use crate::world::{Setting, run};

    const ORDER: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: order
version: 1
input: {type: object}
steps:
  - name: charge
    call: {participant: pay, method: POST, path: /charges}
    compensate: {participant: pay, method: POST, path: /refunds}
  - name: ship
    call: {participant: pay, method: POST, path: /parcels}
    compensate: {participant: pay, method: POST, path: /returns}
"#;

    const PAY: &str = r#"apiVersion: tidegate/v1
kind: Participants
participants:
  - name: pay
    connector: http
    endpoints: [http://pay.example]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 10s
    timeout: 3s
    retry: {attempts: 2, backoff: 1s, max_backoff: 8s}
    limits: {max_in_flight: 10}
"#;

    /// A finished transaction of two steps, both undone, with its plan: what is then told to a ledger is not what
    /// this one did.
    fn stage() -> (Saga, Participant, Transaction) {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let mut checked = check(&[file("pay.yaml", PAY), file("order.yaml", ORDER)], &Known::default());
        let plan = checked.sagas.pop().expect("a definition").plan;
        let participant = checked.participants.pop().expect("a participant").participant;
        let script = Script {
            answers: BTreeMap::from([((1, Direction::Call), vec![Answer::of(Comes::Timeout).executed(true)])]),
            ..Script::default()
        };
        let input = model::Value::Map(model::Map::new());
        let participants = [participant.clone()];
        let made_up = BTreeMap::new();
        let setting =
            Setting { plan: &plan, participants: &participants, input: &input, made_up: &made_up, signals_come: false };
        let run = run(setting, &script).expect("it runs");
        assert_eq!(run.violations, []);
        assert_eq!(run.undone, [1, 0]);
        (plan, participant, run.tx)
    }

    fn call(tx: &Transaction, name: CallName, path: &str, round: u16) -> OutgoingCall {
        let mut key = tx.call_key(name.0, name.1);
        key.round = round;
        OutgoingCall {
            call: CallRef { tx: tx.seq(), step: name.0, direction: name.1, attempt: 1, round },
            key,
            participant: 0,
            request: Request {
                method: plan::Method::Post,
                path_and_query: path.into(),
                headers: Vec::new(),
                body: None,
            },
            timeout: std::time::Duration::from_secs(3),
            deadline: Timestamp::NEVER,
            endpoint: None,
            priority: 1,
            progress: (0, 2),
            share: None,
        }
    }

    const CHARGE: CallName = (0, Direction::Call);
    const SHIP: CallName = (1, Direction::Call);
    const REFUND: CallName = (0, Direction::Compensate);
    const NOW: Timestamp = crate::world::STARTS_AT;

    /// What is broken when these happen, in order.
    fn broken(tell: impl FnOnce(&mut Ledger, &Transaction, &Saga, &Participant)) -> Vec<String> {
        let (plan, participant, tx) = stage();
        let mut ledger = Ledger::default();
        tell(&mut ledger, &tx, &plan, &participant);
        ledger.violations.into_iter().map(|v| format!("{}: {}", v.rule, v.what)).collect()
    }

    #[test]
    fn one_piece_of_work_has_one_key_and_one_request() {
        let found = broken(|ledger, tx, plan, pay| {
            let mut tx = tx.clone();
            tx.outcome = None;
            for (path, round) in [("/charges", 0), ("/other", 0), ("/charges", 1)] {
                ledger.released(&tx, plan, &call(&tx, CHARGE, path, round), pay, &[], NOW);
            }
        });
        assert_eq!(
            found,
            [
                "call key: step \"charge\" sends another request under a known call key",
                "call key: step \"charge\" is called again under another call key"
            ]
        );
    }

    #[test]
    fn nothing_is_repeated_that_nobody_recognises() {
        let found = broken(|ledger, tx, plan, pay| {
            let forgetful = Participant { idempotency: plan::Idempotency::None, ..pay.clone() };
            let mut tx = tx.clone();
            tx.outcome = None;
            for _ in 0..2 {
                ledger.released(&tx, plan, &call(&tx, CHARGE, "/charges", 0), &forgetful, &[], NOW);
                ledger.answered(CHARGE, &forgetful, Told::Unknown, Fate::Now, NOW);
            }
            tx.outcome = Some(TxOutcome::Completed);
            ledger.judge(&tx, plan);
        });
        assert_eq!(found[0], "TX-3: step \"charge\" is repeated, and nothing recognises the repeat");
        assert!(found.contains(&"TX-1: step \"charge\" was executed 2 times".to_owned()), "{found:?}");
    }

    #[test]
    fn an_undo_waits_and_keeps_the_order() {
        let found = broken(|ledger, tx, plan, pay| {
            let mut forward = tx.clone();
            forward.outcome = None;
            ledger.released(&forward, plan, &call(tx, CHARGE, "/charges", 0), pay, &[], NOW);
            ledger.answered(CHARGE, pay, Told::Unknown, Fate::Now, NOW);
            ledger.released(&forward, plan, &call(tx, SHIP, "/parcels", 0), pay, &[], NOW);
            ledger.answered(SHIP, pay, Told::Done, Fate::Now, NOW);
            let mut back = tx.clone();
            back.phase = Phase::Undoing;
            back.steps[1].status = Status::Done;
            ledger.released(&back, plan, &call(tx, REFUND, "/refunds", 0), pay, &[], NOW);
            ledger.released(&back, plan, &call(tx, CHARGE, "/charges", 0), pay, &[], NOW);
        });
        assert_eq!(
            found,
            [
                "TX-3: step \"charge\" is undone before it has settled",
                "TX-3: step \"charge\" is undone before \"ship\", which completed later",
                "attempts: step \"charge\" is repeated at once, without backoff",
                "TX-2: step \"charge\" is called although all is to be undone",
            ]
        );
    }

    #[test]
    fn what_it_says_at_its_end_is_what_happened() {
        let found = broken(|ledger, tx, plan, pay| {
            let mut forward = tx.clone();
            forward.outcome = None;
            ledger.released(&forward, plan, &call(tx, CHARGE, "/charges", 0), pay, &[], NOW);
            ledger.answered(CHARGE, pay, Told::Done, Fate::Now, NOW);
            // Aborted, it says, and everything undone; nobody has undone anything.
            ledger.judge(tx, plan);
            let mut completed = tx.clone();
            completed.outcome = Some(TxOutcome::Completed);
            completed.steps[0].status = Status::Done;
            ledger.undone_by_hand(0);
            ledger.judge(&completed, plan);
        });
        assert_eq!(
            found,
            [
                "TX-3: it is aborted, but the effect of step \"charge\" stands",
                "TX-3: it completed, but what step \"charge\" did is not there"
            ]
        );
    }
}
