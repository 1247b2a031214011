//! Random selectors (the paper's second hypothesis): accuracy of every model under each method with a
//! random selector, by task, beside the published cells of its Table 5.

use crate::report::chart::{Dot, Dots, Scale};
use crate::report::drawing::{Ink, Marker};
use crate::report::figure::{Figure, Panel, Sample, mark_key};
use crate::report::pairing::Look;
use crate::report::published;
use crate::report::study::{Accuracy, Study};
use crate::table::short;

const WIDTH: f64 = 330.0;

/// The figure; none without random selectors.
pub(crate) fn figure(study: &Study, number: usize) -> Option<Figure> {
    let arms: Vec<usize> = (0..study.arms.len())
        .filter(|i| study.arms[*i].method.is_random() && study.rows[*i].iter().any(Result::is_ok))
        .collect();
    if arms.is_empty() {
        return None;
    }
    let panels = arms.iter().map(|arm| panel(study, *arm)).collect();
    let measured = |model: &usize| arms.iter().any(|arm| study.rows[*arm][*model].is_ok());
    let mut legend: Vec<(Sample, String)> = (0..study.models.len())
        .filter(measured)
        .map(|i| (mark_key(study.models[i].look), study.models[i].label.clone()))
        .collect();
    if arms.iter().any(|a| published::find(&study.arms[*a].method).is_ok()) {
        for (i, backbone) in ["attention", "memory"].into_iter().enumerate() {
            let sample = Sample::Mark(Ink::Published, Marker::Hollow(i));
            legend.push((sample, format!("OLMo2-7B {backbone}, published")));
        }
    }
    Some(Figure {
        name: format!("random-{}", number + 1),
        title: "Random selectors: accuracy (%) by task".into(),
        caption: "Means over the selector's seeds; bars are one population standard deviation (ddof 0) over the seeds, as in the paper's Table 5; forced parts are kept.".into(),
        legend,
        columns: 3,
        panels,
    })
}

fn panel(study: &Study, index: usize) -> Panel {
    let arm = &study.arms[index];
    let found = published::find(&arm.method).unwrap_or_default();
    let mut rows = Vec::new();
    for t in 0..=study.tasks.len() {
        let task = study.tasks.get(t);
        let mut dots = Vec::new();
        for (i, model) in study.models.iter().enumerate() {
            let Ok(row) = &study.rows[index][i] else { continue };
            let Ok(accuracy) = row.cells.get(t).unwrap_or(&row.mean) else { continue };
            dots.push(dot(model.look, &model.label, accuracy));
        }
        for (i, row) in found.iter().flat_map(|p| [p.attention, p.memory]).enumerate() {
            let value = task.map_or_else(|| row.mean(&study.tasks), |task| row.of(task));
            let Ok(value) = value.map(|v| v / 100.0) else { continue };
            let spread = task.and_then(|t| row.std.get(t)).map(|s| s / 100.0);
            dots.push(Dot {
                value,
                interval: spread.map(|s| [value - s, value + s]),
                marker: Marker::Hollow(i % 2),
                ink: Ink::Published,
                tooltip: format!("{} {}, published: {:.1} %", row.model, row.backbone, 100.0 * value),
            });
        }
        rows.push((task.map_or("mean", |t| short(t)).to_owned(), dots));
    }
    let told: Vec<String> = rows
        .iter()
        .map(|(label, dots)| {
            let values: Vec<String> = dots.iter().map(|d| format!("{:.1}", 100.0 * d.value)).collect();
            format!("{label}: {}", values.join(", "))
        })
        .collect();
    let dots = Dots {
        width: WIDTH,
        labels: 48.0,
        title: arm.method.short_label(),
        x: Scale::percent(),
        origin: None,
        rows,
    };
    Panel {
        title: format!("Random selector, {}", arm.label),
        description: format!("Percent, in the order of the legend. {}.", told.join("; ")),
        drawing: dots.draw(),
        size: [WIDTH, Dots::height(study.tasks.len() + 1)],
    }
}

fn dot(look: Look, label: &str, accuracy: &Accuracy) -> Dot {
    let value = accuracy.interval.value;
    let spread = accuracy.spread.unwrap_or(0.0);
    Dot {
        value,
        interval: Some([value - spread, value + spread]),
        marker: Marker::Filled(look.marker),
        ink: Ink::Series(look.colour),
        tooltip: format!(
            "{label}: {:.1} \u{b1} {:.1} %, {} samples",
            100.0 * value,
            100.0 * spread,
            accuracy.samples
        ),
    }
}
