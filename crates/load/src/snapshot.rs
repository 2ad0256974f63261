//! What was learned, in bytes: so that a restart costs no learning.
//!
//! ```text
//!   "TGLL" version=1 taken_at  [ name  quota  [ limit capacity latency deviation ] ... ] ...   check
//! ```
//! Numbers are little-endian; a quota of 0 means none; so do a capacity and a latency of 0. `check` is FNV-1a over
//! all before it. Losing these bytes, or finding them damaged, costs learning time and nothing else.
//!
//! Left out: where the bytes are kept.

use std::fmt;

use model::Timestamp;

use crate::participant::Participant;

const MAGIC: &[u8; 4] = b"TGLL";
const VERSION: u8 = 1;
/// What is older is not worth anything any more.
const AGE_MAX_US: u64 = 14 * 86_400 * 1_000_000;
const PARTICIPANTS_MAX: u32 = 100_000;

/// Why a snapshot was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadSnapshot {
    /// It is not one, or was cut or changed.
    Damaged,
    /// Of a version that this one does not know.
    Version(u8),
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("what was learned of participants cannot be read: it is cut or damaged"),
            Self::Version(version) => {
                write!(f, "what was learned of participants is in version {version}, and this one reads {VERSION}")
            }
        }
    }
}

impl std::error::Error for BadSnapshot {}

pub(crate) fn write<'a>(now: Timestamp, participants: impl Iterator<Item = &'a Participant>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&now.0.to_le_bytes());
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0u32;
    for participant in participants {
        let endpoints: Vec<_> = participant.endpoints.all().iter().filter_map(|e| e.learner.as_ref()).collect();
        if endpoints.is_empty() {
            continue;
        }
        count += 1;
        let name = participant.spec.name.as_bytes();
        let name = &name[..name.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&participant.quota.rate(now).unwrap_or(0.0).to_le_bytes());
        out.extend_from_slice(&(endpoints.len() as u16).to_le_bytes());
        for learner in endpoints {
            // What was never held back by its limit has learned nothing about it.
            let belief = learner.belief();
            let known = [
                learner.level(),
                belief.map_or(0.0, |b| b.capacity),
                belief.map_or(0.0, |b| b.latency),
                belief.map_or(1.0, |b| b.deviation),
            ];
            for number in known {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    let check = check(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadSnapshot> {
        let (part, rest) = self.0.split_at_checked(length).ok_or(BadSnapshot::Damaged)?;
        self.0 = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadSnapshot> {
        self.take(N)?.try_into().map_err(|_| BadSnapshot::Damaged)
    }

    fn number(&mut self) -> Result<f64, BadSnapshot> {
        let number = f64::from_le_bytes(self.array()?);
        if number.is_finite() && number >= 0.0 { Ok(number) } else { Err(BadSnapshot::Damaged) }
    }
}

struct Known<'a> {
    name: &'a [u8],
    quota: f64,
    endpoints: Vec<[f64; 4]>,
}

fn read(bytes: &[u8]) -> Result<(Timestamp, Vec<Known<'_>>), BadSnapshot> {
    let split = bytes.len().checked_sub(8).ok_or(BadSnapshot::Damaged)?;
    let (body, sum) = bytes.split_at(split);
    let mut reader = Reader(body);
    if reader.take(4)? != MAGIC {
        return Err(BadSnapshot::Damaged);
    }
    let version = reader.take(1)?[0];
    if version != VERSION {
        return Err(BadSnapshot::Version(version));
    }
    if check(body).to_le_bytes() != sum {
        return Err(BadSnapshot::Damaged);
    }
    let taken_at = Timestamp(u64::from_le_bytes(reader.array()?));
    let count = u32::from_le_bytes(reader.array()?);
    if count > PARTICIPANTS_MAX {
        return Err(BadSnapshot::Damaged);
    }
    let mut all = Vec::new();
    for _ in 0..count {
        let length = u16::from_le_bytes(reader.array()?);
        let name = reader.take(usize::from(length))?;
        let quota = reader.number()?;
        let mut endpoints = Vec::new();
        for _ in 0..u16::from_le_bytes(reader.array()?) {
            endpoints.push([reader.number()?, reader.number()?, reader.number()?, reader.number()?]);
        }
        all.push(Known { name, quota, endpoints });
    }
    if reader.0.is_empty() { Ok((taken_at, all)) } else { Err(BadSnapshot::Damaged) }
}

pub(crate) fn restore(
    now: Timestamp,
    bytes: &[u8],
    participants: &mut [Option<Participant>],
) -> Result<usize, BadSnapshot> {
    let (taken_at, all) = read(bytes)?;
    let age_us = now.0.saturating_sub(taken_at.0);
    if age_us > AGE_MAX_US {
        return Ok(0);
    }
    let age_hours = age_us as f64 / 3.6e9;
    let mut restored = 0;
    for participant in participants.iter_mut().flatten() {
        let Some(known) = all.iter().find(|k| k.name == participant.spec.name.as_bytes()) else { continue };
        restored += 1;
        participant.quota.recall(known.quota, now);
        for (endpoint, [level, capacity, latency, deviation]) in
            participant.endpoints.all_mut().iter_mut().zip(&known.endpoints)
        {
            if let Some(learner) = &mut endpoint.learner {
                // A tenth more uncertain with each hour.
                let deviation = (deviation * deviation + 0.01 * age_hours).sqrt();
                learner.recall(*level, *capacity, *latency, deviation);
            }
        }
        participant.recalled();
    }
    Ok(restored)
}
