//! Which model template stands around a task's text.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use wane_eval::ruler::template::ModelTemplate;
use wane_model::{ChatTemplate, Tokenizer, checkpoint};

/// What stands around the task's text.
#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    /// Model template: `own` (the chat template beside the tokenizer) or one of NVIDIA's (base, meta-llama3, ...)
    #[arg(long, default_value = "base", value_name = "NAME")]
    template: String,
    /// Leave the template out of the samples and keep its tokens free, as NVIDIA's --prepare_for_ns
    #[arg(long)]
    reserve_template: bool,
}

impl TemplateArgs {
    /// The template for a tokenizer.
    pub(crate) fn open(&self, spec: &str, tokenizer: &Tokenizer) -> anyhow::Result<ModelTemplate> {
        let template = named_template(&self.template, || {
            checkpoint::open_chat_template(Path::new(spec))
                .with_context(|| format!("--template own: {spec} is no model folder or .gguf file"))
        })?;
        Ok(if self.reserve_template { template.reserved(tokenizer)? } else { template })
    }
}

/// The template of a name; `own` asks for the model's.
pub(crate) fn named_template(
    name: &str,
    own: impl FnOnce() -> anyhow::Result<Option<ChatTemplate>>,
) -> anyhow::Result<ModelTemplate> {
    if name != "own" {
        return Ok(ModelTemplate::named(name)?);
    }
    let template = own()?.context(
        "the model has no chat template: name one of NVIDIA's with --template, or use a prompt form without one",
    )?;
    Ok(ModelTemplate::own(&template)?)
}
