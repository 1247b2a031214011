//! Data parallel training: one process a device, each with a part of every batch, gradients summed over all.
//!
//! Who is who comes from the variables that `torchrun` sets ([`Ranks::from_environment`]). [`Collective`] is all that
//! the trainer needs; [`Star`] does it over TCP with rank 0 in the middle (f32 on the CPU), and [`nccl::GpuGroup`] sums
//! tensors with NCCL and everything else over such a star. Sums run over ranks in their order and every rank gets the
//! same bits, so the weights of all ranks stay equal without being sent. Not here: sharded weights or optimizer state.

mod environment;
mod nccl;
mod star;
mod team;
#[cfg(test)]
mod tests;

use wane_kernels::{Device, Tensor};

use crate::{Error, Result};

pub use environment::Ranks;
pub use nccl::GpuGroup;
pub use star::Star;
pub(crate) use team::Team;

/// What the processes of a run do together. Every rank must make the same calls in the same order; a call fails on
/// all ranks if one of them has ended.
pub trait Collective: std::fmt::Debug + Send {
    /// This process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Replaces each tensor by its sum over all ranks.
    ///
    /// # Errors
    /// A rank has ended, or its tensors have other sizes.
    fn sum_tensors(&mut self, tensors: &mut [Tensor]) -> Result<()>;

    /// Replaces each number by its sum over all ranks.
    ///
    /// # Errors
    /// A rank has ended.
    fn sum(&mut self, values: &mut [f64]) -> Result<()>;

    /// Gives every rank the bytes of rank 0.
    ///
    /// # Errors
    /// A rank has ended.
    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()>;

    /// Tells the other ranks why this one ends; their next call fails with the reason.
    fn tell(&mut self, reason: &str);

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// A rank has ended.
    fn barrier(&mut self) -> Result<()> {
        self.sum(&mut [])
    }
}

/// Meets the other ranks and joins them on `device`.
///
/// # Errors
/// Ranks that do not come or are there twice; NCCL is missing.
pub fn join(ranks: &Ranks, device: &Device) -> Result<Box<dyn Collective>> {
    let star = Star::meet(ranks)?;
    match device {
        Device::Cpu => Ok(Box::new(star)),
        Device::Cuda(cuda) => Ok(Box::new(GpuGroup::join(star, cuda)?)),
    }
}

fn failed(message: impl ToString) -> Error {
    Error::Parallel(message.to_string())
}
