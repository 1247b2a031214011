//! One GPU a process: tensors are summed by NCCL on the device's stream, host values go over the star, over which the
//! group's id was sent too. Every step exchanges host values first, so a rank that has ended is noticed there and NCCL is
//! not waited for. Runs on two GPUs of one host; more were not tried.

use std::sync::Arc;

use wane_kernels::Tensor;
use wane_kernels::cuda::{CudaDevice, NcclGroup, NcclId};

use super::{Collective, Star, failed};
use crate::Result;

/// A star with NCCL for tensors.
#[derive(Debug)]
pub struct GpuGroup {
    // First: it is given up before the connections close.
    group: NcclGroup,
    star: Star,
}

impl GpuGroup {
    /// Joins the ranks of `star` on `device`.
    ///
    /// # Errors
    /// NCCL is missing or fails, on any rank.
    pub fn join(mut star: Star, device: &Arc<CudaDevice>) -> Result<Self> {
        let mut bytes = Vec::new();
        if star.rank() == 0 {
            match NcclId::create() {
                Ok(id) => bytes = id.bytes().to_vec(),
                Err(error) => {
                    star.tell(&error.to_string());
                    return Err(error.into());
                }
            }
        }
        star.broadcast(&mut bytes)?;
        let id: [u8; 128] = bytes.try_into().map_err(|_| failed("rank 0 sent no NCCL id"))?;
        let (rank, size) = (star.rank(), star.size());
        match NcclGroup::join(device, NcclId::from_bytes(id), rank, size) {
            Ok(group) => Ok(Self { group, star }),
            Err(error) => {
                star.tell(&error.to_string());
                Err(error.into())
            }
        }
    }
}

impl Collective for GpuGroup {
    fn rank(&self) -> usize {
        self.star.rank()
    }

    fn size(&self) -> usize {
        self.star.size()
    }

    fn sum_tensors(&mut self, tensors: &mut [Tensor]) -> Result<()> {
        Ok(self.group.sum(tensors)?)
    }

    fn sum(&mut self, values: &mut [f64]) -> Result<()> {
        self.star.sum(values)
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        self.star.broadcast(bytes)
    }

    fn tell(&mut self, reason: &str) {
        self.star.tell(reason);
    }
}
