//! Hit rates of one model under one method on a range of one task's samples, as a line of
//! `hits.jsonl`. Lines hold sums, so lines of the same cell add up ([`Hits::merge`]): a run of many
//! samples writes several, and rates are sums divided by [`Hits::examples`] (or
//! [`Hits::free_examples`] for what is called free).
//!
//! Terms. The answer's tokens are fed as they should be (teacher forcing, values joined by `,`).
//! A *step* is one answer token that has a source in the prompt: its value's characters inside the
//! needle with the right key. A step *hits* in a head if all tokens that hold those characters are in
//! what the head may read when the token is emitted. An example hits if all its steps do. Steps of
//! Quest begin with the second answer token, because the first comes from the dense prefill.
//! *Forced* entries (first and newest blocks, SnapKV's window) are read whatever the selector says; an
//! example is *free* if none of its steps has its source in one.
//!
//! Does not do: single examples; they can be had by running one sample.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::runner::identity::{Cell, Origin};
use crate::{Error, Result};

/// The version of the format.
pub const VERSION: u32 = 1;

/// Which selection was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// A new selection at every decode step (Quest; in the paper).
    DecodeSteps,
    /// What stayed after the prompt (SnapKV; in the paper).
    Retained,
    /// The selection of the prompt's last token, whose source is that of the first answer token
    /// (MoBA; an extension, the paper leaves it out).
    LastPromptToken,
}

/// Which heads own a set of indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadUnit {
    /// Every query head (also where each has a K/V head of its own).
    QueryHead,
    /// The query heads of a K/V head together.
    KvHead,
}

/// One head's sums; see [`Hits`] for what to divide by.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HeadHits {
    /// Layer, from 0. Layers that the method leaves dense have no entry.
    pub layer: usize,
    /// Head of the layer, from 0, counted in [`Hits::unit`].
    pub head: usize,
    /// Examples whose every step hits. Of `examples`.
    pub hits: usize,
    /// The same among free examples. Of `free_examples`.
    pub free_hits: usize,
    /// As `hits`, for the prompt token before the source (what an induction head looks for). Of `examples`.
    pub previous_hits: usize,
    /// Sum over examples of the share of steps that hit. Of `examples`.
    pub recall: f64,
    /// The same over free examples. Of `free_examples`.
    pub free_recall: f64,
    /// Sum over examples of the mean share of full attention (this step's own query over everything that
    /// a dense cache would hold) that falls on what is read. Of `examples`.
    pub mass: f64,
    /// The same for the share that falls on the source's tokens alone, read or not: large in
    /// heads that retrieve. Of `examples`.
    pub source_mass: f64,
    /// Sum over free examples of the mean rank of the source's entry in the selector's scores (1 is
    /// best, forced entries left out, the worst if the source is in several). Of `free_examples`.
    pub rank: f64,
}

/// One line: a cell (model, method, task) on samples `first_sample .. first_sample + samples`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// Model, method and task.
    #[serde(flatten)]
    pub cell: Cell,
    /// What the samples are made of, and where they ran.
    #[serde(flatten)]
    pub origin: Origin,
    /// The first sample's number.
    pub first_sample: usize,
    /// Samples looked at: `examples + unaligned + without_steps + whole`.
    pub samples: usize,
    /// Which selection was looked at.
    pub measured: Measured,
    /// Which heads own a set of indices.
    pub unit: HeadUnit,
    /// Samples that count.
    pub examples: usize,
    /// Those of them whose source is in no forced entry at any step.
    pub free_examples: usize,
    /// Samples left out because some answer token could not be traced to the prompt (the tokenizer
    /// drops or rewrites what a value consists of).
    pub unaligned: usize,
    /// Samples left out because no token of the answer is emitted by a sparse step (values of one token
    /// under Quest).
    pub without_steps: usize,
    /// Samples left out because the prompt was too short for the method to leave anything out.
    pub whole: usize,
    /// Sum over examples of the number of steps.
    pub steps: usize,
    /// The fewest and the most steps of an example; zeros without examples.
    pub steps_range: [usize; 2],
    /// Sum over examples of the probability that uniform draws in place of the selector hit (forced
    /// entries kept): a line to draw at `chance / examples`.
    pub chance: f64,
    /// The same over free examples.
    pub free_chance: f64,
    /// Sum over examples of the mean probability that one step hits: chance's `recall`.
    pub chance_recall: f64,
    /// Sum over free examples of the mean number of entries that compete; chance's mean rank is
    /// `(candidates / free_examples + 1) / 2`.
    pub candidates: f64,
    /// Examples whose first answer token was the likeliest.
    pub first_correct: usize,
    /// Examples whose every answer token with a source was the likeliest (teacher forcing).
    pub correct: usize,
    /// Every measured head, by layer and head.
    pub heads: Vec<HeadHits>,
}

impl Hits {
    /// Whether the lines belong to one cell and list the same heads.
    pub(crate) fn same_cell(&self, other: &Self) -> bool {
        let (a, b) = (self, other);
        let places = |h: &Self| h.heads.iter().map(|h| (h.layer, h.head)).collect::<Vec<_>>();
        a.cell.version == b.cell.version
            && a.cell.model_hash == b.cell.model_hash
            && a.cell.method == b.cell.method
            && a.cell.task == b.cell.task
            && a.cell.seed == b.cell.seed
            && a.origin.context == b.origin.context
            && a.origin.tokenizer == b.origin.tokenizer
            && a.origin.recipe == b.origin.recipe
            && a.measured == b.measured
            && a.unit == b.unit
            && (places(a) == places(b) || a.examples == 0 || b.examples == 0)
    }

    /// Whether some sample is counted in both lines.
    fn overlaps(&self, other: &Self) -> bool {
        let end = |hits: &Self| hits.first_sample + hits.samples;
        self.first_sample < end(other) && other.first_sample < end(self)
    }

    /// Adds the sums of another line of the same cell. `first_sample` becomes the smaller one, `samples` the
    /// number of samples in both.
    ///
    /// # Errors
    /// The other line is of another cell, has other heads, or counts some of the same samples.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if !self.same_cell(other) || self.overlaps(other) {
            let name = |h: &Self| {
                let (from, to) = (h.first_sample, h.first_sample + h.samples);
                format!("{} under {} on {}, samples {from} to {to}", h.cell.model, h.cell.method, h.cell.task)
            };
            return Err(Error::Invalid(format!(
                "hit rates cannot be added: expected one cell and different samples, got {} and {}",
                name(self),
                name(other)
            )));
        }
        self.add(other);
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.steps_range = match (self.examples, other.examples) {
            (_, 0) => self.steps_range,
            (0, _) => other.steps_range,
            _ => {
                [self.steps_range[0].min(other.steps_range[0]), self.steps_range[1].max(other.steps_range[1])]
            }
        };
        self.first_sample = self.first_sample.min(other.first_sample);
        self.samples += other.samples;
        self.examples += other.examples;
        self.free_examples += other.free_examples;
        self.unaligned += other.unaligned;
        self.without_steps += other.without_steps;
        self.whole += other.whole;
        self.steps += other.steps;
        self.chance += other.chance;
        self.free_chance += other.free_chance;
        self.chance_recall += other.chance_recall;
        self.candidates += other.candidates;
        self.first_correct += other.first_correct;
        self.correct += other.correct;
        if self.heads.is_empty() {
            self.heads.clone_from(&other.heads);
            return;
        }
        for (mine, theirs) in self.heads.iter_mut().zip(&other.heads) {
            mine.hits += theirs.hits;
            mine.free_hits += theirs.free_hits;
            mine.previous_hits += theirs.previous_hits;
            mine.recall += theirs.recall;
            mine.free_recall += theirs.free_recall;
            mine.mass += theirs.mass;
            mine.source_mass += theirs.source_mass;
            mine.rank += theirs.rank;
        }
    }

    /// Heads by hit rate, the best first; ties by layer and head.
    pub fn ranked(&self) -> Vec<HeadHits> {
        let mut heads = self.heads.clone();
        heads.sort_by_key(|h| (std::cmp::Reverse(h.hits), h.layer, h.head));
        heads
    }

    /// The hit rate, 0 to 1, over heads weighted by the attention that each pays to the answer's place: what
    /// counts for the answer. `None` without examples.
    pub fn source_weighted(&self) -> Option<f64> {
        let total: f64 = self.heads.iter().map(|h| h.source_mass).sum();
        let hits: f64 = self.heads.iter().map(|h| h.source_mass * h.hits as f64).sum();
        (self.examples > 0 && total > 0.0).then(|| hits / total / self.examples as f64)
    }

    /// The chance of an example, 0 to 1; `None` without examples.
    pub fn chance_level(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.chance / self.examples as f64)
    }
}

/// The lines of a `hits.jsonl` text; a last line without its end is left out.
///
/// # Errors
/// A whole line that is no record of hits, or of a newer version.
pub fn parse(text: &[u8], path: &Path) -> Result<Vec<Hits>> {
    let mut all = Vec::new();
    for (i, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        if line.last() != Some(&b'\n') || line.trim_ascii().is_empty() {
            continue;
        }
        let fail = |message: String| Error::Line { path: path.to_owned(), line: i + 1, message };
        let hits: Hits =
            serde_json::from_slice(line).map_err(|e| fail(format!("expected a record of hits: {e}")))?;
        if hits.cell.version > VERSION {
            let message = format!("version {} is newer than {VERSION}: use a newer wane", hits.cell.version);
            return Err(fail(message));
        }
        all.push(hits);
    }
    Ok(all)
}

/// Lines of the same cell added up, in the order of first occurrence; lines that repeat samples
/// are left out and counted.
pub fn cells(lines: &[Hits]) -> (Vec<Hits>, usize) {
    let (mut cells, mut repeated): (Vec<Vec<&Hits>>, usize) = (Vec::new(), 0);
    for line in lines {
        match cells.iter_mut().find(|cell| cell[0].same_cell(line)) {
            None => cells.push(vec![line]),
            Some(cell) if !cell.iter().any(|other| other.overlaps(line)) => cell.push(line),
            Some(_) => repeated += 1,
        }
    }
    let sum = |cell: Vec<&Hits>| {
        let mut total = cell[0].clone();
        cell[1..].iter().for_each(|line| total.add(line));
        total
    };
    (cells.into_iter().map(sum).collect(), repeated)
}

#[cfg(test)]
pub(crate) mod tests;
