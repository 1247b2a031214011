//! Matrix products through cuBLASLt, with cached plans: asking for its heuristic costs more than
//! a small product.
//!
//! Everything here is row-major: `d[n, m] = a[n, k] b[k, m] (+ bias[m]) (+ beta c[n, m])`, f32
//! accumulation. cuBLASLt is column-major, where a row-major matrix is its own transpose; so the
//! product computed is `d^T = b^T a^T` and no data moves.

use std::collections::HashMap;

use cudarc::cublaslt::{result as lt, sys};

use super::CudaDevice;
use crate::{DType, Error, Result};

const WORKSPACE: usize = 32 << 20;

/// A row-major matrix in device memory, possibly a window of a wider one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    /// First element.
    pub(crate) address: u64,
    /// Elements from row to row.
    pub(crate) stride: usize,
    /// Element type.
    pub(crate) dtype: DType,
}

/// How an operand lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// As the formula names it.
    Plain,
    /// Its transpose.
    Transposed,
}

/// One product `d = a b (+ bias) (+ c)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// Rows, columns of the result, and the summed dimension.
    pub(crate) size: [usize; 3],
    /// [n, k], or [k, n] in memory if transposed.
    pub(crate) a: (Matrix, Layout),
    /// [k, m], or [m, k] in memory if transposed.
    pub(crate) b: (Matrix, Layout),
    /// Added to the product; may be `d` itself.
    pub(crate) c: Option<Matrix>,
    /// [m], dtype of `d`; 0 for none.
    pub(crate) bias: u64,
    /// Result.
    pub(crate) d: Matrix,
}

#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
struct Key {
    size: [usize; 3],
    layouts: [Layout; 2],
    dtypes: [DType; 2],
    strides: [usize; 4],
    // log2 of the alignment of a, b, c, d.
    alignment: [u32; 4],
    accumulate: bool,
    bias: bool,
}

struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    // Of b, a, c, d: in cuBLASLt's order.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library's handle, workspace and plans; created at the first product.
#[derive(Default)]
pub(super) struct Plans {
    handle: Option<Handle>,
    plans: HashMap<Key, Plan>,
}

struct Handle {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
}

// SAFETY: handles and descriptors are used only under the device's mutex.
unsafe impl Send for Plans {}

fn failed(what: &'static str) -> impl FnOnce(lt::CublasError) -> Error {
    move |cause| Error::Cuda { what: format!("cuBLASLt {what}"), cause: format!("{:?}", cause.0) }
}

fn data_type(dtype: DType) -> sys::cudaDataType_t {
    match dtype {
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    }
}

// log2 of the alignment in bytes, at most 2^8: what the heuristic may assume.
fn alignment(matrix: &Matrix) -> u32 {
    (matrix.address | (matrix.stride * matrix.dtype.size()) as u64).trailing_zeros().min(8)
}

impl CudaDevice {
    /// Submits a product. Both operands have one dtype; `c` has the dtype of `d`.
    ///
    /// # Errors
    /// cuBLASLt has no algorithm for it.
    pub(crate) fn product(&self, product: Product) -> Result<()> {
        let [n, m, k] = product.size;
        if n == 0 || m == 0 {
            return Ok(());
        }
        let (a, b, d) = (product.a.0, product.b.0, product.d);
        if a.dtype != b.dtype || product.c.is_some_and(|c| c.dtype != d.dtype) || k == 0 {
            return Err(Error::shape(
                "matrix product",
                "operands of one dtype and a non-empty sum",
                format!("{:?} x {:?}, {:?}", a.dtype, b.dtype, product.size),
            ));
        }
        let c = product.c.unwrap_or(d);
        let key = Key {
            size: product.size,
            layouts: [product.a.1, product.b.1],
            dtypes: [a.dtype, d.dtype],
            strides: [a.stride, b.stride, c.stride, d.stride],
            alignment: [alignment(&a), alignment(&b), alignment(&c), alignment(&d)],
            accumulate: product.c.is_some(),
            bias: product.bias != 0,
        };
        self.bind()?;
        let mut guard = self.gemm.lock().unwrap_or_else(|e| e.into_inner());
        let plans = &mut *guard;
        if plans.handle.is_none() {
            let workspace = self.workspace()?;
            plans.handle = Some(Handle { handle: lt::create_handle().map_err(failed("handle"))?, workspace });
        }
        let Some(handle) = &plans.handle else { unreachable!("created above") };
        let plan = match plans.plans.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(plan(handle.handle, &key)?),
        };
        if product.bias != 0 {
            // SAFETY: the attribute is a pointer-sized device address.
            unsafe {
                set(
                    plan.description,
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    &product.bias,
                )?;
            }
        }
        let (alpha, beta) = (1.0f32, if product.c.is_some() { 1.0f32 } else { 0.0 });
        // SAFETY: addresses, sizes and strides describe live device memory (the operators' duty);
        // plan and handle are alive and used under the lock.
        unsafe {
            lt::matmul(
                handle.handle,
                plan.description,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                b.address as *const _,
                plan.layouts[0],
                a.address as *const _,
                plan.layouts[1],
                c.address as *const _,
                plan.layouts[2],
                d.address as *mut _,
                plan.layouts[3],
                &raw const plan.algorithm,
                handle.workspace as *mut _,
                WORKSPACE,
                self.stream().0.cast(),
            )
        }
        .map_err(failed("product"))?;
        drop(guard);
        if self.synchronous {
            self.synchronize()?;
        }
        Ok(())
    }

    // Memory that lives as long as the device.
    fn workspace(&self) -> Result<u64> {
        let block = self.lock_allocator().take(WORKSPACE);
        block.map(|block| block.address).ok_or_else(|| Error::OutOfMemory {
            device: self.name().into(),
            bytes: WORKSPACE,
            hint: "cuBLASLt's workspace".into(),
        })
    }
}

// SAFETY: `T` must be the attribute's type.
unsafe fn set<T>(
    description: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<()> {
    // SAFETY: the value is readable for its size.
    unsafe {
        lt::set_matmul_desc_attribute(
            description,
            attribute,
            std::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    }
    .map_err(failed("description"))
}

fn plan(handle: sys::cublasLtHandle_t, key: &Key) -> Result<Plan> {
    use sys::cublasLtMatmulDescAttributes_t as D;
    use sys::cublasLtMatmulPreferenceAttributes_t as P;
    let [n, m, k] = key.size.map(|x| x as u64);
    let [a_stride, b_stride, c_stride, d_stride] = key.strides.map(|x| x as i64);
    let [operand, result] = key.dtypes.map(data_type);
    let description =
        lt::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F)
            .map_err(failed("description"))?;
    // Column-major, a plain row-major [r, c] matrix is [c, r]; the first operand is our `b`.
    let [a_layout, b_layout] = key.layouts;
    let operation = |layout| i32::from(layout == Layout::Transposed);
    // SAFETY: the attributes are 32-bit integers.
    unsafe {
        set(description, D::CUBLASLT_MATMUL_DESC_TRANSA, &operation(b_layout))?;
        set(description, D::CUBLASLT_MATMUL_DESC_TRANSB, &operation(a_layout))?;
        if key.bias {
            set(
                description,
                D::CUBLASLT_MATMUL_DESC_EPILOGUE,
                &sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            )?;
        }
    }
    let matrix = |dtype, rows, columns, stride| {
        lt::create_matrix_layout(dtype, rows, columns, stride).map_err(failed("layout"))
    };
    let of_b = match b_layout {
        Layout::Plain => matrix(operand, m, k, b_stride),
        Layout::Transposed => matrix(operand, k, m, b_stride),
    }?;
    let of_a = match a_layout {
        Layout::Plain => matrix(operand, k, n, a_stride),
        Layout::Transposed => matrix(operand, n, k, a_stride),
    }?;
    let layouts = [of_b, of_a, matrix(result, m, n, c_stride)?, matrix(result, m, n, d_stride)?];
    let preference = lt::create_matmul_pref().map_err(failed("preference"))?;
    let bytes = key.alignment.map(|log| 1u32 << log);
    let attributes = [
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, bytes[1]),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, bytes[0]),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, bytes[2]),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, bytes[3]),
    ];
    // SAFETY: descriptors are alive; attribute sizes match (the workspace is a size, alignments are u32).
    let heuristic = unsafe {
        lt::set_matmul_pref_attribute(
            preference,
            P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const WORKSPACE_BYTES).cast(),
            size_of::<usize>(),
        )
        .map_err(failed("preference"))?;
        for (attribute, value) in attributes {
            lt::set_matmul_pref_attribute(preference, attribute, (&raw const value).cast(), 4)
                .map_err(failed("preference"))?;
        }
        let found = lt::get_matmul_algo_heuristic(
            handle,
            description,
            layouts[0],
            layouts[1],
            layouts[2],
            layouts[3],
            preference,
        );
        let _ = lt::destroy_matmul_pref(preference);
        found
    }
    .map_err(|cause| Error::Cuda {
        what: format!("cuBLASLt plan for {key:?}"),
        cause: format!("{:?}", cause.0),
    })?;
    Ok(Plan { description, layouts, algorithm: heuristic.algo })
}

static WORKSPACE_BYTES: usize = WORKSPACE;
