//! The load manager under a hostile caller: any order of releases, ends, withdrawals, pauses and ticks, with times
//! that jump both ways and durations up to the largest. What is counted here beside it must agree:
//!
//! LD-1 no more calls under way than the declared most; LD-2 none starts at or after its deadline; every released call
//! ends in exactly one of started, parked, withdrawn, expired, answered; an answer is given to equal reads that may
//! take it, as old as they allow and kept by then; what waits in memory is bounded; and nothing panics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use load::{
    BACKLOG_CALLS_MAX, CallRef, Class, Decision, Evidence, Learn, LoadManager, ParticipantSpec, Quota, Released,
    Sample, Share, Verdict, Which, Withdraw,
};
use model::Timestamp;

const PARTICIPANTS: u32 = 3;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let mut world = World::default();
    // Running out of choices is the end of the story.
    let _ = world.live(&mut choices);
    world.close();
}

#[derive(Default)]
struct World {
    load: LoadManager,
    now: u64,
    /// The declared most of each participant, and the highest it ever was: a lower one holds for starts only.
    most: BTreeMap<u32, u32>,
    waiting: BTreeMap<CallRef, Released>,
    flying: BTreeMap<CallRef, u32>,
    /// Reads that may be shared, as they were last released.
    reads: BTreeMap<CallRef, Share>,
    kept: BTreeSet<CallRef>,
    next: u64,
}

impl World {
    fn live(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        self.now = choices.arbitrary::<u64>()? >> choices.int_in_range(0..=40)?;
        for index in 0..PARTICIPANTS {
            self.declare(index, choices)?;
        }
        while !choices.is_empty() {
            self.step(choices)?;
        }
        Ok(())
    }

    fn declare(&mut self, index: u32, choices: &mut Unstructured<'_>) -> Result<()> {
        let max_in_flight = choices.int_in_range(0..=9)?;
        let spec = ParticipantSpec {
            name: "billing".into(),
            endpoints: choices.int_in_range(0..=4)?,
            max_in_flight,
            max_per_second: maybe(choices)?,
            min_in_flight: maybe(choices)?,
            learn: *choices.choose(&[Learn::On, Learn::Observe, Learn::Off])?,
            initial_in_flight: maybe(choices)?,
            pinned_in_flight: maybe(choices)?,
        };
        self.load.set_participant(index, spec);
        self.most.insert(index, max_in_flight.max(1));
        Ok(())
    }

    fn step(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let mut out = Vec::new();
        match choices.int_in_range(0..=19_u8)? {
            0..=6 => self.release(choices)?,
            7..=11 => {
                let call = self.any_call(choices)?;
                let quota = if choices.ratio(1_u8, 8)? {
                    Some(Quota { remaining: choices.arbitrary()?, reset_after: duration(choices)? })
                } else {
                    None
                };
                let sample = Sample { took: duration(choices)?, evidence: evidence(choices)?, quota };
                let flew = self.flying.remove(&call).is_some();
                if flew && self.reads.contains_key(&call) && choices.arbitrary()? {
                    let bytes = choices.int_in_range(0..=100_000)?;
                    if self.load.finish_shared(self.at(), call, sample, bytes, &mut out) {
                        self.kept.insert(call);
                    }
                } else {
                    self.load.finish(self.at(), call, sample, &mut out);
                }
            }
            12 => {
                let call = self.any_call(choices)?;
                let waited = self.waiting.remove(&call).is_some();
                let flies = self.flying.contains_key(&call);
                let said = self.load.withdraw(call);
                let want = match (waited, flies) {
                    (true, _) => Withdraw::Withdrawn,
                    (false, true) => Withdraw::InFlight,
                    (false, false) => Withdraw::Unheard,
                };
                assert_eq!(said, want, "{call:?}");
            }
            13 | 14 => {
                let mut wants = Vec::new();
                self.load.tick(self.at(), &mut out, &mut wants);
                assert!(wants.iter().all(|w| w.count > 0 && w.participant < PARTICIPANTS), "{wants:?}");
            }
            15 => {
                // Mostly small steps onwards; sometimes anywhere.
                let by = choices.arbitrary::<u64>()?;
                self.now = match choices.int_in_range(0..=9_u8)? {
                    0 => by,
                    1 => self.now.saturating_sub(by >> 40),
                    _ => self.now.saturating_add(by >> 42),
                };
            }
            16 => {
                let which = which(choices)?;
                if choices.arbitrary()? { self.load.pause(which, &mut out) } else { self.load.resume(which) }
            }
            17 => {
                let index = choices.int_in_range(0..=PARTICIPANTS - 1)?;
                self.declare(index, choices)?;
            }
            18 => self.load.set_parked(choices.int_in_range(0..=PARTICIPANTS)?, choices.arbitrary()?),
            _ => self.load.new_epoch(),
        }
        self.hear(&out);
        for dropped in self.load.take_dropped() {
            assert!(self.kept.remove(&dropped), "{dropped:?} was never kept, or was dropped before");
        }
        self.look();
        Ok(())
    }

    fn release(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        self.next += 1;
        let again = choices.ratio(1_u8, 20)?;
        let call =
            if again { self.any_call(choices)? } else { CallRef { worker: (self.next % 3) as u16, token: self.next } };
        let here = self.waiting.contains_key(&call) || self.flying.contains_key(&call);
        let deadline = match choices.int_in_range(0..=3_u8)? {
            0 => choices.arbitrary()?,
            1 => self.now.saturating_add(choices.arbitrary::<u64>()? >> 40),
            _ => u64::MAX,
        };
        let released = Released {
            call,
            participant: choices.int_in_range(0..=PARTICIPANTS)?,
            pinned_endpoint: if choices.ratio(1_u8, 4)? { Some(choices.int_in_range(0..=5)?) } else { None },
            priority: choices.arbitrary()?,
            deadline: Timestamp(deadline),
            class: *choices.choose(&[Class::First, Class::Retry, Class::Compensate, Class::AfterPivot])?,
            progress: choices.arbitrary()?,
            operation: choices.int_in_range(0..=3)?,
            flow: choices.int_in_range(0..=3)?,
            route: choices.int_in_range(0..=3)?,
        };
        let decision = if choices.ratio(1_u8, 4)? {
            // Equal only at one participant.
            let identity = u128::from(released.participant) << 8 | choices.int_in_range(0..=2_u128)?;
            let share = Share { identity, max_age: duration(choices)?, may_join: choices.arbitrary()? };
            if !here {
                self.reads.insert(call, share);
            }
            self.load.release_shared(self.at(), released, share)
        } else {
            if !here {
                self.reads.remove(&call);
            }
            self.load.release(self.at(), released)
        };
        match decision {
            Decision::Queued if here => {}
            _ if here && released.participant >= PARTICIPANTS => {}
            _ if here => panic!("{call:?} is here already, and it said {decision:?}"),
            Decision::Start { endpoint } => self.started(&released, endpoint),
            Decision::Queued => assert_eq!(self.waiting.insert(call, released), None),
            Decision::Park { .. } => {}
            Decision::Expired => self.expired(&released),
            Decision::Answered { by, age } => {
                assert!(self.kept.contains(&by), "{call:?} is to take the answer of {by:?}, which is not kept");
                self.answered(call, by, age);
            }
        }
        Ok(())
    }

    /// Also before its deadline, where it could not be done in time: but never if it has none before the end of time.
    fn expired(&self, released: &Released) {
        assert!(released.deadline != Timestamp::NEVER || self.at() == Timestamp::NEVER, "{released:?} at {}", self.now);
    }

    fn answered(&self, call: CallRef, by: CallRef, age: Duration) {
        let (Some(asked), Some(gave)) = (self.reads.get(&call), self.reads.get(&by)) else {
            panic!("{call:?} was answered by {by:?}, and they are not both reads that may be shared")
        };
        assert!(asked.may_join, "{call:?} may take nobody's answer");
        assert_eq!(asked.identity, gave.identity, "{call:?} was answered by {by:?}, which asked something else");
        assert!(age <= asked.max_age, "{call:?} allows {:?}, and was told {age:?}", asked.max_age);
    }

    fn started(&mut self, released: &Released, endpoint: u16) {
        assert!(self.at() < released.deadline, "LD-2: {released:?} started at {}", self.now);
        assert!(released.pinned_endpoint.is_none_or(|pinned| pinned == endpoint), "{released:?} went to {endpoint}");
        assert_eq!(self.flying.insert(released.call, released.participant), None);
        let under_way = self.flying.values().filter(|p| **p == released.participant).count();
        let most = self.most.get(&released.participant).copied().unwrap_or(0);
        assert!(under_way <= most as usize, "LD-1: {under_way} under way, {most} declared");
    }

    fn hear(&mut self, out: &[Verdict]) {
        for verdict in out {
            let call = verdict.call();
            let Some(released) = self.waiting.remove(&call) else { panic!("{verdict:?} on a call that does not wait") };
            match *verdict {
                Verdict::Start { endpoint, participant, .. } => {
                    assert_eq!(participant, released.participant);
                    self.started(&released, endpoint);
                }
                Verdict::Park { .. } => {}
                Verdict::Expired { .. } => self.expired(&released),
                Verdict::Answered { by, age, .. } => self.answered(call, by, age),
            }
        }
    }

    fn look(&self) {
        for index in 0..PARTICIPANTS {
            let under_way = self.flying.values().filter(|p| **p == index).count();
            assert_eq!(self.load.in_flight(index) as usize, under_way);
            let waiting = self.waiting.values().filter(|w| w.participant == index).count();
            assert!(waiting <= BACKLOG_CALLS_MAX);
            let _ = (self.load.would_park(index), self.load.report_state(index));
        }
        let _ = self.load.next_wake(self.at());
        let (answers, bytes) = self.load.kept();
        assert!(answers <= 4_096 && bytes <= 16 << 20 && self.load.joined() <= self.waiting.len());
        if self.next.is_multiple_of(16) {
            let _ = self.load.report(self.at());
        }
    }

    /// Nothing starts any more and everything under way ends: then nothing that waits is left behind.
    fn close(&mut self) {
        let mut out = Vec::new();
        self.load.pause(Which::All, &mut out);
        self.hear(&out);
        for call in self.flying.keys().copied().collect::<Vec<_>>() {
            let mut out = Vec::new();
            self.flying.remove(&call);
            let sample = Sample { took: Duration::from_millis(5), ..Sample::default() };
            self.load.finish(self.at(), call, sample, &mut out);
            self.hear(&out);
        }
        // Those that waited for the answers of what was parked ask again, and hear it too.
        let mut out = Vec::new();
        self.load.tick(self.at(), &mut out, &mut Vec::new());
        self.hear(&out);
        assert!(self.flying.is_empty(), "started while all is paused: {:?}", self.flying);
        assert!(self.waiting.is_empty(), "left behind: {:?}", self.waiting);
    }

    fn any_call(&self, choices: &mut Unstructured<'_>) -> Result<CallRef> {
        let known = self.flying.len() + self.waiting.len();
        if known == 0 || choices.ratio(1_u8, 20)? {
            return Ok(CallRef { worker: choices.arbitrary()?, token: choices.arbitrary()? });
        }
        let at = choices.int_in_range(0..=known - 1)?;
        let call = self.flying.keys().chain(self.waiting.keys()).nth(at);
        Ok(*call.expect("one of them"))
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now)
    }
}

/// Nothing, a small number or any.
fn maybe(choices: &mut Unstructured<'_>) -> Result<Option<u32>> {
    Ok(match choices.int_in_range(0..=3_u8)? {
        0 | 1 => None,
        2 => Some(choices.int_in_range(0..=12)?),
        _ => Some(choices.arbitrary()?),
    })
}

fn duration(choices: &mut Unstructured<'_>) -> Result<Duration> {
    Ok(match choices.int_in_range(0..=9_u8)? {
        0 => Duration::MAX,
        1 => Duration::ZERO,
        _ => Duration::from_micros(choices.arbitrary::<u64>()? >> 36),
    })
}

fn evidence(choices: &mut Unstructured<'_>) -> Result<Evidence> {
    Ok(match choices.int_in_range(0..=10_u8)? {
        0..=3 => Evidence::Done,
        4 => Evidence::Refused,
        5 => Evidence::NotTaken { retry_after: None },
        6 => Evidence::NotTaken { retry_after: Some(duration(choices)?) },
        7 => Evidence::Unauthorized,
        8 => Evidence::Throttled { retry_after: Some(duration(choices)?) },
        9 => Evidence::Unknown,
        _ => Evidence::Cancelled,
    })
}

fn which(choices: &mut Unstructured<'_>) -> Result<Which> {
    Ok(if choices.ratio(1_u8, 3)? { Which::All } else { Which::One(choices.int_in_range(0..=PARTICIPANTS)?) })
}
