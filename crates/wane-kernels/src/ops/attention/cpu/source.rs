//! Which keys an attention call runs over, and which of them a query sees.
//!
//! Every pattern is a union of two disjoint *sources* in which a query at position `p` sees one
//! contiguous range. The dilated pattern: the listed keys (initial ones and every `dilation`-th)
//! before `p - window`, gathered into a compact list, and the window `p - window ..= p` of all
//! keys. The causal pattern is a window that reaches back to the start.

use crate::ops::attention::Pattern;

/// A sequence of keys in which every query sees a range.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// All keys, of which a query sees itself and the last `window` before it.
    Window {
        /// Keys of the sequence.
        keys: usize,
        /// Keys before the query's own.
        window: usize,
    },
    /// The keys at these ascending positions, of which a query sees those more than `window` back.
    Listed {
        /// Positions of the keys.
        positions: Vec<usize>,
        /// Keys nearer than this belong to the window.
        window: usize,
    },
}

impl Source {
    /// The sources that make up `pattern` over `keys` keys.
    pub(crate) fn of(pattern: Pattern, keys: usize) -> Vec<Self> {
        match pattern {
            Pattern::Causal | Pattern::Dilated { dilation: Some(1), .. } => {
                vec![Self::Window { keys, window: keys }]
            }
            Pattern::Dilated { dilation, window, initial } => {
                let positions = (0..keys.saturating_sub(window))
                    .filter(|&j| j < initial || dilation.is_some_and(|d| (j + 1).is_multiple_of(d)))
                    .collect();
                vec![Self::Listed { positions, window }, Self::Window { keys, window }]
            }
        }
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Window { keys, .. } => *keys,
            Self::Listed { positions, .. } => positions.len(),
        }
    }

    /// Position of key `i`.
    pub(crate) fn position(&self, i: usize) -> usize {
        match self {
            Self::Window { .. } => i,
            Self::Listed { positions, .. } => positions[i],
        }
    }

    /// Keys that a query at `position` sees: from, to. Both ends grow with the position.
    pub(crate) fn range(&self, position: usize) -> (usize, usize) {
        match self {
            Self::Window { window, .. } => (position.saturating_sub(*window), position + 1),
            Self::Listed { positions, window } => {
                (0, positions.partition_point(|key| key + window < position))
            }
        }
    }
}
