//! One transaction in a world of its own: the real partition, a clock that jumps, participants that say what the
//! script says, and a journal of wire bytes from which the engine comes back after a crash.
//!
//! The world plays what surrounds a partition in a node: the load manager (a participant that did not take a call is
//! held for a second, then for two, at most an hour), the connector, the timers. A second partition replays every
//! entry from its bytes and must stay equal. There is no network, no thread and no waiting: time is a number.

mod calls;
mod ending;
mod events;
mod journal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use model::{Direction, PartitionId, Seq, StepIndex, Timestamp, Value};
use partition::{
    Begin, CallRef, Command, Effect, EntryKind, Evidence, Leader, Partition, Rejected, Surroundings, Transaction,
};
use plan::eval::{Scope, Steps};
use plan::{Participant, Saga};

use crate::ledger::{Fate, Ledger};
use crate::run::{Happening, Made, Run, Stopped, call_word};
use crate::script::{CallName, Event, Script, When};

/// What a run needs besides its script.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'s> {
    pub plan: &'s Saga,
    pub participants: &'s [Participant],
    pub input: &'s Value,
    /// Bodies of answers that the script does not have, and of signals when nobody sends them.
    pub made_up: &'s BTreeMap<StepIndex, Value>,
    /// Send the signals that nobody sends.
    pub signals_come: bool,
}

/// When every run begins, unless its file says otherwise: 2026-01-01T00:00:00Z.
pub const STARTS_AT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

const ID: PartitionId = PartitionId(0);
/// Attempts of one call after which it is plain that it is repeated without end.
const ATTEMPTS_MAX: u32 = 25;
/// The same of one that its participant does not take while the timeout runs: enough for some weeks.
const UNTAKEN_MAX: u32 = 1_000;
/// Turns of the clock of one run: a bound that no sensible case meets.
const TURNS_MAX: usize = 20_000;
/// A participant that did not take a call is held so long at first, and doubling up to the second.
const HELD_FIRST: Duration = Duration::from_secs(1);
const HELD_MAX: Duration = Duration::from_secs(3_600);

/// The case cannot be run at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRun {
    /// The input does not fit the definition.
    Input(Vec<plan::schema::Violation>),
    /// The engine did not take it.
    Engine(String),
}

#[derive(Debug)]
struct Around<'s> {
    participants: &'s [Participant],
    held: Vec<bool>,
}

impl Surroundings for Around<'_> {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        self.participants.iter().enumerate().find(|(_, p)| p.name == name).map(|(place, p)| (place as u32, p))
    }

    fn is_held(&self, participant: u32) -> bool {
        self.held.get(participant as usize).copied().unwrap_or_default()
    }
}

/// A call that was released and has not been answered.
#[derive(Clone, Debug)]
struct Flying {
    call: CallRef,
    participant: u32,
    started_at: Timestamp,
    answers_at: Timestamp,
    /// `None`: the engine ends here.
    evidence: Option<Evidence>,
    /// What the participant does; `None`: what the engine makes of the answer.
    fate: Option<Fate>,
}

/// What happens next, at the same time.
#[derive(Clone, Debug)]
enum Due {
    /// By its place in the script.
    Event(usize),
    /// A signal that nobody sends, made up.
    Signal(StepIndex, CompactString, Value),
}

/// A participant that is not called for a while.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    until: Option<Timestamp>,
    wait: Duration,
    down: bool,
}

struct World<'s> {
    setting: Setting<'s>,
    script: &'s Script,
    leader: Leader,
    replica: Partition,
    around: Around<'s>,
    now: Timestamp,
    tx: Seq,
    flying: Vec<Flying>,
    parked: Vec<(u32, CallRef)>,
    holds: Vec<Hold>,
    served: BTreeMap<CallName, u32>,
    /// Whether the last answer of a call was taken by its participant.
    taken: BTreeMap<CallName, bool>,
    fired: Vec<bool>,
    made_up_sent: BTreeSet<CompactString>,
    follows: VecDeque<Command>,
    due: VecDeque<Due>,
    journal: Vec<(Seq, Vec<u8>)>,
    ledger: Ledger,
    ended: Option<Transaction>,
    calls: Vec<Made>,
    story: Vec<Happening>,
    undone: Vec<StepIndex>,
    asked: bool,
    made_up_used: BTreeSet<StepIndex>,
    decided_at: Option<Timestamp>,
}

/// Runs one transaction to its end, or as far as it goes by itself.
pub fn run(setting: Setting<'_>, script: &Script) -> Result<Run, NoRun> {
    let violations = setting.plan.input.validate(setting.input);
    if !violations.is_empty() {
        return Err(NoRun::Input(violations));
    }
    let mut world = World::new(setting, script)?;
    world.begin()?;
    let stopped = world.turn()?;
    world.finish(stopped)
}

/// No steps have run when a key is rendered.
struct NoSteps;

impl Steps for NoSteps {
    fn result(&self, _step: StepIndex) -> Option<&Value> {
        None
    }

    fn outcome(&self, _step: StepIndex) -> &'static str {
        "pending"
    }

    fn call_key(&self, step: StepIndex) -> model::CallKey {
        model::CallKey { tx: model::TxId(0), step, direction: Direction::Call, round: 0 }
    }
}

impl<'s> World<'s> {
    fn new(setting: Setting<'s>, script: &'s Script) -> Result<Self, NoRun> {
        let count = setting.participants.len();
        let mut world = Self {
            setting,
            script,
            leader: Leader::new(Partition::new(ID)),
            replica: Partition::new(ID),
            around: Around { participants: setting.participants, held: vec![false; count] },
            now: script.starts_at.unwrap_or(STARTS_AT),
            tx: 0,
            flying: Vec::new(),
            parked: Vec::new(),
            holds: vec![Hold::default(); count],
            served: BTreeMap::new(),
            taken: BTreeMap::new(),
            fired: vec![false; script.events.len()],
            made_up_sent: BTreeSet::new(),
            follows: VecDeque::new(),
            due: VecDeque::new(),
            journal: Vec::new(),
            ledger: Ledger::default(),
            ended: None,
            calls: Vec::new(),
            story: Vec::new(),
            undone: Vec::new(),
            asked: false,
            made_up_used: BTreeSet::new(),
            decided_at: None,
        };
        let refused = |e: partition::state::ApplyError| NoRun::Engine(e.to_string());
        let epoch = world.leader.open_epoch(1, 1, world.now).map_err(refused)?;
        world.keep(&epoch);
        let bytes: Arc<[u8]> = Arc::from(setting.plan.to_bytes());
        let (_, entry) = world.leader.use_plan(Saga::hash_of(&bytes), &bytes, world.now).map_err(refused)?;
        if let Some(entry) = entry {
            world.keep(&entry);
        }
        Ok(world)
    }

    fn since(&self) -> Duration {
        self.now.since(self.script.starts_at.unwrap_or(STARTS_AT))
    }

    fn tell(&mut self, who: impl Into<String>, text: impl Into<String>) {
        let at = self.since();
        self.story.push(Happening { at, who: who.into(), text: text.into() });
    }

    fn word(&self, call: CallName) -> String {
        call_word(self.setting.plan, call)
    }

    fn begin(&mut self) -> Result<(), NoRun> {
        let plan = self.setting.plan;
        let scope = Scope {
            tx: model::TxId(0),
            input: self.setting.input,
            steps: &NoSteps,
            response: None,
            signal: None,
            call: None,
        };
        let key = match &plan.key {
            None => None,
            Some(template) => Some(
                plan::render::render_text(template, &scope)
                    .map_err(|e| NoRun::Engine(format!("the key of {} has no value: {e}", plan.name)))?,
            ),
        };
        let begin = Begin {
            plan: 0,
            idempotency_key: "test".into(),
            submission_digest: 1,
            key,
            input: Arc::new(self.setting.input.clone()),
            deadline: plan.timeout.map_or(Timestamp::NEVER, |timeout| self.now.after(timeout)),
            priority: 1,
            traceparent: CompactString::default(),
        };
        self.tx = self.leader.partition.seq + 1;
        self.propose(Command::Begin(Box::new(begin))).map_err(|e| NoRun::Engine(e.to_string()))
    }

    /// Lets things happen, one after the other, each at its time.
    fn turn(&mut self) -> Result<Stopped, NoRun> {
        let start = self.script.starts_at.unwrap_or(STARTS_AT);
        let stops_at = self.script.until.map_or(Timestamp::NEVER, |until| start.after(until));
        for _ in 0..TURNS_MAX {
            if let Some(due) = self.due.pop_front() {
                match due {
                    Due::Event(place) => self.happen(place),
                    Due::Signal(step, name, body) => {
                        self.made_up_used.insert(step);
                        self.send(name.clone(), name, body);
                    }
                }
                continue;
            }
            if self.ended.is_some() && self.ledger.next_arrival().is_none() {
                return Ok(Stopped::Ended);
            }
            if let Some(call) = self.is_endless() {
                let (word, count) = (self.word(call), self.served[&call]);
                self.tell(word, format!("… and so on without end; the run stops after {count} attempts"));
                return Ok(Stopped::StillTrying);
            }
            let Some(at) = self.next() else { return Ok(Stopped::Waits) };
            if at > stops_at {
                self.now = stops_at;
                return Ok(Stopped::ClockStopped);
            }
            self.now = self.now.max(at);
            self.ledger.arrive(self.now);
            self.happens_now();
        }
        Err(NoRun::Engine(format!("more than {TURNS_MAX} things happened; is something repeated without end?")))
    }

    fn timed(&self, event: &Event) -> Option<Timestamp> {
        let start = self.script.starts_at.unwrap_or(STARTS_AT);
        match event.when {
            When::At(after) => Some(start.after(after)),
            When::During(_) | When::Awaited | When::Awaiting(_) => None,
        }
    }

    /// When the next thing happens.
    fn next(&self) -> Option<Timestamp> {
        let answers = self.flying.iter().map(|f| f.answers_at);
        let holds = self.holds.iter().filter(|h| !self.parked.is_empty() || h.down).filter_map(|h| h.until);
        let events = self.script.events.iter().zip(&self.fired).filter(|(_, fired)| !**fired);
        let events = events.filter_map(|(event, _)| self.timed(event));
        let engine = self.leader.partition.next_wake().into_iter().chain(self.ledger.next_arrival());
        answers.chain(holds).chain(events).chain(engine).min()
    }

    /// Everything that is due: answers first, for an answer in time is in time.
    fn happens_now(&mut self) {
        if let Some(place) = self.flying.iter().position(|f| f.answers_at <= self.now) {
            let flown = self.flying.remove(place);
            return self.answered(flown);
        }
        let event = (0..self.fired.len()).find(|place| {
            !self.fired[*place] && self.timed(&self.script.events[*place]).is_some_and(|at| at <= self.now)
        });
        if let Some(place) = event {
            self.fired[place] = true;
            return self.happen(place);
        }
        for place in 0..self.holds.len() {
            if self.holds[place].until.is_some_and(|until| until <= self.now) {
                self.holds[place].until = None;
                return self.free(place);
            }
        }
        for seq in self.leader.partition.due(self.now, 1) {
            if let Err(rejected) = self.propose(Command::Wake(seq)) {
                self.ledger.note("TX-4", format!("something is due and nothing is done: {rejected}"));
                // Nothing else would ever move the clock past it.
                self.ended = self.live().cloned();
            }
        }
    }

    fn free(&mut self, participant: usize) {
        self.around.held[participant] = false;
        while let Some(place) = self.parked.iter().position(|(p, _)| *p as usize == participant) {
            let (_, call) = self.parked.remove(place);
            // Stale is what went on by itself meanwhile.
            let _ = self.propose(Command::Unpark(call));
            if self.around.held[participant] {
                break;
            }
        }
    }

    /// A call that is repeated and repeated, looked at while nothing is outstanding.
    fn is_endless(&self) -> Option<CallName> {
        if !self.flying.is_empty() {
            return None;
        }
        let bounded = self.live().is_some_and(Transaction::deadline_binds);
        let endless = |(call, count): (&CallName, &u32)| {
            let taken = self.taken.get(call).copied().unwrap_or_default();
            // What is not taken costs no attempt, and ends with the transaction's timeout if it has one.
            let most = if !taken && bounded { UNTAKEN_MAX } else { ATTEMPTS_MAX };
            (*count >= most).then_some(*call)
        };
        self.served.iter().find_map(endless)
    }

    fn live(&self) -> Option<&Transaction> {
        self.leader.partition.get(self.tx)
    }

    /// Proposes, and does what follows at once.
    fn propose(&mut self, command: Command) -> Result<(), Rejected> {
        let result = self.propose_one(command);
        while let Some(next) = self.follows.pop_front() {
            let _ = self.propose_one(next);
        }
        result
    }

    fn propose_one(&mut self, command: Command) -> Result<(), Rejected> {
        let mut effects = Vec::new();
        let answered = match &command {
            Command::Answered { call, .. } => Some(*call),
            _ => None,
        };
        let entry = self.leader.propose(command, self.now, &self.around, &mut effects)?;
        self.keep(&entry);
        let moves = match &entry.kind {
            EntryKind::Begin(begun) => begun.moves.as_slice(),
            EntryKind::Moves { moves, .. } => moves.as_slice(),
            EntryKind::Epoch { .. } | EntryKind::Plan { .. } => &[],
        };
        if let Some(call) = answered {
            self.judged(call, moves);
        }
        for made in moves {
            self.heard(made);
        }
        for effect in effects {
            self.take(effect);
        }
        self.compare();
        self.awaited();
        Ok(())
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Call(out) => self.start(&out),
            // What has started cannot be taken back, and here everything starts at once.
            Effect::Withdraw(_) | Effect::Decided(_) => {}
            Effect::Parked { call, participant } => {
                self.parked.push((participant, call));
                let hold = &mut self.holds[participant as usize];
                if hold.until.is_none() {
                    hold.until = Some(self.now.after(HELD_FIRST));
                }
            }
            Effect::Ended(tx) => {
                self.ledger.judge(&tx, self.setting.plan);
                self.ended = Some(*tx);
            }
            Effect::Grant(seq) => self.follows.push_back(Command::Grant(seq)),
        }
    }
}

/// A duration as people write it: the largest unit that keeps it whole, to the millisecond.
pub(crate) fn span_text(span: Duration) -> String {
    definition::document::duration_text(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}
