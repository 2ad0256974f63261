//! Which submission an idempotency key stands for: every live transaction of the node, found before admission.
//!
//! Ended ones are in history, found by the same hash. The scope on one node is (definition, idempotency key), wider
//! than the (definition, key, idempotency key) of the language, so that a corrected `key` under an old idempotency
//! key is refused instead of begun a second time.

use hashbrown::HashMap;
use model::TxId;
use parking_lot::{Mutex, MutexGuard};
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

/// A live transaction, by the hash of its key: 40 bytes with it, because there may be millions.
#[derive(Clone, Copy, Debug)]
struct Live {
    id: [u64; 2],
    digest: u64,
}

impl Live {
    fn id(self) -> TxId {
        TxId(join(self.id))
    }
}

/// Submissions of one key that are on their way to the worker, or just there. Until the last of them has arrived the
/// key is never forgotten: it would find nothing, neither here nor (having looked too early) in history, and begin
/// it a second time.
#[derive(Clone, Copy, Debug)]
struct Coming {
    digest: u64,
    count: u32,
    /// It has begun and ended meanwhile, and is in history.
    ended: Option<TxId>,
}

type Key = [u64; 2];

#[derive(Default)]
struct Shard {
    live: HashMap<Key, Live, Folded>,
    coming: HashMap<Key, Coming, Folded>,
}

impl Shard {
    fn known(&self, key: Key) -> Option<Known> {
        if let Some(live) = self.live.get(&key) {
            return Some(Known::Begun { id: live.id(), digest: live.digest });
        }
        self.coming.get(&key).map(|coming| match coming.ended {
            Some(id) => Known::Begun { id, digest: coming.digest },
            None => Known::Pending { digest: coming.digest },
        })
    }

    /// One fewer is on its way. A pending one stays known when `pending_stays`, until somebody says what became of it.
    fn one_less(&mut self, key: Key, pending_stays: bool) {
        if let Some(coming) = self.coming.get_mut(&key) {
            coming.count = coming.count.saturating_sub(1);
            let is_pending = coming.ended.is_none() && !self.live.contains_key(&key);
            if coming.count == 0 && !(is_pending && pending_stays) {
                self.coming.remove(&key);
            }
        }
    }
}

fn split(n: u128) -> Key {
    [n as u64, (n >> 64) as u64]
}

fn join(parts: [u64; 2]) -> u128 {
    u128::from(parts[0]) | u128::from(parts[1]) << 64
}

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

    fn write_u64(&mut self, n: u64) {
        self.0 ^= n;
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
    shards: Vec<Mutex<Shard>>,
}

impl LiveKeys {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, scope: u128) -> (MutexGuard<'_, Shard>, Key) {
        let key = split(scope);
        (self.shards[key[1] as usize % SHARDS].lock(), key)
    }

    /// What a key stands for. If that is nothing, or the same submission on its way, this one is counted as on its
    /// way too: [`Self::arrived`] or [`Self::give_up`] must follow.
    pub(crate) fn reserve(&self, scope: u128, digest: u64) -> Option<Known> {
        let (mut shard, key) = self.shard(scope);
        let known = shard.known(key);
        match known {
            None => drop(shard.coming.insert(key, Coming { digest, count: 1, ended: None })),
            Some(Known::Pending { digest: first }) if first == digest => {
                if let Some(coming) = shard.coming.get_mut(&key) {
                    coming.count += 1;
                }
            }
            Some(Known::Pending { .. } | Known::Begun { .. }) => {}
        }
        known
    }

    /// A submission that was on its way has reached its worker. Gives what its key stands for by now.
    pub(crate) fn arrived(&self, scope: u128) -> Option<Known> {
        let (mut shard, key) = self.shard(scope);
        let known = shard.known(key);
        // A pending one is about to be begun or refused, by whoever asked.
        shard.one_less(key, true);
        known
    }

    /// A submission that was on its way goes no further.
    pub(crate) fn give_up(&self, scope: u128) {
        let (mut shard, key) = self.shard(scope);
        shard.one_less(key, false);
    }

    /// A submission that has arrived was refused.
    pub(crate) fn refused(&self, scope: u128) {
        let (mut shard, key) = self.shard(scope);
        if shard.coming.get(&key).is_some_and(|coming| coming.count == 0) {
            shard.coming.remove(&key);
        }
    }

    pub(crate) fn get(&self, scope: u128) -> Option<Known> {
        let (shard, key) = self.shard(scope);
        shard.known(key)
    }

    pub(crate) fn set(&self, scope: u128, id: TxId, digest: u64) {
        let (mut shard, key) = self.shard(scope);
        shard.live.insert(key, Live { id: split(id.0), digest });
        if shard.coming.get(&key).is_some_and(|coming| coming.count == 0) {
            shard.coming.remove(&key);
        }
    }

    /// It has ended and can be found in history.
    pub(crate) fn ended(&self, scope: u128) {
        let (mut shard, key) = self.shard(scope);
        let Some(live) = shard.live.remove(&key) else { return };
        if let Some(coming) = shard.coming.get_mut(&key) {
            coming.ended = Some(live.id());
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
