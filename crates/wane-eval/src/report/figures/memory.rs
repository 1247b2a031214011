//! What a memory does (`wane memory` writes it as `memory.json`): the distribution of its gates, the half-lives
//! of its heads, and how far the influence of a needle reaches. A panel for each layer, a series for each model.

use crate::memory::record::{BINS, HeadMemory, MemoryRecord};
use crate::report::chart::{Dot, Dots, Line, Plot, Point, Scale};
use crate::report::drawing::{Ink, Marker, Pen};
use crate::report::figure::{Figure, Panel, Sample, mark_key};
use crate::report::pairing::Look;

const SIZE: [f64; 2] = [220.0, 172.0];

/// The figures of a record, whose number makes their names unique; `names` says what its models are called and how
/// they look.
pub(crate) fn figures(record: &MemoryRecord, number: usize, names: &[(String, Look)]) -> Vec<Figure> {
    let all = [gates(record, names), half_lives(record, names), reach(record, names)];
    let rename = |mut figure: Figure| {
        figure.name = format!("{}-{}", figure.name, number + 1);
        figure
    };
    all.into_iter().flatten().map(rename).collect()
}

fn layers(record: &MemoryRecord) -> usize {
    record.models.iter().flat_map(|m| &m.heads).map(|h| h.layer + 1).max().unwrap_or(0)
}

/// The mean of a list over the heads of a layer.
fn of_layer(heads: &[HeadMemory], layer: usize, list: impl Fn(&HeadMemory) -> &[f64]) -> Vec<f64> {
    let lists: Vec<&[f64]> = heads.iter().filter(|h| h.layer == layer).map(list).collect();
    let len = lists.iter().map(|l| l.len()).min().unwrap_or(0);
    (0..len).map(|i| lists.iter().map(|l| l[i]).sum::<f64>() / lists.len() as f64).collect()
}

fn line(ink: Ink, pen: Pen, points: impl Iterator<Item = (f64, f64)>) -> Line {
    let point = |(x, y)| Point { x, y, interval: None, tooltip: String::new() };
    Line { ink, pen, marker: None, points: points.map(point).collect() }
}

fn gates(record: &MemoryRecord, names: &[(String, Look)]) -> Option<Figure> {
    let panel = |layer: usize| {
        let (mut lines, mut told) = (Vec::new(), Vec::new());
        for (i, model) in record.models.iter().enumerate() {
            let shares = of_layer(&model.heads, layer, |h| &h.gates);
            let width = 1.0 / shares.len().max(1) as f64;
            let low: f64 = shares.iter().take(shares.len() / 10).sum();
            let high: f64 = shares.iter().skip(shares.len() * 9 / 10).sum();
            told.push(format!(
                "{}: {:.0} % of the gates below 0.1, {:.0} % above 0.9",
                names[i].0,
                100.0 * low,
                100.0 * high
            ));
            // A staircase: both ends of every bin.
            let steps = shares
                .iter()
                .enumerate()
                .flat_map(move |(b, share)| [(b as f64 * width, *share), ((b + 1) as f64 * width, *share)]);
            lines.push(line(Ink::Series(names[i].1.colour), Pen::Data, steps));
        }
        let ticks = [0.0, 0.5, 1.0].map(|v| (v, format!("{v}")));
        let x = Scale { low: 0.0, high: 1.0, logarithmic: false, ticks: ticks.into() };
        let highest = lines.iter().flat_map(|l| &l.points).map(|p| p.y).fold(0.05, f64::max);
        let mut y = Scale::linear(0.0, 100.0 * highest, 4).rounded_up();
        (y.low, y.high) = (0.0, y.high / 100.0);
        y.ticks.iter_mut().for_each(|t| t.0 /= 100.0);
        let plot = Plot { size: SIZE, title: format!("layer {layer}"), x, y, lines };
        Panel {
            title: format!("Gates of layer {layer}"),
            description: format!("{}.", told.join("; ")),
            drawing: plot.draw(),
            size: SIZE,
        }
    };
    let panels: Vec<Panel> = (0..layers(record)).map(panel).collect();
    (!panels.is_empty()).then(|| Figure {
        name: "gates".into(),
        title: "Distribution of the memory's gates (%)".into(),
        caption: format!(
            "Share of gates (tokens, channels, heads) in each of {BINS} bins from 0 (the state is replaced) to 1 (the state stays)."
        ),
        legend: names
            .iter()
            .map(|(label, look)| (Sample::Line(Pen::Data, Ink::Series(look.colour), None), label.clone()))
            .collect(),
        columns: 3,
        panels,
    })
}

fn half_lives(record: &MemoryRecord, names: &[(String, Look)]) -> Option<Figure> {
    const WIDTH: f64 = 330.0;
    let all = || record.models.iter().flat_map(|m| &m.heads);
    let high = all().flat_map(|h| h.half_lives).filter(|v| v.is_finite()).fold(64.0, f64::max).min(4096.0);
    let panel = |layer: usize| {
        let heads = all().filter(|h| h.layer == layer).map(|h| h.head + 1).max().unwrap_or(0);
        let (mut rows, mut told) = (Vec::new(), Vec::new());
        for head in 0..heads {
            let mut dots = Vec::new();
            for (i, model) in record.models.iter().enumerate() {
                let Some(h) = model.heads.iter().find(|h| h.layer == layer && h.head == head) else {
                    continue;
                };
                let [p10, _, p50, _, p90] = h.half_lives;
                let words = format!(
                    "{}, head {head}: half of the channels below {p50:.2} tokens, tenths {p10:.2} and {p90:.2}, {:.0} % copy",
                    names[i].0,
                    100.0 * h.copying
                );
                told.push(words.clone());
                dots.push(Dot {
                    value: p50,
                    interval: Some([p10, p90]),
                    marker: Marker::Filled(names[i].1.marker),
                    ink: Ink::Series(names[i].1.colour),
                    tooltip: words,
                });
            }
            rows.push((format!("head {head}"), dots));
        }
        let x = Scale::logarithmic(0.125, high, 4.0);
        let size = [WIDTH, Dots::height(rows.len())];
        let dots =
            Dots { width: WIDTH, labels: 58.0, title: format!("layer {layer}"), x, origin: None, rows };
        Panel {
            title: format!("Half-lives of layer {layer}"),
            description: format!("{}.", told.join("; ")),
            drawing: dots.draw(),
            size,
        }
    };
    let panels: Vec<Panel> = (0..layers(record)).map(panel).collect();
    (!panels.is_empty()).then(|| Figure {
        name: "half-lives".into(),
        title: "Half-lives of the memory's channels (tokens)".into(),
        caption: "The median channel of each head, and the channels at 10 and 90 of 100; logarithmic.".into(),
        legend: names.iter().map(|(label, look)| (mark_key(*look), label.clone())).collect(),
        columns: 3,
        panels,
    })
}

fn reach(record: &MemoryRecord, names: &[(String, Look)]) -> Option<Figure> {
    // A logarithmic axis has no 0: the needle's own last token stands at one half.
    let place = |distance: usize| if distance == 0 { 0.5 } else { distance as f64 };
    let furthest = place(*record.distances.last()?);
    let ticks: Vec<(f64, String)> = record.distances.iter().map(|d| (place(*d), d.to_string())).collect();
    let panel = |layer: usize| {
        let (mut lines, mut told) = (Vec::new(), Vec::new());
        for (i, model) in record.models.iter().enumerate() {
            let keys = of_layer(&model.heads, layer, |h| &h.key_share);
            let values = of_layer(&model.heads, layer, |h| &h.value_share);
            let shown = |shares: &[f64]| {
                let at = |d: usize| record.distances.iter().position(|x| *x == d).and_then(|i| shares.get(i));
                let words = |d: usize| at(d).map(|v| format!("{:.1} at {d}", 100.0 * v));
                [0, 8, 64].into_iter().filter_map(words).collect::<Vec<_>>().join(", ")
            };
            told.push(format!("{}: of k~ {}; of v~ {}", names[i].0, shown(&keys), shown(&values)));
            let ink = Ink::Series(names[i].1.colour);
            for (shares, pen) in [(keys, Pen::Data), (values, Pen::Level)] {
                lines.push(line(ink, pen, record.distances.iter().map(|d| place(*d)).zip(shares)));
            }
        }
        let x = Scale { low: 0.5, high: furthest, logarithmic: true, ticks: ticks.clone() };
        let plot = Plot { size: SIZE, title: format!("layer {layer}"), x, y: Scale::percent(), lines };
        Panel {
            title: format!("Reach of a needle in layer {layer}"),
            description: format!("Percent. {}.", told.join("; ")),
            drawing: plot.draw(),
            size: SIZE,
        }
    };
    let panels: Vec<Panel> = (0..layers(record)).map(panel).collect();
    let mut legend = Vec::new();
    for (label, look) in names {
        let ink = Ink::Series(look.colour);
        legend.push((Sample::Line(Pen::Data, ink, None), format!("{label}, k~")));
        legend.push((Sample::Line(Pen::Level, ink, None), format!("{label}, v~")));
    }
    (!panels.is_empty()).then(|| Figure {
        name: "reach".into(),
        title: "What is left of a needle in k~ and v~ (%) after so many tokens".into(),
        caption: "The needle's part along the whole, means over heads and needles; the parts of all tokens add up to 100. The distance is logarithmic.".into(),
        legend,
        columns: 3,
        panels,
    })
}
