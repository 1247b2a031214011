//! Random weights, a function of (seed, name) alone: two models that differ in one part start
//! equal in all others.

use std::hash::Hasher;

use wane_kernels::ops::random::philox;
use wane_kernels::{DType, Device, Tensor, Weight};

use super::Decoder;
use crate::config::ModelConfig;
use crate::{Error, Result};

/// Where the memory gates start. A gate `g = sigmoid(b)` forgets half in `log(1/2) / log(g)` tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GateBias {
    /// The same bias for every channel; very negative is almost no memory.
    Constant(f32),
    /// Per head: the first `copying` part of its channels starts with almost no memory, the others with
    /// half-lives spaced logarithmically between 1 and `max_half_life` tokens.
    Spread {
        /// Part of the channels without memory at the start, 0 to 1.
        copying: f32,
        /// Longest half-life, in tokens.
        max_half_life: f32,
    },
}

impl GateBias {
    /// Bias of channel `channel` of a head of `head_dim`.
    pub fn value(self, channel: usize, head_dim: usize) -> f32 {
        match self {
            Self::Constant(bias) => bias,
            Self::Spread { copying, max_half_life } => {
                // RoPE pairs channel i with i + d/2: both of a pair get the same half-life.
                let pairs = (head_dim / 2).max(1);
                let pair = channel % pairs;
                let first = (copying * pairs as f32).round() as usize;
                if pair < first {
                    return -4.0;
                }
                let steps = (pairs - first).max(2) - 1;
                let fraction = (pair - first) as f32 / steps as f32;
                let half_life = max_half_life.max(1.0).powf(fraction);
                let gate = 0.5f32.powf(1.0 / half_life);
                (gate / (1.0 - gate)).ln()
            }
        }
    }
}

/// How to start.
#[derive(Debug, Clone, Copy)]
pub struct Initialization {
    /// Seed of everything.
    pub seed: u64,
    /// Standard deviation of matrices (0.02 in the paper's models).
    pub std: f32,
    /// Scale matrices that write to the residual stream by `1 / sqrt(2 layers)`.
    pub scale_residual: ResidualScale,
    /// Biases of the memory gates, if the configuration has them.
    pub gate_bias: GateBias,
}

/// Whether residual writers start smaller (GPT-2's habit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResidualScale {
    /// `std` everywhere.
    None,
    /// `std / sqrt(2 layers)` for the output and down projections.
    Depth,
}

impl Decoder {
    /// A model with random weights in `dtype` (f32 on the CPU, bf16 on CUDA if `None`).
    ///
    /// # Errors
    /// A configuration that makes no sense; out of memory.
    pub fn random(
        config: &ModelConfig,
        device: &Device,
        dtype: Option<DType>,
        init: &Initialization,
    ) -> Result<Self> {
        let fetch = |name: &str| initial(config, name, init).map(Some);
        Self::collect(config, device, dtype, &fetch)
    }
}

/// The starting value of the parameter with this canonical name, f32 on the CPU.
///
/// # Errors
/// A name that `config` does not have.
pub fn initial(config: &ModelConfig, name: &str, init: &Initialization) -> Result<Weight> {
    let (q, kv, hidden, ffn) =
        (config.q_width(), config.kv_width(), config.hidden_size, config.intermediate_size);
    let part =
        name.rsplit_once("layers.").map_or(name, |(_, rest)| rest.split_once('.').map_or(rest, |(_, p)| p));
    let matrix = |rows: usize, columns: usize, std: f32| {
        let values = normals(rows * columns, init.seed, name, std);
        Ok(Weight::Dense(Tensor::from_f32(&values, &[rows, columns], &Device::Cpu)?))
    };
    let filled = |len: usize, value: &dyn Fn(usize) -> f32| {
        let values: Vec<f32> = (0..len).map(value).collect();
        Ok(Weight::Dense(Tensor::from_f32(&values, &[len], &Device::Cpu)?))
    };
    let residual = match init.scale_residual {
        ResidualScale::None => init.std,
        ResidualScale::Depth => init.std / (2.0 * config.num_hidden_layers as f32).sqrt(),
    };
    match part {
        "model.embed_tokens.weight" | "lm_head.weight" => matrix(config.vocab_size, hidden, init.std),
        "self_attn.q_proj.weight" | "self_attn.output_gate.weight" => matrix(q, hidden, init.std),
        "self_attn.k_proj.weight" | "self_attn.v_proj.weight" | "self_attn.memory_gate.weight" => {
            matrix(kv, hidden, init.std)
        }
        "self_attn.o_proj.weight" => matrix(hidden, q, residual),
        "mlp.gate_proj.weight" | "mlp.up_proj.weight" | "mlp.fc1.weight" => matrix(ffn, hidden, init.std),
        "mlp.down_proj.weight" | "mlp.fc2.weight" => matrix(hidden, ffn, residual),
        "self_attn.memory_gate.bias" => {
            filled(kv, &|i| init.gate_bias.value(i % config.head_dim, config.head_dim))
        }
        "self_attn.q_proj.bias" => filled(q, &|_| 0.0),
        "self_attn.k_proj.bias" | "self_attn.v_proj.bias" => filled(kv, &|_| 0.0),
        "self_attn.o_proj.bias" => filled(hidden, &|_| 0.0),
        "self_attn.q_norm.weight" => filled(
            if config.qk_norm == crate::config::QkNorm::PerHead { config.head_dim } else { q },
            &|_| 1.0,
        ),
        "self_attn.k_norm.weight" => filled(
            if config.qk_norm == crate::config::QkNorm::PerHead { config.head_dim } else { kv },
            &|_| 1.0,
        ),
        "model.norm.weight" => filled(hidden, &|_| 1.0),
        _ if part.ends_with("layernorm.weight") => filled(hidden, &|_| 1.0),
        _ => Err(Error::Invalid(format!("no initial value is known for {name}"))),
    }
}

// Normal numbers by Box and Muller from Philox, keyed by the seed and the name.
fn normals(len: usize, seed: u64, name: &str, std: f32) -> Vec<f32> {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(name.as_bytes());
    let key = seed ^ hasher.finish();
    let key = [key as u32, (key >> 32) as u32];
    let unit = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
    (0..len.div_ceil(2))
        .flat_map(|i| {
            let words = philox([i as u32, (i >> 32) as u32, 0, 0], key);
            let radius = (-2.0 * unit(words[0]).ln()).sqrt();
            let angle = std::f64::consts::TAU * unit(words[1]);
            [radius * angle.cos(), radius * angle.sin()]
        })
        .take(len)
        .map(|x| (x * f64::from(std)) as f32)
        .collect()
}

// FNV-1a: a fixed hash, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
