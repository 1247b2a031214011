//! Which prompt tokens each answer token is copied from, by characters: a value may be split
//! differently in the prompt and in the answer (which is tokenized apart from it, as in fine-tuning).
//!
//! An answer token's source is the set of prompt tokens that hold its characters of the value, inside
//! the needle with the right key (distractors carry other values). Tokens without characters of a value
//! (`,`, the space before an answer, the end) have no source and are no steps.
//!
//! Does not do: tasks without needles; answers in another order than the sample's.

use std::ops::Range;

use wane_model::Tokenizer;

use crate::ruler::Sample;
use crate::ruler::needle::{Shape, needle};
use crate::ruler::prompt::PromptForm;
use crate::{Error, Result};

/// One answer token that has a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its number in the answer, from 0.
    pub(crate) token: usize,
    /// For each needle that says so (nearly always one): the prompt tokens, ascending.
    pub(crate) sources: Vec<Vec<usize>>,
}

/// An answer, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The ids, without the end token.
    pub(crate) ids: Vec<u32>,
    /// The tokens with a source, in order.
    pub(crate) steps: Vec<Step>,
}

/// The answer of a sample whose prompt is `prompt`, or why it cannot be traced.
///
/// # Errors
/// The tokenizer's own.
pub(crate) fn align(
    tokenizer: &Tokenizer,
    (shape, form): (&Shape, PromptForm),
    sample: &Sample,
    prompt: &[u32],
) -> Result<std::result::Result<Answer, String>> {
    let tokens =
        |text: &str| tokenizer.encode_with_offsets(text).map_err(|error| Error::Tokenizer(error.to_string()));
    let text = tokens(&form.prompt(sample))?;
    let plain: Vec<u32> = text.iter().map(|(id, _)| *id).collect();
    // Special tokens may stand around the text.
    let Some(shift) = prompt.windows(plain.len().max(1)).position(|part| part == plain) else {
        return Ok(Err("the prompt's ids are not those of its text".into()));
    };
    let values = match places(shape, sample) {
        Ok(values) => values,
        Err(why) => return Ok(Err(why)),
    };
    let answer = tokens(&form.answer(&sample.outputs))?;
    // Characters of the values in the answer.
    let mut start = form.answer(&[""]).chars().count();
    let mut spans = Vec::new();
    for value in &sample.outputs {
        let len = value.chars().count();
        spans.push(start..start + len);
        start += len + 1;
    }
    let mut steps = Vec::new();
    let mut covered = vec![false; start];
    for (number, (_, range)) in answer.iter().enumerate() {
        let mut sources: Option<Vec<Vec<usize>>> = None;
        for (span, needles) in spans.iter().zip(&values) {
            let (from, to) = (range.start.max(span.start), range.end.min(span.end));
            if from >= to {
                continue;
            }
            covered[from..to].fill(true);
            let mut found = Vec::new();
            for value in needles {
                let wanted = value.start + (from - span.start)..value.start + (to - span.start);
                found.extend(cover(&text, &wanted).map(|at| at.map(|i| i + shift).collect::<Vec<_>>()));
            }
            if found.is_empty() {
                let why = format!("answer token {number} is in no prompt token");
                return Ok(Err(why));
            }
            // A token over two values needs both; the first needle of each will do.
            sources = Some(match sources {
                None => found,
                Some(before) => vec![[before[0].clone(), found[0].clone()].concat()],
            });
        }
        steps.extend(sources.map(|sources| Step { token: number, sources }));
    }
    match spans.iter().all(|span| covered[span.clone()].iter().all(|c| *c)) {
        true => Ok(Ok(Answer { ids: answer.into_iter().map(|(id, _)| id).collect(), steps })),
        false => Ok(Err("the tokenizer drops characters of the answer".into())),
    }
}

/// Numbers of the tokens that hold all of `wanted`, or `None` if some character is in none.
fn cover(text: &[(u32, Range<usize>)], wanted: &Range<usize>) -> Option<Range<usize>> {
    let overlaps = |range: &Range<usize>| range.start < wanted.end && wanted.start < range.end;
    let first = text.iter().position(|(_, range)| overlaps(range))?;
    let count = text[first..].iter().take_while(|(_, range)| overlaps(range)).count();
    let tokens = &text[first..first + count];
    let mut at = wanted.start;
    for (_, range) in tokens {
        if range.start > at {
            return None;
        }
        at = at.max(range.end);
    }
    (at >= wanted.end).then_some(first..first + count)
}

/// For each answer, where its value stands in the prompt's needles, in characters.
fn places(shape: &Shape, sample: &Sample) -> std::result::Result<Vec<Vec<Range<usize>>>, String> {
    let keys = keys(shape, &sample.input)?;
    if sample.outputs.len() != keys.len() * shape.values {
        return Err(format!("{} keys and {} answers", keys.len(), sample.outputs.len()));
    }
    let mut all = Vec::with_capacity(sample.outputs.len());
    for (i, value) in sample.outputs.iter().enumerate() {
        let text = needle(shape.value, keys[i / shape.values], value);
        let inside = text.chars().count() - 1 - value.chars().count();
        let found: Vec<Range<usize>> = sample
            .input
            .match_indices(&text)
            .map(|(byte, _)| {
                let start = sample.input[..byte].chars().count() + inside;
                start..start + value.chars().count()
            })
            .collect();
        if found.is_empty() {
            return Err(format!("no needle says {text:?}"));
        }
        all.push(found);
    }
    Ok(all)
}

/// The keys that the prompt's last line asks for.
fn keys<'a>(shape: &Shape, input: &'a str) -> std::result::Result<Vec<&'a str>, String> {
    let line = input.rsplit('\n').next().unwrap_or(input);
    let question = shape.question("\0");
    let (before, after) = question.split_once('\0').unwrap_or_default();
    let query = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let query = query.ok_or_else(|| format!("the prompt does not end with {question:?}"))?;
    if shape.queries == 1 {
        return Ok(vec![query]);
    }
    let mut keys: Vec<&str> = query.split(", ").collect();
    if let Some(last) = keys.last_mut() {
        *last = last.strip_prefix("and ").unwrap_or(last);
    }
    match keys.len() == shape.queries {
        true => Ok(keys),
        false => Err(format!("expected {} keys in {query:?}", shape.queries)),
    }
}

#[cfg(test)]
mod tests;
