//! The registry: every method is one file and one line of [`METHODS`]. Parsing, help, the
//! documentation table and the contract tests come from this slice.

mod dense;
mod dilated;
mod moba;
mod quest;
mod snapkv;
mod streaming;
#[cfg(test)]
mod tests;

use wane_kernels::ops::top_k::Forced;

use crate::grammar::{Key, Preset, Settings};
use crate::phases::Phases;
use crate::selector::Selector;
use crate::{Phase, Result};

/// One method: its name, its keys and how it is built.
#[derive(Debug)]
pub struct MethodEntry {
    /// Name in the textual form.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// The phases that it decides.
    pub phases: &'static [Phase],
    /// Its keys, in canonical order.
    pub keys: &'static [Key],
    /// Other defaults, chosen by key `preset`.
    pub presets: &'static [Preset],
    /// Turns a budget of that many tokens into the method's own key.
    pub budget: Option<fn(&mut Settings, usize) -> Result<()>>,
    /// Checks the settings and builds the phases.
    pub build: fn(&Settings) -> Result<Phases>,
}

impl MethodEntry {
    /// A textual form of this method with every default written out.
    pub fn default_text(&self) -> String {
        crate::Plan::parse(self.name).map_or_else(|_| self.name.to_owned(), |plan| plan.canonical())
    }
}

/// Every method, sorted by name.
pub const METHODS: &[MethodEntry] =
    &[dense::ENTRY, dilated::ENTRY, moba::ENTRY, quest::ENTRY, snapkv::ENTRY, streaming::ENTRY];

/// `budget` of a method whose `k` counts blocks.
fn budget_in_blocks(settings: &mut Settings, tokens: usize) -> Result<()> {
    settings.set("k", Some((tokens / settings.count("block").max(1)).to_string()));
    Ok(())
}

/// The blocks that a method always reads, after `k` was checked against them. A pure random selector forces
/// the newest alone.
fn forced_blocks(settings: &Settings, selector: Selector) -> Result<Forced> {
    let (first, local, counted) =
        (settings.count("first"), settings.count("local"), settings.flag("count_forced"));
    if settings.count("k") == 0 {
        return Err(settings.error("k", "at least one block must be read"));
    }
    let forced = first + local;
    if counted && settings.count("k") < forced {
        let expected = format!("{forced} blocks are always read (first + local) and count within k");
        return Err(settings.error("k", expected));
    }
    Ok(if selector.is_pure() {
        Forced { first: 0, local: 1, counted }
    } else {
        Forced { first, local, counted }
    })
}
