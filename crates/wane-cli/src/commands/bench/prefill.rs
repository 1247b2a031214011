//! `wane bench prefill`: reading a prompt under any method, and the bytes of K/V it leaves in pages.

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use wane_attention::{Plan, SequenceCache};
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK, Decoder};

use super::Options;
use super::machine::Floor;
use super::measure::{Report, time};
use super::model::{INFERENCE, ModelShape, attention_flops, describe, ids, product_flops};
use super::operators;
use crate::commands::shared::parse_plan;

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wane bench prefill
  wane bench prefill --operators
  wane bench prefill --method snapkv:budget=1/8
  wane bench prefill --model SmolLM2-135M-Instruct.Q4_1.gguf

The floor counts the products and dense causal attention, of the last layer keys and values alone, at the rate
of the vector units; products on a matrix unit (AMX) may take less. MoBA's prefill computes less and has none.")]
pub(crate) struct Args {
    /// Tokens of the prompt
    #[arg(long, default_value_t = 4096, value_name = "N")]
    tokens: usize,
    /// Method, for example dense or snapkv:budget=1/8
    #[arg(long, default_value = "dense")]
    method: String,
    /// Time every operator of a block by itself, too
    #[arg(long)]
    operators: bool,
    #[command(flatten)]
    shape: ModelShape,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    ensure!(args.tokens > 0, "--tokens must be at least 1");
    let plan = parse_plan(&args.method)?;
    let decoder = args.shape.build(INFERENCE, args.tokens)?;
    let mut report = Report::new(
        "prefill",
        format!("{} tokens under {}, {}", args.tokens, plan.canonical(), describe(&decoder)),
    );
    let prompt = Prompt { decoder: &decoder, tokens: args.tokens, kv_dtype: args.shape.kv_dtype()? };
    let mut held = Held::default();
    let timing = time(args.options.repeats.unwrap_or(5), 1, |_| {
        held = prompt.read(&plan)?.1;
        Ok(())
    })?;
    report.row("prefill", timing, prompt.floor(&plan));
    held.report(&mut report, &plan, &prompt)?;
    if args.operators {
        operators::report(&mut report, decoder.config(), args.tokens, args.options.repeats.unwrap_or(5))?;
    }
    report.print(args.options.json)?;
    Ok(())
}

/// A prompt of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) tokens: usize,
    pub(super) kv_dtype: Option<wane_kernels::DType>,
}

/// Bytes of pages, as their allocator counts them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// After the prompt.
    resident: usize,
    /// At most, meanwhile.
    peak: usize,
}

impl Prompt<'_> {
    /// Reads the prompt into a fresh cache.
    ///
    /// # Errors
    /// A budget or context that does not fit.
    pub(super) fn read(&self, plan: &Plan) -> Result<(SequenceCache, Held)> {
        let options = CacheOptions { dtype: self.kv_dtype, context: Some(self.tokens), keep_queries: 0 };
        let config = self.decoder.cache_config(options);
        let mut cache = SequenceCache::new(plan, &config, 0)?;
        let ids = ids(self.tokens, self.decoder.config().vocab_size);
        std::hint::black_box(self.decoder.prefill(&mut cache, &ids, DEFAULT_CHUNK)?);
        let held = Held { resident: config.pool.bytes_in_use(), peak: config.pool.peak_bytes() };
        Ok((cache, held))
    }

    fn floor(&self, plan: &Plan) -> Option<Floor> {
        if plan.method_names().contains(&"moba") || plan.method_names().contains(&"dilated") {
            return None;
        }
        let config = self.decoder.config();
        let [blocks, head] = product_flops(config);
        let (tokens, layers) = (self.tokens as f64, config.num_hidden_layers as f64);
        // The last layer's outputs are asked for at the last position only.
        let whole = (blocks * tokens + attention_flops(config, self.tokens)) * (layers - 1.0) / layers;
        let keys_and_values = 4.0 * (config.kv_width() * config.hidden_size) as f64 * tokens;
        Some(Floor::Flops(whole + keys_and_values + head))
    }
}

impl Held {
    fn report(&self, report: &mut Report, plan: &Plan, prompt: &Prompt<'_>) -> Result<()> {
        let dense = if plan.is_dense() { *self } else { prompt.read(&Plan::dense())?.1 };
        let share = |bytes: usize| bytes as f64 / dense.resident as f64;
        let text = |what: &str, bytes: usize| {
            format!("{what}: {:.2} MB, {:.3} of dense", bytes as f64 / 1e6, share(bytes))
        };
        report.figure("resident_bytes", self.resident as f64, text("K/V pages after prefill", self.resident));
        report.figure("peak_bytes", self.peak as f64, text("K/V pages at the peak", self.peak));
        report.figure(
            "dense_bytes",
            dense.resident as f64,
            format!("K/V pages of a dense cache: {:.2} MB", dense.resident as f64 / 1e6),
        );
        Ok(())
    }
}
