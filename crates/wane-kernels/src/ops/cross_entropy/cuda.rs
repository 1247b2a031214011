//! The loss on NVIDIA GPUs, in chunks of rows: logits by cuBLASLt, then one kernel for softmax, loss
//! and gradient in place, then the products for the gradients of hidden states and head.
//!
//! Losses alone keep their logits in f32; with gradients they have the dtype of the hidden states,
//! so in bf16 a loss carries the rounding of its logits, as in mixed-precision training elsewhere.

use super::LossGrads;
use crate::cuda::gemm::{Layout, Matrix, Product};
use crate::cuda::{CudaDevice, Launch, Module, address, args, device_of, typed};
use crate::ops::cast::cast;
use crate::{DType, Result, Tensor, Weight};

static MODULE: Module<'static> = Module::new("cross_entropy", include_str!("cross_entropy.cu"));

// Bytes of the logits of a chunk.
const CHUNK_BYTES: usize = 384 << 20;

struct Chunks<'a> {
    device: &'a CudaDevice,
    hidden: &'a Tensor,
    head: Tensor,
    targets: &'a Tensor,
    losses: Tensor,
    // [rows, stride]; rows are padded to whole vectors.
    logits: Tensor,
}

impl<'a> Chunks<'a> {
    fn new(hidden: &'a Tensor, head: &Weight, targets: &'a Tensor, dtype: DType) -> Result<Self> {
        let head = cast(head.dense()?, hidden.dtype())?;
        let stride = head.dim(0).next_multiple_of(8);
        let most = (CHUNK_BYTES / (stride * dtype.size())).next_multiple_of(128);
        let shape = [most.min(hidden.rows()), stride];
        Ok(Self {
            device: device_of(hidden)?,
            hidden,
            head,
            targets,
            losses: Tensor::uninit(&[hidden.rows()], DType::F32, hidden.device())?,
            logits: Tensor::uninit(&shape, dtype, hidden.device())?,
        })
    }

    fn hidden_from(&self, start: usize) -> Result<Matrix> {
        let dtype = self.hidden.dtype();
        let stride = self.hidden.width();
        Ok(Matrix { address: address(self.hidden)? + (start * stride * dtype.size()) as u64, stride, dtype })
    }

    fn head(&self) -> Result<Matrix> {
        Ok(Matrix { address: address(&self.head)?, stride: self.head.width(), dtype: self.head.dtype() })
    }

    fn logits(&self) -> Result<Matrix> {
        let dtype = self.logits.dtype();
        Ok(Matrix { address: address(&self.logits)?, stride: self.logits.width(), dtype })
    }

    // Logits of the rows from `start`, then their losses, then (with weights) their gradients in place.
    fn run(&self, start: usize, rows: usize, weights: Option<&Tensor>, scale: f32) -> Result<()> {
        self.device.product(Product {
            size: [rows, self.head.dim(0), self.hidden.width()],
            a: (self.hidden_from(start)?, Layout::Plain),
            b: (self.head()?, Layout::Transposed),
            c: None,
            bias: 0,
            d: self.logits()?,
        })?;
        let at = |tensor: &Tensor| Ok::<_, crate::Error>(address(tensor)? + 4 * start as u64);
        self.device.launch(
            &MODULE,
            &typed("cross_entropy", self.logits.dtype())?,
            Launch::new(rows, 512),
            args![
                address(&self.logits)?,
                at(self.targets)?,
                weights.map_or(Ok(0), at)?,
                at(&self.losses)?,
                self.head.dim(0) as i32,
                self.logits.width() as i32,
                scale
            ],
        )
    }

    fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        let (rows, chunk) = (self.hidden.rows(), self.logits.dim(0).max(1));
        (0..rows).step_by(chunk).map(move |start| (start, chunk.min(rows - start)))
    }
}

pub(super) fn losses(hidden: &Tensor, head: &Weight, targets: &Tensor) -> Result<Tensor> {
    let chunks = Chunks::new(hidden, head, targets, DType::F32)?;
    for (start, rows) in chunks.ranges() {
        chunks.run(start, rows, None, 1.0)?;
    }
    Ok(chunks.losses)
}

pub(super) fn forward_backward(
    hidden: &Tensor,
    head: &Weight,
    targets: &Tensor,
    weights: &Tensor,
    scale: f32,
    dhead: &mut Tensor,
) -> Result<LossGrads> {
    let dtype = hidden.dtype();
    let chunks = Chunks::new(hidden, head, targets, dtype)?;
    let (vocabulary, d) = (chunks.head.dim(0), hidden.width());
    let dhidden = Tensor::uninit(hidden.shape(), dtype, hidden.device())?;
    let sum = Matrix { address: address(dhead)?, stride: d, dtype: DType::F32 };
    for (start, rows) in chunks.ranges() {
        chunks.run(start, rows, Some(weights), scale)?;
        let dlogits = chunks.logits()?;
        let to = address(&dhidden)? + (start * d * dtype.size()) as u64;
        chunks.device.product(Product {
            size: [rows, d, vocabulary],
            a: (dlogits, Layout::Plain),
            b: (chunks.head()?, Layout::Plain),
            c: None,
            bias: 0,
            d: Matrix { address: to, stride: d, dtype },
        })?;
        chunks.device.product(Product {
            size: [vocabulary, d, rows],
            a: (dlogits, Layout::Transposed),
            b: (chunks.hidden_from(start)?, Layout::Plain),
            c: Some(sum),
            bias: 0,
            d: sum,
        })?;
    }
    Ok(LossGrads { losses: chunks.losses, dhidden })
}
