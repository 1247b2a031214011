//! How much haystack fits a context: NVIDIA's searches. Every probe draws a new random sample, so
//! the search is part of the random stream and must take the same steps.
//!
//! - `binary` (current): from the tokens per item at one increment, bounds, then bisection.
//! - `linear` (RULER of 2024, lm-evaluation-harness): one increment more until it does not fit.
//!
//! Does not do: an endless retry; NVIDIA's loops forever where no sample fits, here it is an error.

use super::Request;
use crate::{Error, Result};

/// How the haystack's size is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Search {
    /// Bisection, NVIDIA's current way.
    #[default]
    Binary,
    /// Step by step, the older way.
    Linear,
}

/// Failed draws at the smallest size before giving up.
const PATIENCE: usize = 200;

/// What a search needs to know about a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fit {
    pub(crate) task: &'static str,
    pub(crate) context: usize,
    /// Tokens kept free for the answer.
    pub(crate) budget: usize,
    /// Items a step.
    pub(crate) increment: usize,
}

impl Fit {
    /// The size found. `length(items)` draws a sample and counts its tokens, without the budget.
    pub(crate) fn search(
        &self,
        search: Search,
        length: &mut dyn FnMut(usize) -> Result<usize>,
    ) -> Result<usize> {
        match search {
            Search::Binary => {
                let per_item = length(self.increment)? as f64 / self.increment as f64;
                let upper = ((self.context as f64 / per_item) * 3.0) as usize;
                self.bisect(upper.max(2 * self.increment), length)
            }
            Search::Linear => {
                let mut items = self.increment;
                while length(items)? + self.budget <= self.context {
                    items += self.increment;
                }
                Ok((items - self.increment).max(self.increment))
            }
        }
    }

    /// Bisection between one increment and `upper`.
    pub(crate) fn bisect(
        &self,
        upper: usize,
        length: &mut dyn FnMut(usize) -> Result<usize>,
    ) -> Result<usize> {
        let (mut low, mut high, mut best) = (self.increment, upper, None);
        while low <= high {
            let middle = (low + high) / 2;
            if length(middle)? + self.budget <= self.context {
                best = Some(middle);
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        Ok(best.unwrap_or(self.increment))
    }

    /// Draws samples, one increment smaller after each that is too long, until one fits.
    /// `draw(items)` returns `None` where the original raises an error (more needles than items).
    /// Returns the sample and its length, budget included.
    pub(crate) fn draw<S>(
        &self,
        items: usize,
        draw: &mut dyn FnMut(usize) -> Result<Option<(S, usize)>>,
    ) -> Result<(S, usize)> {
        let (mut items, mut failures, mut smallest) = (items, 0, usize::MAX);
        loop {
            if let Some((sample, tokens)) = draw(items)? {
                let length = tokens + self.budget;
                if length <= self.context {
                    return Ok((sample, length));
                }
                smallest = smallest.min(length);
            }
            if items > self.increment {
                items -= self.increment;
            } else {
                failures += 1;
            }
            if failures == PATIENCE {
                let needed = smallest;
                return Err(Error::ContextTooSmall { task: self.task, context: self.context, needed });
            }
        }
    }
}

impl Request<'_> {
    /// The search parameters of a task under this request.
    pub(crate) fn fit(&self, task: &'static str, budget: usize, increment: usize) -> Fit {
        Fit { task, context: self.room(), budget, increment }
    }
}

#[cfg(test)]
mod tests;
