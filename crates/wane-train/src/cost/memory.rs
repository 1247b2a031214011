//! Predicted peak memory of a device, from the tensors that a step holds at its worst moments.
//!
//! The moments: the loss (all blocks' activations, and a chunk of logits), then the backward pass of the last block, its
//! FFN's half and its attention's half; and validation, which has logits in f32. Every tensor is rounded as the device's
//! allocator rounds it. What operators hold for themselves is counted where it matters: logits, and the f32 gradient of
//! the queries on CUDA. Not counted: kernels, cuBLAS's workspace and the CUDA context (about 0.5 GiB on an H100), which
//! no allocator sees.

use wane_model::ModelConfig;
use wane_model::config::{FfnActivation, NormPlacement, QkNorm};

use super::Elements;
use crate::config::RunConfig;

/// Sizes of a micro-batch's tensors.
struct Sizes {
    elements: Elements,
    rows: u64,
    hidden: u64,
    q: u64,
    kv: u64,
    heads: u64,
    projected: u64,
    up: u64,
    ffn: u64,
    is_post: bool,
    has_gate: bool,
    has_memory: bool,
    norms_keys: bool,
    vocabulary: u64,
}

/// Peak bytes of a run.
pub(super) fn peak_bytes(config: &RunConfig, model: &ModelConfig, elements: Elements) -> u64 {
    let training = &config.training;
    let s = Sizes::of(model, elements, training.batch / training.accumulation * training.sequence);
    let layers = model.num_hidden_layers as u64;
    // Weights in their own dtype; gradients, master weights and two moments in f32.
    let mut held = 0;
    for (_, shape) in model.parameters() {
        let n = shape.iter().product::<usize>() as u64;
        held += elements.rounded(n * elements.bytes()) + 4 * elements.rounded(4 * n);
    }
    held += 2 * elements.rounded((model.max_position_embeddings * model.head_dim / 2 * 4) as u64);
    // Ids, targets and weights of every micro-batch, and its losses; positions of one.
    held += 4 * training.accumulation as u64 * s.f32s(1) + s.f32s(1);

    let (block, ffn_half) = (s.block(), s.ffn_half());
    let kept = match training.recompute {
        // Inputs of all blocks; the last block's own activations exist during its backward pass only.
        true => layers * s.row(s.hidden),
        false => layers * block,
    };
    let again = if training.recompute { block - s.row(s.hidden) } else { 0 };
    let loss = kept + 3 * s.row(s.hidden) + s.logits(elements.bytes());
    let ffn = kept + again + s.ffn_gradients();
    let attention = kept + again - ffn_half + s.attention_gradients();
    // Validation runs block after block and keeps nothing.
    let validation = block.max(2 * s.row(s.hidden) + s.logits(4));
    held + loss.max(ffn).max(attention).max(validation)
}

impl Sizes {
    fn of(model: &ModelConfig, elements: Elements, rows: usize) -> Self {
        let (q, kv, ffn) = (model.q_width() as u64, model.kv_width() as u64, model.intermediate_size as u64);
        let has_memory = model.memory.is_some();
        let gates = if model.output_gate { q } else { 0 } + if has_memory { kv } else { 0 };
        Self {
            elements,
            rows: rows as u64,
            hidden: model.hidden_size as u64,
            q,
            kv,
            heads: model.num_attention_heads as u64,
            projected: q + 2 * kv + gates,
            up: if model.ffn_activation == FfnActivation::SwiGlu { 2 * ffn } else { ffn },
            ffn,
            is_post: model.norm_placement == NormPlacement::Post,
            has_gate: model.output_gate,
            has_memory,
            norms_keys: model.qk_norm != QkNorm::None,
            vocabulary: model.vocab_size as u64,
        }
    }

    /// A matrix of activations of that width.
    fn row(&self, width: u64) -> u64 {
        self.elements.rounded(self.rows * width * self.elements.bytes())
    }

    /// The same in f32 (or i32).
    fn f32s(&self, width: u64) -> u64 {
        self.elements.rounded(4 * self.rows * width)
    }

    /// What a block keeps, its input included.
    fn block(&self) -> u64 {
        let attended = self.row(self.q) + self.f32s(self.heads);
        let keys = match self.has_memory {
            // Scanned keys and rotated keys; scanned values are the attended ones.
            true => 3 * self.row(self.kv),
            false => 2 * self.row(self.kv),
        };
        let extra = u64::from(self.norms_keys) * self.row(self.kv)
            + u64::from(self.has_gate) * self.row(self.q)
            // The normalized input (pre-norm), or the output before its norm (post-norm).
            + self.row(self.hidden);
        self.row(self.hidden)
            + self.row(self.projected)
            + self.row(self.q)
            + keys
            + attended
            + extra
            + self.ffn_half()
    }

    /// The part of it that the FFN's half of the backward pass uses up.
    fn ffn_half(&self) -> u64 {
        // After attention and the norm behind it (pre-norm), or the FFN's output (post-norm).
        2 * self.row(self.hidden) + self.row(self.up) + self.row(self.ffn)
    }

    /// Gradients in the FFN's half: of its output, of the activation or its input, of `[gate | up]`.
    fn ffn_gradients(&self) -> u64 {
        let first = self.row(self.up) + self.row(self.ffn);
        // The CPU adds the two projections' parts, which replace what the activation needed.
        let parts = if self.elements == Elements::F32 { 3 } else { 1 };
        let second = (self.row(self.up) + parts * self.row(self.hidden))
            .saturating_sub(self.row(self.up) + self.row(self.ffn));
        self.row(self.hidden) * (1 + u64::from(self.is_post)) + first.max(second)
    }

    /// Gradients in attention's half, at the attention operator or at the projection behind it.
    fn attention_gradients(&self) -> u64 {
        let outer = self.row(self.hidden) * (1 + u64::from(self.is_post)) + self.row(self.projected);
        let heads = self.row(self.q) + 2 * self.row(self.kv);
        let operator = match self.elements {
            Elements::F32 => self.row(self.q),
            // The gradient of the queries is summed in f32, beside one number a query.
            Elements::BF16 => self.row(self.q) + self.f32s(self.q) + self.f32s(self.heads),
        };
        let parts = if self.elements == Elements::F32 { 3 } else { 1 };
        outer + (heads + operator).max(parts * self.row(self.hidden))
    }

    /// Logits of a chunk of rows, as [`wane_kernels::ops::cross_entropy`] cuts them.
    fn logits(&self, bytes: u64) -> u64 {
        let (stride, chunk) = match self.elements {
            Elements::F32 => (self.vocabulary, ((2 << 20) / self.vocabulary).max(16)),
            Elements::BF16 => {
                let stride = self.vocabulary.next_multiple_of(8);
                (stride, ((384 << 20) / (stride * bytes)).next_multiple_of(128))
            }
        };
        self.elements.rounded(chunk.min(self.rows) * stride * bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pair_at_sixteen_rows_is_near_what_an_h100_needed() {
        // 5.82 GB on 2026-11-22 with 16 rows of 4096, where 5.28 were predicted. The worst moment then was attention's
        // backward pass, beside the FFN's gradients and the head's, all of which are freed before it now.
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../runs/joint-memory.toml"));
        let mut config = RunConfig::load(path).expect("valid");
        config.training.batch = 16;
        let model = crate::build::new_model(&config, None).expect("sizes");
        let s = Sizes::of(&model, Elements::BF16, 16 * 4096);
        let now = peak_bytes(&config, &model, Elements::BF16);
        let loss = 3 * s.row(s.hidden) + s.logits(2);
        let attention = 11 * s.row(s.hidden)
            + s.row(s.projected)
            + s.row(s.up)
            + s.row(s.ffn)
            + s.f32s(s.q)
            + s.f32s(s.heads);
        let then = now - loss + attention;
        assert!((then as f64 / 5.82e9 - 1.0).abs() < 0.05, "{then}");
        assert!(now < then - 300_000_000, "{now} {then}");
    }
}
