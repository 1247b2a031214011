//! The operators, one folder each: `mod.rs` (formula, shapes, dispatch), `reference.rs` (the
//! definition: plain loops, f64 accumulation), `cpu.rs`, `cuda.rs` with its `.cu`, `tests.rs`.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod block_attention;
pub mod block_summary;
pub mod cast;
pub mod columns;
pub mod cross_entropy;
pub mod decay_scan;
pub mod embedding;
pub mod linear;
pub mod paged_kv;
pub mod random;
pub mod rms_norm;
pub mod rope;
pub mod sampling;
pub mod top_k;
pub mod window_scores;
