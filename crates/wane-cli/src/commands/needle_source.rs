//! The needle generator as a source of training samples: joins wane-eval's generator and wane-train's
//! mixture, which do not know each other.

use std::path::Path;
use std::sync::Arc;

use wane_eval::ruler::TASKS;
use wane_eval::ruler::haystack::shipped_text;
use wane_eval::ruler::needle::Shape;
use wane_eval::ruler::training::{NeedleSampler, Options};
use wane_model::Tokenizer;
use wane_train::data::text::read_text;
use wane_train::data::{Sample, SampleRequest, SampleSource};

/// Haystacks use at most so many bytes of a text: tokenized at every start, held as ids.
const HAYSTACK_BYTES: usize = 32 << 20;

/// The eight needle tasks over one text.
#[derive(Debug)]
pub(crate) struct NeedleSource {
    sampler: NeedleSampler,
    shapes: Vec<Shape>,
}

impl NeedleSource {
    /// Reads tokenizer and haystack (the shipped text if there is none).
    pub(crate) fn open(tokenizer: &Path, end: u32, haystack: Option<&Path>) -> anyhow::Result<Self> {
        let mut text = match haystack {
            Some(path) => read_text(path)?,
            None => shipped_text(),
        };
        let mut cut = text.len().min(HAYSTACK_BYTES);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        let tokenizer = Arc::new(Tokenizer::open(&tokenizer.to_string_lossy())?);
        let sampler = NeedleSampler::new(tokenizer, &text, Options::new(None, end))?;
        let shapes = TASKS.iter().filter_map(|task| task.needle).collect();
        Ok(Self { sampler, shapes })
    }
}

impl SampleSource for NeedleSource {
    fn tasks(&self) -> Vec<String> {
        self.shapes.iter().map(|shape| shape.task.to_owned()).collect()
    }

    fn sample(&self, request: &SampleRequest) -> Result<Option<Sample>, String> {
        let shape = &self.shapes[request.task];
        let mut size = request.tokens;
        // The generator may exceed the size by a few ids, where a text begins without a space: ask for fewer.
        for _ in 0..3 {
            let sample = self
                .sampler
                .sample_with(shape, size, request.questions, request.seed, request.index)
                .map_err(|e| e.to_string())?;
            let excess = sample.ids.len().saturating_sub(request.tokens);
            if excess == 0 {
                return Ok(Some(Sample { ids: sample.ids, answers: sample.answers }));
            }
            size = size.saturating_sub(excess);
        }
        Ok(None)
    }
}
