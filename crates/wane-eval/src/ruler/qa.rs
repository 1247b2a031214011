//! Questions about documents, as NVIDIA's `qa.py` makes them: the documents that belong to a question
//! among others, shuffled.
//!
//! The questions are SQuAD v2.0's or HotpotQA's, from the user's files; none are shipped.
//!
//! Does not do: samples beyond the file's questions (the original retries for ever).

mod read;

use super::files::Files;
use super::mt19937::PythonRandom;
use super::python;
use super::size::{Most, Search};
use super::template::ModelTemplate;
use super::{Request, Sample};
use crate::{Error, Result};

/// New tokens that a prediction may have.
pub(super) const MAX_NEW_TOKENS: usize = 32;

const HEAD: &str = "Answer the question based on the given documents. Only give me the answer and do not output any \
                    other words.\n\nThe following are given documents.\n\n";
const TAIL: &str = "\n\nAnswer the question based on the given documents. Only give me the answer and do not output any \
                    other words.\n\nQuestion: ";
const PREFIX: &str = " Answer:";

/// A question, its answers, and its documents by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub question: String,
    /// All answers that count.
    pub answers: Vec<String>,
    /// Documents that are always given.
    pub documents: Vec<usize>,
    /// Documents taken next, before arbitrary ones.
    pub related: Vec<usize>,
}

/// Questions and documents of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// In the file's order.
    pub questions: Vec<Question>,
    /// Every text once, sorted.
    pub documents: Vec<String>,
}

struct Maker<'a> {
    from: &'a Questions,
    random: PythonRandom,
    seed: u64,
    search: Search,
    /// The documents' order; only the scripts of 2024 change it.
    order: Vec<usize>,
    template: &'a ModelTemplate,
}

impl Maker<'_> {
    /// The prompt of a question among `items` documents; `None` where the original raises an error.
    fn draw(&mut self, question: usize, items: usize) -> Option<String> {
        let Question { question, documents, related, .. } = &self.from.questions[question];
        let all = self.order.len();
        let mut chosen: Vec<usize> = if items < all {
            let more = items.checked_sub(documents.len())?;
            let mut chosen = documents.clone();
            if more > related.len() {
                chosen.extend(related);
                let mut taken = vec![false; all];
                chosen.iter().for_each(|&i| taken[i] = true);
                let others: Vec<usize> = (0..all).filter(|&i| !taken[i]).collect();
                chosen.extend(
                    self.random.sample(others.len(), more - related.len())?.into_iter().map(|i| others[i]),
                );
            } else {
                chosen.extend(self.random.sample(related.len(), more)?.into_iter().map(|i| related[i]));
            }
            chosen.into_iter().map(|i| self.order[i]).collect()
        } else if self.search == Search::Linear {
            // The scripts of 2024 shuffle their only list of documents here.
            PythonRandom::new(self.seed).shuffle(&mut self.order);
            self.order.clone()
        } else {
            self.order.iter().copied().cycle().take(items).collect()
        };
        if items < all || self.search != Search::Linear {
            PythonRandom::new(self.seed).shuffle(&mut chosen);
        }
        let mut input = String::from(HEAD);
        for (i, &document) in chosen.iter().enumerate() {
            if i > 0 {
                input.push_str("\n\n");
            }
            input.push_str(&format!("Document {}:\n", i + 1));
            input.push_str(&self.from.documents[document]);
        }
        input.push_str(TAIL);
        input.push_str(question);
        Some(self.template.wrap(&input))
    }
}

/// All samples of a task, handed to `take` one by one.
///
/// # Errors
/// No file of questions, more samples than questions, a context too small, the tokenizer's errors, and
/// those of `take`.
pub(super) fn generate(
    task: &'static str,
    questions: fn(&Files) -> Option<&Questions>,
    request: &mut Request<'_>,
    take: &mut dyn FnMut(Sample) -> Result<()>,
) -> Result<()> {
    let wrong = |message: String| Error::Task { task, message };
    let (option, data) = if task == "qa_1" { ("--squad", "SQuAD v2.0") } else { ("--hotpotqa", "HotpotQA") };
    let files = request.files;
    let Some(from) = questions(files) else {
        return Err(wrong(format!(
            "needs {data}'s development file, which is not shipped: give it by {option} FILE"
        )));
    };
    if request.samples > from.questions.len() {
        return Err(wrong(format!(
            "{} samples asked for, the file has {} questions: lower --samples",
            request.samples,
            from.questions.len()
        )));
    }
    if request.samples == 0 {
        return Ok(());
    }
    let (search, all) = (request.search, from.documents.len());
    let mut maker = Maker {
        from,
        random: PythonRandom::new(request.seed),
        seed: request.seed,
        search,
        order: (0..all).collect(),
        template: request.template,
    };
    let fit = request.fit(task, MAX_NEW_TOKENS, 10);
    let mut length = |items: usize| {
        let input = maker.draw(0, items).ok_or_else(|| fit.too_few(items))?;
        let mut text = input + PREFIX;
        if search != Search::Binary {
            text = text + " " + &python::list(&from.questions[0].answers);
        }
        request.pieces.count(&text)
    };
    let size = match search {
        Search::Binary => fit.binary(&mut length)?,
        Search::Linear => fit.steps(fit.increment, Most::Before(all), &mut length)?,
        Search::Linear2025 => fit.steps(fit.increment, Most::None, &mut length)?,
    };
    for index in 0..request.samples {
        let (input, length) = fit.draw(size, &mut |items| {
            let Some(input) = maker.draw(index, items) else { return Ok(None) };
            let tokens = request.pieces.count(&[&input, PREFIX].concat())?;
            Ok(Some((input, tokens)))
        })?;
        let outputs = from.questions[index].answers.clone();
        take(Sample::numbered(index, input, PREFIX.to_owned(), outputs, length))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
