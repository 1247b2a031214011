//! One file per command: its arguments (`Args`) and what it does (`run`).

pub(crate) mod generate;
pub(crate) mod logits;
pub(crate) mod methods;
pub(crate) mod perplexity;
mod shared;
pub(crate) mod trace;
