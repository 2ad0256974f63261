//! What is learned about participants, kept over restarts, and what a person says against it: a fixed limit, or that
//! it be forgotten.
//!
//! The learned state is one small file that is replaced as a whole, every half minute and at the end. Losing it costs
//! learning time, never safety, so it is not synced with each change and a damaged one is ignored with a warning. A
//! person's word is in the catalog: durable before it has an effect, with who said it and why.
//!
//! Left out: how limits are learned, which is `load`'s.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use model::Timestamp;
use serde_json::Value;
use store::catalog::{ObjectKey, Op};

use crate::catalog::PinReport;
use crate::shared::Shared;
use crate::tables::Tables;

const FILE: &str = "learned";
/// A file of this size is not ours.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often it is written.
pub(crate) const SAVE_EVERY_US: u64 = 30_000_000;

fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Brings back what was learned before. Participants must be declared by now.
pub(crate) fn recall(shared: &Shared, now: Timestamp) {
    let path = path(&shared.settings.data);
    let bytes = match std::fs::metadata(&path) {
        Ok(found) if found.len() <= FILE_BYTES_MAX => std::fs::read(&path),
        Ok(_) => Err(std::io::Error::other("it is too large to be ours")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        Err(e) => Err(e),
    };
    let recalled = match bytes {
        Ok(bytes) => shared.load.lock().restore(now, &bytes).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    match recalled {
        Ok(participants) => tracing::info!(participants, "what was learned about participants is known again"),
        Err(why) => tracing::warn!(why, path = %path.display(), "limits are learned anew"),
    }
}

/// Keeps what is known now.
pub(crate) fn keep(shared: &Shared) {
    let bytes = shared.load.lock().snapshot(shared.clock.now());
    let (path, fresh) = (path(&shared.settings.data), shared.settings.data.join("learned.new"));
    let written = std::fs::File::create(&fresh).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&fresh, &path)
    });
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "what was learned about participants could not be kept");
    }
}

/// A person's limit as the catalog keeps it.
fn write_pin(pin: &PinReport) -> Vec<u8> {
    serde_json::json!({
        "in_flight": pin.in_flight, "reason": pin.reason, "who": pin.who, "since_us": pin.since.0
    })
    .to_string()
    .into_bytes()
}

fn read_pin(bytes: &[u8]) -> Option<PinReport> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    Some(PinReport {
        in_flight: u32::try_from(value.get("in_flight")?.as_u64()?).ok()?,
        reason: value.get("reason")?.as_str()?.to_owned(),
        who: value.get("who")?.as_str()?.to_owned(),
        since: Timestamp(value.get("since_us")?.as_u64()?),
    })
}

/// Pins that were said before the node last stopped.
pub(crate) fn read_pins(catalog: &store::catalog::Catalog, tables: &mut Tables) {
    for object in catalog.list("pin") {
        let place = tables.places.get(object.key.name.as_str()).copied();
        if let (Some(pin), Some(place)) = (read_pin(&object.bytes), place) {
            tables.participants[place as usize].pinned = Some(pin);
        }
    }
}

/// Fixes the limit of a participant, or lets it be learned again: durable before it has an effect.
pub(crate) fn set_pin(shared: &Shared, name: &str, pin: Option<PinReport>) -> Result<(), String> {
    let mut catalog = shared.catalog.lock();
    let key = ObjectKey::new("pin", name, 0);
    let op = match &pin {
        Some(pin) => Op::Put { key, bytes: write_pin(pin) },
        None => Op::Delete { key },
    };
    catalog.change(vec![op]).map_err(|e| e.to_string())?;
    let mut next = Tables::clone(&shared.tables());
    if let Some(place) = next.places.get(name).copied() {
        next.participants[place as usize].pinned = pin;
    }
    shared.declare(&next);
    shared.publish(next);
    Ok(())
}

/// Forgets what was learned about a participant. Who did it last, and why, stays in the catalog.
pub(crate) fn forget(shared: &Shared, name: &str, reason: &str, who: &str) -> Result<(), String> {
    let note = serde_json::json!({ "reason": reason, "who": who, "since_us": shared.clock.now().0 });
    let key = ObjectKey::new("forgotten", name, 0);
    shared
        .catalog
        .lock()
        .change(vec![Op::Put { key, bytes: note.to_string().into_bytes() }])
        .map_err(|e| e.to_string())?;
    if let Some(place) = shared.tables().places.get(name).copied() {
        shared.load.lock().forget(place);
    }
    keep(shared);
    Ok(())
}
