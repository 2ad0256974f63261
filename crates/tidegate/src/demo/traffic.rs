//! Who wants what and when: every arrival of the demo with what its client does afterwards, drawn before it begins.
//!
//! The digits of a number decide what the systems say about it (blocked, in debt, already on that tariff), so refusals
//! need no planning: numbers are drawn evenly. Numbers that leave for another operator are used once.

use std::time::Duration;

use super::arrivals::{Trace, arrivals};
use super::dice::Dice;

/// The three definitions of `examples/telecom`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    TopUp,
    TariffChange,
    PortOut,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::TopUp, Self::TariffChange, Self::PortOut];

    pub(crate) fn definition(self) -> &'static str {
        match self {
            Self::TopUp => "top-up",
            Self::TariffChange => "tariff-change",
            Self::PortOut => "number-port-out",
        }
    }

    fn trace(self) -> Trace {
        match self {
            Self::TopUp => Trace::Bursty,
            Self::TariffChange => Trace::Diurnal,
            Self::PortOut => Trace::Conversations,
        }
    }

    /// Its part of all transactions.
    fn share(self) -> f64 {
        match self {
            Self::TopUp => 0.77,
            Self::TariffChange => 0.21,
            Self::PortOut => 0.02,
        }
    }
}

/// What a client submits.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    /// As the definition's `key` makes it.
    pub(crate) key: String,
    pub(crate) idempotency_key: String,
    /// The request's body.
    pub(crate) body: String,
}

/// What the clearing house says about a port request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Decision {
    /// After the acknowledgement.
    pub(crate) after: Duration,
    /// From then until the number moves; `None`: the recipient has withdrawn.
    pub(crate) port_in: Option<Duration>,
    /// It says so twice.
    pub(crate) twice: bool,
}

/// One arrival and what follows its acknowledgement.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) order: Order,
    /// The same submission comes again.
    pub(crate) repeat_after: Option<Duration>,
    /// Another body comes under the same idempotency key.
    pub(crate) other_body: Option<String>,
    pub(crate) cancel_after: Option<Duration>,
    pub(crate) decision: Option<Decision>,
}

/// Subscribers who top up and change tariffs. Few enough that some meet themselves, and one waits for the other.
const SUBSCRIBERS: u64 = 40_000;
/// Numbers that are in the mouth of everybody: long queues for one lock.
const BUSY_SUBSCRIBERS: u64 = 8;
const AMOUNTS_MINOR: [u64; 6] = [500, 1_000, 1_500, 2_000, 3_000, 5_000];
const TARIFFS: [&str; 4] = ["BASIC_5", "FLEX_10", "FLEX_20", "PRO_40"];

/// `count` transactions within `over`, in order of time.
pub(crate) fn draw(count: usize, over: Duration, seed: u64) -> Vec<Arrival> {
    let port_outs = (count as f64 * Kind::PortOut.share()).round() as usize;
    let tariffs = (count as f64 * Kind::TariffChange.share()).round() as usize;
    let mut all = Vec::with_capacity(count);
    for (kind, many) in [
        (Kind::TopUp, count.saturating_sub(port_outs + tariffs)),
        (Kind::TariffChange, tariffs),
        (Kind::PortOut, port_outs),
    ] {
        let moments = arrivals(kind.trace(), many, over, &mut Dice::new(seed, kind.definition()));
        let mut dice = Dice::new(seed, kind.definition().rsplit('-').next().unwrap_or_default());
        all.extend(moments.into_iter().enumerate().map(|(n, at)| arrival(kind, n, at, seed, &mut dice)));
    }
    all.sort_by_key(|arrival| arrival.at);
    all
}

/// The n-th arrival of its kind.
pub(crate) fn arrival(kind: Kind, n: usize, at: Duration, seed: u64, dice: &mut Dice) -> Arrival {
    let order = order(kind, n, seed, dice);
    let ms = |dice: &mut Dice, from: u64, to: u64| Duration::from_millis(from + dice.below(to - from));
    let repeat_after = dice.hits(0.03).then(|| ms(dice, 50, 3_000));
    let other_body = dice.hits(0.002).then(|| self::order(kind, n + 1_000_000, seed, dice).body);
    let mut cancel_after = dice.hits(0.015).then(|| ms(dice, 1, 60));
    let mut decision = None;
    if kind == Kind::PortOut {
        cancel_after = None;
        // One in twenty is never decided; its client loses patience.
        if dice.hits(0.05) {
            cancel_after = Some(ms(dice, 800, 2_500));
        } else {
            let withdrawn = dice.hits(0.08);
            let port_in = (!withdrawn).then(|| ms(dice, 300, 2_000));
            decision = Some(Decision { after: ms(dice, 10, 1_500), port_in, twice: dice.hits(0.1) });
        }
    }
    Arrival { at, order, repeat_after, other_body, cancel_after, decision }
}

/// The n-th order of its kind. The idempotency key says whose it is; another run has other keys.
pub(crate) fn order(kind: Kind, n: usize, seed: u64, dice: &mut Dice) -> Order {
    let msisdn = match kind {
        Kind::PortOut => format!("4915{:08}", n % 100_000_000),
        Kind::TopUp | Kind::TariffChange if dice.hits(0.01) => {
            format!("4917{:08}", 70_000 + dice.below(BUSY_SUBSCRIBERS))
        }
        Kind::TopUp | Kind::TariffChange => format!("4917{:08}", dice.below(SUBSCRIBERS)),
    };
    let definition = kind.definition();
    // Some who top up wait at a till: their own deadline is shorter than the definition's.
    let timeout = if kind == Kind::TopUp && dice.hits(0.03) { r#","timeout":"1500ms""# } else { "" };
    let input = match kind {
        Kind::TopUp => {
            let card = if dice.hits(0.04) { "tok_declined" } else { "tok" };
            let (amount, number) = (dice.pick(&AMOUNTS_MINOR), dice.below(1_000_000));
            format!(
                r#"{{"msisdn":"{msisdn}","amount_minor":{amount},"currency":"EUR","card_token":"{card}_{number}"}}"#
            )
        }
        Kind::TariffChange => format!(r#"{{"msisdn":"{msisdn}","tariff":"{}"}}"#, dice.pick(&TARIFFS)),
        Kind::PortOut => {
            format!(
                r#"{{"msisdn":"{msisdn}","port_request_id":"pr-{seed}-{n}","recipient":"NET{:02}"}}"#,
                dice.below(100)
            )
        }
    };
    Order {
        kind,
        key: format!("subscriber/{msisdn}"),
        idempotency_key: format!("{definition}-{seed}-{n}"),
        body: format!(r#"{{"definition":"{definition}","input":{input}{timeout}}}"#),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_traffic_with_keys_of_its_own() {
        let over = Duration::from_secs(10);
        let (one, again, other) = (draw(2_000, over, 5), draw(2_000, over, 5), draw(2_000, over, 6));
        let bodies = |all: &[Arrival]| all.iter().map(|a| a.order.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&one), bodies(&again));
        assert_ne!(bodies(&one), bodies(&other));
        assert_eq!(one.len(), 2_000);
        assert!(one.is_sorted_by_key(|a| a.at));
        let keys: BTreeSet<&str> = one.iter().map(|a| a.order.idempotency_key.as_str()).collect();
        assert_eq!(keys.len(), 2_000, "every order has a key of its own");
    }

    #[test]
    fn numbers_leave_once_and_every_kind_of_trouble_is_there() {
        let all = draw(20_000, Duration::from_secs(10), 1);
        let of = |kind| all.iter().filter(move |a| a.order.kind == kind);
        let leaving: BTreeSet<&str> = of(Kind::PortOut).map(|a| a.order.key.as_str()).collect();
        assert_eq!(leaving.len(), of(Kind::PortOut).count());
        assert_eq!(of(Kind::PortOut).count(), 400);
        assert!(of(Kind::PortOut).all(|a| a.decision.is_some() != a.cancel_after.is_some()));
        let withdrawn = of(Kind::PortOut).filter(|a| a.decision.is_some_and(|d| d.port_in.is_none())).count();
        assert!(withdrawn > 5, "{withdrawn}");
        assert!(all.iter().filter(|a| a.repeat_after.is_some()).count() > 300);
        assert!(all.iter().filter(|a| a.other_body.is_some()).count() > 5);
        assert!(all.iter().filter(|a| a.cancel_after.is_some()).count() > 100);
        assert!(all.iter().filter(|a| a.order.body.contains("tok_declined")).count() > 300);
        let differ = |a: &&Arrival| a.other_body.as_ref().is_some_and(|body| *body == a.order.body);
        assert_eq!(all.iter().filter(differ).count(), 0, "another body is another body");
    }

    #[test]
    fn bodies_are_json() {
        for arrival in draw(300, Duration::from_secs(1), 9) {
            let body: serde_json::Value = serde_json::from_str(&arrival.order.body).unwrap_or_default();
            assert_eq!(body["definition"], arrival.order.kind.definition(), "{}", arrival.order.body);
            assert!(body["input"]["msisdn"].as_str().is_some_and(|m| arrival.order.key == format!("subscriber/{m}")));
        }
    }
}
