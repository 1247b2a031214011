//! Training: the share of solved validation samples over tokens, a panel for each task; the losses; and the
//! memory's half-lives over tokens, a panel for each layer.

use crate::report::chart::{Line, Plot, Point, Scale};
use crate::report::drawing::{Ink, Pen};
use crate::report::figure::{Figure, Panel, Sample};
use crate::report::training::{Run, tasks};

const SIZE: [f64; 2] = [220.0, 172.0];
/// Points of a loss curve at most; runs log more.
const POINTS: usize = 120;

/// The figures of some runs: what was solved, losses, half-lives.
pub(crate) fn figures(runs: &[Run]) -> Vec<Figure> {
    [solved(runs), losses(runs), half_lives(runs)].into_iter().flatten().collect()
}

fn legend(runs: &[Run]) -> Vec<(Sample, String)> {
    let key =
        |(i, run): (usize, &Run)| (Sample::Line(Pen::Data, Ink::Series(i), None), run.name().to_owned());
    runs.iter().enumerate().map(key).collect()
}

fn tokens(runs: &[Run]) -> Scale {
    Scale::linear(0.0, runs.iter().map(Run::all_tokens).fold(0.0, f64::max), 4)
}

fn line(ink: Ink, pen: Pen, points: impl Iterator<Item = (f64, f64)>) -> Line {
    let point = |(x, y)| Point { x, y, interval: None, tooltip: String::new() };
    Line { ink, pen, marker: None, points: points.map(point).collect() }
}

fn solved(runs: &[Run]) -> Option<Figure> {
    let panel = |task: &String| {
        let mut told = Vec::new();
        let mut lines = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            let of = |v: &crate::report::training::Validation| {
                let part = v.tasks.iter().find(|t| t.task == *task)?;
                Some((run.tokens(v.step), part.solved))
            };
            let points: Vec<(f64, f64)> = run.validations.iter().filter_map(of).collect();
            if let Some((_, last)) = points.last() {
                let half = points.iter().find(|(_, share)| *share >= 0.5);
                let half = half.map_or_else(|| "never".to_owned(), |(at, _)| format!("at {at:.0} M tokens"));
                told.push(format!("{}: half solved {half}, {:.0} % at the end", run.name(), 100.0 * last));
            }
            lines.push(line(Ink::Series(i), Pen::Data, points.into_iter()));
        }
        let plot = Plot { size: SIZE, title: task.clone(), x: tokens(runs), y: Scale::percent(), lines };
        Panel {
            title: format!("Learning of {task}"),
            description: format!("{}.", told.join("; ")),
            drawing: plot.draw(),
            size: SIZE,
        }
    };
    let panels: Vec<Panel> = tasks(runs).iter().map(panel).collect();
    (!panels.is_empty()).then(|| Figure {
        name: "learning".into(),
        title: "Solved validation samples (%) over training".into(),
        caption: "Millions of tokens; solved: every answer token has p > 1/2 under teacher forcing.".into(),
        legend: legend(runs),
        columns: 4,
        panels,
    })
}

fn losses(runs: &[Run]) -> Option<Figure> {
    let size = [330.0, 200.0];
    type Pick = fn(&crate::report::training::LossPoint) -> Option<f64>;
    let kinds: [(&str, Pick); 2] = [("answer tokens", |p| p.answer_loss), ("text tokens", |p| p.text_loss)];
    let panel = |(title, pick): (&str, Pick)| {
        let curves: Vec<Vec<(f64, f64)>> = runs.iter().map(|r| thinned(r, pick)).collect();
        let values: Vec<f64> =
            curves.iter().flatten().map(|(_, loss)| *loss).filter(|v| v.is_finite()).collect();
        let high = values.iter().copied().reduce(f64::max)?;
        let told: Vec<String> = runs
            .iter()
            .zip(&curves)
            .filter_map(|(run, curve)| Some(format!("{}: {:.3} at the end", run.name(), curve.last()?.1)))
            .collect();
        let lines = curves
            .into_iter()
            .enumerate()
            .map(|(i, curve)| line(Ink::Series(i), Pen::Data, curve.into_iter()))
            .collect();
        let y = Scale::linear(0.0, high, 4).rounded_up();
        let plot = Plot { size, title: title.to_owned(), x: tokens(runs), y, lines };
        Some(Panel {
            title: format!("Loss of {title}"),
            description: format!("{}.", told.join("; ")),
            drawing: plot.draw(),
            size,
        })
    };
    let panels: Vec<Panel> = kinds.into_iter().filter_map(panel).collect();
    (!panels.is_empty()).then(|| Figure {
        name: "loss".into(),
        title: "Training loss (nats per token)".into(),
        caption: "Millions of tokens; means over neighbouring log steps.".into(),
        legend: legend(runs),
        columns: 2,
        panels,
    })
}

/// Means over neighbours.
fn thinned(run: &Run, pick: fn(&crate::report::training::LossPoint) -> Option<f64>) -> Vec<(f64, f64)> {
    let all: Vec<(f64, f64)> =
        run.curve.iter().filter_map(|p| Some((run.tokens(p.step), pick(p)?))).collect();
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    all.chunks(all.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn half_lives(runs: &[Run]) -> Option<Figure> {
    let layers = |run: &Run| {
        run.validations.iter().filter_map(|v| Some(v.memory.as_ref()?.layers.len())).max().unwrap_or(0)
    };
    let most = runs.iter().map(layers).max().unwrap_or(0);
    let all = runs.iter().flat_map(|r| &r.validations).filter_map(|v| v.memory.as_ref());
    let values: Vec<f64> = all.flat_map(|m| &m.layers).flat_map(|l| l.half_lives).collect();
    let high = values.iter().copied().filter(|v| v.is_finite()).fold(64.0, f64::max);
    let panel = |layer: usize| {
        let mut lines = Vec::new();
        let mut told = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            let of = |v: &crate::report::training::Validation| {
                Some((run.tokens(v.step), v.memory.as_ref()?.layers.get(layer)?.half_lives))
            };
            let points: Vec<(f64, [f64; 3])> = run.validations.iter().filter_map(of).collect();
            if let Some((_, [low, middle, high])) = points.last() {
                told.push(format!(
                    "{}, at the end: a tenth of the channels below {low:.2} tokens, half below {middle:.2}, nine tenths below {high:.2}",
                    run.name()
                ));
            }
            for (quantile, pen) in [(0, Pen::Level), (1, Pen::Data), (2, Pen::Level)] {
                let points = points.iter().map(|(x, all)| (*x, all[quantile]));
                lines.push(line(Ink::Series(i), pen, points));
            }
        }
        let y = Scale::logarithmic(0.125, high.min(1024.0), 4.0);
        let plot = Plot { size: SIZE, title: format!("layer {layer}"), x: tokens(runs), y, lines };
        Panel {
            title: format!("Half-lives of layer {layer} over training"),
            description: format!("{}.", told.join("; ")),
            drawing: plot.draw(),
            size: SIZE,
        }
    };
    let panels: Vec<Panel> = (0..most).map(panel).collect();
    (!panels.is_empty()).then(|| Figure {
        name: "half-lives-over-training".into(),
        title: "Half-lives of the memory's channels over training (tokens)".into(),
        caption: "Logarithmic; the line is the median channel, dotted lines are the channels at 10 and 90 of 100; millions of tokens.".into(),
        legend: legend(runs)
            .into_iter()
            .zip(runs)
            .filter(|(_, run)| run.has_memory())
            .map(|(key, _)| key)
            .collect(),
        columns: 3,
        panels,
    })
}
