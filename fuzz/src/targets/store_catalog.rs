//! The catalog's file: changes whose checks hold but whose fields lie, then bytes changed anywhere. Looking at it and
//! opening it agree, nothing falls over, and what was opened opens again the same.

use std::fs;

use arbitrary::{Result, Unstructured};
use store::catalog::{self, Catalog, Object};

use super::store_files::{crc, damage, with_folder};
use crate::choices::some_bytes;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let mut bytes = Vec::new();
    let _ = write(&mut bytes, &mut choices);
    let _ = damage(&mut bytes, &mut choices);
    with_folder(|dir| {
        let path = dir.join("catalog.log");
        fs::write(&path, &bytes).expect("a file in memory");
        let looked = catalog::inspect(dir);
        match Catalog::open(dir) {
            Ok(opened) => {
                let looked = looked.expect("what opens can be looked at");
                assert_eq!(looked.bytes, bytes.len() as u64);
                let objects: Vec<Object> = KINDS.iter().flat_map(|kind| opened.list(kind)).cloned().collect();
                let last = opened.last_change();
                drop(opened);
                let again = Catalog::open(dir).expect("what was opened once opens again");
                assert!(again.warnings().is_empty(), "the first opening cut what was torn");
                let same: Vec<Object> = KINDS.iter().flat_map(|kind| again.list(kind)).cloned().collect();
                assert_eq!((objects, last), (same, again.last_change()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

const KINDS: [&str; 3] = ["definition", "", "node"];

fn write(out: &mut Vec<u8>, choices: &mut Unstructured<'_>) -> Result<()> {
    out.extend_from_slice(&0x3147_4f4c_5441_4754_u64.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&crc(out).to_le_bytes());
    let mut number = 0_u64;
    while !choices.is_empty() {
        number = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { number.wrapping_add(1) };
        let count = choices.int_in_range(0..=3_u32)?;
        let mut body = number.to_le_bytes().to_vec();
        let claimed = if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { count };
        body.extend_from_slice(&claimed.to_le_bytes());
        for _ in 0..count {
            body.push(if choices.ratio(1_u8, 12)? { choices.arbitrary()? } else { choices.int_in_range(1..=2)? });
            let kind = choices.choose(&KINDS)?;
            for text in [kind.as_bytes(), &b"top-up"[..choices.int_in_range(0..=6)?]] {
                let length = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { text.len() as u16 };
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(text);
            }
            body.extend_from_slice(&choices.int_in_range(0..=3_u64)?.to_le_bytes());
            let bytes = some_bytes(choices, 30)?;
            let length = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { bytes.len() as u32 };
            body.extend_from_slice(&length.to_le_bytes());
            body.extend_from_slice(bytes);
        }
        let length = if choices.ratio(1_u8, 20)? { choices.arbitrary()? } else { body.len() as u32 };
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }
    Ok(())
}
