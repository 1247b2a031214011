//! One NVIDIA GPU: context, stream, caching allocator, compiled kernels, cuBLASLt plans.
//!
//! # Writing a kernel
//! An operator keeps its kernels in a `.cu` file beside its `cuda.rs`:
//!
//! ```text
//! static MODULE: Module = Module::new("gelu", include_str!("gelu.cu"));
//!
//! let device = device_of(x)?;                       // &Arc<CudaDevice>
//! let out = Tensor::uninit(x.shape(), x.dtype(), x.device())?;
//! device.launch(
//!     &MODULE,
//!     "gelu_bf16",                                  // extern "C" __global__ name
//!     Launch::cover(x.len(), 256),                  // or Launch::new(blocks, threads).shared(bytes).grid(x, y, z)
//!     args![address(x)?, address(&out)?, x.len() as i64],
//! )?;
//! ```
//!
//! - The file is compiled by NVRTC for this GPU at its first use (`sm_90a` on Hopper, else `sm_XY`),
//!   and the machine code is cached on disk. It may `#include "common.cuh"`: bf16 conversion, 16-byte
//!   vectors, warp and block reductions. Standard and CUDA headers are not available.
//! - `MODULE.with(&[("HEAD_DIM", 64)])` compiles the same source under integer macros.
//! - Dynamic shared memory above 48 KB is enabled by the launch.
//! - Argument types must match the kernel's parameters exactly: `u64` for pointers, `i32`, `i64`,
//!   `u32`, `f32`, or an own `#[repr(C)]` type that implements [`Param`].
//! - All work goes to one stream in order, so a tensor may be dropped right after the launch
//!   that reads it. Nothing waits for the host except downloads and [`CudaDevice::synchronize`].
//! - `WANE_CUDA_SYNC=1` waits after each launch, so that an error names its kernel. Debug builds
//!   fill fresh memory with NaN bit patterns.
//! - `WANE_CUDA_ATTENTION=portable` keeps causal attention with heads of 64 or 128 off the sm_90a kernels
//!   (`ops/attention/hopper.rs`) that an H100 or H200 runs otherwise, and prefill over
//!   selected blocks off the kernels that gather queries (`ops/block_attention/gathered.rs`): for comparing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use cudarc::driver::{CudaContext, DriverError, result as driver, sys};

use crate::{Cols, ColsMut, DType, Device, Error, Result, Tensor};

mod allocator;
mod buffer;
mod column_sum;
mod compiler;
pub(crate) mod gemm;
mod kernels;
mod libraries;
mod nccl;
mod staging;
pub(crate) mod tensor_map;
#[cfg(test)]
mod tests;

pub use crate::cuda_args as args;
pub use allocator::{MemoryStats, rounded};
pub use buffer::CudaBuffer;
pub use kernels::{Arg, Launch, Module, Param, Resources};
pub use nccl::{NcclGroup, NcclId};

use allocator::{Allocator, Block};

/// The device's stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(pub(crate) sys::CUstream);

// SAFETY: the driver allows the use of a stream from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// An opened GPU.
pub struct CudaDevice {
    context: Arc<CudaContext>,
    stream: Stream,
    ordinal: usize,
    name: String,
    arch: String,
    multiprocessors: usize,
    shared_limit: usize,
    synchronous: bool,
    allocator: Mutex<Allocator>,
    staging: Mutex<staging::Staging>,
    registry: RwLock<kernels::Registry>,
    gemm: Mutex<gemm::Plans>,
    tensor_maps: Mutex<tensor_map::TensorMaps>,
}

/// Maps a driver error to ours.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(DriverError) -> Error {
    move |cause| Error::Cuda {
        what: what.into(),
        cause: match (cause.error_name(), cause.error_string()) {
            (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
            _ => format!("{:?}", cause.0),
        },
    }
}

impl CudaDevice {
    /// Opens GPU `ordinal`, or returns it if it is open.
    ///
    /// # Errors
    /// No driver, no such GPU, one older than Ampere, or a library is missing.
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        static OPEN: Mutex<Vec<Arc<CudaDevice>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(device) = open.iter().find(|device| device.ordinal == ordinal) {
            return Ok(device.clone());
        }
        let device = Arc::new(Self::new(ordinal)?);
        open.push(device.clone());
        Ok(device)
    }

    fn new(ordinal: usize) -> Result<Self> {
        libraries::require()?;
        // Before anything of the driver is used that an old one lacks.
        check_versions()?;
        let context = CudaContext::new(ordinal).map_err(failed(format!("GPU {ordinal}"))).map_err(no_gpu)?;
        let name = context.name().map_err(failed("name"))?;
        let (major, minor) = context.compute_capability().map_err(failed("compute capability"))?;
        if major < 8 {
            return Err(Error::unsupported(
                "cuda",
                format!("{name} (compute capability {major}.{minor}; 8.0 or newer is needed for bf16)"),
            ));
        }
        let attribute = |which| context.attribute(which).map(|x| x as usize).map_err(failed("attribute"));
        use sys::CUdevice_attribute as A;
        let multiprocessors = attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let shared_limit = attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let stream =
            driver::stream::create(driver::stream::StreamKind::NonBlocking).map_err(failed("stream"))?;
        // The `a` variants enable instructions of one architecture only (wgmma, tcgen05).
        let variant = if (9..12).contains(&major) { "a" } else { "" };
        Ok(Self {
            stream: Stream(stream),
            ordinal,
            name,
            arch: format!("sm_{major}{minor}{variant}"),
            multiprocessors,
            shared_limit,
            synchronous: std::env::var("WANE_CUDA_SYNC").is_ok_and(|value| value != "0"),
            allocator: Mutex::default(),
            staging: Mutex::new(staging::Staging::new()?),
            registry: RwLock::default(),
            gemm: Mutex::default(),
            tensor_maps: Mutex::default(),
            context,
        })
    }

    /// Number of the GPU.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Name of the GPU.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compilation target, such as `sm_90a`.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// Number of multiprocessors.
    pub fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    /// Most bytes of shared memory that a block may have.
    pub fn shared_limit(&self) -> usize {
        self.shared_limit
    }

    /// Bytes of memory in use, their peak, and what is reserved.
    pub fn memory(&self) -> MemoryStats {
        self.lock_allocator().stats
    }

    /// Starts a new peak measurement.
    pub fn reset_peak(&self) {
        let mut allocator = self.lock_allocator();
        allocator.stats.peak = allocator.stats.in_use;
    }

    /// Takes memory from the caching allocator.
    ///
    /// # Errors
    /// The GPU is out of memory.
    pub fn allocate(self: &Arc<Self>, bytes: usize) -> Result<CudaBuffer> {
        self.bind()?;
        let block = {
            let mut allocator = self.lock_allocator();
            match allocator.take(bytes) {
                Some(block) => Some(block),
                None => {
                    // Blocks that are free on the host may still be read by submitted kernels.
                    self.synchronize()?;
                    allocator.trim();
                    allocator.take(bytes)
                }
            }
        };
        let Some(block) = block else {
            let stats = self.memory();
            return Err(Error::OutOfMemory {
                device: format!("cuda:{} ({})", self.ordinal, self.name),
                bytes,
                hint: format!(
                    "{} MiB are in use by tensors; a smaller batch, a shorter context or activation recomputing needs less",
                    stats.in_use >> 20
                ),
            });
        };
        let mut buffer = CudaBuffer::new(self.clone(), block, bytes);
        if cfg!(debug_assertions) {
            buffer.fill(0, bytes, 0xff)?;
        }
        Ok(buffer)
    }

    fn release(&self, block: Block) {
        self.lock_allocator().give(block);
    }

    fn lock_allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn staging(&self) -> Result<MutexGuard<'_, staging::Staging>> {
        Ok(self.staging.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// The stream that all work of this device goes to.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// Makes the context current on this thread.
    pub(crate) fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().map_err(failed("context"))
    }

    /// Waits until the GPU has finished everything submitted.
    ///
    /// # Errors
    /// An earlier kernel failed.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream lives as long as the device.
        unsafe { driver::stream::synchronize(self.stream.0) }
            .map_err(failed("synchronization (an earlier kernel failed)"))
    }

    /// Seconds that the GPU spends on what `work` submits.
    ///
    /// # Errors
    /// `work` or the device failed.
    pub fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        self.bind()?;
        let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed("event"));
        let (start, end) = (event()?, event()?);
        // SAFETY: events and stream belong to the current context; the events are destroyed once.
        unsafe {
            driver::event::record(start, self.stream.0).map_err(failed("event"))?;
            work()?;
            driver::event::record(end, self.stream.0).map_err(failed("event"))?;
            driver::event::synchronize(end).map_err(failed("timed work"))?;
            let milliseconds = driver::event::elapsed(start, end).map_err(failed("event"))?;
            let _ = (driver::event::destroy(start), driver::event::destroy(end));
            Ok(f64::from(milliseconds) * 1e-3)
        }
    }
}

// Machine code of a newer CUDA major version does not load on an older driver.
fn check_versions() -> Result<()> {
    let mut driver_version = 0;
    // SAFETY: a valid out-pointer.
    unsafe { sys::cuDriverGetVersion(&mut driver_version) }.result().map_err(failed("driver version"))?;
    too_old(driver_version, compiler::version()?)
}

/// Fails if a driver of that version (1000 major + 10 minor) cannot run what NVRTC (major, minor) compiles.
fn too_old(driver_version: i32, (major, minor): (i32, i32)) -> Result<()> {
    let supported = driver_version / 1000;
    if supported >= major {
        return Ok(());
    }
    Err(Error::Cuda {
        what: "driver".into(),
        cause: format!(
            "it supports CUDA {supported}.{}, but the NVRTC found is {major}.{minor}: update the driver, or install NVRTC and cuBLAS of CUDA {supported}; or run with --device cpu",
            driver_version % 1000 / 10,
        ),
    })
}

/// Says what to do when a GPU cannot be opened.
fn no_gpu(error: Error) -> Error {
    match error {
        Error::Cuda { what, cause } => Error::Cuda {
            what,
            cause: format!("{cause}: see which GPUs `nvidia-smi` lists, or run with --device cpu"),
        },
        other => other,
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{}", self.ordinal)
    }
}

/// The GPU of a tensor.
///
/// # Errors
/// It is on the CPU.
pub fn device_of(tensor: &Tensor) -> Result<&Arc<CudaDevice>> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device),
        Device::Cpu => Err(Error::shape("cuda", "tensors on one GPU", "a tensor on the cpu")),
    }
}

/// Device address of a tensor.
///
/// # Errors
/// It is on the CPU.
pub fn address(tensor: &Tensor) -> Result<u64> {
    tensor.cuda_address().ok_or_else(|| Error::shape("cuda", "tensors on one GPU", format!("{tensor:?}")))
}

/// Device address of an optional tensor; 0 if there is none.
///
/// # Errors
/// It is on the CPU.
pub fn optional_address(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), address)
}

/// Device address of the first element of a range of columns.
///
/// # Errors
/// It is on the CPU.
pub fn cols_address(cols: &Cols<'_>) -> Result<u64> {
    Ok(address(cols.tensor)? + (cols.start * cols.tensor.dtype().size()) as u64)
}

/// Like [`cols_address`], for a writable range.
///
/// # Errors
/// It is on the CPU.
pub fn cols_mut_address(cols: &ColsMut<'_>) -> Result<u64> {
    Ok(address(cols.tensor)? + (cols.start * cols.tensor.dtype().size()) as u64)
}

/// How many elements a thread handles at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    /// Elements: 16 bytes, or one.
    pub(crate) elements: usize,
    dtype: DType,
}

impl Width {
    /// `name_bf16_wide`, `name_bf16_1`, `name_f32_wide` or `name_f32_1`: the instance of a kernel.
    pub(crate) fn kernel(self, name: &str) -> Result<String> {
        let width = if self.elements > 1 { "wide" } else { "1" };
        Ok(format!("{}_{width}", typed(name, self.dtype)?))
    }
}

/// 16 bytes if every one of these addresses and element strides is a multiple of that, else one element.
pub(crate) fn vector_width(dtype: DType, addresses: &[u64], strides: &[usize]) -> Width {
    let wide = 16 / dtype.size();
    let aligned = addresses.iter().all(|address| address.is_multiple_of(16))
        && strides.iter().all(|stride| stride.is_multiple_of(wide));
    Width { elements: if aligned { wide } else { 1 }, dtype }
}

/// `name_f32` or `name_bf16`: kernels are instantiated once per element type.
pub(crate) fn typed(name: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{name}_f32")),
        DType::BF16 => Ok(format!("{name}_bf16")),
        DType::I32 => Err(Error::unsupported("cuda kernel", format!("{name} on i32"))),
    }
}
