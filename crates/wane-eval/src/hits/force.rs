//! Teacher forcing of a batch: every sequence is fed its answer, whatever it would have said.

use wane_attention::{DecodeBatch, SequenceCache};
use wane_kernels::ops::sampling::argmax;
use wane_model::decoder::Decoder;

use crate::{Error, Result};

/// Feeds `tokens[i]` to `caches[i]`; the likeliest next token after each of them.
///
/// # Errors
/// The device's own; a full context.
pub(crate) fn feed(
    decoder: &Decoder,
    caches: Vec<SequenceCache>,
    tokens: &[&[u32]],
) -> Result<Vec<Vec<u32>>> {
    let failed = |e: &dyn std::fmt::Display| Error::Invalid(e.to_string());
    let mut likeliest: Vec<Vec<u32>> = vec![Vec::new(); tokens.len()];
    // Row r of the batch is sequence rows[r].
    let (mut rows, mut busy) = (Vec::new(), Vec::new());
    for (i, (cache, tokens)) in caches.into_iter().zip(tokens).enumerate() {
        if !tokens.is_empty() {
            rows.push(i);
            busy.push(cache);
        }
    }
    let longest = tokens.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
    if rows.is_empty() {
        return Ok(likeliest);
    }
    let mut batch = DecodeBatch::new(busy, longest + 1).map_err(|e| failed(&e))?;
    for step in 0..longest {
        let next: Vec<u32> = rows.iter().map(|&i| tokens[i][step]).collect();
        let logits = decoder.decode(&mut batch, &next).map_err(|e| failed(&e))?;
        let best = argmax(&logits).and_then(|best| best.to_i32_vec()).map_err(|e| failed(&e))?;
        for (&i, &best) in rows.iter().zip(&best) {
            likeliest[i].push(best as u32);
        }
        let ended: Vec<usize> = (0..rows.len()).filter(|&r| tokens[rows[r]].len() == step + 1).collect();
        batch.retire(&ended).map_err(|e| failed(&e))?;
        ended.iter().rev().for_each(|&row| {
            rows.remove(row);
        });
        if rows.is_empty() {
            break;
        }
    }
    Ok(likeliest)
}
