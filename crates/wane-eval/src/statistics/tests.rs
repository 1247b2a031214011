//! Known intervals.

use super::*;

#[test]
fn wilson_matches_the_textbook() {
    // 8 of 10: 0.490 to 0.943; 0 of 10: 0 to 0.278.
    let i = wilson(0.8, 10);
    assert!((i.low - 0.4902).abs() < 1e-3 && (i.high - 0.9433).abs() < 1e-3, "{i:?}");
    let i = wilson(0.0, 10);
    assert!(i.low == 0.0 && (i.high - 0.2775).abs() < 1e-3, "{i:?}");
    assert_eq!(wilson(1.0, 0).high, 1.0);
}

#[test]
fn the_bootstrap_covers_the_normal_interval() {
    // 400 differences of +1 and -1 in equal number: standard error 0.05.
    let differences: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let i = paired_bootstrap(std::slice::from_ref(&differences), 4000, 1);
    assert!(i.value == 0.0 && (i.low + 0.098).abs() < 0.015 && (i.high - 0.098).abs() < 0.015, "{i:?}");
    assert_eq!(i, paired_bootstrap(&[differences.clone(), Vec::new()], 4000, 1));
    let two = paired_bootstrap(&[differences, vec![1.0; 3]], 4000, 1);
    assert!((two.value - 0.5).abs() < 1e-12 && two.high - two.low < 0.12, "{two:?}");
    assert_eq!(paired_bootstrap(&[], 10, 1).value, 0.0);
}
