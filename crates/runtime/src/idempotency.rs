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
    /// Begun. It may have ended meanwhile, and is in history then.
    Begun { id: TxId, digest: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stands {
    Pending,
    Live(TxId),
    /// In history; kept here only for submissions that looked before it was there, and are still on their way.
    Ended(TxId),
}

/// One known key. While submissions of it are on their way to the worker it is never forgotten: the last of them
/// would find nothing, neither here nor (having looked too early) in history, and begin it a second time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    digest: u64,
    on_the_way: u32,
    stands: Stands,
}

impl Entry {
    fn known(&self) -> Known {
        match self.stands {
            Stands::Pending => Known::Pending { digest: self.digest },
            Stands::Live(id) | Stands::Ended(id) => Known::Begun { id, digest: self.digest },
        }
    }

    fn is_over(&self) -> bool {
        self.on_the_way == 0 && !matches!(self.stands, Stands::Live(_))
    }
}

type Shard = Mutex<HashMap<u128, Entry, Folded>>;

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

    /// What a key stands for. If that is nothing, or the same submission on its way, this one is counted as on its
    /// way too: [`Self::arrived`] or [`Self::give_up`] must follow.
    pub(crate) fn reserve(&self, scope: u128, digest: u64) -> Option<Known> {
        let mut shard = self.shard(scope).lock();
        match shard.entry(scope) {
            hashbrown::hash_map::Entry::Occupied(mut slot) => {
                let entry = slot.get_mut();
                if entry.stands == Stands::Pending && entry.digest == digest {
                    entry.on_the_way += 1;
                }
                Some(entry.known())
            }
            hashbrown::hash_map::Entry::Vacant(slot) => {
                slot.insert(Entry { digest, on_the_way: 1, stands: Stands::Pending });
                None
            }
        }
    }

    /// A submission that was on its way has reached its worker. Gives what its key stands for by now.
    pub(crate) fn arrived(&self, scope: u128) -> Option<Known> {
        let mut shard = self.shard(scope).lock();
        let entry = shard.get_mut(&scope)?;
        entry.on_the_way = entry.on_the_way.saturating_sub(1);
        let known = entry.known();
        // A pending one is about to be begun or refused, by whoever asked.
        if entry.is_over() && entry.stands != Stands::Pending {
            shard.remove(&scope);
        }
        Some(known)
    }

    /// A submission that was on its way goes no further.
    pub(crate) fn give_up(&self, scope: u128) {
        let mut shard = self.shard(scope).lock();
        if let Some(entry) = shard.get_mut(&scope) {
            entry.on_the_way = entry.on_the_way.saturating_sub(1);
            if entry.is_over() {
                shard.remove(&scope);
            }
        }
    }

    /// A submission that has arrived was refused.
    pub(crate) fn refused(&self, scope: u128) {
        let mut shard = self.shard(scope).lock();
        if shard.get(&scope).is_some_and(Entry::is_over) {
            shard.remove(&scope);
        }
    }

    pub(crate) fn get(&self, scope: u128) -> Option<Known> {
        self.shard(scope).lock().get(&scope).map(Entry::known)
    }

    pub(crate) fn set(&self, scope: u128, id: TxId, digest: u64) {
        let mut shard = self.shard(scope).lock();
        let entry = shard.entry(scope).or_insert(Entry { digest, on_the_way: 0, stands: Stands::Pending });
        entry.digest = digest;
        entry.stands = Stands::Live(id);
    }

    /// It has ended and can be found in history.
    pub(crate) fn ended(&self, scope: u128) {
        let mut shard = self.shard(scope).lock();
        if let Some(entry) = shard.get_mut(&scope) {
            if let Stands::Live(id) = entry.stands {
                entry.stands = Stands::Ended(id);
            }
            if entry.is_over() {
                shard.remove(&scope);
            }
        }
    }
}

impl std::fmt::Debug for LiveKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_forgotten_while_a_submission_of_it_is_on_its_way() {
        let keys = LiveKeys::new();
        assert_eq!(keys.reserve(1, 7), None);
        assert_eq!(keys.reserve(1, 7), Some(Known::Pending { digest: 7 }));
        // The second one overtakes the first, begins, and ends.
        assert_eq!(keys.arrived(1), Some(Known::Pending { digest: 7 }));
        keys.set(1, TxId(5), 7);
        keys.ended(1);
        let begun = Some(Known::Begun { id: TxId(5), digest: 7 });
        assert_eq!(keys.get(1), begun);
        assert_eq!(keys.arrived(1), begun, "the first one finds what the second began");
        assert_eq!(keys.get(1), None);
    }

    #[test]
    fn a_refused_submission_frees_its_key_for_others_only_when_nobody_follows() {
        let keys = LiveKeys::new();
        keys.reserve(1, 7);
        keys.reserve(1, 7);
        keys.arrived(1);
        keys.refused(1);
        assert_eq!(keys.reserve(1, 8), Some(Known::Pending { digest: 7 }), "another body must wait for the first");
        keys.give_up(1);
        assert_eq!(keys.reserve(1, 8), None);
    }
}
