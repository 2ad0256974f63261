//! Who a data directory is. What decides the place of a key is fixed when the directory is made, for ever.

use super::ObjectKey;
use crate::Error;
use crate::fields::{Fields, PutFields};

/// The identity of a node's data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeIdentity {
    /// Partitions of the directory; never changes, or a resubmission would begin a second transaction elsewhere.
    pub partitions: u16,
    /// Which hash places a key; never changes, for the same reason.
    pub hash_version: u16,
    /// Grows with every restore or forced repair; part of every transaction id.
    pub incarnation: u16,
    /// Grows with every start: the epoch of a node that is alone.
    pub epoch: u32,
    /// Microseconds since 1970.
    pub created_at_us: u64,
}

impl NodeIdentity {
    pub(super) fn key() -> ObjectKey {
        ObjectKey::new("node", "identity", 0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        out.put_u16(1);
        out.put_u16(self.partitions);
        out.put_u16(self.hash_version);
        out.put_u16(self.incarnation);
        out.put_u32(self.epoch);
        out.put_u64(self.created_at_us);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        (fields.u16()? == 1).then_some(())?;
        let identity = Self {
            partitions: fields.u16()?,
            hash_version: fields.u16()?,
            incarnation: fields.u16()?,
            epoch: fields.u32()?,
            created_at_us: fields.u64()?,
        };
        fields.is_empty().then_some(identity)
    }

    pub(super) fn may_become(&self, next: &Self) -> Result<(), Error> {
        let fixed = |this: &Self| (this.partitions, this.hash_version, this.created_at_us);
        if fixed(self) != fixed(next) {
            return Err(Error::Refused(format!(
                "this data directory was made with {} partitions and hash {}; it cannot become one with {} and {}",
                self.partitions, self.hash_version, next.partitions, next.hash_version
            )));
        }
        if (next.incarnation, next.epoch) < (self.incarnation, self.epoch) {
            return Err(Error::Refused(format!(
                "incarnation and epoch only grow: {}.{} would follow {}.{}",
                next.incarnation, next.epoch, self.incarnation, self.epoch
            )));
        }
        Ok(())
    }
}
