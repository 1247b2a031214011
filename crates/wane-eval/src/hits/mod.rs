//! The paper's first hypothesis (arXiv 2605.28640): how often do a head's selected entries hold
//! the answer's place in the prompt?
//!
//! [`record`] says what is counted; [`measure`] counts it for one model; `align` finds the places, `tally`
//! compares them with what was selected, [`chance`] is what uniform draws would reach. A prompt
//! is read once for all methods that read it alike, as in the runner.
//!
//! Does not do: free-running answers; methods that select rows among retained rows (SnapKV + Quest).

pub mod chance;
pub mod record;
pub mod store;
pub mod table;

pub(crate) mod align;
mod attention;
mod collect;
mod force;
mod tally;

pub(crate) mod run;

pub use record::{HeadHits, HeadUnit, Hits, Measured};
pub(crate) use run::shape;
pub use run::{Progress, measure};
pub use store::HitStore;
