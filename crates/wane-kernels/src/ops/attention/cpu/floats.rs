//! Scratch memory: aligned f32 elements.

use std::ops::{Deref, DerefMut};

use crate::cpu::CpuBuffer;

/// f32 elements that start at a cache line; their first content is not meaningful.
#[derive(Debug)]
pub(crate) struct Floats(CpuBuffer);

impl Floats {
    pub(crate) fn new(len: usize) -> Self {
        Self(CpuBuffer::new(len * size_of::<f32>()))
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(self.0.bytes())
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.0.bytes_mut())
    }
}
