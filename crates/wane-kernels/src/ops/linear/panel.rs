//! A weight as panels of f32 rows: f32 as it is, other formats unpacked piece by piece.

use half::slice::HalfFloatSliceExt;

use crate::cpu::quant::dequantize_row;
use crate::cpu::{for_chunks, rows_per_chunk};
use crate::{DType, Device, Result, Tensor, Weight};

/// Elements of an unpacked panel: 4 MiB, which stays in the caches until it has been used.
const PANEL: usize = 1 << 20;

/// Calls `f(first row, elements, rows)` for consecutive panels of whole rows.
pub(super) fn for_panels(weight: &Weight, mut f: impl FnMut(usize, &[f32], usize)) -> Result<()> {
    let (rows, columns) = (weight.rows(), weight.columns());
    if let Weight::Dense(tensor) = weight
        && tensor.dtype() == DType::F32
    {
        f(0, tensor.f32s(), rows);
        return Ok(());
    }
    let panel_rows = (PANEL / columns.max(1)).next_multiple_of(64).min(rows);
    let mut panel = Tensor::uninit(&[panel_rows, columns], DType::F32, &Device::Cpu)?;
    for first in (0..rows).step_by(panel_rows.max(1)) {
        let count = panel_rows.min(rows - first);
        let panel = &mut panel.f32s_mut()[..count * columns];
        unpack(weight, first, panel, columns);
        f(first, panel, count);
    }
    Ok(())
}

/// Rows from `first` on.
fn unpack(weight: &Weight, first: usize, out: &mut [f32], columns: usize) {
    let piece = rows_per_chunk(columns);
    for_chunks(out, piece * columns, |i, out| {
        let first = first + i * piece;
        match weight {
            Weight::Dense(tensor) => {
                tensor.bf16s()[first * columns..][..out.len()].convert_to_f32_slice(out);
            }
            Weight::Quantized(matrix) => {
                for (r, out) in out.chunks_exact_mut(columns).enumerate() {
                    dequantize_row(matrix.kind, matrix.row(first + r), out);
                }
            }
        }
    });
}
