//! Device memory of a tensor. Every copy is ordered on the device's stream.

use std::sync::Arc;

use cudarc::driver::result as driver;

use super::allocator::Block;
use super::{CudaDevice, failed};
use crate::Result;

/// Device memory; returns to the allocator when dropped.
#[derive(Debug)]
pub struct CudaBuffer {
    device: Arc<CudaDevice>,
    block: Block,
    bytes: usize,
}

impl CudaBuffer {
    pub(super) fn new(device: Arc<CudaDevice>, block: Block, bytes: usize) -> Self {
        Self { device, block, bytes }
    }

    /// Device address; a multiple of 512.
    pub fn address(&self) -> u64 {
        self.block.address
    }

    // Address of a range, which must lie inside.
    fn range(&self, offset: usize, bytes: usize) -> u64 {
        assert!(offset + bytes <= self.bytes, "{offset} + {bytes} of {} device bytes", self.bytes);
        self.block.address + offset as u64
    }

    /// Copies host bytes to `offset`.
    ///
    /// # Errors
    /// The copy failed.
    pub fn upload(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let address = self.range(offset, bytes.len());
        self.device.bind()?;
        self.device.staging()?.upload(self.device.stream(), address, bytes)
    }

    /// Copies bytes to the host after everything submitted before has finished.
    ///
    /// # Errors
    /// The copy or an earlier kernel failed.
    pub fn download(&self, offset: usize, bytes: usize) -> Result<Vec<u8>> {
        let address = self.range(offset, bytes);
        let mut host = vec![0; bytes];
        self.device.bind()?;
        self.device.staging()?.download(self.device.stream(), address, &mut host)?;
        Ok(host)
    }

    /// Copies from another buffer of the same GPU.
    ///
    /// # Errors
    /// The copy failed.
    pub fn copy_from(&mut self, to: usize, source: &Self, from: usize, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let (to, from) = (self.range(to, bytes), source.range(from, bytes));
        self.device.bind()?;
        // SAFETY: both ranges lie in live blocks; the copy is ordered before any reuse of them.
        unsafe { driver::memcpy_dtod_async(to, from, bytes, self.device.stream().0) }.map_err(failed("copy"))
    }

    /// Zeroes a range.
    ///
    /// # Errors
    /// The device failed.
    pub fn fill_zero(&mut self, offset: usize, bytes: usize) -> Result<()> {
        self.fill(offset, bytes, 0)
    }

    pub(super) fn fill(&mut self, offset: usize, bytes: usize, value: u8) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let address = self.range(offset, bytes);
        self.device.bind()?;
        // SAFETY: the range lies in a live block.
        unsafe { driver::memset_d8_async(address, value, bytes, self.device.stream().0) }
            .map_err(failed("memset"))
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        self.device.release(self.block);
    }
}
