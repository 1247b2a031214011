//! Endless training samples of the eight needle tasks, of any size: the same sentences as RULER's,
//! built from ids, without a size search and without room kept free.
//!
//! A sample is `head, context, (question, answer, end)` with 1 to 12 questions. It has the task's
//! number of keys, or more if more questions are asked; essays start at a random sentence and their last
//! sentence may be cut, as RULER's. Everything follows from (seed, index), by Philox.
//!
//! The ids are those of the tokenizer on the text of each part; parts meet only where [`Pieces`]
//! found that the tokenizer does not join, so they are also those of the whole text up to an answer.
//!
//! Does not do: packing and the curriculum of sizes (wane-train), repeated keys (RULER's samples may
//! repeat one by chance; here every question has one answer).

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::haystack::Haystack;
use super::needle::{self, Hay, Kind, NOISE, Shape};
use super::pieces::Pieces;
use super::prompt::PromptForm;
use super::sentences::Splitter;
use super::tokens::Encode;
use super::words::WordList;
use crate::{Error, Result};
use draws::Draws;

mod draws;

/// How samples are built.
#[derive(Debug, Clone)]
pub struct Options {
    /// The share of questions that come with RULER's answer prefix.
    pub prefix_share: f32,
    /// The loss weight of everything that is not an answer; answers and end tokens have 1.
    pub text_weight: f32,
    /// At most so many questions; on average one more for each 256 tokens, up to this.
    pub max_questions: usize,
    /// The token that begins a sample, if any.
    pub bos: Option<u32>,
    /// The token that ends an answer.
    pub eos: u32,
    /// Where keys come from.
    pub words: WordList,
}

impl Options {
    /// The defaults for a tokenizer's special tokens.
    pub fn new(bos: Option<u32>, eos: u32) -> Self {
        Self { prefix_share: 0.5, text_weight: 0.02, max_questions: 12, bos, eos, words: WordList::default() }
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingSample {
    /// The ids.
    pub ids: Vec<u32>,
    /// `weights[i]` is the loss weight of predicting `ids[i]`.
    pub weights: Vec<f32>,
    /// Where the answers are, end tokens included.
    pub answers: Vec<Range<usize>>,
}

/// Builds samples; shared by threads.
#[derive(Debug)]
pub struct NeedleSampler {
    pieces: Pieces,
    options: Options,
    text: String,
    /// Sentences as bytes of `text`, and as ids (with the space before them) of `ids`.
    sentences: Vec<(Range<u32>, Range<u32>)>,
    ids: Vec<u32>,
    noise: Vec<u32>,
}

/// A key with its values.
struct Entry {
    key: String,
    values: Vec<String>,
}

impl NeedleSampler {
    /// Encodes the haystack's text (once; about 20 MB/s) and all words that needles are made of.
    ///
    /// # Errors
    /// The tokenizer's own; a text without words.
    pub fn new(tokenizer: Arc<dyn Encode>, haystack: &str, options: Options) -> Result<Self> {
        let haystack = Haystack::from_text("training", haystack, Splitter::Simple)?;
        let mut pieces = super::pieces(tokenizer, &haystack)?;
        let mut warm = Vec::new();
        for run in hex_runs() {
            pieces.encode(&format!(" {run}-{run}1{run}"), &mut warm)?;
        }
        let mut noise = Vec::new();
        pieces.encode(&format!("{NOISE}\n"), &mut noise)?;
        let text = format!(" {}", haystack.text());
        let (mut sentences, mut ids) = (Vec::new(), Vec::new());
        for range in Splitter::Simple.split(&text[1..]) {
            let start = ids.len() as u32;
            // The byte before a sentence is the space that joins it to the one before.
            pieces.encode(&text[range.start..range.end + 1], &mut ids)?;
            sentences.push((range.start as u32 + 1..range.end as u32 + 1, start..ids.len() as u32));
        }
        if sentences.is_empty() {
            return Err(Error::Haystack { name: "training".into(), message: "no sentences in it".into() });
        }
        Ok(Self { pieces, options, text, sentences, ids, noise })
    }

    /// The sample of (seed, index): at most `size` ids, except where not even one needle fits.
    /// Sizes that do not hold the task's number of keys get fewer.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn sample(&self, shape: &Shape, size: usize, seed: u64, index: u64) -> Result<TrainingSample> {
        let mut draws = Draws::new(seed, index);
        let wanted = 1 + draws.below(1 + (size / 128).min(self.options.max_questions - 1));
        self.sample_with(shape, size, wanted, seed, index)
    }

    /// Like [`Self::sample`], with `questions` questions, or as many of them as fit.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn sample_with(
        &self,
        shape: &Shape,
        size: usize,
        questions: usize,
        seed: u64,
        index: u64,
    ) -> Result<TrainingSample> {
        let mut questions = questions;
        let mut keys = usize::MAX;
        loop {
            let most = if shape.hay == Hay::Needle {
                questions
            } else {
                shape.keys.max(questions + shape.queries - 1)
            };
            keys = keys.min(most);
            let mut draws = Draws::attempt(seed, index, (questions * 64 + keys) as u32);
            if let Some(sample) = self.build(shape, size, questions, keys, &mut draws)? {
                return Ok(sample);
            }
            if questions > 1 {
                questions = questions.div_ceil(2).min(questions - 1);
            } else if keys > 1 {
                keys -= 1;
            } else {
                let sample = self.build(shape, usize::MAX, 1, 0, &mut draws)?;
                return Ok(sample.unwrap_or_default());
            }
        }
    }

    /// `None` if it does not fit. `keys` = 0 stands for one key and no haystack at all.
    fn build(
        &self,
        shape: &Shape,
        size: usize,
        questions: usize,
        keys: usize,
        draws: &mut Draws,
    ) -> Result<Option<TrainingSample>> {
        let mut used = HashSet::new();
        let entries: Vec<Entry> = (0..keys.max(1)).map(|_| self.entry(shape, draws, &mut used)).collect();
        let tail = self.tail(shape, &entries, questions, draws)?;
        let mut ids: Vec<u32> = self.options.bos.into_iter().collect();
        self.pieces.encode_shared(&shape.head(), &mut ids)?;
        let needles: Vec<String> = entries
            .iter()
            .flat_map(|e| e.values.iter().map(|v| needle::needle(shape.value, &e.key, v)))
            .collect();
        let Some(room) = size.checked_sub(ids.len() + tail.ids.len()) else { return Ok(None) };
        let fits = match shape.hay {
            _ if keys == 0 => self.lines(shape, needles, 0, draws, &mut used, &mut ids)?.or(Some(())),
            Hay::Essay => self.essay(needles, room, draws, &mut ids)?,
            Hay::Noise | Hay::Needle => self.lines(shape, needles, room, draws, &mut used, &mut ids)?,
        };
        if fits.is_none() {
            return Ok(None);
        }
        let mut sample =
            TrainingSample { weights: vec![self.options.text_weight; ids.len()], ids, answers: Vec::new() };
        let offset = sample.ids.len();
        sample.ids.extend(tail.ids);
        sample.weights.extend(tail.weights);
        sample.answers.extend(tail.answers.into_iter().map(|a| a.start + offset..a.end + offset));
        Ok(Some(sample))
    }

    fn value(&self, kind: Kind, draws: &mut Draws) -> String {
        match kind {
            Kind::Numbers => (1_000_000 + draws.below(9_000_000)).to_string(),
            Kind::Words => {
                let pairs = self.options.words.pairs();
                pairs.get(draws.below(pairs.len()))
            }
            Kind::Uuids => needle::uuid(draws.bits128()),
        }
    }

    fn entry(&self, shape: &Shape, draws: &mut Draws, used: &mut HashSet<String>) -> Entry {
        let mut key = self.value(shape.key, draws);
        while !used.insert(key.clone()) {
            key = self.value(shape.key, draws);
        }
        Entry { key, values: (0..shape.values).map(|_| self.value(shape.value, draws)).collect() }
    }

    /// Questions and answers.
    fn tail(
        &self,
        shape: &Shape,
        entries: &[Entry],
        questions: usize,
        draws: &mut Draws,
    ) -> Result<TrainingSample> {
        let mut tail = TrainingSample::default();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        draws.shuffle(&mut order);
        let queries = shape.queries.min(entries.len());
        for question in 0..questions {
            let asked: Vec<&Entry> = if queries == 1 {
                vec![&entries[order[question % order.len()]]]
            } else {
                let mut order = order.clone();
                draws.shuffle(&mut order);
                order[..queries].iter().map(|&i| &entries[i]).collect()
            };
            let form =
                if draws.unit() < self.options.prefix_share { PromptForm::Prefix } else { PromptForm::Input };
            let query = needle::query(&asked.iter().map(|e| e.key.as_str()).collect::<Vec<_>>());
            let mut text = if question > 0 { "\n".to_owned() } else { String::new() };
            text += &shape.question(&query);
            if form == PromptForm::Prefix {
                text += &shape.answer_prefix(&query);
            }
            self.pieces.encode_shared(&text, &mut tail.ids)?;
            tail.weights.resize(tail.ids.len(), self.options.text_weight);
            let start = tail.ids.len();
            let outputs: Vec<&String> = asked.iter().flat_map(|e| &e.values).collect();
            self.pieces.encode_shared(&form.answer(&outputs), &mut tail.ids)?;
            tail.ids.push(self.options.eos);
            tail.weights.resize(tail.ids.len(), 1.0);
            tail.answers.push(start..tail.ids.len());
        }
        Ok(tail)
    }

    /// Needles among lines of noise, or of other needles. Appends at most `room` ids, or nothing.
    fn lines(
        &self,
        shape: &Shape,
        needles: Vec<String>,
        room: usize,
        draws: &mut Draws,
        used: &mut HashSet<String>,
        ids: &mut Vec<u32>,
    ) -> Result<Option<()>> {
        let mut lines: Vec<Vec<u32>> = Vec::new();
        for needle in needles {
            lines.push(self.line(&needle)?);
        }
        let mut total: usize = lines.iter().map(Vec::len).sum();
        let enough = total <= room;
        if shape.hay == Hay::Needle && enough {
            loop {
                let entry = self.entry(shape, draws, used);
                let line = self.line(&needle::needle(shape.value, &entry.key, &entry.values[0]))?;
                total += line.len();
                if total > room {
                    break;
                }
                lines.push(line);
            }
            draws.shuffle(&mut lines);
            ids.extend(lines.into_iter().flatten());
            return Ok(Some(()));
        }
        let noise = room.saturating_sub(total) / self.noise.len();
        let mut at: Vec<usize> = lines.iter().map(|_| draws.below(noise + 1)).collect();
        at.sort_unstable();
        let mut last = 0;
        for (position, line) in at.into_iter().zip(lines) {
            (last..position).for_each(|_| ids.extend_from_slice(&self.noise));
            ids.extend(line);
            last = position;
        }
        (last..noise).for_each(|_| ids.extend_from_slice(&self.noise));
        Ok(enough.then_some(()))
    }

    fn line(&self, needle: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(64);
        self.pieces.encode_shared(&format!("{needle}\n"), &mut ids)?;
        Ok(ids)
    }

    /// Needles between sentences. Appends at most `room` ids, or nothing.
    fn essay(
        &self,
        needles: Vec<String>,
        room: usize,
        draws: &mut Draws,
        ids: &mut Vec<u32>,
    ) -> Result<Option<()>> {
        let mut parts = Vec::with_capacity(needles.len());
        for needle in &needles {
            let mut part = Vec::with_capacity(64);
            self.pieces.encode_shared(&format!(" {needle}"), &mut part)?;
            parts.push(part);
        }
        // One for the line break at the end, which may be a token of its own.
        let total: usize = parts.iter().map(Vec::len).sum::<usize>() + 1;
        let Some(mut left) = room.checked_sub(total) else { return Ok(None) };
        let first = draws.below(self.sentences.len());
        let mut whole = Vec::new();
        let mut cut = None;
        for i in 0.. {
            let sentence = (first + i) % self.sentences.len();
            let len = self.sentences[sentence].1.len();
            if len > left {
                cut = self.beginning(sentence, left)?;
                break;
            }
            left -= len;
            whole.push(sentence);
        }
        let sentences = whole.len() + usize::from(cut.is_some());
        let mut at: Vec<usize> = parts.iter().map(|_| draws.below(sentences + 1)).collect();
        at.sort_unstable();
        let mut needle = 0;
        for position in 0..=sentences {
            while needle < at.len() && at[needle] == position {
                let (begins, ends) =
                    (position == 0 && needle == 0, position == sentences && needle + 1 == at.len());
                if begins || ends {
                    self.part(&needles[needle], begins, ends, ids)?;
                } else {
                    ids.extend_from_slice(&parts[needle]);
                }
                needle += 1;
            }
            if position == sentences {
                break;
            }
            let (begins, ends) =
                (position == 0 && needle == 0, position + 1 == sentences && needle == at.len());
            let (bytes, range) = match whole.get(position) {
                Some(&sentence) => self.sentences[sentence].clone(),
                None => (cut.clone().unwrap_or(0..0), 0..0),
            };
            if begins || ends || range.is_empty() {
                self.part(&self.text[bytes.start as usize..bytes.end as usize], begins, ends, ids)?;
            } else {
                ids.extend_from_slice(&self.ids[range.start as usize..range.end as usize]);
            }
        }
        Ok(Some(()))
    }

    /// A sentence at the beginning (no space before it) or the end (a line break after it) of a context.
    fn part(&self, text: &str, begins: bool, ends: bool, ids: &mut Vec<u32>) -> Result<()> {
        let space = if begins { "" } else { " " };
        let end = if ends { "\n" } else { "" };
        self.pieces.encode_shared(&[space, text, end].concat(), ids)
    }

    /// The bytes of the longest beginning of a sentence, in words, that has at most `room` ids.
    fn beginning(&self, sentence: usize, room: usize) -> Result<Option<Range<u32>>> {
        let bytes = self.sentences[sentence].0.clone();
        let text = &self.text[bytes.start as usize..bytes.end as usize];
        let (mut ids, mut end) = (Vec::new(), 0);
        for word in text.split_inclusive(' ') {
            let word_end = end + word.trim_end().len();
            self.pieces.encode_shared(&format!(" {}", word.trim_end()), &mut ids)?;
            if ids.len() > room {
                break;
            }
            end = word_end + (word.len() - word.trim_end().len());
        }
        let end = text[..end].trim_end().len() as u32;
        Ok((end > 0).then(|| bytes.start..bytes.start + end))
    }
}

/// Runs of the letters a to f, up to four: what uuids are made of besides digits.
fn hex_runs() -> Vec<String> {
    let mut runs: Vec<String> = vec![String::new()];
    let mut start = 0;
    for _ in 0..4 {
        let end = runs.len();
        for i in start..end {
            runs.extend(('a'..='f').map(|c| format!("{}{c}", runs[i])).collect::<Vec<_>>());
        }
        start = end;
    }
    runs.split_off(1)
}

#[cfg(test)]
mod tests;
