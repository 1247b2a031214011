//! One NVIDIA GPU: context, stream, caching allocator, compiled kernels, cuBLASLt plans.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// An opened GPU.
pub struct CudaDevice {
    ordinal: usize,
}

impl CudaDevice {
    /// Opens GPU `ordinal`.
    ///
    /// # Errors
    /// No driver, no such GPU, or a library is missing.
    pub fn open(_ordinal: usize) -> Result<Arc<Self>> {
        Err(Error::unsupported("cuda", "this build"))
    }

    /// Number of the GPU.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Takes memory from the caching allocator.
    ///
    /// # Errors
    /// The GPU is out of memory.
    pub fn allocate(self: &Arc<Self>, _bytes: usize) -> Result<CudaBuffer> {
        Err(Error::unsupported("cuda", "this build"))
    }

    /// Waits until the GPU has finished everything submitted.
    ///
    /// # Errors
    /// An earlier kernel failed.
    pub fn synchronize(&self) -> Result<()> {
        Err(Error::unsupported("cuda", "this build"))
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{}", self.ordinal)
    }
}

/// Device memory; returns to the allocator when dropped.
#[derive(Debug)]
pub struct CudaBuffer {
    address: u64,
}

impl CudaBuffer {
    /// Device address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Copies host bytes to `offset`.
    ///
    /// # Errors
    /// The copy failed.
    pub fn upload(&mut self, _offset: usize, _bytes: &[u8]) -> Result<()> {
        Err(Error::unsupported("cuda", "this build"))
    }

    /// Copies bytes to the host after everything submitted before has finished.
    ///
    /// # Errors
    /// The copy failed.
    pub fn download(&self, _offset: usize, _bytes: usize) -> Result<Vec<u8>> {
        Err(Error::unsupported("cuda", "this build"))
    }

    /// Copies from another buffer of the same GPU.
    ///
    /// # Errors
    /// The copy failed.
    pub fn copy_from(&mut self, _to: usize, _source: &Self, _from: usize, _bytes: usize) -> Result<()> {
        Err(Error::unsupported("cuda", "this build"))
    }

    /// Zeroes a range.
    ///
    /// # Errors
    /// The device failed.
    pub fn fill_zero(&mut self, _offset: usize, _bytes: usize) -> Result<()> {
        Err(Error::unsupported("cuda", "this build"))
    }
}
