//! Attention and its gradients, as defined in the parent module: one query at a time, in f64.

use super::AttentionDims;

/// First position of the document of each (sequence, position); the whole sequence is one document without them.
pub(crate) type Starts<'a> = Option<&'a [usize]>;

/// Forward: the output in the shape of the queries, and the log-sum-exp [batch, heads, queries].
pub(crate) fn attention(q: &[f32], k: &[f32], v: &[f32], dims: AttentionDims) -> (Vec<f64>, Vec<f64>) {
    attention_from([q, k, v], dims, None)
}

/// As [`attention`], inside documents.
pub(crate) fn attention_from(
    [q, k, v]: [&[f32]; 3],
    dims: AttentionDims,
    starts: Starts<'_>,
) -> (Vec<f64>, Vec<f64>) {
    let head_dim = dims.head_dim;
    let mut output = vec![0.0; q.len()];
    let mut lse = vec![0.0; dims.batch * dims.heads * dims.queries];
    for row in Rows::all(dims) {
        let query = &q[row.query..][..head_dim];
        let scores: Vec<(usize, f64)> = row
            .keys(dims, starts)
            .map(|key| (key, f64::from(dims.scale) * dot(query, &k[key..][..head_dim])))
            .collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |max, (_, s)| max.max(*s));
        let total: f64 = scores.iter().map(|(_, s)| (s - max).exp()).sum();
        lse[row.lse] = max + total.ln();
        for (key, s) in scores {
            let p = (s - lse[row.lse]).exp();
            for c in 0..head_dim {
                output[row.query + c] += p * f64::from(v[key + c]);
            }
        }
    }
    (output, lse)
}

/// Gradients of `q`, `k` and `v` for the gradient `doutput` of the output.
pub(crate) fn backward(
    doutput: &[f32],
    [q, k, v]: [&[f32]; 3],
    dims: AttentionDims,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    backward_from(doutput, [q, k, v], dims, None)
}

/// As [`backward`], inside documents.
pub(crate) fn backward_from(
    doutput: &[f32],
    [q, k, v]: [&[f32]; 3],
    dims: AttentionDims,
    starts: Starts<'_>,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (head_dim, scale) = (dims.head_dim, f64::from(dims.scale));
    let (output, lse) = attention_from([q, k, v], dims, starts);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for row in Rows::all(dims) {
        let (query, grad) = (&q[row.query..][..head_dim], &doutput[row.query..][..head_dim]);
        let delta: f64 = (0..head_dim).map(|c| f64::from(grad[c]) * output[row.query + c]).sum();
        for key in row.keys(dims, starts) {
            let p = (scale * dot(query, &k[key..][..head_dim]) - lse[row.lse]).exp();
            let ds = p * (dot(grad, &v[key..][..head_dim]) - delta);
            for c in 0..head_dim {
                dq[row.query + c] += scale * ds * f64::from(k[key + c]);
                dk[key + c] += scale * ds * f64::from(query[c]);
                dv[key + c] += p * f64::from(grad[c]);
            }
        }
    }
    (dq, dk, dv)
}

/// One (sequence, head, query): where its vectors start.
struct Rows {
    sequence: usize,
    head: usize,
    position: usize,
    query: usize,
    lse: usize,
}

impl Rows {
    fn all(dims: AttentionDims) -> Vec<Self> {
        let mut rows = Vec::new();
        for sequence in 0..dims.batch {
            for head in 0..dims.heads {
                for i in 0..dims.queries {
                    rows.push(Self {
                        sequence,
                        head,
                        position: dims.keys - dims.queries + i,
                        query: ((sequence * dims.queries + i) * dims.heads + head) * dims.head_dim,
                        lse: (sequence * dims.heads + head) * dims.queries + i,
                    });
                }
            }
        }
        rows
    }

    /// Where the keys (and values) that the query sees start.
    fn keys(&self, dims: AttentionDims, starts: Starts<'_>) -> impl Iterator<Item = usize> {
        let kv_head = self.head / (dims.heads / dims.kv_heads);
        let (position, first) = (self.position, self.sequence * dims.keys);
        let start = starts.map_or(0, |starts| starts[first + position]);
        (start..=position)
            .filter(move |&j| dims.pattern.sees(position - start, j - start))
            .map(move |j| ((first + j) * dims.kv_heads + kv_head) * dims.head_dim)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
