//! Nothing is sparse: every query reads every earlier position, and nothing leaves the cache.

use super::MethodEntry;
use crate::Phase;
use crate::phases::Phases;

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "dense",
    summary: "every query reads everything",
    paper: "arXiv 1706.03762",
    phases: &[Phase::Prefill, Phase::AfterPrefill, Phase::Decode],
    keys: &[],
    presets: &[],
    budget: None,
    build: |_| Ok(Phases::default()),
};
