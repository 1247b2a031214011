//! Attention that stays inside a document: query and key see each other only if both lie in the same document of a
//! packed batch, and positions (the pattern's too) are counted from the document's first token.

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved, attention, backward};
use crate::documents::Group;
use crate::{DType, Documents, Error, Result, Tensor};

/// [`attention`] inside each of `documents`, which cover all rows of `q`, `k` and `v`. The result's `lse` is
/// f32 [batch * keys, heads], document after document [heads, tokens]: read it only with [`backward_documents`].
///
/// # Errors
/// Shapes that do not fit, fewer queries than keys.
pub fn attention_documents(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    dims: AttentionDims,
    documents: &Documents,
) -> Result<Attended> {
    let rows = check("attention_documents", dims, documents)?;
    dims.check("attention_documents", &[q], &[k, v])?;
    let mut output = Tensor::uninit(q.shape(), q.dtype(), q.device())?;
    let mut lse = Tensor::uninit(&[rows, dims.heads], DType::F32, q.device())?;
    for group in documents.groups() {
        let part = |x: &Tensor| x.slice(group.start, group.rows().end);
        let attended = attention(&part(q)?, &part(k)?, &part(v)?, of_group(dims, group))?;
        output.copy_rows_from(group.rows(), &attended.output)?;
        lse.copy_rows_from(group.rows(), &attended.lse)?;
    }
    Ok(Attended { output, lse })
}

/// [`backward`] of [`attention_documents`].
///
/// # Errors
/// Shapes that do not fit.
pub fn backward_documents(
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
    documents: &Documents,
) -> Result<AttentionGrads> {
    const OP: &str = "attention::backward_documents";
    let rows = check(OP, dims, documents)?;
    let AttentionSaved { q, k, v, attended } = saved;
    dims.check(OP, &[q, doutput, &attended.output], &[k, v])?;
    super::check_matrix(OP, &attended.lse, rows, dims.heads)?;
    let like = |x: &Tensor| Tensor::uninit(x.shape(), x.dtype(), x.device());
    let (mut dq, mut dk, mut dv) = (like(q)?, like(k)?, like(v)?);
    for group in documents.groups() {
        let part = |x: &Tensor| x.slice(group.start, group.rows().end);
        let lse = part(&attended.lse)?.reshape(&[group.count, dims.heads, group.length])?;
        let attended = Attended { output: part(&attended.output)?, lse };
        let (q, k, v) = (part(q)?, part(k)?, part(v)?);
        let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
        let grads = backward(&part(doutput)?, saved, of_group(dims, group))?;
        for (whole, part) in [(&mut dq, &grads.dq), (&mut dk, &grads.dk), (&mut dv, &grads.dv)] {
            whole.copy_rows_from(group.rows(), part)?;
        }
    }
    Ok(AttentionGrads { dq, dk, dv })
}

fn of_group(dims: AttentionDims, group: &Group) -> AttentionDims {
    AttentionDims { batch: group.count, queries: group.length, keys: group.length, ..dims }
}

fn check(op: &'static str, dims: AttentionDims, documents: &Documents) -> Result<usize> {
    if dims.queries != dims.keys {
        return Err(Error::shape(op, "as many queries as keys", format!("{dims:?}")));
    }
    let rows = dims.batch * dims.keys;
    documents.expect(op, rows)?;
    Ok(rows)
}
