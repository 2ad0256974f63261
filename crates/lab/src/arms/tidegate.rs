//! Ours: the engine's load manager itself, with parking, as the engine drives it.
//!
//! What the engine does around `load` is done here the same way: a call that is to be parked is written down and
//! forgotten, in order of parking, until `Wants` asks for it; an attempt that provably did not run while its
//! participant is held does not count (SEMANTICS 21).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use load::{
    CallRef, Decision, Evidence, Learn, LoadManager, ParticipantSpec, Released, Sample, Share, State, Verdict, Wants,
};
use model::Timestamp;

use crate::arm::{Act, Arm, Backoff, Call, Cx, Ended, Outcome, Retry};
use crate::dice::Dice;
use crate::world::ArmSetup;

/// From a wish for parked calls until they are here: an entry of the journal is written in between.
const UNPARK: Duration = Duration::from_millis(5);
const EXPIRE_EVERY: Duration = Duration::from_millis(100);
const SHUFFLE_AMONG: usize = 256;
/// A record of a register.
const ANSWER_BYTES: usize = 1_024;

/// What is done to it, to see whether the suite would notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    None,
    /// It never learns: the initial limit stays.
    Frozen,
    /// The limit is as large as it may be.
    AlwaysMax,
    /// The limit is one call.
    AlwaysMin,
    /// The limit is never moved to see what happens.
    Still,
    /// Each call ends, for the learner, as one of the first few did.
    Shuffled,
    /// Every read is a call, also where answers may be shared.
    Alone,
}

#[derive(Debug)]
pub(crate) struct Tidegate {
    manager: LoadManager,
    node: u16,
    mutant: Mutant,
    /// By participant: for how long answers may be shared.
    share_for: Vec<Option<Duration>>,
    parked: Vec<VecDeque<Call>>,
    /// Asked for, and on their way.
    coming: VecDeque<(Timestamp, Call)>,
    /// Inside the manager, which knows them by name only.
    waiting: HashMap<u32, Call>,
    expire_at: Timestamp,
    verdicts: Vec<Verdict>,
    wants: Vec<Wants>,
    /// Samples of other calls, for the mutant that mixes them.
    seen: Vec<Vec<Sample>>,
    /// Those that the manager has been told of.
    routes: BTreeSet<u32>,
}

impl Tidegate {
    pub(crate) fn new(setup: &ArmSetup, mutant: Mutant) -> Self {
        let mut manager = LoadManager::new();
        for (n, declared) in setup.participants.iter().enumerate() {
            let pinned_in_flight = match mutant {
                Mutant::None | Mutant::Still | Mutant::Shuffled | Mutant::Alone => None,
                Mutant::Frozen => Some(declared.initial_limit),
                Mutant::AlwaysMax => Some(declared.max_in_flight),
                Mutant::AlwaysMin => Some(1),
            };
            let spec = ParticipantSpec {
                name: format!("p{n}").into(),
                endpoints: declared.endpoints,
                max_in_flight: declared.max_in_flight,
                max_per_second: declared.max_per_second,
                min_in_flight: declared.min_in_flight,
                learn: Learn::On,
                initial_in_flight: Some(declared.initial_limit),
                pinned_in_flight,
            };
            manager.set_participant(n as u32, spec);
        }
        if mutant == Mutant::Still {
            manager.plant_no_dither();
        }
        Self {
            manager,
            node: setup.node,
            mutant,
            share_for: setup.participants.iter().map(|p| p.share_for).collect(),
            parked: vec![VecDeque::new(); setup.participants.len()],
            coming: VecDeque::new(),
            waiting: HashMap::new(),
            expire_at: Timestamp::ZERO,
            verdicts: Vec::new(),
            wants: Vec::new(),
            seen: vec![Vec::new(); setup.participants.len()],
            routes: BTreeSet::new(),
        }
    }

    /// What the transaction needs after this call, told to the manager the first time it is met.
    fn route(&mut self, cx: &Cx<'_>, call: &Call) -> u32 {
        if call.class == load::Class::Compensate {
            return 0;
        }
        let route = 1 + u32::from(call.definition) * 64 + u32::from(call.step).min(63);
        if self.routes.insert(route) {
            let all = &cx.definitions[usize::from(call.definition)].participants;
            let later: Vec<u32> = all.iter().skip(usize::from(call.step) + 1).map(|p| u32::from(*p)).collect();
            self.manager.set_route(route, &later);
        }
        route
    }

    fn offer(&mut self, cx: &mut Cx<'_>, call: &Call) {
        let released = Released {
            call: CallRef { worker: self.node, token: u64::from(call.id) },
            participant: u32::from(call.participant),
            priority: call.priority,
            deadline: call.deadline,
            class: call.class,
            progress: call.progress,
            operation: call.operation,
            flow: u32::from(call.definition) << 16 | u32::from(call.label),
            route: self.route(cx, call),
            ..Released::default()
        };
        let decision = match self.share_of(call) {
            None => self.manager.release(cx.now, released),
            Some(share) => self.manager.release_shared(cx.now, released, share),
        };
        match decision {
            Decision::Start { endpoint } => cx.acts.push(Act::Start { call: call.id, endpoint }),
            Decision::Answered { by, .. } => cx.acts.push(Act::Answer { call: call.id, from: by.token as u32 }),
            Decision::Queued => {
                self.waiting.insert(call.id, *call);
            }
            Decision::Park { .. } => self.park(call),
            Decision::Expired => cx.acts.push(Act::Expire(call.id)),
        }
    }

    /// As the engine: the first attempt may take another's answer, a repeat asks for itself.
    fn share_of(&self, call: &Call) -> Option<Share> {
        let max_age = self.share_for[usize::from(call.participant)].filter(|_| self.mutant != Mutant::Alone)?;
        Some(Share { identity: u128::from(call.key?), max_age, may_join: call.attempt == 1 })
    }

    fn park(&mut self, call: &Call) {
        let parked = &mut self.parked[usize::from(call.participant)];
        parked.push_back(*call);
        self.manager.set_parked(u32::from(call.participant), parked.len() as u64);
    }

    fn say(&mut self, cx: &mut Cx<'_>) {
        for verdict in std::mem::take(&mut self.verdicts) {
            let id = verdict.call().token as u32;
            let Some(call) = self.waiting.remove(&id) else { continue };
            match verdict {
                Verdict::Start { endpoint, .. } => cx.acts.push(Act::Start { call: id, endpoint }),
                Verdict::Park { .. } => self.park(&call),
                Verdict::Expired { .. } => cx.acts.push(Act::Expire(id)),
                Verdict::Answered { by, .. } => cx.acts.push(Act::Answer { call: id, from: by.token as u32 }),
            }
        }
    }

    /// Parked calls whose deadline has come are found by the engine's own timer, not by `load`.
    fn expire_parked(&mut self, cx: &mut Cx<'_>) {
        if cx.now < self.expire_at {
            return;
        }
        self.expire_at = cx.now.after(EXPIRE_EVERY);
        for (n, parked) in self.parked.iter_mut().enumerate() {
            let before = parked.len();
            parked.retain(|call| {
                if call.deadline <= cx.now {
                    cx.acts.push(Act::Expire(call.id));
                }
                call.deadline > cx.now
            });
            if parked.len() != before {
                self.manager.set_parked(n as u32, parked.len() as u64);
            }
        }
    }

    /// What the learner is told; the mutant is told of one of the first calls in its place.
    fn sample(&mut self, dice: &mut Dice, participant: u16, sample: Sample) -> Sample {
        if self.mutant != Mutant::Shuffled {
            return sample;
        }
        let seen = &mut self.seen[usize::from(participant)];
        if seen.len() < SHUFFLE_AMONG {
            seen.push(sample);
            return sample;
        }
        seen[dice.below(seen.len())]
    }
}

impl Arm for Tidegate {
    fn released(&mut self, cx: &mut Cx<'_>, call: &Call) {
        self.offer(cx, call);
    }

    fn ended(&mut self, cx: &mut Cx<'_>, call: &Call, ended: &Ended) {
        let evidence = match ended.outcome {
            Outcome::Done => Evidence::Done,
            Outcome::Refused => Evidence::Refused,
            Outcome::NotTaken { retry_after } => Evidence::NotTaken { retry_after },
            Outcome::Throttled { retry_after } => Evidence::Throttled { retry_after },
            Outcome::Failed | Outcome::TimedOut => Evidence::Unknown,
        };
        let sample = self.sample(cx.dice, call.participant, Sample { took: ended.rtt, evidence, ..Sample::default() });
        let name = CallRef { worker: self.node, token: u64::from(call.id) };
        // Only a yes is handed on: what another call's no would mean is not modelled.
        if ended.outcome == Outcome::Done && call.key.is_some() {
            self.manager.finish_shared(cx.now, name, sample, ANSWER_BYTES, &mut self.verdicts);
            self.manager.take_dropped();
        } else {
            self.manager.finish(cx.now, name, sample, &mut self.verdicts);
        }
        self.say(cx);
    }

    fn retry(&mut self, cx: &mut Cx<'_>, call: &Call, outcome: Option<Outcome>, counted: u16) -> Retry {
        let is_proof = matches!(outcome, Some(Outcome::NotTaken { .. } | Outcome::Throttled { .. }));
        let state = self.manager.report_state(u32::from(call.participant));
        if is_proof && matches!(state, Some(State::Held | State::Probing)) {
            // How long it waits then is the manager's business, not a backoff's.
            return Retry::Uncounted(Backoff::USUAL.wait(cx.dice, 1, None));
        }
        Backoff::USUAL.after(cx.dice, counted, outcome)
    }

    fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let manager = self.manager.next_wake(now);
        let coming = self.coming.front().map(|(at, _)| *at);
        let parked = self.parked.iter().any(|p| !p.is_empty()).then_some(self.expire_at);
        [manager, coming, parked].into_iter().flatten().min()
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        while self.coming.front().is_some_and(|(at, _)| *at <= cx.now)
            && let Some((_, call)) = self.coming.pop_front()
        {
            self.offer(cx, &call);
        }
        self.expire_parked(cx);
        self.manager.tick(cx.now, &mut self.verdicts, &mut self.wants);
        self.say(cx);
        for Wants { participant, count } in std::mem::take(&mut self.wants) {
            let parked = &mut self.parked[participant as usize];
            for _ in 0..count {
                let Some(call) = parked.pop_front() else { break };
                self.coming.push_back((cx.now.after(UNPARK), call));
            }
            self.manager.set_parked(participant, parked.len() as u64);
        }
    }

    fn limits(&self, now: Timestamp, out: &mut Vec<f64>) {
        out.extend(self.manager.report(now).iter().map(|p| f64::from(p.limit)));
    }
}
