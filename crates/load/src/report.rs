//! How a participant stands, in words for people.

use compact_str::CompactString;
use model::Timestamp;

use crate::call::Learn;
use crate::health::Why;
use crate::knee::What;
use crate::learner::ChangePoint;
use crate::participant::Participant;

/// One line of `tidegate participants`.
#[derive(Clone, PartialEq, Debug)]
pub struct ParticipantReport {
    pub participant: u32,
    pub name: CompactString,
    pub state: State,
    /// Calls at once, as of now.
    pub limit: u32,
    pub in_flight: u32,
    /// Waiting in memory.
    pub backlog: u64,
    /// As last told.
    pub parked: u64,
    pub done_per_s: f64,
    /// `None` without calls in the last ten to twenty seconds.
    pub p99_ms: Option<f64>,
    /// Empty if there is nothing to say.
    pub why: String,
    /// A person should look: why.
    pub alert: Option<String>,
    /// First calls that wait because this participant, which their transactions need later, has enough to do.
    pub gated: u64,
    pub learn: Learn,
    /// A person has fixed the limit.
    pub is_pinned: bool,
    /// Where limits are learned or observed.
    pub learned: Option<Learned>,
    /// Why the limit is where it is, in words and numbers.
    pub explain: String,
}

/// What is believed about a participant, all endpoints together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Learned {
    /// The limit that the learner has, or would have.
    pub limit: f64,
    /// Calls per second that it can take; `None` while its limit was never what held calls back.
    pub capacity_per_s: Option<f64>,
    /// What a call takes when nothing waits over there.
    pub latency_ms: Option<f64>,
    /// Calls at once from where on more do not help: nine of ten times between these.
    pub knee: Option<(f64, f64)>,
    /// What it takes per second before it refuses.
    pub quota_per_s: Option<f64>,
    /// When it last changed.
    pub changed_at: Option<Timestamp>,
    /// Windows that taught something.
    pub looks: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Admitting.
    Well,
    /// It gets no calls until the next probe.
    Held,
    /// One call is under way to see how it is.
    Probing,
    Paused,
    /// It answers 401 or 407.
    DoesNotKnowUs,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Held => "held",
            Self::Probing => "probing",
            Self::Paused => "paused",
            Self::DoesNotKnowUs => "does not know us",
        }
    }
}

impl ParticipantReport {
    pub(crate) fn of(index: u32, participant: &Participant, all_paused: bool, now: Timestamp) -> Self {
        let state = match &participant.hold {
            _ if all_paused || participant.is_paused => State::Paused,
            Some(hold) if hold.why == Why::Unauthorized => State::DoesNotKnowUs,
            Some(hold) if hold.probe.is_some() => State::Probing,
            Some(_) => State::Held,
            None => State::Well,
        };
        let why = why(participant, state, all_paused, now);
        let needs_a_person =
            participant.hold.as_ref().is_some_and(|hold| matches!(hold.why, Why::Unauthorized | Why::Refuses { .. }));
        Self {
            participant: index,
            name: participant.spec.name.clone(),
            state,
            limit: participant.limit(),
            in_flight: participant.in_flight,
            backlog: participant.backlog.len() as u64,
            parked: participant.parked,
            done_per_s: participant.throughput.per_second(now),
            p99_ms: participant.throughput.p99_ms(),
            alert: needs_a_person.then(|| why.clone()),
            why,
            gated: participant.gate.len() as u64,
            learn: participant.spec.learn,
            is_pinned: participant.spec.pinned_in_flight.is_some(),
            learned: learned(participant, now),
            explain: explain(participant, state, now),
        }
    }
}

fn learned(participant: &Participant, now: Timestamp) -> Option<Learned> {
    let learners: Vec<_> = participant.endpoints.all().iter().filter_map(|e| e.learner.as_ref()).collect();
    if learners.is_empty() {
        return None;
    }
    let beliefs: Vec<_> = learners.iter().filter_map(|l| l.belief()).collect();
    let all_known = !beliefs.is_empty() && beliefs.len() == learners.len();
    let low_high =
        |side: f64| beliefs.iter().map(|b| b.knee * crate::math::exp(side * 1.645 * b.deviation)).sum::<f64>();
    Some(Learned {
        limit: learners.iter().map(|l| l.level()).sum(),
        capacity_per_s: all_known.then(|| beliefs.iter().map(|b| b.capacity).sum()),
        latency_ms: all_known.then(|| beliefs.iter().map(|b| b.latency).sum::<f64>() / beliefs.len() as f64 * 1e3),
        knee: all_known.then(|| (low_high(-1.0), low_high(1.0))),
        quota_per_s: quota(participant, now),
        changed_at: last_change(participant).map(|change| change.at),
        looks: learners.iter().map(|l| l.looks).sum(),
    })
}

fn last_change(participant: &Participant) -> Option<ChangePoint> {
    let changes = participant.endpoints.all().iter().filter_map(|e| e.learner.as_ref()?.change);
    changes.max_by_key(|change| change.at)
}

/// What it takes a second before it refuses. Where it refuses so many at once, the pace only spreads the starts.
fn quota(participant: &Participant, now: Timestamp) -> Option<f64> {
    participant.quota.rate(now).filter(|_| room(participant).is_none())
}

/// What it takes at once before it refuses, where every endpoint that takes calls has such a bound.
fn room(participant: &Participant) -> Option<u32> {
    if !participant.is_learning() {
        return None;
    }
    let up = participant.endpoints.all().iter().filter(|e| e.hold.is_none());
    up.map(|e| e.room.limit()).try_fold(0, |sum: u32, room| Some(sum.saturating_add(room?))).filter(|room| *room > 0)
}

/// Which constraint holds calls back now, and what is known about it.
fn explain(participant: &Participant, state: State, now: Timestamp) -> String {
    let mut parts = Vec::new();
    let (limit, most) = (participant.limit(), participant.spec.max_in_flight.max(1));
    let waits = (participant.backlog.len() as u64).saturating_add(participant.parked);
    let quota = quota(participant, now);
    let is_full = participant.in_flight >= limit;
    parts.push(match state {
        State::Paused => "no calls: it is paused".to_owned(),
        State::Held | State::Probing | State::DoesNotKnowUs => "no calls but probes: it is held".to_owned(),
        State::Well if waits == 0 => "nothing waits".to_owned(),
        State::Well if is_full && participant.spec.pinned_in_flight.is_some() => {
            format!("held back by the limit of {limit}, pinned by a person")
        }
        State::Well if is_full && limit >= most => format!("held back by max_in_flight {most}"),
        State::Well if is_full && participant.is_opening() => format!("held back by the ramp, at {limit}"),
        State::Well if is_full && room(participant) == Some(limit) => {
            format!("held back by what it takes at once, {limit}")
        }
        State::Well if is_full => format!("held back by the learned limit of {limit}"),
        State::Well if participant.quota.next(now) > now => match quota {
            Some(rate) => format!("held back by its quota, about {rate:.1}/s"),
            None => "held back so that starts do not come in bursts".to_owned(),
        },
        State::Well => match participant.spec.max_per_second {
            Some(per_second) => format!("held back by max_per_second {per_second}"),
            None => "about to start".to_owned(),
        },
    });
    if let Some(known) = learned(participant, now) {
        match (known.capacity_per_s, known.latency_ms, known.knee) {
            (Some(capacity), Some(latency), Some((low, high))) => parts.push(format!(
                "it does about {capacity:.0}/s at {latency:.1} ms, more than {low:.0} to {high:.0} at once do not help"
            )),
            _ => parts.push("its limit was never reached, so nothing is known about it".to_owned()),
        }
        if participant.spec.learn == Learn::Observe {
            parts.push(format!("only observed: the learner would allow {:.0}", known.limit));
        }
        if let Some(rate) = quota {
            parts.push(format!("it refuses more than about {rate:.1}/s"));
        }
        if let Some(room) = room(participant) {
            parts.push(format!("it refuses more than {room} at once"));
        }
        if let Some(change) = last_change(participant) {
            let what = match change.what {
                What::Capacity => "its capacity changed",
                What::Latency => "its latency changed",
            };
            let ago = now.since(change.at).as_secs();
            parts.push(format!("{what} {ago} s ago, when the limit was {}", change.from));
        }
    }
    if !participant.gate.is_empty() {
        parts.push(format!("{} transactions wait for it before their first call", participant.gate.len()));
    }
    parts.join("; ")
}

fn why(participant: &Participant, state: State, all_paused: bool, now: Timestamp) -> String {
    if state == State::Paused {
        return if all_paused { "all outgoing calls are paused".into() } else { "paused by an operator".into() };
    }
    if let Some(hold) = &participant.hold {
        let cause = match hold.why {
            Why::NotTaken => format!("{} calls not taken", participant.not_taken),
            Why::Unauthorized => "it answers 401 or 407: our credentials are not good there".into(),
            Why::Unanswered => "most of its last calls were not answered".into(),
            Why::Refuses { of_64, usual_permille } => format!(
                "refused {of_64} of its last 64 calls, usually {}.{} %: held before more is aborted; resume it if that is right",
                usual_permille / 10,
                usual_permille % 10
            ),
        };
        let seconds = |us: u64| format!("{}.{} s", us / 1_000_000, us / 100_000 % 10);
        let next = match hold.probe {
            Some(_) => "a probe is under way".into(),
            None => format!("next probe in {}", seconds(hold.probe_at.0.saturating_sub(now.0))),
        };
        let backoff = u64::try_from(hold.backoff().as_micros()).unwrap_or(u64::MAX);
        return format!("{cause}; 1 probe each {}, {next}", seconds(backoff));
    }
    let mut parts = Vec::new();
    if participant.is_opening() {
        parts.push(format!("opening: {} of {}", participant.limit(), participant.spec.max_in_flight));
    }
    if let Some((count, longest)) = participant.endpoints.left_out(now) {
        let of = participant.endpoints.count();
        parts.push(format!("{count} of {of} endpoints take no calls, for {} s", longest.as_secs()));
    }
    parts.join("; ")
}
