//! The samples of one setup as numbers: accuracy with Wilson's interval for each method, model and
//! task, the mean over tasks, the gain of a model over its partner (`pairing`; paired bootstrap over
//! samples that both have), and costs.
//!
//! Random selectors that differ in their seed are one method: accuracies are means over seeds, with
//! their population standard deviation, and intervals count samples, not draws.
//!
//! Does not do: means over fewer tasks than the setup has; those are missing, with a reason.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::OrReason;
use super::load::{Loaded, Model, Sample, Setup, short_hash};
use super::method::{Method, SINKS, WIDE_POOLING, budget_name};
use super::pairing::{self, Look, Looks, Named, Pair, Seeds};
use crate::ruler::TASKS;
use crate::statistics::{Interval, paired_bootstrap, population_deviation, wilson};

/// Draws of the bootstrap.
pub(super) const RESAMPLES: usize = 2000;

/// Why a gain has no interval.
const NO_INTERVAL: &str = "no interval: it needs at least 2 samples of every task";

/// The groups of methods, in the order of figures and tables.
const GROUPS: [&str; 9] = [
    "Dense",
    "Quest",
    "MoBA",
    "SnapKV",
    WIDE_POOLING,
    SINKS,
    "Random selectors",
    "Compositions",
    "Other methods",
];

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
    /// What is compared with what.
    pub(super) pairs: Vec<Pair>,
    /// Pairs that differ in their training seed alone.
    pub(super) seeds: Vec<Seeds>,
    /// By arm, then pair.
    gains: Vec<Vec<Gain>>,
    /// Samples of the fullest cell.
    pub(super) samples: usize,
    /// Tokens of an answer: under dense attention, the median of the task with the shortest answers; none if
    /// answers only end at their limit.
    pub(super) answer_tokens: Option<f64>,
}

/// A model under a name that no other model of the report has.
#[derive(Debug, Clone)]
pub(super) struct NamedModel {
    pub(super) label: String,
    pub(super) look: Look,
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

impl Arm {
    /// The budget in words.
    pub(super) fn budget_name(&self) -> String {
        self.budget.map_or_else(|| "unknown".to_owned(), budget_name)
    }
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

/// Differences of a pair under the same method.
#[derive(Debug, Clone)]
pub(super) struct Gain {
    pub(super) cells: Vec<OrReason<Difference>>,
    pub(super) mean: OrReason<Difference>,
    /// By task: the differences of the samples that both models have, by number.
    pairs: Vec<BTreeMap<usize, f64>>,
}

/// A mean difference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) value: f64,
    /// Ends of the 95 % interval, or why there is none.
    pub(super) ends: OrReason<[f64; 2]>,
    /// Samples that both models have.
    pub(super) pairs: usize,
}

/// The samples of one cell: scores by sample and seed.
type Cell<'a> = Vec<&'a Sample>;
/// By model, arm and task.
type Cells<'a> = BTreeMap<(usize, usize, usize), Cell<'a>>;

/// One study a setup, in the order of the records.
pub(super) fn build(loaded: &Loaded, looks: &Looks) -> Vec<Study> {
    (0..loaded.setups.len()).map(|setup| study(loaded, setup, looks)).collect()
}

fn study(loaded: &Loaded, setup: usize, looks: &Looks) -> Study {
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

    let is_dense = |s: &&&Sample| arms[arm_of[s.method]].method.is_dense();
    let dense: Vec<&Sample> = samples.iter().filter(is_dense).copied().collect();
    let answer_tokens = answer_tokens(&dense, &tasks);

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
    let names: Vec<Named<'_>> = models
        .iter()
        .map(|m| &loaded.models[*m])
        .map(|m| Named { name: &m.name, memory: m.memory })
        .collect();
    let pairs = pairing::pairs(&names);
    let seeds = pairing::seeds(&names, &pairs);
    let looks = looks.some(&names);
    let gains = (0..arms.len())
        .into_par_iter()
        .map(|arm| {
            let of_pair = |p: &Pair| gain(&cells, [models[p.first], models[p.second]], arm, &tasks);
            pairs.iter().map(of_pair).collect()
        })
        .collect();
    let full = rows.iter().flatten().flatten().flat_map(|r| &r.cells).flatten().map(|c| c.samples).max();
    Study {
        setup: loaded.setups[setup].clone(),
        tasks: tasks.iter().map(|t| loaded.tasks[*t].clone()).collect(),
        models: models.iter().zip(looks).map(|(m, look)| named(loaded, *m, look)).collect(),
        arms,
        rows,
        pairs,
        seeds,
        gains,
        samples: full.unwrap_or(0),
        answer_tokens,
    }
}

/// See [`Study::answer_tokens`].
fn answer_tokens(dense: &[&Sample], tasks: &[usize]) -> Option<f64> {
    let of_task = |task: &usize| {
        let answers: Vec<&&Sample> = dense.iter().filter(|s| s.task == *task).collect();
        let ended = answers.iter().filter(|s| s.new_tokens < s.limit).count();
        let tokens: Vec<f64> = answers.iter().map(|s| s.new_tokens as f64).collect();
        (2 * ended > answers.len()).then(|| median(tokens))
    };
    tasks.iter().filter_map(of_task).min_by(f64::total_cmp)
}

/// The median of some values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

fn named(loaded: &Loaded, index: usize, look: Look) -> NamedModel {
    let model = loaded.models[index].clone();
    let same = loaded.models.iter().filter(|m| m.name == model.name).count();
    let label =
        if same > 1 { format!("{} ({})", model.name, short_hash(&model.hash)) } else { model.name.clone() };
    NamedModel { label, look, model }
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
    let median = |value: fn(&Sample) -> f64| median(all.iter().map(|s| value(s)).collect());
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
    let gain = paired_bootstrap(tasks, RESAMPLES, 0);
    Difference { pairs, value: gain.value, ends: gain.ends.ok_or_else(|| NO_INTERVAL.to_owned()) }
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
    /// The mean over tasks of a model under an arm.
    pub(super) fn mean(&self, arm: usize, model: usize) -> OrReason<&Accuracy> {
        let row = self.rows[arm][model].as_ref().map_err(Clone::clone)?;
        row.mean.as_ref().map_err(Clone::clone)
    }

    /// The gains of a pair under an arm.
    pub(super) fn gain(&self, arm: usize, pair: usize) -> &Gain {
        &self.gains[arm][pair]
    }

    /// The names of a pair: what it is compared with, and what gains.
    pub(super) fn names(&self, pair: usize) -> [&str; 2] {
        let Pair { first, second } = self.pairs[pair];
        [first, second].map(|m| self.models[m].label.as_str())
    }

    /// `memory minus attention`.
    pub(super) fn gain_name(&self, pair: usize) -> String {
        let [first, second] = self.names(pair);
        format!("{second} minus {first}")
    }

    /// What gains are over: one model, or each one's partner.
    pub(super) fn partners(&self) -> String {
        let firsts: Vec<usize> = self.pairs.iter().map(|p| p.first).collect();
        match firsts.as_slice() {
            [first, others @ ..] if others.iter().all(|o| o == first) => self.models[*first].label.clone(),
            _ => {
                let pair = |p: usize| {
                    let [first, second] = self.names(p);
                    format!("{second} over {first}")
                };
                let pairs: Vec<String> = (0..self.pairs.len()).map(pair).collect();
                format!("the model of the same name without memory ({})", pairs.join(", "))
            }
        }
    }

    /// Whether some mean gain rests on too few samples for an interval.
    pub(super) fn lacks_intervals(&self) -> bool {
        self.gains.iter().flatten().any(|gain| gain.mean.as_ref().is_ok_and(|d| d.ends.is_err()))
    }

    /// The pair that stands for all where there is room for one: the first with memory, or the first.
    pub(super) fn main_pair(&self) -> Option<usize> {
        let memory = |p: &Pair| self.models[p.second].model.memory && !self.models[p.first].model.memory;
        self.pairs.iter().position(memory).or((!self.pairs.is_empty()).then_some(0))
    }

    /// Groups of methods in order (the paper's three, random selectors, compositions, others, as far as there
    /// are), with their arms; dense comes first.
    pub(super) fn groups(&self) -> Vec<(String, Vec<usize>)> {
        GROUPS
            .into_iter()
            .map(|name| (name.to_owned(), self.arms_of(name)))
            .filter(|(_, arms): &(_, Vec<usize>)| !arms.is_empty())
            .collect()
    }

    /// The arms of a group.
    pub(super) fn arms_of(&self, group: &str) -> Vec<usize> {
        (0..self.arms.len()).filter(|i| self.arms[*i].method.group() == group).collect()
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
