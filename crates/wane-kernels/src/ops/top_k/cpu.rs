//! Selection on the CPU: bisection for the bits of the `k`-th largest score.
//!
//! Scores become integers of the same order; each of 32 steps counts how many reach a candidate
//! threshold (a vectorized pass over the row). Exact, O(32 n), no sorting.

use rayon::prelude::*;

use super::Forced;
use crate::cpu::{Isa, multiversion};
use crate::{DType, Error, Result, Selection, Tensor};

pub(super) fn top_k(scores: &Tensor, valid: &Tensor, k: usize, forced: Forced) -> Result<Selection> {
    let (rows, n) = (scores.dim(0), scores.dim(1));
    if let Some(bad) = valid.i32s().iter().find(|&&v| v < 0 || v as usize > n) {
        return Err(Error::shape("top_k", format!("valid entries within 0..={n}"), bad));
    }
    let width = forced.width(n, k);
    let mut indices = Tensor::uninit(&[rows, width], DType::I32, scores.device())?;
    let mut counts = Tensor::zeros(&[rows], DType::I32, scores.device())?;
    if width == 0 {
        return Ok(Selection { indices, counts });
    }
    indices
        .i32s_mut()
        .par_chunks_mut(width)
        .zip(counts.i32s_mut())
        .zip(scores.f32s().par_chunks(n).zip(valid.i32s()))
        .with_min_len(16)
        .for_each_init(Vec::new, |keys, ((indices, count), (scores, &valid))| {
            *count = select_row(&scores[..valid as usize], k, forced, keys, indices) as i32;
        });
    Ok(Selection { indices, counts })
}

/// Writes the selection of one row, padded with -1; returns how many entries are valid.
fn select_row(scores: &[f32], k: usize, forced: Forced, keys: &mut Vec<i32>, indices: &mut [i32]) -> usize {
    let (start, end, wanted) = forced.free(scores.len(), k);
    let mut written = 0;
    let mut write = |index: usize| {
        indices[written] = index as i32;
        written += 1;
    };
    (0..start).for_each(&mut write);
    if wanted == end - start {
        (start..end).for_each(&mut write);
    } else if wanted > 0 {
        keys.clear();
        keys.extend(scores[start..end].iter().map(|&score| ordered(score)));
        let (threshold, mut ties) = threshold(Isa::current(), keys, wanted);
        // Without branches, which could not be predicted: unselected entries are overwritten.
        let mut next = 0;
        for i in 0..keys.len() {
            let key = keys[i];
            let tie = usize::from(key == threshold) & usize::from(ties > 0);
            ties -= tie;
            // The keys before `i` have been read: their memory serves for the result.
            keys[next] = (start + i) as i32;
            next += usize::from(key > threshold) | tie;
        }
        keys[..next].iter().for_each(|&index| write(index as usize));
    }
    (end..scores.len()).for_each(&mut write);
    indices[written..].fill(-1);
    written
}

/// An integer of the same order: NaN lowest, both zeros equal.
fn ordered(score: f32) -> i32 {
    if score.is_nan() {
        return i32::MIN;
    }
    let bits = (score + 0.0).to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

multiversion! {
    /// A threshold above which all keys are selected, and how many of the keys equal to it are.
    fn threshold(keys: &[i32], wanted: usize) -> (i32, usize) {
        let mut threshold = 0u32;
        for bit in (0..32).rev() {
            let candidate = threshold | 1 << bit;
            let count = count_at_least(keys, signed(candidate));
            if count == wanted {
                // Exactly these: no need to find the smallest of them.
                return (signed(candidate - 1), 0);
            }
            if count > wanted {
                threshold = candidate;
            }
        }
        let threshold = signed(threshold);
        let above = threshold.checked_add(1).map_or(0, |next| count_at_least(keys, next));
        (threshold, wanted - above)
    }
}

/// Undoes the offset that makes unsigned order equal signed order.
#[inline(always)]
fn signed(key: u32) -> i32 {
    (key ^ 0x8000_0000) as i32
}

#[inline(always)]
fn count_at_least(keys: &[i32], threshold: i32) -> usize {
    let mut count = 0u32;
    for &key in keys {
        count += u32::from(key >= threshold);
    }
    count as usize
}
