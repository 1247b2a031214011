//! A tensor as a file holds it, and the way from there to a [`Weight`]: type, alignment, shape,
//! finiteness. All formats go through here.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use wane_kernels::{CpuBuffer, DType, Device, QuantKind, QuantMatrix, Tensor, Weight};

use crate::config::ModelConfig;
use crate::{Error, Result};

/// Bytes that several tensors share: a mapped file, or memory.
pub(crate) type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Maps a whole file.
pub(crate) fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let is_file = file.metadata().map_err(Error::io("read", path))?.is_file();
    if !is_file {
        return Err(Error::unsupported(path, "it is not a regular file"));
    }
    // SAFETY: the mapping is private and read-only. Model files are not modified in place while a
    // program reads them (our own writer replaces whole files); truncating one ends the process.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
    Ok(Arc::new(map))
}

/// Element types of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceDtype {
    F64,
    F32,
    F16,
    BF16,
    Quantized(QuantKind),
}

impl SourceDtype {
    /// Bytes of `elements` elements; `None` if they overflow or are no whole number of blocks.
    pub(crate) fn bytes(self, elements: usize) -> Option<usize> {
        let (per_block, bytes) = match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Quantized(kind) => kind.block(),
        };
        elements.is_multiple_of(per_block).then(|| (elements / per_block).checked_mul(bytes)).flatten()
    }
}

/// A tensor in a file.
#[derive(Clone)]
pub(crate) struct SourceTensor {
    pub(crate) dtype: SourceDtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Bytes,
    /// First byte in `data`; the range has been checked by whoever made this.
    pub(crate) offset: usize,
}

impl std::fmt::Debug for SourceTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}{:?}", self.dtype, self.shape)
    }
}

impl SourceTensor {
    /// Checks that the tensor lies within `data`.
    pub(crate) fn new(
        dtype: SourceDtype,
        shape: Vec<usize>,
        data: Bytes,
        offset: usize,
    ) -> std::result::Result<Self, String> {
        let bytes = shape
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size))
            .and_then(|elements| dtype.bytes(elements))
            .ok_or_else(|| format!("{dtype:?} of shape {shape:?} has no whole number of bytes"))?;
        let have = (*data).as_ref().len();
        if offset.checked_add(bytes).is_none_or(|end| end > have) {
            return Err(format!(
                "{dtype:?} of shape {shape:?} needs bytes {offset} to {}, but there are only {have}",
                offset.saturating_add(bytes)
            ));
        }
        Ok(Self { dtype, shape, data, offset })
    }

    fn bytes(&self) -> &[u8] {
        let length = self.dtype.bytes(self.shape.iter().product()).unwrap_or(0);
        &(*self.data).as_ref()[self.offset..self.offset + length]
    }

    /// Rows `start..end` of a dense tensor.
    pub(crate) fn rows(&self, start: usize, end: usize) -> std::result::Result<Self, String> {
        let rows = self.shape.first().copied().unwrap_or(0);
        let row_bytes = self.bytes().len().checked_div(rows).unwrap_or(0);
        if start > end || end > rows {
            return Err(format!("rows {start} to {end} of {:?} do not exist", self.shape));
        }
        let mut shape = self.shape.clone();
        shape[0] = end - start;
        Self::new(self.dtype, shape, self.data.clone(), self.offset + start * row_bytes)
    }

    /// The weight: mapped if f32 or bf16 at an aligned place or quantized, else a copy (f16 and f64
    /// widen or narrow to f32).
    pub(crate) fn weight(&self) -> wane_kernels::Result<Weight> {
        let bytes = self.bytes();
        let copy = |values: Vec<f32>| Tensor::from_f32(&values, &self.shape, &Device::Cpu).map(Weight::Dense);
        let dense = |dtype: DType| {
            if bytes.as_ptr().addr().is_multiple_of(dtype.size()) {
                let buffer = CpuBuffer::shared(self.data.clone(), self.offset, bytes.len());
                Tensor::from_cpu_buffer(buffer, &self.shape, dtype).map(Weight::Dense)
            } else {
                Tensor::from_bytes(bytes, &self.shape, dtype, &Device::Cpu).map(Weight::Dense)
            }
        };
        match self.dtype {
            SourceDtype::F32 => dense(DType::F32),
            SourceDtype::BF16 => dense(DType::BF16),
            SourceDtype::F16 => {
                copy(bytes.par_chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect())
            }
            SourceDtype::F64 => {
                copy(bytes.as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect())
            }
            SourceDtype::Quantized(kind) => {
                let [rows, columns] = self.shape[..] else {
                    return Err(wane_kernels::Error::shape(
                        "quantized weight",
                        "a matrix",
                        format!("{:?}", self.shape),
                    ));
                };
                QuantMatrix::new(kind, [rows, columns], self.data.clone(), self.offset).map(Weight::Quantized)
            }
        }
    }
}

/// Turns tensors under canonical names into exactly the weights that `config` prescribes.
///
/// # Errors
/// One is missing, superfluous, of another shape, or not finite.
pub(crate) fn assemble(
    config: &ModelConfig,
    mut tensors: BTreeMap<String, SourceTensor>,
    path: &Path,
) -> Result<BTreeMap<String, Weight>> {
    let parameters = config.parameters();
    let mut found = Vec::with_capacity(parameters.len());
    for (name, shape) in parameters {
        let tensor =
            tensors.remove(&name).ok_or_else(|| Error::tensor(&name, path, "it is missing from the file"))?;
        if tensor.shape != shape {
            return Err(Error::tensor(
                &name,
                path,
                format!("the configuration asks for shape {shape:?}, the file has {:?}", tensor.shape),
            ));
        }
        found.push((name, tensor));
    }
    if config.tie_word_embeddings {
        tensors.remove("lm_head.weight");
    }
    if let Some(name) = tensors.keys().find(|name| !name.ends_with("rotary_emb.inv_freq")) {
        return Err(Error::tensor(name, path, "the configuration has no place for it"));
    }
    found
        .into_par_iter()
        .map(|(name, tensor)| {
            let weight = tensor.weight().map_err(|error| Error::tensor(&name, path, error))?;
            if let Some(place) = not_finite(&weight) {
                return Err(Error::tensor(&name, path, format!("it is not finite {place}")));
            }
            Ok((name, weight))
        })
        .collect()
}

/// Where a weight holds an infinity or NaN, if anywhere.
fn not_finite(weight: &Weight) -> Option<String> {
    match weight {
        Weight::Dense(tensor) => {
            const CHUNK: usize = 1 << 16;
            let index = match tensor.dtype() {
                DType::F32 => tensor.f32s().par_chunks(CHUNK).enumerate().find_map_first(|(i, chunk)| {
                    // Without an early exit, so that it vectorizes.
                    let bad = chunk.iter().fold(false, |bad, value| bad | !value.is_finite());
                    bad.then(|| i * CHUNK + chunk.iter().position(|value| !value.is_finite()).unwrap_or(0))
                }),
                DType::BF16 => tensor.bf16s().par_chunks(CHUNK).enumerate().find_map_first(|(i, chunk)| {
                    let wrong = |value: &bf16| value.to_bits() & 0x7f80 == 0x7f80;
                    let bad = chunk.iter().fold(false, |bad, value| bad | wrong(value));
                    bad.then(|| i * CHUNK + chunk.iter().position(wrong).unwrap_or(0))
                }),
                DType::I32 => None,
            };
            index.map(|index| format!("at element {index}"))
        }
        Weight::Quantized(matrix) => {
            let (_, block) = matrix.kind.block();
            let scales = match matrix.kind {
                QuantKind::Q8_0 | QuantKind::Q4_0 => 0..2,
                QuantKind::Q4_1 | QuantKind::Q4K => 0..4,
                QuantKind::Q6K => 208..210,
            };
            (0..matrix.rows)
                .into_par_iter()
                .find_first(|&row| {
                    matrix.row(row).chunks_exact(block).any(|block| {
                        block[scales.clone()]
                            .chunks_exact(2)
                            .any(|scale| !f16::from_le_bytes([scale[0], scale[1]]).is_finite())
                    })
                })
                .map(|row| format!("in row {row}"))
        }
    }
}
