//! The attention that a query would pay to everything, for measuring how much of it falls on
//! what a method reads.

use rayon::prelude::*;

/// Sizes of a layer's heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
}

/// `[query][head][key]`: `softmax_j(scale q . k_j)` of every query over its first `visible` keys.
///
/// # Shapes
/// `queries` holds (q [heads * head_dim], visible); `keys` are rows [kv_heads * head_dim] in two parts, those
/// of the prompt and those that came after it.
pub(crate) fn weights(
    sizes: Heads,
    queries: &[(&[f32], usize)],
    (prompt, after): (&[f32], &[f32]),
) -> Vec<Vec<Vec<f32>>> {
    let Heads { heads, kv_heads, head_dim, scale } = sizes;
    let width = kv_heads * head_dim;
    let row = |queries: &(&[f32], usize), head: usize| -> Vec<f32> {
        let q = &queries.0[head * head_dim..][..head_dim];
        let start = head * kv_heads / heads * head_dim;
        let keys = prompt.chunks_exact(width).chain(after.chunks_exact(width)).take(queries.1);
        let mut row: Vec<f32> = keys.map(|key| scale * dot(q, &key[start..][..head_dim])).collect();
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - top).exp());
        let total: f64 = row.iter().map(|x| f64::from(*x)).sum();
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / total) as f32);
        row
    };
    let rows: Vec<Vec<f32>> =
        (0..queries.len() * heads).into_par_iter().map(|i| row(&queries[i / heads], i % heads)).collect();
    let mut rows = rows.into_iter();
    (0..queries.len()).map(|_| rows.by_ref().take(heads).collect()).collect()
}

/// Several sums at a time, so that the compiler can keep them in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_parts, b_parts) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        // Two query heads share one KV head of two elements; keys (0, 0), (ln 2, 0) and, later, (0, ln 3).
        let sizes = Heads { heads: 2, kv_heads: 1, head_dim: 2, scale: 1.0 };
        let (two, three) = (2.0f32.ln(), 3.0f32.ln());
        let (prompt, after) = ([0.0, 0.0, two, 0.0], [0.0, three]);
        let q = [1.0, 0.0, 0.0, 1.0];
        let got = weights(sizes, &[(&q[..], 2), (&q[..], 3)], (&prompt[..], &after[..]));
        let want =
            [[vec![1.0 / 3.0, 2.0 / 3.0], vec![0.5, 0.5]], [vec![0.25, 0.5, 0.25], vec![0.2, 0.2, 0.6]]];
        for (got, want) in got.iter().flatten().flatten().zip(want.iter().flatten().flatten()) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
        let long: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&long, &long), (0..37).map(|i| (i * i) as f32).sum::<f32>());
    }
}
