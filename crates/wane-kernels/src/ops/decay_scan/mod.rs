//! The exponentially decaying memory over keys and values (arXiv 2605.28640, section 2):
//! `g_t = sigmoid(f_t)`, `h_t = g_t h_{t-1} + (1 - g_t) x_t` per channel, for `x` = keys and
//! `x` = values under one gate. The state before the first token is 0 unless given.
//!
//! State and accumulation are f32; results are rounded to the dtype of the inputs.
//! Backward, with `a_t = dh_t` the total gradient of `h_t`: `a_t = dy_t + g_{t+1} a_{t+1}`,
//! `dx_t = (1 - g_t) a_t`, `df_t = g_t (1 - g_t) sum over K and V of a_t (h_{t-1} - x_t)`.

mod cpu;
mod cuda;
mod documents;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{Cols, ColsMut, DType, Device, Result, Tensor};

pub use documents::{backward_documents, scan_documents};

/// Sizes of a scan: `batch * tokens` rows, sequence after sequence.
#[derive(Debug, Clone, Copy)]
pub struct ScanDims {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
}

/// Keys and values with memory, and the state after the last token.
#[derive(Debug)]
pub struct Scanned {
    /// [batch * tokens, width], dtype of the inputs.
    pub keys: Tensor,
    /// [batch * tokens, width], dtype of the inputs.
    pub values: Tensor,
    /// f32 [batch, 2, width]: last key state, last value state.
    pub state: Tensor,
}

/// Runs the recurrence over whole sequences (or chunks of them, continuing from `initial`).
///
/// # Shapes
/// `keys`, `values`, `gate_logits` [batch * tokens, width]; `initial` f32 [batch, 2, width].
/// One step of decoding is `tokens = 1`.
///
/// # Errors
/// Shapes that do not fit.
pub fn scan(
    keys: Cols<'_>,
    values: Cols<'_>,
    gate_logits: Cols<'_>,
    dims: ScanDims,
    initial: Option<&Tensor>,
) -> Result<Scanned> {
    check("decay_scan", [keys, values, gate_logits], dims, initial)?;
    match keys.tensor.device() {
        Device::Cpu => cpu::scan(keys, values, gate_logits, dims, initial),
        Device::Cuda(_) => cuda::scan(keys, values, gate_logits, dims, initial),
    }
}

/// What [`backward`] needs of the forward pass.
#[derive(Debug, Clone, Copy)]
pub struct ScanSaved<'a> {
    /// Input keys.
    pub keys: Cols<'a>,
    /// Input values.
    pub values: Cols<'a>,
    /// Gate before the sigmoid.
    pub gate_logits: Cols<'a>,
    /// [`Scanned::keys`].
    pub scanned_keys: &'a Tensor,
    /// [`Scanned::values`].
    pub scanned_values: &'a Tensor,
    /// The state before the first token.
    pub initial: Option<&'a Tensor>,
}

/// Gradients of keys, values and gate logits, written side by side to `out`
/// (three ranges of `width` columns: keys, values, gate logits). Returns the gradient of the
/// initial state, f32 [batch, 2, width], if there was one.
///
/// # Shapes
/// `dkeys`, `dvalues` [batch * tokens, width]; `out` [batch * tokens, 3 * width].
///
/// # Errors
/// Shapes that do not fit.
pub fn backward(
    dkeys: &Tensor,
    dvalues: &Tensor,
    saved: ScanSaved<'_>,
    dims: ScanDims,
    out: ColsMut<'_>,
) -> Result<Option<Tensor>> {
    let op = "decay_scan backward";
    check(op, [saved.keys, saved.values, saved.gate_logits], dims, saved.initial)?;
    let [rows, width] = [dims.batch * dims.tokens, saved.keys.width];
    for (name, tensor) in [
        ("dkeys", dkeys),
        ("dvalues", dvalues),
        ("scanned keys", saved.scanned_keys),
        ("scanned values", saved.scanned_values),
    ] {
        tensor.expect_rows(op, name, [rows, width])?;
    }
    out.expect(op, "out", [rows, 3 * width])?;
    match dkeys.device() {
        Device::Cpu => cpu::backward(dkeys, dvalues, saved, dims, out),
        Device::Cuda(_) => cuda::backward(dkeys, dvalues, saved, dims, out),
    }
}

fn check(op: &'static str, inputs: [Cols<'_>; 3], dims: ScanDims, initial: Option<&Tensor>) -> Result<()> {
    let width = inputs[0].width;
    for (cols, name) in inputs.iter().zip(["keys", "values", "gate logits"]) {
        cols.expect(op, name, [dims.batch * dims.tokens, width])?;
    }
    if let Some(initial) = initial {
        initial.expect(op, "initial state", DType::F32, &[dims.batch, 2, width])?;
    }
    Ok(())
}
