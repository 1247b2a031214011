//! The mixture of text and generated samples under the curriculum: row `r` of step `s` is a function of
//! (seed, s, r) alone, so a resumed run sees exactly the rows it would have seen.
//!
//! A row of text is a run of tokens at a random place of a shard. A generated row holds one full-length
//! sample, or samples of log-uniform length packed one after the other, the last one cut at the row's end.

use std::sync::Arc;

use super::batch::{HostBatch, Row, TargetKind};
use super::shard::Shard;
use super::source::{Sample, SampleRequest, SampleSource};
use super::tokenizer::TokenizerHash;
use crate::config::{GeneratedTable, RunConfig, Stage};
use crate::draws::{Draws, Purpose};
use crate::{Error, Result};

struct Text {
    shards: Vec<Shard>,
    weight: f64,
    loss_weight: f32,
}

struct Generated {
    source: Arc<dyn SampleSource>,
    table: GeneratedTable,
    seed: u64,
    // Indices into the source's tasks, and their weights.
    tasks: Vec<usize>,
    task_weights: Vec<f64>,
}

/// A deterministic stream of rows.
pub struct Mixture {
    text: Vec<Text>,
    generated: Option<Generated>,
    stages: Vec<Stage>,
    sequence: usize,
    steps: u64,
    seed: u64,
    end: u32,
}

impl std::fmt::Debug for Mixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mixture({} text sources, generated: {})", self.text.len(), self.generated.is_some())
    }
}

/// How often a sample that does not fit is drawn again before that is an error.
const ATTEMPTS: usize = 200;

impl Mixture {
    /// Opens the shards and checks the tasks of `config`; `source` is needed for generated samples.
    ///
    /// # Errors
    /// Missing or foreign shards, shards shorter than a row, unknown tasks, no source.
    pub fn new(
        config: &RunConfig,
        source: Option<Arc<dyn SampleSource>>,
        tokenizer: &TokenizerHash,
        end: u32,
    ) -> Result<Self> {
        let sequence = config.training.sequence;
        let mut text = Vec::new();
        for table in &config.data.text {
            let mut shards = Shard::open_all(&table.shards, tokenizer)?;
            shards.retain(|shard| shard.tokens() > sequence);
            if shards.is_empty() {
                return Err(Error::data(
                    &table.shards,
                    format!("every shard is shorter than a row of {} tokens", sequence + 1),
                ));
            }
            text.push(Text { shards, weight: table.weight, loss_weight: table.loss_weight as f32 });
        }
        let generated = match (&config.data.generated, source) {
            (None, _) => None,
            (Some(_), None) => return Err(Error::Samples("no generator was given".to_owned())),
            (Some(table), Some(source)) => Some(Generated::new(table, source, config.seed)?),
        };
        Ok(Self {
            text,
            generated,
            stages: config.stages.clone(),
            sequence,
            steps: config.steps(),
            seed: config.seed,
            end,
        })
    }

    /// Rows `rows` of step `step`.
    ///
    /// # Errors
    /// The generator fails, or nothing fits into the stage's lengths.
    pub fn batch(&self, step: u64, rows: std::ops::Range<usize>) -> Result<HostBatch> {
        let rows = rows.map(|row| self.row(step, row as u64)).collect::<Result<Vec<_>>>()?;
        Ok(HostBatch::from_rows(&rows, self.sequence))
    }

    /// The stage of a step; `None` without a curriculum.
    pub fn stage(&self, step: u64) -> Option<&Stage> {
        let progress = step as f64 / self.steps.max(1) as f64;
        self.stages.iter().find(|stage| progress < stage.until).or(self.stages.last())
    }

    fn row(&self, step: u64, row: u64) -> Result<Row> {
        let mut draws = Draws::new(self.seed, Purpose::Row, step, row);
        let stage = self.stage(step);
        let mut weights: Vec<f64> = self.text.iter().map(|text| text.weight).collect();
        let generated = self.generated.as_ref().map_or(0.0, |g| g.table.weight);
        if let Some(share) = stage.and_then(|stage| stage.text) {
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w *= share / total);
            weights.push(1.0 - share);
        } else {
            weights.push(generated);
        }
        let chosen = draws.weighted(&weights);
        match (&self.generated, self.text.get(chosen)) {
            (_, Some(text)) => Ok(self.text_row(text, &mut draws)),
            (Some(generated), None) => self.generated_row(generated, stage, &mut draws),
            (None, None) => Err(Error::Samples("no generator was given".to_owned())),
        }
    }

    /// Every start of every shard is equally likely.
    fn text_row(&self, text: &Text, draws: &mut Draws) -> Row {
        let starts: Vec<u64> = text.shards.iter().map(|s| (s.tokens() - self.sequence) as u64).collect();
        let mut at = draws.below(starts.iter().sum());
        let mut ids = Vec::with_capacity(self.sequence + 1);
        for (shard, n) in text.shards.iter().zip(starts) {
            if at < n {
                shard.read(at as usize, self.sequence + 1, &mut ids);
                break;
            }
            at -= n;
        }
        text_row(ids, text.loss_weight, self.end)
    }

    fn generated_row(&self, generated: &Generated, stage: Option<&Stage>, draws: &mut Draws) -> Result<Row> {
        let mut row = RowBuilder::new(&generated.table, self.sequence, self.end);
        let is_full = stage.is_none_or(|stage| draws.uniform() < stage.full);
        let [low, high] = match stage {
            Some(stage) if !is_full => stage.lengths,
            _ => [self.sequence; 2],
        };
        let mut failures = 0;
        while !row.is_full() {
            let tokens = draws.log_uniform(low, high);
            let request = generated.request(tokens, stage, draws);
            match generated.source.sample(&request).map_err(Error::Samples)? {
                Some(sample) => {
                    row.push(&sample);
                    if is_full {
                        break;
                    }
                }
                None if failures == ATTEMPTS => {
                    return Err(Error::Samples(format!(
                        "no sample of {low} to {high} tokens could be made in {ATTEMPTS} attempts: use longer stages.lengths"
                    )));
                }
                None => failures += 1,
            }
        }
        Ok(row.finish())
    }

    /// The token that ends documents.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Tasks of the generated samples; empty without them.
    pub fn tasks(&self) -> Vec<String> {
        let Some(generated) = &self.generated else { return Vec::new() };
        let names = generated.source.tasks();
        generated.tasks.iter().map(|task| names[*task].clone()).collect()
    }

    /// `count` full-length samples of the `task`-th of [`Mixture::tasks`], one a row, from `seed`.
    ///
    /// # Errors
    /// The generator fails or a row is too short for the task.
    pub fn validation_rows(&self, task: usize, count: usize, seed: u64) -> Result<Vec<Row>> {
        let Some(generated) = &self.generated else { return Ok(Vec::new()) };
        let mut rows = Vec::with_capacity(count);
        for i in 0..count {
            let mut draws = Draws::new(seed, Purpose::Validation, task as u64, i as u64);
            let request = SampleRequest {
                seed,
                index: draws.bits(),
                task: generated.tasks[task],
                tokens: self.sequence,
                questions: 1,
            };
            let sample = generated.source.sample(&request).map_err(Error::Samples)?.ok_or_else(|| {
                Error::Samples(format!(
                    "task {} does not fit into {} tokens",
                    self.tasks()[task],
                    self.sequence
                ))
            })?;
            let mut row = RowBuilder::new(&generated.table, self.sequence, self.end);
            row.push(&sample);
            rows.push(row.finish());
        }
        Ok(rows)
    }
}

/// `count` rows at evenly spaced places of the shards that are long enough.
pub fn spaced_rows(shards: &[Shard], sequence: usize, count: usize, end: u32) -> Vec<Row> {
    let starts: Vec<usize> = shards.iter().map(|s| (s.tokens()).saturating_sub(sequence)).collect();
    let total: usize = starts.iter().sum();
    let mut rows = Vec::new();
    for i in 0..count.min(total) {
        let mut at = i * total / count.min(total);
        for (shard, n) in shards.iter().zip(&starts) {
            if at < *n {
                let mut ids = Vec::with_capacity(sequence + 1);
                shard.read(at, sequence + 1, &mut ids);
                rows.push(text_row(ids, 1.0, end));
                break;
            }
            at -= n;
        }
    }
    rows
}

/// A row of text; a document begins behind every end token.
fn text_row(ids: Vec<u32>, weight: f32, end: u32) -> Row {
    let n = ids.len() - 1;
    let starts = (1..n).filter(|i| ids[i - 1] == end).collect();
    Row { ids, weights: vec![weight; n], kinds: vec![TargetKind::Text; n], starts }
}

impl Generated {
    fn new(table: &GeneratedTable, source: Arc<dyn SampleSource>, seed: u64) -> Result<Self> {
        let names = source.tasks();
        let mut tasks = Vec::new();
        for task in &table.tasks {
            tasks.push(names.iter().position(|name| name == task).ok_or_else(|| {
                Error::setting(format!(
                    "data.generated.tasks: unknown task `{task}`; known: {}",
                    names.join(", ")
                ))
            })?);
        }
        if tasks.is_empty() {
            tasks = (0..names.len()).collect();
        }
        let mut task_weights = table.task_weights.clone();
        task_weights.resize(tasks.len(), 1.0);
        Ok(Self { source, table: table.clone(), seed: table.seed.unwrap_or(seed), tasks, task_weights })
    }

    fn request(&self, tokens: usize, stage: Option<&Stage>, draws: &mut Draws) -> SampleRequest {
        let [few, many] = stage.map_or([1, 1], |stage| stage.questions);
        let room = stage.map_or(1, |stage| 1 + tokens / stage.tokens_per_question);
        let many = many.min(room).max(few);
        SampleRequest {
            seed: self.seed,
            task: self.tasks[draws.weighted(&self.task_weights)],
            questions: few + draws.below((many - few + 1) as u64) as usize,
            index: draws.bits(),
            tokens,
        }
    }
}

/// Packs samples into one row.
struct RowBuilder {
    ids: Vec<u32>,
    weights: Vec<f32>,
    kinds: Vec<TargetKind>,
    starts: Vec<usize>,
    sequence: usize,
    answer_weight: f32,
    other_weight: f32,
    end: u32,
}

impl RowBuilder {
    fn new(table: &GeneratedTable, sequence: usize, end: u32) -> Self {
        Self {
            ids: Vec::with_capacity(sequence + 1),
            weights: Vec::with_capacity(sequence + 1),
            kinds: Vec::with_capacity(sequence + 1),
            starts: Vec::new(),
            sequence,
            answer_weight: table.answer_weight as f32,
            other_weight: table.other_weight as f32,
            end,
        }
    }

    fn is_full(&self) -> bool {
        self.ids.len() > self.sequence
    }

    fn push(&mut self, sample: &Sample) {
        let start = self.ids.len();
        if (1..self.sequence).contains(&start) {
            self.starts.push(start);
        }
        self.ids.extend(&sample.ids);
        self.weights.resize(self.ids.len(), self.other_weight);
        self.kinds.resize(self.ids.len(), TargetKind::Context);
        for answer in &sample.answers {
            let range = start + answer.start..start + answer.end;
            self.weights[range.clone()].fill(self.answer_weight);
            self.kinds[range].fill(TargetKind::Answer);
        }
    }

    /// Cuts or fills to the row's length. Weight and kind `i` belong to the token at `i`, which is the target
    /// of position `i - 1`: the first token is never a target.
    fn finish(mut self) -> Row {
        let n = self.sequence + 1;
        self.ids.resize(n, self.end);
        self.weights.resize(n, 0.0);
        self.kinds.resize(n, TargetKind::Padding);
        Row {
            ids: self.ids,
            weights: self.weights.split_off(1),
            kinds: self.kinds.split_off(1),
            starts: self.starts,
        }
    }
}
