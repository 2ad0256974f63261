//! Which submission an idempotency key stands for: every live transaction of the node, found before admission.
//!
//! Ended ones are in history, found by the same hash. The scope on one node is (definition, idempotency key), wider
//! than the (definition, key, idempotency key) of the language, so that a corrected `key` under an old idempotency
//! key is refused instead of begun a second time.

use hashbrown::HashMap;
use model::TxId;
use parking_lot::Mutex;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

const SHARDS: usize = 64;

/// Hash of (tenant, definition, idempotency key): 128 bits, so that two keys never meet by chance.
pub(crate) fn scope(tenant: &str, definition: &str, idempotency_key: &str) -> u128 {
    let mut head = Xxh3::with_seed(1);
    head.update(tenant.as_bytes());
    head.update(&[0]);
    head.update(definition.as_bytes());
    xxh3_128_with_seed(idempotency_key.as_bytes(), head.digest())
}

/// What a known key stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// On its way to its worker; another submission of it must go there as well.
    Pending { digest: u64 },
    Live { id: TxId, digest: u64 },
}

type Shard = Mutex<HashMap<u128, Known, Folded>>;

/// The keys are hashes already.
#[derive(Clone, Default)]
struct Folded;

#[derive(Default)]
struct FoldedHasher(u64);

impl std::hash::Hasher for FoldedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, n: u128) {
        self.0 = (n as u64) ^ (n >> 64) as u64;
    }
}

impl std::hash::BuildHasher for Folded {
    type Hasher = FoldedHasher;

    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher::default()
    }
}

/// The live keys of a node.
pub(crate) struct LiveKeys {
    shards: Vec<Shard>,
}

impl LiveKeys {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(Folded))).collect() }
    }

    fn shard(&self, scope: u128) -> &Shard {
        &self.shards[(scope >> 64) as usize % SHARDS]
    }

    /// Reserves a key, or says what it stands for already.
    pub(crate) fn reserve(&self, scope: u128, digest: u64) -> Option<Known> {
        let mut shard = self.shard(scope).lock();
        match shard.entry(scope) {
            hashbrown::hash_map::Entry::Occupied(known) => Some(*known.get()),
            hashbrown::hash_map::Entry::Vacant(slot) => {
                slot.insert(Known::Pending { digest });
                None
            }
        }
    }

    pub(crate) fn get(&self, scope: u128) -> Option<Known> {
        self.shard(scope).lock().get(&scope).copied()
    }

    pub(crate) fn set(&self, scope: u128, id: TxId, digest: u64) {
        self.shard(scope).lock().insert(scope, Known::Live { id, digest });
    }

    pub(crate) fn remove(&self, scope: u128) {
        self.shard(scope).lock().remove(&scope);
    }
}

impl std::fmt::Debug for LiveKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveKeys").finish_non_exhaustive()
    }
}
