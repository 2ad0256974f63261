//! The entries of a batch: what is read can be written and read again, and is then the same.
//!
//! Bytes of ours come back as they were only in their canonical form (shortest varints, and no distance where a word
//! for "never" exists), so the values are compared and not the bytes; the second writing must equal the first.

use partition::Entry;
use wire::{EntryReader, EntryWriter};

/// Eight bytes of seq, then a batch's payload.
pub(crate) fn run(data: &[u8]) {
    let Some((seq, payload)) = data.split_first_chunk::<8>() else { return };
    // The journal hands over seqs that have room behind them; it refuses others (`journal` is fuzzed for that).
    let first_seq = u64::from_le_bytes(*seq) >> 8;
    let Ok(reader) = EntryReader::new(payload, first_seq) else { return };
    let mut entries = Vec::new();
    for entry in reader {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    for (place, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, first_seq + place as u64, "entries are dense");
        let bytes = written(entry);
        let again = only(&bytes, entry.seq);
        assert_eq!(&again, entry);
        assert_eq!(written(&again), bytes, "one value, one form");
    }
}

fn written(entry: &Entry) -> Vec<u8> {
    let mut writer = EntryWriter::default();
    writer.push(entry);
    writer.payload().to_vec()
}

fn only(payload: &[u8], seq: u64) -> Entry {
    let mut reader = EntryReader::new(payload, seq).expect("we wrote it");
    let entry = reader.next().expect("one entry").expect("we wrote it");
    assert!(reader.next().is_none(), "one entry");
    entry
}
