//! Embedding on NVIDIA GPUs. For the gradient the rows are sorted by id, so that each row of the table
//! is written once, and in a fixed order of additions: the result is the same in every run.

use crate::cuda::{Launch, Module, address, args, device_of, typed, vector_width};
use crate::{DType, Result, Tensor, Weight};

static MODULE: Module<'static> = Module::new("embedding", include_str!("embedding.cu"));
static GRADIENT: Module<'static> = Module::new("embedding_gradient", include_str!("gradient.cu"));

// As in gradient.cu: threads of a sorting block, log2 of the bins, sorted rows that a warp sums.
const SORT_THREADS: usize = 1024;
const MAX_DIGIT: u32 = 9;
const CHUNK: usize = 32;
// Each block adds up the counts of all tiles.
const MAX_TILES: usize = 128;

// Elements per thread.
fn vector(d: usize, addresses: &[u64]) -> usize {
    if d.is_multiple_of(8) && addresses.iter().all(|address| address.is_multiple_of(16)) { 8 } else { 1 }
}

pub(super) fn embedding(ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    let table = table.dense()?;
    let (rows, vocabulary, d) = (ids.len(), table.dim(0), table.width());
    let y = Tensor::uninit(&[rows, d], dtype, ids.device())?;
    let (from, to) = (address(table)?, address(&y)?);
    let v = vector(d, &[from, to]);
    let kernel = format!("{}_{v}", typed(&(typed("lookup", table.dtype())? + "_to"), dtype)?);
    let launch = Launch::cover(rows * d / v, 256);
    device_of(ids)?.launch(
        &MODULE,
        &kernel,
        launch,
        args![address(ids)?, from, to, rows as i64, d as i32, vocabulary as i32],
    )?;
    Ok(y)
}

pub(super) fn backward(ids: &Tensor, dy: &Tensor, dtable: &mut Tensor) -> Result<()> {
    let (rows, vocabulary, d) = (ids.len(), dtable.dim(0), dtable.width());
    if rows == 0 || vocabulary == 0 {
        return Ok(());
    }
    let sorted = sort(ids, vocabulary)?;
    let (sorted, from, to) = (address(&sorted)?, address(dy)?, address(dtable)?);
    let width = vector_width(dy.dtype(), &[from, to], &[d]);
    let chunks = rows.div_ceil(CHUNK);
    let partial = Tensor::uninit(&[chunks, 2, d], DType::F32, ids.device())?;
    let device = device_of(ids)?;
    device.launch(
        &GRADIENT,
        &width.kernel("sum_runs")?,
        Launch::new(0, 256).grid(chunks.div_ceil(8), d.div_ceil(32 * width.elements), 1),
        args![sorted, from, to, address(&partial)?, rows as i32, d as i32, vocabulary as i32],
    )?;
    let width = vector_width(DType::F32, &[to], &[d]);
    device.launch(
        &GRADIENT,
        &width.kernel("join_runs")?,
        Launch::new(0, 256).grid(chunks, d.div_ceil(32 * width.elements), 1),
        args![sorted, address(&partial)?, to, rows as i32, d as i32, vocabulary as i32],
    )
}

// Pairs of an id and its row [rows, 2], by id, then by row; ids outside the table are last.
fn sort(ids: &Tensor, vocabulary: usize) -> Result<Tensor> {
    let (rows, device) = (ids.len(), device_of(ids)?);
    let bits = vocabulary.ilog2() + 1;
    let passes = bits.div_ceil(MAX_DIGIT);
    let digit = bits.div_ceil(passes);
    let tile = SORT_THREADS * rows.div_ceil(SORT_THREADS * MAX_TILES);
    let launch = Launch::new(rows.div_ceil(tile), SORT_THREADS);
    let bins = 1i32 << digit;
    let counts = Tensor::uninit(&[rows.div_ceil(tile), bins as usize], DType::I32, ids.device())?;
    let pairs = || Tensor::uninit(&[rows, 2], DType::I32, ids.device());
    let (mut sorted, mut next) = (pairs()?, pairs()?);
    let (ids, counts) = (address(ids)?, address(&counts)?);
    let (rows, tile, vocabulary) = (rows as i32, tile as i32, vocabulary as i32);
    for pass in 0..passes {
        let (from, to) = (if pass == 0 { 0 } else { address(&sorted)? }, address(&next)?);
        let shift = (pass * digit) as i32;
        let sizes = args![ids, from, counts, rows, tile, vocabulary, shift, bins];
        device.launch(&GRADIENT, "count", launch, sizes)?;
        let sizes = args![ids, from, to, counts, rows, tile, vocabulary, shift, bins];
        device.launch(&GRADIENT, "place", launch, sizes)?;
        std::mem::swap(&mut sorted, &mut next);
    }
    Ok(sorted)
}
