//! Table rows on the CPU.

use half::slice::HalfFloatSliceExt;

use crate::cpu::quant::dequantize_row;
use crate::cpu::{for_chunks, rows_per_chunk};
use crate::{DType, Device, Error, Result, Tensor, Weight};

pub(super) fn embedding(ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    let (ids, width) = (ids.i32s(), table.columns());
    check_ids(ids, table.rows())?;
    let mut out = Tensor::uninit(&[ids.len(), width], DType::F32, &Device::Cpu)?;
    let piece = rows_per_chunk(width);
    for_chunks(out.f32s_mut(), piece * width, |i, out| {
        for (out, &id) in out.chunks_exact_mut(width).zip(&ids[i * piece..]) {
            copy_row(table, id as usize, out);
        }
    });
    crate::ops::cast::cast(&out, dtype)
}

fn copy_row(table: &Weight, row: usize, out: &mut [f32]) {
    match table {
        Weight::Dense(tensor) if tensor.dtype() == DType::F32 => {
            out.copy_from_slice(&tensor.f32s()[row * out.len()..][..out.len()]);
        }
        Weight::Dense(tensor) => {
            tensor.bf16s()[row * out.len()..][..out.len()].convert_to_f32_slice(out);
        }
        Weight::Quantized(matrix) => dequantize_row(matrix.kind, matrix.row(row), out),
    }
}

pub(super) fn backward(ids: &Tensor, dy: &Tensor, dtable: &mut Tensor) -> Result<()> {
    let (ids, width) = (ids.i32s(), dy.width());
    check_ids(ids, dtable.rows())?;
    // One thread: the tokens of a batch are few, and equal ids must be added in order.
    let (dy, dtable) = (dy.f32s(), dtable.f32s_mut());
    for (dy, &id) in dy.chunks_exact(width.max(1)).zip(ids) {
        for (sum, dy) in dtable[id as usize * width..][..width].iter_mut().zip(dy) {
            *sum += dy;
        }
    }
    Ok(())
}

fn check_ids(ids: &[i32], vocabulary: usize) -> Result<()> {
    match ids.iter().find(|&&id| id < 0 || id as usize >= vocabulary) {
        Some(id) => Err(Error::shape("embedding", format!("ids below {vocabulary}"), id)),
        None => Ok(()),
    }
}
