//! Chat templates: Hugging Face's Jinja templates, rendered by minijinja.
//!
//! The conventions of `apply_chat_template`: `messages`, `add_generation_prompt`, `bos_token`,
//! `eos_token`, `raise_exception`, `strftime_now`, `tojson` without HTML escapes, Python's string
//! methods, trimmed blocks. Tools and documents are passed as undefined.

mod clock;
mod render;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::Result;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Whether the rendered text ends with the opening of the assistant's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// Yes: the model answers next.
    Add,
    /// No.
    Omit,
}

/// A template with the special tokens it may mention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Jinja source.
    pub source: String,
    /// Text of the token that begins a text, if any.
    pub bos_token: Option<String>,
    /// Text of the token that ends a text, if any.
    pub eos_token: Option<String>,
}

impl ChatTemplate {
    /// The conversation as text, special tokens spelled out: encode it without adding any.
    ///
    /// # Errors
    /// The template does not parse, fails, or calls `raise_exception`.
    pub fn render(&self, messages: &[Message], prompt: GenerationPrompt) -> Result<String> {
        render::render(self, messages, prompt)
    }
}
