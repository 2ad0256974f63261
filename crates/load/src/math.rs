//! Logarithm, exponential and dice, made of plain arithmetic only.
//!
//! The standard library's `ln` and `exp` may differ from machine to machine in the last bit; these do not, so the
//! same samples give the same decisions everywhere. Good to about 1e-8, which is far below what is estimated here.

const LN_2: f64 = std::f64::consts::LN_2;

/// The natural logarithm; of what is not positive and finite, a very small or very large number.
pub(crate) fn ln(x: f64) -> f64 {
    if x.is_nan() || x < f64::MIN_POSITIVE {
        return -700.0;
    }
    if x.is_infinite() {
        return 700.0;
    }
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1_023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let series = 1.0 + s2 * (1.0 / 3.0 + s2 * (1.0 / 5.0 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0 + s2 / 11.0))));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// e to the power of `x`, within what a double holds; of a NaN, 1.
pub(crate) fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return 1.0;
    }
    let x = x.clamp(-690.0, 690.0);
    let whole = (x / LN_2).round();
    let r = x - whole * LN_2;
    let series = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5_040.0))))));
    series * f64::from_bits(((whole as i64 + 1_023) as u64) << 52)
}

/// A sequence that looks random and is the same each time: SplitMix64 over a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, with mean 0 and deviation 1: twice the sum of three uniform numbers around 0.
    pub(crate) fn bell(&mut self) -> f64 {
        let bits = self.bits();
        let part = |shift: u32| (bits >> shift & 0x1f_ffff) as f64 / f64::from(1 << 21) - 0.5;
        2.0 * (part(0) + part(21) + part(42))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_ones() {
        let mut x = 1e-12;
        while x < 1e12 {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-8, "ln {x}");
            x *= 1.37;
        }
        let mut x = -60.0;
        while x < 60.0 {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-7, "exp {x}");
            x += 0.173;
        }
    }

    #[test]
    fn nothing_in_gives_nothing_wild_out() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX, f64::MIN_POSITIVE / 2.0] {
            assert!(ln(x).is_finite() && exp(x).is_finite() && exp(x) > 0.0, "{x}");
        }
    }

    #[test]
    fn the_dice_are_fair_enough() {
        let mut dice = Dice::new(7);
        let (mut sum, mut squares, mut shares) = (0.0, 0.0, 0.0);
        for _ in 0..100_000 {
            let b = dice.bell();
            sum += b;
            squares += b * b;
            shares += dice.share();
        }
        assert!((sum / 1e5).abs() < 0.02 && (squares / 1e5 - 1.0).abs() < 0.02 && (shares / 1e5 - 0.5).abs() < 0.01);
    }
}
