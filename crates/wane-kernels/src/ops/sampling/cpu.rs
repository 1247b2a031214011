//! Greedy choice on the CPU.

use rayon::prelude::*;

use crate::cpu::Rows;
use crate::{Device, Result, Tensor};

pub(super) fn argmax(logits: &Tensor) -> Result<Tensor> {
    let rows = Rows::new("argmax", logits)?;
    let pick = |i: usize| super::argmax_row(rows.row(i)) as i32;
    let best: Vec<i32> = if rows.rows <= 1 {
        (0..rows.rows).map(pick).collect()
    } else {
        (0..rows.rows).into_par_iter().map(pick).collect()
    };
    Tensor::from_i32(&best, &[best.len()], &Device::Cpu)
}
