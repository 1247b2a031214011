//! How differences are written: with their sign, in points, with their interval.

use super::sheet::Cell;
use super::study::Difference;

/// A difference of accuracies in points, with its interval.
pub(super) fn points(difference: &Difference) -> Cell {
    let text = signed(100.0 * difference.value);
    match &difference.ends {
        Ok([low, high]) => Cell {
            text,
            detail: format!("{} to {}", signed(100.0 * low), signed(100.0 * high)),
            note: String::new(),
        },
        Err(reason) => Cell { text, detail: "-".into(), note: reason.clone() },
    }
}

/// A number with its sign; zero has none.
pub(super) fn signed(value: f64) -> String {
    let text = format!("{value:+.1}");
    if text == "+0.0" || text == "-0.0" { "0.0".into() } else { text.replace('-', "\u{2212}") }
}

/// Like [`signed`], to a hundredth.
pub(super) fn signed_finely(value: f64) -> String {
    if sign(value) == 0 { "0.00".into() } else { format!("{value:+.2}").replace('-', "\u{2212}") }
}

/// 1, 0 or -1; a difference below a rounding error is 0.
pub(super) fn sign(value: f64) -> i8 {
    if value.abs() < 1e-9 {
        0
    } else if value > 0.0 {
        1
    } else {
        -1
    }
}
