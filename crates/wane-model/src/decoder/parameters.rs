//! The learned tensors: names, kinds, and how projections of one input are fused.
//!
//! On CUDA the parts `[o q k v f]` of the attention projection are one matrix (one product reads
//! the input once); on the CPU they stay apart, so that weights can stay mapped and quantized.
//! Files always see the canonical names: [`Parameter::split`] takes a fused tensor apart.

use wane_kernels::ops::cast::cast;
use wane_kernels::{DType, Device, Tensor, Weight};

use crate::config::{AttentionBias, FfnActivation, ModelConfig, NormPlacement, QkNorm};
use crate::{Error, Result};

/// What a parameter is to the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterKind {
    /// A matrix between activations.
    Matrix,
    /// The embedding or the output head.
    Embedding,
    /// A norm's scale.
    Norm,
    /// A bias.
    Bias,
    /// The memory gate's matrix.
    MemoryGate,
    /// The memory gate's bias.
    MemoryGateBias,
}

/// One learned tensor.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Canonical name, or `...self_attn.fused_proj.weight`.
    pub name: String,
    /// What it is.
    pub kind: ParameterKind,
    /// Its values, as the forward pass reads them.
    pub weight: Weight,
    // Canonical names and their rows, in order.
    pieces: Vec<(String, usize)>,
}

impl Parameter {
    /// Cuts a tensor of this parameter's shape (weights, gradients, moments) into pieces under
    /// their canonical names; the pieces share its storage.
    ///
    /// # Errors
    /// The tensor has another number of rows.
    pub fn split(&self, tensor: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut start = 0;
        self.pieces
            .iter()
            .map(|(name, rows)| {
                let piece = tensor.slice(start, start + rows)?;
                start += rows;
                Ok((name.clone(), piece))
            })
            .collect()
    }
}

/// The parts of the attention projection, in the order of their columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    OutputGate,
    Query,
    Key,
    Value,
    MemoryGate,
}

/// Columns `start..start + width` of the projection come from this parameter.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) start: usize,
    pub(super) width: usize,
}

/// Where each role's columns begin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Columns {
    pub(super) output_gate: usize,
    pub(super) query: usize,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) memory_gate: usize,
    pub(super) total: usize,
}

/// Indices into [`super::Decoder::parameters`] of one block.
#[derive(Debug, Clone)]
pub(super) struct LayerIndices {
    pub(super) parts: Vec<Part>,
    pub(super) columns: Columns,
    pub(super) q_norm: Option<usize>,
    pub(super) k_norm: Option<usize>,
    pub(super) out: usize,
    pub(super) out_bias: Option<usize>,
    // Before attention (pre-norm) or after it (post-norm); the same for the FFN.
    pub(super) attention_norm: usize,
    pub(super) ffn_norm: usize,
    // [gate | up] or fc1; two parameters when not fused.
    pub(super) up: Vec<usize>,
    pub(super) down: usize,
}

type Fetch<'a> = &'a dyn Fn(&str) -> Result<Option<Weight>>;

/// Fetches, checks, converts and fuses weights.
pub(super) struct Collector<'a> {
    device: &'a Device,
    dtype: Option<DType>,
    fetch: Fetch<'a>,
    parameters: Vec<Parameter>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(device: &'a Device, dtype: Option<DType>, fetch: Fetch<'a>) -> Self {
        let dtype = if device.is_cpu() { dtype } else { Some(DType::BF16) };
        Self { device, dtype, fetch, parameters: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<Parameter> {
        self.parameters
    }

    fn fuses(&self) -> bool {
        !self.device.is_cpu()
    }

    fn take(&self, name: &str, shape: &[usize], dtype: Option<DType>) -> Result<Weight> {
        let missing = || Error::Invalid(format!("the checkpoint has no tensor {name} ({shape:?})"));
        let weight = (self.fetch)(name)?.ok_or_else(missing)?;
        let found = match &weight {
            Weight::Dense(tensor) => tensor.shape().to_vec(),
            Weight::Quantized(matrix) => vec![matrix.rows, matrix.columns],
        };
        if found != shape {
            return Err(Error::Invalid(format!("tensor {name}: expected shape {shape:?}, got {found:?}")));
        }
        match weight {
            Weight::Dense(tensor) => {
                let tensor = match dtype {
                    Some(dtype) => cast(&tensor, dtype)?,
                    None => tensor,
                };
                Ok(Weight::Dense(tensor.to_device(self.device)?))
            }
            quantized if self.device.is_cpu() => Ok(quantized),
            _ => Err(Error::Invalid(format!(
                "tensor {name} is quantized, which only the CPU runs: `wane convert --dtype bf16` first"
            ))),
        }
    }

    // Norms and biases are computed with in f32 on the CPU.
    fn vector_dtype(&self) -> DType {
        if self.device.is_cpu() { DType::F32 } else { DType::BF16 }
    }

    fn push(
        &mut self,
        name: &str,
        kind: ParameterKind,
        weight: Weight,
        pieces: Vec<(String, usize)>,
    ) -> usize {
        self.parameters.push(Parameter { name: name.to_owned(), kind, weight, pieces });
        self.parameters.len() - 1
    }

    fn matrix(&mut self, name: &str, kind: ParameterKind, shape: [usize; 2]) -> Result<usize> {
        let weight = self.take(name, &shape, self.dtype)?;
        Ok(self.push(name, kind, weight, vec![(name.to_owned(), shape[0])]))
    }

    fn vector(&mut self, name: &str, kind: ParameterKind, len: usize) -> Result<usize> {
        let weight = self.take(name, &[len], Some(self.vector_dtype()))?;
        Ok(self.push(name, kind, weight, vec![(name.to_owned(), len)]))
    }

    pub(super) fn norm(&mut self, name: &str, len: usize) -> Result<usize> {
        self.vector(name, ParameterKind::Norm, len)
    }

    pub(super) fn embedding(&mut self, config: &ModelConfig) -> Result<usize> {
        let shape = [config.vocab_size, config.hidden_size];
        self.matrix("model.embed_tokens.weight", ParameterKind::Embedding, shape)
    }

    pub(super) fn head(&mut self, config: &ModelConfig) -> Result<usize> {
        self.matrix("lm_head.weight", ParameterKind::Embedding, [config.vocab_size, config.hidden_size])
    }

    // Several matrices over the same input as one, stacked by rows.
    fn fused(&mut self, name: &str, pieces: &[(String, usize)], columns: usize) -> Result<usize> {
        let mut bytes = Vec::new();
        let mut dtype = DType::BF16;
        for (piece, rows) in pieces {
            let weight = self.take(piece, &[*rows, columns], self.dtype)?;
            let tensor = weight.dense()?;
            dtype = tensor.dtype();
            bytes.extend(tensor.to_bytes()?);
        }
        let rows = pieces.iter().map(|(_, rows)| rows).sum();
        let tensor = Tensor::from_bytes(&bytes, &[rows, columns], dtype, self.device)?;
        Ok(self.push(name, ParameterKind::Matrix, Weight::Dense(tensor), pieces.to_vec()))
    }

    pub(super) fn layer(&mut self, config: &ModelConfig, layer: usize) -> Result<LayerIndices> {
        let prefix = format!("model.layers.{layer}");
        let hidden = config.hidden_size;
        let (first, second) = match config.norm_placement {
            NormPlacement::Pre => ("input_layernorm", "post_attention_layernorm"),
            NormPlacement::Post => ("post_attention_layernorm", "post_feedforward_layernorm"),
        };
        let attention_norm = self.norm(&format!("{prefix}.{first}.weight"), hidden)?;
        let (parts, columns) = self.projection(config, &prefix)?;
        let (q_norm, k_norm) = match config.qk_norm {
            QkNorm::None => (None, None),
            QkNorm::PerHead => self.qk_norms(&prefix, config.head_dim, config.head_dim)?,
            QkNorm::FullWidth => self.qk_norms(&prefix, config.q_width(), config.kv_width())?,
        };
        let out = self.matrix(
            &format!("{prefix}.self_attn.o_proj.weight"),
            ParameterKind::Matrix,
            [hidden, config.q_width()],
        )?;
        let out_bias = match config.attention_bias {
            AttentionBias::All => {
                Some(self.vector(&format!("{prefix}.self_attn.o_proj.bias"), ParameterKind::Bias, hidden)?)
            }
            _ => None,
        };
        let ffn_norm = self.norm(&format!("{prefix}.{second}.weight"), hidden)?;
        let ffn = config.intermediate_size;
        let up = match config.ffn_activation {
            FfnActivation::Gelu => {
                vec![self.matrix(
                    &format!("{prefix}.mlp.fc1.weight"),
                    ParameterKind::Matrix,
                    [ffn, hidden],
                )?]
            }
            FfnActivation::SwiGlu => {
                let names =
                    [format!("{prefix}.mlp.gate_proj.weight"), format!("{prefix}.mlp.up_proj.weight")];
                if self.fuses() {
                    let pieces: Vec<_> = names.into_iter().map(|name| (name, ffn)).collect();
                    vec![self.fused(&format!("{prefix}.mlp.fused_up_proj.weight"), &pieces, hidden)?]
                } else {
                    names
                        .iter()
                        .map(|name| self.matrix(name, ParameterKind::Matrix, [ffn, hidden]))
                        .collect::<Result<_>>()?
                }
            }
        };
        let down = match config.ffn_activation {
            FfnActivation::Gelu => format!("{prefix}.mlp.fc2.weight"),
            FfnActivation::SwiGlu => format!("{prefix}.mlp.down_proj.weight"),
        };
        let down = self.matrix(&down, ParameterKind::Matrix, [hidden, ffn])?;
        Ok(LayerIndices { parts, columns, q_norm, k_norm, out, out_bias, attention_norm, ffn_norm, up, down })
    }

    fn qk_norms(&mut self, prefix: &str, q: usize, k: usize) -> Result<(Option<usize>, Option<usize>)> {
        Ok((
            Some(self.norm(&format!("{prefix}.self_attn.q_norm.weight"), q)?),
            Some(self.norm(&format!("{prefix}.self_attn.k_norm.weight"), k)?),
        ))
    }

    fn projection(&mut self, config: &ModelConfig, prefix: &str) -> Result<(Vec<Part>, Columns)> {
        let biased = config.attention_bias != AttentionBias::None;
        let mut roles = Vec::new();
        if config.output_gate {
            roles.push((Role::OutputGate, "output_gate", config.q_width(), false));
        }
        roles.push((Role::Query, "q_proj", config.q_width(), biased));
        roles.push((Role::Key, "k_proj", config.kv_width(), biased));
        roles.push((Role::Value, "v_proj", config.kv_width(), biased));
        if let Some(memory) = &config.memory {
            roles.push((Role::MemoryGate, "memory_gate", config.kv_width(), memory.gate_bias));
        }
        let mut columns = Columns::default();
        let mut parts = Vec::new();
        let mut pending: Vec<(String, usize)> = Vec::new();
        for (role, name, width, has_bias) in roles {
            match role {
                Role::OutputGate => columns.output_gate = columns.total,
                Role::Query => columns.query = columns.total,
                Role::Key => columns.key = columns.total,
                Role::Value => columns.value = columns.total,
                Role::MemoryGate => columns.memory_gate = columns.total,
            }
            let weight_name = format!("{prefix}.self_attn.{name}.weight");
            // The memory gate stays apart: it has a learning rate of its own.
            if self.fuses() && !has_bias && role != Role::MemoryGate {
                pending.push((weight_name, width));
            } else {
                self.flush(&mut pending, columns.total, config.hidden_size, prefix, &mut parts)?;
                let gate = role == Role::MemoryGate;
                let kind = if gate { ParameterKind::MemoryGate } else { ParameterKind::Matrix };
                let weight = self.matrix(&weight_name, kind, [width, config.hidden_size])?;
                let kind = if gate { ParameterKind::MemoryGateBias } else { ParameterKind::Bias };
                let bias_name = format!("{prefix}.self_attn.{name}.bias");
                let bias = if has_bias { Some(self.vector(&bias_name, kind, width)?) } else { None };
                parts.push(Part { weight, bias, start: columns.total, width });
            }
            columns.total += width;
        }
        self.flush(&mut pending, columns.total, config.hidden_size, prefix, &mut parts)?;
        Ok((parts, columns))
    }

    fn flush(
        &mut self,
        pending: &mut Vec<(String, usize)>,
        end: usize,
        hidden: usize,
        prefix: &str,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let width: usize = pending.iter().map(|(_, rows)| rows).sum();
        let weight = self.fused(&format!("{prefix}.self_attn.fused_proj.weight"), pending, hidden)?;
        parts.push(Part { weight, bias: None, start: end - width, width });
        pending.clear();
        Ok(())
    }
}
