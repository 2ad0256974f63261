//! How a participant stands, in words for people.

use compact_str::CompactString;
use model::Timestamp;

use crate::health::Why;
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
            limit: if participant.hold.is_some() { participant.spec.max_in_flight } else { participant.limit() },
            in_flight: participant.in_flight,
            backlog: participant.backlog.len() as u64,
            parked: participant.parked,
            done_per_s: participant.throughput.per_second(now),
            p99_ms: participant.throughput.p99_ms(),
            alert: needs_a_person.then(|| why.clone()),
            why,
        }
    }
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
    if participant.limit() < participant.spec.max_in_flight {
        parts.push(format!("opening: {} of {}", participant.limit(), participant.spec.max_in_flight));
    }
    if let Some((count, longest)) = participant.endpoints.left_out(now) {
        let of = participant.endpoints.count();
        parts.push(format!("{count} of {of} endpoints take no calls, for {} s", longest.as_secs()));
    }
    parts.join("; ")
}
