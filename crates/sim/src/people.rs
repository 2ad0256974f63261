//! Clients and the people who look after their transactions: what they submit, how often, and what they say.

use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use model::id::PartitionScope;
use model::{Map, Timestamp, TxId, Value, partition_of};
use plan::eval::{Scope, Steps};

use crate::features::Features;
use crate::fixed::Rng;
use crate::menu::Input;
use crate::tables::Tables;

/// One submission as its client sends it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) family: u32,
    pub(crate) idempotency_key: CompactString,
    pub(crate) key: Option<CompactString>,
    pub(crate) partition: u16,
    pub(crate) digest: u64,
    pub(crate) input: Arc<Value>,
    pub(crate) priority: u8,
    wants_outcome: bool,
    /// When it is first sent.
    pub(crate) at: Timestamp,
    pub(crate) sent: u32,
    pub(crate) accepted: Option<TxId>,
    /// It was told that its key stands for another body.
    pub(crate) is_refused: bool,
    pub(crate) is_over: bool,
}

impl Order {
    /// Its client knows what became of it.
    pub(crate) fn is_answered(&self) -> bool {
        self.accepted.is_some() || self.is_refused
    }
}

/// See the head of this file.
pub(crate) struct People {
    pub(crate) orders: Vec<Order>,
    pub(crate) rng: Rng,
}

/// No steps have run when a key is rendered.
struct NoSteps;

impl Steps for NoSteps {
    fn result(&self, _: model::StepIndex) -> Option<&Value> {
        None
    }

    fn outcome(&self, _: model::StepIndex) -> &'static str {
        "pending"
    }

    fn call_key(&self, step: model::StepIndex) -> model::CallKey {
        model::CallKey { tx: TxId(0), step, direction: model::Direction::Call, round: 0 }
    }
}

impl People {
    pub(crate) fn new(features: &Features, tables: &Tables, start: Timestamp, bursts: bool) -> Self {
        let mut orders: Vec<Order> = Vec::new();
        let mut at = start;
        for n in 0..features.submissions {
            // Each order draws from a stream of its own, so that fewer orders are the same orders.
            let mut own = Rng::named(features.seed ^ u64::from(n) << 32, "order");
            if !bursts || !n.is_multiple_of(16) {
                at = at.after(Duration::from_micros(
                    own.below(2 * features.gap_us) * u64::from(!bursts || n.is_multiple_of(16)),
                ));
            } else {
                at = at.after(Duration::from_micros(own.below(32 * features.gap_us)));
            }
            if own.chance(u64::from(features.duplicates) / 3, 10_000)
                && let Some(former) = orders.last()
            {
                // The same key, another body.
                let other = Order { digest: former.digest ^ 1, at, ..former.clone() };
                orders.push(other);
                continue;
            }
            let family = own.below(tables.families.len() as u64) as u32;
            let input = input(tables.active(family).input, n, features, at, &mut own);
            orders.push(order(tables, family, input, n, features, at, &mut own));
        }
        Self { orders, rng: Rng::named(features.seed, "people") }
    }

    pub(crate) fn order(&self, submission: u32) -> &Order {
        &self.orders[submission as usize]
    }

    pub(crate) fn wants_outcome(&self, submission: u32) -> bool {
        self.order(submission).wants_outcome
    }

    /// What a signal says.
    pub(crate) fn signal_body(&self, no: bool, now: Timestamp) -> Value {
        let at = now.after(Duration::from_secs(3_600));
        map(vec![
            ("decision", Value::text(if no { "WITHDRAWN" } else { "SET" })),
            ("id", Value::int(3)),
            ("no", Value::Bool(no)),
            ("port_at", Value::text(format_compact!("{at}"))),
        ])
    }

    /// What a person gives for a result that is known from elsewhere.
    pub(crate) fn result_by_hand(&self) -> Value {
        map(vec![
            ("balance_minor", Value::int(1)),
            ("charge_id", Value::int(1)),
            ("contract_id", Value::int(1)),
            ("debit_id", Value::int(1)),
            ("fee_minor", Value::int(0)),
            ("id", Value::int(7)),
            ("old_tariff", Value::text("OLD_S")),
            ("port_at", Value::text("2026-11-23T02:00:00Z")),
        ])
    }
}

fn map(members: Vec<(&'static str, Value)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (CompactString::const_new(name), value)).collect();
    Value::Map(Map::from_members(members).unwrap_or_default())
}

fn input(kind: Input, n: u32, features: &Features, now: Timestamp, rng: &mut Rng) -> Value {
    let account = rng.below(features.accounts);
    let msisdn = Value::text(format_compact!("49170{:07}", account));
    match kind {
        Input::TopUp => map(vec![
            ("amount_minor", Value::int(100 + rng.below(4_900) as i64)),
            ("card_token", Value::text("tok")),
            ("currency", Value::text("EUR")),
            ("msisdn", msisdn),
        ]),
        Input::TariffChange => map(vec![("msisdn", msisdn), ("tariff", Value::text("FLAT_L"))]),
        Input::PortOut => map(vec![
            ("msisdn", msisdn),
            ("port_request_id", Value::text(format_compact!("P{n}"))),
            ("recipient", Value::text("DEU01")),
        ]),
        Input::Random => {
            let at = match rng.below(12) {
                0 => CompactString::const_new("soon"),
                1..=5 => CompactString::const_new("2026-11-23T00:00:00Z"),
                _ => format_compact!("{}", now.after(Duration::from_secs(*rng.pick(&[1, 60, 7_200])))),
            };
            map(vec![
                ("account", Value::text(format_compact!("a{account}"))),
                ("amount", Value::int(1 + rng.below(1_000) as i64)),
                ("at", Value::Text(at)),
                ("x", Value::int(rng.below(4) as i64)),
            ])
        }
    }
}

fn order(
    tables: &Tables,
    family: u32,
    input: Value,
    n: u32,
    features: &Features,
    at: Timestamp,
    rng: &mut Rng,
) -> Order {
    let dish = tables.active(family);
    let scope = Scope { tx: TxId(0), input: &input, steps: &NoSteps, response: None, signal: None, call: None };
    let key = dish.saga.key.as_ref().and_then(|template| plan::render::render_text(template, &scope).ok());
    let idempotency_key = format_compact!("k{n}");
    let scope = match &key {
        Some(key) => PartitionScope::Key(key),
        None => PartitionScope::Submission { definition: &dish.saga.name, idempotency_key: &idempotency_key },
    };
    let partition = partition_of("default", scope, features.partitions).0;
    Order {
        family,
        key,
        partition,
        digest: rng.u64() & !1,
        input: Arc::new(input),
        priority: rng.below(3) as u8,
        wants_outcome: rng.chance(u64::from(features.waits), 10_000),
        at,
        sent: 0,
        accepted: None,
        is_refused: false,
        is_over: false,
        idempotency_key,
    }
}
