//! The manifest: one small file that says which bytes are the state at which seq.
//!
//! ```text
//! magic u64 · version u32 · generation u64 · seq u64 · batch hash [16]
//! segments u32 × { id u32 · valid length u64 · chain u64 } · meta length u64 · meta │ xxh3-128 of all before
//! ```

use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::Error;
use crate::durable::failed;
use crate::fields::{Fields, PutFields};
use crate::file;

const MAGIC: u64 = 0x3150_4b43_4754_5354; // "TSTGCKP1"
const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    pub(super) generation: u64,
    pub(super) seq: u64,
    pub(super) batch_hash: [u8; 16],
    /// Ordered by id, each once, which is the order of replay.
    pub(super) segments: Vec<Part>,
    pub(super) meta: Vec<u8>,
}

/// The part of a segment that belongs to a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) id: u32,
    pub(super) len: u64,
    pub(super) chain: u64,
}

pub(super) fn file_name(generation: u64) -> String {
    format!("checkpoint-{generation:016x}")
}

pub(super) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80 + self.segments.len() * 20 + self.meta.len());
        out.put_u64(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.generation);
        out.put_u64(self.seq);
        out.put(&self.batch_hash);
        out.put_u32(self.segments.len() as u32);
        for part in &self.segments {
            out.put_u32(part.id);
            out.put_u64(part.len);
            out.put_u64(part.chain);
        }
        out.put_u64(self.meta.len() as u64);
        out.put(&self.meta);
        let hash = xxh3_128(&out);
        out.put_u128(hash);
        out
    }

    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = file::read(path).map_err(failed("read", path))?;
        let Some(body_len) = bytes.len().checked_sub(16) else {
            return Err(Error::damaged(path, 0, "too short for a manifest"));
        };
        let (body, hash) = bytes.split_at(body_len);
        if hash != xxh3_128(body).to_le_bytes() {
            return Err(Error::damaged(path, 0, "the manifest does not match its hash"));
        }
        let mut fields = Fields::new(body);
        if fields.u64() != Some(MAGIC) {
            return Err(Error::damaged(path, 0, "not a manifest"));
        }
        match fields.u32() {
            Some(VERSION) => {}
            other => {
                return Err(Error::Refused(format!(
                    "{} has format {}, this version reads {VERSION}",
                    path.display(),
                    other.unwrap_or(0)
                )));
            }
        }
        Self::decode_body(&mut fields).ok_or_else(|| Error::damaged(path, 12, "the manifest's fields do not add up"))
    }

    fn decode_body(fields: &mut Fields<'_>) -> Option<Self> {
        let generation = fields.u64()?;
        let seq = fields.u64()?;
        let batch_hash = fields.array()?;
        let count = fields.u32()?;
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(Part { id: fields.u32()?, len: fields.u64()?, chain: fields.u64()? });
        }
        if !segments.is_sorted_by(|earlier, later| earlier.id < later.id) {
            return None;
        }
        let meta_len = usize::try_from(fields.u64()?).ok()?;
        let meta = fields.take(meta_len)?.to_vec();
        fields.is_empty().then_some(Self { generation, seq, batch_hash, segments, meta })
    }
}
