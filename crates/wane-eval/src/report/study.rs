//! The samples of one setup as numbers: accuracy with Wilson's interval for each method, model and
//! task, the mean over tasks, the gain of every other model over the first one without memory
//! (paired bootstrap over samples that both have), and costs.
//!
//! Random selectors that differ in their seed are one method: accuracies are means over seeds, with
//! their population standard deviation, and intervals count samples, not draws.
//!
//! Does not do: means over fewer tasks than the setup has; those are missing, with a reason.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::OrReason;
use super::load::{Loaded, Model, Sample, Setup, short_hash};
use super::method::Method;
use crate::ruler::TASKS;
use crate::statistics::{Interval, paired_bootstrap, population_deviation, wilson};

/// Draws of the bootstrap.
pub(super) const RESAMPLES: usize = 2000;

/// The groups of methods, in the order of figures and tables.
const GROUPS: [&str; 7] =
    ["Dense", "Quest", "MoBA", "SnapKV", "Random selectors", "Compositions", "Other methods"];

/// Everything that was measured in one setup.
#[derive(Debug)]
pub(super) struct Study {
    pub(super) setup: Setup,
    pub(super) tasks: Vec<String>,
    /// Those without memory first.
    pub(super) models: Vec<NamedModel>,
    pub(super) arms: Vec<Arm>,
    /// By arm, then model.
    pub(super) rows: Vec<Vec<OrReason<Row>>>,
    /// By arm, then model; the first model has none.
    pub(super) gains: Vec<Vec<Gain>>,
    /// Samples of the fullest cell.
    pub(super) samples: usize,
}

/// A model under a name that no other model of the report has.
#[derive(Debug, Clone)]
pub(super) struct NamedModel {
    pub(super) label: String,
    pub(super) model: Model,
}

/// A method, seeds merged.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// The full string without a seed.
    pub(super) text: String,
    pub(super) method: Method,
    pub(super) label: String,
    pub(super) family: String,
    pub(super) budget: Option<f64>,
    /// Seeds of a random selector.
    pub(super) seeds: Vec<String>,
}

/// One model under one method.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cells: Vec<OrReason<Accuracy>>,
    pub(super) mean: OrReason<Accuracy>,
    pub(super) cost: Cost,
    pub(super) records: usize,
    pub(super) scorers: Vec<String>,
    pub(super) devices: Vec<String>,
    pub(super) files: Vec<usize>,
    /// How many examples were decoded together.
    pub(super) batches: Vec<usize>,
    /// How many tokens could be generated.
    pub(super) limits: Vec<usize>,
}

/// A share of right answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Accuracy {
    pub(super) interval: Interval,
    /// Distinct samples.
    pub(super) samples: usize,
    /// Population standard deviation over seeds.
    pub(super) spread: Option<f64>,
}

/// What a row costs: bytes and operations are means over its records, times medians (the first
/// prompts of a run wait for compilers and caches).
#[derive(Debug, Clone)]
pub(super) struct Cost {
    /// Bytes of K, V and summaries read for a token, in the first decode step.
    pub(super) read: f64,
    /// Bytes kept after the prompt.
    pub(super) resident: f64,
    /// Bytes at the peak of reading the prompt.
    pub(super) peak: f64,
    /// Milliseconds for the prompt.
    pub(super) prefill: OrReason<f64>,
    /// Milliseconds for a generated token.
    pub(super) decode: OrReason<f64>,
    /// Examples per second: one over the medians of prompt and answer together.
    pub(super) rate: OrReason<f64>,
    /// Floating point operations of the prompt and of the first decode step.
    pub(super) flops: OrReason<[f64; 2]>,
}

/// Differences to the first model under the same method.
#[derive(Debug, Clone)]
pub(super) struct Gain {
    pub(super) cells: Vec<OrReason<Difference>>,
    pub(super) mean: OrReason<Difference>,
    /// By task: the differences of the samples that both models have, by number.
    pairs: Vec<BTreeMap<usize, f64>>,
}

/// A mean difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub(super) interval: Interval,
    /// Samples that both models have.
    pub(super) pairs: usize,
}

/// The samples of one cell: scores by sample and seed.
type Cell<'a> = Vec<&'a Sample>;
/// By model, arm and task.
type Cells<'a> = BTreeMap<(usize, usize, usize), Cell<'a>>;

/// One study a setup, in the order of the records.
pub(super) fn build(loaded: &Loaded) -> Vec<Study> {
    (0..loaded.setups.len()).map(|setup| study(loaded, setup)).collect()
}

fn study(loaded: &Loaded, setup: usize) -> Study {
    let samples: Vec<&Sample> = loaded.samples.iter().filter(|s| s.setup == setup).collect();
    let context = loaded.setups[setup].context;
    let has = |pick: fn(&Sample) -> usize, index: usize| samples.iter().any(|s| pick(s) == index);
    let mut tasks: Vec<usize> = (0..loaded.tasks.len()).filter(|t| has(|s| s.task, *t)).collect();
    let rank = |t: &usize| TASKS.iter().position(|task| task.name == loaded.tasks[*t]).unwrap_or(TASKS.len());
    tasks.sort_by_key(rank);
    let mut models: Vec<usize> = (0..loaded.models.len()).filter(|m| has(|s| s.model, *m)).collect();
    models.sort_by_key(|m| loaded.models[*m].memory);
    let methods: Vec<usize> = (0..loaded.methods.len()).filter(|m| has(|s| s.method, *m)).collect();
    let (arms, arm_of) = arms(loaded, &methods, context);

    let mut cells = Cells::new();
    for sample in &samples {
        cells.entry((sample.model, arm_of[sample.method], sample.task)).or_default().push(sample);
    }
    for cell in cells.values_mut() {
        cell.sort_by_key(|s| (s.number, s.method));
    }
    let rows: Vec<Vec<OrReason<Row>>> = (0..arms.len())
        .map(|arm| models.iter().map(|m| row(loaded, &cells, [*m, arm], &tasks)).collect())
        .collect();
    let gains = (0..arms.len())
        .into_par_iter()
        .map(|arm| models[1..].iter().map(|m| gain(&cells, [models[0], *m], arm, &tasks)).collect())
        .collect();
    let full = rows.iter().flatten().flatten().flat_map(|r| &r.cells).flatten().map(|c| c.samples).max();
    Study {
        setup: loaded.setups[setup].clone(),
        tasks: tasks.iter().map(|t| loaded.tasks[*t].clone()).collect(),
        models: models.iter().map(|m| named(loaded, *m)).collect(),
        arms,
        rows,
        gains,
        samples: full.unwrap_or(0),
    }
}

fn named(loaded: &Loaded, index: usize) -> NamedModel {
    let model = loaded.models[index].clone();
    let same = loaded.models.iter().filter(|m| m.name == model.name).count();
    let label =
        if same > 1 { format!("{} ({})", model.name, short_hash(&model.hash)) } else { model.name.clone() };
    NamedModel { label, model }
}

/// Methods with seeds merged, and which arm a method belongs to. Dense comes first, then groups, in them
/// families in the order of the records, large budgets before small ones.
fn arms(loaded: &Loaded, methods: &[usize], context: usize) -> (Vec<Arm>, Vec<usize>) {
    let mut arms: Vec<Arm> = Vec::new();
    for index in methods {
        let method = Method::parse(&loaded.methods[*index]);
        let text = method.arm();
        let seed = method.seed().map(str::to_owned);
        match arms.iter_mut().find(|a| a.text == text) {
            Some(arm) => arm.seeds.extend(seed),
            None => {
                let (label, family, budget) = (method.label(), method.family(), method.budget(context));
                arms.push(Arm { text, method, label, family, budget, seeds: seed.into_iter().collect() });
            }
        }
    }
    let mut families: Vec<String> = Vec::new();
    for arm in &arms {
        if !families.contains(&arm.family) {
            families.push(arm.family.clone());
        }
    }
    let place = |arm: &Arm| {
        let group = GROUPS.iter().position(|g| *g == arm.method.group());
        (group, families.iter().position(|f| *f == arm.family))
    };
    arms.sort_by(|a, b| {
        let key = |arm: &Arm| (!arm.method.is_dense(), place(arm));
        key(a).cmp(&key(b)).then(b.budget.unwrap_or(0.0).total_cmp(&a.budget.unwrap_or(0.0)))
    });
    let arm_of = |text: &String| {
        let text = Method::parse(text).arm();
        arms.iter().position(|a| a.text == text).unwrap_or(usize::MAX)
    };
    let arm_of = loaded.methods.iter().map(arm_of).collect();
    (arms, arm_of)
}

fn row(loaded: &Loaded, cells: &Cells<'_>, [model, arm]: [usize; 2], tasks: &[usize]) -> OrReason<Row> {
    let parts: Vec<Option<&Cell<'_>>> = tasks.iter().map(|t| cells.get(&(model, arm, *t))).collect();
    let all: Vec<&Sample> = parts.iter().flatten().flat_map(|c| c.iter().copied()).collect();
    if all.is_empty() {
        return Err("no record of this model under this method".into());
    }
    let distinct = |pick: fn(&Sample) -> usize| {
        let mut values: Vec<usize> = all.iter().map(|s| pick(s)).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let names = |indices: Vec<usize>, names: &[String]| {
        indices.into_iter().map(|i| names[i].clone()).collect::<Vec<_>>()
    };
    let devices = names(distinct(|s| s.device), &loaded.devices);
    let cost = cost(&all, &devices);
    Ok(Row {
        cells: parts
            .iter()
            .map(|c| c.map(|c| accuracy(&[c])).ok_or_else(|| "no record of this task".to_owned()))
            .collect(),
        mean: match parts.iter().copied().collect::<Option<Vec<_>>>() {
            Some(parts) => Ok(accuracy(&parts)),
            None => Err("some tasks are missing".into()),
        },
        cost,
        records: all.len(),
        scorers: names(distinct(|s| s.scorer), &loaded.scorers),
        devices,
        files: distinct(|s| s.file),
        batches: distinct(|s| s.batch),
        limits: distinct(|s| s.limit),
    })
}

fn cost(all: &[&Sample], devices: &[String]) -> Cost {
    let mean = |value: fn(&Sample) -> f64| all.iter().map(|s| value(s)).sum::<f64>() / all.len() as f64;
    let median = |value: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = all.iter().map(|s| value(s)).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        (values[(n - 1) / 2] + values[n / 2]) / 2.0
    };
    let timed = |value: f64| match devices {
        [_] if value > 0.0 => Ok(value),
        [_] => Err("the records hold no times".to_owned()),
        several => Err(format!("the records ran on {}", several.join(" and "))),
    };
    let flops: Vec<[f64; 2]> = all.iter().filter_map(|s| s.flops).collect();
    let of_flops = |i: usize| flops.iter().map(|f| f[i]).sum::<f64>() / flops.len() as f64;
    let (prefill, answer) = (median(|s| s.prefill), median(|s| s.answer));
    Cost {
        read: mean(|s| s.read),
        resident: mean(|s| s.resident),
        peak: mean(|s| s.peak),
        prefill: timed(1e3 * prefill),
        decode: timed(1e3 * median(|s| s.decode)),
        rate: timed(prefill + answer).map(|seconds| 1.0 / seconds),
        flops: if flops.len() == all.len() {
            Ok([of_flops(0), of_flops(1)])
        } else {
            Err("the records were written before FLOPs were recorded (2026-11-26)".into())
        },
    }
}

/// Mean scores by sample, over seeds.
fn by_sample(cell: &Cell<'_>) -> BTreeMap<usize, f64> {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for sample in cell {
        let sum = sums.entry(sample.number).or_default();
        *sum = (sum.0 + sample.score, sum.1 + 1.0);
    }
    sums.into_iter().map(|(number, (sum, n))| (number, sum / n)).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

/// The mean over tasks of one or more cells.
fn accuracy(tasks: &[&Cell<'_>]) -> Accuracy {
    let scores: Vec<BTreeMap<usize, f64>> = tasks.iter().map(|c| by_sample(c)).collect();
    let samples = scores.iter().map(BTreeMap::len).sum();
    let value = mean(scores.iter().map(|task| mean(task.values().copied())));
    let mut seeds: Vec<usize> = tasks.iter().flat_map(|c| c.iter().map(|s| s.method)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let of_seed = |seed: &usize| {
        let of_task = |cell: &&Cell<'_>| {
            let scores: Vec<f64> = cell.iter().filter(|s| s.method == *seed).map(|s| s.score).collect();
            mean(scores.into_iter())
        };
        mean(tasks.iter().map(of_task))
    };
    let spread =
        (seeds.len() > 1).then(|| population_deviation(&seeds.iter().map(of_seed).collect::<Vec<f64>>()));
    Accuracy { interval: wilson(value, samples), samples, spread }
}

fn gain(cells: &Cells<'_>, models: [usize; 2], arm: usize, tasks: &[usize]) -> Gain {
    let pairs: Vec<OrReason<BTreeMap<usize, f64>>> = tasks
        .iter()
        .map(|task| {
            let of = |model: usize| cells.get(&(model, arm, *task)).map(by_sample);
            let missing = || "one of the models has no record here".to_owned();
            let (first, second) = (of(models[0]).ok_or_else(missing)?, of(models[1]).ok_or_else(missing)?);
            let pairs: BTreeMap<usize, f64> =
                second.iter().filter_map(|(n, score)| Some((*n, score - first.get(n)?))).collect();
            if pairs.is_empty() { Err("the models share no sample".into()) } else { Ok(pairs) }
        })
        .collect();
    let values = |pairs: &BTreeMap<usize, f64>| pairs.values().copied().collect::<Vec<f64>>();
    let all: OrReason<Vec<Vec<f64>>> =
        pairs.iter().map(|p| p.as_ref().map(values).map_err(Clone::clone)).collect();
    Gain {
        mean: all.map_err(|_| "some tasks are missing".to_owned()).map(|all| difference(&all)),
        cells: pairs
            .iter()
            .map(|p| p.as_ref().map(|p| difference(&[values(p)])).map_err(Clone::clone))
            .collect(),
        pairs: pairs.into_iter().map(Result::unwrap_or_default).collect(),
    }
}

fn difference(tasks: &[Vec<f64>]) -> Difference {
    let pairs = tasks.iter().map(Vec::len).sum();
    Difference { pairs, interval: paired_bootstrap(tasks, RESAMPLES, 0) }
}

impl Gain {
    /// How much larger this gain is than another one, on the samples that both have.
    pub(super) fn beyond(&self, other: &Self) -> OrReason<Difference> {
        let common = |(mine, theirs): (&BTreeMap<usize, f64>, &BTreeMap<usize, f64>)| {
            mine.iter().filter_map(|(n, gain)| Some(gain - theirs.get(n)?)).collect::<Vec<f64>>()
        };
        let tasks: Vec<Vec<f64>> = self.pairs.iter().zip(&other.pairs).map(common).collect();
        if tasks.iter().any(Vec::is_empty) {
            return Err("some tasks are missing".into());
        }
        Ok(difference(&tasks))
    }
}

impl Study {
    /// The first model's gains are none; `model` counts from 1.
    pub(super) fn gain(&self, arm: usize, model: usize) -> &Gain {
        &self.gains[arm][model - 1]
    }

    /// `memory minus attention`.
    pub(super) fn gain_name(&self, model: usize) -> String {
        format!("{} minus {}", self.models[model].label, self.models[0].label)
    }

    /// Groups of methods in order (the paper's three, random selectors, compositions, others, as far as there
    /// are), with their arms; dense comes first.
    pub(super) fn groups(&self) -> Vec<(String, Vec<usize>)> {
        let of = |name: &str| (0..self.arms.len()).filter(|i| self.arms[*i].method.group() == name).collect();
        GROUPS
            .into_iter()
            .map(|name| (name.to_owned(), of(name)))
            .filter(|(_, arms): &(_, Vec<usize>)| !arms.is_empty())
            .collect()
    }

    /// Families in order, with their arms; dense is none.
    pub(super) fn families(&self) -> Vec<(String, Vec<usize>)> {
        let mut families: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, arm) in self.arms.iter().enumerate().filter(|(_, a)| !a.method.is_dense()) {
            match families.iter_mut().find(|(name, _)| *name == arm.family) {
                Some((_, arms)) => arms.push(index),
                None => families.push((arm.family.clone(), vec![index])),
            }
        }
        families
    }
}
