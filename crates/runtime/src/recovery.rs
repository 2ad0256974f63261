//! From a data directory to a running node: identity, history, checkpoints, journal, in that order.

use std::path::Path;
use std::sync::Arc;

use compact_str::CompactString;
use model::{PartitionId, Timestamp};
use partition::Partition;
use partition::branch::Branch;
use plan::{Participant, Saga};
use store::catalog::{Catalog, NodeIdentity};
use store::history::History;
use store::statelog::StateLog;

use crate::engine::StartError;
use crate::idempotency::{self, LiveKeys};
use crate::prepare::TENANT;
use crate::settings::Settings;
use crate::tables::{PlanVersion, Tables};
use crate::worker::{Around, Host, ParkedCall, push_history_of};

/// The version of the hash that places keys.
pub(crate) const HASH_VERSION: u16 = 1;

fn failed(what: &str, e: impl std::fmt::Display) -> StartError {
    StartError(format!("{what}: {e}"))
}

/// The catalog and who this directory is, with the epoch of this start.
pub(crate) fn open_catalog(settings: &Settings, now: Timestamp) -> Result<(Catalog, NodeIdentity, bool), StartError> {
    let mut catalog = Catalog::open(&settings.data.join("catalog")).map_err(|e| failed("the catalog", e))?;
    for warning in catalog.warnings() {
        tracing::warn!(warning, "the catalog was repaired");
    }
    let known = catalog.identity().map_err(|e| failed("the node's identity", e))?;
    let is_new = known.is_none();
    let mut identity = known.unwrap_or(NodeIdentity {
        partitions: settings.partitions,
        hash_version: HASH_VERSION,
        incarnation: 1,
        epoch: 0,
        created_at_us: now.0,
    });
    if identity.hash_version != HASH_VERSION {
        return Err(StartError(format!(
            "the data directory places keys by hash version {}, this program knows {HASH_VERSION}: use the program that made it",
            identity.hash_version
        )));
    }
    identity.epoch += 1;
    catalog.set_identity(&identity).map_err(|e| failed("the node's identity", e))?;
    Ok((catalog, identity, is_new))
}

/// What was in force when the node last ran.
pub(crate) fn tables(catalog: &Catalog) -> Result<Tables, StartError> {
    let mut tables = Tables::default();
    for object in catalog.list("participant") {
        let spec = Participant::from_bytes(&object.bytes).map_err(|e| failed("a stored participant", e))?;
        tables.put_participant(spec);
    }
    for object in catalog.list("definition") {
        let (bytes, text) =
            split_definition(&object.bytes).ok_or_else(|| failed("a stored definition", "it is cut"))?;
        tables.put_version(plan_version(bytes, text)?);
    }
    for object in catalog.list("active") {
        let version = std::str::from_utf8(&object.bytes).ok().and_then(|text| text.parse().ok());
        if let (Some(definition), Some(version)) = (tables.definitions.get_mut(object.key.name.as_str()), version) {
            definition.active = version;
        }
    }
    for object in catalog.list("pause") {
        let Some(pause) = crate::applying::read_pause(&object.bytes) else { continue };
        match object.key.name.split_once('/') {
            _ if object.key.name == crate::applying::NODE => tables.paused = Some(pause),
            Some(("definition", name)) => {
                if let Some(definition) = tables.definitions.get_mut(name) {
                    definition.paused = Some(pause);
                }
            }
            Some(("participant", name)) => {
                if let Some(place) = tables.places.get(name) {
                    tables.participants[*place as usize].paused = Some(pause);
                }
            }
            _ => {}
        }
    }
    crate::steering::read_pins(catalog, &mut tables);
    Ok(tables)
}

/// A stored definition: the plan's bytes with their length before them, then the text as applied.
pub(crate) fn join_definition(plan: &[u8], text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + plan.len() + text.len());
    out.extend_from_slice(&(plan.len() as u32).to_le_bytes());
    out.extend_from_slice(plan);
    out.extend_from_slice(text.as_bytes());
    out
}

fn split_definition(stored: &[u8]) -> Option<(&[u8], &str)> {
    let (len, rest) = stored.split_first_chunk::<4>()?;
    let (plan, text) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((plan, std::str::from_utf8(text).ok()?))
}

fn plan_version(bytes: &[u8], text: &str) -> Result<PlanVersion, StartError> {
    let saga = Saga::from_bytes(bytes).map_err(|e| failed("a stored definition", e))?;
    Ok(PlanVersion { hash: Saga::hash_of(bytes), bytes: Arc::from(bytes), saga: Arc::new(saga), text: text.to_owned() })
}

/// One partition's checkpoint.
pub(crate) struct Restored {
    pub(crate) log: StateLog,
    pub(crate) partition: Partition,
    pub(crate) hash: Option<journal::BatchHash>,
    /// Parked calls of rows that were left on disk.
    pub(crate) parked: Vec<(u32, ParkedCall)>,
}

/// Opens a partition's rows and rebuilds what is derived from them.
///
/// Beyond `resident_max` rows, those that only wait for a participant stay on disk.
pub(crate) fn restore(
    dir: &Path,
    id: PartitionId,
    resident_max: usize,
    keys: &LiveKeys,
    tables: &Tables,
) -> Result<Restored, StartError> {
    let what = format!("the checkpoint of partition {}", id.0);
    let (log, restored) = StateLog::open(&dir.join(format!("p{:04}", id.0)), store::statelog::Settings::default())
        .map_err(|e| failed(&what, e))?;
    let Some(restored) = restored else {
        return Ok(Restored { log, partition: Partition::new(id), hash: None, parked: Vec::new() });
    };
    for warning in &restored.warnings {
        tracing::warn!(partition = id.0, warning, "a checkpoint was repaired");
    }
    let mut partition = wire::checkpoint::read(id, &restored.meta).map_err(|e| failed(&what, e))?;
    let mut wrong = None;
    let mut kept = 0;
    let mut parked = Vec::new();
    let around = Around { tables, held: &[] };
    log.for_each_row(|key, row| {
        let plans = &partition.plans;
        match wire::row::read(row, |hash| plans.find(hash)) {
            Ok(tx) => {
                let is_parked = tx.steps.iter().all(|s| matches!(s.branch, Branch::Idle | Branch::Parked));
                let keep = kept < resident_max || !is_parked;
                kept += usize::from(keep);
                if let Some((scope, _)) = live_scope(&tx, &partition) {
                    keys.set(scope, tx.id, tx.submission_digest);
                }
                if !keep {
                    parked.extend(parked_calls(&tx, &partition, &around));
                }
                partition.restore_row(tx, keep);
            }
            Err(e) => {
                wrong.get_or_insert_with(|| format!("row {key}: {e}"));
            }
        }
    })
    .map_err(|e| failed(&what, e))?;
    if let Some(wrong) = wrong {
        return Err(failed(&what, wrong));
    }
    let hash = Some(journal::BatchHash(restored.batch_hash));
    Ok(Restored { log, partition, hash, parked })
}

/// By partition why it is frozen, if it is, and the hash at its end; and how many entries were replayed.
type Replayed = (Vec<Option<String>>, Vec<journal::BatchHash>, u64);

/// Replays the journal onto the checkpoints. A partition whose record is damaged, or that cannot take its entries,
/// is frozen; the others start.
pub(crate) fn replay(
    opened: &mut journal::Opened,
    restored: &mut [Restored],
    history: &History,
    keys: &LiveKeys,
) -> Result<Replayed, StartError> {
    let mut starts = journal::Starts::new();
    for r in restored.iter() {
        if r.hash.is_some() {
            starts.insert(r.partition.id.0, journal::Start { seq: r.partition.seq, hash: r.hash });
        }
    }
    let partitions = restored.len();
    let mut frozen: Vec<Option<String>> = vec![None; partitions];
    let mut tails: Vec<journal::BatchHash> =
        restored.iter().map(|r| r.hash.unwrap_or(journal::BatchHash::NONE)).collect();
    let mut entries = 0;
    // The journal is read once; each thread applies what is its partitions', in order.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(partitions).max(1);
    let mut shares: Vec<Vec<(usize, &mut Restored)>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, r) in restored.iter_mut().enumerate() {
        shares[place % threads].push((place, r));
    }
    let batches = opened.batches(&starts).map_err(|e| failed("the journal", e))?;
    let applied = std::thread::scope(|scope| -> Result<Vec<Share>, StartError> {
        let mut ways = Vec::new();
        let mut handles = Vec::new();
        for mut mine in shares {
            let (way, queue) = std::sync::mpsc::sync_channel(BATCHES_AHEAD);
            ways.push(way);
            handles.push(scope.spawn(move || apply_share(&mut mine, &queue, history, keys)));
        }
        for batch in batches {
            match batch.map_err(|e| failed("the journal", e))? {
                journal::Recovered::Damaged(damage) => {
                    tracing::error!(%damage, "part of the journal is damaged; its partition is frozen");
                    if let Some(place) = damage.partition.map(usize::from).filter(|p| *p < partitions) {
                        frozen[place].get_or_insert_with(|| damage.to_string());
                    }
                }
                journal::Recovered::Batch(batch) => {
                    let place = usize::from(batch.partition);
                    // A thread that has given up has closed its queue, and says why when it is joined.
                    if place < partitions && ways[place % threads].send(batch).is_err() {
                        break;
                    }
                }
            }
        }
        drop(ways);
        handles.into_iter().map(|h| h.join().map_err(|_| StartError("a replay panicked".into()))?).collect()
    })?;
    for share in applied {
        entries += share.entries;
        for (place, hash) in share.tails {
            tails[place] = hash;
        }
        for (place, why) in share.frozen {
            frozen[place].get_or_insert(why);
        }
    }
    for (place, why) in frozen.iter().enumerate() {
        if why.is_some() {
            opened.freeze(place as u16);
        }
    }
    Ok((frozen, tails, entries))
}

/// Batches that wait for one thread at most.
const BATCHES_AHEAD: usize = 1_024;

/// What one thread of a replay did.
#[derive(Default)]
struct Share {
    entries: u64,
    tails: std::collections::BTreeMap<usize, journal::BatchHash>,
    frozen: std::collections::BTreeMap<usize, String>,
}

fn apply_share(
    mine: &mut [(usize, &mut Restored)],
    queue: &std::sync::mpsc::Receiver<journal::RecoveredBatch>,
    history: &History,
    keys: &LiveKeys,
) -> Result<Share, StartError> {
    let mut share = Share::default();
    let mut block = history.take_block();
    let mut row = Vec::new();
    while let Ok(batch) = queue.recv() {
        let place = usize::from(batch.partition);
        let Some((_, r)) = mine.iter_mut().find(|(p, _)| *p == place) else { continue };
        if share.frozen.contains_key(&place) {
            continue;
        }
        match apply_batch(r, &batch, history, keys, &mut block, &mut row) {
            Ok(n) => {
                share.entries += n;
                share.tails.insert(place, batch.hash);
            }
            Err(why) => {
                tracing::error!(partition = place, why, "a partition cannot be rebuilt and is frozen");
                share.frozen.insert(place, why);
            }
        }
        if block.bytes() > 4 << 20 {
            let full = std::mem::replace(&mut block, history.take_block());
            append(history, full)?;
        }
    }
    if !block.is_empty() {
        append(history, block)?;
    }
    Ok(share)
}

fn append(history: &History, mut block: store::history::Block) -> Result<(), StartError> {
    loop {
        match history.append(block) {
            Ok(_) => return Ok(()),
            Err(not) => match not.why {
                store::history::Refusal::Busy { .. } => {
                    block = not.block;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                why => return Err(StartError(format!("history cannot take what ended: {why:?}"))),
            },
        }
    }
}

fn apply_batch(
    r: &mut Restored,
    batch: &journal::RecoveredBatch,
    history: &History,
    keys: &LiveKeys,
    block: &mut store::history::Block,
    row: &mut Vec<u8>,
) -> Result<u64, String> {
    let mut entries = 0;
    // A panic here would recur at every start: it costs this partition, not the node (SEMANTICS 12).
    let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| -> Result<(), String> {
        let reader = wire::EntryReader::new(batch.entries(), batch.first_seq).map_err(|e| e.to_string())?;
        for entry in reader {
            let entry = entry.map_err(|e| format!("an entry of the batch at {}: {e}", batch.place))?;
            if let partition::EntryKind::Moves { tx, .. } = &entry.kind {
                bring_back(r, *tx)?;
            }
            let ended = r.partition.apply(&entry).map_err(|e| e.to_string())?;
            if let partition::EntryKind::Begin(begun) = &entry.kind
                && let Some(slot) = r.partition.plans.get(begun.plan)
            {
                let scope = idempotency::scope(TENANT, &slot.saga.name, &begun.idempotency_key);
                keys.set(scope, begun.id, begun.submission_digest);
            }
            if let Some(ended) = ended {
                if let Some((scope, _)) = live_scope(&ended, &r.partition) {
                    keys.ended(scope);
                }
                if !history.contains(ended.id.0).map_err(|e| e.to_string())? {
                    push_history_of(block, &ended, &r.partition, row);
                }
            }
            entries += 1;
        }
        Ok(())
    }));
    match applied {
        Ok(result) => result.map(|()| entries),
        Err(_) => Err(format!("applying the batch at {} panicked", batch.place)),
    }
}

fn bring_back(r: &mut Restored, tx: u64) -> Result<(), String> {
    if r.partition.presence(tx) != partition::state::Presence::Evicted {
        return Ok(());
    }
    let row =
        r.log.read(tx).map_err(|e| e.to_string())?.ok_or_else(|| format!("the row of transaction {tx} is missing"))?;
    let plans = &r.partition.plans;
    let live = wire::row::read(&row, |hash| plans.find(hash)).map_err(|e| e.to_string())?;
    r.partition.admit(live);
    Ok(())
}

/// The name by which a live transaction's submission is known, and its definition.
pub(crate) fn live_scope(tx: &partition::Transaction, partition: &Partition) -> Option<(u128, CompactString)> {
    let slot = partition.plans.get(tx.plan)?;
    Some((idempotency::scope(TENANT, &slot.saga.name, &tx.idempotency_key), slot.saga.name.clone()))
}

fn parked_calls(tx: &partition::Transaction, partition: &Partition, around: &Around<'_>) -> Vec<(u32, ParkedCall)> {
    partition::leader::effects_of(tx, partition, around)
        .into_iter()
        .filter_map(|effect| match effect {
            partition::Effect::Parked { call, participant } => Some((participant, ParkedCall::of(call))),
            _ => None,
        })
        .collect()
}

/// A rebuilt partition as its worker takes it over: in a new epoch, with everything in its queues that a restart
/// must take up again.
pub(crate) fn host(
    restored: Restored,
    tail: journal::BatchHash,
    frozen: Option<String>,
    identity: &NodeIdentity,
    tables: &Tables,
    now: Timestamp,
) -> Result<Host, StartError> {
    let around = Around { tables, held: &[] };
    let mut host = Host::new(restored.partition, tail, frozen);
    if host.frozen.is_some() {
        return Ok(host);
    }
    let entry = host
        .leader
        .open_epoch(identity.epoch, identity.incarnation, now)
        .map_err(|e| failed("opening the epoch", e))?;
    host.writer.push(&entry);
    let partition = &host.leader.partition;
    let mut parked = restored.parked;
    parked.retain(|(_, call)| partition.presence(call.tx()) == partition::state::Presence::Evicted);
    for seq in partition.live_seqs() {
        let Some(tx) = partition.get(seq) else { continue };
        if tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. })) {
            host.to_recover.push_back(seq);
        }
        if tx.steps.iter().any(|s| s.branch == Branch::Parked) {
            parked.extend(parked_calls(tx, partition, &around));
        }
    }
    parked.sort_unstable_by_key(|(_, call)| call.tx());
    for (participant, call) in parked {
        host.cold.push_back(call.tx());
        host.parked.entry(participant).or_default().push_back(call);
    }
    host.to_grant = partition.locks.overdue();
    Ok(host)
}
