//! `cwe`: a numbered list of words in which ten come often; which ten? One solved list comes first
//! (NVIDIA's `common_words_extraction.py`).
//!
//! Words are wonderwords' nouns, adjectives and verbs; lists with more words than these (from about 100K
//! tokens) need the user's copy of RULER's `english_words.json`.
//!
//! Does not do: other frequencies than RULER's.

use std::fmt::Write as _;

use crate::ruler::mt19937::PythonRandom;
use crate::ruler::python;
use crate::ruler::size::{Most, Search};
use crate::ruler::template::ModelTemplate;
use crate::ruler::{Metric, Request, Sample, TaskEntry};
use crate::{Error, Result};

const TASK: &str = "cwe";

/// New tokens that a prediction may have.
const BUDGET: usize = 120;

/// Words that come often.
const COMMON: usize = 10;

/// Words in the draw that the first guess rests on.
const GUESS: usize = 4096;

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: TASK,
    summary: "the ten most common words of a list",
    metric: Metric::All,
    max_new_tokens: BUDGET,
    needle: None,
    generate,
};

/// How often words come in a list.
struct Frequencies {
    common: usize,
    other: usize,
}

struct Maker<'a> {
    random: PythonRandom,
    seed: u64,
    words: Vec<String>,
    more: Option<&'a [String]>,
    /// The number of words in the solved list.
    solved: usize,
    in_solved: Frequencies,
    in_list: Frequencies,
    search: Search,
    template: &'a ModelTemplate,
}

const HEAD: &str = "Below is a numbered list of words. In these words, some appear more often than others. Memorize \
                    the ones that appear most often.\n";
const QUESTION: &str = "\nQuestion: What are the 10 most common words in the above list?";
const PREFIX: &str = " Answer: The top 10 words that appear most often in the list are:";

fn numbered<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (i, word) in words.enumerate() {
        let _ = write!(text, "{}{}. {word}", if i > 0 { " " } else { "" }, i + 1);
    }
    text
}

impl Maker<'_> {
    /// A list and its common words; `None` if there are not so many words.
    fn list(&mut self, words: usize, solved: bool) -> Option<(String, Vec<String>)> {
        let enough = words <= self.words.len();
        let from = if enough { &self.words[..] } else { self.more.unwrap_or(&[]) };
        let at = self.random.sample(from.len(), words)?;
        let frequencies = if solved { &self.in_solved } else { &self.in_list };
        let (common, other) = at.split_at(COMMON.min(at.len()));
        let mut order = common.repeat(frequencies.common);
        order.extend(other.repeat(frequencies.other));
        PythonRandom::new(self.seed).shuffle(&mut order);
        let text = numbered(order.iter().map(|&i| from[i].as_str()));
        Some((text, common.iter().map(|&i| from[i].clone()).collect()))
    }

    /// The prompt without the beginning of the answer, and the answers.
    fn draw(&mut self, words: usize) -> Option<(String, Vec<String>)> {
        let (solved, solution) = self.list(self.solved, true)?;
        let (list, common) = self.list(words, false)?;
        let space = if self.search == Search::Linear { "" } else { " " };
        let solution = numbered(solution.iter().map(String::as_str));
        // A model template stands around the solved list too.
        let around = |list: &str| self.template.wrap(&[HEAD, list, QUESTION].concat());
        let input = [&around(&solved), PREFIX, space, &solution, "\n", &around(&list)].concat();
        Some((input, common))
    }

    fn lacking(&self, words: usize) -> Error {
        let message = match self.more {
            None => format!(
                "a list of {words} words is tried here, wonderwords has {}: give RULER's english_words.json by \
                 --english-words",
                self.words.len()
            ),
            Some(more) => {
                format!("a list of {words} words is tried here, --english-words has {}", more.len())
            }
        };
        Error::Task { task: TASK, message }
    }
}

fn generate(request: &mut Request<'_>, take: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
    let lists = request.words.lists();
    let mut words: Vec<String> = [lists.nouns, lists.adjectives, lists.verbs].concat();
    words.sort();
    words.dedup();
    PythonRandom::new(request.seed).shuffle(&mut words);
    let (search, context, files) = (request.search, request.context, request.files);
    let small = context < 4096;
    let mut maker = Maker {
        random: PythonRandom::new(request.seed),
        seed: request.seed,
        more: files.english_words.as_deref().filter(|_| search != Search::Linear),
        solved: if small { 20 } else { 40 },
        in_solved: if small {
            Frequencies { common: 3, other: 1 }
        } else {
            Frequencies { common: 10, other: 3 }
        },
        in_list: if small {
            Frequencies { common: 6, other: 1 }
        } else {
            Frequencies { common: 30, other: 3 }
        },
        words,
        search,
        template: request.template,
    };
    let mut fit = request.fit(TASK, BUDGET, 10);
    let most = maker.words.len();
    let mut length = |words: usize| {
        let (input, common) = maker.draw(words).ok_or_else(|| maker.lacking(words))?;
        let mut text = input + PREFIX;
        if search != Search::Binary {
            text = text + " " + &numbered(common.iter().map(String::as_str));
        }
        request.pieces.count(&text)
    };
    let size = match search {
        Search::Binary => {
            let per_word = length(GUESS)? as f64 / GUESS as f64;
            let upper = python::floor_divide(fit.context as f64, per_word) as usize * 2;
            fit.bisect(upper.max(2 * fit.increment), &mut length)?
        }
        Search::Linear => fit.steps(fit.increment, Most::Before(most), &mut length)?,
        Search::Linear2025 => {
            let first = (context / 40).max(fit.increment);
            fit.increment = (first / 100).max(10);
            fit.steps(first, Most::None, &mut length)?
        }
    };
    for index in 0..request.samples {
        let ((input, common), length) = fit.draw(size, &mut |words| {
            let Some((input, common)) = maker.draw(words) else { return Ok(None) };
            let tokens = request.pieces.count(&[&input, PREFIX].concat())?;
            Ok(Some(((input, common), tokens)))
        })?;
        take(Sample::numbered(index, input, PREFIX.to_owned(), common, length))?;
    }
    Ok(())
}
