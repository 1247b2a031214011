//! Which statements about memory under sparse budgets hold in the records: each with its evidence and a
//! verdict that follows from intervals alone.
//!
//! The statements are those of arXiv 2605.28640's question and tables: memory gains under each method, at every
//! budget; the gain grows as the budget shrinks; memory gains under random selectors (its second hypothesis).
//!
//! A verdict counts 95 % intervals: *holds* if every one lies above zero, *the opposite holds* if every one lies
//! below, *not decided* if every one holds zero, else the counts. Does not do: corrections for many comparisons;
//! adjectives.

use super::method::{SINKS, WIDE_POOLING, budget_name};
use super::numbers::{sign, signed};
use super::published;
use super::sheet::{Cell, Group, Kind, Layout, Row, Sheet, column};
use super::study::{Difference, Study};

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

    /// Of differences; none without any. One without an interval decides nothing.
    pub(super) fn of<'a>(differences: impl IntoIterator<Item = &'a Difference>) -> Option<Self> {
        let mut counts = [0; 3];
        for difference in differences {
            counts[match side(difference) {
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

/// 1 above zero, -1 below, 0 if zero is in the interval or there is none.
pub(super) fn side(difference: &Difference) -> i8 {
    match difference.ends {
        Ok([low, _]) if low > 0.0 => 1,
        Ok([_, high]) if high < 0.0 => -1,
        _ => 0,
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

/// Settings that a statement is about.
#[derive(Debug)]
pub(super) struct Scope {
    /// `Under Quest`.
    pub(super) words: String,
    /// The method's name, where a gain may grow as the budget shrinks.
    pub(super) method: Option<String>,
    pub(super) arms: Vec<usize>,
}

/// What statements are about: the paper's settings of its methods first, then all others.
pub(super) fn scopes(study: &Study) -> Vec<Scope> {
    let mut all = Vec::new();
    for (group, arms) in study.groups() {
        let scope = |words: String, method: Option<&str>, arms: Vec<usize>| Scope {
            words,
            method: method.map(str::to_owned),
            arms,
        };
        match group.as_str() {
            "Dense" => all.push(scope("Without sparsity".into(), None, arms)),
            "Quest" | "MoBA" | "SnapKV" => {
                let of_paper = |a: &usize| published::find(&study.arms[*a].method).is_ok();
                let (paper, others): (Vec<usize>, Vec<usize>) = arms.into_iter().partition(of_paper);
                all.push(scope(format!("Under {group}"), Some(&group), paper));
                all.push(scope(format!("Under {group} with other settings"), None, others));
            }
            WIDE_POOLING | SINKS => all.push(scope(format!("Under {group}"), Some(&group), arms)),
            "Random selectors" => all.extend(arms.into_iter().map(|arm| {
                let label = study.arms[arm].method.short_label();
                scope(format!("With a random selector in place of that of {label}"), None, vec![arm])
            })),
            other => all.push(scope(format!("Under {}", other.to_lowercase()), None, arms)),
        }
    }
    all.retain(|scope| !scope.arms.is_empty());
    all
}

/// The statements about what the second model of a pair gains, as a table of study `number`, counted from 0; none
/// if no statement has records.
pub(super) fn of_pair(study: &Study, pair: usize, number: usize) -> Option<Sheet> {
    let all = about(study, pair);
    let caption = format!(
        "{}, mean of the tasks, points, 95 % intervals by paired bootstrap: over samples of these weights, not over training seeds. A statement holds if every interval lies above 0, its opposite if every one lies below; it is not decided if every one holds 0; otherwise the counts are given",
        study.gain_name(pair)
    );
    (!all.is_empty()).then(|| sheet(all, format!("statements-{number}-{pair}"), caption))
}

/// The statements about a pair; those without records are left out.
fn about(study: &Study, pair: usize) -> Vec<Statement> {
    let mut all = Vec::new();
    let [without, with] = study.names(pair);
    for mut scope in scopes(study) {
        scope.arms.retain(|arm| study.gain(*arm, pair).mean.is_ok());
        all.extend(gains(study, pair, &scope.arms, format!("{}, {with} gains over {without}", scope.words)));
        if let Some(method) = scope.method {
            all.extend(growth(study, pair, &scope.arms, &method));
        }
    }
    all.extend(cells(study, pair));
    all
}

/// ` at 64:16 (1/4)`; nothing for dense attention.
pub(super) fn place(study: &Study, arm: usize) -> String {
    let arm = &study.arms[arm];
    let budget = arm.budget.map_or_else(String::new, budget_name);
    if arm.method.is_dense() { String::new() } else { format!(" at {} ({budget})", arm.method.short_label()) }
}

pub(super) fn say(difference: &Difference) -> String {
    let ends = match &difference.ends {
        Ok(ends) => ends.map(|v| signed(100.0 * v)).join(" to "),
        Err(_) => "-".into(),
    };
    format!("{} ({ends})", signed(100.0 * difference.value))
}

fn gains(study: &Study, pair: usize, arms: &[usize], claim: String) -> Option<Statement> {
    let rows: Vec<(usize, &Difference)> =
        arms.iter().filter_map(|a| Some((*a, study.gain(*a, pair).mean.as_ref().ok()?))).collect();
    let verdict = Verdict::of(rows.iter().map(|(_, d)| *d))?;
    let evidence: Vec<String> = rows.iter().map(|(a, d)| format!("{}{}", say(d), place(study, *a))).collect();
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
fn growth(study: &Study, pair: usize, arms: &[usize], group: &str) -> Option<Statement> {
    let family = &study.arms[*arms.first()?].family;
    let mut arms: Vec<usize> = arms.iter().copied().filter(|a| study.arms[*a].family == *family).collect();
    let budget = |arm: &usize| study.arms[*arm].budget.unwrap_or(1.0);
    arms.sort_by(|a, b| budget(b).total_cmp(&budget(a)));
    let (large, small) = (*arms.first()?, *arms.last()?);
    if large == small {
        return None;
    }
    let difference = study.gain(small, pair).beyond(study.gain(large, pair)).ok()?;
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
        verdict: Verdict::of([&difference])?,
        evidence: format!("{} more", say(&difference)),
        published: published.join("; "),
    })
}

/// Single cells: how many have the sign of the published gain.
fn cells(study: &Study, pair: usize) -> Option<Statement> {
    let (mut same, mut opposite, mut open) = (0, 0, 0);
    for (index, arm) in study.arms.iter().enumerate() {
        for theirs in published::find(&arm.method).unwrap_or_default() {
            for (t, task) in study.tasks.iter().enumerate() {
                let (Ok(theirs), Ok(ours)) = (theirs.gain(task), &study.gain(index, pair).cells[t]) else {
                    continue;
                };
                match side(ours) * sign(theirs) {
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

/// A table of statements.
pub(super) fn sheet(all: Vec<Statement>, id: String, caption: String) -> Sheet {
    let row = |s: Statement| Row {
        label: s.claim,
        kind: Kind::Measured,
        cells: vec![
            Cell::text(s.verdict.name()),
            Cell::text(s.evidence),
            if s.published.is_empty() { Cell::text("\u{2013}") } else { Cell::text(s.published) },
        ],
        id: None,
        source: None,
    };
    Sheet {
        id,
        caption,
        layout: Layout::Words,
        columns: vec![
            column("statement", ""),
            column("here", "by the rule above the table"),
            column("measured", ""),
            column("published gains", "of memory over attention at the same settings, in the same order"),
        ],
        groups: vec![Group { title: String::new(), rows: all.into_iter().map(row).collect() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Difference {
        Difference { value: (low + high) / 2.0, ends: Ok([low, high]), pairs: 10 }
    }

    #[test]
    fn verdicts_follow_from_intervals() {
        let (above, below, around) = (interval(0.1, 0.2), interval(-0.2, -0.1), interval(-0.1, 0.1));
        let verdict =
            |all: &[&Difference]| Verdict::of(all.iter().copied()).map_or_else(String::new, Verdict::name);
        assert_eq!(verdict(&[&above, &above]), "holds");
        assert_eq!(verdict(&[&below]), "the opposite holds");
        assert_eq!(verdict(&[&around, &around]), "not decided");
        assert_eq!(verdict(&[&above, &around]), "holds in 1 of 2");
        assert_eq!(verdict(&[&below, &around, &below]), "the opposite holds in 2 of 3");
        assert_eq!(verdict(&[&above, &below, &around]), "mixed: holds in 1, the opposite in 1 of 3");
        assert_eq!(Verdict::of([]), None);
        let unknown = Difference { ends: Err("one sample".into()), ..above.clone() };
        assert_eq!((verdict(&[&unknown]), say(&unknown)), ("not decided".into(), "+15.0 (-)".into()));
        // An interval that ends at zero holds it.
        assert_eq!(verdict(&[&interval(0.0, 0.3)]), "not decided");
    }
}
