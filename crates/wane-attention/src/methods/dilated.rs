//! Dilated attention: the query at `t` sees `j <= t` with `j < initial`, or `t - j <= window`, or
//! `(j + 1) mod d = 0` (arXiv 2602.18196). RAT+ trains with it, its memory carrying what lies
//! between.
//!
//! In decoding the cache is as small as the pattern: a row that leaves the window without being
//! an initial or a dilated one gives its place to the newest row.

use std::sync::Arc;

use wane_kernels::Tensor;
use wane_kernels::ops::attention::{AttentionDims, Pattern, attention};

use super::MethodEntry;
use crate::cache::ring::RingRule;
use crate::grammar::{Key, Kind, Settings};
use crate::phases::{DecodePhase, Pairs, Phases, PrefillPhase, PrefillStep};
use crate::{Phase, Result};

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "dilated",
    summary: "every D-th position, a window and the first positions; small cache",
    paper: "arXiv 2602.18196",
    phases: &[Phase::Prefill, Phase::AfterPrefill, Phase::Decode],
    keys: &[
        Key {
            name: "d",
            kind: Kind::CountOrNone,
            default: Some("16"),
            help: "distance D of the visible positions; 1 is dense, none leaves window and initial",
        },
        Key {
            name: "window",
            kind: Kind::AtLeast(0),
            default: Some("0"),
            help: "positions before the query's own that are visible",
        },
        Key {
            name: "initial",
            kind: Kind::AtLeast(0),
            default: Some("0"),
            help: "positions at the start that are always visible",
        },
    ],
    presets: &[],
    budget: None,
    build,
};

#[derive(Debug)]
struct Dilated {
    rule: RingRule,
}

fn build(settings: &Settings) -> Result<Phases> {
    let dilation = (!settings.is("d", "none")).then(|| settings.count("d"));
    let rule = RingRule { initial: settings.count("initial"), window: settings.count("window"), dilation };
    let method = Arc::new(Dilated { rule });
    Ok(Phases { prefill: Some(method.clone()), evict: None, decode: Some(method) })
}

impl PrefillPhase for Dilated {
    fn attend(&self, step: &PrefillStep<'_>) -> Result<Tensor> {
        let RingRule { initial, window, dilation } = self.rule;
        let pattern = match dilation {
            Some(1) => Pattern::Causal,
            _ => Pattern::Dilated { dilation, window, initial },
        };
        Ok(attention(step.q, step.k, step.v, AttentionDims { pattern, ..step.dims })?.output)
    }

    fn pairs(&self, _layer: usize, len: usize) -> Pairs {
        let RingRule { initial, window, dilation } = self.rule;
        let seen = |position: usize| {
            let near = position.min(window) + 1;
            let far = position + 1 - near;
            let first = initial.min(far);
            near + first + dilation.map_or(0, |d| far / d - first / d)
        };
        Pairs { attended: (0..len).map(|p| seen(p) as u64).sum(), scored: 0 }
    }
}

impl DecodePhase for Dilated {
    fn ring(&self, _layer: usize) -> Option<RingRule> {
        (self.rule.dilation != Some(1)).then_some(self.rule)
    }
}
