//! Philox scores on the CPU.

use super::{philox, uniform};
use crate::cpu::{for_chunks, rows_per_chunk};
use crate::{DType, Device, Result, Tensor};

pub(super) fn scores(rows: &Tensor, columns: usize, seed: u64) -> Result<Tensor> {
    let mut out = Tensor::uninit(&[rows.rows(), columns], DType::F32, &Device::Cpu)?;
    let key = [seed as u32, (seed >> 32) as u32];
    let (rows, piece) = (rows.i32s(), rows_per_chunk(8 * columns));
    if columns == 0 {
        return Ok(out);
    }
    for_chunks(out.f32s_mut(), piece * columns, |i, out| {
        for (r, out) in out.chunks_exact_mut(columns).enumerate() {
            let row = &rows[3 * (i * piece + r)..][..3];
            for (c, score) in out.iter_mut().enumerate() {
                *score = uniform(philox([row[0] as u32, row[1] as u32, row[2] as u32, c as u32], key)[0]);
            }
        }
    });
    Ok(out)
}
