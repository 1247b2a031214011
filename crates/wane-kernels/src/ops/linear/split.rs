//! Products with many rows of activations on the matrix unit: both operands split into three bf16 parts
//! ([`amx`]), which keeps f32's accuracy, and packed into the unit's tiles.
//!
//! A task owns some rows and some panels of 32 weight rows. It packs its rows once, into memory that stays in
//! the second-level cache, and runs them past its panels. Every result is one sum over the terms in ascending
//! order, so results depend neither on the number of threads nor on the other rows. Any sizes: what is missing
//! in the last block is zero.

use rayon::prelude::*;

use crate::cpu::amx::{self, BLOCK, PARTS, STEP, STEP_LEN, TILE_LEN, TILES, Target, split};
use crate::cpu::matmul::Into;
use crate::cpu::rows::SharedColumns;
use crate::cpu::{CpuBuffer, Isa, Rows, RowsMut, multiversion};

/// From this many rows on, packing the weights is worth it.
const MANY_ROWS: usize = 64;

/// bf16 elements of weights that are packed at once: 24 MiB.
const PACKED: usize = 12 << 20;

/// bf16 elements of a task's packed activations: 1.25 MiB.
const TASK: usize = 640 << 10;

/// Tasks that there should be, so that one that was interrupted holds nobody up.
const TASKS: usize = 16;

/// Whether [`product`] takes a product of this many rows.
pub(super) fn applies(rows: usize) -> bool {
    rows >= MANY_ROWS && amx::available()
}

/// bf16 bits that start at a cache line.
struct Halves(CpuBuffer);

impl Halves {
    fn new(len: usize) -> Self {
        Self(CpuBuffer::new(len * size_of::<u16>()))
    }

    fn get_mut(&mut self) -> &mut [u16] {
        bytemuck::cast_slice_mut(self.0.bytes_mut())
    }
}

/// `out (+)= x W^T` for the rows `weights` [out's width, x's width], of one term at least.
pub(super) fn product(x: Rows<'_>, weights: &[f32], mut out: RowsMut<'_>, into: Into) {
    let (depth, width) = (x.width, out.width);
    assert_eq!((weights.len(), out.rows), (width * depth, x.rows), "sizes of a product");
    assert!(depth > 0, "a sum without terms");
    let panel_len = depth.div_ceil(STEP) * STEP_LEN;
    let most = (PACKED / panel_len).max(1) * BLOCK;
    let mut packed = Halves::new(width.min(most).div_ceil(BLOCK) * panel_len);
    for first in (0..width).step_by(most) {
        let many = most.min(width - first);
        let packed = &mut packed.get_mut()[..many.div_ceil(BLOCK) * panel_len];
        packed.par_chunks_exact_mut(panel_len).enumerate().for_each(|(i, to)| {
            let rows = BLOCK.min(many - i * BLOCK);
            let from = &weights[(first + i * BLOCK) * depth..][..rows * depth];
            pack_right(Isa::Avx512, &|r| &from[r * depth..][..depth], rows, to);
        });
        packed_product(x, packed, panel_len, out.columns(first, many), into);
    }
}

fn packed_product(x: Rows<'_>, packed: &[u16], panel_len: usize, out: RowsMut<'_>, into: Into) {
    let (blocks, panels) = (x.rows.div_ceil(BLOCK), packed.len() / panel_len);
    let task_blocks = (TASK / panel_len).clamp(1, blocks.div_ceil(TASKS).max(1));
    let row_tasks = blocks.div_ceil(task_blocks);
    // Few rows: the panels are shared out as well.
    let task_panels = panels.div_ceil(TASKS.div_ceil(row_tasks));
    let panel_tasks = panels.div_ceil(task_panels);
    let out = SharedColumns::new(out);
    let scratch = || Halves::new(task_blocks * panel_len);
    (0..row_tasks * panel_tasks).into_par_iter().with_max_len(1).for_each_init(scratch, |scratch, i| {
        let first = i / panel_tasks * task_blocks;
        let blocks = task_blocks.min(blocks - first);
        let left = &mut scratch.get_mut()[..blocks * panel_len];
        for (block, to) in left.chunks_exact_mut(panel_len).enumerate() {
            let row = (first + block) * BLOCK;
            pack_left(Isa::Avx512, &|r| x.row(row + r), BLOCK.min(x.rows - row), to);
        }
        let first_panel = i % panel_tasks * task_panels;
        let panels = first_panel..panels.min(first_panel + task_panels);
        let work = || {
            let mut spare = Block([0.0; BLOCK * BLOCK]);
            for panel in panels {
                let right = &packed[panel * panel_len..][..panel_len];
                for (block, left) in left.chunks_exact(panel_len).enumerate() {
                    // Four blocks ask for the next panel, a quarter each; the others for what is near.
                    let next = match block {
                        0..4 => right.as_ptr().wrapping_add(panel_len + block * (panel_len / 4)),
                        _ => left.as_ptr(),
                    };
                    let place = [first + block, panel];
                    // SAFETY: tasks are disjoint parts of `out`; the tiles are configured.
                    unsafe { store([left, right], next, place, &out, into, &mut spare) }
                }
            }
        };
        // SAFETY: `applies` has asked whether there is a matrix unit.
        unsafe { amx::with_tiles(work) }
    });
}

/// A block that does not go straight to the output.
#[repr(C, align(64))]
struct Block([f32; BLOCK * BLOCK]);

/// Computes the block at `[row, column]`, counted in blocks, and writes what lies within `out`.
///
/// # Safety
/// Within [`amx::with_tiles`]; nobody else uses this part of `out`.
unsafe fn store(
    [left, right]: [&[u16]; 2],
    next: *const u16,
    [row, column]: [usize; 2],
    out: &SharedColumns<'_>,
    into: Into,
    spare: &mut Block,
) {
    let (row, column) = (row * BLOCK, column * BLOCK);
    let (rows, columns) = (BLOCK.min(out.rows() - row), BLOCK.min(out.width() - column));
    if into == Into::Replace && [rows, columns] == [BLOCK; 2] {
        // SAFETY: passed on from the caller; the last row of the block lies within `out`, so all do.
        unsafe {
            out.row(row + BLOCK - 1, column, columns);
            let start = out.row(row, column, columns).as_mut_ptr();
            amx::multiply(left, right, next, Target { start, stride: out.stride() });
        }
        return;
    }
    // SAFETY: passed on from the caller; a block is 32 rows of 32.
    unsafe { amx::multiply(left, right, next, Target { start: spare.0.as_mut_ptr(), stride: BLOCK }) };
    for (r, sums) in spare.0.chunks_exact(BLOCK).enumerate().take(rows) {
        // SAFETY: passed on from the caller.
        let out = unsafe { out.row(row + r, column, columns) };
        if into == Into::Add {
            out.iter_mut().zip(sums).for_each(|(to, x)| *to += x);
        } else {
            out.copy_from_slice(&sums[..columns]);
        }
    }
}

/// A row by its number.
type Row<'a> = &'a dyn Fn(usize) -> &'a [f32];

multiversion! {
    /// Packs up to 32 rows of the result: `to` [steps, parts, tiles, row, term].
    fn pack_left(row: Row<'_>, rows: usize, to: &mut [u16]) {
        for r in 0..BLOCK {
            let at = r / 16 * TILE_LEN + r % 16 * STEP;
            let from: &[f32] = if r < rows { row(r) } else { &[] };
            for (step, to) in to.chunks_exact_mut(STEP_LEN).enumerate() {
                for (part, terms) in split_terms(from, step).into_iter().enumerate() {
                    to[part * TILES * TILE_LEN + at..][..STEP].copy_from_slice(&terms);
                }
            }
        }
    }
}

multiversion! {
    /// Packs up to 32 columns of the result: `to` [steps, parts, tiles, pair of terms, column, 2].
    fn pack_right(row: Row<'_>, rows: usize, to: &mut [u16]) {
        for tile in 0..TILES {
            let used = 16.min(rows.saturating_sub(tile * 16));
            // Columns that do not exist stay zero.
            let mut parts = [[[0u16; STEP]; 16]; PARTS];
            for (step, to) in to.chunks_exact_mut(STEP_LEN).enumerate() {
                for r in 0..used {
                    let terms = split_terms(row(tile * 16 + r), step);
                    parts.iter_mut().zip(terms).for_each(|(part, terms)| part[r] = terms);
                }
                for (part, from) in parts.iter().enumerate() {
                    transpose_pairs(from, &mut to[(part * TILES + tile) * TILE_LEN..][..TILE_LEN]);
                }
            }
        }
    }
}

/// The parts of the terms of one step, zero beyond the row's end.
#[inline(always)]
fn split_terms(row: &[f32], step: usize) -> [[u16; STEP]; PARTS] {
    let rest = &row[row.len().min(step * STEP)..];
    let mut terms = [0.0; STEP];
    match rest.first_chunk::<STEP>() {
        Some(all) => terms = *all,
        None => terms[..rest.len()].copy_from_slice(rest),
    }
    let mut parts = [[0; STEP]; PARTS];
    for (i, x) in terms.into_iter().enumerate() {
        let [high, middle, low] = split(x);
        (parts[0][i], parts[1][i], parts[2][i]) = (high, middle, low);
    }
    parts
}

/// [16 columns, 32 terms] to [16 pairs of terms, 16 columns, 2].
#[inline(always)]
fn transpose_pairs(from: &[[u16; STEP]; 16], to: &mut [u16]) {
    let (to, _) = to.as_chunks_mut::<STEP>();
    for (pair, to) in to.iter_mut().enumerate() {
        for (column, from) in from.iter().enumerate() {
            to[2 * column] = from[2 * pair];
            to[2 * column + 1] = from[2 * pair + 1];
        }
    }
}
