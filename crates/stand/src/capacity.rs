//! How much a system can do at once, how long it takes, and what it says when it is full.
//!
//! The default has no bound and answers at once. Timers of the runtime have a grain of about 1 ms.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::parse_duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::chance::Chance;

/// The size of a system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Calls worked on at once. `None`: as many as come.
    pub servers: Option<usize>,
    pub service: ServiceTime,
    /// Calls that may wait for a server; the next one is turned away. Only with `servers`.
    pub queue_max: usize,
    /// How it turns calls away.
    pub overload: Overload,
    /// Beyond the knee work itself gets slower: the service time grows by this factor for every
    /// `servers` calls that wait. 0: it does not.
    pub retrograde: f64,
}

/// How long one call is worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ServiceTime {
    #[default]
    Instant,
    Fixed(Duration),
    Exponential {
        mean: Duration,
    },
    /// A long tail: `p99` may be up to 14 times the mean.
    Lognormal {
        mean: Duration,
        p99: Duration,
    },
}

/// What a full system answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// 429 or 503.
    pub status: u16,
    /// Of the Retry-After header; `None` leaves the header out.
    pub retry_after_s: Option<u32>,
}

impl Default for Overload {
    fn default() -> Self {
        Self { status: 503, retry_after_s: Some(1) }
    }
}

impl Capacity {
    /// Whether nothing has to be waited for.
    pub(crate) fn is_boundless(&self) -> bool {
        self.servers.is_none() && self.service == ServiceTime::Instant
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.servers.is_some_and(|n| n == 0 || n > 1_000_000) {
            return Err("servers must be 1 to 1000000".to_owned());
        }
        if !(self.retrograde >= 0.0 && self.retrograde <= 1_000.0) {
            return Err(format!("retrograde is {}, it must be 0 to 1000", self.retrograde));
        }
        if self.overload.status != 429 && self.overload.status != 503 {
            return Err(format!("a full system answers 429 or 503, not {}", self.overload.status));
        }
        let day = Duration::from_secs(86_400);
        match self.service {
            ServiceTime::Instant => Ok(()),
            ServiceTime::Fixed(mean) | ServiceTime::Exponential { mean } if mean <= day => Ok(()),
            ServiceTime::Lognormal { mean, p99 } if mean <= day => lognormal_sigma(mean, p99).map(|_| ()),
            ServiceTime::Fixed(_) | ServiceTime::Exponential { .. } | ServiceTime::Lognormal { .. } => {
                Err("a service time is a day at most".to_owned())
            }
        }
    }
}

impl ServiceTime {
    fn draw(self, chance: &Chance) -> Duration {
        match self {
            Self::Instant => Duration::ZERO,
            Self::Fixed(time) => time,
            Self::Exponential { mean } => mean.mul_f64(-(1.0 - chance.unit()).ln()),
            Self::Lognormal { mean, p99 } => {
                let sigma = lognormal_sigma(mean, p99).unwrap_or(0.0);
                // The mean of a lognormal is exp(mu + sigma^2 / 2).
                let factor = (sigma * chance.normal() - sigma * sigma / 2.0).exp();
                mean.mul_f64(factor)
            }
        }
    }
}

/// The sigma whose 99th percentile is `p99` at this mean: ln(p99 / mean) = z sigma - sigma^2 / 2 with z = 2.3263,
/// of whose two solutions the smaller is meant.
fn lognormal_sigma(mean: Duration, p99: Duration) -> Result<f64, String> {
    const Z99: f64 = 2.326_347_874;
    let (mean, p99) = (mean.as_secs_f64(), p99.as_secs_f64());
    if mean <= 0.0 || p99 < mean {
        return Err("lognormal: the mean must be above 0 and the p99 not below it".to_owned());
    }
    let root = Z99 * Z99 - 2.0 * (p99 / mean).ln();
    if root < 0.0 {
        return Err("lognormal: the p99 can be at most 14 times the mean".to_owned());
    }
    Ok(Z99 - root.sqrt())
}

impl FromStr for Capacity {
    type Err = String;

    /// `boundless`, or any of `servers 8`, `queue 100`, `fixed 5ms`, `exponential 5ms`, `lognormal 5ms 40ms`,
    /// `overload 429 [retry 2s | silent]`, `retrograde 0.5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut capacity = Self::default();
        let mut words = text.split_whitespace().peekable();
        if words.peek().is_none() {
            return Err("say boundless, or servers N, queue N, fixed 5ms, exponential 5ms, lognormal 5ms 40ms, \
                        overload 429 [retry 2s | silent], retrograde 0.5"
                .to_owned());
        }
        while let Some(word) = words.next() {
            let mut number = || words.next().ok_or_else(|| format!("after {word} something is missing"));
            let duration =
                |text: &str| parse_duration(text).ok_or_else(|| format!("\"{text}\" is no duration such as 5ms"));
            let whole = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no whole number"));
            match word {
                "boundless" => capacity = Self::default(),
                "servers" => capacity.servers = Some(whole(number()?)?),
                "queue" => capacity.queue_max = whole(number()?)?,
                "fixed" => capacity.service = ServiceTime::Fixed(duration(number()?)?),
                "exponential" => capacity.service = ServiceTime::Exponential { mean: duration(number()?)? },
                "lognormal" => {
                    let (mean, p99) = (duration(number()?)?, duration(number()?)?);
                    capacity.service = ServiceTime::Lognormal { mean, p99 };
                }
                "overload" => {
                    let status = number()?;
                    capacity.overload.status = status.parse().map_err(|_| format!("\"{status}\" is no status"))?;
                    if words.next_if_eq(&"silent").is_some() {
                        capacity.overload.retry_after_s = None;
                    } else if words.next_if_eq(&"retry").is_some() {
                        let after = duration(words.next().unwrap_or(""))?.as_secs();
                        capacity.overload.retry_after_s = Some(u32::try_from(after).unwrap_or(u32::MAX));
                    }
                }
                "retrograde" => {
                    let factor = number()?;
                    capacity.retrograde = factor.parse().map_err(|_| format!("\"{factor}\" is no number"))?;
                }
                _ => return Err(format!("\"{word}\" does not describe a capacity")),
            }
        }
        capacity.check()?;
        Ok(capacity)
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_boundless() {
            return f.write_str("boundless");
        }
        if let Some(servers) = self.servers {
            write!(f, "servers {servers} queue {} ", self.queue_max)?;
        }
        match self.service {
            ServiceTime::Instant => Ok(()),
            ServiceTime::Fixed(time) => write!(f, "fixed {}ms ", time.as_millis()),
            ServiceTime::Exponential { mean } => write!(f, "exponential {}ms ", mean.as_millis()),
            ServiceTime::Lognormal { mean, p99 } => {
                write!(f, "lognormal {}ms {}ms ", mean.as_millis(), p99.as_millis())
            }
        }?;
        write!(f, "overload {}", self.overload.status)?;
        match self.overload.retry_after_s {
            Some(after) => write!(f, " retry {after}s"),
            None => f.write_str(" silent"),
        }?;
        if self.retrograde > 0.0 {
            write!(f, " retrograde {}", self.retrograde)?;
        }
        Ok(())
    }
}

/// A capacity at work: who waits and who is served.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) size: Capacity,
    servers: Option<Arc<Semaphore>>,
    pub(crate) waiting: AtomicUsize,
}

/// The system is full.
#[derive(Debug)]
pub(crate) struct Full;

impl Counter {
    pub(crate) fn new(size: Capacity) -> Self {
        let servers = size.servers.map(|n| Arc::new(Semaphore::new(n)));
        Self { size, servers, waiting: AtomicUsize::new(0) }
    }

    /// Waits for a server, then says how long the work takes. The permit is the server: drop it when done.
    pub(crate) async fn enter(&self, chance: &Chance) -> Result<(Option<OwnedSemaphorePermit>, Duration), Full> {
        let Some(servers) = &self.servers else { return Ok((None, self.size.service.draw(chance))) };
        let permit = match Arc::clone(servers).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::Relaxed);
                let place = Waiting(&self.waiting);
                if before >= self.size.queue_max {
                    return Err(Full);
                }
                let permit = Arc::clone(servers).acquire_owned().await.map_err(|_| Full)?;
                drop(place);
                permit
            }
        };
        let behind = self.waiting.load(Ordering::Relaxed) as f64 / self.size.servers.unwrap_or(1) as f64;
        let slower = 1.0 + self.size.retrograde * behind;
        Ok((Some(permit), self.size.service.draw(chance).mul_f64(slower)))
    }
}

/// A place in the queue, given up also when the caller goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_times_have_the_declared_mean_and_tail() {
        let ms = Duration::from_millis;
        let sample = |service: ServiceTime| {
            let chance = Chance::new(5, "x");
            let mut all: Vec<f64> = (0..40_000).map(|_| service.draw(&chance).as_secs_f64() * 1e3).collect();
            all.sort_by(f64::total_cmp);
            (all.iter().sum::<f64>() / 40_000.0, all[39_600])
        };
        assert_eq!(sample(ServiceTime::Fixed(ms(5))).1, 5.0);
        let (mean, p99) = sample(ServiceTime::Exponential { mean: ms(10) });
        assert!((9.7..10.3).contains(&mean) && (43.0..49.5).contains(&p99), "{mean} {p99}");
        let (mean, p99) = sample(ServiceTime::Lognormal { mean: ms(10), p99: ms(50) });
        assert!((9.5..10.5).contains(&mean) && (46.0..54.0).contains(&p99), "{mean} {p99}");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let ms = Duration::from_millis;
        let lognormal = |mean, p99| Capacity {
            service: ServiceTime::Lognormal { mean: ms(mean), p99: ms(p99) },
            ..Capacity::default()
        };
        assert!(lognormal(10, 140).check().is_ok());
        assert!(lognormal(10, 160).check().is_err());
        assert!(lognormal(10, 9).check().is_err());
        assert!(Capacity { servers: Some(0), ..Capacity::default() }.check().is_err());
        let odd = Overload { status: 500, retry_after_s: None };
        assert!(Capacity { overload: odd, ..Capacity::default() }.check().is_err());
    }

    #[test]
    fn words_and_back() {
        for (text, want) in [
            ("boundless", "boundless"),
            ("servers 8", "servers 8 queue 0 overload 503 retry 1s"),
            ("servers 8 queue 100 lognormal 5ms 40ms", "servers 8 queue 100 lognormal 5ms 40ms overload 503 retry 1s"),
            ("exponential 5ms overload 429 silent", "exponential 5ms overload 429 silent"),
            ("fixed 1s overload 429 retry 2s retrograde 0.5", "fixed 1000ms overload 429 retry 2s retrograde 0.5"),
        ] {
            let capacity: Capacity = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(capacity.to_string(), want);
            assert_eq!(want.parse(), Ok(capacity), "{want}");
        }
        for bad in ["", "servers", "servers x", "servers 0", "fixed fast", "overload 500", "huge", "retrograde -1"] {
            assert!(bad.parse::<Capacity>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn servers_then_queue_then_turned_away() {
        let counter = Counter::new(Capacity { servers: Some(1), queue_max: 1, retrograde: 1.0, ..Capacity::default() });
        let chance = Chance::new(1, "x");
        let (first, _) = counter.enter(&chance).await.unwrap();
        let mut second = Box::pin(counter.enter(&chance));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut second).await.is_err());
        assert!(counter.enter(&chance).await.is_err(), "the queue of one is full");
        drop(first);
        assert!(second.await.unwrap().0.is_some());
        assert_eq!(counter.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn past_the_knee_work_gets_slower() {
        let service = ServiceTime::Fixed(Duration::from_millis(10));
        let counter =
            Counter::new(Capacity { servers: Some(1), queue_max: 9, retrograde: 0.5, service, ..Capacity::default() });
        let chance = Chance::new(1, "x");
        let (first, alone) = counter.enter(&chance).await.unwrap();
        let mut second = Box::pin(counter.enter(&chance));
        let mut third = Box::pin(counter.enter(&chance));
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        assert!(tokio::time::timeout(soon, &mut third).await.is_err());
        drop(first);
        let (_server, crowded) = second.await.unwrap();
        assert_eq!((alone, crowded), (Duration::from_millis(10), Duration::from_millis(15)));
        drop(third);
        assert_eq!(counter.waiting.load(Ordering::Relaxed), 0, "who goes away waits no longer");
    }
}
