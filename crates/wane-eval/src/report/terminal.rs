//! The gains of a report in a few lines with bars, for those without a browser.

use std::fmt::Write as _;

use super::method::budget_name;
use super::study::Study;

/// Characters of a bar of 100 points, on either side of zero.
const WIDTH: usize = 16;

/// The summary of every study: accuracy of each model, the gain over the first and its bar.
pub(super) fn summary(studies: &[Study]) -> String {
    let mut text = String::new();
    for (i, study) in studies.iter().enumerate() {
        if studies.len() > 1 {
            let _ = writeln!(text, "records {}: {}", i + 1, study.setup.summary());
        }
        one(&mut text, study);
    }
    text
}

fn one(text: &mut String, study: &Study) {
    let models: Vec<&str> = study.models.iter().map(|m| m.label.as_str()).collect();
    let label = |arm: &super::study::Arm| {
        let budget = arm.budget.filter(|_| !arm.method.is_dense()).map_or_else(String::new, budget_name);
        (arm.label.clone(), budget)
    };
    let arms: Vec<usize> = study.groups().into_iter().flat_map(|(_, arms)| arms).collect();
    let width = arms.iter().map(|a| study.arms[*a].label.chars().count()).max().unwrap_or(0).clamp(6, 48);
    let _ = write!(text, "{:<width$} {:>6} ", "method", "budget");
    for model in &models {
        let _ = write!(text, " {model:>9}");
    }
    text.push_str(if models.len() > 1 { "    gain (95 % interval)\n" } else { "  accuracy, %\n" });
    for arm in arms {
        let (name, budget) = label(&study.arms[arm]);
        let _ = write!(text, "{name:<width$} {budget:>6} ");
        for (row, model) in study.rows[arm].iter().zip(&models) {
            let mean = row.as_ref().ok().and_then(|r| r.mean.as_ref().ok());
            let shown = mean.map_or_else(|| "-".to_owned(), |m| format!("{:.1}", 100.0 * m.interval.value));
            let _ = write!(text, " {shown:>0$}", model.chars().count().max(9));
        }
        if models.len() > 1 {
            match &study.gain(arm, 1).mean {
                Ok(gain) => {
                    let [value, low, high] =
                        [gain.interval.value, gain.interval.low, gain.interval.high].map(|v| 100.0 * v);
                    let _ = write!(
                        text,
                        "  {value:>+6.1} ({low:>+6.1} to {high:>+6.1}) {}",
                        bar(gain.interval.value)
                    );
                }
                Err(reason) => {
                    let _ = write!(text, "  - ({reason})");
                }
            }
        } else if let Some(Ok(row)) = study.rows[arm].first() {
            let share = row.mean.as_ref().map_or(0.0, |m| m.interval.value);
            let _ = write!(text, "  {}", "\u{2588}".repeat((share * WIDTH as f64).round() as usize));
        }
        let kept = text.trim_end().len();
        text.truncate(kept);
        text.push('\n');
    }
}

/// A bar of a difference between -1 and 1, zero at the line.
fn bar(value: f64) -> String {
    let full = "\u{2588}".repeat((value.abs().min(1.0) * WIDTH as f64).round() as usize);
    if value < 0.0 { format!("{full:>WIDTH$}\u{2502}") } else { format!("{:WIDTH$}\u{2502}{full}", "") }
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_grow_from_the_line() {
        assert_eq!(bar(0.25), format!("{}\u{2502}{}", " ".repeat(16), "\u{2588}".repeat(4)));
        assert_eq!(bar(-0.25), format!("{}{}\u{2502}", " ".repeat(12), "\u{2588}".repeat(4)));
        assert_eq!(bar(0.001), format!("{}\u{2502}", " ".repeat(16)));
        assert_eq!(bar(-7.0), format!("{}\u{2502}", "\u{2588}".repeat(16)));
    }
}
