//! Descriptors of bulk tensor copies (TMA, compute capability 9.0 and later): made by the driver on the
//! host, passed to kernels by value, kept because training asks for the same few again and again.

use std::collections::HashMap;
use std::mem::MaybeUninit;

use cudarc::driver::sys;

use super::{CudaDevice, Param, failed};
use crate::Result;

/// A bf16 tensor [sequences, rows, heads, columns], contiguous, from which a kernel copies boxes of
/// `box_rows` rows of 64 columns of one head, in the 128-byte swizzle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Boxes {
    /// Device address, a multiple of 16.
    pub(crate) address: u64,
    /// Sizes, slowest first.
    pub(crate) shape: [usize; 4],
    /// Rows of a box, at most 256.
    pub(crate) box_rows: usize,
}

/// `TensorMap` of `ops/attention/hopper.cuh`.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(crate) struct TensorMap([u64; 16]);

// SAFETY: 128 bytes aligned to 128 (as in CUDA 13), opaque on both sides.
unsafe impl Param for TensorMap {}

/// Descriptors by what they describe. They hold addresses, not memory: nothing is kept alive.
#[derive(Default)]
pub(super) struct TensorMaps(HashMap<Boxes, TensorMap>);

const MOST: usize = 4096;

impl CudaDevice {
    /// The descriptor of `boxes`.
    ///
    /// # Errors
    /// The driver rejects it.
    pub(crate) fn tensor_map(&self, boxes: Boxes) -> Result<TensorMap> {
        let mut maps = self.tensor_maps.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(map) = maps.0.get(&boxes) {
            return Ok(*map);
        }
        let map = encode(boxes)?;
        if maps.0.len() >= MOST {
            maps.0.clear();
        }
        maps.0.insert(boxes, map);
        Ok(map)
    }
}

fn encode(boxes: Boxes) -> Result<TensorMap> {
    let Boxes { address, shape: [sequences, rows, heads, columns], box_rows } = boxes;
    // Fastest first: columns, heads, rows, sequences; strides in bytes, from the second on.
    let sizes = [columns, heads, rows, sequences].map(|size| size as u64);
    let strides = [2 * columns, 2 * columns * heads, 2 * columns * heads * rows].map(|stride| stride as u64);
    let (extent, steps) = ([64, 1, box_rows as u32, 1], [1u32; 4]);
    let mut map = MaybeUninit::<sys::CUtensorMap>::zeroed();
    // SAFETY: the arrays have the stated rank and outlive the call; the out-pointer is valid.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            map.as_mut_ptr(),
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            4,
            address as *mut _,
            sizes.as_ptr(),
            strides.as_ptr(),
            extent.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()
    .map_err(failed(format!("tensor map of {boxes:?}")))?;
    // SAFETY: zeroed, then written by the driver; any bytes are valid.
    Ok(TensorMap(unsafe { map.assume_init() }.opaque))
}
