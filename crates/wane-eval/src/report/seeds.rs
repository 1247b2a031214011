//! What training seeds agree on: for every family of pairs that differ in their seed alone (`pairing`), the gain
//! of each seed beside their mean, the least and the most, and which statements hold for every seed.
//!
//! An interval says how sure a gain is for the weights at hand; the range over seeds says what training again
//! would have given. Does not do: intervals over seeds; two or three seeds allow none.

use super::numbers::{points, signed};
use super::pairing::Seeds;
use super::sheet::{Cell, Group, Kind, Layout, Row, Sheet, column};
use super::statements::{self, Statement, Verdict, place, scopes, side};
use super::study::{Difference, Study};
use super::{OrReason, csv};

/// Mean, least and most of one value a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    /// Seeds that have the value.
    pub(super) seeds: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> OrReason<Self> {
        let values: Vec<f64> = values.collect();
        if values.is_empty() {
            return Err("no seed has records of every task here".into());
        }
        Ok(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            seeds: values.len(),
        })
    }
}

/// The gains of the seeds under an arm that have one.
fn gains<'s>(study: &'s Study, family: &Seeds, arm: usize) -> Vec<&'s Difference> {
    family.pairs.iter().filter_map(|pair| study.gain(arm, *pair).mean.as_ref().ok()).collect()
}

/// The gain under an arm over the seeds.
pub(super) fn gain(study: &Study, family: &Seeds, arm: usize) -> OrReason<Spread> {
    Spread::of(gains(study, family, arm).into_iter().map(|d| d.value))
}

/// The accuracy of both models under an arm over the seeds.
pub(super) fn accuracies(study: &Study, family: &Seeds, arm: usize) -> [OrReason<Spread>; 2] {
    [0, 1].map(|which| {
        let accuracy = |pair: &usize| {
            let pair = study.pairs[*pair];
            let model = if which == 0 { pair.first } else { pair.second };
            Some(study.mean(arm, model).ok()?.interval.value)
        };
        Spread::of(family.pairs.iter().filter_map(accuracy))
    })
}

/// `memory minus attention`.
pub(super) fn title(family: &Seeds) -> String {
    let [first, second] = &family.models;
    format!("{second} minus {first}, {} training seeds", family.pairs.len())
}

/// The tables of a study: statements and gains for each family.
pub(super) fn sheets(study: &Study, number: usize) -> Vec<Sheet> {
    let of = |(i, family): (usize, &Seeds)| {
        [statements(study, family, [number, i]), table(study, family, [number, i])]
    };
    study.seeds.iter().enumerate().flat_map(of).collect()
}

fn statements(study: &Study, family: &Seeds, [number, place_of]: [usize; 2]) -> Sheet {
    let [first, second] = &family.models;
    let statement = |scope: super::statements::Scope| {
        // A setting that one seed lacks says nothing about every seed.
        let complete = |arm: &&usize| gains(study, family, **arm).len() == family.pairs.len();
        let arms: Vec<usize> = scope.arms.iter().filter(complete).copied().collect();
        let verdict = Verdict::of(arms.iter().flat_map(|arm| gains(study, family, *arm)))?;
        let say = |arm: &usize| {
            let spread = gain(study, family, *arm).ok()?;
            let [mean, least, most] = [spread.mean, spread.least, spread.most].map(|v| signed(100.0 * v));
            Some(format!("{mean} ({least} to {most}){}", place(study, *arm)))
        };
        let evidence: Vec<String> = arms.iter().filter_map(say).collect();
        Some(Statement {
            claim: format!("{}, {second} gains over {first} with every training seed", scope.words),
            verdict,
            evidence: evidence.join(", "),
            published: String::new(),
        })
    };
    let all = scopes(study).into_iter().filter_map(statement).collect();
    let caption = format!(
        "{}: mean of the seeds' gains in points, in brackets the least and the most. Of settings that every seed has. A statement holds if the interval of every seed at every setting lies above 0; otherwise the counts of seeds and settings are given",
        title(family)
    );
    statements::sheet(all, format!("statements-seeds-{number}-{place_of}"), caption)
}

fn table(study: &Study, family: &Seeds, [number, place_of]: [usize; 2]) -> Sheet {
    let spread = |value: &OrReason<Spread>, show: fn(f64) -> String| {
        Cell::of(value, |s| Cell {
            text: show(100.0 * s.mean),
            detail: format!("{} to {}", show(100.0 * s.least), show(100.0 * s.most)),
            note: if s.seeds < family.pairs.len() {
                format!("{} of {} seeds", s.seeds, family.pairs.len())
            } else {
                String::new()
            },
        })
    };
    let row = |arm: usize| {
        let percent = |v: f64| format!("{v:.1}");
        let mut cells = vec![Cell::text(study.arms[arm].budget_name())];
        cells.extend(accuracies(study, family, arm).iter().map(|a| spread(a, percent)));
        cells.push(spread(&gain(study, family, arm), signed));
        cells.extend(family.pairs.iter().map(|pair| Cell::of(&study.gain(arm, *pair).mean, points)));
        let all = gains(study, family, arm);
        let count = |wanted: i8| all.iter().filter(|d| side(d) == wanted).count();
        cells.push(Cell::text(format!("{} / {} / {}", count(1), count(0), count(-1))));
        Row { label: study.arms[arm].label.clone(), kind: Kind::Measured, cells, id: None, source: None }
    };
    let [first, second] = &family.models;
    let mut columns = vec![column("method", ""), column("budget", "")];
    columns.extend([first, second].map(|name| column(name, "accuracy in percent, mean of the seeds")));
    columns.push(column("gain", "mean of the seeds, points"));
    columns
        .extend(family.names.iter().map(|name| column(&format!("seed {name}"), "gain of this seed, points")));
    columns.push(column("+ / 0 / \u{2212}", "seeds whose interval lies above 0, holds 0, lies below"));
    let arms = study.groups().into_iter().flat_map(|(_, arms)| arms);
    Sheet {
        id: format!("seeds-{number}-{place_of}"),
        caption: format!(
            "{}, mean of the tasks. Below a mean: the least and the most of the seeds. Below a seed's gain: its 95 % interval over samples. Last: how many seeds' intervals lie above 0, hold 0, lie below",
            title(family)
        ),
        layout: Layout::Numbers,
        columns,
        groups: vec![Group { title: String::new(), rows: arms.map(row).collect() }],
    }
}

/// Tidy CSV: a line for every method, with the mean and the range of accuracies and gains over seeds.
pub(super) fn csv(studies: &[Study]) -> String {
    let mut text = csv::head(&[
        "group",
        "first",
        "second",
        "method",
        "budget",
        "seeds",
        "first_mean",
        "first_least",
        "first_most",
        "second_mean",
        "second_least",
        "second_most",
        "gain_mean",
        "gain_least",
        "gain_most",
    ]);
    for (number, study) in studies.iter().enumerate() {
        for family in &study.seeds {
            for (index, arm) in study.arms.iter().enumerate() {
                let gain = gain(study, family, index);
                let mut fields = vec![(number + 1).to_string()];
                fields.extend(family.models.clone());
                fields.push(arm.text.clone());
                fields.push(arm.budget.map_or_else(String::new, csv::share));
                fields.push(gain.as_ref().map_or(0, |s| s.seeds).to_string());
                for value in accuracies(study, family, index).into_iter().chain([gain]) {
                    let part = |pick: fn(&Spread) -> f64| {
                        value.as_ref().map_or_else(|_| String::new(), |s| csv::share(pick(s)))
                    };
                    fields.extend([part(|s| s.mean), part(|s| s.least), part(|s| s.most)]);
                }
                csv::line(&mut text, &fields);
            }
        }
    }
    text
}
