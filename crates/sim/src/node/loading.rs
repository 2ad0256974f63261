//! The load manager, or one that decides by dice: whatever it says, what must happen may not change (SEMANTICS 27).

use std::collections::VecDeque;

use load::{
    CallRef, Decision, Learn, LoadManager, ParkReason, ParticipantSpec, Released, Sample, Share, Verdict, Wants, Which,
    Withdraw,
};
use model::Timestamp;
use plan::Participant;

use crate::fixed::{Map, Rng};

/// See the head of this file.
pub(crate) enum Loader {
    Real(LoadManager),
    Lying(Liar),
}

/// Starts, queues, parks and asks again by dice; it only keeps the limits, and deadlines.
pub(crate) struct Liar {
    rng: Rng,
    limits: Vec<u32>,
    endpoints: Vec<u16>,
    in_flight: Vec<u32>,
    under_way: Map<CallRef, u32>,
    waiting: VecDeque<Released>,
    parked: Vec<u64>,
    next_at: Timestamp,
    /// Calls that were not taken, one after the other: it has that much sense.
    refused: u32,
}

impl Loader {
    pub(crate) fn new(participants: &[Participant], learns: bool, lies: Option<Rng>) -> Self {
        let mut loader = match lies {
            None => Self::Real(LoadManager::new()),
            Some(rng) => Self::Lying(Liar {
                rng,
                limits: Vec::new(),
                endpoints: Vec::new(),
                in_flight: vec![0; participants.len()],
                under_way: Map::default(),
                waiting: VecDeque::new(),
                parked: vec![0; participants.len()],
                next_at: Timestamp::NEVER,
                refused: 0,
            }),
        };
        loader.set(participants, learns);
        loader
    }

    /// Takes over what is declared.
    pub(crate) fn set(&mut self, participants: &[Participant], learns: bool) {
        match self {
            Self::Real(load) => {
                for (place, participant) in participants.iter().enumerate() {
                    load.set_participant(
                        place as u32,
                        ParticipantSpec {
                            name: participant.name.clone(),
                            endpoints: participant.endpoints.len() as u16,
                            max_in_flight: participant.limits.max_in_flight,
                            max_per_second: participant.limits.max_per_second,
                            learn: if learns { Learn::On } else { Learn::Off },
                            ..ParticipantSpec::default()
                        },
                    );
                }
            }
            Self::Lying(liar) => {
                liar.limits = participants.iter().map(|p| p.limits.max_in_flight).collect();
                liar.endpoints = participants.iter().map(|p| p.endpoints.len() as u16).collect();
            }
        }
    }

    pub(crate) fn new_epoch(&mut self) {
        if let Self::Real(load) = self {
            load.new_epoch();
        }
    }

    pub(crate) fn release(&mut self, now: Timestamp, released: Released) -> Decision {
        match self {
            Self::Real(load) => load.release(now, released),
            Self::Lying(liar) => liar.release(now, released),
        }
    }

    /// The liar shares nothing.
    pub(crate) fn release_shared(&mut self, now: Timestamp, released: Released, share: Share) -> Decision {
        match self {
            Self::Real(load) => load.release_shared(now, released, share),
            Self::Lying(liar) => liar.release(now, released),
        }
    }

    pub(crate) fn finish_shared(
        &mut self,
        now: Timestamp,
        call: CallRef,
        sample: Sample,
        bytes: usize,
        out: &mut Vec<Verdict>,
    ) -> bool {
        if let Self::Real(load) = self {
            return load.finish_shared(now, call, sample, bytes, out);
        }
        self.finish(now, call, sample, out);
        false
    }

    pub(crate) fn take_dropped(&mut self) -> Vec<CallRef> {
        match self {
            Self::Real(load) => load.take_dropped().collect(),
            Self::Lying(_) => Vec::new(),
        }
    }

    pub(crate) fn finish(&mut self, now: Timestamp, call: CallRef, sample: Sample, out: &mut Vec<Verdict>) {
        match self {
            Self::Real(load) => load.finish(now, call, sample, out),
            Self::Lying(liar) => {
                if let Some(participant) = liar.under_way.remove(&call) {
                    liar.in_flight[participant as usize] -= 1;
                }
                let is_taken =
                    !matches!(sample.evidence, load::Evidence::NotTaken { .. } | load::Evidence::Unauthorized);
                liar.refused = if is_taken { 0 } else { (liar.refused + 1).min(20) };
                liar.tick(now, out);
            }
        }
    }

    pub(crate) fn withdraw(&mut self, call: CallRef) -> Withdraw {
        match self {
            Self::Real(load) => load.withdraw(call),
            Self::Lying(liar) => match liar.waiting.iter().position(|r| r.call == call) {
                Some(place) => {
                    liar.waiting.remove(place);
                    Withdraw::Withdrawn
                }
                None if liar.under_way.contains_key(&call) => Withdraw::InFlight,
                None => Withdraw::Unheard,
            },
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp, out: &mut Vec<Verdict>, wants: &mut Vec<Wants>) {
        match self {
            Self::Real(load) => load.tick(now, out, wants),
            Self::Lying(liar) => {
                liar.tick(now, out);
                liar.want(now, wants);
            }
        }
    }

    pub(crate) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Real(load) => load.next_wake(now),
            Self::Lying(liar) => (liar.next_at != Timestamp::NEVER).then_some(liar.next_at),
        }
    }

    pub(crate) fn set_parked(&mut self, participant: u32, count: u64, now: Timestamp) {
        match self {
            Self::Real(load) => load.set_parked(participant, count),
            Self::Lying(liar) => {
                liar.parked[participant as usize] = count;
                liar.plan(now);
            }
        }
    }

    pub(crate) fn pause(&mut self, participant: u32, out: &mut Vec<Verdict>) {
        if let Self::Real(load) = self {
            load.pause(Which::One(participant), out);
        }
    }

    pub(crate) fn resume(&mut self, participant: u32) {
        if let Self::Real(load) = self {
            load.resume(Which::One(participant));
        }
    }

    pub(crate) fn would_park(&mut self, participant: u32) -> bool {
        match self {
            Self::Real(load) => load.would_park(participant),
            Self::Lying(liar) => liar.rng.chance(1, 10),
        }
    }

    pub(crate) fn in_flight(&self, participant: u32) -> u32 {
        match self {
            Self::Real(load) => load.in_flight(participant),
            Self::Lying(liar) => liar.in_flight[participant as usize],
        }
    }

    /// The largest backlog of a participant, and of one that is held.
    pub(crate) fn backlogs_max(&self, now: Timestamp) -> (u64, u64) {
        use load::State::{DoesNotKnowUs, Held, Probing};
        let load = match self {
            Self::Real(load) => load,
            Self::Lying(liar) => return (liar.waiting.len() as u64, 0),
        };
        load.report(now).iter().fold((0, 0), |(all, held), report| {
            let is_held = matches!(report.state, Held | Probing | DoesNotKnowUs);
            (report.backlog.max(all), if is_held { report.backlog.max(held) } else { held })
        })
    }
}

impl Liar {
    fn plan(&mut self, now: Timestamp) {
        if self.waiting.is_empty() && self.parked.iter().all(|n| *n == 0) {
            self.next_at = Timestamp::NEVER;
        } else if self.next_at <= now || self.next_at == Timestamp::NEVER {
            self.next_at = Timestamp(now.0 + 1 + self.rng.below(20_000 << self.refused));
        }
    }

    fn start(&mut self, released: &Released) -> Option<u16> {
        let participant = released.participant as usize;
        if self.in_flight[participant] >= self.limits[participant] {
            return None;
        }
        self.in_flight[participant] += 1;
        self.under_way.insert(released.call, released.participant);
        Some(released.pinned_endpoint.unwrap_or_else(|| self.rng.below(u64::from(self.endpoints[participant])) as u16))
    }

    fn release(&mut self, now: Timestamp, released: Released) -> Decision {
        if released.deadline <= now {
            return Decision::Expired;
        }
        let decision = match self.rng.below(6) {
            0 => Decision::Park { reason: ParkReason::Held },
            1 | 2 => Decision::Queued,
            _ => match self.start(&released) {
                Some(endpoint) => Decision::Start { endpoint },
                None => Decision::Queued,
            },
        };
        if decision == Decision::Queued {
            self.waiting.push_back(released);
        }
        self.plan(now);
        decision
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Verdict>) {
        for _ in 0..self.waiting.len() {
            let place = self.rng.below(self.waiting.len() as u64) as usize;
            let Some(released) = self.waiting.remove(place) else { break };
            let Released { call, participant, .. } = released;
            if released.deadline <= now {
                out.push(Verdict::Expired { call, participant });
                continue;
            }
            match self.rng.below(4) {
                0 => out.push(Verdict::Park { call, participant, reason: ParkReason::BacklogFull }),
                1 => self.waiting.push_back(released),
                _ => match self.start(&released) {
                    Some(endpoint) => out.push(Verdict::Start { call, participant, endpoint }),
                    None => self.waiting.push_back(released),
                },
            }
        }
        self.plan(now);
    }

    fn want(&mut self, now: Timestamp, wants: &mut Vec<Wants>) {
        for participant in 0..self.parked.len() {
            if self.parked[participant] > 0 && self.rng.chance(1, 2) {
                let count = self.rng.between(1, 8) as u32;
                wants.push(Wants { participant: participant as u32, count });
            }
        }
        self.plan(now);
    }
}
