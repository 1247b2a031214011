//! A matrix that linear and embedding read: dense, or quantized as in a GGUF file.

use std::sync::Arc;

use crate::{DType, Device, Error, Result, Tensor};

/// Block formats of GGUF files that are computed on directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuantKind {
    /// 32 weights: f16 scale, 32 x i8.
    Q8_0,
    /// 32 weights: f16 scale, 32 x 4 bit minus 8.
    Q4_0,
    /// 32 weights: f16 scale, f16 minimum, 32 x 4 bit.
    Q4_1,
    /// 256 weights: f16 scale, f16 minimum scale, 12 bytes of 6-bit scales and minima, 256 x 4 bit.
    Q4K,
    /// 256 weights: 256 x 6 bit (4 low, 2 high), 16 x i8 scales, f16 scale.
    Q6K,
}

impl QuantKind {
    /// (weights, bytes) of one block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }
}

/// A quantized matrix [rows, columns]; each row is a whole number of blocks, in host memory.
#[derive(Clone)]
pub struct QuantMatrix {
    /// Block format.
    pub kind: QuantKind,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// The file's bytes, possibly memory-mapped.
    pub data: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// Where this matrix begins in `data`.
    pub offset: usize,
}

impl std::fmt::Debug for QuantMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}[{}, {}]", self.kind, self.rows, self.columns)
    }
}

impl QuantMatrix {
    /// Checks sizes.
    ///
    /// # Errors
    /// `columns` is no multiple of the block, or `data` is too short.
    pub fn new(
        kind: QuantKind,
        [rows, columns]: [usize; 2],
        data: Arc<dyn AsRef<[u8]> + Send + Sync>,
        offset: usize,
    ) -> Result<Self> {
        let (weights, _) = kind.block();
        let matrix = Self { kind, rows, columns, data, offset };
        if columns % weights != 0 {
            return Err(Error::shape(
                "quantized matrix",
                format!("columns in multiples of {weights}"),
                columns,
            ));
        }
        let have = (*matrix.data).as_ref().len();
        if offset.checked_add(rows * matrix.row_bytes()).is_none_or(|end| end > have) {
            return Err(Error::shape(
                "quantized matrix",
                format!("{} bytes", rows * matrix.row_bytes()),
                have,
            ));
        }
        Ok(matrix)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        let (weights, bytes) = self.kind.block();
        self.columns / weights * bytes
    }

    /// `count` encoded rows from `first` on, one after the other.
    pub fn rows_from(&self, first: usize, count: usize) -> &[u8] {
        let start = self.offset + first * self.row_bytes();
        &(*self.data).as_ref()[start..start + count * self.row_bytes()]
    }

    /// The encoded row `i`.
    pub fn row(&self, i: usize) -> &[u8] {
        let start = self.offset + i * self.row_bytes();
        &(*self.data).as_ref()[start..start + self.row_bytes()]
    }
}

/// A matrix [output features, input features].
#[derive(Debug, Clone)]
pub enum Weight {
    /// F32 or BF16 elements.
    Dense(Tensor),
    /// Blocks of a GGUF file; CPU inference only.
    Quantized(QuantMatrix),
}

impl Weight {
    /// Output features.
    pub fn rows(&self) -> usize {
        match self {
            Self::Dense(tensor) => tensor.dim(0),
            Self::Quantized(matrix) => matrix.rows,
        }
    }

    /// Input features.
    pub fn columns(&self) -> usize {
        match self {
            Self::Dense(tensor) => tensor.width(),
            Self::Quantized(matrix) => matrix.columns,
        }
    }

    /// Bytes that reading the whole matrix moves.
    pub fn num_bytes(&self) -> usize {
        match self {
            Self::Dense(tensor) => tensor.num_bytes(),
            Self::Quantized(matrix) => matrix.rows * matrix.row_bytes(),
        }
    }

    /// The dense tensor.
    ///
    /// # Errors
    /// The matrix is quantized: training and CUDA need `wane convert` first.
    pub fn dense(&self) -> Result<&Tensor> {
        match self {
            Self::Dense(tensor) => Ok(tensor),
            Self::Quantized(matrix) => Err(Error::unsupported(
                "dense weight",
                format!("{:?} (run `wane convert` to get bf16 or f32 weights)", matrix.kind),
            )),
        }
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(tensor) => tensor.device().clone(),
            Self::Quantized(_) => Device::Cpu,
        }
    }

    /// Element type, `None` if quantized.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Self::Dense(tensor) => Some(tensor.dtype()),
            Self::Quantized(_) => None,
        }
    }
}
