//! The three parts of a number add up to it.

use super::*;
use crate::testing::noise;

#[test]
fn three_parts_are_the_number() {
    let mut numbers = noise(4000, 1);
    numbers.extend(noise(4000, 2).iter().map(|x| x * 1e-20));
    numbers.extend([0.0, -0.0, 1.0, f32::MAX * 0.9, -1.999_999_9, 1.003_906_2, 16_777_215.0]);
    for x in numbers {
        let [high, middle, low] = split(x).map(widen);
        assert_eq!(high + (middle + low), x, "{x:e}");
        assert!(middle.abs() <= high.abs() / 256.0 && low.abs() <= high.abs() / 65536.0, "{x:e}");
    }
    assert!(widen(split(f32::from_bits(0x7fff_ffff))[0]).is_nan());
    assert_eq!(split(f32::NEG_INFINITY).map(widen), [f32::NEG_INFINITY, 0.0, 0.0]);
}
