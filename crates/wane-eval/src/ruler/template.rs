//! Model templates: what stands before and after the task's text, as NVIDIA's `--model_template_type`
//! (`scripts/data/template.py` at c3f5e3b), and the model's own chat template.
//!
//! The whole prompt is `before + task + after + answer prefix`: with a chat template the beginning of the
//! answer comes behind the assistant's header. Lengths count all of it, so a longer template leaves less
//! haystack. Where a needle task speaks of one value, NVIDIA rewrites the template too (`Some` -> `A`,
//! `are all` -> `is`, `are` -> `is`, `answers` -> `answer`): "You are a helpful assistant" becomes
//! "You is". That is kept, because other text would be another benchmark.
//!
//! A template may instead be *reserved* (NVIDIA's `--prepare_for_ns`): samples come without it, its
//! tokens stay free, and `length_w_model_temp` counts them.
//!
//! Does not do: Python's brace escapes (no template has any), templates over several turns.

use wane_model::tokenizer::sha256_hex;
use wane_model::{ChatTemplate, GenerationPrompt, Message};

use super::tokens::Encode;
use crate::{Error, Result, nearest};

/// What stands around the task's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTemplate {
    name: String,
    before: String,
    after: String,
    /// Tokens kept free because the template is added later.
    reserved: usize,
    own: bool,
}

/// NVIDIA's templates: name, before, after. Special tokens are spelled out.
const NAMED: [(&str, &str, &str); 11] = [
    ("base", "", ""),
    ("meta-chat", "[INST] ", " [/INST]"),
    (
        "vicuna-chat",
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, \
         detailed, and polite answers to the user's questions. USER: ",
        " ASSISTANT:",
    ),
    ("lwm-chat", "You are a helpful assistant. USER: ", " ASSISTANT: "),
    (
        "command-r-chat",
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    ("chatglm-chat", "[gMASK]sop<|user|> \n ", "<|assistant|> \n "),
    (
        "RWKV",
        "User: hi\n\nAssistant: Hi. I am your assistant and I will provide expert full response in full details. \
         Please feel free to ask any question and I will always answer it\n\nUser: ",
        "\n\nAssistant:",
    ),
    ("Phi3", "<|user|>\n", "<|end|>\n<|assistant|>\n"),
    (
        "meta-llama3",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("jamba", "<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> ", "<|eom|><|bom|><|assistant|>"),
    ("nemotron5-instruct", "<SPECIAL_10>System\n\n<SPECIAL_11>User\n", "\n<SPECIAL_11>Assistant\n"),
];

/// Stands for the task's text while a chat template is rendered.
const MARK: &str = "wane-task-text-goes-here";

impl Default for ModelTemplate {
    fn default() -> Self {
        Self::base()
    }
}

impl ModelTemplate {
    /// Nothing around the task's text.
    pub fn base() -> Self {
        Self { name: "base".into(), before: String::new(), after: String::new(), reserved: 0, own: false }
    }

    /// The names of NVIDIA's templates.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// One of NVIDIA's templates.
    ///
    /// # Errors
    /// A name that is none of them, with the nearest one.
    pub fn named(name: &str) -> Result<Self> {
        let Some((name, before, after)) = NAMED.iter().find(|(known, ..)| *known == name) else {
            let near = nearest(name, Self::names());
            return Err(Error::Invalid(format!(
                "unknown model template `{name}`: did you mean `{near}`? Expected `own` (the model's chat template) or one of {}",
                Self::names().collect::<Vec<_>>().join(", ")
            )));
        };
        Ok(Self {
            name: (*name).to_owned(),
            before: (*before).to_owned(),
            after: (*after).to_owned(),
            ..Self::base()
        })
    }

    /// The model's own chat template around one message of the user, up to the beginning of the answer.
    /// Its text has special tokens spelled out and is encoded without adding any, as `transformers` does.
    ///
    /// # Errors
    /// The template fails, or does not repeat the message exactly once.
    pub fn own(template: &ChatTemplate) -> Result<Self> {
        let text = template
            .render(&[Message::new("user", MARK)], GenerationPrompt::Add)
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let parts: Vec<&str> = text.split(MARK).collect();
        let &[before, after] = parts.as_slice() else {
            return Err(Error::Invalid(format!(
                "the model's chat template repeats the user's message {} times; once is needed: use --template with one of NVIDIA's",
                parts.len() - 1
            )));
        };
        let hash = sha256_hex(template.source.as_bytes());
        Ok(Self {
            name: format!("own@{}", &hash[..12]),
            before: before.to_owned(),
            after: after.to_owned(),
            reserved: 0,
            own: true,
        })
    }

    /// The same template left out of the samples, with its tokens kept free. NVIDIA counts the template
    /// with its placeholder `{task_template}` in it; so does this.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn reserved(self, tokenizer: &dyn Encode) -> Result<Self> {
        let text = [&self.before, "{task_template}", &self.after].concat();
        let reserved = tokenizer.encode(&text)?.len();
        Ok(Self { name: format!("{} reserved", self.name), reserved, own: self.own, ..Self::base() })
    }

    /// The name in records: NVIDIA's, or `own@` and the beginning of the template's hash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the text spells out every special token, the first one included, so that none is added.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Tokens kept free for a template that is added later.
    pub fn reserved_tokens(&self) -> usize {
        self.reserved
    }

    /// What stands before the task's text.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// What stands between the task's text and the beginning of the answer.
    pub fn after(&self) -> &str {
        &self.after
    }

    /// A task's text in the template.
    pub fn wrap(&self, task: &str) -> String {
        [&self.before, task, &self.after].concat()
    }

    /// The template as NVIDIA rewrites it where a needle task speaks of one value.
    pub fn singular(&self) -> Self {
        let rewrite = |text: &str| {
            text.replace("Some", "A")
                .replace("are all", "is")
                .replace("are", "is")
                .replace("answers", "answer")
        };
        Self { before: rewrite(&self.before), after: rewrite(&self.after), ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
