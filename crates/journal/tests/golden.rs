//! Bytes of every released format version, which must decode for ever and be written again exactly.
//!
//! A golden file is a dump: `offset  16 bytes in hex`, lines of zeros left out. To add a version, never to change one:
//! `GOLDEN=write cargo nextest run -p journal golden`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use journal::disk::sim::SimDisk;
use journal::format::{BatchHeader, GroupFrame, GroupHeader, GroupKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use journal::{Batch, BatchHash, Part};

use crate::scene::{self, Chain, commit, lines, settings, sim, start};

fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let dump = dump(bytes);
    if std::env::var_os("GOLDEN").is_some() {
        fs::write(&path, &dump).expect("the golden file is written");
    }
    let golden = fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(dump, golden, "{name}: the format has changed; make a new version instead");
    undump(&golden)
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().any(|&byte| byte != 0) {
            write!(out, "{:06x} ", line * 16).expect("text grows");
            chunk.iter().for_each(|byte| write!(out, " {byte:02x}").expect("text grows"));
            out.push('\n');
        }
    }
    writeln!(out, "{:06x}", bytes.len()).expect("text grows");
    out
}

fn undump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let offset = words.next().expect("a line starts with its offset");
        bytes.resize(usize::from_str_radix(offset, 16).expect("the offset is hex"), 0);
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).expect("bytes are hex")));
    }
    bytes
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        segment: 0x0102_0304,
        bytes: 64 << 20,
        align: 512,
        salt: 0xfeed_f00d_dead_beef,
        supersedes_from: u64::MAX,
    }
}

fn batch() -> Batch {
    let prev = BatchHash([0x11; 16]);
    Batch::encode(513, 0x0a0b_0c0d, 0x0102_0304_0506, 3, prev, 0x0102_0304_0500, b"three entries", vec![9; 300])
}

#[test]
fn segment_header_v1() {
    let golden = check("v1-segment-header.txt", &segment().encode());
    assert_eq!(SegmentHeader::decode(&golden), Ok(segment()));
}

#[test]
fn batch_v1() {
    let golden = check("v1-batch.txt", batch().bytes());
    let header = BatchHeader::decode(&golden).expect("it decodes");
    assert_eq!((header.partition, header.epoch, header.count), (513, 0x0a0b_0c0d, 3));
    assert_eq!((header.first_seq, header.last_seq()), (0x0102_0304_0506, 0x0102_0304_0508));
    assert_eq!((header.committed_through, header.prev_hash), (0x0102_0304_0500, BatchHash([0x11; 16])));
    assert_eq!((header.length, header.hash), (13, batch().hash()));
    assert!(header.hash_holds(&golden));
}

#[test]
fn group_v1() {
    let mut frame = GroupFrame::default();
    frame.push(batch().bytes());
    let golden = check("v1-group.txt", frame.finish(&segment(), 77, 76));
    let SegmentHeader { segment, salt, .. } = segment();
    let header = GroupHeader::decode(&golden, segment, salt).expect("it decodes");
    assert_eq!((header.kind, header.group, header.durable_through), (GroupKind::Batches, 77, 76));
    assert_eq!((header.batches, header.length as usize, header.span(512)), (1, batch().bytes().len(), 512));
    assert!(header.crc_holds(&golden, salt));
    assert_eq!(GroupHeader::decode(&golden, segment + 1, salt), None, "another segment");
    assert_eq!(GroupHeader::decode(&golden, segment, salt + 1), None, "another salt");
}

#[test]
fn seal_v1() {
    let mut frame = GroupFrame::default();
    let golden = check("v1-seal.txt", frame.finish(&segment(), 78, 77));
    let header = GroupHeader::decode(&golden, segment().segment, segment().salt).expect("it decodes");
    assert_eq!((header.kind, header.group, header.durable_through), (GroupKind::Seal, 78, 77));
}

/// A whole journal of version 1, as written by the first release.
#[test]
fn journal_v1() {
    let disk = sim(42);
    let (journal, desk) = start(&disk, settings());
    let (mut a, mut b) = (Chain::new(1), Chain::new(4095));
    commit(&journal, &desk, a.part(b"the first"));
    commit(&journal, &desk, Part { batches: vec![b.batch(2, b"two of another"), a.batch(0, b"")], token: 0 });
    drop(journal);
    let file = disk.contents("segment-0000000000000001").expect("the first segment");
    assert_eq!(file.len() as u64, scene::SEGMENT_BYTES);
    let golden = check("v1-journal.txt", &file);

    let old = SimDisk::new(1, 1 << 30);
    old.set_contents("segment-0000000000000001", &golden);
    let opened = scene::open(&old);
    let (batches, damage) = scene::read(&opened, &Default::default());
    assert!(damage.is_empty() && opened.recovery().torn.is_none());
    let expected = [(1, 1, "the first"), (4095, 2, "two of another"), (1, 1, "")];
    assert_eq!(lines(&batches), expected.map(|(p, s, e)| (p, s, e.to_owned())));
    assert_eq!(opened.recovery().last_group, 3, "two groups and the seal");
}

#[test]
fn what_is_not_ours_is_named() {
    let good = segment().encode();
    let mut newer = good.clone();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..SEGMENT_HEADER_BYTES - 4]);
    newer[SEGMENT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    let why = |bytes: &[u8]| SegmentHeader::decode(bytes).expect_err("not readable");
    assert_eq!(why(&newer), "format 2 is not known to this version, which reads format 1");
    assert_eq!(why(&good[..100]), "the file has 100 bytes, a segment header has 4096");
    assert_eq!(why(&[0; 4096]), "it does not start with TIDEJRNL");
    let mut rotten = good;
    rotten[1000] ^= 1;
    assert_eq!(why(&rotten), "the CRC of the segment header does not match");
}
