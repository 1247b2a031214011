//! Plain dot products of queries and packed keys, without a softmax.
//!
//! Each is one chain of multiplications and additions over the channels, so a score depends on
//! nothing but its own query and key.

use super::lanes::{Kernel, LANES, Lanes, Old, Product};
use super::pack::{Packed, TILE, padded};
use super::softmax::STRIP;

/// `to[i][j] = queries[i] . keys[j]` for whole strips of queries and whole tiles of keys.
pub(crate) struct Scores<'a> {
    /// [rows, padded head_dim], rows a multiple of [`STRIP`]; rows that are not wanted may hold
    /// anything.
    pub(crate) queries: &'a [f32],
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// Transposed keys.
    pub(crate) keys: &'a Packed,
    /// Which of the packed heads.
    pub(crate) lane: usize,
    /// [rows, stride], stride a multiple of [`TILE`].
    pub(crate) to: &'a mut [f32],
    pub(crate) stride: usize,
}

impl Kernel for Scores<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: passed on from the caller.
        unsafe { self.fill::<L>() };
    }
}

impl<'a> Scores<'a> {
    /// Computes the scores and hands them back.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(crate) unsafe fn fill<L: Lanes>(self) -> &'a mut [f32] {
        let Self { queries, head_dim, keys, lane, to, stride } = self;
        let width = padded(head_dim);
        let rows = queries.len() / width;
        assert!(rows.is_multiple_of(STRIP) && to.len() >= rows * stride, "whole strips of scores");
        for tile in 0..stride / TILE {
            let right = keys.tile(lane, tile);
            for row in (0..rows).step_by(STRIP) {
                // SAFETY: the rows are within the two matrices by the assertion.
                unsafe {
                    let to = to.as_mut_ptr().add(row * stride + tile * TILE);
                    L::product(&Product {
                        depth: head_dim,
                        a: std::array::from_fn(|r| queries.as_ptr().add((row + r) * width)),
                        a_step: 1,
                        b: right.as_ptr(),
                        b_step: TILE,
                        c: std::array::from_fn(|r| to.add(r * stride)),
                        old: Old::Replaced,
                        vectors: TILE / LANES,
                    });
                }
            }
        }
        to
    }
}
