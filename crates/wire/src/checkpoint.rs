//! What a checkpoint keeps of a partition beside its rows: where it stood, and the plans that it needs.

use std::sync::Arc;

use model::{PartitionId, Timestamp};
use partition::Partition;

use crate::primitive::{Bytes, Error, put_bytes, put_varint};

const VERSION: u8 = 1;

/// Appends the frame of a partition.
pub fn write(partition: &Partition, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_varint(out, u64::from(partition.epoch));
    put_varint(out, u64::from(partition.incarnation));
    put_varint(out, partition.seq);
    out.extend_from_slice(&partition.at.0.to_le_bytes());
    put_varint(out, partition.plans.len() as u64);
    for plan in partition.plans.iter() {
        out.extend_from_slice(&plan.hash);
        put_bytes(out, &plan.bytes);
    }
}

/// A partition without rows, as it stood. Rows are restored into it one by one.
pub fn read(id: PartitionId, bytes: &[u8]) -> Result<Partition, Error> {
    const WHAT: &str = "a checkpoint's frame";
    let mut from = Bytes::new(bytes);
    let version = from.byte(WHAT)?;
    if version != VERSION {
        return Err(Error::Code { what: "a checkpoint's version", code: u64::from(version) });
    }
    let mut partition = Partition::new(id);
    partition.epoch = from.small(WHAT)?;
    partition.incarnation = from.small(WHAT)?;
    partition.seq = from.varint(WHAT)?;
    let at = from.take(8, WHAT)?.try_into().map(u64::from_le_bytes).map_err(|_| Error::Short { what: WHAT })?;
    partition.at = Timestamp(at);
    for _ in 0..from.count(WHAT)? {
        let hash = from.take(16, WHAT)?.try_into().map_err(|_| Error::Short { what: WHAT })?;
        let plan = Arc::from(from.bytes(WHAT)?);
        partition.plans.add(hash, plan).map_err(|_| Error::BadValue)?;
    }
    from.done()?;
    Ok(partition)
}
