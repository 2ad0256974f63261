//! Names of things: transactions, partitions, positions. A `TxId` is unique for ever, across restores too.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::time::Timestamp;

/// One state machine and its journal: 0 ..= 4095.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub u16);

/// Position of an entry in its partition's journal; the first is 1.
pub type Seq = u64;
/// Ownership number of a partition; grows with every new owner and every restart.
pub type Epoch = u32;
/// Grows with every restore or forced repair, so that no id is ever made twice.
pub type Incarnation = u16;
/// Place of a step in its plan.
pub type StepIndex = u16;

/// The largest number of partitions that an id can name.
pub const PARTITIONS_MAX: u16 = 4096;

/// 128 bits, sortable by time of acceptance:
/// 42 bits of milliseconds since 2020 · 16 incarnation · 12 partition · 10 epoch (low bits) · 48 seq.
///
/// Written `tx_` and 26 characters of Crockford's base 32, lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub u128);

const EPOCH_2020_MS: u64 = 1_577_836_800_000;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl TxId {
    /// The id of the transaction begun by entry `seq` of `partition`.
    pub fn new(at: Timestamp, incarnation: Incarnation, partition: PartitionId, epoch: Epoch, seq: Seq) -> Self {
        let ms = at.as_millis().saturating_sub(EPOCH_2020_MS) & ((1 << 42) - 1);
        Self(
            (u128::from(ms) << 86)
                | (u128::from(incarnation) << 70)
                | (u128::from(partition.0 & 0xfff) << 58)
                | (u128::from(epoch & 0x3ff) << 48)
                | u128::from(seq & ((1 << 48) - 1)),
        )
    }

    /// When the transaction was accepted, in whole milliseconds.
    pub fn began_at(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 86) as u64 + EPOCH_2020_MS)
    }

    /// The incarnation of the data that it began in.
    pub fn incarnation(self) -> Incarnation {
        (self.0 >> 70) as u16
    }

    pub fn partition(self) -> PartitionId {
        PartitionId((self.0 >> 58) as u16 & 0xfff)
    }

    /// The seq of the entry that began it: unique within its partition.
    pub fn seq(self) -> Seq {
        self.0 as u64 & ((1 << 48) - 1)
    }

    /// The 26 characters after `tx_`.
    pub fn text(self) -> [u8; 26] {
        let mut out = [0; 26];
        let mut rest = self.0;
        for slot in out.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        out
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.write_str("tx_")?;
        f.write_str(std::str::from_utf8(&text).unwrap_or("?"))
    }
}

impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was wrong with the text of a transaction id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a transaction id: tx_ and 26 characters of 0-9 a-z without i, l, o, u")]
pub struct BadTxId;

impl FromStr for TxId {
    type Err = BadTxId;

    fn from_str(text: &str) -> Result<Self, BadTxId> {
        let digits = text.strip_prefix("tx_").ok_or(BadTxId)?.as_bytes();
        if digits.len() != 26 || digits[0] > b'7' {
            return Err(BadTxId);
        }
        let mut id: u128 = 0;
        for digit in digits {
            let bits = ALPHABET.iter().position(|a| a == digit).ok_or(BadTxId)?;
            id = (id << 5) | bits as u128;
        }
        Ok(Self(id))
    }
}

/// The partition of a transaction: by its `key` value, else by its definition and idempotency key.
///
/// Fixed for the life of a data directory (golden vectors in the tests): a changed answer here would
/// let a resubmission begin a second transaction.
pub fn partition_of(tenant: &str, scope: PartitionScope<'_>, partitions: u16) -> PartitionId {
    let seed = xxh3_64_with_seed(tenant.as_bytes(), 0);
    let hash = match scope {
        PartitionScope::Key(key) => xxh3_64_with_seed(key.as_bytes(), seed ^ 1),
        PartitionScope::Submission { definition, idempotency_key } => {
            let inner = xxh3_64_with_seed(definition.as_bytes(), seed ^ 2);
            xxh3_64_with_seed(idempotency_key.as_bytes(), inner)
        }
    };
    // Multiply-shift keeps the choice even for any partition count.
    PartitionId(((u128::from(hash) * u128::from(partitions)) >> 64) as u16)
}

/// What places a transaction.
#[derive(Clone, Copy, Debug)]
pub enum PartitionScope<'a> {
    Key(&'a str),
    Submission { definition: &'a str, idempotency_key: &'a str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_parts_and_its_text() {
        let at = Timestamp::from_millis(1_795_000_000_123);
        let id = TxId::new(at, 3, PartitionId(4095), 1023, (1 << 48) - 1);
        assert_eq!(id.began_at(), at);
        assert_eq!(id.partition(), PartitionId(4095));
        assert_eq!(id.seq(), (1 << 48) - 1);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in [
            "",
            "tx_",
            "tx_01",
            "tx_81k8q3v6m2f9r4t7w0x5y8z1bc",
            "tx_01k8q3v6m2f9r4t7w0x5y8z1bu",
            "01k8q3v6m2f9r4t7w0x5y8z1bc",
        ] {
            assert_eq!(text.parse::<TxId>(), Err(BadTxId), "{text}");
        }
    }

    #[test]
    fn placement_never_changes() {
        let golden: Vec<u16> = ["subscriber/491701234567", "", "a", "лимит"]
            .iter()
            .map(|key| partition_of("default", PartitionScope::Key(key), 16).0)
            .chain([partition_of(
                "default",
                PartitionScope::Submission { definition: "top-up", idempotency_key: "k1" },
                16,
            )
            .0])
            .collect();
        assert_eq!(golden, GOLDEN_PLACEMENT);
    }

    const GOLDEN_PLACEMENT: [u16; 5] = [11, 15, 8, 11, 0];
}
