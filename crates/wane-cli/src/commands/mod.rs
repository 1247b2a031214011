//! One file per command: its arguments (`Args`) and what it does (`run`).

pub(crate) mod data;
pub(crate) mod generate;
pub(crate) mod logits;
pub(crate) mod perplexity;
mod needle_source;
mod shared;
pub(crate) mod tokenizer;
pub(crate) mod trace;
pub(crate) mod train;
