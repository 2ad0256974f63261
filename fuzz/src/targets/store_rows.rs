//! A partition's checkpoint on disk: a manifest and segments whose hashes hold but whose fields lie, then bytes changed
//! anywhere. Looking never falls over; what opens gives rows that can be read one by one and all together, and opens
//! again the same.

use std::collections::BTreeMap;
use std::fs;

use arbitrary::{Result, Unstructured};
use store::statelog::{self, Settings, StateLog};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::store_files::{crc, damage, with_folder};
use crate::choices::some_bytes;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    with_folder(|dir| {
        for (name, bytes) in files(&mut choices) {
            fs::write(dir.join(name), bytes).expect("a file in memory");
        }
        statelog::inspect(dir).expect("looking fails only where the disk does");
        let rows = match StateLog::open(dir, Settings::default()) {
            Ok((log, restored)) => rows(&log, restored.map(|r| (r.seq, r.rows))),
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let (log, restored) = StateLog::open(dir, Settings::default()).expect("what was opened once opens again");
        assert!(
            restored.as_ref().is_none_or(|r| r.warnings.is_empty()),
            "the first opening set aside what was damaged"
        );
        assert_eq!(self::rows(&log, restored.map(|r| (r.seq, r.rows))), rows);
    });
}

type Rows = (Option<(u64, u64)>, BTreeMap<u64, Vec<u8>>);

fn rows(log: &StateLog, restored: Option<(u64, u64)>) -> Rows {
    let mut rows = BTreeMap::new();
    log.for_each_row(|key, row| assert_eq!(rows.insert(key, row.to_vec()), None, "row {key} twice"))
        .expect("what was verified is read");
    assert_eq!(restored.map_or(0, |(_, count)| count), rows.len() as u64);
    for key in rows.keys() {
        assert!(log.contains(*key));
        // A record's own checksum may be wrong inside a section whose hash holds: then it is said, not given back.
        if let Ok(row) = log.read(*key) {
            assert_eq!(row.as_ref(), rows.get(key));
        }
    }
    (restored, rows)
}

/// Up to two checkpoints over up to two segments; what stands there when the choices run out.
fn files(choices: &mut Unstructured<'_>) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut parts = Vec::new();
    for id in 1..=2_u32 {
        let mut bytes = Vec::new();
        let chain = segment(id, &mut bytes, choices).unwrap_or(0);
        parts.push((id, bytes.len() as u64, chain));
        let _ = damage(&mut bytes, choices);
        files.push((format!("rows-{id:08x}.seg"), bytes));
    }
    for generation in 1..=2_u64 {
        if let Ok((name, bytes)) = manifest(generation, &parts, choices) {
            files.push((name, bytes));
        }
    }
    files
}

fn segment(id: u32, out: &mut Vec<u8>, choices: &mut Unstructured<'_>) -> Result<u64> {
    let mut chain = 0;
    for generation in 0..choices.int_in_range(0..=2_u64)? {
        let mut body = Vec::new();
        let records = choices.int_in_range(0..=3_u32)?;
        for _ in 0..records {
            let row = some_bytes(choices, 20)?;
            let length = match choices.int_in_range(0..=12_u8)? {
                0 => choices.arbitrary::<u32>()?,
                1 | 2 => 0x00ff_ffff,
                _ => row.len() as u32,
            };
            let mut record = length.to_le_bytes().to_vec();
            record.extend_from_slice(&choices.int_in_range(1..=4_u64)?.to_le_bytes());
            if length != 0x00ff_ffff {
                record.extend_from_slice(row);
            }
            let check = if choices.ratio(1_u8, 20)? { 7 } else { crc(&record) };
            body.extend_from_slice(&check.to_le_bytes());
            body.extend_from_slice(&record);
        }
        let mut head = 0x3153_5452_u32.to_le_bytes().to_vec();
        head.extend_from_slice(&id.to_le_bytes());
        head.extend_from_slice(&generation.to_le_bytes());
        let length = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { body.len() as u32 };
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&records.to_le_bytes());
        let hash = xxh3_64_with_seed(&body, xxh3_64_with_seed(&head, 0));
        head.extend_from_slice(&hash.to_le_bytes());
        chain = xxh3_64_with_seed(&hash.to_le_bytes(), chain);
        out.extend_from_slice(&head);
        out.extend_from_slice(&body);
    }
    Ok(chain)
}

fn manifest(generation: u64, parts: &[(u32, u64, u64)], choices: &mut Unstructured<'_>) -> Result<(String, Vec<u8>)> {
    let mut out = 0x3150_4b43_4754_5354_u64.to_le_bytes().to_vec();
    let version = if choices.ratio(1_u8, 30)? { choices.arbitrary()? } else { 1_u32 };
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&choices.arbitrary::<u64>()?.to_le_bytes());
    out.extend_from_slice(&[9; 16]);
    let named = &parts[..choices.int_in_range(0..=parts.len())?];
    let claimed = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { named.len() as u32 };
    out.extend_from_slice(&claimed.to_le_bytes());
    for (id, length, chain) in named {
        let id = if choices.ratio(1_u8, 20)? { choices.int_in_range(0..=4)? } else { *id };
        let length = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { *length };
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&chain.to_le_bytes());
    }
    let meta = choices.bytes(choices.len().min(8))?;
    let claimed = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { meta.len() as u64 };
    out.extend_from_slice(&claimed.to_le_bytes());
    out.extend_from_slice(meta);
    let hash = if choices.ratio(1_u8, 20)? { 7 } else { xxh3_128(&out) };
    out.extend_from_slice(&hash.to_le_bytes());
    Ok((format!("checkpoint-{generation:016x}"), out))
}
