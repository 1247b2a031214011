//! Tokens for training: shards of packed text, generated samples, the mixture of both under a
//! curriculum, and threads that prepare batches ahead.

pub mod batch;
pub mod mixture;
pub mod pack;
pub mod prefetch;
pub mod shard;
pub mod source;
pub mod text;
pub mod tokenizer;

pub use batch::HostBatch;
pub use mixture::Mixture;
pub use pack::{PackOptions, PackSummary};
pub use prefetch::Prefetcher;
pub use shard::{Shard, ShardWriter};
pub use source::{Sample, SampleRequest, SampleSource};
pub use tokenizer::{TokenizerHash, TokenizerOptions};

#[cfg(test)]
mod tests;
