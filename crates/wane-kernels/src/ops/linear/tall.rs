//! Products with many rows of activations on AVX-512: weight rows packed into transposed panels of
//! [`TILE`], register tiles of six rows by four vectors, activations read where they are.
//!
//! A task owns some rows and some panels. Its loops, from outside in: [`DEPTH`] terms of the sum (so that
//! the piece of a panel and the task's activations stay in the second-level cache), panels, strips of
//! rows. Every result is summed in the same order whatever the tasks are, so results depend neither on the
//! number of threads nor on the other rows.
//!
//! On processors with a matrix unit `split` takes these products. Other instruction sets, widths that are not
//! whole vectors and products with few rows go through the `gemm` crate.

use rayon::prelude::*;

use crate::cpu::matmul::Into;
use crate::cpu::rows::SharedColumns;
use crate::cpu::{Isa, Rows, RowsMut};
use crate::ops::attention::cpu::lanes::{Kernel, LANES, Lanes, Old, PRODUCT_ROWS, Product, launch};
use crate::ops::attention::cpu::pack::{Layout, Packed, TILE};

/// From this many rows on, packing the weights is worth it.
const MANY_ROWS: usize = 64;

/// Terms of a sum between two visits to the output.
const DEPTH: usize = 256;

/// Elements that are packed at once: 8 MiB.
const PACKED: usize = 2 << 20;

/// Most rows of a task: with [`DEPTH`] terms 384 KiB of activations.
const TASK_ROWS: usize = 384;

/// Fewest rows of a task, while there are panels to share out instead.
const LEAST_ROWS: usize = 96;

/// Tasks that each thread should get, so that one that was interrupted holds nobody up.
const TASKS_PER_THREAD: usize = 4;

/// Whether [`product`] takes a product of these sizes.
pub(super) fn applies(isa: Isa, rows: usize, width: usize) -> bool {
    isa == Isa::Avx512 && rows >= MANY_ROWS && width.is_multiple_of(LANES)
}

/// `out (+)= x W^T` for the rows `weights` [out's width, x's width], of one term at least.
pub(super) fn product(x: Rows<'_>, weights: &[f32], mut out: RowsMut<'_>, into: Into) {
    let (depth, width) = (x.width, out.width);
    assert_eq!((weights.len(), out.rows), (width * depth, x.rows), "sizes of a product");
    assert!(depth > 0, "a sum without terms");
    let piece = (PACKED / depth).next_multiple_of(TILE).max(TILE);
    for first in (0..width).step_by(piece) {
        let many = piece.min(width - first);
        let rows = &weights[first * depth..][..many * depth];
        let packed = Packed::new(Layout::Transposed, [1, many, depth], |_, i| &rows[i * depth..][..depth]);
        packed_product(x, &packed, out.columns(first, many), into);
    }
}

fn packed_product(x: Rows<'_>, packed: &Packed, out: RowsMut<'_>, into: Into) {
    let (rows, width) = (x.rows, out.width);
    let panels = width.div_ceil(TILE);
    let threads = rayon::current_num_threads();
    let wanted = TASKS_PER_THREAD * threads;
    // As many for each thread, as far as there are rows.
    let row_tasks = rows.div_ceil(TASK_ROWS).max(wanted).next_multiple_of(threads);
    let row_tasks = row_tasks.min(rows.div_ceil(LEAST_ROWS));
    let task_rows = rows.div_ceil(row_tasks).next_multiple_of(PRODUCT_ROWS);
    let row_tasks = rows.div_ceil(task_rows);
    // Few rows: the panels are shared out as well.
    let task_panels = panels.div_ceil(wanted.div_ceil(row_tasks));
    let panel_tasks = panels.div_ceil(task_panels);
    let out = SharedColumns::new(out);
    (0..row_tasks * panel_tasks).into_par_iter().with_max_len(1).for_each(|i| {
        let (first_row, first_panel) = (i / panel_tasks * task_rows, i % panel_tasks * task_panels);
        let task = Task {
            x: x.range(first_row, task_rows.min(rows - first_row)),
            first_row,
            packed,
            panels: first_panel..panels.min(first_panel + task_panels),
            width,
            out: &out,
            into,
        };
        // SAFETY: `applies` has asked for this instruction set; tasks are disjoint parts of `out`.
        unsafe { launch(Isa::Avx512, task) };
    });
}

/// Some rows against some panels.
struct Task<'a> {
    x: Rows<'a>,
    /// Row of `out` that belongs to the first row of `x`.
    first_row: usize,
    packed: &'a Packed,
    panels: std::ops::Range<usize>,
    /// Columns of `out`.
    width: usize,
    out: &'a SharedColumns<'a>,
    into: Into,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { x, first_row, packed, panels, width, out, into } = self;
        let mut bin = [0.0f32; TILE];
        let bin = bin.as_mut_ptr();
        for start in (0..x.width).step_by(DEPTH) {
            let depth = DEPTH.min(x.width - start);
            let add = into == Into::Add || start > 0;
            for panel in panels.clone() {
                let first = panel * TILE;
                let columns = TILE.min(width - first);
                let b = packed.tile(0, panel)[start * TILE..].as_ptr();
                for row in (0..x.rows).step_by(PRODUCT_ROWS) {
                    let len = PRODUCT_ROWS.min(x.rows - row);
                    // SAFETY: rows and columns lie within `x`, the panel and `out`; this task alone has
                    // this part of `out`. Rows that are too many repeat the last one, and go to the bin.
                    unsafe {
                        L::product(&Product {
                            depth,
                            a: std::array::from_fn(|r| x.row(row + r.min(len - 1))[start..].as_ptr()),
                            a_step: 1,
                            b,
                            b_step: TILE,
                            c: std::array::from_fn(|r| {
                                if r < len {
                                    out.row(first_row + row + r, first, columns).as_mut_ptr()
                                } else {
                                    bin
                                }
                            }),
                            old: if add { Old::AddedTo } else { Old::Replaced },
                            vectors: columns / LANES,
                        });
                    }
                }
            }
        }
    }
}
