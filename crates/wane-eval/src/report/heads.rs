//! Hit rates of heads (`wane hits` writes them as `hits.jsonl`): lines of the same cell added up, kinds of
//! records kept apart, and their table.

use std::path::PathBuf;

use serde::Deserialize;

use super::load::{samples_in_words, short_hash};
use super::method::Method;
use super::pairing::{self, Look, Looks, Named, Pair};
use super::sheet::{Cell, Group, Kind, Layout, Row, Sheet, column};
use super::statements::{self, Statement, Verdict};
use super::{OrReason, input};
use crate::hits::record::{Hits, Measured, VERSION, cells};
use crate::ruler::TASKS;
use crate::runner::identity::Origin;
use crate::{Error, Result};

/// Heads of a figure at most (as in the paper's).
pub(super) const TOP: usize = 50;

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) kinds: Vec<Kinds>,
    pub(super) notes: Vec<String>,
}

/// Hit rates that belong together.
#[derive(Debug)]
pub(super) struct Kinds {
    /// What they share, in words.
    pub(super) setup: String,
    /// Those without memory first.
    pub(super) models: Vec<HitModel>,
    pub(super) tasks: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) pairs: Vec<Pair>,
    cells: Vec<Hits>,
    files: Vec<PathBuf>,
}

/// A model under a name that no other model here has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HitModel {
    pub(super) label: String,
    pub(super) look: Look,
    hash: String,
    memory: bool,
}

/// Reads files of hit rates; models look as in `looks`.
///
/// # Errors
/// A file that cannot be read, a whole line that is no record of hits.
pub(super) fn load(files: &[PathBuf], looks: &Looks) -> Result<Heads> {
    #[derive(Deserialize)]
    struct Probe {
        version: u32,
    }
    let (mut heads, mut all, mut newer) = (Heads::default(), Vec::new(), 0);
    for path in files {
        let fail = |line: usize, message: String| Error::Line { path: path.clone(), line, message };
        let mut cut_line = None;
        let cut = input::lines(path, |number, line, whole| match serde_json::from_slice::<Hits>(line) {
            Ok(hits) if hits.cell.version <= VERSION => {
                all.push(hits);
                Ok(())
            }
            _ if serde_json::from_slice::<Probe>(line).is_ok_and(|p| p.version > VERSION) => {
                newer += 1;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) if !whole => {
                cut_line = Some(number);
                Ok(())
            }
            Err(e) => Err(fail(number, format!("expected a record of hit rates: {e}"))),
        })?;
        if let Some(line) = cut_line {
            heads
                .notes
                .push(format!("{}: the last line (line {line}) is cut off and was left out", path.display()));
        } else if cut {
            heads.notes.push(format!("{}: the packed file ends too early", path.display()));
        }
    }
    let (cells, repeated) = cells(&all);
    if repeated > 0 {
        heads
            .notes
            .push(format!("{repeated} lines of hit rates repeat samples that came before and were left out"));
    }
    if newer > 0 {
        heads
            .notes
            .push(format!("{newer} lines of hit rates of a newer version than {VERSION} were left out"));
    }
    for cell in cells {
        let setup = setup(&cell);
        match heads.kinds.iter_mut().find(|k| k.setup == setup) {
            Some(kind) => kind.cells.push(cell),
            None => heads.kinds.push(Kinds::new(setup, cell, files)),
        }
    }
    heads.kinds.iter_mut().for_each(|kind| kind.order(looks));
    if heads.kinds.len() > 1 {
        heads.notes.push(format!("the hit rates are of {} kinds, which are kept apart", heads.kinds.len()));
    }
    Ok(heads)
}

fn setup(cell: &Hits) -> String {
    let Origin { context, tokenizer, recipe, .. } = &cell.origin;
    samples_in_words(*context, tokenizer, cell.cell.seed, recipe)
}

impl Kinds {
    fn new(setup: String, cell: Hits, files: &[PathBuf]) -> Self {
        let (models, tasks, methods, pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { setup, models, tasks, methods, pairs, cells: vec![cell], files: files.to_vec() }
    }

    /// Finds names, their order and looks.
    fn order(&mut self, looks: &Looks) {
        for cell in &self.cells {
            let (label, hash, memory) =
                (cell.cell.model.clone(), cell.cell.model_hash.clone(), cell.cell.memory);
            if !self.models.iter().any(|m| m.hash == hash) {
                let look = Look { colour: 0, marker: 0 };
                self.models.push(HitModel { label, look, hash, memory });
            }
            if !self.tasks.contains(&cell.cell.task) {
                self.tasks.push(cell.cell.task.clone());
            }
            if !self.methods.contains(&cell.cell.method) {
                self.methods.push(cell.cell.method.clone());
            }
        }
        self.models.sort_by_key(|m| m.memory);
        let names: Vec<Named<'_>> =
            self.models.iter().map(|m| Named { name: &m.label, memory: m.memory }).collect();
        self.pairs = pairing::pairs(&names);
        let looks = looks.some(&names);
        self.models.iter_mut().zip(looks).for_each(|(model, look)| model.look = look);
        let labels: Vec<String> = self.models.iter().map(|m| m.label.clone()).collect();
        for model in &mut self.models {
            if labels.iter().filter(|l| **l == model.label).count() > 1 {
                model.label = format!("{} ({})", model.label, short_hash(&model.hash));
            }
        }
        self.tasks.sort_by_key(|t| TASKS.iter().position(|task| task.name == t).unwrap_or(TASKS.len()));
    }

    /// The cell of a model, method and task.
    pub(super) fn cell(&self, model: &HitModel, method: &str, task: &str) -> Option<&Hits> {
        self.cells
            .iter()
            .find(|c| c.cell.model_hash == model.hash && c.cell.method == method && c.cell.task == task)
    }

    /// Cells of a model and method, in the order of the tasks.
    pub(super) fn row(&self, model: &HitModel, method: &str) -> Vec<&Hits> {
        let cell = |task: &String| self.cell(model, method, task).filter(|c| c.examples > 0);
        self.tasks.iter().filter_map(cell).collect()
    }

    /// What was looked at under a method.
    pub(super) fn measured(&self, method: &str) -> &'static str {
        let measured = self.cells.iter().find(|c| c.cell.method == method).map(|c| c.measured);
        match measured {
            Some(Measured::DecodeSteps) | None => "every sparse decode step",
            Some(Measured::Retained) => "what stayed after the prompt",
            Some(Measured::LastPromptToken) => "the last prompt token's selection (not in the paper)",
        }
    }

    /// The table: means over tasks.
    pub(super) fn sheet(&self, number: usize) -> Sheet {
        let group = |method: &String| {
            let row = |model: &HitModel| {
                let cells = self.row(model, method);
                let show = |value: OrReason<f64>, unit: fn(f64) -> String| {
                    Cell::of(&value, |v| Cell::text(unit(*v)))
                };
                let percent = |value: OrReason<f64>| show(value, |v| format!("{:.1}", 100.0 * v));
                let sum = |count: fn(&Hits) -> usize| {
                    let all = self.tasks.iter().filter_map(|t| self.cell(model, method, t));
                    all.map(count).sum::<usize>()
                };
                let all_heads = |f: fn(&Hits, usize) -> f64| {
                    average(&cells, |c| mean((0..c.heads.len()).map(|h| f(c, h))))
                };
                let cells_of_row = vec![
                    percent(average(&cells, |c| best(c, 1))),
                    percent(average(&cells, |c| best(c, 10))),
                    percent(average(&cells, |c| mean(c.heads.iter().map(|h| share(h.hits, c.examples))))),
                    percent(average(&cells, |c| c.source_weighted().unwrap_or(f64::NAN))),
                    percent(average(&cells, |c| c.chance_level().unwrap_or(f64::NAN))),
                    percent(all_heads(|c, h| c.heads[h].recall / c.examples as f64)),
                    percent(average(&cells, |c| c.chance_recall / c.examples as f64)),
                    percent(all_heads(|c, h| c.heads[h].mass / c.examples as f64)),
                    show(
                        average(&cells, |c| mean(c.heads.iter().map(|h| h.rank / c.free_examples as f64))),
                        |v| format!("{v:.1}"),
                    ),
                    show(average(&cells, |c| (c.candidates / c.free_examples as f64 + 1.0) / 2.0), |v| {
                        format!("{v:.1}")
                    }),
                    Cell {
                        text: sum(|c| c.examples).to_string(),
                        detail: left_out(sum(|c| c.unaligned), sum(|c| c.without_steps), sum(|c| c.whole)),
                        note: if cells.len() < self.tasks.len() {
                            format!("{} of {} tasks", cells.len(), self.tasks.len())
                        } else {
                            String::new()
                        },
                    },
                ];
                Row {
                    label: model.label.clone(),
                    kind: Kind::Measured,
                    cells: cells_of_row,
                    id: None,
                    source: None,
                }
            };
            Group {
                title: format!("{}: {}", Method::parse(method).label(), self.measured(method)),
                rows: self.models.iter().map(row).collect(),
            }
        };
        let columns = [
            ("model", ""),
            ("best head", "hit rate of each task's best head, percent"),
            ("ten best", "mean hit rate of each task's ten best heads, percent"),
            ("all heads", "mean hit rate of all heads, percent"),
            (
                "by attention",
                "mean hit rate of all heads, each weighted by its attention to the answer's place, percent: do the heads that look at the answer keep it?",
            ),
            ("chance", "hit rate of uniform draws with the same forced entries, percent"),
            ("recall", "mean share of an answer's steps that hit, all heads, percent"),
            ("chance recall", "the same for uniform draws, percent"),
            ("mass", "mean share of full attention that falls on what is read, all heads, percent"),
            (
                "rank",
                "mean rank of the source's entry in the selector's scores, 1 is best; examples whose source is in no forced entry",
            ),
            ("chance rank", "the same for uniform scores"),
            ("examples", "samples that count; below: those left out"),
        ];
        Sheet {
            id: format!("hits-{number}"),
            caption: format!(
                "Hit rates, means over {} tasks. A head hits an example if it may read the answer's source at every step. {}. Records: {}",
                self.tasks.len(),
                self.setup,
                self.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
            ),
            layout: Layout::Numbers,
            columns: columns.map(|(name, long)| column(name, long)).into(),
            groups: self.methods.iter().map(group).collect(),
        }
    }

    /// Whether `rate` of a pair's second model is larger than the first one's, by tasks: the means of both, and in how
    /// many tasks the second is larger, equal, smaller.
    fn compare(&self, pair: Pair, method: &str, rate: Rate) -> Option<([f64; 2], [usize; 3])> {
        let (mut means, mut counts, mut n) = ([0.0; 2], [0; 3], 0.0);
        for task in &self.tasks {
            let of =
                |i: usize| self.cell(&self.models[i], method, task).filter(|c| c.examples > 0).and_then(rate);
            let (Some(first), Some(second)) = (of(pair.first), of(pair.second)) else { continue };
            let values = [first, second];
            let side = if (values[1] - values[0]).abs() < 1e-12 {
                1
            } else if values[1] > values[0] {
                0
            } else {
                2
            };
            counts[side] += 1;
            n += 1.0;
            means = [means[0] + values[0], means[1] + values[1]];
        }
        (n > 0.0).then(|| (means.map(|v| v / n), counts))
    }
}

/// A hit rate of a cell, 0 to 1.
type Rate = fn(&Hits) -> Option<f64>;

/// The paper's first hypothesis for every pair and method, by tasks: hit rates have no intervals. None without a
/// task that both models of a pair have.
pub(super) fn statements(kind: &Kinds, number: usize) -> Option<Sheet> {
    let rates: [(&str, Rate); 2] = [
        ("the ten best heads", |cell| Some(best(cell, 10))),
        ("heads weighted by their attention to the answer", Hits::source_weighted),
    ];
    let mut all = Vec::new();
    for (pair, method) in kind.pairs.iter().flat_map(|pair| kind.methods.iter().map(move |m| (pair, m))) {
        for (heads, rate) in rates {
            let Some(([first, second], [more, same, less])) = kind.compare(*pair, method, rate) else {
                continue;
            };
            let Some(verdict) = Verdict::of_counts([more, less, same]) else { continue };
            let [with, without] = [pair.second, pair.first].map(|i| kind.models[i].label.as_str());
            all.push(Statement {
                claim: format!(
                    "Under {}, heads of {with} hit the answer more often than those of {without} ({heads})",
                    Method::parse(method).label()
                ),
                verdict,
                evidence: format!(
                    "{:.1} against {:.1} %; more in {more} tasks, as often in {same}, less in {less}",
                    100.0 * second,
                    100.0 * first
                ),
                published: String::new(),
            });
        }
    }
    let caption = "Mean of the tasks. Hit rates have no intervals: a statement holds if it does in every task; else the counts of tasks are given";
    (!all.is_empty()).then(|| statements::sheet(all, format!("statements-hits-{number}"), caption.into()))
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    sum / n
}

/// The mean hit rate of the `n` best heads.
fn best(cell: &Hits, n: usize) -> f64 {
    mean(cell.ranked().iter().take(n).map(|h| share(h.hits, cell.examples)))
}

/// The mean over cells of what is a number.
fn average(cells: &[&Hits], value: impl Fn(&Hits) -> f64) -> OrReason<f64> {
    let values: Vec<f64> = cells.iter().map(|c| value(c)).filter(|v| v.is_finite()).collect();
    if values.is_empty() { Err("no examples".into()) } else { Ok(mean(values.into_iter())) }
}

fn left_out(unaligned: usize, without_steps: usize, whole: usize) -> String {
    let parts = [(unaligned, "not traceable"), (without_steps, "without sparse steps"), (whole, "too short")];
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect::<Vec<_>>().join(", ")
}

/// Tidy CSV: one line a model, method, task and head.
pub(super) fn csv(heads: &Heads) -> String {
    let mut text = String::from(
        "group,model,model_hash,method,task,examples,layer,head,hit_rate,free_hit_rate,previous_hit_rate,recall,mass,source_mass,rank,chance\n",
    );
    for (number, kind) in heads.kinds.iter().enumerate() {
        for cell in &kind.cells {
            for head in &cell.heads {
                let over = |sum: f64, n: usize| {
                    if n == 0 { String::new() } else { format!("{:.6}", sum / n as f64) }
                };
                let (n, free) = (cell.examples, cell.free_examples);
                let fields = [
                    (number + 1).to_string(),
                    cell.cell.model.clone(),
                    cell.cell.model_hash.clone(),
                    cell.cell.method.clone(),
                    cell.cell.task.clone(),
                    n.to_string(),
                    head.layer.to_string(),
                    head.head.to_string(),
                    over(head.hits as f64, n),
                    over(head.free_hits as f64, free),
                    over(head.previous_hits as f64, n),
                    over(head.recall, n),
                    over(head.mass, n),
                    over(head.source_mass, n),
                    over(head.rank, free),
                    over(cell.chance, n),
                ];
                super::csv::line(&mut text, &fields);
            }
        }
    }
    text
}
