//! How much haystack fits a context: NVIDIA's searches. Every probe draws a new random sample, so
//! the search is part of the random stream and must take the same steps.
//!
//! - `binary` (since June 2025): from the tokens per item at one increment, bounds, then bisection.
//! - `linear` (RULER of 2024): from one increment, one more until it does not fit.
//! - `linear-2025` (May 2025): as `linear`, but from a first guess, with larger steps.
//!
//! Does not do: an endless retry; NVIDIA's loops forever where no sample fits, here it is an error.

use super::Request;
use crate::{Error, Result};

/// How the haystack's size is found; also the age of the scripts that did it so, which differ in more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Search {
    /// Bisection, NVIDIA's current way (c3f5e3b).
    #[default]
    Binary,
    /// Step by step, as in 2024 (e40fae1), when most published numbers were made.
    Linear,
    /// Step by step from a first guess, as in May 2025 (61d2e1a).
    Linear2025,
}

impl Search {
    /// All of them.
    pub const LIST: [Self; 3] = [Self::Binary, Self::Linear, Self::Linear2025];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Linear => "linear",
            Self::Linear2025 => "linear-2025",
        }
    }

    /// The search of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::LIST.into_iter().find(|s| s.name() == name)
    }
}

/// Failed draws at the smallest size before giving up.
const PATIENCE: usize = 200;

/// A limit of a linear search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Most {
    /// No limit.
    None,
    /// A size above it is set to it before it is tried, and ends the search.
    Before(usize),
    /// A size above it that fits is set to it, and ends the search.
    After(usize),
}

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
    /// Bisection from the tokens per item at one increment. `length(items)` draws a sample and counts its
    /// tokens, without the budget.
    pub(crate) fn binary(&self, length: &mut dyn FnMut(usize) -> Result<usize>) -> Result<usize> {
        let per_item = length(self.increment)? as f64 / self.increment as f64;
        let upper = ((self.context as f64 / per_item) * 3.0) as usize;
        self.bisect(upper.max(2 * self.increment), length)
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

    /// Steps of one increment from `first`, which is at least one. A sample that fills the context exactly
    /// ends the search one step later than it should: the original's quirk.
    pub(crate) fn steps(
        &self,
        first: usize,
        most: Most,
        length: &mut dyn FnMut(usize) -> Result<usize>,
    ) -> Result<usize> {
        let (mut items, mut total) = (first, 0);
        while total + self.budget < self.context {
            total = length(items)?;
            if total + self.budget > self.context {
                return Ok(items - self.increment);
            }
            match most {
                Most::After(most) if items > most => return Ok(most),
                Most::Before(most) if items + self.increment > most => return Ok(most),
                _ => items += self.increment,
            }
        }
        Ok(items)
    }

    /// Draws samples, one increment smaller after each that is too long, until one fits.
    /// `draw(items)` returns `None` where the original raises an error (more needles than items).
    /// Returns the sample and its length, budget included.
    pub(crate) fn draw<S>(
        &self,
        items: usize,
        draw: &mut dyn FnMut(usize) -> Result<Option<(S, usize)>>,
    ) -> Result<(S, usize)> {
        let (mut items, mut failures, mut smallest) = (items, 0, None);
        loop {
            if let Some((sample, tokens)) = draw(items)? {
                let length = tokens + self.budget;
                if length <= self.context {
                    return Ok((sample, length));
                }
                smallest = Some(smallest.unwrap_or(length).min(length));
            }
            if items > self.increment {
                items -= self.increment;
            } else {
                failures += 1;
            }
            if failures == PATIENCE {
                return Err(match smallest {
                    Some(needed) => Error::ContextTooSmall { task: self.task, context: self.context, needed },
                    None => self.too_few(items),
                });
            }
        }
    }

    /// The error where a draw cannot be made at all.
    pub(crate) fn too_few(&self, items: usize) -> Error {
        Error::Task {
            task: self.task,
            message: format!(
                "a context of {} tokens leaves {items} items of haystack, too few for what must be put among \
                 them: raise --context",
                self.context
            ),
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
