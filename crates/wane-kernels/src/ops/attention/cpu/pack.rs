//! Keys and values of one head repacked for the register tiles.
//!
//! Keys are cut into tiles of [`TILE`]. Of each tile is kept what a kernel asks for: the transpose
//! [head_dim, TILE], whose rows are vectors of keys, or the rows [TILE, padded head_dim]. Padding
//! is zero.

use rayon::prelude::*;

use super::floats::Floats;
use super::lanes::LANES;
use crate::kv::Element;

/// Keys of a tile.
pub(crate) const TILE: usize = 64;

/// `head_dim` rounded up to whole vectors.
pub(crate) fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(LANES)
}

/// A matrix [rows, stride] of which one head's columns are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadRows<'a, T> {
    /// From the head's first column of the first row on.
    pub(crate) data: &'a [T],
    /// Elements from one row to the next.
    pub(crate) stride: usize,
    /// Columns of the head.
    pub(crate) head_dim: usize,
}

impl<'a, T: Element> HeadRows<'a, T> {
    /// Head `head` of the rows from `first` on of a matrix [rows, heads * head_dim].
    pub(crate) fn new(matrix: &'a [T], [heads, head_dim]: [usize; 2], first: usize, head: usize) -> Self {
        let stride = heads * head_dim;
        Self { data: &matrix[(first * stride + head * head_dim).min(matrix.len())..], stride, head_dim }
    }

    /// Row `i`.
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.head_dim]
    }
}

/// How a tile is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// [head_dim, TILE].
    Transposed,
    /// [TILE, padded head_dim].
    Rows,
}

impl Layout {
    fn tile_len(self, head_dim: usize) -> usize {
        match self {
            Self::Transposed => head_dim * TILE,
            Self::Rows => padded(head_dim) * TILE,
        }
    }
}

/// Packed tiles of several heads, all with the same number of keys.
#[derive(Debug)]
pub(crate) struct Packed {
    memory: Floats,
    tiles: usize,
    tile_len: usize,
}

impl Packed {
    /// Packs `keys` rows of each of `heads` heads; `row(head, i)` is row `i` of a head.
    pub(crate) fn new<'a, T: Element>(
        layout: Layout,
        [heads, keys, head_dim]: [usize; 3],
        row: impl Fn(usize, usize) -> &'a [T] + Sync,
    ) -> Self {
        let (tiles, tile_len) = (keys.div_ceil(TILE), layout.tile_len(head_dim));
        let mut memory = Floats::new(heads * tiles * tile_len);
        if !memory.is_empty() {
            memory.par_chunks_mut(tile_len).enumerate().for_each(|(i, to)| {
                let (head, first) = (i / tiles, i % tiles * TILE);
                let rows = TILE.min(keys - first);
                pack_tile(layout, head_dim, rows, |j| row(head, first + j), to);
            });
        }
        Self { memory, tiles, tile_len }
    }

    /// Tile `tile` of `head`.
    pub(crate) fn tile(&self, head: usize, tile: usize) -> &[f32] {
        &self.memory[(head * self.tiles + tile) * self.tile_len..][..self.tile_len]
    }
}

/// Packs `rows` rows into one tile.
fn pack_tile<'a, T: Element>(
    layout: Layout,
    head_dim: usize,
    rows: usize,
    row: impl Fn(usize) -> &'a [T],
    to: &mut [f32],
) {
    match layout {
        Layout::Rows => {
            let width = padded(head_dim);
            for (j, to) in to.chunks_exact_mut(width).enumerate() {
                let from: &[T] = if j < rows { row(j) } else { &[] };
                to.iter_mut().zip(from).for_each(|(to, x)| *to = x.to_f32());
                to[from.len()..].fill(0.0);
            }
        }
        Layout::Transposed => {
            // Sixteen rows and channels at a time, through a block that stays in registers or L1.
            for first in (0..TILE).step_by(LANES) {
                for (i, to) in to.chunks_mut(LANES * TILE).enumerate() {
                    let channels = i * LANES..head_dim.min((i + 1) * LANES);
                    let mut block = [[0.0; LANES]; LANES];
                    for (j, block) in block.iter_mut().enumerate().take(rows.saturating_sub(first)) {
                        let from = &row(first + j)[channels.clone()];
                        block.iter_mut().zip(from).for_each(|(to, x)| *to = x.to_f32());
                    }
                    for (c, to) in to.chunks_exact_mut(TILE).enumerate() {
                        let to = &mut to[first..first + LANES];
                        for (j, to) in to.iter_mut().enumerate() {
                            *to = block[j][c];
                        }
                    }
                }
            }
        }
    }
}

/// Copies one query (or gradient) times `factor`, padded with zeros.
pub(crate) fn pack_row(from: &[f32], factor: f32, to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = x * factor);
    to[from.len()..].fill(0.0);
}
