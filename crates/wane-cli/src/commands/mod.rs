//! One file per command: its arguments (`Args`) and what it does (`run`).

pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod data;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod hits;
mod interrupt;
pub(crate) mod logits;
pub(crate) mod memory;
pub(crate) mod methods;
mod needle_source;
mod pair_source;
pub(crate) mod perplexity;
pub(crate) mod report;
pub(crate) mod ruler;
mod ruler_check;
mod ruler_files;
mod ruler_pairs;
mod ruler_score;
mod samples;
mod shared;
pub(crate) mod tasks;
pub(crate) mod tokenizer;
pub(crate) mod trace;
pub(crate) mod train;
