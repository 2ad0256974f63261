//! The ways in which a system can misbehave, the words for them, and the mix that one system has now.
//!
//! A mix is text, the same on the command line, in control requests and in schedule files:
//! `errors 503 10% + slow 200ms 50% for 30s`. What a fault does to a call is `system.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use model::parse_duration;

use crate::book::Kind;
use crate::chance::Chance;

/// One way to misbehave.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// The business says no, in the system's own words. Undoes are not refused unless `on` says so.
    Refuse,
    /// 500, 502, 503 or 504 without Retry-After; nothing was executed.
    Errors { status: u16 },
    /// 503 without Retry-After, after the effect.
    Gateway,
    /// 429 or 503 with Retry-After; nothing was executed.
    Busy { status: u16, retry_after_s: u32 },
    /// Works, later. Goes together with any other fault.
    Slow { by: Duration },
    /// Takes the call and never answers; nothing is executed.
    Hang,
    /// The connection is reset.
    Cut { when: CutWhen },
    /// The effect happens, then the connection is reset without an answer.
    Lost,
    /// The effect happens this long after the call came, whether or not the caller still waits.
    Late { by: Duration },
    /// Keys are not remembered, or only this long. Goes together with any other fault.
    Forgetful { after: Option<Duration> },
    /// 401.
    Unauthorized,
    /// The own door is closed: connections are refused. At the common door they are reset.
    Down,
}

/// Where a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutWhen {
    /// Before the effect, without an answer.
    Before,
    /// After the effect, without an answer.
    After,
    /// After the effect, in the middle of the answer's body.
    Mid,
}

/// One fault, for how many calls, of which kind, for how long.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rule {
    pub fault: Fault,
    /// Part of the calls that meet it, above 0 and up to 1.
    pub share: f64,
    /// Only calls of this kind. `None`: the fault's own rule.
    pub on: Option<Kind>,
    /// From when it was set; `None`: until something else is set.
    pub lasts: Option<Duration>,
}

/// All faults of one system. No rules: it is well.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Temper {
    pub rules: Vec<Rule>,
}

/// What a text about faults got wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadFault(String);

const WORDS: &str = "well, refuse, errors [500], gateway, busy [429] [retry 1s], slow 500ms, hang, cut [before|after|mid], \
                     lost, late 2s, forgetful [10s], unauthorized, down";

impl Temper {
    pub fn well() -> Self {
        Self::default()
    }

    /// The faults that one call of `kind` meets, `since` after the temper was set.
    pub(crate) fn draw(&self, kind: Kind, since: Duration, chance: &Chance) -> Meets {
        let mut meets = Meets::default();
        // The faults that end a call exclude each other, so one draw chooses among them and shares add up.
        let at = chance.unit();
        let mut reached = 0.0;
        for rule in self.rules.iter().filter(|rule| rule.lasts.is_none_or(|lasts| since < lasts)) {
            let meant = match (rule.on, rule.fault) {
                (Some(on), _) => on == kind,
                (None, Fault::Refuse) => kind != Kind::Undo,
                (None, _) => true,
            };
            match rule.fault {
                Fault::Slow { by } => {
                    if chance.unit() < rule.share && meant {
                        meets.slow += by;
                    }
                }
                Fault::Forgetful { after } => {
                    if chance.unit() < rule.share && meant {
                        meets.forget = Some(after.unwrap_or(Duration::ZERO));
                    }
                }
                ending => {
                    if meets.ending.is_none() && meant && (reached..reached + rule.share).contains(&at) {
                        meets.ending = Some(ending);
                    }
                    reached += rule.share;
                }
            }
        }
        meets
    }

    pub(crate) fn is_down(&self, since: Duration) -> bool {
        self.rules.iter().any(|rule| rule.fault == Fault::Down && rule.lasts.is_none_or(|lasts| since < lasts))
    }

    /// Whether every rule has passed.
    pub(crate) fn is_well(&self, since: Duration) -> bool {
        self.rules.iter().all(|rule| rule.lasts.is_some_and(|lasts| since >= lasts))
    }

    fn check(&self) -> Result<(), BadFault> {
        let ending = |rule: &&Rule| !matches!(rule.fault, Fault::Slow { .. } | Fault::Forgetful { .. });
        // Rules on different kinds never meet in one call, so each kind's shares count by themselves.
        for kind in [Kind::Do, Kind::Undo, Kind::Read] {
            let meant = |rule: &&Rule| rule.on.is_none_or(|on| on == kind);
            let sum: f64 = self.rules.iter().filter(ending).filter(meant).map(|rule| rule.share).sum();
            if sum > 1.0 + 1e-9 {
                return Err(BadFault(format!("the shares add up to {:.0}%, more than every call", sum * 100.0)));
            }
        }
        if self.rules.len() > 32 {
            return Err(BadFault("a mix has at most 32 faults".to_owned()));
        }
        Ok(())
    }
}

/// What one call meets.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Meets {
    pub(crate) ending: Option<Fault>,
    pub(crate) slow: Duration,
    /// Keys older than this are not remembered for this call.
    pub(crate) forget: Option<Duration>,
}

/// A temper and when it was set.
#[derive(Clone, Debug)]
pub(crate) struct Mood {
    pub(crate) temper: Temper,
    pub(crate) since: Instant,
}

impl Mood {
    pub(crate) fn new(temper: Temper) -> Self {
        Self { temper, since: Instant::now() }
    }
}

impl FromStr for Temper {
    type Err = BadFault;

    /// `FAULT [SHARE%] [on do|undo|read] [for DURATION]`, several joined by `+`.
    fn from_str(text: &str) -> Result<Self, BadFault> {
        if text.trim() == "well" {
            return Ok(Self::well());
        }
        let rules = text.split('+').map(str::parse).collect::<Result<Vec<Rule>, _>>()?;
        let temper = Self { rules };
        temper.check()?;
        Ok(temper)
    }
}

impl FromStr for Rule {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let mut words = text.split_whitespace().peekable();
        let name = words.next().ok_or_else(|| BadFault(format!("a fault is missing; say one of: {WORDS}")))?;
        let need = |word: Option<&str>| {
            word.and_then(parse_duration)
                .ok_or_else(|| BadFault(format!("{name} needs a duration, such as {name} 500ms")))
        };
        let mut optional = |known: fn(&str) -> bool| words.next_if(|word| known(word));
        let fault = match name {
            "refuse" => Fault::Refuse,
            "errors" => {
                let status = optional(|word| matches!(word, "500" | "502" | "503" | "504"));
                Fault::Errors { status: status.and_then(|s| s.parse().ok()).unwrap_or(500) }
            }
            "gateway" => Fault::Gateway,
            "busy" => {
                let status = optional(|word| matches!(word, "429" | "503")).and_then(|s| s.parse().ok()).unwrap_or(503);
                let retry_after_s = match optional(|word| word == "retry") {
                    Some(_) => need(words.next())?.as_secs().clamp(0, 86_400) as u32,
                    None => 1,
                };
                Fault::Busy { status, retry_after_s }
            }
            "slow" => Fault::Slow { by: need(words.next())? },
            "hang" => Fault::Hang,
            "cut" => match optional(|word| matches!(word, "before" | "after" | "mid")) {
                Some("after") => Fault::Cut { when: CutWhen::After },
                Some("mid") => Fault::Cut { when: CutWhen::Mid },
                _ => Fault::Cut { when: CutWhen::Before },
            },
            "lost" => Fault::Lost,
            "late" => Fault::Late { by: need(words.next())? },
            "forgetful" => {
                Fault::Forgetful { after: optional(|w| parse_duration(w).is_some()).and_then(parse_duration) }
            }
            "unauthorized" => Fault::Unauthorized,
            "down" => Fault::Down,
            _ => return Err(BadFault(format!("\"{name}\" is not a fault; say one of: {WORDS}"))),
        };
        let mut rule = Self { fault, share: 1.0, on: None, lasts: None };
        while let Some(word) = words.next() {
            if let Some(number) = word.strip_suffix('%') {
                let share = number.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 100.0);
                rule.share =
                    share.ok_or_else(|| BadFault(format!("\"{word}\" is not above 0% and up to 100%")))? / 100.0;
            } else if word == "on" {
                let kind = words.next().and_then(Kind::by_name);
                rule.on = Some(kind.ok_or_else(|| BadFault("after \"on\" comes do, undo or read".to_owned()))?);
            } else if word == "for" {
                let lasts = words.next().and_then(parse_duration);
                rule.lasts =
                    Some(lasts.ok_or_else(|| BadFault("after \"for\" comes a duration, such as 30s".to_owned()))?);
            } else {
                return Err(BadFault(format!(
                    "\"{word}\" after {name} is not understood: say SHARE%, on KIND or for DURATION"
                )));
            }
        }
        if fault == Fault::Down && (rule.share < 1.0 || rule.on.is_some()) {
            return Err(BadFault("a system is down for every call: no share, no kind".to_owned()));
        }
        Ok(rule)
    }
}

impl fmt::Display for Temper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return f.write_str("well");
        }
        for (place, rule) in self.rules.iter().enumerate() {
            if place > 0 {
                f.write_str(" + ")?;
            }
            fmt::Display::fmt(rule, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Refuse => f.write_str("refuse"),
            Fault::Errors { status } => write!(f, "errors {status}"),
            Fault::Gateway => f.write_str("gateway"),
            Fault::Busy { status, retry_after_s } => write!(f, "busy {status} retry {retry_after_s}s"),
            Fault::Slow { by } => write!(f, "slow {}ms", by.as_millis()),
            Fault::Hang => f.write_str("hang"),
            Fault::Cut { when: CutWhen::Before } => f.write_str("cut before"),
            Fault::Cut { when: CutWhen::After } => f.write_str("cut after"),
            Fault::Cut { when: CutWhen::Mid } => f.write_str("cut mid"),
            Fault::Lost => f.write_str("lost"),
            Fault::Late { by } => write!(f, "late {}ms", by.as_millis()),
            Fault::Forgetful { after: None } => f.write_str("forgetful"),
            Fault::Forgetful { after: Some(after) } => write!(f, "forgetful {}ms", after.as_millis()),
            Fault::Unauthorized => f.write_str("unauthorized"),
            Fault::Down => f.write_str("down"),
        }?;
        if self.share < 1.0 {
            write!(f, " {}%", (self.share * 1e6).round() / 1e4)?;
        }
        if let Some(on) = self.on {
            write!(f, " on {}", on.as_str())?;
        }
        if let Some(lasts) = self.lasts {
            write!(f, " for {}ms", lasts.as_millis())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for (text, want) in [
            ("well", "well"),
            ("refuse", "refuse"),
            ("refuse on undo 30%", "refuse 30% on undo"),
            ("errors", "errors 500"),
            ("errors 503 10% + slow 200ms 50% for 30s", "errors 503 10% + slow 200ms 50% for 30000ms"),
            ("busy", "busy 503 retry 1s"),
            ("busy 429 retry 2s 12.5%", "busy 429 retry 2s 12.5%"),
            ("cut", "cut before"),
            (
                "cut mid 5% + cut after 5% + lost 5% + late 2s 5%",
                "cut mid 5% + cut after 5% + lost 5% + late 2000ms 5%",
            ),
            ("forgetful", "forgetful"),
            ("forgetful 10s 20%", "forgetful 10000ms 20%"),
            ("gateway + slow 1s", "gateway + slow 1000ms"),
            ("hang", "hang"),
            ("unauthorized for 1m", "unauthorized for 60000ms"),
            ("down for 20s", "down for 20000ms"),
        ] {
            let temper: Temper = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(temper.to_string(), want);
            assert_eq!(want.parse::<Temper>(), Ok(temper), "{want}");
        }
    }

    #[test]
    fn what_is_not_a_fault_is_refused_with_what_to_say() {
        for (text, words) in [
            ("", "is missing"),
            ("angry", "say one of"),
            ("slow", "slow needs a duration"),
            ("late soon", "late needs a duration"),
            ("errors 200", "\"200\""),
            ("errors 0%", "above 0%"),
            ("errors 101%", "above 0%"),
            ("errors 60% + lost 60%", "120%"),
            ("errors on all", "do, undo or read"),
            ("errors for ever", "such as 30s"),
            ("down 50%", "every call"),
            ("well + down", "say one of"),
        ] {
            let why = text.parse::<Temper>().unwrap_err().to_string();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn shares_are_kept_and_endings_exclude_each_other() {
        let temper: Temper = "errors 20% + lost 30% + slow 10ms 50% + refuse on undo 10%".parse().unwrap();
        let chance = Chance::new(3, "x");
        let draws: Vec<Meets> = (0..20_000).map(|_| temper.draw(Kind::Do, Duration::ZERO, &chance)).collect();
        let share = |is: fn(&Meets) -> bool| draws.iter().filter(|meets| is(meets)).count() as f64 / 20_000.0;
        assert!((0.19..0.21).contains(&share(|m| m.ending == Some(Fault::Errors { status: 500 }))));
        assert!((0.29..0.31).contains(&share(|m| m.ending == Some(Fault::Lost))));
        assert!((0.49..0.51).contains(&share(|m| m.slow > Duration::ZERO)));
        assert_eq!(share(|m| m.ending == Some(Fault::Refuse)), 0.0);
    }

    #[test]
    fn refuse_spares_undoes_and_every_rule_passes() {
        let chance = Chance::new(3, "x");
        let refuse: Temper = "refuse for 10s".parse().unwrap();
        let at = Duration::from_secs;
        assert_eq!(refuse.draw(Kind::Do, at(9), &chance).ending, Some(Fault::Refuse));
        assert_eq!(refuse.draw(Kind::Undo, at(9), &chance).ending, None);
        assert_eq!(refuse.draw(Kind::Do, at(10), &chance).ending, None);
        assert!(!refuse.is_well(at(9)) && refuse.is_well(at(10)));
        let down: Temper = "down for 1s".parse().unwrap();
        assert!(down.is_down(Duration::ZERO) && !down.is_down(at(1)));
    }
}
