//! The textual form of a plan: `method[:key=value,...]`, phases composed with `+`.
//!
//! `moba:block=64,k=16+snapkv:k=1024+quest:block=64,k=8` reads: MoBA while the prompt is read,
//! SnapKV's eviction after it, Quest at every decode step. Two methods for one phase are an error.
//! [`Plan::canonical`] is the fully expanded form: phases in order, every key, presets expanded;
//! records and their resume keys use it, and parsing it gives the same plan.

mod nearest;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::methods::{METHODS, MethodEntry};
use crate::phases::{Pairs, Phases};
use crate::{Error, Phase, Result};

pub use nearest::nearest;
pub use settings::{Key, Kind, Preset, Settings};

/// Where a decode method begins to be sparse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparseFrom {
    /// The whole prompt is prefilled; the first generated token comes from that prefill.
    FirstGenerated,
    /// The question at the end of the prompt is already fed through decode steps.
    Question,
}

/// One method of a plan.
#[derive(Debug, Clone)]
struct Part {
    entry: &'static MethodEntry,
    settings: Settings,
}

/// Which method answers which phase, and how it is set.
#[derive(Debug, Clone)]
pub struct Plan {
    // In the order of their first phase; `dense` is the empty list.
    parts: Vec<Part>,
}

impl Plan {
    /// Everything reads everything.
    pub fn dense() -> Self {
        Self { parts: Vec::new() }
    }

    /// Parses the textual form.
    ///
    /// # Errors
    /// An unknown method or key (with the nearest name), a value out of range, keys that contradict
    /// each other, two methods for one phase.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        for piece in text.split('+') {
            let part = parse_part(piece)?;
            if let Some((other, phase)) = parts.iter().find_map(|other| {
                let both = |phase: &&Phase| other.entry.phases.contains(phase);
                part.entry.phases.iter().find(both).map(|&phase| (other, phase))
            }) {
                let (first, second) = (other.entry.name, part.entry.name);
                return Err(Error::SamePhase { first, second, phase });
            }
            parts.push(part);
        }
        parts.sort_by_key(|part| part.entry.phases.iter().map(|&phase| phase as usize).min());
        if parts.len() == 1 && parts[0].entry.name == "dense" {
            parts.clear();
        }
        let plan = Self { parts };
        plan.check()?;
        Ok(plan)
    }

    /// The fully expanded text, stable between versions.
    pub fn canonical(&self) -> String {
        let texts: Vec<String> = self
            .parts
            .iter()
            .map(|part| format!("{}{}", part.entry.name, part.settings.canonical()))
            .collect();
        if texts.is_empty() { "dense".to_owned() } else { texts.join("+") }
    }

    /// Turns every `budget` into the `k` (or window) that it means in a context of that many tokens.
    ///
    /// # Errors
    /// The budget is smaller than what the method always reads.
    pub fn resolve(&self, context: usize) -> Result<Self> {
        let mut plan = self.clone();
        for part in &mut plan.parts {
            if let (Some(tokens), Some(apply)) = (part.settings.budget_tokens(context), part.entry.budget) {
                apply(&mut part.settings, tokens)?;
                part.settings.set("budget", None);
            }
        }
        plan.check()?;
        Ok(plan)
    }

    /// Whether nothing is sparse.
    pub fn is_dense(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a `budget` is left to [`Self::resolve`].
    pub fn needs_context(&self) -> bool {
        self.parts.iter().any(|part| part.settings.text("budget").is_some())
    }

    /// What the prompt is read with: plans with equal prefill plans can fork from one prefill.
    pub fn prefill_plan(&self) -> Self {
        let parts = self.parts.iter().filter(|part| part.entry.phases.contains(&Phase::Prefill));
        Self { parts: parts.cloned().collect() }
    }

    /// How many of the prompt's last queries a prefill must keep so that this plan can fork from it
    /// ([`crate::CacheConfig::keep_queries`]).
    ///
    /// # Errors
    /// A budget is unresolved and cannot be met.
    pub fn query_window(&self) -> Result<usize> {
        Ok(self.phases()?.evict.map_or(0, |evict| evict.query_window()))
    }

    /// What one query head multiplies in one layer while a prompt of `len` tokens is read, the end of the
    /// prompt included.
    ///
    /// # Errors
    /// A budget is unresolved and cannot be met.
    pub fn prefill_pairs(&self, layer: usize, len: usize) -> Result<Pairs> {
        let phases = self.phases()?;
        let mut pairs = phases.prefill.map_or_else(|| Pairs::causal(len), |p| p.pairs(layer, len));
        if let Some(evict) = phases.evict.filter(|e| e.keeps(layer, len).is_some()) {
            pairs.scored += (evict.query_window().min(len) * len) as u64;
        }
        Ok(pairs)
    }

    /// From where on the decode method works.
    pub fn sparse_from(&self) -> SparseFrom {
        match self.parts.iter().any(|part| part.settings.is("sparse_from", "question")) {
            true => SparseFrom::Question,
            false => SparseFrom::FirstGenerated,
        }
    }

    /// The names of the plan's methods.
    pub fn method_names(&self) -> Vec<&'static str> {
        self.parts.iter().map(|part| part.entry.name).collect()
    }

    /// The value of a method's key, if the plan has the method and the key is set.
    pub fn setting(&self, method: &str, key: &str) -> Option<&str> {
        self.parts.iter().find(|part| part.entry.name == method).and_then(|part| part.settings.text(key))
    }

    /// What the methods do in each phase. Budgets must be resolved.
    pub(crate) fn phases(&self) -> Result<Phases> {
        let mut all = Phases::default();
        for part in &self.parts {
            let phases = (part.entry.build)(&part.settings)?;
            all.prefill = all.prefill.or(phases.prefill);
            all.evict = all.evict.or(phases.evict);
            all.decode = all.decode.or(phases.decode);
        }
        Ok(all)
    }

    // Building a method checks its settings; one with an open budget is checked by `resolve`.
    fn check(&self) -> Result<()> {
        for part in &self.parts {
            let mut settings = part.settings.clone();
            if let (Some(_), Some(apply)) = (settings.text("budget"), part.entry.budget) {
                apply(&mut settings, 1 << 30)?;
            }
            (part.entry.build)(&settings)?;
        }
        Ok(())
    }
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Plan {}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn parse_part(piece: &str) -> Result<Part> {
    let piece = piece.trim();
    let (name, keys) = match piece.split_once(':') {
        Some((name, keys)) => (name.trim(), Some(keys)),
        None => (piece, None),
    };
    if name.is_empty() {
        let expected = "expected `name` or `name:key=value,...`, joined by `+`";
        return Err(Error::Syntax { text: piece.to_owned(), expected });
    }
    let Some(entry) = METHODS.iter().find(|entry| entry.name == name) else {
        let nearest = nearest(name, METHODS.iter().map(|entry| entry.name)).unwrap_or("dense");
        return Err(Error::UnknownMethod { name: name.to_owned(), nearest });
    };
    let mut given: Vec<(&'static Key, &str)> = Vec::new();
    for pair in keys.map(|keys| keys.split(',')).into_iter().flatten() {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::Syntax { text: pair.to_owned(), expected: "expected `key=value`" });
        };
        let (name, value) = (key.trim(), value.trim());
        let Some(key) = entry.keys.iter().find(|key| key.name == name) else {
            return Err(unknown_key(entry, name));
        };
        if given.iter().any(|(other, _)| other.name == key.name) {
            return Err(Error::value(entry.name, key.name, value, "the key is given twice"));
        }
        given.push((key, value));
    }
    let settings = Settings::new(entry.name, entry.keys, entry.presets, &given)?;
    Ok(Part { entry, settings })
}

fn unknown_key(entry: &'static MethodEntry, key: &str) -> Error {
    let key = key.to_owned();
    match nearest(&key, entry.keys.iter().map(|key| key.name)) {
        None => Error::NoKeys { method: entry.name, key },
        Some(nearest) => {
            let keys = entry.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
            Error::UnknownKey { method: entry.name, key, nearest, keys }
        }
    }
}
