//! Floating point operations of an example, from the model's sizes and from what the method reads.
//!
//! Counted, a multiplication and an addition each as one: every matrix product (the head for the last token of
//! the prompt and for each generated one), attention over the keys that are read, the scores that selection
//! needs, the memory's scan (`g k~ + (1 - g) k`, 4 for K and 4 for V with the gate's complement). Not counted: norms,
//! activations, softmax, rotations. A decode step reads, so it multiplies: 2 operations for each element of
//! K, V and summaries, for each query head of its group (with one selection a query head in a grouped model
//! that is an upper bound).

use wane_attention::Plan;
use wane_model::ModelConfig;

use super::record::{Bytes, Flops};
use crate::{Error, Result};

/// Weights of a model's matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weights {
    blocks: usize,
    head: usize,
}

impl Weights {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let matrices = config.parameters().into_iter().filter(|(name, shape)| {
            shape.len() == 2 && !name.contains("embed_tokens") && !name.starts_with("lm_head")
        });
        let blocks = matrices.map(|(_, shape)| shape[0] * shape[1]).sum();
        Self { blocks, head: config.vocab_size * config.hidden_size }
    }

    /// Operations of an example with a prompt of `prompt` tokens whose first decode step touched `bytes` in
    /// elements of `element` bytes.
    ///
    /// # Errors
    /// The plan has a budget that is not resolved.
    pub(super) fn of_example(
        self,
        config: &ModelConfig,
        plan: &Plan,
        prompt: usize,
        bytes: Bytes,
        element: usize,
    ) -> Result<Flops> {
        let layers = config.num_hidden_layers;
        let scan = if config.memory.is_some() { 8 * config.kv_width() * layers } else { 0 };
        let token = 2.0 * self.blocks as f64 + scan as f64;
        let mut attention = 0.0;
        for layer in 0..layers {
            let pairs = plan.prefill_pairs(layer, prompt).map_err(|e| Error::Invalid(e.to_string()))?;
            attention += config.q_width() as f64 * (4 * pairs.attended + 2 * pairs.scored) as f64;
        }
        let group = config.num_attention_heads / config.num_key_value_heads.max(1);
        let elements = (bytes.read_per_step + bytes.summaries_per_step) as f64 / element as f64;
        Ok(Flops {
            prefill: token * prompt as f64 + attention + 2.0 * self.head as f64,
            per_step: token + 2.0 * self.head as f64 + 2.0 * group as f64 * elements,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_model_by_hand() {
        let text = r#"{"model_type":"llama","vocab_size":10,"hidden_size":4,"intermediate_size":6,"num_hidden_layers":2,
            "num_attention_heads":2,"num_key_value_heads":1,"rms_norm_eps":1e-6,"max_position_embeddings":64,
            "hidden_act":"silu"}"#;
        let config = ModelConfig::from_json(text, std::path::Path::new("config.json")).unwrap();
        // A block: q and o 4 x 4, k and v 4 x 2, three of 4 x 6.
        let weights = Weights::of(&config);
        assert_eq!(weights, Weights { blocks: 2 * (16 + 16 + 8 + 8 + 72), head: 40 });
        let plan = Plan::parse("moba:block=2,k=2").unwrap();
        let bytes = Bytes { read_per_step: 400, summaries_per_step: 40, ..Bytes::default() };
        let flops = weights.of_example(&config, &plan, 6, bytes, 4).unwrap();
        // 17 pairs attended and 12 scored in each layer, q 4 wide.
        let attention = 2.0 * 4.0 * (4.0 * 17.0 + 2.0 * 12.0);
        assert_eq!(flops.prefill, 6.0 * 480.0 + attention + 80.0);
        // 110 elements, two query heads each.
        assert_eq!(flops.per_step, 480.0 + 80.0 + 2.0 * 2.0 * 110.0);
    }
}
