//! Attention sinks and a sliding window (StreamingLLM, arXiv 2309.17453): from the first decode step
//! on, the cache holds the first `first` rows and the last `window` rows, the newest included; all
//! others are dropped for good. Rows keep their true positions (no re-rotation).

use std::sync::Arc;

use super::MethodEntry;
use crate::cache::ring::RingRule;
use crate::grammar::{Key, Kind, Settings};
use crate::phases::{DecodePhase, Phases};
use crate::selector::{BUDGET, DENSE_LAYERS};
use crate::{Phase, Result};

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "streaming",
    summary: "the first rows (sinks) and a sliding window; the rest is dropped",
    paper: "arXiv 2309.17453",
    phases: &[Phase::Decode],
    keys: &[
        Key {
            name: "window",
            kind: Kind::AtLeast(1),
            default: Some("1020"),
            help: "newest rows kept, the query's own included",
        },
        BUDGET,
        Key { name: "first", kind: Kind::AtLeast(0), default: Some("4"), help: "first rows kept (sinks)" },
        DENSE_LAYERS,
    ],
    presets: &[],
    budget: Some(|settings, tokens| {
        let first = settings.count("first");
        if tokens <= first {
            let expected = format!("that is {tokens} tokens, and {first} sinks are always kept");
            return Err(settings.error("budget", expected));
        }
        settings.set("window", Some((tokens - first).to_string()));
        Ok(())
    }),
    build,
};

#[derive(Debug)]
struct Streaming {
    rule: RingRule,
    dense_layers: usize,
}

fn build(settings: &Settings) -> Result<Phases> {
    let rule = RingRule {
        initial: settings.count("first"),
        window: settings.count("window").saturating_sub(1),
        dilation: None,
    };
    let method = Streaming { rule, dense_layers: settings.count("dense_layers") };
    Ok(Phases { decode: Some(Arc::new(method)), ..Phases::default() })
}

impl DecodePhase for Streaming {
    fn ring(&self, layer: usize) -> Option<RingRule> {
        (layer >= self.dense_layers).then_some(self.rule)
    }
}
