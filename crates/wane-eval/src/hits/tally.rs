//! Counting: from what was selected at each step to the sums of a line.

use wane_attention::{Observation, Unit};

use super::align::Step;
use super::chance::all_drawn;
use super::record::{HeadHits, Hits, Measured};

/// One layer of one example.
#[derive(Debug)]
pub(crate) struct Layer<'a> {
    pub(crate) layer: usize,
    /// The selection of each step, of its last query.
    pub(crate) seen: Vec<&'a Observation>,
    /// `[step][query head][position]`: full attention.
    pub(crate) attention: &'a [Vec<Vec<f32>>],
}

/// Adds an example of `steps` (at least one) to `hits`, which lists no heads or those of `layers`.
/// `selectors` heads of a layer own a set of indices each. Whether it counts: not if everything was read.
pub(crate) fn count(hits: &mut Hits, steps: &[Step], layers: &[Layer<'_>], selectors: usize) -> bool {
    let whole = |o: &&Observation| o.indices.iter().flatten().all(|row| row.len() >= o.choice.candidates);
    if layers.iter().all(|layer| layer.seen.iter().all(whole)) {
        hits.whole += 1;
        return false;
    }
    if hits.heads.is_empty() {
        hits.heads = layers
            .iter()
            .flat_map(|l| (0..selectors).map(|head| HeadHits { layer: l.layer, head, ..HeadHits::default() }))
            .collect();
    }
    let places = &layers[0].seen;
    let free = steps
        .iter()
        .zip(places)
        .all(|(step, o)| step.sources.iter().flatten().all(|&position| !forced(o, entry(o.unit, position))));
    hits.examples += 1;
    hits.steps += steps.len();
    hits.steps_range = match hits.examples {
        1 => [steps.len(); 2],
        _ => [hits.steps_range[0].min(steps.len()), hits.steps_range[1].max(steps.len())],
    };
    let chance = chance(hits.measured, steps, places);
    hits.chance += chance[0];
    hits.chance_recall += chance[1];
    if free {
        hits.free_examples += 1;
        hits.free_chance += chance[0];
        let competing = |o: &&Observation| competing(o) as f64;
        hits.candidates += places.iter().map(competing).sum::<f64>() / steps.len() as f64;
    }
    for (layer, heads) in layers.iter().zip(hits.heads.chunks_mut(selectors)) {
        for (head, sums) in heads.iter_mut().enumerate() {
            count_head(sums, steps, layer, (head, selectors), free);
        }
    }
    true
}

fn count_head(
    sums: &mut HeadHits,
    steps: &[Step],
    layer: &Layer<'_>,
    (head, selectors): (usize, usize),
    free: bool,
) {
    let (mut hit, mut previous, mut rank) = (0usize, 0usize, 0usize);
    let (mut mass, mut source_mass) = (0.0, 0.0);
    for ((step, seen), attention) in steps.iter().zip(&layer.seen).zip(layer.attention) {
        let group = seen.indices.len() / selectors;
        let Some(read) = seen.indices[head * group].last() else { continue };
        let inside = |position: usize| {
            let entry = entry(seen.unit, position) as i32;
            read.binary_search(&entry).is_ok()
        };
        hit += usize::from(step.sources.iter().any(|source| source.iter().all(|&p| inside(p))));
        let before = |source: &Vec<usize>| source.first().is_some_and(|&p| p > 0 && inside(p - 1));
        previous += usize::from(step.sources.iter().any(before));
        if free {
            rank += worst_rank(seen, head, &step.sources[0]);
        }
        for weights in &attention[head * group..(head + 1) * group] {
            mass += read_mass(seen, read, weights) / group as f64;
            let on = |&p: &usize| weights.get(p).map_or(0.0, |w| f64::from(*w));
            source_mass += step.sources.iter().flatten().map(on).sum::<f64>() / group as f64;
        }
    }
    let count = steps.len() as f64;
    sums.hits += usize::from(hit == steps.len());
    sums.previous_hits += usize::from(previous == steps.len());
    sums.recall += hit as f64 / count;
    sums.mass += mass / count;
    sums.source_mass += source_mass / count;
    if free {
        sums.free_hits += usize::from(hit == steps.len());
        sums.free_recall += hit as f64 / count;
        sums.rank += rank as f64 / count;
    }
}

/// The entry that holds a position.
fn entry(unit: Unit, position: usize) -> usize {
    match unit {
        Unit::Block(block) => position / block,
        Unit::Position => position,
    }
}

fn forced(seen: &Observation, entry: usize) -> bool {
    let [first, newest] = seen.choice.forced;
    entry < first || entry + newest >= seen.choice.candidates
}

/// Entries that are not forced.
fn competing(seen: &Observation) -> usize {
    let [first, newest] = seen.choice.forced;
    seen.choice.candidates.saturating_sub(first + newest)
}

/// The rank of a source's worst entry among those that compete; ties go to the lower entry. Without
/// scores nothing was left out: 1.
fn worst_rank(seen: &Observation, head: usize, source: &[usize]) -> usize {
    let Some(scores) = seen.choice.scores.get(head) else { return 1 };
    let mut worst = 1;
    for &position in source {
        let own = entry(seen.unit, position);
        let Some(&score) = scores.get(own) else { continue };
        let better = |&(entry, &other): &(usize, &f32)| {
            !forced(seen, entry) && (other > score || (other == score && entry < own))
        };
        worst = worst.max(1 + scores.iter().enumerate().filter(better).count());
    }
    worst
}

fn read_mass(seen: &Observation, read: &[i32], weights: &[f32]) -> f64 {
    let sum = |weights: &[f32]| weights.iter().map(|w| f64::from(*w)).sum::<f64>();
    match seen.unit {
        Unit::Block(block) => read
            .iter()
            .map(|&b| {
                let start = (b as usize * block).min(weights.len());
                sum(&weights[start..(start + block).min(weights.len())])
            })
            .sum(),
        // What came after the prompt, which ends at the observation's position, is read as well.
        Unit::Position => {
            let prompt = seen.position.min(weights.len());
            let inside = read.iter().map_while(|&p| weights.get(p as usize));
            inside.map(|w| f64::from(*w)).sum::<f64>() + sum(&weights[prompt..])
        }
    }
}

/// Chance's probability that all steps hit, and its mean over steps that one does. The first needle
/// counts where several say the same.
fn chance(measured: Measured, steps: &[Step], places: &[&Observation]) -> [f64; 2] {
    let one = |wanted: &[usize], seen: &Observation| {
        let mut entries: Vec<usize> = wanted.iter().map(|&p| entry(seen.unit, p)).collect();
        entries.sort_unstable();
        entries.dedup();
        entries.retain(|&entry| !forced(seen, entry));
        let selected = seen.indices[0].last().map_or(0, Vec::len);
        let forced = seen.choice.candidates - competing(seen);
        all_drawn(entries.len(), selected.saturating_sub(forced), competing(seen))
    };
    let each: Vec<f64> = steps.iter().zip(places).map(|(step, o)| one(&step.sources[0], o)).collect();
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    let all = match measured {
        // One draw serves all steps.
        Measured::Retained => {
            let wanted: Vec<usize> = steps.iter().flat_map(|step| step.sources[0].clone()).collect();
            one(&wanted, places[0])
        }
        Measured::DecodeSteps | Measured::LastPromptToken => each.iter().product(),
    };
    [all, mean]
}

#[cfg(test)]
mod tests;
