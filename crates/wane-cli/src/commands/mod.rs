//! One file per command: its arguments (`Args`) and what it does (`run`).

pub(crate) mod data;
pub(crate) mod tokenizer;
