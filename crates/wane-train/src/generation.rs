//! Text that the model continues during training: greedy, dense attention, one prompt at a time.

use wane_attention::{DecodeBatch, Plan, SequenceCache};
use wane_kernels::ops::sampling::SamplingParams;
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK, Decoder};
use wane_model::generate::{Continue, DecodeOptions, decode_until, next_tokens};

use crate::Result;
use crate::data::tokenizer::Encoder;

/// The greedy continuation of `prompt`, at most `tokens` tokens.
///
/// # Errors
/// A prompt longer than the context, or the device failed.
pub fn sample_text(decoder: &Decoder, encoder: &Encoder, prompt: &str, tokens: usize) -> Result<String> {
    let ids = encoder.encode(prompt)?;
    let room = decoder.config().max_position_embeddings.saturating_sub(ids.len());
    let config = decoder.cache_config(CacheOptions { dtype: None, context: None, keep_queries: 0 });
    let mut cache = SequenceCache::new(&Plan::dense(), &config, 0)?;
    let logits = decoder.prefill(&mut cache, &ids, DEFAULT_CHUNK)?;
    let options = DecodeOptions {
        max_new_tokens: tokens.min(room),
        stop_ids: vec![encoder.end()],
        sampling: SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0 },
        seed: 0,
    };
    let first = next_tokens(&logits, &options, &[(0, 0)])?;
    let batch = DecodeBatch::new(vec![cache], options.max_new_tokens.max(1))?;
    let generated = decode_until(decoder, batch, &first, &options, &mut |_, _| Continue::Yes)?;
    encoder.decode(&generated[0].ids)
}
