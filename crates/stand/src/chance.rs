//! Seeded chance: the same seed and the same order of questions give the same answers.
//!
//! Good enough to mix faults and draw service times; not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter-based generator: question `n` is answered by SplitMix64 of `seed + n`, without a lock.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    asked: AtomicU64,
}

impl Chance {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a, so that two systems of one stand do not draw the same numbers.
        let named =
            name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { seed: mix(seed ^ named), asked: AtomicU64::new(0) }
    }

    /// Even in `0.0 .. 1.0`.
    pub(crate) fn unit(&self) -> f64 {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        let bits = mix(self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller (1958).
    pub(crate) fn normal(&self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_sequence_and_an_even_spread() {
        let draw = |seed, name| {
            let chance = Chance::new(seed, name);
            (0..10_000).map(|_| chance.unit()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "billing"), draw(7, "billing"));
        assert_ne!(draw(7, "billing"), draw(8, "billing"));
        assert_ne!(draw(7, "billing"), draw(7, "crm"));
        let mean = draw(7, "billing").iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert!(draw(7, "billing").iter().all(|u| (0.0..1.0).contains(u)));
    }
}
