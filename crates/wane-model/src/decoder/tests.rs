//! The decoder against itself: gradients against finite differences, steps against the whole,
//! recomputation against keeping, for every choice that a family makes.

use std::sync::Arc;

use wane_attention::{DecodeBatch, Plan, SequenceCache};
use wane_kernels::ops::attention::Pattern;
use wane_kernels::testing::{assert_close, noise};
use wane_kernels::{Device, Documents, Tensor};

use super::initialize::{GateBias, Initialization, ResidualScale};
use super::{Batch, CacheOptions, Decoder, Gradients, Isolation, Keep, TrainOptions};
use crate::config::{
    Architecture, AttentionBias, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig, NormPlacement,
    QkNorm,
};

const VOCABULARY: usize = 37;

fn plain() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Wane,
        vocab_size: VOCABULARY,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
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

/// Every choice at least once.
fn families() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("llama", plain()),
        ("ratplus", ModelConfig { ffn_activation: FfnActivation::Gelu, ..memory() }),
        ("memory", memory()),
        ("qwen2", ModelConfig { attention_bias: AttentionBias::Qkv, ..plain() }),
        ("biased", ModelConfig { attention_bias: AttentionBias::All, ..plain() }),
        ("qwen3 with memory", ModelConfig { qk_norm: QkNorm::PerHead, num_key_value_heads: 2, ..memory() }),
        ("olmo2", ModelConfig { qk_norm: QkNorm::FullWidth, norm_placement: NormPlacement::Post, ..plain() }),
    ]
}

fn random(config: &ModelConfig) -> Decoder {
    let init = Initialization {
        seed: 3,
        std: 0.3,
        scale_residual: ResidualScale::None,
        gate_bias: GateBias::Spread { copying: 0.3, max_half_life: 8.0 },
    };
    Decoder::random(config, &Device::Cpu, None, &init).unwrap()
}

fn batch(sequences: usize, tokens: usize) -> Batch {
    let rows = sequences * tokens;
    let ids: Vec<i32> = (0..rows).map(|i| ((i * 7 + i * i * 3) % VOCABULARY) as i32).collect();
    let targets: Vec<i32> = (0..rows).map(|i| ((i * 5 + 11) % VOCABULARY) as i32).collect();
    let weights: Vec<f32> = noise(rows, 9).iter().map(|x| x.abs()).collect();
    Batch {
        ids: Tensor::from_i32(&ids, &[rows], &Device::Cpu).unwrap(),
        targets: Tensor::from_i32(&targets, &[rows], &Device::Cpu).unwrap(),
        weights: Tensor::from_f32(&weights, &[rows], &Device::Cpu).unwrap(),
        batch: sequences,
        tokens,
        isolation: Isolation::default(),
    }
}

fn objective(decoder: &Decoder, batch: &Batch, pattern: Pattern) -> f64 {
    let losses = decoder.losses(batch, pattern).unwrap();
    losses.f32s().iter().zip(batch.weights.f32s()).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum()
}

/// Moves parameter `index` by `amount` along `direction`.
fn shift(decoder: &mut Decoder, index: usize, direction: &[f32], amount: f32) {
    let weights = decoder.parameter_mut(index).unwrap().f32s_mut();
    for (weight, component) in weights.iter_mut().zip(direction) {
        *weight += amount * component;
    }
}

#[track_caller]
fn check_gradients(name: &str, config: &ModelConfig, pattern: Pattern) {
    let mut decoder = random(config);
    let batch = batch(2, 11);
    let options = TrainOptions { pattern, keep: Keep::Everything, scale: 1.0 };
    let mut gradients = Gradients::zeros(&decoder).unwrap();
    decoder.loss_and_gradients(&batch, &options, &mut gradients).unwrap();
    for index in 0..decoder.parameters().len() {
        let label = decoder.parameters()[index].name.clone();
        let gradient = gradients.tensors()[index].f32s().to_vec();
        let direction = noise(gradient.len(), 100 + index as u64);
        let want: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let norm: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 0.0, "{name}: {label} has no gradient");
        let step = 2e-3f32;
        let mut objective_after = |amount: f32| {
            shift(&mut decoder, index, &direction, amount);
            objective(&decoder, &batch, pattern)
        };
        let (plus, minus) = (objective_after(step), objective_after(-2.0 * step));
        shift(&mut decoder, index, &direction, step);
        let got = (plus - minus) / (2.0 * f64::from(step));
        let tolerance = 0.02 * norm + 2e-2;
        assert!((got - want).abs() < tolerance, "{name}: {label}: slope {got}, gradient {want}, norm {norm}");
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for (name, config) in families() {
        check_gradients(name, &config, Pattern::Causal);
    }
}

#[test]
fn gradients_of_the_dilated_pass_are_the_slopes_of_its_loss() {
    let pattern = Pattern::Dilated { dilation: Some(4), window: 1, initial: 1 };
    check_gradients("dilated memory", &memory(), pattern);
}

#[test]
fn recomputing_a_block_gives_the_same_gradients() {
    let decoder = random(&memory());
    let batch = batch(1, 13);
    let mut all = Vec::new();
    for keep in [Keep::Everything, Keep::BlockInputs] {
        let mut gradients = Gradients::zeros(&decoder).unwrap();
        let options = TrainOptions { pattern: Pattern::Causal, keep, scale: 0.5 };
        decoder.loss_and_gradients(&batch, &options, &mut gradients).unwrap();
        all.push(gradients.tensors().iter().flat_map(|t| t.f32s().to_vec()).collect::<Vec<_>>());
    }
    assert_eq!(all[0], all[1]);
}

#[test]
fn steps_after_a_prefill_give_the_logits_of_the_whole() {
    for (name, config) in families() {
        let decoder = random(&config);
        let sequences: Vec<Vec<u32>> = [19usize, 12]
            .iter()
            .map(|&n| (0..n).map(|i| ((i * 13 + n * i * i) % VOCABULARY) as u32).collect())
            .collect();
        let cache = decoder.cache_config(CacheOptions { dtype: None, context: None, keep_queries: 0 });
        let plan = Plan::parse("dense").unwrap();
        let mut caches = Vec::new();
        for (number, ids) in sequences.iter().enumerate() {
            let mut sequence = SequenceCache::new(&plan, &cache, number as u32).unwrap();
            let whole = decoder.logits(ids).unwrap();
            let prompt = ids.len() - 5;
            let logits = decoder.prefill(&mut sequence, &ids[..prompt], 4).unwrap();
            let row = &whole[(prompt - 1) * VOCABULARY..prompt * VOCABULARY];
            assert_close(&format!("{name}: prefill"), &logits.to_f32_vec().unwrap(), row, 1e-4);
            caches.push(sequence);
        }
        let mut batch = DecodeBatch::new(caches, 5).unwrap();
        for step in 0..5 {
            let tokens: Vec<u32> = sequences.iter().map(|ids| ids[ids.len() - 5 + step]).collect();
            let logits = decoder.decode(&mut batch, &tokens).unwrap().to_f32_vec().unwrap();
            for (i, ids) in sequences.iter().enumerate() {
                let whole = decoder.logits(ids).unwrap();
                let at = ids.len() - 5 + step;
                let row = &whole[at * VOCABULARY..(at + 1) * VOCABULARY];
                let got = &logits[i * VOCABULARY..(i + 1) * VOCABULARY];
                assert_close(&format!("{name}: step {step}"), got, row, 1e-4);
            }
        }
    }
}

#[test]
fn both_backbones_start_from_the_same_weights() {
    let with = random(&memory());
    let without = random(&ModelConfig { memory: None, ..memory() });
    let with: std::collections::BTreeMap<_, _> = with.state_dict().unwrap().into_iter().collect();
    for (name, weight) in without.state_dict().unwrap() {
        let a = weight.dense().unwrap().to_f32_vec().unwrap();
        let b = with[&name].dense().unwrap().to_f32_vec().unwrap();
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn bad_input_is_an_error() {
    let decoder = random(&plain());
    assert!(decoder.logits(&[]).is_err());
    assert!(decoder.logits(&[VOCABULARY as u32]).is_err());
    let message = decoder.logits(&vec![1; 65]).unwrap_err().to_string();
    assert!(message.contains("65 tokens"), "{message}");
}

#[test]
fn spread_gates_cover_the_half_lives() {
    let spread = GateBias::Spread { copying: 0.25, max_half_life: 64.0 };
    let half_lives: Vec<f32> = (0..16)
        .map(|i| {
            let gate = 1.0 / (1.0 + (-spread.value(i, 32)).exp());
            0.5f32.ln() / gate.ln()
        })
        .collect();
    assert!(half_lives[..4].iter().all(|h| *h < 0.2), "{half_lives:?}");
    assert!((half_lives[4] - 1.0).abs() < 1e-3 && (half_lives[15] - 64.0).abs() < 0.1, "{half_lives:?}");
    assert!(half_lives[4..].is_sorted(), "{half_lives:?}");
    assert_eq!(spread.value(3, 32), spread.value(19, 32));
}

/// Documents of two packed sequences of 11 tokens.
const PACKED: [usize; 5] = [4, 6, 1, 3, 8];

#[test]
fn packed_masked_and_reset_documents_are_separate_sequences() {
    let config = memory();
    let decoder = random(&config);
    let mut packed = batch(2, 11);
    let documents = Some(Arc::new(Documents::new(PACKED)));
    packed.isolation = Isolation { attention: documents.clone(), memory: documents };
    for pattern in [Pattern::Causal, Pattern::Dilated { dilation: Some(3), window: 1, initial: 1 }] {
        let losses = decoder.losses(&packed, pattern).unwrap().f32s().to_vec();
        let options = |keep| TrainOptions { pattern, keep, scale: 1.0 };
        let mut gradients = Gradients::zeros(&decoder).unwrap();
        let trained =
            decoder.loss_and_gradients(&packed, &options(Keep::Everything), &mut gradients).unwrap();
        assert_close("losses", trained.f32s(), &losses, 1e-6);
        let mut recomputed = Gradients::zeros(&decoder).unwrap();
        decoder.loss_and_gradients(&packed, &options(Keep::BlockInputs), &mut recomputed).unwrap();
        // Each document alone.
        let mut apart = Gradients::zeros(&decoder).unwrap();
        let mut start = 0;
        for length in PACKED {
            let part = |x: &Tensor| x.slice(start, start + length).unwrap();
            let alone = Batch {
                ids: part(&packed.ids),
                targets: part(&packed.targets),
                weights: part(&packed.weights),
                batch: 1,
                tokens: length,
                isolation: Isolation::default(),
            };
            let got = decoder.loss_and_gradients(&alone, &options(Keep::Everything), &mut apart).unwrap();
            for (a, b) in got.f32s().iter().zip(&losses[start..]) {
                // Attention and memory are the same to the bit; products of few rows are summed in another order.
                assert!((a - b).abs() < 4e-6, "{pattern:?}: {a} {b}");
            }
            start += length;
        }
        for (i, (whole, alone)) in gradients.tensors().iter().zip(apart.tensors()).enumerate() {
            assert_close(&decoder.parameters()[i].name, whole.f32s(), alone.f32s(), 1e-5);
            assert_eq!(whole.f32s(), recomputed.tensors()[i].f32s(), "recomputation");
        }
    }
    // Either option alone changes the losses, and neither does for one document a sequence.
    let plain = decoder.losses(&batch(2, 11), Pattern::Causal).unwrap().f32s().to_vec();
    let Isolation { attention, memory } = packed.isolation.clone();
    for isolation in [Isolation { attention, memory: None }, Isolation { attention: None, memory }] {
        packed.isolation = isolation;
        assert_ne!(decoder.losses(&packed, Pattern::Causal).unwrap().f32s(), plain);
    }
    let whole = Some(Arc::new(Documents::new([11, 11])));
    packed.isolation = Isolation { attention: whole.clone(), memory: whole };
    assert_eq!(decoder.losses(&packed, Pattern::Causal).unwrap().f32s(), plain);
}
