//! The one tensor type: contiguous, row-major, reference-counted, on one device.
//!
//! Cloning, reshaping and taking a range of rows share the storage. The only strided view is
//! [`Cols`]: a range of columns of a matrix, used to read the parts of a fused projection.

use std::fmt;
use std::sync::Arc;

use half::bf16;

use crate::cpu::CpuBuffer;
use crate::cuda::CudaBuffer;
use crate::{Device, Error, Result, transfers};

/// Element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// bfloat16.
    BF16,
    /// 32-bit signed integer: token ids, positions, indices. Page addresses are pairs of them.
    I32,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::BF16 => 2,
        }
    }
}

/// Memory on a device.
#[derive(Debug)]
pub enum Storage {
    /// Host memory.
    Cpu(CpuBuffer),
    /// Device memory.
    Cuda(CudaBuffer),
}

/// A contiguous row-major array.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    // In elements, from the start of the storage.
    offset: usize,
    shape: Vec<usize>,
    dtype: DType,
    device: Device,
}

impl Tensor {
    /// Unwritten memory: read it only after an operator has filled it. Tests fill it with NaN.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn uninit(shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let storage = match device {
            Device::Cpu => Storage::Cpu(CpuBuffer::new(bytes)),
            Device::Cuda(cuda) => Storage::Cuda(cuda.allocate(bytes)?),
        };
        Ok(Self {
            storage: Arc::new(storage),
            offset: 0,
            shape: shape.to_vec(),
            dtype,
            device: device.clone(),
        })
    }

    /// Like [`Tensor::uninit`], but on the CPU the memory goes back to the operating system when
    /// the tensor is dropped: for cache pages, whose eviction must be visible.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn uninit_unpooled(shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => {
                let bytes = shape.iter().product::<usize>() * dtype.size();
                Self::from_cpu_buffer(CpuBuffer::unpooled(bytes), shape, dtype)
            }
            Device::Cuda(_) => Self::uninit(shape, dtype, device),
        }
    }

    /// All zeros.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn zeros(shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let mut tensor = Self::uninit(shape, dtype, device)?;
        tensor.fill_zero()?;
        Ok(tensor)
    }

    /// Wraps host memory that somebody else owns, for example a memory-mapped file.
    ///
    /// # Errors
    /// The buffer does not have the shape's size, or does not start at a multiple of the element size.
    pub fn from_cpu_buffer(buffer: CpuBuffer, shape: &[usize], dtype: DType) -> Result<Self> {
        let needed = shape.iter().product::<usize>() * dtype.size();
        if buffer.bytes().len() != needed {
            return Err(Error::shape(
                "tensor",
                format!("{needed} bytes for {shape:?}"),
                buffer.bytes().len(),
            ));
        }
        if !(buffer.bytes().as_ptr() as usize).is_multiple_of(dtype.size()) {
            return Err(Error::shape(
                "tensor",
                format!("{dtype:?} elements that are aligned"),
                "an odd address",
            ));
        }
        Ok(Self {
            storage: Arc::new(Storage::Cpu(buffer)),
            offset: 0,
            shape: shape.to_vec(),
            dtype,
            device: Device::Cpu,
        })
    }

    /// Copies f32 values to `device`.
    ///
    /// # Errors
    /// `values` does not fill `shape`, or the device is out of memory.
    pub fn from_f32(values: &[f32], shape: &[usize], device: &Device) -> Result<Self> {
        Self::from_bytes(bytemuck::cast_slice(values), shape, DType::F32, device)
    }

    /// Copies integers to `device`.
    ///
    /// # Errors
    /// `values` does not fill `shape`, or the device is out of memory.
    pub fn from_i32(values: &[i32], shape: &[usize], device: &Device) -> Result<Self> {
        Self::from_bytes(bytemuck::cast_slice(values), shape, DType::I32, device)
    }

    /// Copies raw little-endian elements to `device`.
    ///
    /// # Errors
    /// `bytes` does not fill `shape`, or the device is out of memory.
    pub fn from_bytes(bytes: &[u8], shape: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let mut tensor = Self::uninit(shape, dtype, device)?;
        if bytes.len() != tensor.num_bytes() {
            return Err(Error::shape(
                "tensor",
                format!("{} bytes for {shape:?}", tensor.num_bytes()),
                bytes.len(),
            ));
        }
        transfers::uploaded();
        match Arc::get_mut(&mut tensor.storage).expect("fresh storage") {
            Storage::Cpu(buffer) => buffer.bytes_mut().copy_from_slice(bytes),
            Storage::Cuda(buffer) => buffer.upload(0, bytes)?,
        }
        Ok(tensor)
    }

    /// Dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Size of dimension `i`.
    pub fn dim(&self, i: usize) -> usize {
        self.shape[i]
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes of the elements (the storage may be larger).
    pub fn num_bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the elements are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Size of the last dimension.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows when all but the last dimension are flattened.
    pub fn rows(&self) -> usize {
        if self.width() == 0 { 0 } else { self.len() / self.width() }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// The element counts differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if shape.iter().product::<usize>() != self.len() {
            return Err(Error::shape("reshape", format!("{} elements", self.len()), format!("{shape:?}")));
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// Entries `start..end` of the first dimension, sharing the storage.
    ///
    /// # Errors
    /// The range is out of bounds.
    pub fn slice(&self, start: usize, end: usize) -> Result<Self> {
        if start > end || self.shape.is_empty() || end > self.shape[0] {
            return Err(Error::shape(
                "slice",
                format!("a range within {:?}", self.shape),
                format!("{start}..{end}"),
            ));
        }
        let row = self.len().checked_div(self.shape[0]).unwrap_or(0);
        let mut shape = self.shape.clone();
        shape[0] = end - start;
        Ok(Self { shape, offset: self.offset + start * row, ..self.clone() })
    }

    /// A range of columns of the matrix [rows, width].
    pub fn cols(&self, start: usize, width: usize) -> Cols<'_> {
        assert!(start + width <= self.width(), "columns {start}+{width} of {:?}", self.shape);
        Cols { tensor: self, start, width }
    }

    /// A writable range of columns; the storage must not be shared.
    pub fn cols_mut(&mut self, start: usize, width: usize) -> ColsMut<'_> {
        assert!(start + width <= self.width(), "columns {start}+{width} of {:?}", self.shape);
        ColsMut { tensor: self, start, width }
    }

    /// Host elements as `T`; `None` if the tensor is not on the CPU.
    fn host<T: bytemuck::Pod>(&self, dtype: DType) -> Option<&[T]> {
        assert_eq!(self.dtype, dtype, "element type");
        match &*self.storage {
            Storage::Cpu(buffer) => {
                let start = self.offset * dtype.size();
                Some(bytemuck::cast_slice(&buffer.bytes()[start..start + self.num_bytes()]))
            }
            Storage::Cuda(_) => None,
        }
    }

    fn host_mut<T: bytemuck::Pod>(&mut self, dtype: DType) -> &mut [T] {
        assert_eq!(self.dtype, dtype, "element type");
        let (start, bytes) = (self.offset * dtype.size(), self.num_bytes());
        match Arc::get_mut(&mut self.storage).expect("writable storage must not be shared") {
            Storage::Cpu(buffer) => bytemuck::cast_slice_mut(&mut buffer.bytes_mut()[start..start + bytes]),
            Storage::Cuda(_) => panic!("host view of a device tensor"),
        }
    }

    /// f32 elements of a CPU tensor.
    ///
    /// # Panics
    /// Not f32, or not on the CPU.
    pub fn f32s(&self) -> &[f32] {
        self.host(DType::F32).expect("a CPU tensor")
    }

    /// bf16 elements of a CPU tensor.
    ///
    /// # Panics
    /// Not bf16, or not on the CPU.
    pub fn bf16s(&self) -> &[bf16] {
        self.host(DType::BF16).expect("a CPU tensor")
    }

    /// Integers of a CPU tensor.
    ///
    /// # Panics
    /// Not i32, or not on the CPU.
    pub fn i32s(&self) -> &[i32] {
        self.host(DType::I32).expect("a CPU tensor")
    }

    /// Writable f32 elements of a CPU tensor whose storage is not shared.
    ///
    /// # Panics
    /// Not f32, not on the CPU, or shared.
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        self.host_mut(DType::F32)
    }

    /// Writable bf16 elements of a CPU tensor whose storage is not shared.
    ///
    /// # Panics
    /// Not bf16, not on the CPU, or shared.
    pub fn bf16s_mut(&mut self) -> &mut [bf16] {
        self.host_mut(DType::BF16)
    }

    /// Writable integers of a CPU tensor whose storage is not shared.
    ///
    /// # Panics
    /// Not i32, not on the CPU, or shared.
    pub fn i32s_mut(&mut self) -> &mut [i32] {
        self.host_mut(DType::I32)
    }

    /// Device address of the first element; `None` on the CPU.
    pub fn cuda_address(&self) -> Option<u64> {
        match &*self.storage {
            Storage::Cpu(_) => None,
            Storage::Cuda(buffer) => Some(buffer.address() + (self.offset * self.dtype.size()) as u64),
        }
    }

    /// Raw elements, copied to the host. Waits for the device.
    ///
    /// # Errors
    /// The copy failed.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        transfers::downloaded();
        let start = self.offset * self.dtype.size();
        match &*self.storage {
            Storage::Cpu(buffer) => Ok(buffer.bytes()[start..start + self.num_bytes()].to_vec()),
            Storage::Cuda(buffer) => buffer.download(start, self.num_bytes()),
        }
    }

    /// Elements as f32 (widening bf16), copied to the host. Waits for the device.
    ///
    /// # Errors
    /// Integers, or the copy failed.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        let bytes = self.to_bytes()?;
        match self.dtype {
            DType::F32 => Ok(bytemuck::pod_collect_to_vec(&bytes)),
            DType::BF16 => Ok(bytes
                .chunks_exact(2)
                .map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32())
                .collect()),
            DType::I32 => Err(Error::unsupported("to_f32_vec", "i32 tensors")),
        }
    }

    /// Integers, copied to the host. Waits for the device.
    ///
    /// # Errors
    /// Not an integer tensor, or the copy failed.
    pub fn to_i32_vec(&self) -> Result<Vec<i32>> {
        match self.dtype {
            DType::I32 => Ok(bytemuck::pod_collect_to_vec(&self.to_bytes()?)),
            _ => Err(Error::unsupported("to_i32_vec", "float tensors")),
        }
    }

    /// Checks dtype and shape on behalf of an operator.
    ///
    /// # Errors
    /// They differ; the message names `op` and `name`.
    pub(crate) fn expect(&self, op: &'static str, name: &str, dtype: DType, shape: &[usize]) -> Result<()> {
        if self.dtype == dtype && self.shape == shape {
            return Ok(());
        }
        Err(Error::shape(op, format!("{name} {dtype:?}{shape:?}"), format!("{self:?}")))
    }

    /// Checks that this is a float matrix of `rows` rows, leading dimensions flattened.
    ///
    /// # Errors
    /// It is not; the message names `op` and `name`.
    pub(crate) fn expect_rows(&self, op: &'static str, name: &str, [rows, width]: [usize; 2]) -> Result<()> {
        if self.dtype != DType::I32 && self.len() == rows * width && self.width() == width {
            return Ok(());
        }
        Err(Error::shape(op, format!("{name} of shape [{rows}, {width}]"), format!("{self:?}")))
    }

    /// A copy on `device`; cheap if it is there already.
    ///
    /// # Errors
    /// The device is out of memory or the copy failed.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if &self.device == device {
            return Ok(self.clone());
        }
        Self::from_bytes(&self.to_bytes()?, &self.shape, self.dtype, device)
    }

    /// A copy with its own storage.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::uninit(&self.shape, self.dtype, &self.device)?;
        copy.copy_from(self)?;
        Ok(copy)
    }

    /// Overwrites the elements with those of `source` (same device, dtype and count).
    ///
    /// # Errors
    /// They differ.
    pub fn copy_from(&mut self, source: &Self) -> Result<()> {
        if self.len() != source.len() {
            return Err(Error::shape("copy_from", format!("{self:?}"), format!("{source:?}")));
        }
        self.copy_elements(0, source)
    }

    /// Overwrites rows `rows` of the matrix with the elements of `source` (same device and dtype, as many elements).
    ///
    /// # Errors
    /// They differ, or the rows are out of bounds.
    pub fn copy_rows_from(&mut self, rows: std::ops::Range<usize>, source: &Self) -> Result<()> {
        if rows.end > self.rows() || rows.len() * self.width() != source.len() {
            return Err(Error::shape(
                "copy_rows_from",
                format!("rows {rows:?} of {self:?}"),
                format!("{source:?}"),
            ));
        }
        self.copy_elements(rows.start * self.width(), source)
    }

    // Elements from `start` on become those of `source`.
    fn copy_elements(&mut self, start: usize, source: &Self) -> Result<()> {
        if self.dtype != source.dtype || self.device != source.device {
            return Err(Error::shape("copy_from", format!("{self:?}"), format!("{source:?}")));
        }
        let to = (self.offset + start) * self.dtype.size();
        let (from, bytes) = (source.offset * source.dtype.size(), source.num_bytes());
        match (
            Arc::get_mut(&mut self.storage).expect("writable storage must not be shared"),
            &*source.storage,
        ) {
            (Storage::Cpu(a), Storage::Cpu(b)) => {
                a.bytes_mut()[to..to + bytes].copy_from_slice(&b.bytes()[from..from + bytes]);
                Ok(())
            }
            (Storage::Cuda(a), Storage::Cuda(b)) => a.copy_from(to, b, from, bytes),
            _ => Err(Error::unsupported("copy_from", "two devices")),
        }
    }

    /// Sets every element to zero.
    ///
    /// # Errors
    /// The device failed.
    pub fn fill_zero(&mut self) -> Result<()> {
        let (start, bytes) = (self.offset * self.dtype.size(), self.num_bytes());
        match Arc::get_mut(&mut self.storage).expect("writable storage must not be shared") {
            Storage::Cpu(buffer) => {
                buffer.bytes_mut()[start..start + bytes].fill(0);
                Ok(())
            }
            Storage::Cuda(buffer) => buffer.fill_zero(start, bytes),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?} on {}", self.dtype, self.shape, self.device)
    }
}

/// Columns `start..start + width` of a matrix: row `i` begins at element `i * stride + start`.
#[derive(Debug, Clone, Copy)]
pub struct Cols<'a> {
    /// The whole matrix.
    pub tensor: &'a Tensor,
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub width: usize,
}

impl Cols<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tensor.rows()
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.tensor.width()
    }
}

impl Cols<'_> {
    /// Checks that this is a float matrix [rows, width].
    ///
    /// # Errors
    /// It is not; the message names `op` and `name`.
    pub(crate) fn expect(&self, op: &'static str, name: &str, [rows, width]: [usize; 2]) -> Result<()> {
        if self.tensor.dtype() != DType::I32 && (self.rows(), self.width) == (rows, width) {
            return Ok(());
        }
        let got = format!("[{}, {}] within {:?}", self.rows(), self.width, self.tensor);
        Err(Error::shape(op, format!("{name} of shape [{rows}, {width}]"), got))
    }
}

impl<'a> From<&'a Tensor> for Cols<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        tensor.cols(0, tensor.width())
    }
}

/// Like [`Cols`], writable.
#[derive(Debug)]
pub struct ColsMut<'a> {
    /// The whole matrix; its storage must not be shared.
    pub tensor: &'a mut Tensor,
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub width: usize,
}

impl ColsMut<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tensor.rows()
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.tensor.width()
    }

    /// Checks that this is a float matrix [rows, width].
    ///
    /// # Errors
    /// It is not; the message names `op` and `name`.
    pub(crate) fn expect(&self, op: &'static str, name: &str, shape: [usize; 2]) -> Result<()> {
        Cols { tensor: self.tensor, start: self.start, width: self.width }.expect(op, name, shape)
    }
}
