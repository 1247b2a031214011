//! Text from a model: greedy or sampled, many sequences at once, with stop conditions.
//!
//! [`decode_until`] is the loop everybody shares: it steps a [`DecodeBatch`], retires finished
//! sequences (their pages are freed) and calls back for every token.

use wane_attention::DecodeBatch;
use wane_kernels::Tensor;
use wane_kernels::ops::random::philox;
use wane_kernels::ops::sampling::{SamplingParams, argmax, sample};

use crate::decoder::Decoder;
use crate::{Error, Result};

/// When and how tokens are drawn.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// Tokens after the prompt, at most.
    pub max_new_tokens: usize,
    /// Any of these ends a sequence (and is not part of its text).
    pub stop_ids: Vec<u32>,
    /// How to draw.
    pub sampling: SamplingParams,
    /// Seed of the draws: token `i` of sequence `s` depends on (seed, s, i) alone.
    pub seed: u64,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// `max_new_tokens` were generated.
    Length,
    /// The callback said so (a stop string, a closed connection).
    Callback,
}

/// What one sequence became.
#[derive(Debug, Clone)]
pub struct Generated {
    /// New tokens, the stop token excluded.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// What the callback of [`decode_until`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// Go on.
    Yes,
    /// This sequence is done.
    Stop,
}

/// Draws the next token of every row of `logits` [n, vocabulary]; `keys[i]` = (sequence, index of
/// the token) makes the draw of row `i` its own.
///
/// # Errors
/// The device failed, or logits are NaN.
pub fn next_tokens(logits: &Tensor, options: &DecodeOptions, keys: &[(u32, usize)]) -> Result<Vec<u32>> {
    if options.sampling.temperature <= 0.0 {
        return Ok(argmax(logits)?.to_i32_vec()?.into_iter().map(|id| id as u32).collect());
    }
    let values = logits.to_f32_vec()?;
    let vocabulary = logits.width();
    Ok(values
        .chunks(vocabulary)
        .zip(keys)
        .map(|(row, &(sequence, index))| {
            let key = [options.seed as u32, (options.seed >> 32) as u32];
            let words = philox([sequence, index as u32, 0, 0x5a3d], key);
            let uniform = (f64::from(words[0]) + 0.5) / 4_294_967_296.0;
            sample(row, options.sampling, uniform) as u32
        })
        .collect())
}

/// Decodes every sequence of `batch` to its end. `first[i]` is the token drawn from the prefill's
/// logits of sequence `i`, and counts as its first new token; `on_token(i, id)` is called for
/// every token that is kept.
///
/// # Errors
/// The device failed, or the context is full.
pub fn decode_until(
    decoder: &Decoder,
    mut batch: DecodeBatch,
    first: &[u32],
    options: &DecodeOptions,
    on_token: &mut dyn FnMut(usize, u32) -> Continue,
) -> Result<Vec<Generated>> {
    let mut done: Vec<Generated> =
        first.iter().map(|_| Generated { ids: Vec::new(), finish: Finish::Length }).collect();
    if first.len() != batch.len() {
        return Err(Error::Invalid(format!("expected {} first tokens, got {}", batch.len(), first.len())));
    }
    let sequences = batch.sequences().to_vec();
    // Row r of the batch is sequence rows[r] of the caller.
    let mut rows: Vec<usize> = (0..first.len()).collect();
    let mut tokens = first.to_vec();
    loop {
        let mut retired = Vec::new();
        for (row, (&index, &token)) in rows.iter().zip(&tokens).enumerate() {
            let generated = &mut done[index];
            let ends = if options.max_new_tokens == 0 {
                Some(Finish::Length)
            } else if options.stop_ids.contains(&token) {
                Some(Finish::Stop)
            } else {
                generated.ids.push(token);
                match on_token(index, token) {
                    Continue::Stop => Some(Finish::Callback),
                    Continue::Yes if generated.ids.len() >= options.max_new_tokens => Some(Finish::Length),
                    Continue::Yes => None,
                }
            };
            if let Some(finish) = ends {
                generated.finish = finish;
                retired.push(row);
            }
        }
        if !retired.is_empty() {
            batch.retire(&retired)?;
            for &row in retired.iter().rev() {
                rows.remove(row);
                tokens.remove(row);
            }
        }
        if rows.is_empty() {
            return Ok(done);
        }
        let logits = decoder.decode(&mut batch, &tokens)?;
        let keys: Vec<_> = rows.iter().map(|&index| (sequences[index], done[index].ids.len())).collect();
        tokens = next_tokens(&logits, options, &keys)?;
    }
}
