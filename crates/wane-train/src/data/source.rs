//! What generates samples: implemented by the needle generator (wane-eval) and passed in by the
//! binary, so that training does not depend on evaluation.

use std::ops::Range;

/// One generated sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// Tokens: context, questions and answers, each answer closed by the end token.
    pub ids: Vec<u32>,
    /// Tokens of the answers (end tokens included), ascending ranges into `ids`.
    pub answers: Vec<Range<usize>>,
}

/// Which sample is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRequest {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the sample: seed and number determine it.
    pub index: u64,
    /// Index into [`SampleSource::tasks`].
    pub task: usize,
    /// Longest sample in tokens; the generator comes as close as its material allows.
    pub tokens: usize,
    /// Question/answer pairs; fewer if they do not fit.
    pub questions: usize,
}

/// A generator of samples, deterministic under (seed, index).
pub trait SampleSource: Send + Sync {
    /// Task names, in a fixed order.
    fn tasks(&self) -> Vec<String>;

    /// The sample, or `None` if not even one needle and one question fit into `tokens`.
    ///
    /// # Errors
    /// A message if the material (haystack, tokenizer) fails.
    fn sample(&self, request: &SampleRequest) -> std::result::Result<Option<Sample>, String>;
}
