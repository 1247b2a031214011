//! `wane trace`: what a method selects on given tokens, teacher-forced, and the logits it leads to.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use safetensors::Dtype;
use wane_attention::{DecodeBatch, Observation, Phase, Probe, SequenceCache, SharedProbe, Unit};
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK};

use super::shared::{ModelArgs, parse_plan, read_ids, write_tensors};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: wane trace --model models/memory --tokens ids.json --prompt-len 100 --method quest:block=16,k=4 --out trace.safetensors\n\n\
    Tokens 0..N are the prompt; decode step 0 consumes token N. The output holds, as i32, ascending, padded with -1:\n\
    `prefill.selected` [layer, head, query, k] block indices; `retained` [layer, head, k] positions;\n\
    `decode.selected` [layer, head, step, k] block indices or `decode.tokens` [layer, head, step, k] positions;\n\
    and `logits` f32 [tokens, vocabulary]. A phase that reads everything writes nothing."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON array of token ids
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Tokens of the prompt
    #[arg(long, value_name = "N")]
    prompt_len: usize,
    /// Method, for example quest:block=64,k=8
    #[arg(long)]
    method: String,
    /// safetensors file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Default)]
struct Recorder(Vec<Observation>);

impl Probe for Recorder {
    fn observe(&mut self, observation: Observation) {
        self.0.push(observation);
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let plan = parse_plan(&args.method)?;
    let batch = read_ids(&args.tokens)?;
    ensure!(batch.len() == 1, "{}: expected one sequence, got {}", args.tokens.display(), batch.len());
    let ids = &batch[0];
    ensure!(
        args.prompt_len > 0 && args.prompt_len <= ids.len(),
        "--prompt-len must be between 1 and the {} tokens, got {}",
        ids.len(),
        args.prompt_len
    );
    let (_, decoder) = args.model.load()?;
    let options = CacheOptions { dtype: args.model.place.kv_dtype()?, context: None, keep_queries: 0 };
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let mut cache = SequenceCache::new(&plan, &decoder.cache_config(options), 0)?;
    cache.set_probe(Some(recorder.clone() as SharedProbe));

    let (prompt, rest) = ids.split_at(args.prompt_len);
    let mut logits = decoder.prefill_logits(&mut cache, prompt, DEFAULT_CHUNK)?;
    let mut steps = DecodeBatch::new(vec![cache], rest.len())?;
    for &token in rest {
        logits.extend(decoder.decode(&mut steps, &[token])?.to_f32_vec()?);
    }
    drop(steps);

    let observations = std::mem::take(&mut recorder.lock().unwrap_or_else(|e| e.into_inner()).0);
    let mut tensors = Vec::new();
    let mut add = |name: &str, phase: Phase, unit: fn(Unit) -> bool, flat: bool| {
        let chosen: Vec<&Observation> =
            observations.iter().filter(|o| o.phase == phase && unit(o.unit)).collect();
        if let Some((shape, values)) = pack(&chosen, decoder.config().num_hidden_layers, flat) {
            tensors.push((name.to_owned(), Dtype::I32, shape, values));
        }
    };
    let block = |unit| matches!(unit, Unit::Block(_));
    let position = |unit| matches!(unit, Unit::Position);
    add("prefill.selected", Phase::Prefill, block, false);
    add("retained", Phase::AfterPrefill, position, true);
    add("decode.selected", Phase::Decode, block, false);
    add("decode.tokens", Phase::Decode, position, false);
    let vocabulary = decoder.config().vocab_size;
    let bytes = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    tensors.push(("logits".to_owned(), Dtype::F32, vec![logits.len() / vocabulary, vocabulary], bytes));

    write_tensors(&args.out, &tensors)
}

/// [layer, head, query or step, k], padded with -1; `flat` drops the third dimension.
fn pack(observations: &[&Observation], layers: usize, flat: bool) -> Option<(Vec<usize>, Vec<u8>)> {
    let heads = observations.iter().map(|o| o.indices.len()).max()?;
    // One row per (layer, head): the queries of all observations of that layer, in order.
    let mut rows: Vec<Vec<&[i32]>> = vec![Vec::new(); layers * heads];
    for observation in observations {
        for (head, queries) in observation.indices.iter().enumerate() {
            rows[observation.layer * heads + head].extend(queries.iter().map(Vec::as_slice));
        }
    }
    let queries = rows.iter().map(Vec::len).max()?;
    let width = rows.iter().flatten().map(|row| row.len()).max()?;
    let mut values = Vec::with_capacity(layers * heads * queries * width);
    for row in &rows {
        for query in 0..queries {
            let indices = row.get(query).copied().unwrap_or_default();
            values.extend_from_slice(indices);
            values.extend(std::iter::repeat_n(-1, width - indices.len()));
        }
    }
    let shape = if flat { vec![layers, heads, width] } else { vec![layers, heads, queries, width] };
    Some((shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
}
