//! Hit rates of heads (Figures 2 to 4 of arXiv 2605.28640): for each method a figure, in it a panel for each
//! task, in it a line for each model: heads ranked by hit rate, the best first, 50 at most; and the level that
//! uniform draws reach.

use crate::report::chart::{Line, Plot, Point, Scale};
use crate::report::drawing::{Ink, Pen};
use crate::report::figure::{Figure, Panel, Sample};
use crate::report::heads::{Heads, Kinds, TOP};
use crate::report::method::Method;

const SIZE: [f64; 2] = [220.0, 172.0];

/// A figure of one method.
#[derive(Debug)]
pub(crate) struct OfMethod {
    /// Which kind of records it is of.
    pub(crate) kind: usize,
    /// The method's group.
    pub(crate) group: String,
    pub(crate) figure: Figure,
}

/// A figure for each method of each kind of records; methods without examples have none.
pub(crate) fn figures(heads: &Heads) -> Vec<OfMethod> {
    let of_kind = |(number, kind): (usize, &Kinds)| {
        let of_method = |method: &String| {
            let group = Method::parse(method).group();
            Some(OfMethod { kind: number, group, figure: figure(kind, method, number)? })
        };
        kind.methods.iter().filter_map(of_method).collect::<Vec<_>>()
    };
    heads.kinds.iter().enumerate().flat_map(of_kind).collect()
}

fn figure(kind: &Kinds, method: &str, number: usize) -> Option<Figure> {
    let panels: Vec<Panel> = kind.tasks.iter().filter_map(|task| panel(kind, method, task)).collect();
    if panels.is_empty() {
        return None;
    }
    let label = Method::parse(method).label();
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    // Training seeds of one backbone share a colour, and an entry.
    let mut named: Vec<(usize, String)> = Vec::new();
    for model in &kind.models {
        match named.iter_mut().find(|(colour, _)| *colour == model.look.colour) {
            Some((_, names)) => names.push_str(&format!(", {}", model.label)),
            None => named.push((model.look.colour, model.label.clone())),
        }
    }
    let key = |(colour, names)| (Sample::Line(Pen::Data, Ink::Series(colour), None), names);
    let mut legend: Vec<(Sample, String)> = named.into_iter().map(key).collect();
    legend.push((Sample::Line(Pen::Level, Ink::Soft, None), "chance".into()));
    Some(Figure {
        name: format!("hits-{}-{}", number + 1, label.chars().map(safe).collect::<String>()),
        title: format!("{label}: hit rate (%) of ranked heads"),
        caption: format!(
            "Heads of all layers, ranked for each model and task; a head hits an example if it may read the answer's source at every step. Looked at: {}. Dotted: uniform draws with the same forced entries.",
            kind.measured(method)
        ),
        legend,
        columns: 4,
        panels,
    })
}

fn panel(kind: &Kinds, method: &str, task: &str) -> Option<Panel> {
    let (mut lines, mut told, mut most, mut chance) = (Vec::new(), Vec::new(), 1, Vec::new());
    for model in &kind.models {
        let Some(cell) = kind.cell(model, method, task).filter(|c| c.examples > 0) else { continue };
        let ranked = cell.ranked();
        let heads = ranked.len().min(TOP);
        most = most.max(heads);
        let rate = |hits: usize| hits as f64 / cell.examples as f64;
        let point = |(rank, head): (usize, &crate::hits::record::HeadHits)| Point {
            x: rank as f64 + 1.0,
            y: rate(head.hits),
            interval: None,
            tooltip: String::new(),
        };
        let points: Vec<Point> = ranked.iter().take(TOP).enumerate().map(point).collect();
        if let Some(best) = ranked.first() {
            told.push(format!(
                "{}: best head (layer {}, head {}) {:.1}, tenth {:.1}, last {:.1}, {} examples",
                model.label,
                best.layer,
                best.head,
                100.0 * rate(best.hits),
                100.0 * points.get(9).map_or(0.0, |p| p.y),
                100.0 * points.last().map_or(0.0, |p| p.y),
                cell.examples
            ));
        }
        lines.push(Line { ink: Ink::Series(model.look.colour), pen: Pen::Data, marker: None, points });
        chance.extend(cell.chance_level());
    }
    if lines.is_empty() {
        return None;
    }
    // The models share samples and budgets, so their chance is one; were it not, the mean is drawn.
    let level = chance.iter().sum::<f64>() / chance.len().max(1) as f64;
    let ends = [1.0, most as f64].map(|x| Point { x, y: level, interval: None, tooltip: String::new() });
    lines.push(Line { ink: Ink::Soft, pen: Pen::Level, marker: None, points: ends.to_vec() });
    told.push(format!("chance {:.2}", 100.0 * level));
    let ticks: Vec<(f64, String)> = std::iter::once(1)
        .chain((1..=most / 5).map(|i| 5 * i).filter(|v| most <= 25 || v % 10 == 0))
        .map(|v| (v as f64, v.to_string()))
        .collect();
    let x = Scale { low: 1.0, high: most as f64, logarithmic: false, ticks };
    let plot = Plot { size: SIZE, title: task.to_owned(), x, y: Scale::percent(), lines };
    Some(Panel {
        title: format!("Hit rates on {task}"),
        description: format!("Percent. {}.", told.join("; ")),
        drawing: plot.draw(),
        size: SIZE,
    })
}
