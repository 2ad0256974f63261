//! Bytes that are not ours: cut anywhere, changed anywhere, made up. Reading says no, or gives something that can be
//! written again; it never panics and never reserves more memory than a multiple of the bytes there are.

use crate::support::every;
use partition::{Entry, EntryKind};
use proptest::prelude::*;
use smallvec::smallvec;

const PLAN: plan::PlanHash = *b"0123456789abcdef";

fn batches() -> Vec<Vec<u8>> {
    let moves = every::moves().into_iter().map(|(_, m)| {
        let mut writer = wire::EntryWriter::default();
        writer.push(&Entry { seq: 9, at: every::AT, kind: EntryKind::Moves { tx: 9, moves: smallvec![m] } });
        writer.payload().to_vec()
    });
    let entries = every::entries().into_iter().map(|(_, entry)| {
        let mut writer = wire::EntryWriter::default();
        writer.push(&entry);
        writer.payload().to_vec()
    });
    moves.chain(entries).collect()
}

fn rows() -> Vec<Vec<u8>> {
    let write = |tx: &partition::Transaction| {
        let mut row = Vec::new();
        wire::row::write(tx, &PLAN, &mut row);
        row
    };
    every::rows().iter().map(|(_, tx)| write(tx)).collect()
}

/// Reads a batch to its end, or to where it cannot be read; what was read can be written and read again.
fn read_batch(bytes: &[u8]) -> bool {
    let Ok(reader) = wire::EntryReader::new(bytes, 1) else { return false };
    let mut all = true;
    for entry in reader {
        match entry {
            Ok(entry) => {
                let mut writer = wire::EntryWriter::default();
                writer.push(&entry);
                assert!(writer.len() <= 64 + 40 * bytes.len(), "more came out than went in");
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                all = false;
            }
        }
    }
    all
}

fn read_row(bytes: &[u8]) -> bool {
    let tx = wire::row::read(bytes, |hash| (*hash == PLAN).then_some(0));
    if let Ok(tx) = &tx {
        assert!(tx.steps.len() <= bytes.len() && tx.attempts.len() <= bytes.len());
    }
    tx.is_ok()
}

#[test]
fn cut_at_every_byte() {
    for batch in batches() {
        for end in 1..batch.len() {
            // Behind the header a batch may end after any entry, and each of these has one.
            assert!(!read_batch(&batch[..end]) || end == 9, "cut to {end} of {}", batch.len());
        }
        assert!(read_batch(&batch));
    }
    for row in rows() {
        for end in 0..row.len() {
            assert!(!read_row(&row[..end]), "cut to {end} of {}", row.len());
        }
        let mut longer = row.clone();
        longer.push(0);
        assert!(read_row(&row) && !read_row(&longer));
    }
}

#[test]
fn changed_at_every_byte() {
    for bytes in batches() {
        changed(&bytes, |bytes| _ = read_batch(bytes));
    }
    for bytes in rows() {
        changed(&bytes, |bytes| _ = read_row(bytes));
    }
    let mut frame = Vec::new();
    wire::checkpoint::write(&partition::Partition::new(model::PartitionId(1)), &mut frame);
    changed(&frame, |bytes| drop(wire::checkpoint::read(model::PartitionId(1), bytes)));
}

/// Every bit of every byte, and every byte as 0, 127, 128 and 255: lengths and counts among them.
fn changed(bytes: &[u8], read: impl Fn(&[u8])) {
    for place in 0..bytes.len() {
        let values = (0..8).map(|bit| bytes[place] ^ 1 << bit).chain([0, 127, 128, 255]);
        for value in values {
            let mut other = bytes.to_vec();
            other[place] = value;
            read(&other);
        }
        // A length that claims everything.
        let mut other = bytes[..place].to_vec();
        other.extend_from_slice(&[0xff; 9]);
        other.push(1);
        other.extend_from_slice(&bytes[place..]);
        read(&other);
    }
}

#[test]
fn nested_without_end() {
    // kind 4, no time, transaction 1, one verdict: a signal with empty texts and lists in lists.
    let mut entry = vec![4, 0, 1, 1, 13, 0, 0];
    entry.extend(std::iter::repeat_n([7, 1], 200_000).flatten());
    let mut batch = vec![1];
    batch.extend_from_slice(&every::AT.0.to_le_bytes());
    let mut length = entry.len();
    while length >= 128 {
        batch.push(length as u8 | 128);
        length >>= 7;
    }
    batch.push(length as u8);
    batch.extend_from_slice(&entry);
    assert!(!read_batch(&batch));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn made_up(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 1_u8..5) {
        read_batch(&bytes);
        read_row(&bytes);
        // With a header that fits, so that the reading comes further.
        let mut batch = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, bytes.len().min(126) as u8 + 1, kind];
        batch.extend_from_slice(&bytes[..bytes.len().min(126)]);
        read_batch(&batch);
        let mut row = rows().swap_remove(0)[..33].to_vec();
        row.extend_from_slice(&bytes);
        read_row(&row);
    }
}
