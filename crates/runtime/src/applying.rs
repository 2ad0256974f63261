//! Applying files: checked together, compared with what is there, made durable as one change, then in force.

use std::sync::Arc;

use compact_str::CompactString;
use definition::{Checked, CheckedSaga, Known, SourceFile};
use model::Timestamp;
use plan::Saga;
use store::catalog::{ObjectKey, Op};

use crate::catalog::{Applied, AppliedObject, ApplyConflict, ApplyRefused, Change, PauseReport, SourceText};
use crate::recovery::join_definition;
use crate::shared::Shared;
use crate::tables::{PlanVersion, Tables};

/// Checks files against each other and against what is in force, and applies them whole or not at all.
pub(crate) fn apply(shared: &Shared, files: Vec<SourceText>, dry_run: bool) -> Result<Applied, ApplyRefused> {
    // One apply at a time: the catalog's lock is held until the new tables are published.
    let mut catalog = shared.catalog.lock();
    let tables = shared.tables();
    let sources: Vec<SourceFile> = files.into_iter().map(|f| SourceFile { path: f.path, text: f.text }).collect();
    let known = Known {
        participants: tables.participants.iter().map(|d| (d.spec.name.clone(), d.spec.as_ref().clone())).collect(),
        complete: true,
    };
    let checked = definition::check(&sources, &known);
    if checked.has_errors() {
        return Err(ApplyRefused::Invalid(checked.diagnostics));
    }
    let conflicts = conflicts(&checked, &tables);
    if !conflicts.is_empty() {
        return Err(ApplyRefused::Conflict(conflicts));
    }
    let mut next = Tables::clone(&tables);
    let mut ops = Vec::new();
    let mut objects = Vec::new();
    for item in &checked.participants {
        let spec = &item.participant;
        let before = tables.participant(&spec.name).map(|(_, p)| p);
        let change = match before {
            None => Change::Created,
            Some(before) if before == spec => Change::Unchanged,
            Some(_) => Change::Changed,
        };
        if change != Change::Unchanged {
            ops.push(put("participant", &spec.name, 0, spec.to_bytes()));
            next.put_participant(spec.clone());
        }
        objects.push(AppliedObject {
            kind: "participant",
            name: spec.name.to_string(),
            version: None,
            change,
            active: true,
        });
    }
    for item in &checked.sagas {
        let saga = &item.plan;
        let exists = tables.active(&saga.name, Some(saga.version)).is_some();
        if !exists {
            let bytes = saga.to_bytes();
            let text = sources.iter().find(|s| s.path == item.source_path).map_or("", |s| s.text.as_str());
            ops.push(put("definition", &saga.name, u64::from(saga.version), join_definition(&bytes, text)));
            next.put_version(PlanVersion {
                hash: Saga::hash_of(&bytes),
                bytes: Arc::from(bytes),
                saga: Arc::new(saga.clone()),
                text: text.to_owned(),
            });
            let definition = next.definitions.entry(saga.name.clone()).or_default();
            // The highest applied version is active until somebody activates another.
            if saga.version > definition.active {
                definition.active = saga.version;
                ops.push(put("active", &saga.name, 0, saga.version.to_string().into_bytes()));
            }
        }
        let active = next.definitions.get(&saga.name).is_some_and(|d| d.active == saga.version);
        let change = if exists { Change::Unchanged } else { Change::Created };
        objects.push(AppliedObject {
            kind: "definition",
            name: saga.name.to_string(),
            version: Some(saga.version),
            change,
            active,
        });
    }
    if !dry_run && !ops.is_empty() {
        catalog.change(ops).map_err(|e| ApplyRefused::Unavailable(e.to_string()))?;
        shared.declare(&next);
        shared.publish(next);
    }
    Ok(Applied { objects, diagnostics: checked.diagnostics })
}

fn put(kind: &str, name: &str, version: u64, bytes: Vec<u8>) -> Op {
    Op::Put { key: ObjectKey::new(kind, name, version), bytes }
}

fn conflicts(checked: &Checked, tables: &Tables) -> Vec<ApplyConflict> {
    checked.sagas.iter().filter_map(|item| conflict(item, tables)).collect()
}

fn conflict(item: &CheckedSaga, tables: &Tables) -> Option<ApplyConflict> {
    let saga = &item.plan;
    let definition = tables.definitions.get(&saga.name)?;
    let refused = |what: String, hint: String| {
        Some(ApplyConflict { kind: "definition", name: saga.name.to_string(), what, hint })
    };
    if let Some(other) = definition.versions.get(&saga.version) {
        if other.hash == item.fingerprint() {
            return None;
        }
        let highest = definition.versions.keys().next_back().copied().unwrap_or(saga.version);
        let difference = difference(&other.saga, saga);
        return refused(
            format!("version {} exists with other content ({difference})", saga.version),
            format!("set \"version: {}\" in {}:{}", highest + 1, item.source_path, item.version_line),
        );
    }
    let any = definition.versions.values().next_back()?;
    if any.saga.key != saga.key {
        return refused(
            format!("its key is another than in version {}: a resubmission could begin twice", any.saga.version),
            format!("keep the key, or give the definition another name, in {}", item.source_path),
        );
    }
    None
}

/// The first difference, in words.
fn difference(old: &Saga, new: &Saga) -> String {
    for (a, b) in old.steps.iter().zip(&new.steps) {
        if a.name != b.name {
            return format!("step \"{}\", now \"{}\"", a.name, b.name);
        }
        if a.timeout != b.timeout {
            let show = |d: Option<std::time::Duration>| d.map_or_else(|| "not set".into(), shown);
            return format!("step \"{}\": timeout {}, now {}", a.name, show(a.timeout), show(b.timeout));
        }
        if a != b {
            return format!("step \"{}\"", a.name);
        }
    }
    if old.steps.len() != new.steps.len() {
        return format!("{} steps, now {}", old.steps.len(), new.steps.len());
    }
    let part = if old.input != new.input {
        "input"
    } else if old.key != new.key {
        "key"
    } else if old.timeout != new.timeout {
        "timeout"
    } else if old.output != new.output {
        "output"
    } else if old.lock != new.lock {
        "lock"
    } else {
        "its description"
    };
    part.to_owned()
}

fn shown(d: std::time::Duration) -> String {
    let ms = d.as_millis();
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

/// The name of the pause of all calls.
pub(crate) const NODE: &str = "node/calls";

/// A pause as the catalog keeps it.
pub(crate) fn write_pause(pause: &PauseReport) -> Vec<u8> {
    serde_json::json!({ "reason": pause.reason, "who": pause.who, "since_us": pause.since.0 }).to_string().into_bytes()
}

pub(crate) fn read_pause(bytes: &[u8]) -> Option<PauseReport> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(PauseReport {
        reason: value.get("reason")?.as_str()?.to_owned(),
        who: value.get("who")?.as_str()?.to_owned(),
        since: Timestamp(value.get("since_us")?.as_u64()?),
    })
}

/// Records a pause or its end: durable before it has an effect.
pub(crate) fn set_pause(shared: &Shared, kind: &str, name: &str, pause: Option<PauseReport>) -> Result<(), String> {
    let mut catalog = shared.catalog.lock();
    let key = ObjectKey::new("pause", format!("{kind}/{name}"), 0);
    let op = match &pause {
        Some(pause) => Op::Put { key, bytes: write_pause(pause) },
        None => Op::Delete { key },
    };
    catalog.change(vec![op]).map_err(|e| e.to_string())?;
    let mut next = Tables::clone(&shared.tables());
    if format!("{kind}/{name}") == NODE {
        next.paused = pause;
    } else if kind == "definition" {
        if let Some(definition) = next.definitions.get_mut(&CompactString::new(name)) {
            definition.paused = pause;
        }
    } else if let Some(place) = next.places.get(name).copied() {
        next.participants[place as usize].paused = pause;
    }
    shared.declare(&next);
    shared.publish(next);
    Ok(())
}

/// Makes another applied version the one that new submissions get.
pub(crate) fn activate(shared: &Shared, name: &str, version: u32) -> Result<(), String> {
    let mut catalog = shared.catalog.lock();
    catalog.change(vec![put("active", name, 0, version.to_string().into_bytes())]).map_err(|e| e.to_string())?;
    let mut next = Tables::clone(&shared.tables());
    if let Some(definition) = next.definitions.get_mut(&CompactString::new(name)) {
        definition.active = version;
    }
    shared.publish(next);
    Ok(())
}
