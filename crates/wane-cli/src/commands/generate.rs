//! `wane generate`: text from a prompt, under any method.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use wane_attention::{DecodeBatch, SequenceCache};
use wane_kernels::ops::sampling::SamplingParams;
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK};
use wane_model::generate::{Continue, DecodeOptions, Finish, decode_until, next_tokens};
use wane_model::tokenizer::StreamDecoder;
use wane_model::{Checkpoint, GenerationPrompt, Message, ModelConfig, SpecialTokens};

use super::shared::{ModelArgs, out, outln, parse_plan, tokenizer_of};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: wane generate --model SmolLM2.gguf --chat --prompt 'Why is the sky blue?' --method quest:block=64,k=8"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt; several give a batch
    #[arg(long, required = true, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Put each prompt into the model's chat template
    #[arg(long)]
    chat: bool,
    /// Method, for example dense or snapkv:k=512+quest:block=64,k=8
    #[arg(long, default_value = "dense")]
    method: String,
    /// New tokens, at most; by default 128 or what the model's context leaves
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Keep only the best K tokens; 0 keeps all
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: usize,
    /// Keep the smallest set of tokens with this probability
    #[arg(long, default_value_t = 1.0, value_name = "P", allow_negative_numbers = true)]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// End at this text (several are allowed)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Print one JSON object per prompt, with counts and times
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    anyhow::ensure!(args.temperature >= 0.0, "--temperature must be at least 0, got {}", args.temperature);
    anyhow::ensure!(args.top_p > 0.0 && args.top_p <= 1.0, "--top-p must be in (0, 1], got {}", args.top_p);
    let plan = parse_plan(&args.method)?;
    let (checkpoint, decoder) = args.model.load()?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let cache_options = CacheOptions { dtype: args.model.place.kv_dtype()?, context: None, keep_queries: 0 };
    let cache_config = decoder.cache_config(cache_options);
    let prompts =
        args.prompt.iter().map(|text| prompt_ids(args, &checkpoint, text)).collect::<Result<Vec<_>>>()?;
    let options = DecodeOptions {
        max_new_tokens: new_tokens(args.max_new_tokens, &prompts, decoder.config())?,
        stop_ids: decoder.config().eos_token_ids.clone(),
        sampling: SamplingParams { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p },
        seed: args.seed,
    };

    let started = Instant::now();
    let (mut caches, mut first) = (Vec::new(), Vec::new());
    for (i, ids) in prompts.iter().enumerate() {
        let mut cache = SequenceCache::new(&plan, &cache_config, i as u32)?;
        let logits = decoder.prefill(&mut cache, ids, DEFAULT_CHUNK)?;
        first.extend(next_tokens(&logits, &options, &[(i as u32, 0)])?);
        caches.push(cache);
    }
    let prefill_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    // One prompt without --json is streamed.
    let streaming = args.prompt.len() == 1 && !args.json;
    let mut texts: Vec<TextSoFar<'_>> = args
        .prompt
        .iter()
        .map(|_| TextSoFar {
            stream: tokenizer.stream(SpecialTokens::Skip),
            text: String::new(),
            shown: 0,
            stopped: false,
        })
        .collect();
    let batch = DecodeBatch::new(caches, options.max_new_tokens)?;
    let mut failure = None;
    let generated = decode_until(&decoder, batch, &first, &options, &mut |index, id| {
        let text = &mut texts[index];
        let shown =
            text.push(id, &args.stop).and_then(|fresh| if streaming { print_now(&fresh) } else { Ok(()) });
        match shown {
            Ok(()) if !text.stopped => Continue::Yes,
            Ok(()) => Continue::Stop,
            Err(error) => {
                failure = Some(error);
                Continue::Stop
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let decode_seconds = started.elapsed().as_secs_f64();
    for text in &mut texts {
        let rest = text.finish()?;
        if streaming {
            outln!("{rest}");
            return Ok(());
        }
    }
    for (i, (text, generated)) in texts.iter().zip(&generated).enumerate() {
        if !args.json {
            outln!("{}", text.text);
            continue;
        }
        let finish = match generated.finish {
            Finish::Length => "length",
            Finish::Stop | Finish::Callback => "stop",
        };
        outln!(
            "{}",
            serde_json::json!({
                "text": text.text, "ids": generated.ids, "finish_reason": finish, "method": plan.canonical(),
                "prompt_tokens": prompts[i].len(), "completion_tokens": generated.ids.len(),
                "prefill_seconds": prefill_seconds, "decode_seconds": decode_seconds,
            })
        );
    }
    Ok(())
}

/// Token ids of a prompt, in the chat template if that is asked for.
fn prompt_ids(args: &Args, checkpoint: &Checkpoint, prompt: &str) -> Result<Vec<u32>> {
    let tokenizer = tokenizer_of(checkpoint)?;
    if !args.chat {
        return Ok(tokenizer.encode_with_special(prompt)?);
    }
    let template = checkpoint
        .chat_template
        .as_ref()
        .with_context(|| format!("{} has no chat template: leave out --chat", checkpoint.path.display()))?;
    Ok(tokenizer.encode(&template.render(&[Message::new("user", prompt)], GenerationPrompt::Add)?)?)
}

/// How many tokens may be generated: what was asked for if it fits, else 128 or what the context leaves.
fn new_tokens(asked: Option<usize>, prompts: &[Vec<u32>], config: &ModelConfig) -> Result<usize> {
    let context = config.sliding_window.unwrap_or(usize::MAX).min(config.max_position_embeddings);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    // The last new token is not read any more.
    let room = (context + 1).saturating_sub(longest);
    match asked {
        Some(asked) if longest <= context && asked > room => bail!(
            "--max-new-tokens {asked} and a prompt of {longest} tokens do not fit the model's context of {context}: ask for at most {room}"
        ),
        // Prompts that are too long are refused where they are read.
        Some(asked) => Ok(asked),
        None => Ok(room.min(128)),
    }
}

/// Prints and flushes: the user reads along.
fn print_now(text: &str) -> Result<()> {
    out!("{text}");
    Ok(std::io::stdout().flush()?)
}

// Text as it arrives, cut at the first stop string.
struct TextSoFar<'a> {
    stream: StreamDecoder<'a>,
    text: String,
    // Bytes of `text` that were handed out.
    shown: usize,
    stopped: bool,
}

impl TextSoFar<'_> {
    /// Takes one more token; returns the text that no stop string can take back any more.
    fn push(&mut self, id: u32, stops: &[String]) -> Result<String> {
        self.text += &self.stream.push(id)?;
        if let Some(end) = stops.iter().filter_map(|stop| self.text.find(stop.as_str())).min() {
            self.text.truncate(end);
            self.stopped = true;
        }
        Ok(self.take(self.certain(stops)))
    }

    /// The text that was still held back.
    fn finish(&mut self) -> Result<String> {
        if !self.stopped {
            self.text += &self.stream.finish()?;
        }
        Ok(self.take(self.text.len()))
    }

    fn take(&mut self, end: usize) -> String {
        let fresh = self.text[self.shown.min(end)..end].to_owned();
        self.shown = self.shown.max(end);
        fresh
    }

    // Everything but an ending that may grow into a stop string.
    fn certain(&self, stops: &[String]) -> usize {
        if self.stopped {
            return self.text.len();
        }
        let begins_stop = |&at: &usize| stops.iter().any(|stop| stop.starts_with(&self.text[at..]));
        self.text.char_indices().map(|(at, _)| at).find(begins_stop).unwrap_or(self.text.len())
    }
}
