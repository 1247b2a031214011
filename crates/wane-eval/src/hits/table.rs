//! Hit rates in a terminal: a row for each model, method and task, and the best heads.

use std::fmt::Write as _;

use super::record::{HeadHits, HeadUnit, Hits, Measured};
use crate::table::{short, short_method};

/// Rates over all heads, and what chance would reach, in percent.
pub fn summary(cells: &[Hits]) -> String {
    let mut text = String::from(
        "Hit rates in % of examples. best, 10th: heads by rank; mean: all heads; source: heads weighted by their\n\
         attention to the answer's place; free: mean, needle outside forced entries; recall: steps; mass: attention read.\n",
    );
    let names = cells.iter().map(|c| c.cell.model.chars().count()).max().unwrap_or(0).max(5);
    let methods = cells.iter().map(|c| short_method(&c.cell.method).len()).max().unwrap_or(0).max(6);
    let _ = writeln!(
        text,
        "\n{:names$}  {:methods$}  {:5} {:>4} {:>5} | {:>5} {:>5} {:>5} {:>6} {:>6} | {:>5} {:>6} | {:>6} {:>6} | {:>5} | {:>7}",
        "model",
        "method",
        "task",
        "n",
        "steps",
        "best",
        "10th",
        "mean",
        "source",
        "chance",
        "free",
        "chance",
        "recall",
        "chance",
        "mass",
        "correct"
    );
    for cell in cells {
        let n = cell.examples.max(1) as f64;
        let ranked = cell.ranked();
        let heads = ranked.len().max(1) as f64;
        let rate = |rank: usize| ranked.get(rank).map_or(0.0, |h| 100.0 * h.hits as f64 / n);
        let mean =
            |of: &dyn Fn(&HeadHits) -> f64, n: f64| 100.0 * ranked.iter().map(of).sum::<f64>() / heads / n;
        let free = cell.free_examples.max(1) as f64;
        let _ = writeln!(
            text,
            "{:names$}  {:methods$}  {:5} {:>4} {:>5.1} | {:>5.1} {:>5.1} {:>5.1} {:>6.1} {:>6.1} | {:>5.1} {:>6.1} | {:>6.1} {:>6.1} | {:>5.1} | {:>7.1}",
            cell.cell.model,
            short_method(&cell.cell.method),
            short(&cell.cell.task),
            cell.examples,
            cell.steps as f64 / n,
            rate(0),
            rate(9),
            mean(&|h| h.hits as f64, n),
            100.0 * cell.source_weighted().unwrap_or(0.0),
            100.0 * cell.chance / n,
            mean(&|h| h.free_hits as f64, free),
            100.0 * cell.free_chance / free,
            mean(&|h| h.recall, n),
            100.0 * cell.chance_recall / n,
            mean(&|h| h.mass, n),
            100.0 * cell.correct as f64 / n,
        );
        let out = [
            (cell.unaligned, "whose answer cannot be traced to prompt tokens"),
            (cell.without_steps, "without a token that a sparse step emits"),
            (cell.whole, "short enough for everything to be read"),
        ];
        for (count, why) in out.into_iter().filter(|(count, _)| *count > 0) {
            let _ = writeln!(text, "{:names$}  left out: {count} samples {why}", "");
        }
        if cell.measured == Measured::LastPromptToken && cell.examples > 0 {
            let _ = writeln!(text, "{:names$}  (extension: the prompt's last token alone)", "");
        }
    }
    text
}

/// The best `top` heads of each model and method, tasks averaged.
pub fn heads(cells: &[Hits], top: usize) -> String {
    let mut text = String::new();
    let mut rows: Vec<(&Hits, Vec<&Hits>)> = Vec::new();
    for cell in cells.iter().filter(|c| c.examples > 0) {
        let same = |(first, _): &&mut (&Hits, Vec<&Hits>)| {
            (&first.cell.model_hash, &first.cell.method) == (&cell.cell.model_hash, &cell.cell.method)
        };
        match rows.iter_mut().find(same) {
            Some((_, tasks)) => tasks.push(cell),
            None => rows.push((cell, vec![cell])),
        }
    }
    for (first, tasks) in rows.iter().filter(|_| top > 0) {
        let mut rates: Vec<(f64, f64, &HeadHits)> = first
            .heads
            .iter()
            .enumerate()
            .map(|(i, head)| {
                let mean = |of: &dyn Fn(&HeadHits) -> f64| {
                    let each = tasks.iter().filter_map(|t| Some(of(t.heads.get(i)?) / t.examples as f64));
                    100.0 * each.sum::<f64>() / tasks.len() as f64
                };
                (mean(&|h| h.hits as f64), mean(&|h| h.source_mass), head)
            })
            .collect();
        rates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let unit = if first.unit == HeadUnit::KvHead { "KV head" } else { "head" };
        let list: Vec<String> = rates
            .iter()
            .take(top)
            .map(|(rate, source, h)| format!("L{}.{} {rate:.0} ({source:.0})", h.layer, h.head))
            .collect();
        let _ = writeln!(
            text,
            "\n{} under {}, mean of {} tasks, layer.{unit} hit rate % (attention to the answer's place %):\n  {}",
            first.cell.model,
            short_method(&first.cell.method),
            tasks.len(),
            list.join(", ")
        );
    }
    text
}
