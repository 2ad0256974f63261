//! Looking transactions up: one by id (with a long poll), a page of them, how many.

use http::StatusCode;
use model::Timestamp;
use runtime::view::Detail;
use runtime::{Filter, GroupBy};

use super::{Ask, transaction};
use crate::body::{Response, json};
use crate::json::{Object, write_u64};
use crate::problem::Problem;
use crate::request::Query;

const ITEMS_MAX: usize = 1_000;
const ITEMS_DEFAULT: usize = 50;

const FILTERS: [&str; 10] = [
    "definition",
    "state",
    "outcome",
    "reason",
    "key",
    "idempotency_key",
    "participant",
    "step",
    "began_after",
    "began_before",
];

pub(super) async fn get(ask: Ask<'_>) -> Result<Response, Problem> {
    let id = ask.id()?;
    let query = Query::of(ask.parts.uri.query(), &["wait", "until", "view"])?;
    let detail = match query.get("view") {
        None | Some("full") => Detail::Full,
        Some("answer") => Detail::Answer,
        Some("summary") => Detail::Summary,
        Some(other) => {
            return Err(Problem::parameter("view", format!("is \"{other}\", it must be summary, answer or full")));
        }
    };
    let (wait, until) = (query.wait(std::time::Duration::ZERO)?, query.until()?);
    let engine = &ask.front.engine;
    let waited = match wait.is_zero() {
        true => None,
        false => ask.front.unless_draining(engine.get(id, wait, until, detail)).await,
    };
    let answer = match waited {
        Some(answer) => answer,
        None => engine.get(id, std::time::Duration::ZERO, until, detail).await,
    };
    let answer = answer.map_err(|e| Problem::from(e).about(id))?;
    Ok(transaction(answer, StatusCode::OK))
}

pub(super) async fn list(ask: Ask<'_>) -> Result<Response, Problem> {
    let (filter, limit, cursor) = page_of(ask.parts.uri.query())?;
    let page = ask.front.engine.list(filter, limit, cursor).await?;
    let mut out = Vec::with_capacity(64 + page.items.iter().map(|item| item.len() + 1).sum::<usize>());
    let mut o = Object::begin(&mut out);
    o.list("items", &page.items, |item, out| out.extend_from_slice(item));
    o.maybe_text("next_cursor", page.next_cursor.as_deref()).end();
    Ok(json(StatusCode::OK, out))
}

pub(super) async fn count(ask: Ask<'_>) -> Result<Response, Problem> {
    let known: Vec<&str> = FILTERS.into_iter().chain(["group_by"]).collect();
    let query = Query::of(ask.parts.uri.query(), &known)?;
    let filter = filter(&query)?;
    let (groups, names) = groups(&query)?;
    let counted = ask.front.engine.count(filter, groups).await?;
    let mut out = Vec::with_capacity(256);
    let mut o = Object::begin(&mut out);
    o.list("items", &counted, |line, out| {
        let mut o = Object::begin(out);
        for (name, value) in names.iter().zip(&line.group) {
            // A transaction without a reason, say: a group of its own, not an empty word.
            o.maybe_text(name, Some(value.as_str()).filter(|value| !value.is_empty()));
        }
        write_u64(line.count, o.name("count"));
        o.end();
    });
    o.end();
    Ok(json(StatusCode::OK, out))
}

/// What `group_by` names, and in which words.
fn groups(query: &Query<'_>) -> Result<(Vec<GroupBy>, Vec<&'static str>), Problem> {
    let (mut groups, mut names): (Vec<GroupBy>, Vec<&str>) = (Vec::new(), Vec::new());
    for word in query.get("group_by").into_iter().flat_map(|words| words.split(',')) {
        let (group, name) = match word {
            "state" => (GroupBy::State, "state"),
            "definition" => (GroupBy::Definition, "definition"),
            "reason" => (GroupBy::Reason, "reason"),
            "participant" => (GroupBy::Participant, "participant"),
            "step" => (GroupBy::Step, "step"),
            other => {
                let words = "state, definition, reason, participant, step";
                return Err(Problem::parameter("group_by", format!("names \"{other}\", it may name {words}")));
            }
        };
        if groups.contains(&group) {
            return Err(Problem::parameter("group_by", format!("names \"{word}\" twice")));
        }
        groups.push(group);
        names.push(name);
    }
    Ok((groups, names))
}

/// Which transactions, how many, and from where on.
pub(crate) fn page_of(query: Option<&str>) -> Result<(Filter, usize, Option<String>), Problem> {
    let known: Vec<&str> = FILTERS.into_iter().chain(["limit", "cursor"]).collect();
    let query = Query::of(query, &known)?;
    let filter = filter(&query)?;
    let limit = match query.get("limit") {
        None => ITEMS_DEFAULT,
        Some(text) => text.parse().ok().filter(|n| (1..=ITEMS_MAX).contains(n)).ok_or_else(|| {
            Problem::parameter("limit", format!("is \"{text}\", it must be a whole number from 1 to {ITEMS_MAX}"))
        })?,
    };
    Ok((filter, limit, query.get("cursor").map(str::to_owned)))
}

fn filter(query: &Query<'_>) -> Result<Filter, Problem> {
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(compact_str::CompactString::new);
    let word = |name: &str, words: &[&str]| match query.get(name) {
        None => Ok(None),
        Some(word) if words.contains(&word) => Ok(Some(compact_str::CompactString::new(word))),
        Some(word) => Err(Problem::parameter(name, format!("is \"{word}\", it must be one of {}", words.join(", ")))),
    };
    let time = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => moment(text).map(Some).ok_or_else(|| {
            Problem::parameter(name, format!("is \"{text}\", it must be a time such as 2026-11-23T02:00:00Z"))
        }),
    };
    Ok(Filter {
        definition: text("definition"),
        state: word("state", &["running", "waiting", "compensating", "needs_attention", "ended"])?,
        outcome: word("outcome", &["completed", "aborted"])?,
        reason: word("reason", &["refused", "failed", "cancelled", "timed_out"])?,
        key: text("key"),
        idempotency_key: text("idempotency_key"),
        participant: text("participant"),
        step: text("step"),
        began_after: time("began_after")?,
        began_before: time("began_before")?,
    })
}

/// A time of RFC 3339. One before 1970, which nothing here is older than, counts as 1970.
fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text).or_else(|| {
        let (year, rest) = text.split_at_checked(4)?;
        let is_early = year.bytes().all(|b| b.is_ascii_digit()) && year <= "1970";
        // The rest must be a time all the same; any later leap year will do for asking.
        (is_early && Timestamp::parse_rfc3339(&format!("2000{rest}")).is_some()).then_some(Timestamp::ZERO)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_their_words_and_times() {
        let of = |query: &str| Query::of(Some(query), &FILTERS).and_then(|q| filter(&q));
        let Ok(good) = of("state=waiting&key=subscriber%2F49&began_after=2026-11-23T02:00:00Z") else { panic!("good") };
        assert_eq!(good.key.as_deref(), Some("subscriber/49"));
        assert_eq!(good.state.as_deref(), Some("waiting"));
        assert_eq!(good.began_after, Timestamp::parse_rfc3339("2026-11-23T02:00:00Z"));
        for early in ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.9-01:00", "1970-01-01T00:00:00%2B01:00"] {
            let Ok(good) = of(&format!("began_before={early}")) else { panic!("{early}") };
            assert_eq!(good.began_before, Some(Timestamp::ZERO), "{early}");
        }
        for bad in ["began_after=1969-13-01T00:00:00Z", "began_after=1969", "began_after=-100-01-01T00:00:00Z"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for bad in ["state=paused", "outcome=done", "reason=expired", "began_after=yesterday", "limit=1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_named_once_each() {
        let of = |query: &str| Query::of(Some(query), &["group_by"]).and_then(|q| groups(&q)).map(|(_, names)| names);
        assert_eq!(of("").ok(), Some(vec![]));
        assert_eq!(of("group_by=step,state").ok(), Some(vec!["step", "state"]));
        assert_eq!(of("group_by=step%2Cstate").ok(), Some(vec!["step", "state"]));
        for bad in ["group_by=", "group_by=state,", "group_by=,", "group_by=key", "group_by=state,step,state"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
