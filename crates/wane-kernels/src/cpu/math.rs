//! Elementary functions as straight-line code that the compiler vectorizes.
//!
//! `exp`: `x = n ln 2 + r`, `exp(r)` by a polynomial, `2^n` by exponent bits (relative error below
//! 2e-7). `normal_cdf`: Abramowitz and Stegun 7.1.26 (absolute error below 1e-7). NaN stays NaN.

/// `e^x`; 0 below -87.3, and `e^88.3` (about 2e38) above 88.3.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that n ln 2 is subtracted almost exactly.
    let r = (clamped - n * (355.0 / 512.0)) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * (r * r) + r + 1.0;
    let value = e * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.3 { 0.0 } else { value }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The standard normal distribution function and its density at `x`.
#[inline(always)]
pub(crate) fn normal_cdf(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let e = exp(-z * z);
    // The tail is computed directly, so small values keep their relative accuracy.
    let tail = 0.5 * p * t * e;
    (if x > 0.0 { 1.0 - tail } else { tail }, e * 0.398_942_3)
}

#[cfg(test)]
mod tests;
