//! Accuracy against budget: a figure for each family of methods, in it a small panel for the mean
//! and for each task, in it a line for each model with 95 % intervals (the layout of Figure 1 of
//! arXiv 2605.28640). The budget's axis is logarithmic; budget 1 is dense attention, in every panel.
//!
//! The page shows panels one by one, so that they flow on narrow screens; the file has them all.

use super::OrReason;
use super::method::budget_name;
use super::study::{Accuracy, Study};
use super::svg::{Anchor, Drawing, STYLE, Words};

/// Size of a panel.
const WIDTH: f64 = 220.0;
const HEIGHT: f64 = 172.0;
/// The plot within it.
const LEFT: f64 = 30.0;
const RIGHT: f64 = 208.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 146.0;
/// Panels side by side in the file.
const COLUMNS: usize = 5;

/// One family's figure.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) family: String,
    /// Labels of the lines.
    pub(super) models: Vec<String>,
    panels: Vec<Panel>,
    /// Budgets on the axis, ascending.
    budgets: Vec<f64>,
}

#[derive(Debug)]
struct Panel {
    title: String,
    /// One line a model.
    lines: Vec<Vec<Point>>,
}

#[derive(Debug)]
struct Point {
    budget: f64,
    label: String,
    accuracy: Accuracy,
}

/// The figures of a study; methods without a budget are in none.
pub(super) fn figures(study: &Study) -> Vec<Figure> {
    let dense = study.arms.iter().position(|a| a.method.is_dense());
    let figure = |(family, arms): (String, Vec<usize>)| {
        let mut arms: Vec<usize> =
            arms.into_iter().filter(|a| study.arms[*a].budget.is_some_and(|b| b > 0.0)).collect();
        if arms.is_empty() {
            return None;
        }
        arms.extend(dense);
        arms.sort_by(|a, b| {
            study.arms[*a].budget.unwrap_or(1.0).total_cmp(&study.arms[*b].budget.unwrap_or(1.0))
        });
        let mut budgets: Vec<f64> = arms.iter().filter_map(|a| study.arms[*a].budget).collect();
        budgets.dedup();
        let mut panels = vec![panel(study, &arms, "mean of tasks", |row| &row.mean)];
        for (i, task) in study.tasks.iter().enumerate() {
            panels.push(panel(study, &arms, task, |row| &row.cells[i]));
        }
        Some(Figure {
            family,
            models: study.models.iter().map(|m| m.label.clone()).collect(),
            panels,
            budgets,
        })
    };
    study.families().into_iter().filter_map(figure).collect()
}

fn panel(
    study: &Study,
    arms: &[usize],
    title: &str,
    pick: impl Fn(&super::study::Row) -> &OrReason<Accuracy>,
) -> Panel {
    let point = |model: usize, arm: usize| {
        let accuracy = pick(study.rows[arm][model].as_ref().ok()?).as_ref().ok()?.clone();
        Some(Point { budget: study.arms[arm].budget?, label: study.arms[arm].label.clone(), accuracy })
    };
    let line = |model: usize| arms.iter().filter_map(|arm| point(model, *arm)).collect();
    Panel { title: title.to_owned(), lines: (0..study.models.len()).map(line).collect() }
}

impl Figure {
    /// The file's name without its ending.
    pub(super) fn file_name(&self, study: usize) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("accuracy-{}-{}", study + 1, self.family.chars().map(safe).collect::<String>())
    }

    /// Each panel as a picture of its own; `id` is unique on the page.
    pub(super) fn panels(&self, id: &str) -> Vec<String> {
        let finish = |(i, panel): (usize, &Panel)| {
            let (title, description) = (format!("{}, {}", self.family, panel.title), self.describe(panel));
            let words = Words { title: &title, description: &description };
            self.draw(panel).finish(&format!("{id}-{i}"), [WIDTH, HEIGHT], words, None)
        };
        self.panels.iter().enumerate().map(finish).collect()
    }

    /// A legend entry's picture, for the eye alone.
    pub(super) fn swatch(series: usize) -> String {
        let mut drawing = Drawing::default();
        drawing.line(&format!("l s{}", series % super::svg::SERIES), [1.0, 7.0], [31.0, 7.0]);
        drawing.marker(series, [16.0, 7.0], "");
        drawing.ornament([32.0, 14.0])
    }

    /// The whole figure as a file.
    pub(super) fn standalone(&self) -> String {
        let columns = self.panels.len().min(COLUMNS);
        let width = 16.0 + columns as f64 * (WIDTH + 8.0);
        let height = 60.0 + self.panels.len().div_ceil(COLUMNS) as f64 * (HEIGHT + 8.0);
        let mut drawing = Drawing::default();
        drawing.polyline("back", &[[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]);
        drawing.text(
            "big",
            [12.0, 24.0],
            Anchor::Start,
            &format!("{}: accuracy (%) against budget, 95 % intervals", self.family),
        );
        let mut x = 12.0;
        for (series, model) in self.models.iter().enumerate() {
            drawing.line(&format!("l s{}", series % super::svg::SERIES), [x, 42.0], [x + 30.0, 42.0]);
            drawing.marker(series, [x + 15.0, 42.0], "");
            drawing.text("head", [x + 36.0, 46.0], Anchor::Start, model);
            x += 56.0 + 7.5 * model.chars().count() as f64;
        }
        for (i, panel) in self.panels.iter().enumerate() {
            let at =
                [8.0 + (i % COLUMNS) as f64 * (WIDTH + 8.0), 58.0 + (i / COLUMNS) as f64 * (HEIGHT + 8.0)];
            drawing.place(at, &self.draw(panel));
        }
        let description = self.panels.iter().map(|p| self.describe(p)).collect::<Vec<_>>().join(" ");
        let title = format!("Accuracy against budget: {}", self.family);
        let words = Words { title: &title, description: &description };
        drawing.finish("figure", [width.max(x), height], words, Some(STYLE)) + "\n"
    }

    fn x(&self, budget: f64) -> f64 {
        let (low, high) = (self.budgets[0].log2(), self.budgets[self.budgets.len() - 1].log2());
        let share = if high > low { (budget.log2() - low) / (high - low) } else { 0.5 };
        LEFT + 12.0 + share * (RIGHT - LEFT - 24.0)
    }

    fn draw(&self, panel: &Panel) -> Drawing {
        let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
        let mut drawing = Drawing::default();
        drawing.text("head", [LEFT, 14.0], Anchor::Start, &panel.title);
        for percent in [0, 25, 50, 75, 100] {
            let at = y(f64::from(percent) / 100.0);
            drawing.line(if percent == 0 { "axis" } else { "grid" }, [LEFT, at], [RIGHT, at]);
            drawing.text("tick", [LEFT - 5.0, at + 4.0], Anchor::End, &percent.to_string());
        }
        let mut last = f64::NEG_INFINITY;
        for budget in &self.budgets {
            let at = self.x(*budget);
            drawing.line("axis", [at, BOTTOM], [at, BOTTOM + 4.0]);
            // Labels that would touch are left out; the tick stays.
            if at - last > 24.0 {
                let name = if *budget >= 1.0 { "dense".to_owned() } else { budget_name(*budget) };
                drawing.text("tick", [at, BOTTOM + 17.0], Anchor::Middle, &name);
                last = at;
            }
        }
        let lines = panel.lines.len();
        for (series, line) in panel.lines.iter().enumerate() {
            let shift = 3.0 * (series as f64 - (lines as f64 - 1.0) / 2.0);
            let at = |p: &Point, share: f64| [self.x(p.budget) + shift, y(share)];
            let class = series % super::svg::SERIES;
            for p in line {
                let i = p.accuracy.interval;
                drawing.line(&format!("e s{class}"), at(p, i.low), at(p, i.high));
            }
            let middle: Vec<[f64; 2]> = line.iter().map(|p| at(p, p.accuracy.interval.value)).collect();
            drawing.polyline(&format!("l s{class}"), &middle);
            for p in line {
                drawing.marker(series, at(p, p.accuracy.interval.value), &self.say(series, p));
            }
        }
        if panel.lines.iter().all(Vec::is_empty) {
            drawing.text("tick", [(LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0], Anchor::Middle, "no records");
        }
        drawing
    }

    fn say(&self, series: usize, point: &Point) -> String {
        let i = point.accuracy.interval;
        format!(
            "{}, {}, budget {}: {:.1} % ({:.1} to {:.1}), {} samples",
            self.models[series],
            point.label,
            budget_name(point.budget),
            100.0 * i.value,
            100.0 * i.low,
            100.0 * i.high,
            point.accuracy.samples
        )
    }

    fn describe(&self, panel: &Panel) -> String {
        let lines = panel.lines.iter().enumerate();
        let points: Vec<String> =
            lines.flat_map(|(s, line)| line.iter().map(move |p| self.say(s, p))).collect();
        if points.is_empty() {
            format!("{}: no records.", panel.title)
        } else {
            format!("{}: {}.", panel.title, points.join("; "))
        }
    }
}
