//! Predictions that a scorer gets wrong easily.

use super::{Metric, percent, postprocess};

#[test]
fn awkward_predictions() {
    let many = &["1234567", "7654321"][..];
    let table: &[(&str, &[&str], [f64; 4])] = &[
        // prediction, references, all / part / comma_set / mean
        ("", &["1234567"], [0.0; 4]),
        (" 1234567", &["1234567"], [1.0; 4]),
        ("1234567.", &["1234567"], [1.0, 1.0, 0.0, 1.0]),
        ("is 1234567 and 7654321", many, [1.0, 1.0, 0.0, 1.0]),
        ("7654321,1234567", many, [1.0; 4]),
        ("7654321, 1234567 , 9", many, [1.0; 4]),
        ("7654321", many, [0.5, 1.0, 0.5, 0.5]),
        ("123\x004567", &["1234567"], [0.0; 4]),
        ("123\x00", &["123\n"], [0.0; 4]),
        ("a\x07b", &["a\nb"], [1.0, 1.0, 0.0, 1.0]),
        ("PARIS", &["Paris", "paris, France"], [0.5, 1.0, 0.0, 0.5]),
        ("caf\u{c9}", &["caf\u{e9}"], [1.0, 1.0, 0.0, 1.0]),
        // A repeated value: the official set counts it once, over a list of two.
        ("5,5", &["5", "5"], [1.0, 1.0, 0.5, 1.0]),
        ("anything", &[], [0.0; 4]),
    ];
    for (prediction, references, expected) in table {
        let references: Vec<String> = references.iter().map(|r| (*r).to_owned()).collect();
        let scores = Metric::LIST.map(|m| m.score(prediction, &references));
        assert_eq!(&scores, expected, "{prediction:?} {references:?}");
    }
}

#[test]
fn clean_up() {
    assert_eq!(postprocess(" \x1c\x00a\tb\x1f\n "), "a\nb");
    assert_eq!(postprocess("\x00"), "");
}

#[test]
fn names_and_percent() {
    for metric in Metric::LIST {
        assert_eq!(Metric::parse(metric.name()), Some(metric));
    }
    assert_eq!(percent(&[1.0, 0.0, 1.0]), 66.67);
    assert_eq!(percent(&[]), 0.0);
}
