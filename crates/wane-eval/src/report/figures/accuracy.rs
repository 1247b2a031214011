//! Accuracy against budget: a figure for each family of methods, in it a small panel for the mean and for
//! each task, in it a line for each model with 95 % intervals; and one figure with all of the paper's
//! families, a row each and a column for each task (Figure 1 of arXiv 2605.28640). The budget's axis is
//! logarithmic; budget 1 is dense attention, in every panel.

use crate::report::OrReason;
use crate::report::chart::{Line, Plot, Point, Scale};
use crate::report::drawing::{Ink, Marker, Pen};
use crate::report::figure::{Figure, Panel, series_key};
use crate::report::method::{Method, budget_name};
use crate::report::pairing::Look;
use crate::report::study::{Accuracy, Row, Study};
use crate::table::short;

const SIZE: [f64; 2] = [220.0, 172.0];
const SMALL: [f64; 2] = [164.0, 142.0];

/// A family's figure.
#[derive(Debug)]
pub(crate) struct OfFamily {
    pub(crate) figure: Figure,
    /// Whether the page shows it at once: the paper's families, and SnapKV with wide pooling or with the first tokens.
    pub(crate) shown: bool,
    /// Points of a line, dense attention included.
    pub(crate) budgets: usize,
}

/// The figures of a study, one for each family of methods with several known budgets (for every family if none has
/// several), the paper's first.
pub(crate) fn families(study: &Study, number: usize) -> Vec<OfFamily> {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let figure = |(family, arms): (String, Vec<usize>)| {
        let arms = with_dense(study, &arms)?;
        let name = format!("accuracy-{}-{}", number + 1, family.chars().map(safe).collect::<String>());
        let (shown, method) = (is_shown(study, &arms), Method::parse(&family));
        let figure = Figure {
            name,
            title: if method.is_snapkv_variant() {
                format!("{}: {family}", method.group())
            } else {
                family.clone()
            },
            caption: String::new(),
            legend: legend(study),
            columns: 5,
            panels: panels(study, &family, &arms, SIZE),
        };
        Some(OfFamily { figure, shown, budgets: arms.len() })
    };
    let mut all: Vec<OfFamily> = study.families().into_iter().filter_map(figure).collect();
    if all.iter().any(|f| f.budgets > 2) {
        all.retain(|f| f.budgets > 2);
    }
    all.sort_by_key(|f| !f.shown);
    all
}

/// All shown families with several budgets, a row of panels each; none if there is no such family.
pub(crate) fn grid(study: &Study, number: usize) -> Option<Figure> {
    let mut all = Vec::new();
    for (family, arms) in study.families() {
        let Some(arms) = with_dense(study, &arms) else { continue };
        if arms.len() > 2 && is_shown(study, &arms) {
            all.extend(panels(study, &family, &arms, SMALL).into_iter().map(|mut panel| {
                panel.title = format!("{family}, {}", panel.title);
                panel
            }));
        }
    }
    (!all.is_empty()).then(|| Figure {
        name: format!("accuracy-{}", number + 1),
        title: "Accuracy (%) against budget, 95 % intervals".into(),
        caption: String::new(),
        legend: legend(study),
        columns: study.tasks.len() + 1,
        panels: all,
    })
}

fn legend(study: &Study) -> Vec<(crate::report::figure::Sample, String)> {
    study.models.iter().map(|m| (series_key(m.look), m.label.clone())).collect()
}

fn is_shown(study: &Study, arms: &[usize]) -> bool {
    let of_paper = |a: &usize| crate::report::published::find(&study.arms[*a].method).is_ok();
    arms.iter().any(|a| of_paper(a) || study.arms[*a].method.is_snapkv_variant())
}

/// The arms with a known budget and dense attention, budgets ascending; none without a sparse one.
fn with_dense(study: &Study, arms: &[usize]) -> Option<Vec<usize>> {
    let known = |a: &usize| study.arms[*a].budget.is_some_and(|b| b > 0.0);
    let mut arms: Vec<usize> = arms.iter().copied().filter(known).collect();
    if arms.is_empty() {
        return None;
    }
    arms.extend(study.arms.iter().position(|a| a.method.is_dense()));
    let budget = |arm: &usize| study.arms[*arm].budget.unwrap_or(1.0);
    arms.sort_by(|a, b| budget(a).total_cmp(&budget(b)));
    Some(arms)
}

fn panels(study: &Study, family: &str, arms: &[usize], size: [f64; 2]) -> Vec<Panel> {
    let mut panels = vec![panel(study, family, arms, "mean of tasks", size, |row| &row.mean)];
    for (i, task) in study.tasks.iter().enumerate() {
        panels.push(panel(study, family, arms, task, size, |row| &row.cells[i]));
    }
    panels
}

fn panel(
    study: &Study,
    family: &str,
    arms: &[usize],
    title: &str,
    size: [f64; 2],
    pick: impl Fn(&Row) -> &OrReason<Accuracy>,
) -> Panel {
    let budgets: Vec<f64> = arms.iter().filter_map(|a| study.arms[*a].budget).collect();
    let name = |budget: &f64| if *budget >= 1.0 { "dense".to_owned() } else { budget_name(*budget) };
    let (low, high) = (budgets[0], budgets[budgets.len() - 1]);
    let x = Scale { low, high, logarithmic: true, ticks: budgets.iter().map(|b| (*b, name(b))).collect() };
    let cell = |model: usize, arm: usize| pick(study.rows[arm][model].as_ref().ok()?).as_ref().ok();
    let mut told = Vec::new();
    let mut lines = Vec::new();
    for (i, model) in study.models.iter().enumerate() {
        let mut points = Vec::new();
        let mut words = Vec::new();
        for arm in arms {
            let (Some(budget), Some(accuracy)) = (study.arms[*arm].budget, cell(i, *arm)) else { continue };
            let v = accuracy.interval;
            words.push(format!("{:.1} at {}", 100.0 * v.value, name(&budget)));
            points.push(Point {
                x: budget,
                y: v.value,
                interval: Some([v.low, v.high]),
                tooltip: format!(
                    "{}, {}: {:.1} % ({:.1} to {:.1}), {} samples",
                    model.label,
                    study.arms[*arm].label,
                    100.0 * v.value,
                    100.0 * v.low,
                    100.0 * v.high,
                    accuracy.samples
                ),
            });
        }
        if !words.is_empty() {
            told.push(format!("{}: {}", model.label, words.join(", ")));
        }
        let Look { colour, marker } = model.look;
        let marker = Some(Marker::Filled(marker));
        lines.push(Line { ink: Ink::Series(colour), pen: Pen::Data, marker, points });
    }
    let description = if told.is_empty() {
        format!("{title}: no records.")
    } else {
        format!("{title}, percent: {}.", told.join("; "))
    };
    // Small panels have no room for a long name.
    let shown = if size[0] < 200.0 { small_title(family, title) } else { title.to_owned() };
    let plot = Plot { size, title: shown, x, y: Scale::percent(), lines };
    Panel { title: format!("{family}, {title}"), description, drawing: plot.draw(), size }
}

fn small_title(family: &str, title: &str) -> String {
    if title == "mean of tasks" {
        // What differs from the defaults is in the family's own figure.
        let method = Method::parse(family);
        let said = |key: &str, word| method.setting(key).map_or("", |_| word);
        let short = if method.is_snapkv_variant() {
            format!("snapkv{}{}", said("kernel", ", wide"), said("first", ", first"))
        } else {
            family.replace(":block=", " ")
        };
        format!("{short}, mean")
    } else {
        short(title).to_owned()
    }
}
