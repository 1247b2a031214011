//! columns on the CPU.

use rayon::prelude::*;

use crate::{Cols, ColsMut, DType, Result};

pub(super) fn copy(from: Cols<'_>, to: ColsMut<'_>) -> Result<()> {
    match from.tensor.dtype() {
        DType::F32 => rows(from.tensor.f32s(), &from, to.tensor.f32s_mut(), to.start),
        DType::BF16 => rows(from.tensor.bf16s(), &from, to.tensor.bf16s_mut(), to.start),
        DType::I32 => rows(from.tensor.i32s(), &from, to.tensor.i32s_mut(), to.start),
    }
    Ok(())
}

fn rows<T: Copy + Send + Sync>(source: &[T], from: &Cols<'_>, target: &mut [T], start: usize) {
    let (stride, width) = (from.stride(), from.width);
    let rows = from.rows();
    if rows == 0 {
        return;
    }
    let target_stride = target.len() / rows;
    target.par_chunks_mut(target_stride).zip(source.par_chunks(stride)).with_min_len(64).for_each(
        |(to, row)| {
            to[start..start + width].copy_from_slice(&row[from.start..from.start + width]);
        },
    );
}
