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
    let [low, high] = i.ends.unwrap();
    assert!(i.value == 0.0 && (low + 0.098).abs() < 0.015 && (high - 0.098).abs() < 0.015, "{i:?}");
    assert_eq!(i, paired_bootstrap(&[differences.clone(), Vec::new()], 4000, 1));
    let two = paired_bootstrap(&[differences, vec![1.0; 3]], 4000, 1);
    let [low, high] = two.ends.unwrap();
    assert!((two.value - 0.5).abs() < 1e-12 && high - low < 0.12, "{two:?}");
    assert_eq!(paired_bootstrap(&[], 10, 1), Gain { value: 0.0, ends: None });
}

#[test]
fn one_sample_of_a_task_has_no_interval() {
    let gain = |tasks: &[Vec<f64>]| paired_bootstrap(tasks, 100, 1);
    assert_eq!(gain(&[vec![1.0], vec![0.0]]), Gain { value: 0.5, ends: None });
    // One task of one sample is enough: its share of the mean does not vary.
    assert_eq!(gain(&[vec![1.0], vec![0.0, 1.0]]), Gain { value: 0.75, ends: None });
    assert!(gain(&[vec![0.0, 1.0]]).ends.is_some());
}

/// Five seeds on 500 samples each: of all outcomes with the published mean, which deviations round to
/// the published one?
#[test]
fn the_published_deviation_is_that_of_the_population() {
    let published: serde_json::Value =
        serde_json::from_str(include_str!("../../data/paper_tables.json")).unwrap();
    let row = published["rows"].as_array().unwrap().iter().find(|row| {
        let is = |key: &str, value: &str| row[key] == value;
        is("selector", "random") && is("method", "moba") && is("backbone", "memory")
    });
    let cell = |table: &str| row.unwrap()[table]["niah_single_1"].as_f64().unwrap();
    let (mean, deviation) = (cell("accuracy"), cell("std"));
    assert_eq!((mean, deviation), (99.4, 0.13));
    // Right answers of each seed, in ascending order, that add up to the mean.
    let total = (mean * 25.0).round() as usize;
    let mut outcomes = Vec::new();
    let range = 480..=500;
    for a in range.clone() {
        for b in a..=500 {
            for c in b..=500 {
                for d in c..=500 {
                    let rest = total.saturating_sub(a + b + c + d);
                    if rest >= d && rest <= 500 {
                        outcomes.push([a, b, c, d, rest].map(|right| right as f64 / 5.0));
                    }
                }
            }
        }
    }
    let rounds_to_it = |x: f64| (x * 100.0).round() == (deviation * 100.0).round();
    let fitting: Vec<_> = outcomes.iter().filter(|o| rounds_to_it(population_deviation(&o[..]))).collect();
    assert_eq!(fitting, [&[99.2, 99.4, 99.4, 99.4, 99.6]]);
    let sample = |o: &[f64; 5]| population_deviation(o) * (5.0f64 / 4.0).sqrt();
    assert!(!outcomes.iter().any(|o| rounds_to_it(sample(o))), "divided by n - 1, no outcome fits");
}
