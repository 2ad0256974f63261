//! A segment of the history: frames and records whose checksums hold but whose fields lie, then bytes changed anywhere.
//! Looking never falls over, never reserves what a length field claims, and says the same twice.

use std::fs;

use arbitrary::{Result, Unstructured};
use store::history;

use super::store_files::{crc, damage, with_folder};
use crate::choices::some_bytes;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let mut bytes = header();
    let _ = frames(&mut bytes, &mut choices);
    let _ = damage(&mut bytes, &mut choices);
    with_folder(|dir| {
        fs::write(dir.join("history-00000001.seg"), &bytes).expect("a file in memory");
        let first = history::inspect(dir).expect("looking fails only where the disk does");
        let second = history::inspect(dir).expect("looking fails only where the disk does");
        assert_eq!((first.files, first.bytes, first.items), (second.files, second.bytes, second.items));
        assert_eq!(first.findings.len(), second.findings.len());
        assert!(first.items <= bytes.len() as u64 / 72, "more records than bytes for them");
    });
}

fn header() -> Vec<u8> {
    let mut out = 0x3153_4948_4754_0a0d_u64.to_le_bytes().to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&crc(&out).to_le_bytes());
    out
}

fn frames(out: &mut Vec<u8>, choices: &mut Unstructured<'_>) -> Result<()> {
    while !choices.is_empty() {
        let mut body = Vec::new();
        let records = choices.int_in_range(0..=3_u32)?;
        for _ in 0..records {
            record(&mut body, choices)?;
        }
        let segment = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { 1_u32 };
        let length = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { body.len() as u32 };
        let counted = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { records };
        let mut head = 0x4d52_4648_u32.to_le_bytes().to_vec();
        for field in [segment, length, counted, choices.arbitrary()?] {
            head.extend_from_slice(&field.to_le_bytes());
        }
        head.extend_from_slice(&[0; 8]);
        let check = if choices.ratio(1_u8, 20)? { 7 } else { crc(&head) };
        head.extend_from_slice(&check.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&body);
    }
    Ok(())
}

fn record(out: &mut Vec<u8>, choices: &mut Unstructured<'_>) -> Result<()> {
    let row = some_bytes(choices, 20)?;
    let tags = choices.int_in_range(0..=2_u8)?;
    let length = 72 + 4 * u32::from(tags) + row.len() as u32;
    let length = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { length };
    let mut record = length.to_le_bytes().to_vec();
    record.extend_from_slice(&[choices.arbitrary()?; 16]);
    record.extend_from_slice(&[choices.arbitrary()?; 16]);
    record.extend_from_slice(&[1; 24]);
    record.extend_from_slice(&[2; 4]);
    let claimed = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { tags };
    record.extend_from_slice(&[3, 1, 0, claimed]);
    (0..tags).for_each(|tag| record.extend_from_slice(&u32::from(tag).to_le_bytes()));
    record.extend_from_slice(row);
    let check = if choices.ratio(1_u8, 20)? { 7 } else { crc(&record) };
    out.extend_from_slice(&check.to_le_bytes());
    out.extend_from_slice(&record);
    Ok(())
}
