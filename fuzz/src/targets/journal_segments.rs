//! Segments of a journal that a confused or damaged disk might show: groups and batches whose checks hold but whose
//! numbers lie, then bytes changed anywhere. Looking at it and opening it never falls over and never reserves what a
//! length field claims; what opening gives back is a chain without a gap (JR-2), twice the same; and once opened, the
//! journal is whole: a second opening finds neither damage nor a torn end that the first did not report.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use journal::batch::{Batch, BatchHash};
use journal::disk::Disk;
use journal::disk::sim::SimDisk;
use journal::format::{GroupFrame, SUPERSEDES_NOTHING, SegmentHeader};
use journal::{Recovered, Settings, inspect};

use crate::choices::some_bytes;

const ALIGN: u32 = 512;
/// Small, so that preparing one costs little.
const SEGMENT_BYTES: u64 = 16 << 10;
const SALT: u64 = 0x5a17;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let disk = SimDisk::new(7, 1 << 30);
    let _ = write(&disk, &mut choices);
    let looked: Arc<dyn Disk> = Arc::new(disk.clone());
    let seen = inspect::inspect_on(&looked).expect("looking fails only where the disk does");
    for partition in seen.partitions.values() {
        assert!(partition.last_seq.saturating_add(1) >= partition.first_seq);
    }
    let Ok(opened) = journal::open_on(settings(), looked) else { return };
    let first = given(&opened);
    assert_eq!(first, given(&opened), "read twice, the same twice");
    drop(opened);
    let again: Arc<dyn Disk> = Arc::new(disk.after_process_death());
    let opened = journal::open_on(settings(), again).expect("what was opened once opens again");
    assert_eq!(opened.recovery().torn, None, "the first opening cut what was torn");
    assert_eq!(first, given(&opened), "opening changes nothing that was given back");
}

fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_BYTES, align_bytes: ALIGN, keep_free_bytes: 0, ..Settings::new("fuzz") }
}

/// What is given back: the batches of each partition must follow each other.
fn given(opened: &journal::Opened) -> Vec<(u16, u64, u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut next: BTreeMap<u16, (u64, BatchHash)> = BTreeMap::new();
    let Ok(batches) = opened.batches(&journal::Starts::new()) else { return all };
    for item in batches {
        match item {
            Ok(Recovered::Batch(batch)) => {
                if let Some((seq, hash)) = next.get(&batch.partition) {
                    assert_eq!((batch.first_seq, batch.prev_hash), (*seq, *hash), "JR-2: {batch:?}");
                }
                next.insert(batch.partition, (batch.last_seq.saturating_add(1), batch.hash));
                all.push((batch.partition, batch.first_seq, batch.last_seq, batch.entries().to_vec()));
            }
            Ok(Recovered::Damaged(_)) | Err(_) => {}
        }
    }
    all
}

/// Segments in order, with lies where the choices say so.
fn write(disk: &SimDisk, choices: &mut Unstructured<'_>) -> Result<()> {
    let mut tails: BTreeMap<u16, (u64, BatchHash)> = BTreeMap::new();
    let mut group = 1_u64;
    let mut frame = GroupFrame::default();
    for segment in 1..=choices.int_in_range(1..=3_u64)? {
        let header = SegmentHeader {
            segment: if choices.ratio(1_u8, 30)? { choices.arbitrary()? } else { segment },
            bytes: if choices.ratio(1_u8, 30)? { choices.arbitrary()? } else { SEGMENT_BYTES },
            align: ALIGN,
            salt: SALT.wrapping_add(segment),
            supersedes_from: if choices.ratio(1_u8, 12)? {
                choices.arbitrary::<u64>()? >> 56
            } else {
                SUPERSEDES_NOTHING
            },
        };
        let mut bytes = header.encode();
        for _ in 0..choices.int_in_range(0..=4_u8)? {
            frame.clear();
            for _ in 0..choices.int_in_range(0..=3_u8)? {
                frame.push(batch(&mut tails, choices)?.bytes());
            }
            let number = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { group };
            group = number.wrapping_add(1);
            bytes.extend_from_slice(frame.finish(&header, number, number.saturating_sub(1)));
        }
        for _ in 0..choices.int_in_range(0..=2_u8)? {
            // Any byte of what was written; most of the interesting ones are in the first kilobytes.
            let at = choices.arbitrary::<u16>()? as usize;
            if choices.ratio(1_u8, 2)?
                && let Some(byte) = bytes.get_mut(at)
            {
                *byte ^= choices.arbitrary::<u8>()?;
            }
        }
        if choices.ratio(1_u8, 8)? {
            let end = choices.int_in_range(0..=bytes.len())?;
            bytes.truncate(end);
        } else if choices.ratio(1_u8, 2)? {
            bytes.resize(bytes.len() + 2 * ALIGN as usize, 0);
        }
        disk.set_contents(&format!("segment-{segment:016x}"), &bytes);
    }
    Ok(())
}

fn batch(tails: &mut BTreeMap<u16, (u64, BatchHash)>, choices: &mut Unstructured<'_>) -> Result<Batch> {
    let partition = choices.int_in_range(0..=2_u16)?;
    let (seq, prev) = tails.get(&partition).copied().unwrap_or((1, BatchHash::NONE));
    let first_seq = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { seq };
    let count = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { choices.int_in_range(0..=3)? };
    let prev = if choices.ratio(1_u8, 20)? { BatchHash([7; 16]) } else { prev };
    let entries = some_bytes(choices, 60)?;
    let through = choices.arbitrary::<u8>()?.into();
    let batch = Batch::encode(partition, 1, first_seq, count, prev, through, entries, Vec::new());
    tails.insert(partition, (first_seq.wrapping_add(u64::from(count)), batch.hash()));
    Ok(batch)
}
