//! The results in a table with bars, for a terminal: accuracy, gain, bytes of K and V, times. One pair of models
//! or one family of training seeds for each kind of records; the page has them all.

use std::fmt::Write as _;

use super::method::budget_name;
use super::page::count;
use super::pairing::Seeds;
use super::study::{Cost, Difference, Row, Study};
use super::{OrReason, pooling, seeds};
use crate::table::bytes;

/// Characters of a bar of 100 points, on either side of zero.
const WIDTH: usize = 6;

/// A column: its heads, one above the other, and whether it is set on the left.
type Head = ([String; 2], bool);

/// The table of every study.
pub(super) fn summary(studies: &[Study]) -> String {
    let mut text = String::new();
    for (i, study) in studies.iter().enumerate() {
        if studies.len() > 1 {
            let _ = writeln!(
                text,
                "{}records {}: {}\n",
                if i > 0 { "\n" } else { "" },
                i + 1,
                study.setup.summary()
            );
        }
        one(&mut text, study);
    }
    text
}

/// What is shown of a study.
enum Shown<'s> {
    Seeds(&'s Seeds),
    Pair(usize),
    Model,
}

fn one(text: &mut String, study: &Study) {
    let shown = match (study.seeds.iter().max_by_key(|s| s.pairs.len()), study.main_pair()) {
        (Some(family), _) => Shown::Seeds(family),
        (None, Some(pair)) => Shown::Pair(pair),
        (None, None) => Shown::Model,
    };
    // Whose bytes and times are shown.
    let costs = match shown {
        Shown::Seeds(family) => study.pairs[family.pairs[0]].second,
        Shown::Pair(pair) => study.pairs[pair].second,
        Shown::Model => 0,
    };
    let head = |above: &str, below: &str| ([above.to_owned(), below.to_owned()], false);
    let accuracy = |[first, second]: [&str; 2]| [head("accuracy,", first), head("percent", second)];
    let mut heads: Vec<Head> = vec![([String::new(), "method".into()], true), head("", "budget")];
    match shown {
        Shown::Seeds(family) => {
            heads.extend(accuracy(family.models.each_ref().map(String::as_str)));
            heads.push((["gain, points".into(), "(range of the seeds)".into()], true));
        }
        Shown::Pair(pair) => {
            heads.extend(accuracy(study.names(pair)));
            heads.push((["gain, points".into(), "(95 % interval)".into()], true));
        }
        Shown::Model => heads.push(head("accuracy, %", &study.models[0].label)),
    }
    heads.push(([String::new(), String::new()], true));
    heads.extend([head("K/V", "read"), head("K/V", "kept"), head("prompt", "ms"), head("token", "ms")]);

    let mut rows = Vec::new();
    for index in study.groups().into_iter().flat_map(|(_, arms)| arms) {
        let arm = &study.arms[index];
        let budget = arm.budget.filter(|_| !arm.method.is_dense()).map_or_else(String::new, budget_name);
        let mut cells = vec![arm.label.clone(), budget];
        let row_of = |model: usize| study.rows[index][model].as_ref().ok();
        let mean = |model: usize| Some(study.mean(index, model).ok()?.interval.value);
        match shown {
            Shown::Seeds(family) => {
                let means = seeds::accuracies(study, family, index);
                cells.extend(means.iter().map(|spread| percent(spread.as_ref().ok().map(|s| s.mean))));
                let gain = seeds::gain(study, family, index);
                cells.push(gain.as_ref().map_or_else(
                    |_| "-".to_owned(),
                    |s| points(s.mean, (s.seeds > 1).then_some([s.least, s.most])),
                ));
                cells.push(gain.map_or_else(|_| String::new(), |s| bar(s.mean)));
            }
            Shown::Pair(pair) => {
                let pair_of = study.pairs[pair];
                cells.extend([pair_of.first, pair_of.second].map(|model| percent(mean(model))));
                let gain = &study.gain(index, pair).mean;
                let shown = |d: &Difference| points(d.value, d.ends.as_ref().ok().copied());
                cells.push(gain.as_ref().map_or_else(|reason| format!("- ({reason})"), shown));
                cells.push(gain.as_ref().map_or_else(|_| String::new(), |d| bar(d.value)));
            }
            Shown::Model => {
                cells.push(percent(mean(0)));
                cells.push("\u{2588}".repeat((mean(0).unwrap_or(0.0) * 2.0 * WIDTH as f64).round() as usize));
            }
        }
        cells.extend(cost(row_of(costs)));
        rows.push(cells);
    }
    lay_out(text, &heads, &rows);
    let _ = writeln!(text, "{}", legend(study, &shown, costs));
}

fn cost(row: Option<&Row>) -> [String; 4] {
    let time = |pick: fn(&Cost) -> &OrReason<f64>| {
        let value = row.and_then(|r| pick(&r.cost).as_ref().ok());
        value.map_or_else(|| "-".into(), |v| if *v < 100.0 { format!("{v:.2}") } else { format!("{v:.0}") })
    };
    let size = |pick: fn(&Cost) -> f64| row.map_or_else(|| "-".into(), |r| bytes(pick(&r.cost)));
    [size(|c| c.read), size(|c| c.resident), time(|c| &c.prefill), time(|c| &c.decode)]
}

/// What the columns are.
fn legend(study: &Study, shown: &Shown<'_>, costs: usize) -> String {
    let rest = format!(
        "mean of {}, at most {} each.\nK/V read for a token, K/V kept after the prompt, median times: those of {}.",
        count(study.tasks.len(), "task"),
        count(study.samples, "sample"),
        study.models[costs].label
    );
    let care = if pooling::is_narrow(study) {
        "\nSnapKV with care: its default pooling is narrower than an answer here; the page says more."
    } else {
        ""
    };
    let rest = rest + care;
    match shown {
        Shown::Seeds(family) => {
            format!("{}: accuracies and gains are means of the seeds; {rest}", seeds::title(family))
        }
        Shown::Pair(pair) => {
            let others = study.pairs.len() - 1;
            let more = if others > 0 {
                format!("\n{others} more comparisons are on the page.")
            } else {
                String::new()
            };
            let why = if study.lacks_intervals() {
                "\nNo interval (-) where a task has fewer than 2 samples."
            } else {
                ""
            };
            format!("Gain: {}; {rest}{why}{more}", study.gain_name(*pair))
        }
        Shown::Model => format!("Accuracy: {rest}"),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |v| format!("{:.1}", 100.0 * v))
}

fn points(value: f64, ends: Option<[f64; 2]>) -> String {
    let ends = match ends {
        Some([low, high]) => format!("{:>+6.1} to {:>+6.1}", 100.0 * low, 100.0 * high),
        None => "     -".into(),
    };
    format!("{:>+6.1} {ends}", 100.0 * value)
}

/// Columns as wide as they must be, two spaces apart.
fn lay_out(text: &mut String, heads: &[Head], rows: &[Vec<String>]) {
    let length = |text: &str| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| length(&row[column]));
        cells.chain(heads[column].0.iter().map(|h| length(h))).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (i, cell) in cells.enumerate() {
            let (width, gap) = (widths[i], if i > 0 { "  " } else { "" });
            let _ = match heads[i].1 {
                true => write!(text, "{gap}{cell:<width$}"),
                false => write!(text, "{gap}{cell:>width$}"),
            };
        }
        let kept = text.trim_end_matches(' ').len();
        text.truncate(kept);
        text.push('\n');
    };
    for level in 0..2 {
        line(&mut heads.iter().map(|(names, _)| names[level].as_str()));
    }
    rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
}

/// A bar of a difference between -1 and 1, zero at the line.
fn bar(value: f64) -> String {
    let halves = (value.abs().min(1.0) * 2.0 * WIDTH as f64).round() as usize;
    let (full, half) = ("\u{2588}".repeat(halves / 2), halves % 2 == 1);
    if value < 0.0 {
        let bar = format!("{}{full}", if half { "\u{2590}" } else { "" });
        format!("{bar:>WIDTH$}\u{2502}{:WIDTH$}", "")
    } else {
        let bar = format!("{full}{}", if half { "\u{258c}" } else { "" });
        format!("{:WIDTH$}\u{2502}{bar:<WIDTH$}", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_from_the_line() {
        assert_eq!(bar(0.25), "      \u{2502}\u{2588}\u{258c}    ");
        assert_eq!(bar(-0.25), "    \u{2590}\u{2588}\u{2502}      ");
        assert_eq!(bar(0.001), "      \u{2502}      ");
        assert_eq!(bar(-7.0), format!("{}\u{2502}      ", "\u{2588}".repeat(6)));
    }

    #[test]
    fn a_gain_without_an_interval_has_a_dash() {
        assert_eq!(points(0.5, None), " +50.0      -");
        assert_eq!(points(-0.05, Some([-0.1, 0.0])), "  -5.0  -10.0 to   +0.0");
    }
}
