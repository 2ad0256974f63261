//! What a stand is made of: its address, its systems, what they promise, its ledger.
//!
//! The systems' changing temper (faults) is not here: it is set while the stand runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::capacity::Capacity;
use crate::fault::Temper;

/// Everything that `Stand::start` needs. `Settings::telecom` is the ready-made set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The common door: every system answers below `/<name>/`, control below `/_stand/`.
    /// With port 0 the kernel chooses, for the common door and for each system's own.
    pub listen: SocketAddr,
    pub systems: Vec<SystemSpec>,
    /// Where effects are recorded. `None`: nothing is recorded, and plain calls are answered at once.
    pub ledger: Option<LedgerSettings>,
    /// Server threads, each with its own runtime and sockets, 1 ..= 64. More threads answer more calls
    /// but lose the seeded order of faults between connections.
    pub threads: usize,
    /// Of every random choice: which call meets a fault, how long a service takes.
    pub seed: u64,
    /// Open connections beyond this many are closed as soon as they are accepted.
    pub connections_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            systems: Vec::new(),
            ledger: None,
            threads: 1,
            seed: 1,
            connections_max: 16_384,
        }
    }
}

impl Settings {
    /// The six systems of the telecom example on `listen`, without a ledger.
    pub fn telecom(listen: SocketAddr) -> Self {
        Self { listen, systems: telecom(), ..Self::default() }
    }

    /// Refuses what cannot be served, with the reason.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=64).contains(&self.threads) {
            return Err(format!("threads is {}, it must be 1 to 64", self.threads));
        }
        if self.systems.is_empty() || self.systems.len() > 256 {
            return Err(format!("there are {} systems, a stand has 1 to 256", self.systems.len()));
        }
        for (place, system) in self.systems.iter().enumerate() {
            let name = &system.name;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) || name == "_stand" || name == "all" {
                return Err(format!(
                    "\"{name}\" cannot name a system: 1 to 64 of a-z A-Z 0-9 - _, not \"_stand\" or \"all\""
                ));
            }
            if self.systems[..place].iter().any(|other| other.name == *name) {
                return Err(format!("two systems are named \"{name}\""));
            }
            if let Idempotency::Header(header) = &system.idempotency
                && http::HeaderName::from_bytes(header.as_bytes()).is_err()
            {
                return Err(format!("system {name}: \"{header}\" is not a header name"));
            }
            system.capacity.check().map_err(|why| format!("system {name}: {why}"))?;
        }
        Ok(())
    }
}

/// One external system and what it promises its callers.
#[derive(Clone, Debug)]
pub struct SystemSpec {
    /// Below the common door and in every report.
    pub name: String,
    /// What it does. A generic system takes any method and path.
    pub trade: TradeKind,
    /// Where it looks for the caller's key.
    pub idempotency: Idempotency,
    /// How long a key is remembered. Shorter forgets promises, longer takes memory.
    pub remembers_for: Duration,
    /// Keys remembered at most; the oldest go first, counted as `forgotten_early`.
    pub keys_max: usize,
    /// After an undo for something never seen, a later do under that key is refused.
    pub undo_blocks_do: bool,
    /// What an undo for something never seen is answered.
    pub unseen_undo: UnseenUndo,
    /// Its own door, where `down` is a refused connection. `None`: the next port after the common one.
    pub own_listen: Option<SocketAddr>,
    pub capacity: Capacity,
    /// How it behaves from the start.
    pub temper: Temper,
}

impl SystemSpec {
    /// A generic system without a promise that answers at once.
    pub fn generic(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            trade: TradeKind::Generic,
            idempotency: Idempotency::None,
            remembers_for: Duration::from_secs(24 * 3_600),
            keys_max: 1_000_000,
            undo_blocks_do: false,
            unseen_undo: UnseenUndo::Accepted,
            own_listen: None,
            capacity: Capacity::default(),
            temper: Temper::well(),
        }
    }

    /// A system that plays what its name says (billing, crm, hlr, mnp, payments, sms; else generic) with this promise.
    pub fn named(name: &str, idempotency: Idempotency, remembers_for: Duration) -> Self {
        Self { trade: TradeKind::by_name(name), idempotency, remembers_for, ..Self::generic(name) }
    }
}

/// Which of the known systems one plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TradeKind {
    Billing,
    Crm,
    Hlr,
    /// Lists of numbers to append to.
    Lists,
    Mnp,
    Payments,
    Sms,
    Generic,
}

impl TradeKind {
    /// The trade of a telecom system by its name. Names that begin with `accounts` are accounts as billing has them,
    /// names that begin with `lists` are lists; any other is generic.
    pub fn by_name(name: &str) -> Self {
        match name {
            "billing" => Self::Billing,
            "crm" => Self::Crm,
            "hlr" => Self::Hlr,
            "mnp" => Self::Mnp,
            "payments" => Self::Payments,
            "sms" => Self::Sms,
            name if name.starts_with("accounts") => Self::Billing,
            name if name.starts_with("lists") => Self::Lists,
            _ => Self::Generic,
        }
    }
}

/// Where a system looks for the key that makes a repeat safe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Idempotency {
    /// In this header; a changing call without it is answered 400.
    Header(String),
    /// In this top-level field of a JSON body; a changing call without it is answered 400.
    Body(String),
    /// It does not look: every call is executed.
    None,
}

/// The answer to an undo for a call that never came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnseenUndo {
    /// 200 with a `result` that says so.
    Accepted,
    /// 404.
    NotFound,
}

/// Where effects are recorded and when an answer may leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerSettings {
    /// A SQLite file, made if it is not there; an existing one is read first and the systems go on from it.
    pub path: PathBuf,
    pub durability: Durability,
}

impl LedgerSettings {
    /// A ledger that survives the death of the process.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), durability: Durability::Kill }
    }
}

/// What an answered effect survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Answers wait for the commit and the commit for the disk: survives a power cut. Slowest.
    Power,
    /// Answers wait for the commit, the disk does not: survives the death of the process.
    Kill,
    /// Answers wait for nothing: what is in memory is lost with the process. For speed, not for audits.
    Later,
}

/// The systems of the telecom example, with the promises of its `participants.yaml`.
pub fn telecom() -> Vec<SystemSpec> {
    let header = |name: &str| Idempotency::Header(name.to_owned());
    let day = Duration::from_secs(86_400);
    vec![
        SystemSpec::named("billing", header("X-Request-ID"), day * 7),
        SystemSpec::named("crm", Idempotency::None, day),
        SystemSpec::named("hlr", Idempotency::None, day),
        SystemSpec::named("mnp", Idempotency::Body("external_id".to_owned()), day * 30),
        SystemSpec::named("payments", header("Idempotency-Key"), day),
        SystemSpec::named("sms", Idempotency::None, day),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_served_are_refused_with_the_reason() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::telecom(SocketAddr::from(([127, 0, 0, 1], 0)));
            change(&mut settings);
            settings.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        type Change = fn(&mut Settings);
        let cases: [(Change, &str); 5] = [
            (|s| s.threads = 0, "threads"),
            (|s| s.systems.clear(), "0 systems"),
            (|s| s.systems[0].name = "a/b".to_owned(), "a/b"),
            (|s| s.systems[1].name = "billing".to_owned(), "two systems"),
            (|s| s.systems[0].idempotency = Idempotency::Header("a b".to_owned()), "header name"),
        ];
        for (change, words) in cases {
            let why = with(change).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
