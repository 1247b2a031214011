//! Where a tensor lives and an operator runs.

use std::fmt;
use std::sync::Arc;

use crate::cuda::CudaDevice;
use crate::{Error, Result};

/// The CPU, or one NVIDIA GPU.
#[derive(Clone)]
pub enum Device {
    /// Host memory, rayon's threads.
    Cpu,
    /// One GPU: context, stream, allocator and compiled kernels.
    Cuda(Arc<CudaDevice>),
}

impl Device {
    /// Opens GPU `ordinal`, loading the driver at run time.
    ///
    /// # Errors
    /// No driver, no such GPU, or NVRTC / cuBLASLt missing: the message says what to install.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        Ok(Self::Cuda(CudaDevice::open(ordinal)?))
    }

    /// Parses `cpu`, `cuda` or `cuda:1`.
    ///
    /// # Errors
    /// Any other text, or a GPU that cannot be opened.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Self::cuda(0),
            Some(("cuda", n)) if n.parse::<usize>().is_ok() => Self::cuda(n.parse().unwrap_or(0)),
            _ => Err(Error::shape("device", "cpu, cuda or cuda:N", text)),
        }
    }

    /// Whether this is the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(device) => write!(f, "cuda:{}", device.ordinal()),
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cpu, Self::Cpu) => true,
            (Self::Cuda(a), Self::Cuda(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
