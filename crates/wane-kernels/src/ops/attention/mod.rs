//! Causal softmax attention over contiguous keys and values, with grouped heads and an optional
//! dilated pattern; forward with the log-sum-exp, and backward from it (flash style: no
//! [queries, keys] matrix is ever whole in memory).
//!
//! Query `i` of a sequence stands at position `p = keys - queries + i` and sees `j <= p` with
//! `j < initial`, or `p - j <= window`, or `(j + 1) mod dilation = 0` ([`Pattern`]).
//! `s_ij = scale q_i . k_j`, `o_i = sum_j softmax_j(s_ij) v_j`, `lse_i = log sum_j exp(s_ij)`.
//! Backward: `p_ij = exp(s_ij - lse_i)`, `dv_j = sum_i p_ij do_i`, `D_i = do_i . o_i`,
//! `ds_ij = p_ij (do_i . v_j - D_i)`, `dq_i = scale sum_j ds_ij k_j`, `dk_j = scale sum_i ds_ij q_i`.

pub(crate) mod cpu;
pub(crate) mod cuda;
mod documents;
mod hopper;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use cuda::Variant as CudaVariant;

use crate::{DType, Device, Error, Result, Tensor};

pub use documents::{attention_documents, backward_documents};

/// Which earlier positions a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// All of them.
    Causal,
    /// Every `dilation`-th, the last `window` besides the query's own, and the first `initial`
    /// (arXiv 2602.18196). `dilation: None` leaves only window and initial tokens.
    Dilated {
        /// Distance of the visible tokens; `Some(1)` is dense.
        dilation: Option<usize>,
        /// Tokens before the query's own.
        window: usize,
        /// Tokens at the start.
        initial: usize,
    },
}

impl Pattern {
    /// Whether a query at `position` sees `key`.
    pub fn sees(self, position: usize, key: usize) -> bool {
        key <= position
            && match self {
                Self::Causal => true,
                Self::Dilated { dilation, window, initial } => {
                    key < initial
                        || position - key <= window
                        || dilation.is_some_and(|d| (key + 1).is_multiple_of(d))
                }
            }
    }
}

/// Sizes of an attention call.
#[derive(Debug, Clone, Copy)]
pub struct AttentionDims {
    /// Sequences.
    pub batch: usize,
    /// Queries of each: the last `queries` of `keys` positions.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor of the scores, usually `head_dim^-0.5`.
    pub scale: f32,
    /// Visible keys.
    pub pattern: Pattern,
}

impl AttentionDims {
    /// Position of query `i` of its sequence.
    pub fn position(&self, query: usize) -> usize {
        self.keys - self.queries + query
    }

    /// Query heads that share one key/value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Fails unless the sizes fit each other and the tensors: `q` has the shape of the queries,
    /// each of `keys` that of the keys.
    pub(crate) fn check(&self, op: &'static str, q: &[&Tensor], keys: &[&Tensor]) -> Result<()> {
        let dilated_by_zero = matches!(self.pattern, Pattern::Dilated { dilation: Some(0), .. });
        if self.kv_heads == 0
            || self.head_dim == 0
            || !self.heads.is_multiple_of(self.kv_heads)
            || self.queries > self.keys
            || dilated_by_zero
        {
            return Err(Error::shape(
                op,
                "heads a multiple of kv_heads, queries <= keys, head_dim and dilation > 0",
                format!("{self:?}"),
            ));
        }
        for tensor in q {
            check_matrix(op, tensor, self.batch * self.queries, self.heads * self.head_dim)?;
        }
        for tensor in keys {
            check_matrix(op, tensor, self.batch * self.keys, self.kv_heads * self.head_dim)?;
        }
        Ok(())
    }
}

/// Fails unless `tensor` is a float matrix [rows, width].
pub(crate) fn check_matrix(op: &'static str, tensor: &Tensor, rows: usize, width: usize) -> Result<()> {
    if tensor.dtype() != DType::I32 && tensor.len() == rows * width && (tensor.width() == width || rows == 0)
    {
        return Ok(());
    }
    Err(Error::shape(op, format!("floats [{rows}, {width}]"), format!("{tensor:?}")))
}

/// Attention output, and what backward needs of it.
#[derive(Debug, Clone)]
pub struct Attended {
    /// [batch * queries, heads * head_dim], dtype of the queries.
    pub output: Tensor,
    /// f32 [batch, heads, queries].
    pub lse: Tensor,
}

/// # Shapes
/// `q` [batch * queries, heads * head_dim], `k` and `v` [batch * keys, kv_heads * head_dim].
///
/// # Errors
/// Shapes that do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, dims: AttentionDims) -> Result<Attended> {
    dims.check("attention", &[q], &[k, v])?;
    match q.device() {
        Device::Cpu => cpu::attention(q, k, v, dims),
        Device::Cuda(_) => cuda::attention(q, k, v, dims, None),
    }
}

/// Gradients of `q`, `k` and `v`, in their shapes and dtype.
#[derive(Debug)]
pub struct AttentionGrads {
    /// Of the queries.
    pub dq: Tensor,
    /// Of the keys.
    pub dk: Tensor,
    /// Of the values.
    pub dv: Tensor,
}

/// The tensors that [`backward`] reads besides the output's gradient.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSaved<'a> {
    /// Queries.
    pub q: &'a Tensor,
    /// Keys.
    pub k: &'a Tensor,
    /// Values.
    pub v: &'a Tensor,
    /// Result of the forward pass.
    pub attended: &'a Attended,
}

/// Gradients from `doutput` [batch * queries, heads * head_dim].
///
/// # Errors
/// Shapes that do not fit.
pub fn backward(doutput: &Tensor, saved: AttentionSaved<'_>, dims: AttentionDims) -> Result<AttentionGrads> {
    let AttentionSaved { q, k, v, attended } = saved;
    dims.check("attention::backward", &[q, doutput, &attended.output], &[k, v])?;
    check_matrix("attention::backward", &attended.lse, dims.batch * dims.heads, dims.queries)?;
    match doutput.device() {
        Device::Cpu => cpu::backward(doutput, saved, dims),
        Device::Cuda(_) => cuda::backward(doutput, saved, dims, None),
    }
}

/// [`attention`] and [`backward`] on a GPU by kernels of the caller's choice, for comparing them;
/// elsewhere the choice is made from the GPU and `WANE_CUDA_ATTENTION`.
impl CudaVariant {
    /// [`attention`] by these kernels.
    ///
    /// # Errors
    /// Shapes that do not fit, or a call that these kernels do not serve ([`CudaVariant::serves`]).
    pub fn attention(self, q: &Tensor, k: &Tensor, v: &Tensor, dims: AttentionDims) -> Result<Attended> {
        dims.check("attention", &[q], &[k, v])?;
        cuda::attention(q, k, v, dims, Some(self))
    }

    /// [`backward`] by these kernels.
    ///
    /// # Errors
    /// As for [`CudaVariant::attention`].
    pub fn backward(
        self,
        doutput: &Tensor,
        saved: AttentionSaved<'_>,
        dims: AttentionDims,
    ) -> Result<AttentionGrads> {
        let AttentionSaved { q, k, v, attended } = saved;
        dims.check("attention::backward", &[q, doutput, &attended.output], &[k, v])?;
        check_matrix("attention::backward", &attended.lse, dims.batch * dims.heads, dims.queries)?;
        cuda::backward(doutput, saved, dims, Some(self))
    }
}
