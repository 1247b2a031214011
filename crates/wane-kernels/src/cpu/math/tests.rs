//! Accuracy against f64 over the whole range.

use super::*;

#[test]
fn exp_is_accurate_to_two_units_in_the_last_place() {
    for i in -870_000..883_000 {
        let x = i as f32 * 1e-4;
        let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
        assert!((got - want).abs() <= 2.4e-7 * want, "exp({x}) is {got}, want {want}");
    }
}

#[test]
fn exp_saturates_and_keeps_nan() {
    assert_eq!((exp(-1000.0), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
    assert!(exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    assert_eq!((sigmoid(f32::INFINITY), sigmoid(0.0)), (1.0, 0.5));
    assert!(sigmoid(-200.0) < 1e-37 && sigmoid(f32::NAN).is_nan());
}

#[test]
fn normal_cdf_is_symmetric_and_accurate() {
    // Values of a table of the normal distribution.
    for (x, want) in [(0.0, 0.5), (1.0, 0.841_344_746), (2.0, 0.977_249_868), (3.5, 0.999_767_371)] {
        assert!((f64::from(normal_cdf(x).0) - want).abs() < 2e-7, "at {x}");
        assert!((f64::from(normal_cdf(-x).0) - (1.0 - want)).abs() < 2e-7, "at -{x}");
    }
    assert!(normal_cdf(f32::NAN).0.is_nan());
}
