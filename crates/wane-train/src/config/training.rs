//! `[training]`, `[optimizer]`, `[schedule]`, `[joint]`, `[adaptation]`.

use serde::{Deserialize, Serialize};
use wane_kernels::ops::attention::Pattern;

/// Sizes of a step and the length of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingTable {
    /// Tokens of a row.
    pub sequence: usize,
    /// Rows of an optimizer step, over all micro-batches and processes.
    pub batch: usize,
    /// Micro-batches into which a step's rows are divided.
    #[serde(default = "one_usize")]
    pub accumulation: usize,
    /// Length of the run in steps; or `tokens`.
    pub steps: Option<u64>,
    /// Length of the run in tokens (second passes are not counted); or `steps`.
    pub tokens: Option<u64>,
    /// Compute activations again in the backward pass: less memory, about a third more time.
    #[serde(default)]
    pub recompute: bool,
}

/// AdamW (arXiv 1711.05101) with decoupled decay; norms and biases never decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Peak learning rate.
    pub lr: f64,
    /// Decay of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Decay of matrices and embeddings.
    #[serde(default = "tenth")]
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 switches clipping off.
    #[serde(default = "unit")]
    pub clip: f64,
    /// Peak learning rate of the memory's parameters; `lr` if absent.
    pub memory_lr: Option<f64>,
    /// Decay of the memory gate's matrix; `weight_decay` if absent.
    pub memory_weight_decay: Option<f64>,
}

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// No decay.
    Constant,
    /// Half a cosine.
    Cosine,
    /// A line.
    Linear,
    /// Constant, then a line over the last `decay` of the run.
    ConstantLinear,
}

/// Learning rate over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The shape after the warm-up.
    #[serde(default = "cosine")]
    pub shape: Shape,
    /// Share of the run that warms up.
    #[serde(default = "twentieth")]
    pub warmup: f64,
    /// Steps of warm-up; overrides `warmup`.
    pub warmup_steps: Option<u64>,
    /// Last factor on the peak.
    #[serde(default)]
    pub end: f64,
    /// Share of the run that decays (`constant_linear`).
    #[serde(default = "two_fifths")]
    pub decay: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { shape: Shape::Cosine, warmup: 0.05, warmup_steps: None, end: 0.0, decay: 0.4 }
    }
}

/// Mask of the second pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassKind {
    /// Every `dilation`-th key and the query's own: makes the memory reach `dilation` tokens.
    Dilated,
    /// The last `window` keys: the attention baseline's pass of the same cost.
    Window,
}

/// Joint training (arXiv 2605.28640): a batch is used for two optimizer steps, first under the
/// restricted mask, then dense; the learning rate moves once for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    /// Which mask.
    pub pass: PassKind,
    /// Every how many batches; 1 is all of them.
    #[serde(default = "one_u64")]
    pub every: u64,
    /// D of the dilated pass; 64 if absent.
    pub dilation: Option<usize>,
    /// W of either pass; 64 for the window pass, 0 for the dilated one if absent.
    pub window: Option<usize>,
    /// S of either pass.
    #[serde(default)]
    pub initial: usize,
    /// Share of the run before second passes start.
    #[serde(default)]
    pub from: f64,
    /// Share of the run after which they stop.
    #[serde(default = "unit")]
    pub until: f64,
}

impl Joint {
    /// The mask of the second pass.
    pub fn pattern(&self) -> Pattern {
        let (dilation, window) = match self.pass {
            PassKind::Dilated => (Some(self.dilation.unwrap_or(64)), self.window.unwrap_or(0)),
            PassKind::Window => (None, self.window.unwrap_or(64)),
        };
        Pattern::Dilated { dilation, window, initial: self.initial }
    }
}

/// Adaptation to a dilated mask: every pass uses it, validation included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptation {
    /// D.
    pub dilation: usize,
    /// W.
    #[serde(default)]
    pub window: usize,
    /// S.
    #[serde(default)]
    pub initial: usize,
}

impl Adaptation {
    /// The mask.
    pub fn pattern(&self) -> Pattern {
        Pattern::Dilated { dilation: Some(self.dilation), window: self.window, initial: self.initial }
    }
}

fn one_usize() -> usize {
    1
}

fn one_u64() -> u64 {
    1
}

fn unit() -> f64 {
    1.0
}

fn betas() -> [f64; 2] {
    [0.9, 0.95]
}

fn eps() -> f64 {
    1e-8
}

fn tenth() -> f64 {
    0.1
}

fn twentieth() -> f64 {
    0.05
}

fn two_fifths() -> f64 {
    0.4
}

fn cosine() -> Shape {
    Shape::Cosine
}
