//! A GPU computes what the CPU computes: losses, gradients, prefill and decoding of every family.
//!
//! The CPU runs on f32 copies of the GPU's bf16 weights, so the difference is the rounding of
//! activations. Needs `WANE_TEST_DEVICE=cuda` and does nothing otherwise.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use wane_attention::{DecodeBatch, Plan, SequenceCache};
use wane_kernels::ops::attention::Pattern;
use wane_kernels::ops::cast::cast;
use wane_kernels::testing::{device, noise};
use wane_kernels::{DType, Device, Documents, Tensor};
use wane_model::config::{
    Architecture, AttentionBias, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig, NormPlacement,
    QkNorm,
};
use wane_model::decoder::initialize::{GateBias, Initialization, ResidualScale};
use wane_model::decoder::{Batch, CacheOptions, Decoder, Gradients, Isolation, Keep, TrainOptions};

const VOCABULARY: usize = 131;

fn plain() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Wane,
        vocab_size: VOCABULARY,
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        max_position_embeddings: 256,
        eos_token_ids: vec![0],
        ..ModelConfig::llama()
    }
}

fn memory() -> ModelConfig {
    ModelConfig {
        output_gate: true,
        memory: Some(MemoryConfig { gate_bias: true, state_dtype: MemoryStateDtype::F32 }),
        tie_word_embeddings: true,
        num_key_value_heads: 4,
        ..plain()
    }
}

fn families() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("llama", plain()),
        ("ratplus", ModelConfig { ffn_activation: FfnActivation::Gelu, ..memory() }),
        ("memory", memory()),
        ("biased", ModelConfig { attention_bias: AttentionBias::All, ..plain() }),
        ("qwen3 with memory", ModelConfig { qk_norm: QkNorm::PerHead, num_key_value_heads: 2, ..memory() }),
        ("olmo2", ModelConfig { qk_norm: QkNorm::FullWidth, norm_placement: NormPlacement::Post, ..plain() }),
    ]
}

/// The same weights on the GPU in bf16 and on the CPU in f32.
fn pair(config: &ModelConfig, gpu: &Device) -> (Decoder, Decoder) {
    let init = Initialization {
        seed: 3,
        std: 0.1,
        scale_residual: ResidualScale::None,
        gate_bias: GateBias::Spread { copying: 0.3, max_half_life: 8.0 },
    };
    let mut host = Decoder::random(config, &Device::Cpu, None, &init).unwrap();
    for index in 0..host.parameters().len() {
        let weights = host.parameter_mut(index).unwrap();
        *weights = cast(&cast(weights, DType::BF16).unwrap(), DType::F32).unwrap();
    }
    (Decoder::random(config, gpu, None, &init).unwrap(), host)
}

fn batch(sequences: usize, tokens: usize, device: &Device) -> Batch {
    let rows = sequences * tokens;
    let ids: Vec<i32> = (0..rows).map(|i| ((i * 7 + i * i * 3) % VOCABULARY) as i32).collect();
    let targets: Vec<i32> = (0..rows).map(|i| ((i * 5 + 11) % VOCABULARY) as i32).collect();
    let weights: Vec<f32> = noise(rows, 9).iter().map(|x| x.max(0.0)).collect();
    Batch {
        ids: Tensor::from_i32(&ids, &[rows], device).unwrap(),
        targets: Tensor::from_i32(&targets, &[rows], device).unwrap(),
        weights: Tensor::from_f32(&weights, &[rows], device).unwrap(),
        batch: sequences,
        tokens,
        isolation: Isolation::default(),
    }
}

/// Fails unless `|got - want| <= tolerance |want|` as vectors.
#[track_caller]
fn near(name: &str, got: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(want).map(|(a, b)| f64::from(a - b)));
    let size = norm(&mut want.iter().map(|&x| f64::from(x)));
    assert!(difference <= tolerance * size, "{name}: off by {difference} of {size}");
}

#[test]
fn losses_and_gradients() {
    let gpu = device();
    if gpu.is_cpu() {
        return;
    }
    let dilated = Pattern::Dilated { dilation: Some(16), window: 5, initial: 2 };
    for (name, config) in families() {
        let (on_gpu, on_host) = pair(&config, &gpu);
        // The whole sequences, then five documents packed into them.
        let (none, packed) = (Isolation::default(), Some(Arc::new(Documents::new([30, 40, 5, 70, 5]))));
        let apart = Isolation { attention: packed.clone(), memory: packed };
        for (pattern, keep, isolation) in [
            (Pattern::Causal, Keep::Everything, &none),
            (dilated, Keep::BlockInputs, &none),
            (Pattern::Causal, Keep::Everything, &apart),
            (dilated, Keep::BlockInputs, &apart),
        ] {
            let run = |decoder: &Decoder| {
                let mut batch = batch(2, 75, decoder.device());
                batch.isolation = isolation.clone();
                let mut gradients = Gradients::zeros(decoder).unwrap();
                let options = TrainOptions { pattern, keep, scale: 0.01 };
                decoder.loss_and_gradients(&batch, &options, &mut gradients).unwrap();
                // A GPU fuses projections: compare by canonical name.
                let gradients: BTreeMap<String, Vec<f32>> = decoder
                    .parameters()
                    .iter()
                    .zip(gradients.tensors())
                    .flat_map(|(parameter, tensor)| parameter.split(tensor).unwrap())
                    .map(|(name, tensor)| (name, tensor.to_f32_vec().unwrap()))
                    .collect();
                (decoder.losses(&batch, pattern).unwrap().to_f32_vec().unwrap(), gradients)
            };
            let (got, want) = (run(&on_gpu), run(&on_host));
            near(&format!("{name} losses"), &got.0, &want.0, 1e-2);
            assert_eq!(got.1.len(), want.1.len(), "{name}: parameters");
            for (parameter, want) in &want.1 {
                near(&format!("{name} {pattern:?} {parameter}"), &got.1[parameter], want, 6e-2);
            }
        }
    }
}

#[test]
fn prefill_and_decoding() {
    let gpu = device();
    if gpu.is_cpu() {
        return;
    }
    for (name, config) in families() {
        let (on_gpu, on_host) = pair(&config, &gpu);
        for method in ["dense", "quest:block=16,k=4", "moba:block=16,k=3", "snapkv:k=64,window=16"] {
            let Ok(plan) = Plan::parse(method) else { panic!("{method}") };
            let sequences: [Vec<u32>; 2] =
                [150usize, 97].map(|n| (0..n).map(|i| ((i * 13 + n * i * i) % VOCABULARY) as u32).collect());
            let run = |decoder: &Decoder| {
                let options = CacheOptions { dtype: None, context: None, keep_queries: 64 };
                let cache = decoder.cache_config(options);
                let mut all = Vec::new();
                let mut caches = Vec::new();
                for (number, ids) in sequences.iter().enumerate() {
                    let mut sequence = SequenceCache::new(&plan, &cache, number as u32).unwrap();
                    let logits = decoder.prefill(&mut sequence, &ids[..ids.len() - 3], 64).unwrap();
                    all.push(logits.to_f32_vec().unwrap());
                    caches.push(sequence);
                }
                let mut batch = DecodeBatch::new(caches, 3).unwrap();
                for step in 0..3 {
                    let tokens: Vec<u32> = sequences.iter().map(|ids| ids[ids.len() - 3 + step]).collect();
                    all.push(decoder.decode(&mut batch, &tokens).unwrap().to_f32_vec().unwrap());
                }
                all
            };
            // Sparse methods may select other blocks where scores lie close together.
            let tolerance = if method == "dense" { 3e-2 } else { 0.6 };
            for (i, (got, want)) in run(&on_gpu).iter().zip(&run(&on_host)).enumerate() {
                near(&format!("{name} {method} logits {i}"), got, want, tolerance);
            }
        }
    }
}
