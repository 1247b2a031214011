//! What several commands share: opening a model, its device, reading ids.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use wane_attention::Plan;
use wane_eval::ruler::Metric;
use wane_kernels::{DType, Device};
use wane_model::Tokenizer;
use wane_model::checkpoint::{self, Checkpoint};
use wane_model::decoder::{Decoder, LoadOptions};

/// Which model, where and in what precision.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Model: a directory, a .gguf file or a hub id (`hf` fetches it unless it is cached)
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where and in what precision models run.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArgs {
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(crate) device: String,
    /// Type of dense weights in memory: f32 or bf16; as stored by default (bf16 on CUDA)
    #[arg(long, value_name = "DTYPE")]
    pub(crate) dtype: Option<String>,
    /// Type of cached keys and values: f32 or bf16; f32 by default on the CPU, bf16 on CUDA
    #[arg(long, value_name = "DTYPE")]
    pub(crate) kv_dtype: Option<String>,
}

impl PlaceArgs {
    /// Opens the device.
    pub(crate) fn open_device(&self) -> Result<Device> {
        Ok(Device::parse(&self.device)?)
    }

    /// The cache's element type.
    pub(crate) fn kv_dtype(&self) -> Result<Option<DType>> {
        self.kv_dtype.as_deref().map(parse_dtype).transpose()
    }

    /// Reads a checkpoint and puts its weights on the device.
    pub(crate) fn load(&self, path: &Path) -> Result<(Checkpoint, Decoder)> {
        let checkpoint = checkpoint::open(path)?;
        let dtype = self.dtype.as_deref().map(parse_dtype).transpose()?;
        let decoder = Decoder::load(&checkpoint, &self.open_device()?, LoadOptions { dtype })
            .with_context(|| format!("loading {}", path.display()))?;
        Ok((checkpoint, decoder))
    }
}

impl ModelArgs {
    /// Reads the checkpoint and puts its weights on the device.
    pub(crate) fn load(&self) -> Result<(Checkpoint, Decoder)> {
        self.place.load(&self.model)
    }
}

/// `println!` that returns an error instead of panicking when nobody reads, or the disk is full.
macro_rules! outln {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($text)*)))?
    };
}

/// `print!`, likewise.
macro_rules! out {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!($($text)*))?
    };
}

pub(crate) use {out, outln};

/// Writes a safetensors file of tensors given as (name, type, shape, bytes).
pub(crate) fn write_tensors(path: &Path, tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let content = safetensors::serialize(views, None)?;
    Ok(checkpoint::write_atomically(path, |file| file.write_all(&content))?)
}

/// The model's tokenizer.
///
/// # Errors
/// It has none.
pub(crate) fn tokenizer_of(checkpoint: &Checkpoint) -> Result<&Tokenizer> {
    checkpoint.tokenizer.as_ref().with_context(|| {
        format!(
            "{} has no tokenizer: put its tokenizer.json there, or use `wane convert --tokenizer`",
            checkpoint.path.display()
        )
    })
}

/// `f32` or `bf16`.
pub(crate) fn parse_dtype(text: &str) -> Result<DType> {
    match text {
        "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        other => anyhow::bail!("expected f32 or bf16, got {other:?}"),
    }
}

/// A scorer of tables: a metric's name, or `task` for each task's own.
pub(crate) fn scorer(text: &str) -> std::result::Result<String, String> {
    Metric::choose(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// A method string as a plan.
pub(crate) fn parse_plan(text: &str) -> Result<Plan> {
    Plan::parse(text).with_context(|| format!("method {text:?}"))
}

/// A JSON array of token ids, or of arrays of ids of equal length.
pub(crate) fn read_ids(path: &Path) -> Result<Vec<Vec<u32>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let what = || format!("{}: expected a JSON array of token ids, or of arrays of ids", path.display());
    let value: serde_json::Value = serde_json::from_str(&text).with_context(what)?;
    let batch: Vec<Vec<u32>> = if value.as_array().is_some_and(|a| a.first().is_some_and(|x| x.is_array())) {
        serde_json::from_value(value).with_context(what)?
    } else {
        vec![serde_json::from_value(value).with_context(what)?]
    };
    let length = batch.first().map_or(0, Vec::len);
    anyhow::ensure!(length > 0, "{}: there are no token ids", path.display());
    anyhow::ensure!(
        batch.iter().all(|ids| ids.len() == length),
        "{}: the sequences have different lengths; they must be equal",
        path.display()
    );
    Ok(batch)
}
