//! For this crate's tests: a sequence of random queries, keys and values, the plain-loop attention
//! that outputs are compared with, and a probe that writes everything down. Everything runs on
//! [`wane_kernels::testing::device`]: in f32 on the CPU, in bf16 on a GPU.

use std::sync::{Arc, Mutex};

use wane_kernels::ops::cast::cast;
use wane_kernels::testing::{device, noise};
use wane_kernels::{DType, Device, PagePool, Tensor};

use crate::{
    CacheConfig, Chunk, DecodeBatch, Observation, Phase, Plan, Probe, Qkv, SequenceCache, SharedProbe, Unit,
};

pub(crate) const LAYERS: usize = 2;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD_DIM: usize = 8;

/// Element type of activations on the device under test.
pub(crate) fn dtype() -> DType {
    if device().is_cpu() { DType::F32 } else { DType::BF16 }
}

/// How far an output may be from the plain loops.
pub(crate) fn tolerance() -> f32 {
    if device().is_cpu() { 2e-5 } else { 1e-2 }
}

pub(crate) fn config(kv_heads: usize, context: usize) -> Arc<CacheConfig> {
    config_with(kv_heads, context, dtype())
}

pub(crate) fn config_with(kv_heads: usize, context: usize, pages: DType) -> Arc<CacheConfig> {
    let pool = PagePool::new(&device(), pages, HEAD_DIM);
    let scale = (HEAD_DIM as f32).powf(-0.5);
    Arc::new(CacheConfig { layers: LAYERS, heads: HEADS, kv_heads, scale, context, keep_queries: 64, pool })
}

/// Queries, keys and values of every layer of one sequence, `[tokens, width]`, on the host.
pub(crate) struct Tokens {
    pub(crate) q: Vec<Vec<f32>>,
    pub(crate) k: Vec<Vec<f32>>,
    pub(crate) v: Vec<Vec<f32>>,
    pub(crate) len: usize,
}

impl Tokens {
    pub(crate) fn new(config: &CacheConfig, len: usize, seed: u64) -> Self {
        let make = |kind: u64, width: usize| -> Vec<Vec<f32>> {
            (0..config.layers as u64)
                .map(|layer| round(noise(len * width, seed * 1000 + layer * 10 + kind), dtype()))
                .collect()
        };
        let kv = config.kv_heads * config.head_dim();
        Self { q: make(0, config.heads * config.head_dim()), k: make(1, kv), v: make(2, kv), len }
    }

    /// The same tokens with keys and values rounded.
    pub(crate) fn with_cached(mut self, pages: DType) -> Self {
        for x in self.k.iter_mut().chain(&mut self.v) {
            *x = round(std::mem::take(x), pages);
        }
        self
    }

    /// q, k and v of some tokens on the device.
    pub(crate) fn rows(&self, layer: usize, from: usize, to: usize) -> [Tensor; 3] {
        [&self.q, &self.k, &self.v].map(|x| {
            let width = x[layer].len() / self.len;
            upload(&x[layer][from * width..to * width], to - from)
        })
    }
}

fn upload(values: &[f32], rows: usize) -> Tensor {
    let tensor = Tensor::from_f32(values, &[rows, values.len() / rows], &device()).unwrap();
    cast(&tensor, dtype()).unwrap()
}

fn round(values: Vec<f32>, dtype: DType) -> Vec<f32> {
    let tensor = Tensor::from_f32(&values, &[values.len()], &Device::Cpu).unwrap();
    cast(&tensor, dtype).unwrap().to_f32_vec().unwrap()
}

/// Prefills the chunks (their lengths); outputs `[layer]`, all rows.
pub(crate) fn prefill(cache: &mut SequenceCache, tokens: &Tokens, chunks: &[usize]) -> Vec<Vec<f32>> {
    let mut outputs = vec![Vec::new(); cache.config().layers];
    let mut at = 0;
    for (i, &len) in chunks.iter().enumerate() {
        let chunk = if i + 1 == chunks.len() { Chunk::Last } else { Chunk::More };
        for (layer, output) in outputs.iter_mut().enumerate() {
            let [q, k, v] = tokens.rows(layer, at, at + len);
            let out = cache.prefill_layer(layer, Qkv { q: &q, k: &k, v: &v }, chunk).unwrap();
            output.extend(out.to_f32_vec().unwrap());
        }
        at += len;
    }
    outputs
}

/// One decode step of every sequence, taking each one's token at its position; outputs `[layer]`.
pub(crate) fn step(batch: &mut DecodeBatch, tokens: &[&Tokens]) -> Vec<Vec<f32>> {
    let positions = batch.host_positions();
    let outputs = (0..batch.config().layers)
        .map(|layer| {
            let mut parts = [Vec::new(), Vec::new(), Vec::new()];
            for (tokens, &position) in tokens.iter().zip(&positions) {
                for (part, x) in parts.iter_mut().zip([&tokens.q, &tokens.k, &tokens.v]) {
                    let width = x[layer].len() / tokens.len;
                    part.extend_from_slice(&x[layer][position * width..][..width]);
                }
            }
            let [q, k, v] = parts.map(|part| upload(&part, tokens.len()));
            batch.decode_layer(layer, Qkv { q: &q, k: &k, v: &v }).unwrap().to_f32_vec().unwrap()
        })
        .collect();
    batch.advance().unwrap();
    outputs
}

/// A watched sequence with its prompt in.
pub(crate) fn start(
    plan: &str,
    config: &Arc<CacheConfig>,
    tokens: &Tokens,
    prompt: usize,
    sequence: u32,
) -> (SequenceCache, Arc<Mutex<Recorder>>) {
    let mut cache = SequenceCache::new(&Plan::parse(plan).unwrap(), config, sequence).unwrap();
    let recorder = watch(&mut cache);
    prefill(&mut cache, tokens, &[prompt]);
    (cache, recorder)
}

pub(crate) fn watch(cache: &mut SequenceCache) -> Arc<Mutex<Recorder>> {
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let shared: SharedProbe = recorder.clone();
    cache.set_probe(Some(shared));
    recorder
}

/// Writes every observation down.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Vec<Observation>,
}

impl Probe for Recorder {
    fn observe(&mut self, observation: Observation) {
        self.seen.push(observation);
    }
}

impl Recorder {
    pub(crate) fn of(&self, phase: Phase) -> Vec<&Observation> {
        self.seen.iter().filter(|observation| observation.phase == phase).collect()
    }
}

/// Attention of the query at `position` over the listed positions, plain loops in f64.
pub(crate) fn attend(
    config: &CacheConfig,
    tokens: &Tokens,
    [layer, position, head]: [usize; 3],
    visible: &[usize],
) -> Vec<f32> {
    let d = config.head_dim();
    let kv_head = head * config.kv_heads / config.heads;
    let q = &tokens.q[layer][position * config.heads * d + head * d..][..d];
    let row = |x: &[f32], j: usize| -> Vec<f64> {
        let start = j * config.kv_heads * d + kv_head * d;
        x[start..start + d].iter().map(|&x| f64::from(x)).collect()
    };
    let score = |j: usize| -> f64 {
        let k = row(&tokens.k[layer], j);
        f64::from(config.scale) * q.iter().zip(k).map(|(&q, k)| f64::from(q) * k).sum::<f64>()
    };
    let scores: Vec<f64> = visible.iter().map(|&j| score(j)).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut out, mut total) = (vec![0.0; d], 0.0);
    for (&j, score) in visible.iter().zip(scores) {
        let weight = (score - top).exp();
        total += weight;
        out.iter_mut().zip(row(&tokens.v[layer], j)).for_each(|(out, v)| *out += weight * v);
    }
    out.iter().map(|x| (x / total) as f32).collect()
}

/// Positions behind the observed indices of one query; `rows` are the positions of the cached rows.
pub(crate) fn visible(unit: Unit, indices: &[i32], rows: &[usize]) -> Vec<usize> {
    match unit {
        Unit::Position => indices.iter().map(|&i| i as usize).collect(),
        Unit::Block(block) => indices
            .iter()
            .flat_map(|&b| rows[b as usize * block..rows.len().min((b as usize + 1) * block)].iter().copied())
            .collect(),
    }
}
