//! What every pair's second model gains over the first one, the mean of the tasks, under every sparse
//! method: a panel for each group of methods, a row for each setting, the published gains of the same
//! setting as hollow markers beside it.

use crate::report::chart::{Dot, Dots, Scale};
use crate::report::drawing::{Font, Ink, Marker};
use crate::report::figure::{Figure, Panel, Sample, mark_key};
use crate::report::numbers::signed;
use crate::report::pairing::Look;
use crate::report::published;
use crate::report::raster::text_width;
use crate::report::statements::say;
use crate::report::study::Study;

const WIDTH: f64 = 380.0;

/// The figure; none without a pair or without gains.
pub(crate) fn figure(study: &Study, number: usize) -> Option<Figure> {
    let shown = shown(study);
    let has_gain = |index: &usize| {
        !study.arms[*index].method.is_dense() && shown.iter().any(|p| study.gain(*index, *p).mean.is_ok())
    };
    let groups: Vec<(String, Vec<usize>)> = study
        .groups()
        .into_iter()
        .map(|(name, arms)| (name, arms.into_iter().filter(has_gain).collect::<Vec<_>>()))
        .filter(|(_, arms)| !arms.is_empty())
        .collect();
    if groups.is_empty() {
        return None;
    }
    let models = published::models();
    let rows: Vec<Vec<(String, Vec<Dot>)>> = groups
        .iter()
        .map(|(_, arms)| arms.iter().map(|a| row(study, &shown, *a, &models)).collect())
        .collect();
    let ends: Vec<f64> = rows
        .iter()
        .flatten()
        .flat_map(|(_, dots)| dots)
        .flat_map(|d| d.interval.unwrap_or([d.value; 2]))
        .chain([0.0])
        .collect();
    let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = (0.04 * (high - low)).max(0.5);
    let x = Scale::linear(low - margin, high + margin, 4).rounded_up();
    let widest = rows.iter().flatten().map(|(label, _)| text_width(label, Font::Label)).fold(60.0, f64::max);
    let panels = groups
        .iter()
        .zip(rows)
        .map(|((name, _), rows)| {
            let told: Vec<String> =
                rows.iter().filter_map(|(_, d)| Some(d.first()?.tooltip.clone())).collect();
            let size = [WIDTH, Dots::height(rows.len())];
            let labels = (1.15 * widest + 10.0).min(0.72 * WIDTH);
            let dots =
                Dots { width: WIDTH, labels, title: name.clone(), x: x.clone(), origin: Some(0.0), rows };
            let title = format!("Gains under {name}");
            Panel { title, description: format!("{}.", told.join("; ")), drawing: dots.draw(), size }
        })
        .collect();
    let key = |p: &usize| (mark_key(look(study, *p)), study.gain_name(*p));
    let mut legend: Vec<(Sample, String)> = shown.iter().map(key).collect();
    for (i, model) in models.iter().enumerate() {
        legend.push((Sample::Mark(Ink::Published, Marker::Hollow(2 + i)), format!("{model}, published")));
    }
    Some(Figure {
        name: format!("gains-{}", number + 1),
        title: "Gain of memory, mean of the tasks, points".into(),
        caption: "Bars are 95 % intervals (paired bootstrap on the same samples). Published gains are those of other, larger models at the same method, block and k.".into(),
        legend,
        columns: 2,
        panels,
    })
}

/// The pairs that are drawn: all training seeds, or the first pair with memory, or the first.
fn shown(study: &Study) -> Vec<usize> {
    if study.seeds.is_empty() {
        study.main_pair().into_iter().collect()
    } else {
        study.seeds.iter().flat_map(|s| s.pairs.iter().copied()).collect()
    }
}

fn look(study: &Study, pair: usize) -> Look {
    study.models[study.pairs[pair].second].look
}

fn row(study: &Study, pairs: &[usize], index: usize, models: &[&str]) -> (String, Vec<Dot>) {
    let arm = &study.arms[index];
    let mut dots = Vec::new();
    for pair in pairs {
        let Look { colour, marker } = look(study, *pair);
        let Ok(gain) = &study.gain(index, *pair).mean else { continue };
        let value = 100.0 * gain.value;
        let ends = gain.ends.as_ref().ok().map(|ends| ends.map(|v| 100.0 * v));
        dots.push(Dot {
            value,
            interval: ends,
            marker: Marker::Filled(marker),
            ink: Ink::Series(colour),
            tooltip: format!("{}, {}: {}, {} pairs", study.names(*pair)[1], arm.label, say(gain), gain.pairs),
        });
    }
    for pair in published::find(&arm.method).unwrap_or_default() {
        let place = models.iter().position(|name| *name == pair.memory.model).unwrap_or(0);
        if let Ok(value) = pair.mean_gain(&study.tasks) {
            dots.push(Dot {
                value,
                interval: None,
                marker: Marker::Hollow(2 + place),
                ink: Ink::Published,
                tooltip: format!("{}, published: {}", pair.memory.model, signed(value)),
            });
        }
    }
    (arm.method.short_label(), dots)
}
