//! `fwe`: text of invented words whose frequencies follow a zeta law (exponent 2); which three come most
//! often? The most frequent of all is written as dots and does not count (NVIDIA's
//! `freq_words_extraction.py`).
//!
//! Does not do: other exponents or word lengths than RULER's.

use std::collections::HashSet;

use crate::ruler::mt19937::PythonRandom;
use crate::ruler::size::Search;
use crate::ruler::{Metric, Request, Sample, TaskEntry};
use crate::{Error, Result};

const TASK: &str = "fwe";

/// New tokens that a prediction may have.
const BUDGET: usize = 50;

/// Letters of a word.
const LETTERS: usize = 6;

/// Tokens for each word of the vocabulary.
const TOKENS_PER_WORD: usize = 50;

/// Answers, and the dots before them.
const RANKS: usize = 4;

/// zeta(2).
const ZETA: f64 = std::f64::consts::PI * std::f64::consts::PI / 6.0;

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: TASK,
    summary: "the three most frequent of many invented words",
    metric: Metric::All,
    max_new_tokens: BUDGET,
    needle: None,
    generate,
};

const HEAD: &str = "Read the following coded text and track the frequency of each coded word. Find the three most \
                    frequently appeared coded words. ";
const QUESTION: &str = "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three \
                        most frequently appeared words in the above coded text?";
const PREFIX: &str =
    " Answer: According to the coded text above, the three most frequently appeared words are:";

/// A vocabulary by rank, most frequent first.
fn vocabulary(size: usize, seed: u64, random: &mut PythonRandom) -> Vec<String> {
    let mut word = || -> String {
        (0..LETTERS).map(|_| char::from(b'a' + random.choice_with_replacement(26) as u8)).collect()
    };
    let mut distinct: HashSet<String> = (0..size).map(|_| word()).collect();
    while distinct.len() < size {
        distinct.insert(word());
    }
    let mut words: Vec<String> = distinct.into_iter().collect();
    words.sort();
    PythonRandom::new(seed).shuffle(&mut words);
    words[0] = "...".into();
    words
}

/// How often the word of a rank (from 1) comes in a text made for `words` words.
fn count(words: usize, rank: usize) -> usize {
    let rank = rank as f64;
    ((words as f64 * (1.0 / (rank * rank))) / ZETA) as usize
}

/// The prompt without the beginning of the answer.
fn text(vocabulary: &[String], words: usize, seed: u64) -> String {
    let mut order: Vec<u32> = Vec::with_capacity(words);
    for rank in 0..vocabulary.len() {
        order.extend(std::iter::repeat_n(rank as u32, count(words, rank + 1)));
    }
    PythonRandom::new(seed).shuffle(&mut order);
    let mut input = String::with_capacity(HEAD.len() + QUESTION.len() + order.len() * (LETTERS + 1));
    input.push_str(HEAD);
    for (i, rank) in order.into_iter().enumerate() {
        if i > 0 {
            input.push(' ');
        }
        input.push_str(&vocabulary[rank as usize]);
    }
    input.push_str(QUESTION);
    input
}

fn generate(request: &mut Request<'_>, take: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
    let (seed, context, template) = (request.seed, request.room(), request.template);
    let too_small = |needed| Error::ContextTooSmall { task: TASK, context, needed };
    // The older scripts leave no room for the answer.
    let unused = if request.search == Search::Binary { BUDGET } else { 0 };
    let room = context.saturating_sub(unused);
    if room < RANKS * TOKENS_PER_WORD {
        return Err(too_small(RANKS * TOKENS_PER_WORD + unused));
    }
    let (size, step) = (room / TOKENS_PER_WORD, room / 32);
    let mut random = PythonRandom::new(seed);
    let mut tokens = |input: &str| request.pieces.count(&(template.wrap(input) + PREFIX));
    // One text, longer step by step until it fills the room; its size less one step is the first for all samples.
    let vocabulary_of_search = vocabulary(size, seed, &mut random);
    let mut first = room / LETTERS;
    while tokens(&text(&vocabulary_of_search, first, seed))? < room {
        first += step;
    }
    let first = first.checked_sub(step).filter(|&words| words > 0);
    for index in 0..request.samples {
        let vocabulary = vocabulary(size, seed, &mut random);
        let mut words = first.unwrap_or(0);
        let (input, length) = loop {
            // Each answer must come at least once.
            if count(words, RANKS) == 0 {
                let least = (1..).find(|&n| count(n, RANKS) > 0).unwrap_or(1);
                return Err(too_small(tokens(&text(&vocabulary, least, seed))? + unused));
            }
            let input = text(&vocabulary, words, seed);
            let length = tokens(&input)?;
            if length <= room {
                break (input, length + BUDGET);
            }
            words = words.saturating_sub(step);
        };
        let input = template.wrap(&input);
        take(Sample::numbered(index, input, PREFIX.to_owned(), vocabulary[1..RANKS].to_vec(), length))?;
    }
    Ok(())
}
