//! What a participant answers: any status, headers and body become evidence, and the evidence a verdict by the table
//! of the language (a rule of `participants.yaml` first). The table stands here a second time, written from the
//! manual and not from the code: an answer that may have been executed must never be called proof of the opposite.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connectors::{Body, Reply, reply_of};
use definition::{Checked, Known, SourceFile, check};
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::status::StatusCode;
use model::{Outcome, PartitionId, Timestamp};
use partition::plans::Plans;
use partition::{Begin, Command, Effect, EntryKind, Evidence, Leader, Move, Partition, Sample, Surroundings, evidence};
use plan::{Participant, Saga};

const BODY_BYTES_MAX: usize = 1_024;

/// Two bytes of status, one that says how the body is cut, then headers up to a zero byte, then the body.
pub(crate) fn run(data: &[u8]) {
    let Some(([low, high, cut], rest)) = data.split_first_chunk::<3>() else { return };
    let status = 100 + u16::from_le_bytes([*low, *high]) % 900;
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let (heads, body) = rest.split_at(rest.iter().position(|b| *b == 0).unwrap_or(rest.len()));
    let body = body.get(1..).unwrap_or_default();
    let head = headers(heads);
    let pieces = body.chunks(usize::from(*cut) + 1).map(Bytes::copy_from_slice);
    let reply = reply_of(status, &head, &[HeaderName::from_static("x-trace")], pieces, BODY_BYTES_MAX);
    let Reply::Answered { status: seen, retry_after, body: found, .. } = reply else {
        panic!("an answer is an answer: {reply:?}");
    };
    assert_eq!(seen, status.as_u16());
    assert!(retry_after.is_none_or(|wait| wait <= Duration::from_secs(24 * 3_600)));
    assert!(retry_after.is_none() || head.contains_key(RETRY_AFTER));
    let body = match found {
        Body::Empty => {
            assert!(body.is_empty());
            evidence::Body::Empty
        }
        Body::Json(value) => {
            assert_eq!(model::json::parse(body).as_ref(), Ok(&value));
            evidence::Body::Json(value)
        }
        Body::Unusable { detail, .. } => {
            assert!(detail.len() <= 256, "a detail is short: {detail}");
            evidence::Body::Unusable(detail)
        }
    };
    let outcome =
        judged(Evidence::Answered { status: seen, has_retry_after: retry_after.is_some(), body: body.clone() });
    assert_eq!(outcome, by_the_manual(seen, retry_after.is_some()), "{seen} {retry_after:?} {body:?}");
}

/// LANGUAGE, "What an answer means", and the one rule of `payments`.
fn by_the_manual(status: u16, has_retry_after: bool) -> Outcome {
    match status {
        402 => Outcome::Refused,
        200..=299 => Outcome::Done,
        429 | 401 | 407 => Outcome::Failed,
        503 if has_retry_after => Outcome::Failed,
        408 | 425 => Outcome::Unknown,
        300..=499 => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (place, line) in text.split(|b| *b == b'\n').take(4).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(line.trim_ascii()) {
            let name = if place == 0 { RETRY_AFTER } else { HeaderName::from_static("x-trace") };
            headers.append(name, value);
        }
    }
    headers
}

/// The verdict of the state machine on the first attempt of a top-up's charge.
fn judged(evidence: Evidence) -> Outcome {
    thread_local! {
        static KNOWN: (Plans, Vec<Participant>) = known();
    }
    KNOWN.with(|(plans, participants)| {
        let around = Around(participants);
        let now = Timestamp::from_millis(1_795_000_000_000);
        let mut leader = Leader::new(Partition::new(PartitionId(5)));
        leader.open_epoch(1, 1, now).expect("an epoch");
        // As if an entry had brought it: decoding it anew for every input would be all that is measured.
        leader.partition.plans = plans.clone();
        let begin = Begin {
            plan: 0,
            idempotency_key: "k1".into(),
            submission_digest: 1,
            key: Some("subscriber/491701234567".into()),
            input: Arc::new(model::json::parse(INPUT.as_bytes()).expect("JSON")),
            deadline: Timestamp::NEVER,
            priority: 1,
            traceparent: "".into(),
        };
        let mut effects = Vec::new();
        leader.propose(Command::Begin(Box::new(begin)), now, &around, &mut effects).expect("it begins");
        let call = effects.iter().find_map(|effect| match effect {
            Effect::Call(call) => Some(call.call),
            _ => None,
        });
        let call = call.expect("the first step is called");
        let sample = Sample { endpoint: 0, started_at: now, took: Duration::from_millis(3), evidence, shared: None };
        effects.clear();
        let entry = leader.propose(Command::Answered { call, sample }, now, &around, &mut effects);
        let EntryKind::Moves { moves, .. } = entry.expect("an answer is heard").kind else { panic!("verdicts") };
        let answered = moves.iter().find_map(|verdict| match verdict {
            Move::Answer { attempt, .. } => Some(attempt.outcome),
            _ => None,
        });
        answered.expect("the attempt is recorded")
    })
}

struct Around<'p>(&'p [Participant]);

impl Surroundings for Around<'_> {
    fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        self.0.iter().position(|p| p.name == name).map(|place| (place as u32, &self.0[place]))
    }

    fn is_held(&self, _: u32) -> bool {
        false
    }
}

fn known() -> (Plans, Vec<Participant>) {
    let files: Vec<SourceFile> =
        crate::TELECOM.iter().map(|(path, text)| SourceFile { path: (*path).into(), text: (*text).into() }).collect();
    let Checked { sagas, participants, .. } = check(&files, &Known::default());
    let plan = sagas.iter().find(|saga| saga.plan.name == "top-up").expect("the example").plan.to_bytes();
    let mut plans = Plans::default();
    plans.add(Saga::hash_of(&plan), plan.into()).expect("a checked plan can be kept");
    (plans, participants.into_iter().map(|p| p.participant).collect())
}

const INPUT: &str = r#"{"msisdn":"491701234567","amount_minor":500,"currency":"EUR","card_token":"tok"}"#;
