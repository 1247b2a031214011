//! Compiled kernels and their launch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::{result as driver, sys};

use super::{CudaDevice, compiler, failed};
use crate::{Error, Result};

/// A `.cu` file, embedded in the binary.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Unique name, shown in errors and in the names of cached files.
    pub name: &'static str,
    /// CUDA C++; it may `#include "common.cuh"`.
    pub source: &'static str,
    /// Macros with integer values: the same source compiled for several sizes.
    pub defines: &'a [(&'static str, i64)],
}

impl Module<'static> {
    /// A module without defines.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, defines: &[] }
    }
}

impl<'a> Module<'a> {
    /// The same source under these defines.
    pub const fn with<'b>(&self, defines: &'b [(&'static str, i64)]) -> Module<'b> {
        Module { name: self.name, source: self.source, defines }
    }
}

/// Sizes of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x (up to 2^31 - 1), y and z (up to 65535).
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl Launch {
    /// A one-dimensional launch.
    pub const fn new(blocks: usize, threads: usize) -> Self {
        Self { grid: [blocks as u32, 1, 1], block: [threads as u32, 1, 1], shared: 0 }
    }

    /// One thread for each of `items`, `threads` to a block.
    pub const fn cover(items: usize, threads: usize) -> Self {
        Self::new(items.div_ceil(threads), threads)
    }

    /// With another number of threads per block.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.block = [threads as u32, 1, 1];
        self
    }

    /// With a grid of several dimensions.
    pub const fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x as u32, y as u32, z as u32];
        self
    }

    /// With dynamic shared memory.
    pub const fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes as u32;
        self
    }
}

/// A value that can be passed to a kernel by its bytes.
///
/// # Safety
/// The type must have the layout of the kernel's parameter.
pub unsafe trait Param: Copy {}
// SAFETY: scalars have the same layout on both sides; a `u64` also stands for a pointer.
unsafe impl Param for u64 {}
// SAFETY: as above.
unsafe impl Param for i64 {}
// SAFETY: as above.
unsafe impl Param for u32 {}
// SAFETY: as above.
unsafe impl Param for i32 {}
// SAFETY: as above.
unsafe impl Param for f32 {}

/// One argument of a launch; made by [`args!`](crate::cuda::args).
#[derive(Debug)]
#[repr(transparent)]
pub struct Arg<'a>(*mut c_void, PhantomData<&'a ()>);

impl<'a> Arg<'a> {
    /// Borrows a value until the launch.
    pub fn new<T: Param>(value: &'a T) -> Self {
        Self(std::ptr::from_ref(value).cast_mut().cast(), PhantomData)
    }
}

/// Arguments of [`CudaDevice::launch`](crate::cuda::CudaDevice::launch), in the kernel's order:
/// addresses (`u64`), `i32`, `u32`, `i64`, `f32`, or any [`Param`](crate::cuda::Param).
#[macro_export]
#[doc(hidden)]
macro_rules! cuda_args {
    ($($value:expr),* $(,)?) => { &mut [$($crate::cuda::Arg::new(&$value)),*] };
}

// Name, and a hash of the defines.
type ModuleKey = (&'static str, u64);

#[derive(Debug)]
struct Function {
    handle: sys::CUfunction,
    // Dynamic shared memory it may use.
    shared: AtomicU32,
}

/// All loaded modules of a device.
#[derive(Debug, Default)]
pub(super) struct Registry(HashMap<ModuleKey, Loaded>);

#[derive(Debug)]
struct Loaded {
    module: sys::CUmodule,
    functions: HashMap<String, Function>,
}

// SAFETY: module and function handles may be used from any thread while the context lives.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

fn key(module: &Module<'_>) -> ModuleKey {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in module.defines {
        for &byte in name.as_bytes().iter().chain(&value.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    (module.name, hash)
}

const STATIC_LIMIT: u32 = 48 << 10;

impl CudaDevice {
    /// Runs `kernel` of `module` on the device's stream; compiles the module at its first use.
    ///
    /// Returns when the launch is submitted. An empty grid is no launch. With `WANE_CUDA_SYNC=1`
    /// it waits and reports the kernel's own errors.
    ///
    /// # Errors
    /// Compilation, launch, or (with `WANE_CUDA_SYNC`) the kernel failed.
    pub fn launch(
        &self,
        module: &Module<'_>,
        kernel: &str,
        launch: Launch,
        args: &mut [Arg<'_>],
    ) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        self.bind()?;
        let key = key(module);
        let known = {
            let registry = self.registry.read().unwrap_or_else(|e| e.into_inner());
            registry
                .0
                .get(&key)
                .and_then(|loaded| loaded.functions.get(kernel))
                .map(|function| prepare(function, launch.shared).map(|()| function.handle))
        };
        let handle = match known {
            Some(handle) => handle,
            None => self.load(module, key, kernel, launch.shared),
        }
        .map_err(|cause| named(module, kernel, launch, cause))?;
        let [grid, block] = [launch.grid, launch.block].map(|[x, y, z]| (x, y, z));
        // SAFETY: `Arg` is a transparent pointer to a live value.
        let params =
            unsafe { std::slice::from_raw_parts_mut(args.as_mut_ptr().cast::<*mut c_void>(), args.len()) };
        // SAFETY: the handle belongs to a loaded module; that the arguments match the kernel is the
        // contract of each operator's `cuda.rs` with its `.cu`.
        unsafe { driver::launch_kernel(handle, grid, block, launch.shared, self.stream().0, params) }
            .map_err(failed("launch"))
            .map_err(|cause| named(module, kernel, launch, cause))?;
        if self.synchronous {
            self.synchronize().map_err(|cause| named(module, kernel, launch, cause))?;
        }
        Ok(())
    }

    // Compiles and loads the module if needed, then looks the kernel up.
    fn load(
        &self,
        module: &Module<'_>,
        key: ModuleKey,
        kernel: &str,
        shared: u32,
    ) -> Result<sys::CUfunction> {
        let mut registry = self.registry.write().unwrap_or_else(|e| e.into_inner());
        let loaded = match registry.0.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let code = compiler::cubin(module, &self.arch)?;
                // SAFETY: a whole cubin from NVRTC.
                let handle = unsafe { driver::module::load_data(code.as_ptr().cast()) }
                    .map_err(failed("loading machine code"))?;
                entry.insert(Loaded { module: handle, functions: HashMap::new() })
            }
        };
        if !loaded.functions.contains_key(kernel) {
            let name = CString::new(kernel)
                .map_err(|e| Error::Cuda { what: "kernel name".into(), cause: e.to_string() })?;
            // SAFETY: the module is loaded.
            let handle = unsafe { driver::module::get_function(loaded.module, name) }
                .map_err(failed("finding the kernel"))?;
            let function = Function { handle, shared: AtomicU32::new(STATIC_LIMIT) };
            loaded.functions.insert(kernel.to_owned(), function);
        }
        let function = &loaded.functions[kernel];
        prepare(function, shared)?;
        Ok(function.handle)
    }

    /// What the compiler gave `kernel`.
    ///
    /// # Errors
    /// Compilation failed.
    pub fn resources(&self, module: &Module<'_>, kernel: &str) -> Result<Resources> {
        self.bind()?;
        let handle = self.load(module, key(module), kernel, 0)?;
        let get = |attribute| {
            // SAFETY: the handle is valid.
            unsafe { driver::function::get_function_attribute(handle, attribute) }
                .map_err(failed("attribute"))
        };
        Ok(Resources {
            registers: get(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            local_bytes: get(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            shared_bytes: get(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        })
    }
}

/// Resources of a compiled kernel.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Registers per thread.
    pub registers: i32,
    /// Bytes of local memory per thread: spills and arrays indexed at run time.
    pub local_bytes: i32,
    /// Bytes of static shared memory.
    pub shared_bytes: i32,
}

// Raises the limit of dynamic shared memory when a launch needs more than before.
fn prepare(function: &Function, shared: u32) -> Result<()> {
    if shared > function.shared.load(Ordering::Relaxed) {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the handle is valid; too large a value is an error, not undefined.
        unsafe { driver::function::set_function_attribute(function.handle, attribute, shared as i32) }
            .map_err(failed(format!("{shared} bytes of shared memory")))?;
        function.shared.store(shared, Ordering::Relaxed);
    }
    Ok(())
}

fn named(module: &Module<'_>, kernel: &str, launch: Launch, cause: Error) -> Error {
    let Launch { grid, block, shared } = launch;
    Error::Cuda {
        what: format!("kernel {}::{kernel} (grid {grid:?}, block {block:?}, shared {shared})", module.name),
        cause: cause.to_string(),
    }
}
