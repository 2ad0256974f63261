//! The entries of one batch.
//!
//! ```text
//! batch payload:  version u8 │ base time u64 le │ entry*
//! entry:          length varint │ kind u8 │ time after base varint (µs) │ fields
//! ```
//! Seqs are not written: the batch says where it begins, and entries are dense.

use std::sync::Arc;

use model::{Epoch, Seq, Timestamp, TxId};
use partition::entry::{Begun, Moves};
use partition::{Entry, EntryKind};

use crate::moves::{a_move, put_move};
use crate::primitive::{Bytes, Error, put_bytes, put_text, put_time, put_value, put_varint};

/// The version written today.
pub const VERSION: u8 = 1;
const HEADER_BYTES: usize = 9;

/// Collects the entries of one batch.
#[derive(Debug, Default)]
pub struct EntryWriter {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    base: Timestamp,
    first_seq: Seq,
    count: u32,
}

impl EntryWriter {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn first_seq(&self) -> Seq {
        self.first_seq
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub fn push(&mut self, entry: &Entry) {
        if self.count == 0 {
            self.first_seq = entry.seq;
            self.base = entry.at;
            self.bytes.push(VERSION);
            self.bytes.extend_from_slice(&entry.at.0.to_le_bytes());
        }
        self.count += 1;
        let out = &mut self.scratch;
        out.clear();
        let kind = match &entry.kind {
            EntryKind::Epoch { .. } => 1,
            EntryKind::Plan { .. } => 2,
            EntryKind::Begin(_) => 3,
            EntryKind::Moves { .. } => 4,
        };
        out.push(kind);
        put_varint(out, entry.at.0.saturating_sub(self.base.0));
        match &entry.kind {
            EntryKind::Epoch { epoch, incarnation, semantics } => {
                put_varint(out, u64::from(*epoch));
                put_varint(out, u64::from(*incarnation));
                put_varint(out, u64::from(*semantics));
            }
            EntryKind::Plan { hash, bytes } => {
                out.extend_from_slice(hash);
                put_bytes(out, bytes);
            }
            EntryKind::Begin(begun) => {
                out.extend_from_slice(&begun.id.0.to_le_bytes());
                put_varint(out, u64::from(begun.plan));
                put_text(out, &begun.idempotency_key);
                out.extend_from_slice(&begun.submission_digest.to_le_bytes());
                match &begun.key {
                    Some(key) => {
                        out.push(1);
                        put_text(out, key);
                    }
                    None => out.push(0),
                }
                put_value(out, &begun.input);
                put_time(out, begun.deadline, entry.at);
                out.push(begun.priority);
                put_text(out, &begun.traceparent);
                put_moves(out, &begun.moves, entry.at);
            }
            EntryKind::Moves { tx, moves } => {
                put_varint(out, *tx);
                put_moves(out, moves, entry.at);
            }
        }
        put_varint(&mut self.bytes, out.len() as u64);
        self.bytes.extend_from_slice(out);
    }
}

fn put_moves(out: &mut Vec<u8>, moves: &Moves, at: Timestamp) {
    put_varint(out, moves.len() as u64);
    for step in moves {
        put_move(out, step, at);
    }
}

fn moves(from: &mut Bytes<'_>, at: Timestamp) -> Result<Moves, Error> {
    let n = from.count("moves")?;
    (0..n).map(|_| a_move(from, at)).collect()
}

/// Reads the entries of one batch, in order.
#[derive(Debug)]
pub struct EntryReader<'b> {
    bytes: Bytes<'b>,
    base: Timestamp,
    next_seq: Seq,
}

impl<'b> EntryReader<'b> {
    /// Begins to read a payload whose first entry has `first_seq`. An empty batch has no payload.
    pub fn new(payload: &'b [u8], first_seq: Seq) -> Result<Self, Error> {
        let mut bytes = Bytes::new(payload);
        if payload.is_empty() {
            return Ok(Self { bytes, base: Timestamp::ZERO, next_seq: first_seq });
        }
        let header = bytes.take(HEADER_BYTES, "a batch")?;
        if header[0] != VERSION {
            return Err(Error::Code { what: "a batch version", code: u64::from(header[0]) });
        }
        let base = header[1..].try_into().map(u64::from_le_bytes).map_err(|_| Error::Short { what: "a batch" })?;
        Ok(Self { bytes, base: Timestamp(base), next_seq: first_seq })
    }

    fn entry(&mut self) -> Result<Entry, Error> {
        const WHAT: &str = "an entry";
        let mut from = Bytes::new(self.bytes.bytes(WHAT)?);
        let kind = from.byte(WHAT)?;
        let at = Timestamp(self.base.0.saturating_add(from.varint(WHAT)?));
        let kind = match kind {
            1 => EntryKind::Epoch {
                epoch: from.small::<Epoch>(WHAT)?,
                incarnation: from.small(WHAT)?,
                semantics: from.small(WHAT)?,
            },
            2 => EntryKind::Plan {
                hash: from.take(16, WHAT)?.try_into().map_err(|_| Error::Short { what: WHAT })?,
                bytes: Arc::from(from.bytes(WHAT)?),
            },
            3 => {
                let id = from.take(16, WHAT)?.try_into().map(u128::from_le_bytes);
                EntryKind::Begin(Box::new(Begun {
                    id: TxId(id.map_err(|_| Error::Short { what: WHAT })?),
                    plan: from.small(WHAT)?,
                    idempotency_key: from.text(WHAT)?,
                    submission_digest: from
                        .take(8, WHAT)?
                        .try_into()
                        .map(u64::from_le_bytes)
                        .map_err(|_| Error::Short { what: WHAT })?,
                    key: if crate::moves::flag(&mut from)? { Some(from.text(WHAT)?) } else { None },
                    input: Arc::new(from.value()?),
                    deadline: from.time(at, WHAT)?,
                    priority: from.byte(WHAT)?,
                    traceparent: from.text(WHAT)?,
                    moves: moves(&mut from, at)?,
                }))
            }
            4 => EntryKind::Moves { tx: from.varint(WHAT)?, moves: moves(&mut from, at)? },
            code => return Err(Error::Code { what: WHAT, code: u64::from(code) }),
        };
        from.done()?;
        let seq = self.next_seq;
        self.next_seq += 1;
        Ok(Entry { seq, at, kind })
    }
}

impl Iterator for EntryReader<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            // Nothing after a place that cannot be read is believed.
            self.bytes = Bytes::new(&[]);
        }
        Some(entry)
    }
}
