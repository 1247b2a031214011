//! Which statements about memory under sparse budgets hold in the records: each with its evidence and a
//! verdict that follows from intervals alone.
//!
//! The statements are those of arXiv 2605.28640's question and tables: memory gains under each method, at every
//! budget; the gain grows as the budget shrinks; memory gains under random selectors (its second hypothesis).
//!
//! A verdict counts 95 % intervals: *holds* if every one lies above zero, *the opposite holds* if every one lies
//! below, *not decided* if every one holds zero, else the counts. Does not do: corrections for many comparisons;
//! adjectives.

use super::method::budget_name;
use super::published;
use super::study::{Difference, Study};
use super::tables::{sign, signed};
use crate::statistics::Interval;

/// What a number of intervals (or of tasks) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    above: usize,
    below: usize,
    open: usize,
}

impl Verdict {
    /// Of counts: above zero, below, neither.
    pub(super) fn of_counts([above, below, open]: [usize; 3]) -> Option<Self> {
        (above + below + open > 0).then_some(Self { above, below, open })
    }

    /// Of intervals; none without any.
    pub(super) fn of<'a>(intervals: impl IntoIterator<Item = &'a Interval>) -> Option<Self> {
        let mut counts = [0; 3];
        for interval in intervals {
            counts[match side(interval) {
                1 => 0,
                -1 => 1,
                _ => 2,
            }] += 1;
        }
        Self::of_counts(counts)
    }

    /// In words, with counts where not all agree.
    pub(super) fn name(self) -> String {
        let Self { above, below, open } = self;
        let all = above + below + open;
        match (above, below, open) {
            (_, 0, 0) => "holds".into(),
            (0, _, 0) => "the opposite holds".into(),
            (0, 0, _) => "not decided".into(),
            (_, 0, _) => format!("holds in {above} of {all}"),
            (0, ..) => format!("the opposite holds in {below} of {all}"),
            _ => format!("mixed: holds in {above}, the opposite in {below} of {all}"),
        }
    }
}

/// 1 above zero, -1 below, 0 if zero is in the interval.
fn side(interval: &Interval) -> i8 {
    if interval.low > 0.0 {
        1
    } else if interval.high < 0.0 {
        -1
    } else {
        0
    }
}

/// A statement with what the records say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) claim: String,
    pub(super) verdict: Verdict,
    pub(super) evidence: String,
    /// The published numbers of the same settings; empty if there are none.
    pub(super) published: String,
}

/// The statements about what model `m` gains over the first one; those without records are left out.
pub(super) fn of_model(study: &Study, m: usize) -> Vec<Statement> {
    let mut all = Vec::new();
    let (with, without) = (&study.models[m].label, &study.models[0].label);
    for (group, arms) in study.groups() {
        let is_row = |a: &usize| study.gain(*a, m).mean.is_ok();
        let arms: Vec<usize> = arms.into_iter().filter(is_row).collect();
        match group.as_str() {
            "Dense" => {
                all.extend(gains(study, m, &arms, format!("Without sparsity, {with} gains over {without}")))
            }
            "Quest" | "MoBA" | "SnapKV" => {
                // The paper's own settings, and those alone.
                let paper: Vec<usize> =
                    arms.into_iter().filter(|a| published::find(&study.arms[*a].method).is_ok()).collect();
                all.extend(gains(study, m, &paper, format!("Under {group}, {with} gains over {without}")));
                all.extend(growth(study, m, &paper, &group));
            }
            "Random selectors" => {
                for arm in arms {
                    let claim = format!(
                        "With a random selector in place of that of {}, {with} gains over {without}",
                        study.arms[arm].method.short_label()
                    );
                    all.extend(gains(study, m, &[arm], claim));
                }
            }
            _ => {}
        }
    }
    all.extend(cells(study, m));
    all
}

fn say(difference: &Difference) -> String {
    let [value, low, high] = [difference.interval.value, difference.interval.low, difference.interval.high]
        .map(|v| signed(100.0 * v));
    format!("{value} ({low} to {high})")
}

fn gains(study: &Study, m: usize, arms: &[usize], claim: String) -> Option<Statement> {
    let rows: Vec<(usize, &Difference)> =
        arms.iter().filter_map(|a| Some((*a, study.gain(*a, m).mean.as_ref().ok()?))).collect();
    let verdict = Verdict::of(rows.iter().map(|(_, d)| &d.interval))?;
    let place = |arm: usize| {
        let arm = &study.arms[arm];
        let budget = arm.budget.map_or_else(String::new, budget_name);
        if arm.method.is_dense() {
            String::new()
        } else {
            format!(" at {} ({budget})", arm.method.short_label())
        }
    };
    let evidence: Vec<String> = rows.iter().map(|(a, d)| format!("{}{}", say(d), place(*a))).collect();
    let of_model = |model: &&str| {
        let of_arm = |arm: usize| {
            let pairs = published::find(&study.arms[arm].method).ok()?;
            pairs.into_iter().find(|p| p.memory.model == *model)?.mean_gain(&study.tasks).ok()
        };
        let values: Vec<Option<f64>> = rows.iter().map(|(a, _)| of_arm(*a)).collect();
        let shown: Vec<String> = values.iter().map(|v| v.map_or_else(|| "none".to_owned(), signed)).collect();
        values.iter().any(Option::is_some).then(|| format!("{model} {}", shown.join(", ")))
    };
    let published: Vec<String> = published::models().iter().filter_map(of_model).collect();
    Some(Statement { claim, verdict, evidence: evidence.join(", "), published: published.join("; ") })
}

/// The gain at the smallest budget against that at the largest, blocks alike.
fn growth(study: &Study, m: usize, arms: &[usize], group: &str) -> Option<Statement> {
    let family = &study.arms[*arms.first()?].family;
    let mut arms: Vec<usize> = arms.iter().copied().filter(|a| study.arms[*a].family == *family).collect();
    let budget = |arm: &usize| study.arms[*arm].budget.unwrap_or(1.0);
    arms.sort_by(|a, b| budget(b).total_cmp(&budget(a)));
    let (large, small) = (*arms.first()?, *arms.last()?);
    if large == small {
        return None;
    }
    let difference = study.gain(small, m).beyond(study.gain(large, m)).ok()?;
    let names = [small, large].map(|a| budget_name(budget(&a)));
    let of_model = |model: &&str| {
        let gain = |arm: usize| {
            let pairs = published::find(&study.arms[arm].method).ok()?;
            pairs.into_iter().find(|p| p.memory.model == *model)?.mean_gain(&study.tasks).ok()
        };
        Some(format!("{model} {}", signed(gain(small)? - gain(large)?)))
    };
    let published: Vec<String> = published::models().iter().filter_map(of_model).collect();
    Some(Statement {
        claim: format!("Under {group}, the gain at {} is larger than at {}", names[0], names[1]),
        verdict: Verdict::of([&difference.interval])?,
        evidence: format!("{} more", say(&difference)),
        published: published.join("; "),
    })
}

/// Single cells: how many have the sign of the published gain.
fn cells(study: &Study, m: usize) -> Option<Statement> {
    let (mut same, mut opposite, mut open) = (0, 0, 0);
    for (index, arm) in study.arms.iter().enumerate() {
        for pair in published::find(&arm.method).unwrap_or_default() {
            for (t, task) in study.tasks.iter().enumerate() {
                let (Ok(theirs), Ok(ours)) = (pair.gain(task), &study.gain(index, m).cells[t]) else {
                    continue;
                };
                match side(&ours.interval) * sign(theirs) {
                    _ if sign(theirs) == 0 => {}
                    1 => same += 1,
                    -1 => opposite += 1,
                    _ => open += 1,
                }
            }
        }
    }
    let all = same + opposite + open;
    let verdict = Verdict::of_counts([same, opposite, open])?;
    Some(Statement {
        claim: "Single tasks gain where the paper's tables show a gain".into(),
        verdict,
        evidence: format!(
            "of {all} cells (setting, task, published model) with a published gain other than 0: {same} have the same sign with their whole interval, {opposite} the opposite sign, {open} hold 0"
        ),
        published: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { value: (low + high) / 2.0, low, high }
    }

    #[test]
    fn verdicts_follow_from_intervals() {
        let (above, below, around) = (interval(0.1, 0.2), interval(-0.2, -0.1), interval(-0.1, 0.1));
        let verdict = |all: &[Interval]| Verdict::of(all).map_or_else(String::new, Verdict::name);
        assert_eq!(verdict(&[above, above]), "holds");
        assert_eq!(verdict(&[below]), "the opposite holds");
        assert_eq!(verdict(&[around, around]), "not decided");
        assert_eq!(verdict(&[above, around]), "holds in 1 of 2");
        assert_eq!(verdict(&[below, around, below]), "the opposite holds in 2 of 3");
        assert_eq!(verdict(&[above, below, around]), "mixed: holds in 1, the opposite in 1 of 3");
        assert_eq!(Verdict::of(&[] as &[Interval]), None);
        // An interval that ends at zero holds it.
        assert_eq!(verdict(&[interval(0.0, 0.3)]), "not decided");
    }
}
