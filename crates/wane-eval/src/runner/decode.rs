//! Greedy decoding of a batch, which also measures the bytes of its first step.
//!
//! A departure rebuilds the batch's tables for all who stay, so sequences that have ended stay in it,
//! unheard, until a quarter of the rows has ended. For the same reason the first tables are short.

#[cfg(test)]
mod tests;

use wane_attention::{DecodeBatch, SequenceCache, StepBytes};
use wane_kernels::Tensor;
use wane_kernels::ops::sampling::SamplingParams;
use wane_model::decoder::Decoder;
use wane_model::generate::{DecodeOptions, next_tokens};

use super::model;
use crate::Result;

/// Options that draw the likeliest token.
fn greedy() -> DecodeOptions {
    let sampling = SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0 };
    DecodeOptions { max_new_tokens: 0, stop_ids: Vec::new(), sampling, seed: 0 }
}

/// New tokens of every sequence, and what each touched in its first step.
pub(super) type Decoded = (Vec<Vec<u32>>, Vec<StepBytes>);

// They leave when one of so many rows has ended.
const ENDED_PART: usize = 4;

// Steps that the first tables hold: most answers end within them.
const FIRST_STEPS: usize = 32;

/// The tokens that follow prompts, by the logits [1, vocabulary] of each. Waits for the device, once.
pub(super) fn first_tokens(logits: &[Tensor], sequences: &[u32]) -> Result<Vec<u32>> {
    let Some(one) = logits.first() else { return Ok(Vec::new()) };
    let shape = [logits.len(), one.width()];
    let mut all = Tensor::uninit(&shape, one.dtype(), one.device()).map_err(model)?;
    for (row, logits) in logits.iter().enumerate() {
        all.copy_rows_from(row..row + 1, logits).map_err(model)?;
    }
    let keys: Vec<_> = sequences.iter().map(|&sequence| (sequence, 0)).collect();
    next_tokens(&all, &greedy(), &keys).map_err(model)
}

/// Decodes all sequences to their end. `examples[i]` is sequence number, most new tokens, and the
/// token that the prompt's logits gave. Returns the new tokens without the end token, and what each
/// sequence touched in the first step (which even those take that end at once); `None` if `stop` said so.
pub(super) fn greedy_batch(
    decoder: &Decoder,
    caches: Vec<SequenceCache>,
    examples: &[(u32, usize, u32)],
    stop_now: &dyn Fn() -> bool,
) -> Result<Option<Decoded>> {
    let longest = examples.iter().map(|&(_, most, _)| most).max().unwrap_or(0);
    let mut batch = DecodeBatch::new(caches, longest.clamp(1, FIRST_STEPS)).map_err(model)?;
    let stop = &decoder.config().eos_token_ids;
    let mut generated: Vec<Vec<u32>> = vec![Vec::new(); examples.len()];
    let mut rows: Vec<Row> = examples.iter().enumerate().map(|(i, e)| Row::new(i, e.2)).collect();
    let mut touched: Option<Vec<StepBytes>> = None;
    loop {
        if stop_now() {
            return Ok(None);
        }
        for row in rows.iter_mut().filter(|row| !row.ended) {
            let (most, new) = (examples[row.example].1, &mut generated[row.example]);
            if stop.contains(&row.token) || most == 0 {
                row.ended = true;
                continue;
            }
            new.push(row.token);
            row.ended = new.len() >= most;
        }
        if touched.is_some() {
            if rows.iter().all(|row| row.ended) {
                break;
            }
            retire(decoder, &mut batch, &mut rows)?;
        }
        let mut measured = Ok(());
        let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
        let logits = decoder
            .decode_observed(&mut batch, &tokens, &mut |batch| {
                if touched.is_none() {
                    measured = batch.step_bytes().map(|bytes| touched = Some(bytes));
                }
            })
            .map_err(model)?;
        measured.map_err(model)?;
        if rows.iter().all(|row| row.ended) {
            break;
        }
        let keys: Vec<_> =
            rows.iter().map(|row| (examples[row.example].0, generated[row.example].len())).collect();
        let tokens = next_tokens(&logits, &greedy(), &keys).map_err(model)?;
        rows.iter_mut().zip(tokens).for_each(|(row, token)| row.token = token);
    }
    Ok(Some((generated, touched.unwrap_or_default())))
}

/// A row of the batch.
#[derive(Debug)]
struct Row {
    example: usize,
    // What it is fed next.
    token: u32,
    ended: bool,
}

impl Row {
    fn new(example: usize, token: u32) -> Self {
        Self { example, token, ended: false }
    }
}

/// Takes the ended rows out if they are many, or if one of them has no place for another token.
fn retire(decoder: &Decoder, batch: &mut DecodeBatch, rows: &mut Vec<Row>) -> Result<()> {
    let config = decoder.config();
    let limit = config.max_position_embeddings.min(config.sliding_window.unwrap_or(usize::MAX));
    let ended: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].ended).collect();
    let positions = batch.host_positions();
    if ended.len() * ENDED_PART >= rows.len() || ended.iter().any(|&row| positions[row] >= limit) {
        batch.retire(&ended).map_err(model)?;
        rows.retain(|row| !row.ended);
    }
    Ok(())
}
