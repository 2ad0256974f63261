//! What the layer has to be told about a protocol: how urgent a request is, and what an answer says about load.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Request, Response, header};
use load::{Class, Evidence, Quota};

/// How urgent a call is, and of which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// More is more urgent; 0 is normal.
    pub priority: u8,
    /// What is left of the caller's time. A call that could not be done within it is not sent.
    pub time_left: Option<Duration>,
    /// Repeats ([`Class::Retry`]) have a budget: a share of successes.
    pub class: Class,
    /// What kind of call it is, as any number; the same for calls that take about the same time.
    pub operation: u16,
    /// Whose call it is, as any number: those that wait take turns by it.
    pub flow: u32,
}

/// Reads requests and answers of a protocol. Cheap: it runs for every call.
pub trait Judge<Request, Response, Error> {
    /// How urgent the request is.
    fn ask(&self, _request: &Request) -> Ask {
        Ask::default()
    }

    /// What the end of a call says about the system that was called.
    fn evidence(&self, ended: &Result<Response, Error>) -> (Evidence, Option<Quota>);
}

/// HTTP by its status, as the engine reads it ([`Evidence::of_http_status`]); an error says nothing sure. Reads
/// `Retry-After` (seconds or a date) and `RateLimit-Remaining` with `RateLimit-Reset`. Every request is a first attempt
/// of normal urgency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpStatus;

impl<B, A, E> Judge<Request<B>, Response<A>, E> for HttpStatus {
    fn evidence(&self, ended: &Result<Response<A>, E>) -> (Evidence, Option<Quota>) {
        match ended {
            Ok(answer) => {
                let retry_after = retry_after(answer.headers(), SystemTime::now());
                (Evidence::of_http_status(answer.status().as_u16(), retry_after), quota(answer.headers()))
            }
            Err(_) => (Evidence::Unknown, None),
        }
    }
}

/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// RFC 9110, 10.2.3. A date that has passed is zero; what is neither seconds nor a date is nothing.
fn retry_after(head: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = head.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The fields of draft-ietf-httpapi-ratelimit-headers before version 08, both or nothing.
fn quota(head: &HeaderMap) -> Option<Quota> {
    const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
    let number = |name: HeaderName| head.get(name)?.to_str().ok()?.trim().parse::<u32>().ok();
    let reset_after = Duration::from_secs(number(RESET)?.into());
    Some(Quota { remaining: number(REMAINING)?, reset_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, head: &[(&'static str, &'static str)]) -> (Evidence, Option<Quota>) {
        let mut answer = Response::builder().status(status);
        for (name, value) in head {
            answer = answer.header(*name, *value);
        }
        let ended: Result<_, ()> = Ok(answer.body(()).expect("an answer"));
        Judge::<Request<()>, _, _>::evidence(&HttpStatus, &ended)
    }

    #[test]
    fn statuses() {
        let of = |status| judged(status, &[]).0;
        assert_eq!(of(201), Evidence::Done);
        assert_eq!((of(404), of(409)), (Evidence::Refused, Evidence::Refused));
        assert_eq!((of(500), of(503), of(408)), (Evidence::Unknown, Evidence::Unknown, Evidence::Unknown));
        assert_eq!(of(429), Evidence::Throttled { retry_after: None });
        assert_eq!(of(401), Evidence::Unauthorized);
        assert_eq!((of(302), of(415)), (Evidence::Cancelled, Evidence::Cancelled));
        let failed: Result<Response<()>, &str> = Err("cut");
        assert_eq!(Judge::<Request<()>, _, _>::evidence(&HttpStatus, &failed), (Evidence::Unknown, None));
    }

    #[test]
    fn retry_after_in_both_forms() {
        let after = |text| judged(503, &[("retry-after", text)]).0;
        assert_eq!(after("3"), Evidence::NotTaken { retry_after: Some(Duration::from_secs(3)) });
        assert_eq!(
            after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Evidence::NotTaken { retry_after: Some(Duration::ZERO) },
            "a date that has passed"
        );
        assert_eq!(after("99999999999"), Evidence::NotTaken { retry_after: Some(RETRY_AFTER_MAX) });
        assert_eq!(after("soon"), Evidence::Unknown, "no usable time, so only a 503");
    }

    #[test]
    fn a_quota_needs_both_fields() {
        let (_, quota) = judged(200, &[("ratelimit-remaining", "7"), ("ratelimit-reset", "30")]);
        assert_eq!(quota, Some(Quota { remaining: 7, reset_after: Duration::from_secs(30) }));
        assert_eq!(judged(200, &[("ratelimit-remaining", "7")]).1, None);
        assert_eq!(judged(200, &[("ratelimit-remaining", "-1"), ("ratelimit-reset", "30")]).1, None);
    }
}
