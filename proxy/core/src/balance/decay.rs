//! e to the power of minus x, cheap enough for every pick.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

/// e⁻ˣ for `x` ≥ 0, with a relative error below 0.01 %.
///
/// A busy endpoint is read a few milliseconds after it was written, so the first branch is the usual one. The other
/// splits off the power of two, which is an exponent's bits, and takes the rest from the exponential series around
/// its middle.
#[inline]
pub(super) fn decay(x: f64) -> f64 {
    if x < 0.03 {
        return 1.0 - x * (1.0 - x * 0.5);
    }
    let doublings = x * LOG2_E;
    if doublings >= 1000.0 {
        return 0.0;
    }
    let whole = doublings as u64;
    let rest = (doublings - whole as f64 - 0.5) * LN_2;
    let series = 1.0 - rest * (1.0 - rest / 2.0 * (1.0 - rest / 3.0 * (1.0 - rest / 4.0)));
    series * FRAC_1_SQRT_2 * f64::from_bits((1023 - whole) << 52)
}

#[cfg(test)]
mod tests;
