//! What the selecting methods share: who selects in a group of query heads, and random selection
//! in place of the method's own scores (a draw is a function of seed, sequence, layer, head and
//! position alone, so it does not depend on batch, threads or device).

use wane_kernels::ops::block_summary::{GroupReduce, group_scores};
use wane_kernels::ops::random;
use wane_kernels::{Device, Tensor};

use crate::Result;
use crate::grammar::{Key, Kind, Settings};

/// Key `selector`.
pub(crate) const SELECTOR: Key = Key {
    name: "selector",
    kind: Kind::Choice(&["own", "random", "random_pure"]),
    default: Some("own"),
    help: "own scores; random: forced entries stay and the rest is drawn; random_pure: only the newest entry is forced",
};

/// Key `seed`.
pub(crate) const SEED: Key =
    Key { name: "seed", kind: Kind::AtLeast(0), default: Some("0"), help: "seed of a random selector" };

/// Key `dense_layers`.
pub(crate) const DENSE_LAYERS: Key = Key {
    name: "dense_layers",
    kind: Kind::AtLeast(0),
    default: Some("0"),
    help: "how many of the first layers stay dense",
};

/// Key `count_forced`.
pub(crate) const COUNT_FORCED: Key = Key {
    name: "count_forced",
    kind: Kind::Flag,
    default: Some("true"),
    help: "whether forced blocks count within k",
};

/// Key `budget`.
pub(crate) const BUDGET: Key = Key {
    name: "budget",
    kind: Kind::Fraction,
    default: None,
    help: "the budget as a fraction of the context such as 1/16, in place of an absolute one",
};

/// Values of key `share`.
pub(crate) const SHARES: Kind = Kind::Choice(&["q_head", "group_sum", "group_mean"]);

/// Values of key `preset` for methods with two of them.
pub(crate) const PRESETS: Kind = Kind::Choice(&["paper", "original"]);

/// Help of key `share`.
pub(crate) const SHARE_HELP: &str =
    "who selects: every query head, or its group by the sum or the mean of scores";

/// Who selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Every query head for itself.
    QueryHead,
    /// The query heads of one KV head together.
    Group(GroupReduce),
}

impl Share {
    /// From key `share`.
    pub(crate) fn of(settings: &Settings) -> Self {
        match settings.text("share") {
            Some("group_sum") => Self::Group(GroupReduce::Sum),
            Some("group_mean") => Self::Group(GroupReduce::Mean),
            _ => Self::QueryHead,
        }
    }

    /// How many select for themselves.
    pub(crate) fn selectors(self, heads: usize, kv_heads: usize) -> usize {
        match self {
            Self::QueryHead => heads,
            Self::Group(_) => kv_heads,
        }
    }

    /// `scores` [outer * heads * inner, n] reduced to [outer * selectors * inner, n].
    pub(crate) fn reduce(
        self,
        scores: Tensor,
        [heads, kv_heads]: [usize; 2],
        inner: usize,
    ) -> Result<Tensor> {
        match self {
            Self::Group(reduce) if kv_heads < heads => {
                Ok(group_scores(&scores, heads, kv_heads, inner, reduce)?)
            }
            _ => Ok(scores),
        }
    }
}

/// Where the scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The method's own.
    Own,
    /// Uniform draws.
    Random {
        /// Key `seed`.
        seed: u64,
        /// Whether forced entries are drawn like all others.
        pure: bool,
    },
}

impl Selector {
    /// From keys `selector` and `seed`.
    pub(crate) fn of(settings: &Settings) -> Self {
        let seed = settings.count("seed") as u64;
        match settings.text("selector") {
            Some("random") => Self::Random { seed, pure: false },
            Some("random_pure") => Self::Random { seed, pure: true },
            _ => Self::Own,
        }
    }

    /// Whether forced entries are drawn like all others.
    pub(crate) fn is_pure(self) -> bool {
        matches!(self, Self::Random { pure: true, .. })
    }
}

/// Who draws: one row of random scores per (sequence, head, position).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw<'a> {
    pub(crate) seed: u64,
    pub(crate) layer: usize,
    /// Selecting heads.
    pub(crate) heads: usize,
    /// (sequence, position of the first query).
    pub(crate) sequences: &'a [(u32, usize)],
    /// Consecutive queries of each sequence.
    pub(crate) queries: usize,
}

impl Draw<'_> {
    /// f32 [sequences * heads * queries, columns].
    pub(crate) fn scores(&self, columns: usize, device: &Device) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(self.sequences.len() * self.heads * self.queries * 3);
        for &(sequence, first) in self.sequences {
            for head in 0..self.heads {
                for position in first..first + self.queries {
                    rows.extend([sequence as i32, ((self.layer << 16) | head) as i32, position as i32]);
                }
            }
        }
        let rows = Tensor::from_i32(&rows, &[rows.len() / 3, 3], device)?;
        Ok(random::scores(&rows, columns, self.seed)?)
    }
}
