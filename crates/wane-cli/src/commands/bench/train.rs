//! `wane bench train`: one optimizer step (forward, backward, clipping, AdamW) on random tokens.

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use wane_kernels::Tensor;
use wane_kernels::ops::attention::Pattern;
use wane_model::decoder::{Batch, Gradients, Isolation, Keep, TrainOptions};
use wane_train::config::Optimizer as Table;
use wane_train::optimizer::Optimizer;

use super::Options;
use super::machine::Floor;
use super::measure::{Report, time};
use super::model::{ModelShape, Sizes, attention_flops, describe, ids, product_flops};

/// The default model: 9M parameters.
const SIZES: Sizes = Sizes { hidden: 256, layers: 6, heads: 4, ffn: 704 };

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane bench train --batch 4 --tokens 512

The floor counts three times the forward pass's products and attention.")]
pub(crate) struct Args {
    /// Sequences
    #[arg(long, default_value_t = 4, value_name = "N")]
    batch: usize,
    /// Tokens of each
    #[arg(long, default_value_t = 512, value_name = "N")]
    tokens: usize,
    #[command(flatten)]
    shape: ModelShape,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    let rows = args.batch * args.tokens;
    ensure!(rows > 0, "--batch and --tokens must be at least 1");
    let mut decoder = args.shape.build(SIZES, args.tokens)?;
    let mut report = Report::new(
        "train",
        format!("a step of {} x {} tokens, {}", args.batch, args.tokens, describe(&decoder)),
    );
    let table = Table {
        lr: 1e-3,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        clip: 1.0,
        memory_lr: None,
        memory_weight_decay: None,
    };
    let mut optimizer = Optimizer::new(&mut decoder, &table)?;
    let mut gradients = Gradients::zeros(&decoder)?;
    let all: Vec<i32> = ids(rows + 1, decoder.config().vocab_size).iter().map(|&id| id as i32).collect();
    let on_device = |ids: &[i32]| Tensor::from_i32(ids, &[rows], decoder.device());
    let batch = Batch {
        ids: on_device(&all[..rows])?,
        targets: on_device(&all[1..])?,
        weights: Tensor::from_f32(&vec![1.0; rows], &[rows], decoder.device())?,
        batch: args.batch,
        tokens: args.tokens,
        isolation: Isolation::default(),
    };
    let options = TrainOptions { pattern: Pattern::Causal, keep: Keep::Everything, scale: 1.0 / rows as f32 };
    let timing = time(args.options.repeats.unwrap_or(7), 2, |_| {
        gradients.clear()?;
        decoder.loss_and_gradients(&batch, &options, &mut gradients)?;
        optimizer.step(&mut decoder, &gradients, 1.0)?;
        Ok(())
    })?;
    let config = decoder.config();
    let [blocks, head] = product_flops(config);
    let attention = attention_flops(config, args.tokens) * args.batch as f64;
    let tokens_per_second = rows as f64 / timing.median();
    report.row("step", timing, Some(Floor::Flops(3.0 * ((blocks + head) * rows as f64 + attention))));
    report.figure("tokens_per_second", tokens_per_second, format!("{tokens_per_second:.0} tokens/s"));
    report.print(args.options.json)?;
    Ok(())
}
