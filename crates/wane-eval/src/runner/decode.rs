//! Greedy decoding of a batch, which also measures the bytes of its first step.

use wane_attention::{DecodeBatch, SequenceCache, StepBytes};
use wane_kernels::ops::sampling::SamplingParams;
use wane_model::decoder::Decoder;
use wane_model::generate::{DecodeOptions, next_tokens};

use super::model;
use crate::Result;

/// Options that draw the likeliest token.
pub(super) fn greedy() -> DecodeOptions {
    let sampling = SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0 };
    DecodeOptions { max_new_tokens: 0, stop_ids: Vec::new(), sampling, seed: 0 }
}

/// New tokens of every sequence, and what each touched in its first step.
pub(super) type Decoded = (Vec<Vec<u32>>, Vec<StepBytes>);

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
    let mut batch = DecodeBatch::new(caches, longest.max(1)).map_err(model)?;
    let stop = &decoder.config().eos_token_ids;
    let mut generated: Vec<Vec<u32>> = vec![Vec::new(); examples.len()];
    // Row r of the batch is example rows[r].
    let mut rows: Vec<usize> = (0..examples.len()).collect();
    let mut tokens: Vec<u32> = examples.iter().map(|&(_, _, first)| first).collect();
    let mut touched: Option<Vec<StepBytes>> = None;
    loop {
        if stop_now() {
            return Ok(None);
        }
        let mut ended = Vec::new();
        for (row, (&example, &token)) in rows.iter().zip(&tokens).enumerate() {
            let (most, new) = (examples[example].1, &mut generated[example]);
            if stop.contains(&token) || most == 0 {
                ended.push(row);
                continue;
            }
            new.push(token);
            if new.len() >= most {
                ended.push(row);
            }
        }
        if touched.is_some() {
            retire(&mut batch, &ended, &mut rows, &mut tokens)?;
            ended.clear();
            if rows.is_empty() {
                break;
            }
        }
        let mut measured = Ok(());
        let logits = decoder
            .decode_observed(&mut batch, &tokens, &mut |batch| {
                if touched.is_none() {
                    measured = batch.step_bytes().map(|bytes| touched = Some(bytes));
                }
            })
            .map_err(model)?;
        measured.map_err(model)?;
        let keys: Vec<_> =
            rows.iter().map(|&example| (examples[example].0, generated[example].len())).collect();
        tokens = next_tokens(&logits, &greedy(), &keys).map_err(model)?;
        retire(&mut batch, &ended, &mut rows, &mut tokens)?;
        if rows.is_empty() {
            break;
        }
    }
    Ok(Some((generated, touched.unwrap_or_default())))
}

fn retire(
    batch: &mut DecodeBatch,
    ended: &[usize],
    rows: &mut Vec<usize>,
    tokens: &mut Vec<u32>,
) -> Result<()> {
    if !ended.is_empty() {
        batch.retire(ended).map_err(model)?;
    }
    for &row in ended.iter().rev() {
        rows.remove(row);
        tokens.remove(row);
    }
    Ok(())
}
