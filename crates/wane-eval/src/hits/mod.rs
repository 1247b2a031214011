//! The paper's first hypothesis (arXiv 2605.28640): how often do a head's selected entries hold
//! the answer's place in the prompt? [`record`] is what a measurement leaves behind.

pub mod record;

pub use record::{HeadHits, HeadUnit, Hits, Measured};
