//! Hash maps whose order is the same in every run, and numbers drawn from a seed.
//!
//! The hasher is fixed, so that equal worlds hash alike; still no map is walked where its order could be seen.

use std::hash::{BuildHasher, Hasher};

/// A map with a fixed hasher.
pub type Map<K, V> = hashbrown::HashMap<K, V, Fixed>;
/// A set with a fixed hasher.
pub type Set<K> = hashbrown::HashSet<K, Fixed>;

/// Makes [`FixedHasher`]s.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fixed;

/// Multiply and fold, with constants that never change.
#[derive(Clone, Copy, Debug)]
pub struct FixedHasher(u64);

impl BuildHasher for Fixed {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(0x243f_6a88_85a3_08d3)
    }
}

impl FixedHasher {
    fn mix(&mut self, n: u64) {
        let wide = u128::from(n ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64).rotate_left(23);
    }
}

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte) + 1);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_u128(&mut self, n: u128) {
        self.mix(n as u64);
        self.mix((n >> 64) as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
}

/// A stream of numbers: xoshiro256** of David Blackman and Sebastiano Vigna (2018), seeded by their SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream `name` of a root seed: another name is another stream, whatever else draws how often.
    pub fn named(root: u64, name: &str) -> Self {
        let mut seed = root ^ 0x6a09_e667_f3bc_c908;
        for byte in name.bytes() {
            seed = split_mix(&mut seed.wrapping_add(u64::from(byte)));
        }
        let mut state = seed;
        Self([0; 4].map(|_: u64| split_mix(&mut state)))
    }

    pub fn u64(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Below `n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `n` times in `of`.
    pub fn chance(&mut self, n: u64, of: u64) -> bool {
        self.below(of) < n
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// One step of SplitMix64.
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_differ_by_name() {
        let mut a = Rng::named(1, "clients");
        let mut again = Rng::named(1, "clients");
        let mut b = Rng::named(1, "disk");
        let first: Vec<u64> = (0..4).map(|_| a.u64()).collect();
        assert_eq!(first, (0..4).map(|_| again.u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..4).map(|_| b.u64()).collect::<Vec<_>>());
        assert!((0..1_000).all(|_| (3..=5).contains(&a.between(3, 5))));
    }
}
