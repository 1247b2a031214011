//! Models: configuration, checkpoint formats, tokenizer, chat templates, the decoder and generation.
//!
//! Read [`config::ModelConfig`] first, then [`checkpoint::open`]. This crate knows no task, no
//! training loop and no command line.

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod error;
pub mod generate;
pub mod rope;
pub mod tokenizer;

pub use chat::{ChatTemplate, GenerationPrompt, Message};
pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use decoder::Decoder;
pub use error::{Error, Result};
pub use tokenizer::{SpecialTokens, Tokenizer};
