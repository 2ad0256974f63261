//! Randomness by seed: a sequence for an arm's own use, and draws named by what they are for.
//!
//! A named draw depends on its name alone, not on how many draws came before it: the same transaction gets the
//! same service time under every arm (common random numbers).

use std::f64::consts::TAU;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// The dice of what `name` names, whatever was drawn before.
    pub fn named(seed: u64, name: [u64; 3]) -> Self {
        let mut state = mix(seed ^ 0x6c61_626f_7261_746f);
        for part in name {
            state = mix(state.wrapping_add(GOLDEN) ^ part);
        }
        Self(state)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Evenly in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly among `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1 (Box, Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right() {
        let mut dice = Dice::new(7);
        let n = 200_000;
        let mut mean =
            |mut draw: Box<dyn FnMut(&mut Dice) -> f64>| (0..n).map(|_| draw(&mut dice)).sum::<f64>() / f64::from(n);
        assert!((mean(Box::new(Dice::unit)) - 0.5).abs() < 0.005);
        assert!((mean(Box::new(Dice::exponential)) - 1.0).abs() < 0.01);
        assert!(mean(Box::new(Dice::normal)).abs() < 0.01);
        assert!((mean(Box::new(|d| d.normal().powi(2))) - 1.0).abs() < 0.02);
        assert!((mean(Box::new(|d| d.below(10) as f64)) - 4.5).abs() < 0.05);
    }

    #[test]
    fn a_named_draw_depends_on_its_name_alone() {
        let draw = |seed, name| Dice::named(seed, name).next_u64();
        assert_eq!(draw(1, [2, 3, 4]), draw(1, [2, 3, 4]));
        let others = [draw(2, [2, 3, 4]), draw(1, [3, 2, 4]), draw(1, [2, 3, 5]), draw(1, [2, 4, 3])];
        assert!(others.iter().all(|other| *other != draw(1, [2, 3, 4])));
    }
}
