//! The catalog's objects: who the directory is, definitions and participants that decode, and every plan in use.
//!
//! Left out: whether a definition is sensible; `tidegate check` says that before it is applied.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use plan::{Participant, PlanHash, Saga};
use store::catalog::NodeIdentity;

use super::finished::Plans;
use super::reading::objects::{self, Objects};
use super::replay::Outcome;
use super::{Doctor, RESTORE};
use crate::recovery::HASH_VERSION;
use crate::tables::{PlanVersion, Tables};

pub(super) const OBJECTS: &str = "catalog.objects";
pub(super) const PLANS: &str = "catalog.plans";

const APPLY: &str = "apply it again with the same version and text, or restore from a backup";

/// What is in force, as far as it can be read.
pub(super) fn read(doctor: &mut Doctor<'_>, dir: &Path) -> (Option<NodeIdentity>, Tables) {
    let mut tables = Tables::default();
    let found = match objects::read(dir) {
        Ok(found) => found,
        Err(error) => {
            doctor.book.wrong(OBJECTS, error.place(), error.what, RESTORE);
            return (None, tables);
        }
    };
    doctor.book.looked_at(OBJECTS, "changes", found.changes);
    doctor.book.looked_at(OBJECTS, "objects", found.objects.len() as u64);
    let place = dir.join("catalog.log").display().to_string();
    let identity = found.identity();
    match identity {
        None => doctor.book.wrong(OBJECTS, &place, "the catalog does not say who this directory is", RESTORE),
        Some(identity) if identity.hash_version != HASH_VERSION => {
            let what =
                format!("keys are placed by hash version {}, this program knows {HASH_VERSION}", identity.hash_version);
            doctor.book.wrong(OBJECTS, &place, what, "use the program that made the directory");
        }
        Some(_) => {}
    }
    participants(doctor, &found, &place, &mut tables);
    definitions(doctor, &found, &place, &mut tables);
    for (key, bytes) in found.of_kind("active") {
        doctor.book.looked_at(OBJECTS, "active versions", 1);
        let version = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        let known = tables.definitions.get(key.name.as_str());
        if !known.zip(version).is_some_and(|(known, version)| known.versions.contains_key(&version)) {
            let what = format!("the active version of \"{}\" ({version:?}) is not among its versions", key.name);
            doctor.book.wrong(OBJECTS, &place, what, APPLY);
        }
    }
    (identity, tables)
}

fn participants(doctor: &mut Doctor<'_>, found: &Objects, place: &str, tables: &mut Tables) {
    for (key, bytes) in found.of_kind("participant") {
        doctor.book.looked_at(OBJECTS, "participants", 1);
        match Participant::from_bytes(bytes) {
            Ok(spec) if spec.name == key.name.as_str() => tables.put_participant(spec),
            Ok(spec) => {
                let what = format!("participant \"{}\" is stored under the name \"{}\"", spec.name, key.name);
                doctor.book.wrong(OBJECTS, place, what, APPLY);
            }
            Err(error) => {
                let what = format!("participant \"{}\" does not decode: {error}", key.name);
                doctor.book.wrong(OBJECTS, place, what, APPLY);
            }
        }
    }
}

fn definitions(doctor: &mut Doctor<'_>, found: &Objects, place: &str, tables: &mut Tables) {
    for (key, stored) in found.of_kind("definition") {
        doctor.book.looked_at(OBJECTS, "definitions", 1);
        let version = split(stored).ok_or_else(|| "it is cut".to_owned()).and_then(|(bytes, text)| {
            let saga = Saga::from_bytes(bytes).map_err(|error| error.to_string())?;
            if saga.name != key.name.as_str() || u64::from(saga.version) != key.version {
                return Err(format!("it is \"{}\" version {}", saga.name, saga.version));
            }
            let hash = Saga::hash_of(bytes);
            Ok(PlanVersion { hash, bytes: Arc::from(bytes), saga: Arc::new(saga), text: text.to_owned() })
        });
        match version {
            Ok(version) => tables.put_version(version),
            Err(why) => {
                let what = format!("definition \"{}\" version {} cannot be used: {why}", key.name, key.version);
                doctor.book.wrong(OBJECTS, place, what, APPLY);
            }
        }
    }
}

/// A stored definition: the plan's bytes with their length before them, then the text as applied.
fn split(stored: &[u8]) -> Option<(&[u8], &str)> {
    let (len, rest) = stored.split_first_chunk::<4>()?;
    let (plan, text) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((plan, std::str::from_utf8(text).ok()?))
}

/// Every plan that a partition's journal names is in the catalog too, with the same bytes.
pub(super) fn plans<'a>(doctor: &mut Doctor<'_>, tables: &'a Tables, outcomes: &[Outcome]) -> Plans<'a> {
    let mut others: HashMap<PlanHash, _> = HashMap::new();
    for (id, outcome) in outcomes.iter().enumerate() {
        let Some(state) = &outcome.state else { continue };
        for slot in state.partition.plans.iter() {
            doctor.book.looked_at(PLANS, "plans in use", 1);
            let what = if Saga::hash_of(&slot.bytes) != slot.hash {
                "the journal's bytes of it do not match its hash"
            } else if !tables.plans.contains_key(&slot.hash) {
                "it is not in the catalog: running transactions go on, ended ones cannot be shown"
            } else {
                continue;
            };
            let name = format!("\"{}\" version {}", slot.saga.name, slot.saga.version);
            doctor.book.wrong(PLANS, format!("partition {id}, plan {name}"), what, APPLY);
            others.insert(slot.hash, Arc::clone(slot));
        }
    }
    Plans { tables, others }
}
