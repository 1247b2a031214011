//! Every operator of one block by itself, at a prefill's sizes: where its time goes.

use std::hint::black_box;

use anyhow::Result;
use wane_attention::{CacheConfig, Chunk, Plan, Qkv, SequenceCache};
use wane_kernels::ops::attention::{AttentionDims, Pattern, attention};
use wane_kernels::ops::decay_scan::{ScanDims, scan};
use wane_kernels::ops::rope::{RopeTable, rope};
use wane_kernels::ops::{activation, linear, rms_norm};
use wane_kernels::testing::noise_tensor;
use wane_kernels::{DType, Device, PagePool, Tensor, Weight};
use wane_model::ModelConfig;

use super::machine::Floor;
use super::measure::{Report, Timing, time};

/// Adds a row for every operator; times are those of all layers together.
///
/// # Errors
/// An operator failed.
pub(super) fn report(report: &mut Report, config: &ModelConfig, tokens: usize, repeats: usize) -> Result<()> {
    let operators = Operators { config, tokens, repeats };
    operators.products(report)?;
    operators.elementwise(report)?;
    operators.attention(report)
}

/// The scan over the gate's, keys' and values' columns of a projection, one layer.
///
/// # Errors
/// The operator failed.
pub(super) fn time_scan(config: &ModelConfig, tokens: usize, repeats: usize) -> Result<(Timing, Floor)> {
    let width = config.kv_width();
    let projected = noise(&[tokens, config.q_width() + 3 * width]);
    let part = |i: usize| projected.cols(config.q_width() + i * width, width);
    let dims = ScanDims { batch: 1, tokens };
    let timing = time(repeats, 1, |_| {
        black_box(scan(part(0), part(1), part(2), dims, None)?);
        Ok(())
    })?;
    Ok((timing, Floor::Bytes((5 * tokens * width * size_of::<f32>()) as f64)))
}

#[derive(Clone, Copy)]
struct Operators<'a> {
    config: &'a ModelConfig,
    tokens: usize,
    repeats: usize,
}

impl Operators<'_> {
    /// Times one layer and reports all of them.
    fn add(
        &self,
        report: &mut Report,
        name: &str,
        floor: Floor,
        mut run: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let layers = self.config.num_hidden_layers as f64;
        let timing = time(self.repeats, 1, |_| run())?;
        let floor = match floor {
            Floor::Flops(flops) => Floor::Flops(flops * layers),
            Floor::Bytes(bytes) => Floor::Bytes(bytes * layers),
        };
        report.row(format!("  {name} x {layers}"), timing.scaled(layers), Some(floor));
        Ok(())
    }

    fn bytes(&self, elements_per_token: usize) -> Floor {
        Floor::Bytes((elements_per_token * self.tokens * size_of::<f32>()) as f64)
    }

    fn products(&self, report: &mut Report) -> Result<()> {
        let config = self.config;
        let (hidden, ffn, q) = (config.hidden_size, config.intermediate_size, config.q_width());
        let x = noise(&[self.tokens, hidden]);
        for (name, rows, inputs) in [
            ("project q k v", q + 2 * config.kv_width(), hidden),
            ("output + residual", hidden, q),
            ("gate up", 2 * ffn, hidden),
            ("down + residual", hidden, ffn),
        ] {
            let input = noise(&[self.tokens, inputs]);
            let weight = Weight::Dense(noise(&[rows, inputs]));
            let floor = Floor::Flops(2.0 * (self.tokens * rows * inputs) as f64);
            self.add(report, name, floor, || {
                if name.ends_with("residual") {
                    black_box(linear::linear_residual(&input, &weight, &x)?);
                } else {
                    black_box(linear::linear(&input, &weight, None)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn elementwise(&self, report: &mut Report) -> Result<()> {
        let config = self.config;
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (x, weight) = (noise(&[self.tokens, hidden]), noise(&[hidden]));
        self.add(report, "two norms", self.bytes(4 * hidden), || {
            black_box(rms_norm::rms_norm((&x).into(), &weight, 1e-5)?);
            black_box(rms_norm::rms_norm((&x).into(), &weight, 1e-5)?);
            Ok(())
        })?;
        let gate_up = noise(&[self.tokens, 2 * ffn]);
        self.add(report, "swiglu", self.bytes(3 * ffn), || {
            black_box(activation::swiglu(&gate_up)?);
            Ok(())
        })?;
        let angles = noise(&[self.tokens, config.head_dim / 2]);
        let table = RopeTable { cos: angles.clone(), sin: angles };
        let positions: Vec<i32> = (0..self.tokens as i32).collect();
        let positions = Tensor::from_i32(&positions, &[self.tokens], &Device::Cpu)?;
        let (q, kv) = (config.q_width(), config.kv_width());
        let projected = noise(&[self.tokens, q + 2 * kv]);
        self.add(report, "rope", self.bytes(2 * (q + kv)), || {
            black_box(rope(projected.cols(0, q), config.head_dim, &positions, &table)?);
            black_box(rope(projected.cols(q, kv), config.head_dim, &positions, &table)?);
            Ok(())
        })?;
        if config.memory.is_some() {
            let (timing, floor) = time_scan(config, self.tokens, self.repeats)?;
            let layers = config.num_hidden_layers as f64;
            let Floor::Bytes(bytes) = floor else { return Ok(()) };
            report.row(
                format!("  decay_scan x {layers}"),
                timing.scaled(layers),
                Some(Floor::Bytes(bytes * layers)),
            );
        }
        Ok(())
    }

    fn attention(&self, report: &mut Report) -> Result<()> {
        let config = self.config;
        let (q, kv) = (config.q_width(), config.kv_width());
        let q = noise(&[self.tokens, q]);
        let [k, v] = [2, 3].map(|seed| noise_tensor(&[self.tokens, kv], seed, &Device::Cpu));
        let dims = AttentionDims {
            batch: 1,
            queries: self.tokens,
            keys: self.tokens,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: (config.head_dim as f32).powf(-0.5),
            pattern: Pattern::Causal,
        };
        let floor = super::model::attention_flops(config, self.tokens) / config.num_hidden_layers as f64;
        self.add(report, "attention", Floor::Flops(floor), || {
            black_box(attention(&q, &k, &v, dims)?);
            Ok(())
        })?;
        let pool = PagePool::new(&Device::Cpu, DType::F32, config.head_dim);
        let cache = std::sync::Arc::new(CacheConfig {
            layers: 1,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            scale: dims.scale,
            context: self.tokens,
            keep_queries: 0,
            pool,
        });
        self.add(report, "attention and cache", Floor::Flops(floor), || {
            let mut cache = SequenceCache::new(&Plan::dense(), &cache, 0)?;
            black_box(cache.prefill_layer(0, Qkv { q: &q, k: &k, v: &v }, Chunk::Last)?);
            Ok(())
        })
    }
}

fn noise(shape: &[usize]) -> Tensor {
    noise_tensor(shape, 1, &Device::Cpu)
}
