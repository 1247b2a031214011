//! Sums over the GPUs of several processes, by NVIDIA's NCCL, loaded at run time (`libnccl.so.2`).
//!
//! One communicator per process and GPU; whoever makes the id hands it to the others by other means. Sums run on the
//! device's stream, in order with all other work. The calls declared here are those of NCCL's stable C interface.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use libloading::Library;

use super::{CudaDevice, address, libraries};
use crate::{DType, Error, Result, Tensor};

// ncclDataType_t and ncclRedOp_t.
const FLOAT32: c_int = 7;
const SUM: c_int = 0;

/// What the processes of one group share; made by one of them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct NcclId {
    internal: [u8; 128],
}

impl NcclId {
    /// A new id.
    ///
    /// # Errors
    /// NCCL is missing (the message says what to install) or fails.
    pub fn create() -> Result<Self> {
        let nccl = nccl()?;
        let mut id = Self { internal: [0; 128] };
        // SAFETY: a valid out-pointer of the size that NCCL fills.
        nccl.check("id", unsafe { (nccl.get_unique_id)(&mut id) })?;
        Ok(id)
    }

    /// Its bytes, for sending.
    pub fn bytes(&self) -> &[u8; 128] {
        &self.internal
    }

    /// From bytes that were sent.
    pub fn from_bytes(internal: [u8; 128]) -> Self {
        Self { internal }
    }
}

impl std::fmt::Debug for NcclId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NcclId")
    }
}

type Comm = *mut c_void;

struct Nccl {
    // Keeps the functions below valid.
    _library: Library,
    get_unique_id: unsafe extern "C" fn(*mut NcclId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut Comm, c_int, NcclId, c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(Comm) -> c_int,
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int,
    group_start: unsafe extern "C" fn() -> c_int,
    group_end: unsafe extern "C" fn() -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Nccl {
    fn load() -> Option<Self> {
        let in_folders = libraries::directories().into_iter().map(|folder| folder.join("libnccl.so.2"));
        let names = ["libnccl.so.2", "libnccl.so"].into_iter().map(PathBuf::from);
        // SAFETY: NCCL has no load-time side effects that matter here.
        let library = names.chain(in_folders).find_map(|name| unsafe { Library::new(&name).ok() })?;
        // SAFETY: the types are those of NCCL's header, unchanged since version 2.0.
        unsafe {
            Some(Self {
                get_unique_id: *library.get(b"ncclGetUniqueId\0").ok()?,
                comm_init_rank: *library.get(b"ncclCommInitRank\0").ok()?,
                comm_abort: *library.get(b"ncclCommAbort\0").ok()?,
                all_reduce: *library.get(b"ncclAllReduce\0").ok()?,
                group_start: *library.get(b"ncclGroupStart\0").ok()?,
                group_end: *library.get(b"ncclGroupEnd\0").ok()?,
                error_string: *library.get(b"ncclGetErrorString\0").ok()?,
                _library: library,
            })
        }
    }

    fn check(&self, what: &str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NCCL returns a static string for every status.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) };
        let cause = format!("{} (status {status}; NCCL_DEBUG=INFO says more)", text.to_string_lossy());
        Err(Error::Cuda { what: format!("NCCL {what}"), cause })
    }
}

fn nccl() -> Result<&'static Nccl> {
    static NCCL: OnceLock<Option<Nccl>> = OnceLock::new();
    NCCL.get_or_init(Nccl::load).as_ref().ok_or_else(|| Error::Cuda {
        what: "collectives (libnccl)".into(),
        cause: "not found: install NCCL 2 or the Python package nvidia-nccl, and set CUDA_HOME or LD_LIBRARY_PATH if \
                it lies in an unusual place; or train with one process"
            .into(),
    })
}

/// This process's part in a group of GPUs.
pub struct NcclGroup {
    comm: Comm,
    device: Arc<CudaDevice>,
}

// SAFETY: a communicator may be used from any thread, one at a time; `&mut self` sees to that.
unsafe impl Send for NcclGroup {}

impl NcclGroup {
    /// Joins the group of `size` processes as `rank`; returns once all have.
    ///
    /// # Errors
    /// NCCL is missing or fails.
    pub fn join(device: &Arc<CudaDevice>, id: NcclId, rank: usize, size: usize) -> Result<Self> {
        let nccl = nccl()?;
        device.bind()?;
        let mut comm = std::ptr::null_mut();
        // SAFETY: a valid out-pointer; the device's context is current.
        let status = unsafe { (nccl.comm_init_rank)(&mut comm, size as c_int, id, rank as c_int) };
        nccl.check("group", status)?;
        Ok(Self { comm, device: device.clone() })
    }

    /// Replaces each f32 tensor by its sum over the group. Nothing waits for the device.
    ///
    /// # Errors
    /// A tensor that is not f32 on this group's GPU; NCCL fails.
    pub fn sum(&mut self, tensors: &mut [Tensor]) -> Result<()> {
        let nccl = nccl()?;
        self.device.bind()?;
        // SAFETY: a call without arguments.
        nccl.check("sum", unsafe { (nccl.group_start)() })?;
        let mut first_error = Ok(());
        for tensor in tensors.iter_mut() {
            let queued = self.queue(nccl, tensor);
            if first_error.is_ok() {
                first_error = queued;
            }
        }
        // SAFETY: as above. The group is closed also after an error.
        let ended = nccl.check("sum", unsafe { (nccl.group_end)() });
        first_error.and(ended)
    }

    fn queue(&self, nccl: &Nccl, tensor: &Tensor) -> Result<()> {
        if tensor.dtype() != DType::F32 {
            return Err(Error::shape("nccl sum", "f32 tensors", format!("{tensor:?}")));
        }
        let at = address(tensor)? as *mut c_void;
        let stream = self.device.stream().0.cast();
        // SAFETY: the tensor's memory is alive and holds `len` floats; it is used in the order of the stream.
        let status = unsafe { (nccl.all_reduce)(at, at, tensor.len(), FLOAT32, SUM, self.comm, stream) };
        nccl.check("sum", status)
    }
}

impl Drop for NcclGroup {
    fn drop(&mut self) {
        // Abort rather than destroy: destroying waits for a partner that may have died.
        if let Ok(nccl) = nccl() {
            // SAFETY: the communicator is used nowhere else any more.
            unsafe { (nccl.comm_abort)(self.comm) };
        }
    }
}

impl std::fmt::Debug for NcclGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NcclGroup on {:?}", self.device)
    }
}
